"""Regularity: heights from a linear program, then checked in exact arithmetic.

The program maximises the margin t <= 1 by which every inner edge is convex. Its floating-point
answer proves nothing; rounded to rationals it is checked exactly, and so is the other answer: where
no heights exist, multipliers of the edges sum to zero (Farkas), and they are checked exactly too.
"""

from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ._errors import TCurveError
from ._triangulation import Triangulation


@dataclass(frozen=True, slots=True)
class Regularity:
    """Whether a triangulation is regular, with the reason.

    Attributes:
        regular: The answer; both answers are checked exactly.
        heights: Integers that lift it, or None.
        refutation: For each inner edge (in the order of `Triangulation.convexity`) a multiplier of
            at least 0, not all 0, with which the convexity inequalities sum to 0 > 0; or None.
    """

    regular: bool
    heights: tuple[Fraction, ...] | None
    refutation: tuple[Fraction, ...] | None


def regular(t: Triangulation) -> Regularity:
    """Decide whether a triangulation is regular.

    Args:
        t: A unimodular triangulation. Known heights are returned as they are.

    Returns:
        Integer heights, or a refutation; either passed an exact check.

    Raises:
        TCurveError: Neither answer survived the exact check (never met for d <= 10).

    Cost: one linear program with n variables; 3 ms at degree 7.
    """
    if t.heights is not None:
        return Regularity(True, t.heights, None)
    from scipy.optimize import linprog
    from scipy.sparse import csr_array

    rows = t.convexity()
    if not rows:
        return Regularity(True, (Fraction(0),) * t.n, None)
    m = len(rows)
    columns = np.array([[c, e, a, b] for c, e, a, b, _ in rows])
    values = np.array([[-1.0, -1.0, s, 2 - s] for *_, s in rows])
    at = np.repeat(np.arange(m), 4)
    convex = csr_array((values.ravel(), (at, columns.ravel())), shape=(m, t.n))
    # margins: -(w_c + w_e) + s w_a + (2-s) w_b + t <= 0
    from scipy.sparse import hstack

    system = hstack([convex, csr_array(np.ones((m, 1)))], format="csr")
    goal = np.zeros(t.n + 1)
    goal[-1] = -1.0
    fixed = set(t.triangles[0])  # an affine function is free
    bounds = [(0.0, 0.0) if k in fixed else (None, None) for k in range(t.n)] + [(None, 1.0)]
    answer = linprog(goal, A_ub=system, b_ub=np.zeros(m), bounds=bounds, method="highs")
    if answer.status == 0 and answer.x[-1] > 1e-7:
        heights = _rounded(t, np.asarray(answer.x[:-1]))
        if heights is not None:
            return Regularity(True, heights, None)
    elif answer.status == 0:
        multipliers = _refutation(t, -np.asarray(answer.ineqlin.marginals))
        if multipliers is not None:
            return Regularity(False, None, multipliers)
    raise TCurveError(
        "whether the triangulation is regular could not be settled exactly (the linear program "
        f"said: {answer.message}); give heights that you know."
    )


def _rounded(t: Triangulation, w: np.ndarray) -> tuple[Fraction, ...] | None:
    """The smallest scaling by powers of two whose rounding to integers is strictly convex."""
    low = w.min()
    for power in range(40):
        found = [int(x) for x in np.rint((w - low) * 2.0**power)]
        if convex(t, found):
            return tuple(Fraction(x) for x in found)
    return None


def convex(t: Triangulation, w: list[int] | tuple[Fraction, ...]) -> bool:
    """Whether exact heights are strictly convex across every inner edge."""
    return all(w[c] + w[e] > s * w[a] + (2 - s) * w[b] for c, e, a, b, s in t.convexity())


def _refutation(t: Triangulation, y: np.ndarray) -> tuple[Fraction, ...] | None:
    """Multipliers y >= 0, summing to 1, for which the sum of all inequalities vanishes exactly."""
    rows = t.convexity()
    support = [k for k in range(len(rows)) if y[k] > 1e-9]
    # Solve sum_k y_k row_k = 0, sum y_k = 1 over the support exactly by elimination.
    system = [[Fraction(0)] * len(support) for _ in range(t.n)]
    for column, k in enumerate(support):
        c, e, a, b, s = rows[k]
        for point, value in ((c, 1), (e, 1), (a, -s), (b, s - 2)):
            system[point][column] += value
    system.append([Fraction(1)] * len(support))
    right = [Fraction(0)] * t.n + [Fraction(1)]
    found = _solve(
        system,
        right,
        len(support),
        [Fraction(float(y[k])).limit_denominator(1000) for k in support],
    )
    if found is None or any(x < 0 for x in found):
        return None
    full = [Fraction(0)] * len(rows)
    for k, x in zip(support, found, strict=True):
        full[k] = x
    return tuple(full) if refutes(t, tuple(full)) else None


def refutes(t: Triangulation, multipliers: tuple[Fraction, ...]) -> bool:
    """Whether multipliers prove that no heights exist."""
    total = [Fraction(0)] * t.n
    for y, (c, e, a, b, s) in zip(multipliers, t.convexity(), strict=True):
        for point, value in ((c, 1), (e, 1), (a, -s), (b, s - 2)):
            total[point] += y * value
    return min(multipliers) >= 0 and max(multipliers) > 0 and not any(total)


def _solve(
    rows: list[list[Fraction]], right: list[Fraction], unknowns: int, guess: list[Fraction]
) -> list[Fraction] | None:
    """Solve a system exactly; unknowns that it leaves free take their guessed value."""
    a = [[*row, value] for row, value in zip(rows, right, strict=True)]
    pivots: list[int] = []
    top = 0
    for column in range(unknowns):
        found = next((r for r in range(top, len(a)) if a[r][column]), None)
        if found is None:
            continue
        a[top], a[found] = a[found], a[top]
        a[top] = [x / a[top][column] for x in a[top]]
        for r in range(len(a)):
            if r != top and a[r][column]:
                factor = a[r][column]
                a[r] = [x - factor * y for x, y in zip(a[r], a[top], strict=True)]
        pivots.append(column)
        top += 1
    if any(row[-1] and not any(row[:-1]) for row in a):
        return None
    value = list(guess)
    for row, column in zip(a, pivots, strict=False):
        value[column] = row[-1] - sum(
            (row[k] * guess[k] for k in range(unknowns) if k not in pivots), Fraction(0)
        )
    return value
