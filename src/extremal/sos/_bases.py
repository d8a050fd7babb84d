"""Bases by rule: which monomials squares may use, and in which blocks.

| name | monomials | lossless |
|---|---|---|
| full | all of degree at most d | yes |
| newton | H(p), half the Newton polytope | yes |
| diagonal | K(p): H(p) after diagonal consistency | yes |
| tssos | K(p) in stable term-sparsity blocks | yes |
| chordal | K(p) in cliques of a chordal extension | no |
| correlative | K(p) in cliques of variables, then term sparsity | no |
| even-support | halves of even terms with positive coefficients, repaired | no |
| lp-vertices | halves of vertices of the Newton polytope, repaired | no |

All but chordal and correlative are split by sign symmetry, which is lossless. "Lossless" says that
infeasibility of the basis proves that p is not a sum of squares.

Source: spec of the area; even support is the training-free rule that a learned oracle must beat.
"""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from ._consistency import consistent, repair
from ._deadline import check_time
from ._errors import MemoryLimitError
from ._newton import HalfNewton, half_newton
from ._polynomial import Polynomial
from ._sparsity import Blocks, chordal_blocks, correlative_blocks, sign_blocks, term_blocks
from ._sumset import Rows, find, unique_rows

Name = Literal[
    "full", "newton", "diagonal", "tssos", "chordal", "correlative", "even-support", "lp-vertices"
]
LOSSLESS = frozenset({"full", "newton", "diagonal", "tssos"})


@dataclass(frozen=True)
class Bases:
    """The monomials that squares in a polynomial may use; everything is computed once, on demand.

    Attributes:
        p: A polynomial, not zero.
        limit: How many lattice points H(p) is listed with at most.
    """

    p: Polynomial
    limit: int = 100_000

    @cached_property
    def half(self) -> HalfNewton:
        """H(p) with its half-spaces."""
        return half_newton(self.p.support, self.limit)

    @cached_property
    def consistent(self) -> Rows:
        """K(p)."""
        return consistent(self.half.points, self.p.support)

    @property
    def full_size(self) -> int:
        """How many monomials have degree at most half that of p."""
        n, d = len(self.p.variables), self.p.degree // 2
        return math.comb(n + d, d)

    def full(self) -> Rows:
        """All monomials of degree at most half that of p.

        Raises:
            MemoryLimitError: There are more than `limit`.
        """
        if self.full_size > self.limit:
            raise MemoryLimitError(
                f"the full basis has {self.full_size:,} monomials, over the limit of "
                f"{self.limit:,}; use the basis 'diagonal' or 'even-support'."
            )
        return full_rows(len(self.p.variables), self.p.degree // 2)

    @cached_property
    def even_support(self) -> Rows:
        """Halves of even terms with positive coefficients."""
        s = self.p.support
        even = ~(s % 2).any(axis=1) & (self.p.floats > 0)
        return unique_rows(s[even] // 2)

    @cached_property
    def lp_vertices(self) -> Rows:
        """Halves of the even vertices of the Newton polytope, found by linear programs."""
        return vertices(self.p.support)

    def rows(self, name: Name, allowed: Rows | None = None) -> Rows:
        """Return the monomials of a basis; the two seeds are repaired, inside `allowed` if given.

        Raises:
            MemoryLimitError: They are more than the limit.
        """
        if name == "full":
            return self.full()
        if name == "newton":
            return self.half.points
        if name in {"even-support", "lp-vertices"}:
            seed = self.even_support if name == "even-support" else self.lp_vertices
            if allowed is not None:
                seed = seed[find(seed, allowed) >= 0]
            return repair(seed, self.p.support, allowed)[0]
        return self.consistent

    def blocks(self, name: Name) -> Blocks:
        """Return the blocks of a basis."""
        rows = self.rows(name)
        support = self.p.support
        if name == "tssos":
            return term_blocks(rows, support)
        if name == "chordal":
            return chordal_blocks(rows, support)
        if name == "correlative":
            return correlative_blocks(rows, support)
        return sign_blocks(rows, support)


def full_rows(n: int, degree: int) -> Rows:
    """Return all monomials of at most a degree."""
    rows = np.zeros((1, n), dtype=np.int64)
    for i in range(n):
        grown = [rows]
        for e in range(1, degree + 1):
            more = rows[rows.sum(axis=1) + e <= degree].copy()
            more[:, i] = e
            grown.append(more)
        rows = np.vstack(grown)
    return unique_rows(rows)


def vertices(support: Rows) -> Rows:
    """Return halves of the even support points that no others have in their convex hull.

    Cost: a linear program for each even point that is not the midpoint of two others.
    """
    from scipy.optimize import linprog

    have = {tuple(r) for r in support.tolist()}
    out: list[np.ndarray] = []
    for i, u in enumerate(support):
        if (u % 2).any():
            continue
        mirrored = 2 * u - support
        ok = (mirrored >= 0).all(axis=1) & (mirrored != u).any(axis=1)
        if any(tuple(r) in have for r in mirrored[ok].tolist()):
            continue
        check_time()
        others = np.delete(support, i, axis=0)
        if len(others):
            answer = linprog(
                np.zeros(len(others)),
                A_eq=np.vstack([others.T, np.ones(len(others))]),
                b_eq=np.append(u, 1.0),
                bounds=(0, None),
                method="highs",
            )
            if answer.status == 0:
                continue
        out.append(u // 2)
    n = support.shape[1]
    return unique_rows(np.array(out, dtype=np.int64).reshape(len(out), n))
