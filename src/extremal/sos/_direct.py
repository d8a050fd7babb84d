"""Direct proofs: squares of one and two monomials, chosen in integers, without a solver.

Notation: a term c x^s that is no square (s odd somewhere, or c < 0) becomes 2 q x^a x^b with
a + b = s, which asks for |q| at x^2a and at x^2b: |q| (x^a +- x^b)^2. What a diagonal entry lacks
is a negative term at 2a again, and is passed on to two other squares.

Many small polynomials are such sums (weighted means of arithmetic and geometric type, Rosenbrock's
valley), and an interior point takes milliseconds for them. The choice is greedy and proves nothing
by itself: the Gram matrix that comes out is tested like any other, and if it fails nothing is said.

Source: binomial squares as in Reznick, "Forms derived from the arithmetic-geometric inequality"
(1989), and diagonally dominant Gram matrices (Ahmadi, Majumdar, arXiv:1706.02586). Differs from
them: no linear program; a matrix that is semidefinite without being dominant is accepted too.
"""

import itertools
import math
from collections.abc import Iterator

import numpy as np

from ._exact import ExactBlock
from ._polynomial import Monomial, Polynomial
from ._sparsity import components

_TERMS = 40  # larger polynomials are solved in a time beside which this attempt is not free
_ODD = 5  # variables with an odd exponent that are dealt out in all ways
_HALVINGS = 40  # how often an entry may have been halved: the steps at most


def direct_blocks(p: Polynomial) -> tuple[ExactBlock, ...] | None:
    """Return exact Gram blocks of p, or None, which says nothing.

    Args:
        p: A polynomial, not zero.

    Example:
        >>> from ._parse import parse
        >>> [b.entries for b in direct_blocks(parse("x^2 - 2*x*y + y^2 + 3"))]
        [((3,),), ((1, -1), (-1, 1))]

    Cost: tens of microseconds; with over 40 terms nothing is tried.
    """
    if len(p.terms) > _TERMS or not p.variables:
        return None
    found = _Binomials(p)
    return found.blocks() if found.choose() else None


class _Binomials:
    """Entries off the diagonal, chosen one after the other; monomials are numbers.

    The number of a monomial has its exponents as digits to a base that no sum of two reaches, so
    numbers of products are sums of numbers, and only equal monomials have equal numbers.
    """

    def __init__(self, p: Polynomial) -> None:
        bottom, integers = p.integers
        self.scale = bottom << _HALVINGS
        n = len(p.variables)
        degrees = [sum(m) for m in p.terms]
        self.degrees = -(-min(degrees) // 2), max(degrees) // 2  # of monomials in squares
        base = 2 * max(map(max, p.terms)) + 2
        self.powers = [base**i for i in range(n)]
        self.name: dict[int, Monomial] = {}
        self.terms: dict[int, int] = {}
        self.even: dict[int, bool] = {}
        self.have: dict[int, None] = {}  # ordered: the same answer every time
        for m, c in zip(p.terms, integers, strict=True):
            number = self._number(m)
            self.terms[number] = c << _HALVINGS
            self.even[number] = not any(e % 2 for e in m)
            if c > 0 and self.even[number]:
                self.have[number // 2] = None
                self.name[number // 2] = tuple(e // 2 for e in m)
            else:
                self.name[number] = m
        self.balance = dict(self.terms)
        self.off: dict[tuple[int, int], int] = {}

    def _number(self, m: Monomial) -> int:
        return sum(e * b for e, b in zip(m, self.powers, strict=True))

    def choose(self) -> bool:
        """Write everything that is no square as pairs; False if that is not in sight."""
        if not all(self._ask(s, c, True) for s, c in self.terms.items() if not self.even[s]):
            return False
        kept: set[int] = set()  # squares that lack something that nothing else can give
        for _ in range(_HALVINGS - 2):
            lacking = next(
                (s for s, c in self.balance.items() if c < 0 and self.even[s] and s not in kept),
                None,
            )
            if lacking is None:
                return True
            if self._ask(lacking, self.balance[lacking], False):
                self.balance[lacking] = 0
            elif self.terms.get(lacking, 0) > 0:
                kept.add(lacking)
            else:
                return False
        return False

    def _ask(self, s: int, c: int, odd: bool) -> bool:
        """Write c x^s as 2 q x^a x^b with the pair that leaves most on the diagonal."""
        size = abs(c) // 2
        best: tuple[int, int] | None = None
        rank = (0, 0)
        for a, b in self._pairs(s, odd):
            x, y = self.balance.get(2 * a, 0) - size, self.balance.get(2 * b, 0) - size
            new = min(x, 0) + min(y, 0), min(x, y)
            if best is None or new > rank:
                best, rank = (a, b), new
        if best is None:
            return False
        self.off[best] = self.off.get(best, 0) + (size if c > 0 else -size)
        for m in best:
            self.have[m] = None
            self.even[2 * m] = True
            self.balance[2 * m] = self.balance.get(2 * m, 0) - size
        return True

    def _pairs(self, s: int, odd: bool) -> Iterator[tuple[int, int]]:
        """Yield distinct a < b with a + b = s: two of those there are, else halves of s."""
        found = False
        for a in self.have:
            b = s - a
            if a < b and b in self.have:
                found = True
                yield a, b
        if found or not odd:
            return
        m = self.name[s]
        at = [i for i, e in enumerate(m) if e % 2]
        if len(at) > _ODD:
            return
        low = [e // 2 for e in m]
        for ups in itertools.product((0, 1), repeat=len(at) - 1):
            halves = [list(low), list(low)]
            for i, up in zip(at, (0, *ups), strict=True):
                halves[up][i] += 1
            if all(self.degrees[0] <= sum(h) <= self.degrees[1] for h in halves):
                a, b = map(self._number, map(tuple, halves))
                self.name[a], self.name[b] = tuple(halves[0]), tuple(halves[1])
                yield min(a, b), max(a, b)

    def blocks(self) -> tuple[ExactBlock, ...] | None:
        """Return the Gram matrix with these entries, in blocks, if it is semidefinite."""
        rows = sorted(self.have, key=lambda m: (sum(self.name[m]), self.name[m]))
        at = {m: i for i, m in enumerate(rows)}
        left = dict(self.terms)
        for (a, b), q in self.off.items():
            left[a + b] = left.get(a + b, 0) - 2 * q
        diagonal = [left.pop(2 * m, 0) for m in rows]
        assert not any(left.values())  # every other term was written as pairs
        out: list[ExactBlock] = []
        for group in components(len(rows), ((at[a], at[b]) for a, b in self.off)):
            if any(diagonal[i] <= 0 for i in group) and (len(group) > 1 or diagonal[group[0]]):
                return None
            if not diagonal[group[0]]:
                continue
            values = [
                [
                    diagonal[i] if i == j else self.off.get(_ordered(rows[i], rows[j]), 0)
                    for j in group
                ]
                for i in group
            ]
            divisor = math.gcd(self.scale, *(v for row in values for v in row))
            block = ExactBlock(
                np.array([self.name[rows[i]] for i in group], dtype=np.int64),
                tuple(tuple(v // divisor for v in row) for row in values),
                self.scale // divisor,
            )
            if not block.semidefinite:
                return None
            out.append(block)
        return tuple(out)


def _ordered(a: int, b: int) -> tuple[int, int]:
    return (a, b) if a < b else (b, a)
