"""Which monomials a bound may use: p - lambda in squares, or in squares weighted by constraints.

Dense: every square uses all monomials up to the order. Correlative sparsity: variables that meet in
a term or a constraint are joined, the graph is made chordal, and each square uses the variables of
one maximal clique. The sum is then a special case of the dense one, so a bound of it is as good a
proof; at the same order it may be lower.

Source: Waki, Kim, Kojima, Muramatsu, "Sums of squares and semidefinite program relaxations for
polynomial optimization problems with structured sparsity" (2006); Lasserre (2006). Differs from
them: sign symmetry splits the blocks of each clique.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ._bases import Bases, full_rows
from ._errors import MemoryLimitError
from ._localised import Localised
from ._polynomial import Polynomial
from ._sparsity import sign_blocks, variable_cliques
from ._sumset import Rows, covered, keys, unique_rows

_MONOMIALS = 2000  # of one clique
_COUNTED = 2_000_000  # sums that are listed to count moments


def plain_problem(p: Polynomial) -> Localised:
    """Set up p - lambda in the monomials that it may use for general lambda."""
    zero = (0,) * len(p.variables)
    shifted = Polynomial(
        p.variables, {**p.terms, zero: p.terms.get(zero, Fraction(0)) or Fraction(1)}
    )
    support = unique_rows(np.vstack([p.support, np.zeros((1, len(zero)), dtype=np.int64)]))
    blocks = sign_blocks(Bases(shifted).consistent, support)
    return Localised(p, (), (None,) * len(blocks), blocks)


def putinar_problem(
    p: Polynomial, constraints: Sequence[Polynomial], order: int | None, sparse: bool
) -> Localised:
    """Set up p - lambda = s_0 + sum of s_i g_i.

    Args:
        p: What is bounded.
        constraints: The g_i, in the variables of p.
        order: Half the degree of the identity; default: the least that fits.
        sparse: Whether each s uses the variables of one clique only.

    Raises:
        ValueError: The order is too low.
        MemoryLimitError: A clique has over 2,000 monomials.
    """
    least = -(-max(p.degree, *(g.degree for g in constraints)) // 2)
    order = least if order is None else order
    if order < least:
        raise ValueError(
            f"the order {order} is too low: degrees up to {2 * least} occur, so it is at least "
            f"{least}."
        )
    n = len(p.variables)
    support = np.vstack([p.support, *(g.support for g in constraints if len(g.terms))])
    cliques = _cliques(p, constraints) if sparse else [list(range(n))]
    largest = max(map(len, cliques))
    if math.comb(largest + order, order) > _MONOMIALS:
        hint = "" if sparse else ", or use the sparsity 'correlative'"
        raise MemoryLimitError(
            f"order {order} in {largest} variables has {math.comb(largest + order, order):,} "
            f"monomials, over {_MONOMIALS:,}; lower the order{hint}."
        )
    blocks: list[Rows] = []
    weights: list[int | None] = []
    for clique in cliques:
        for block in sign_blocks(_rows(n, clique, order), support):
            # What another clique has already would only make the Gram matrices less definite.
            if not any(
                w is None and _within(block, b) for w, b in zip(weights, blocks, strict=True)
            ):
                blocks.append(block)
                weights.append(None)
    for i, g in enumerate(constraints):
        used = set(np.flatnonzero(g.support.any(axis=0)).tolist())
        clique = min((c for c in cliques if used <= set(c)), key=len)
        for block in sign_blocks(_rows(n, clique, order - -(-g.degree // 2)), support):
            blocks.append(block)
            weights.append(i)
    return Localised(p, tuple(constraints), tuple(weights), tuple(blocks))


def _cliques(p: Polynomial, constraints: Sequence[Polynomial]) -> list[list[int]]:
    """Maximal cliques of variables; those of one constraint are in one clique."""
    together = [g.support.max(axis=0, keepdims=True, initial=0) for g in constraints]
    return variable_cliques(np.vstack([p.support, *together]))


def _rows(n: int, clique: Sequence[int], degree: int) -> Rows:
    """All monomials in some of n variables."""
    small = full_rows(len(clique), degree)
    rows = np.zeros((len(small), n), dtype=np.int64)
    rows[:, clique] = small
    return rows


def _within(rows: Rows, others: Rows) -> bool:
    have = {tuple(r) for r in others.tolist()}
    return all(tuple(r) in have for r in rows.tolist())


def covers(problem: Localised) -> bool:
    """Whether squares of these monomials can have every term of p but the constant one."""
    plain = [b for b, w in zip(problem.blocks, problem.weights, strict=True) if w is None]
    rows = np.vstack(plain) if plain else np.zeros((0, len(problem.p.variables)), dtype=np.int64)
    moving = problem.p.support[problem.p.support.any(axis=1)]
    distinct = unique_rows(rows) if len(rows) else rows
    return bool(len(rows)) and bool(covered(moving, distinct).all())


def bytes_needed(problem: Localised) -> int:
    """Predict what the solver allocates: matrices of all rows, and of all moments.

    Moments are counted where that is cheap; else each block has at most as many as there are
    monomials of its degree in its variables, and as it has sums.
    """
    return 8 * (12 * problem.size**2 + 3 * _moments(problem) ** 2)


def _moments(problem: Localised) -> int:
    n = len(problem.p.variables)
    parts: list[tuple[Rows, Rows]] = []
    for w, rows in zip(problem.weights, problem.blocks, strict=True):
        g = np.zeros((1, n), dtype=np.int64) if w is None else problem.constraints[w].support
        parts.append((rows, g))
    if sum(len(g) * len(rows) ** 2 for rows, g in parts) <= _COUNTED:
        zero = np.zeros(n, dtype=np.int64)  # for random keys the limit says nothing
        sums: list[np.ndarray] = [keys(problem.p.support, zero, 1)]
        for rows, g in parts:
            key = keys(rows, zero, 1)
            twice = (key[:, None] + key).ravel()
            sums.append((twice[:, None] + keys(g, zero, 1)).ravel())
        return len(np.unique(np.concatenate(sums))) + 1
    total = 0
    spans: set[tuple[tuple[int, ...], int]] = set()
    for rows, g in parts:
        used = np.flatnonzero(rows.any(axis=0) | g.any(axis=0)).tolist()
        degree = 2 * int(rows.sum(axis=1).max(initial=0)) + int(g.sum(axis=1).max(initial=0))
        every = math.comb(len(used) + degree, degree)
        own = len(g) * len(rows) * (len(rows) + 1) // 2
        if own < every:
            total += own
        elif (tuple(used), degree) not in spans:
            spans.add((tuple(used), degree))
            total += every
    return total
