"""Diagonal consistency and coverage: which monomials can be left out, which must be put in.

Notation: S the support of p, B a basis, K(p) the fixpoint of diagonal consistency on H(p).
Source: facts F3 and F4 are classical; the repair is of Pelleriti et al., arXiv:2510.13444. Differs
from it: halves of even monomials are candidates too (theirs stalls on an empty basis), candidates
stay in a given set or in half the bounding box, and there is no cap on the steps.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Int

from ._deadline import check_time
from ._sumset import Rows, covered, find, keys

Order = Callable[[tuple[int, ...]], float]


def consistent(rows: Rows, support: Rows) -> Rows:
    """Delete m while 2m is neither in the support nor the sum of two other rows left.

    Args:
        rows: Distinct monomials, such as all of H(p).
        support: The monomials of p.

    Returns:
        The rows that stay, in their order; the result does not depend on the order of deletions.

    Example:
        >>> motzkin = np.array([[4, 2], [2, 4], [0, 0], [2, 2]])
        >>> square = np.array([[i, j] for i in range(4) for j in range(4 - i)])
        >>> consistent(square, motzkin).tolist()
        [[0, 0], [1, 1], [1, 2], [2, 1]]

    Cost: all pairs of rows of equal parity, vectorised; 1,000 rows take well under 1 s.
    """
    n_rows = len(rows)
    if not n_rows:
        return rows
    first, second, middle = _midpoints(rows)
    ways = np.bincount(middle, minlength=n_rows)
    free = find(2 * rows, support) < 0
    alive = np.ones(n_rows, dtype=bool)
    # For each row, the pairs that it ends.
    ends = np.concatenate([first, second])
    partner = np.concatenate([second, first])
    between = np.concatenate([middle, middle])
    order = np.argsort(ends, kind="stable")
    partner, between = partner[order], between[order]
    start = np.searchsorted(ends[order], np.arange(n_rows + 1))
    queue = list(np.flatnonzero(free & (ways == 0)))
    while queue:
        m = queue.pop()
        if not alive[m]:
            continue
        alive[m] = False
        cut = slice(start[m], start[m + 1])
        lost = between[cut][alive[partner[cut]]]
        np.subtract.at(ways, lost, 1)
        lost = np.unique(lost)
        queue += list(lost[(ways[lost] == 0) & free[lost] & alive[lost]])
    return rows[alive]


def _midpoints(
    rows: Rows,
) -> tuple[Int[np.ndarray, " p"], Int[np.ndarray, " p"], Int[np.ndarray, " p"]]:
    """All pairs a < b of rows whose midpoint is a row, and that row."""
    classes: dict[bytes, list[int]] = {}
    for i, word in enumerate(map(bytes, (rows % 2).astype(np.uint8))):
        classes.setdefault(word, []).append(i)
    limit = 2 * rows.max(axis=0)
    # Collisions of random keys are excluded by comparing the exponents of every hit.
    key = keys(rows, limit, 0)
    doubled = key + key
    order = np.argsort(doubled, kind="stable")
    ordered = doubled[order]
    out: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for members in classes.values():
        group = np.array(members)
        i, j = np.triu_indices(len(group), 1)
        piece = 1 << 21
        for at in range(0, len(i), piece):
            a, b = group[i[at : at + piece]], group[j[at : at + piece]]
            total = key[a] + key[b]
            place = np.minimum(np.searchsorted(ordered, total), len(ordered) - 1)
            hit = ordered[place] == total
            a, b, m = a[hit], b[hit], order[place[hit]]
            same = (rows[a] + rows[b] == 2 * rows[m]).all(axis=1)
            out.append((a[same], b[same], m[same]))
    if not out:
        nothing = np.zeros(0, dtype=np.int64)
        return nothing, nothing, nothing
    return (
        np.concatenate([o[0] for o in out]),
        np.concatenate([o[1] for o in out]),
        np.concatenate([o[2] for o in out]),
    )


def uncovered(basis: Rows, support: Rows) -> Rows:
    """Return the monomials of p that are no sum of two of the basis."""
    return support[~covered(support, basis)]


def repair(
    basis: Rows,
    support: Rows,
    allowed: Rows | None = None,
    order: Order | None = None,
) -> tuple[Rows, Rows]:
    """Add monomials until every term of p is a product of two of the basis.

    Args:
        basis: To begin with; may be empty.
        support: The monomials of p.
        allowed: Only these may be added; default: whatever lies in half the bounding box and
            degrees of the support.
        order: Breaks ties, larger first; default: none. Then even halves first, then the first in
            graded lexicographic order.

    Returns:
        The basis, the added monomials last, and the terms that stay uncovered (if any, and if
        `allowed` is all of K(p), p is not a sum of squares).

    Cost: a step looks at each uncovered term with each monomial of the basis.
    """
    n = support.shape[1]
    have = [tuple(r) for r in basis.tolist()]
    inside = set(have)
    may = None if allowed is None else {tuple(r) for r in allowed.tolist()}
    box = _half_box(support)
    left = {tuple(r) for r in uncovered(basis, support).tolist()}
    votes: dict[tuple[int, ...], int] = {}

    def suits(m: tuple[int, ...]) -> bool:
        if m in inside:
            return False
        return m in may if may is not None else _in_box(m, box)

    def vote(u: tuple[int, ...], b: tuple[int, ...], by: int) -> None:
        m = tuple(x - y for x, y in zip(u, b, strict=True))
        if min(m, default=0) >= 0 and suits(m):
            votes[m] = votes.get(m, 0) + by

    def halve(u: tuple[int, ...], by: int) -> None:
        if not any(e % 2 for e in u):
            m = tuple(e // 2 for e in u)
            if suits(m):
                votes[m] = votes.get(m, 0) + by

    for u in left:
        halve(u, 1)
        for b in have:
            vote(u, b, 1)
    pairs_tried = False
    while left:
        check_time()
        running = [(c, m) for m, c in votes.items() if c > 0 and m not in inside]
        if not running:
            if pairs_tried or may is None:
                break
            # No single monomial covers a term; begin with one of any pair that would.
            pairs_tried = True
            for u in left:
                for m in may:
                    k = tuple(x - y for x, y in zip(u, m, strict=True))
                    if k in may and m not in inside:
                        votes[m] = votes.get(m, 0) + 1
            continue
        doubled = {tuple(e // 2 for e in u) for u in left if not any(e % 2 for e in u)}
        best = min(
            running,
            key=lambda t: (
                -t[0], -(order(t[1]) if order else 0.0), t[1] not in doubled, sum(t[1]), t[1],
            ),
        )[1]  # fmt: skip
        inside.add(best)
        have.append(best)
        gone = [
            u for u in left if (k := tuple(x - y for x, y in zip(u, best, strict=True))) in inside
        ]
        for u in gone:
            left.discard(u)
            halve(u, -1)
            for b in have[:-1]:
                vote(u, b, -1)
        for u in left:
            vote(u, best, 1)
        pairs_tried = False
    rest = np.array(sorted(left), dtype=np.int64).reshape(len(left), n)
    return np.array(have, dtype=np.int64).reshape(len(have), n), rest


def _half_box(support: Rows) -> tuple[list[int], list[int], int, int]:
    """Half the bounding box of the support, and half its degrees."""
    degree = support.sum(axis=1)
    return (
        [int(-(-v // 2)) for v in support.min(axis=0)],
        [int(v // 2) for v in support.max(axis=0)],
        int(-(-degree.min() // 2)),
        int(degree.max() // 2),
    )


def _in_box(m: tuple[int, ...], box: tuple[list[int], list[int], int, int]) -> bool:
    low, high, least, most = box
    return least <= sum(m) <= most and all(
        a <= e <= b for a, e, b in zip(low, m, high, strict=True)
    )
