"""Exact refutations: a rational functional, nonnegative on squares and negative on p.

Exists whenever p is not a sum of squares of the basis, because these sums form a closed cone whose
dual has an interior. It is the dual matrix of the solver, averaged over equal sums and rounded;
blended with moments of the uniform measure if it lies too near the boundary.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ._deadline import check_time
from ._exact import semidefinite
from ._interior import Margin
from ._newton import Normals
from ._polynomial import Monomial
from ._problem import GramProblem


@dataclass(frozen=True)
class Refutation:
    """Why p is not a sum of squares.

    Attributes:
        functional: y by monomial; absent ones are 0.
        value: y(p), negative.
        normals: Half-spaces that cut the monomials of squares out of all monomials.
        monomials: How many are left after diagonal consistency.
    """

    functional: Mapping[Monomial, Fraction]
    value: Fraction
    normals: Normals
    monomials: int


def from_uncovered(problem: GramProblem, normals: Normals) -> Refutation:
    """Refute by a term that no two monomials of K(p) multiply to."""
    m = tuple(problem.uncovered[0].tolist())
    c = problem.p.terms[m]
    y = Fraction(-1 if c > 0 else 1)
    return Refutation({m: y}, c * y, normals, problem.size)


def from_diagonal(problem: GramProblem, normals: Normals) -> Refutation | None:
    """Refute by a negative diagonal entry that the identity determines."""
    p = problem.pairs
    alone = np.bincount(p.s, minlength=len(p.sums)) == 1
    for s in np.flatnonzero(alone):
        e = int(problem.dependent[s])
        if p.a[e] == p.b[e] and problem.exact[s] < 0:
            m = tuple(p.sums[s].tolist())
            return Refutation({m: Fraction(1)}, problem.exact[s], normals, problem.size)
    return None


def from_dual(problem: GramProblem, margin: Margin, normals: Normals) -> Refutation | None:
    """Round the dual of a failed solve to an exact functional, or return None.

    Cost: an exact semidefiniteness test a try; the first one nearly always succeeds.
    """
    p = problem.pairs
    count = np.bincount(p.s, weights=problem.weights, minlength=len(p.sums))
    x = margin.moments[p.a, p.b] * problem.weights
    y = np.bincount(p.s, weights=x, minlength=len(p.sums)) / count
    if not np.isfinite(y).all():
        return None
    inner = np.where((p.sums % 2).any(axis=1), 0.0, 1.0 / np.prod(p.sums + 1.0, axis=1))
    inner /= float(inner[p.s[p.a == p.b]].sum())
    for blend in (0.0, 1e-9, 1e-7, 1e-5, 1e-3, 1e-2):
        mixed = (1 - blend) * y + blend * inner
        if float(mixed @ problem.floats) >= 0:
            continue
        for digits in (3, 5, 7, 9, 11, 13):
            found = _tested(problem, mixed, 10**digits, normals)
            if found is not None:
                return found
    return None


def _tested(
    problem: GramProblem, y: np.ndarray, denominator: int, normals: Normals
) -> Refutation | None:
    scaled = y / float(np.abs(y).max())
    numerators = [int(v) for v in np.rint(scaled * denominator)]
    c = problem.exact
    value = sum((v * Fraction(n, denominator) for v, n in zip(c, numerators, strict=True) if n),
                Fraction(0))  # fmt: skip
    if value >= 0:
        return None
    check_time()
    p = problem.pairs
    size = problem.size
    full = [[0] * size for _ in range(size)]
    for a, b, s in zip(p.a.tolist(), p.b.tolist(), p.s.tolist(), strict=True):
        full[a][b] = full[b][a] = numerators[s]
    for start, end in zip(problem.starts, problem.starts[1:], strict=False):
        block = [row[start:end] for row in full[start:end]]
        if not semidefinite(block):
            return None
    functional = {
        tuple(m): Fraction(n, denominator)
        for m, n in zip(p.sums.tolist(), numerators, strict=True)
        if n
    }
    return Refutation(functional, value, normals, size)
