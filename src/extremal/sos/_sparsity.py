"""Blocks: which monomials need not meet in one Gram matrix.

Sign symmetry and stable TSSOS components lose nothing; one TSSOS step, chordal extensions and
cliques of variables are smaller restrictions, whose failure proves nothing.

Source: Wang, Magron, Lasserre, TSSOS (arXiv:1912.08899), Chordal-TSSOS (2003.03210), CS-TSSOS
(2005.02828). Differs from them: components are iterated to their limit by default.
"""

from collections.abc import Iterable, Sequence

import numpy as np

from ._deadline import check_time
from ._sumset import Rows, find

Blocks = tuple[Rows, ...]


def sign_blocks(rows: Rows, support: Rows) -> Blocks:
    """Split by sign symmetry: a, b together iff r.(a+b) is even for every r even on the support.

    Args:
        rows: Distinct monomials.
        support: The monomials of p.

    Returns:
        The blocks; p is a sum of squares of `rows` iff it is one with these blocks.

    Example:
        >>> motzkin = np.array([[4, 2], [2, 4], [0, 0], [2, 2]])
        >>> square = np.array([[0, 0], [1, 1], [2, 1], [1, 2]])
        >>> [len(b) for b in sign_blocks(square, motzkin)]
        [1, 1, 1, 1]
    """
    # r even on the support <=> r orthogonal to the parities, so a + b must lie in their span.
    span: dict[int, int] = {}  # by leading bit
    for word in set(_parities(support)):
        reduced = _reduce(word, span)
        if reduced:
            span[reduced.bit_length()] = reduced
    groups: dict[int, list[int]] = {}
    cache: dict[int, int] = {}
    for i, word in enumerate(_parities(rows)):
        if word not in cache:
            cache[word] = _canonical(word, span)
        groups.setdefault(cache[word], []).append(i)
    return tuple(rows[g] for g in groups.values())


def _parities(rows: Rows) -> list[int]:
    words = np.packbits((rows % 2).astype(np.uint8), axis=1)
    return [int.from_bytes(bytes(w), "big") for w in words]


def _reduce(word: int, span: dict[int, int]) -> int:
    while word:
        lead = span.get(word.bit_length())
        if lead is None:
            return word
        word ^= lead
    return 0


def _canonical(word: int, span: dict[int, int]) -> int:
    """The one representative of word + span that has no leading bit of the span."""
    for bit in sorted(span, reverse=True):
        if word >> (bit - 1) & 1:
            word ^= span[bit]
    return word


def components(n: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the connected components of a graph on 0..n-1, each ascending."""
    leader = list(range(n))

    def top(i: int) -> int:
        while leader[i] != i:
            leader[i] = leader[leader[i]]
            i = leader[i]
        return i

    for a, b in edges:
        x, y = top(a), top(b)
        if x != y:
            leader[max(x, y)] = min(x, y)
    groups: dict[int, list[int]] = {}
    for i in range(n):
        groups.setdefault(top(i), []).append(i)
    return list(groups.values())


def term_blocks(rows: Rows, support: Rows, steps: int | None = None) -> Blocks:
    """Split by term sparsity (TSSOS, block completion).

    Args:
        rows: Distinct monomials.
        support: The monomials of p.
        steps: How often the support is extended; default: until it is stable, which loses nothing.
    """
    groups: list[list[int]] = [[i] for i in range(len(rows))]
    known = np.unique(np.vstack([support, 2 * rows]), axis=0)
    while True:
        check_time()
        edges = support_edges(rows, known)
        new = components(len(rows), edges)
        stable = new == groups
        groups = new
        if stable or (steps is not None and steps <= 1):
            return tuple(rows[g] for g in groups)
        steps = None if steps is None else steps - 1
        sums: list[np.ndarray] = [known]
        for g in groups:
            i, j = np.triu_indices(len(g))
            sums.append(rows[g][i] + rows[g][j])
        known = np.unique(np.vstack(sums), axis=0)


def support_edges(rows: Rows, known: Rows) -> list[tuple[int, int]]:
    """Return the pairs of rows whose sum is known."""
    i, j = np.triu_indices(len(rows), 1)
    hits: list[tuple[int, int]] = []
    piece = 1 << 18
    for at in range(0, len(i), piece):
        check_time()
        a, b = i[at : at + piece], j[at : at + piece]
        found = find(rows[a] + rows[b], known) >= 0
        hits += list(zip(a[found].tolist(), b[found].tolist(), strict=True))
    return hits


def chordal_cliques(n: int, edges: Iterable[tuple[int, int]]) -> list[list[int]]:
    """Return the maximal cliques of a chordal extension (least degree first, least fill ties).

    Args:
        n: Vertices 0..n-1.
        edges: Of the graph.
    """
    near: list[set[int]] = [set() for _ in range(n)]
    for a, b in edges:
        if a != b:
            near[a].add(b)
            near[b].add(a)
    left = set(range(n))
    cliques: list[set[int]] = []
    while left:
        v = min(left, key=lambda u: (len(near[u]), u))
        clique = near[v] | {v}
        for a in near[v]:
            near[a] |= near[v]
            near[a] -= {a, v}
        left.discard(v)
        near[v] = set()
        if not any(clique <= c for c in cliques):
            cliques.append(clique)
    return [sorted(c) for c in cliques]


def chordal_blocks(rows: Rows, support: Rows) -> Blocks:
    """Split by a chordal extension of the term-sparsity graph: one block a maximal clique."""
    known = np.unique(np.vstack([support, 2 * rows]), axis=0)
    cliques = chordal_cliques(len(rows), support_edges(rows, known))
    return tuple(rows[c] for c in cliques)


def variable_cliques(support: Rows) -> list[list[int]]:
    """Return cliques of variables of a chordal extension: two meet if a term has both."""
    edges: set[tuple[int, int]] = set()
    for term in support:
        used = np.flatnonzero(term).tolist()
        edges |= {(a, b) for i, a in enumerate(used) for b in used[i + 1 :]}
    return chordal_cliques(support.shape[1], edges)


def correlative_blocks(rows: Rows, support: Rows) -> Blocks:
    """Split by cliques of variables, then by term sparsity inside each (CS-TSSOS)."""
    found: list[Rows] = []
    seen: set[tuple[tuple[int, ...], ...]] = set()
    for clique in variable_cliques(support):
        others = [i for i in range(rows.shape[1]) if i not in clique]
        inner = rows[~rows[:, others].any(axis=1)]
        for block in term_blocks(inner, support):
            word = tuple(map(tuple, block.tolist()))
            if word not in seen:
                seen.add(word)
                found.append(block)
    return tuple(found)


def sizes(blocks: Sequence[Rows]) -> list[int]:
    """Return the sizes of blocks, largest first."""
    return sorted((len(b) for b in blocks), reverse=True)
