"""Exact Gram matrices: positive semidefinite or not, decided without tolerance.

Two proofs are used. A matrix well inside the cone is shown positive definite by a floating-point
Cholesky factorisation of the matrix minus a shift that exceeds every rounding error (Rump 2006);
any other by symmetric elimination in rationals, which also gives the squares.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import linalg

from extremal.lab import require

from ._deadline import check_time
from ._sumset import Rows

Matrix = Float[np.ndarray, "_ _"]
_LAPACK: Any = linalg.lapack  # its functions are made at run time
_UNIT = 2.0**-53


@dataclass(frozen=True)
class ExactBlock:
    """One block z' Q z with Q = entries / denominator, symmetric and positive semidefinite.

    Attributes:
        rows: Its monomials z.
        entries: Integers, full and symmetric.
        denominator: Positive.
    """

    rows: Rows
    entries: tuple[tuple[int, ...], ...]
    denominator: int

    def value(self, i: int, j: int) -> Fraction:
        """Return Q[i, j]."""
        return Fraction(self.entries[i][j], self.denominator)

    def text(self, i: int, j: int) -> str:
        """Return Q[i, j] as in certificates."""
        v = self.entries[i][j]
        return str(v) if v == 0 or self.denominator == 1 else str(self.value(i, j))

    @cached_property
    def definite(self) -> bool:
        """Whether Q is seen at once to be positive definite; False says nothing."""
        if len(self.entries) <= 2:
            return self._determinant > 0 and all(row[0] > 0 for row in self.entries[:1])
        return definite_by_floats(self.floats)

    @cached_property
    def _determinant(self) -> int:
        """Of at most two rows."""
        if not self.entries:
            return 1
        if len(self.entries) == 1:
            return self.entries[0][0]
        (a, b), (_, d) = self.entries
        return a * d - b * b

    @cached_property
    def floats(self) -> Matrix:
        """The entries, divided by one power of two and rounded."""
        return matrix_of(self.entries)

    @cached_property
    def _ldl(self) -> "list[tuple[Any, dict[int, Any]]] | None":
        return ldl(self.entries)

    @property
    def semidefinite(self) -> bool:
        """Whether the block is what it has to be; exact."""
        if self.definite:
            return True
        if len(self.entries) <= 2:
            return self._determinant >= 0 and all(r[i] >= 0 for i, r in enumerate(self.entries))
        # Clearly indefinite ones need no exact elimination: refusing a candidate claims nothing.
        if not factors(self.floats + 1e-12 * len(self.entries) * np.eye(len(self.entries))):
            return False
        return self._ldl is not None

    @cached_property
    def pivots(self) -> "tuple[tuple[Fraction, dict[int, Fraction]], ...]":
        """The squares: Q is the sum of d l l' over these (d, l), d > 0, exactly."""
        found = self._ldl
        assert found is not None  # every block that exists was shown semidefinite
        scale = self.denominator
        return tuple(
            (_fraction(d) / scale, {j: _fraction(c) for j, c in row.items()}) for d, row in found
        )


def _fraction(value: Any) -> Fraction:
    return Fraction(int(value.numerator), int(value.denominator))


def ldl(entries: Sequence[Sequence[int]]) -> "list[tuple[Any, dict[int, Any]]] | None":
    """Return pivots d > 0 and unit rows l with the matrix equal to the sum of d l l'.

    Args:
        entries: A symmetric integer matrix; zeros are skipped.

    Returns:
        The pairs, or None if the matrix is not positive semidefinite.

    Cost: n^3 / 3 rational operations when dense; sparse ones stay sparse, least degree first.
    """
    gmpy2 = require("gmpy2", "sos")
    rows: dict[int, dict[int, Any]] = {
        i: {j: gmpy2.mpq(v) for j, v in enumerate(row) if v} for i, row in enumerate(entries)
    }
    out: list[tuple[Any, dict[int, Any]]] = []
    while rows:
        check_time()
        k = min(rows, key=lambda i: (len(rows[i]), i))
        pivot_row = rows.pop(k)
        d = pivot_row.pop(k, None)
        if d is None:
            if pivot_row:
                return None
            continue
        if d < 0:
            return None
        unit = {j: v / d for j, v in pivot_row.items()}
        order = list(pivot_row.items())
        for at, (i, v) in enumerate(order):
            row = rows[i]
            del row[k]
            for j, _ in order[at:]:  # the other triangle is its mirror
                old = row.get(j)
                new = -v * unit[j] if old is None else old - v * unit[j]
                if new:
                    row[j] = rows[j][i] = new
                elif old is not None:
                    del row[j]
                    if i != j:
                        del rows[j][i]
        unit[k] = gmpy2.mpq(1)
        out.append((d, unit))
    return out


def definite_by_floats(m: Matrix) -> bool:
    """Whether every symmetric matrix that rounds to `m` is positive definite, rigorously.

    Cholesky of m - c I runs to the end only if m - c I has no eigenvalue below
    -(n + 2) u trace (Rump 2006); c covers that, the rounding of the entries and of the shift,
    eight times over. No Cholesky routine that sums in any order without cancellation tricks
    exceeds this bound.
    """
    n = len(m)
    if not np.isfinite(m).all():
        return False
    diagonal = m.diagonal()
    if n == 0:
        return True
    if diagonal.min() <= 1e-280:
        return False
    shift = 8 * (n + 4) * _UNIT * float(diagonal.sum())
    shift += 8 * _UNIT * float(np.linalg.norm(m))
    return factors(m - shift * np.eye(n))


def semidefinite(entries: Sequence[Sequence[int]]) -> bool:
    """Whether a symmetric integer matrix is positive semidefinite; exact."""
    rows = np.zeros((len(entries), 0), dtype=np.int64)
    return ExactBlock(rows, tuple(map(tuple, entries)), 1).semidefinite


def factors(m: Matrix) -> bool:
    """Whether Cholesky in floats runs to its end."""
    return _LAPACK.dpotrf(m.T, lower=1, clean=0)[1] == 0


def matrix_of(entries: Sequence[Sequence[int]]) -> Matrix:
    """Return integers as floats of size about 1: each divided by one power of two and rounded."""
    size = max((abs(v) for row in entries for v in row), default=0)
    scale = 1 << max(0, size.bit_length() - 1)
    n = len(entries)
    return np.array([[v / scale for v in row] for row in entries], dtype=float).reshape(n, n)
