"""The Gram problem: p = sum of z' Q z over blocks, as numbers for a solver and exactly.

Notation: rows are the monomials of all blocks, one below the other; a pair (a, b) is an unknown
Q[a, b]; s its sum; w = 1 on the diagonal and 2 off it, so that for every sum
sum of w Q = coefficient (F-numbers are those of the documentation).
Kernel form: in every sum one pair depends on the others, so that any values of these give a Q that
satisfies the identity exactly, and rounding them never breaks it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
from jaxtyping import Float, Int

from ._polynomial import Polynomial
from ._sumset import Pairs, Rows, find, pairs

Vector = Float[np.ndarray, " _"]
Matrix = Float[np.ndarray, "_ _"]


@dataclass(frozen=True)
class GramProblem:
    """Unknown Gram blocks of a polynomial.

    Attributes:
        p: The polynomial.
        blocks: The monomials of each block.
        pairs: The unknowns, grouped by sum.
        uncovered: Monomials of p that no pair adds up to; with any, p is no sum of such squares.
    """

    p: Polynomial
    blocks: tuple[Rows, ...]
    pairs: Pairs
    uncovered: Rows

    @cached_property
    def rows(self) -> Rows:
        """The monomials of all blocks."""
        n = len(self.p.variables)
        return np.vstack(self.blocks) if self.blocks else np.zeros((0, n), dtype=np.int64)

    @cached_property
    def starts(self) -> list[int]:
        """Where each block begins, and the end."""
        return [0, *np.cumsum([len(b) for b in self.blocks]).tolist()]

    @property
    def size(self) -> int:
        """How many rows."""
        return len(self.rows)

    @cached_property
    def weights(self) -> Vector:
        """1 on the diagonal, 2 off it."""
        return np.where(self.pairs.a == self.pairs.b, 1.0, 2.0)

    @cached_property
    def exact(self) -> list[Fraction]:
        """The coefficient of each sum."""
        at = find(self.pairs.sums, self.p.support)
        values = list(self.p.terms.values())
        zero = Fraction(0)
        return [values[i] if i >= 0 else zero for i in at.tolist()]

    @cached_property
    def scale(self) -> float:
        """The largest coefficient; solvers see p divided by it."""
        bottom, integers = self.p.integers
        return max(map(abs, integers), default=1) / (bottom if integers else 1)

    @cached_property
    def floats(self) -> Vector:
        """The coefficient of each sum, divided by the largest."""
        _, integers = self.p.integers
        largest = max(map(abs, integers), default=1)
        at = find(self.pairs.sums, self.p.support)
        return np.array([integers[i] / largest if i >= 0 else 0.0 for i in at.tolist()])

    @cached_property
    def dependent(self) -> Int[np.ndarray, " sums"]:
        """The pair of each sum that the others determine; a diagonal one where there is one."""
        off = (self.pairs.a != self.pairs.b).astype(np.int64)
        order = np.lexsort((off, self.pairs.s))
        first = np.ones(len(order), dtype=bool)
        s = self.pairs.s[order]
        first[1:] = s[1:] != s[:-1]
        return order[first]

    @cached_property
    def free(self) -> Int[np.ndarray, " k"]:
        """The other pairs: the unknowns of the kernel form."""
        mask = np.ones(len(self.pairs.a), dtype=bool)
        mask[self.dependent] = False
        return np.flatnonzero(mask)

    @property
    def freedom(self) -> int:
        """How many unknowns the kernel form has."""
        return len(self.pairs.a) - len(self.pairs.sums)

    @cached_property
    def pair_at(self) -> Int[np.ndarray, "rows rows"]:
        """The number of the pair of two rows, -1 where they are in different blocks."""
        p = self.pairs
        out = np.full((self.size, self.size), -1, dtype=np.int64)
        out[p.a, p.b] = out[p.b, p.a] = np.arange(len(p.a))
        return out

    @cached_property
    def integer_effects(self) -> "tuple[int, Int[np.ndarray, 'pairs k'], list[int]]":
        """What 2 denominator times each pair is, in integers.

        Returns:
            The denominator; for each pair the factors of the free pairs (times the denominator),
            at most 4; for each pair a constant.
        """
        denominator = math.lcm(*(c.denominator for c in self.exact))
        k = self.freedom
        weight = self.weights.astype(np.int64)
        partner = self.dependent[self.pairs.s[self.free]]
        effects = np.zeros((len(weight), k), dtype=np.int64)
        effects[self.free, np.arange(k)] = 2
        effects[partner, np.arange(k)] = -2 * weight[self.free] // weight[partner]
        constants = [0] * len(weight)
        for e, c in zip(self.dependent.tolist(), self.exact, strict=True):
            constants[e] = 2 * c.numerator * (denominator // c.denominator) // int(weight[e])
        return denominator, effects, constants

    def matrix(self, q: Vector) -> Matrix:
        """Return the symmetric matrix with these values of the pairs."""
        m = np.zeros((self.size, self.size))
        m[self.pairs.a, self.pairs.b] = q
        m[self.pairs.b, self.pairs.a] = q
        return m

    def complete(self, free: Vector) -> Vector:
        """Return all pairs' values from those of the free ones (coefficients over `scale`)."""
        q = np.zeros(len(self.pairs.a))
        q[self.free] = free
        left = self.floats - np.bincount(
            self.pairs.s, weights=self.weights * q, minlength=len(self.pairs.sums)
        )
        q[self.dependent] = left / self.weights[self.dependent]
        return q

    def spread(self) -> Vector:
        """Return the pairs' values of least norm that satisfy the identity."""
        count = np.bincount(self.pairs.s, weights=self.weights, minlength=len(self.pairs.sums))
        return (self.floats / count)[self.pairs.s]

    @cached_property
    def balance(self) -> Vector:
        """A factor a row that brings the diagonal of D Q D near 1, from the terms of p."""
        at = find(2 * self.rows, self.p.support)
        c = np.abs(self.p.floats) / self.scale
        known = at >= 0
        out = np.ones(self.size)
        if known.any():
            # log2 |c| of a square term is about linear in its exponents; others follow the fit
            system = np.hstack([self.rows, np.ones((self.size, 1))]).astype(float)
            target = np.log2(c[at[known]])
            fit = np.linalg.lstsq(system[known], target, rcond=None)[0]
            level = system @ fit
            level[known] = target
            out = 2.0 ** np.clip(-level / 2, 0.0, 13.0)
        return out

    def project(self, q: Matrix) -> Vector:
        """Return the pairs' values nearest to a matrix that satisfy the identity."""
        values = q[self.pairs.a, self.pairs.b]
        count = np.bincount(self.pairs.s, weights=self.weights, minlength=len(self.pairs.sums))
        now = np.bincount(
            self.pairs.s, weights=self.weights * values, minlength=len(self.pairs.sums)
        )
        return values + ((self.floats - now) / count)[self.pairs.s]


def gram_problem(p: Polynomial, blocks: Sequence[Rows], memory: int = 2 << 30) -> GramProblem:
    """Set up the unknowns.

    Args:
        p: The polynomial.
        blocks: Distinct monomials for each block, none empty.
        memory: Limit of the index in bytes.

    Raises:
        MemoryLimitError: The index would be larger.
    """
    kept = tuple(b for b in blocks if len(b))
    n = len(p.variables)
    rows = np.vstack(kept) if kept else np.zeros((0, n), dtype=np.int64)
    found = pairs(rows, [len(b) for b in kept], memory)
    missing = p.support[find(p.support, found.sums) < 0]
    return GramProblem(p, kept, found, missing)
