"""Moment problems with constraints: sums of squares with given polynomials as weights.

    p - lambda = s_0 + s_1 g_1 + ... + s_k g_k,   every s_i a sum of squares.

The unknowns are moments y: one positive semidefinite matrix [sum_c g_c y(a + b + c)] a constraint.
Its multiplier X is the Gram matrix of s_i. The same matrices answer two questions: the largest
lambda, and for a fixed lambda the largest t with every Gram matrix minus t I semidefinite.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from scipy import sparse

from ._deadline import check_time
from ._exact import ExactBlock, semidefinite
from ._interior import Matrix, Stop, Vector, run, schur_of
from ._polynomial import Polynomial
from ._problem import gram_problem
from ._round import DENOMINATORS, rounded
from ._sumset import Rows


@dataclass(frozen=True)
class Localised:
    """Blocks of monomials, each with the polynomial that weights it.

    Attributes:
        p: What is bounded.
        weights: None for 1, else which of `constraints`.
        constraints: The g_i.
        blocks: The monomials of each block, as many as `weights`.
    """

    p: Polynomial
    constraints: tuple[Polynomial, ...]
    weights: tuple[int | None, ...]
    blocks: tuple[Rows, ...]

    @property
    def size(self) -> int:
        """Rows of all blocks."""
        return sum(len(b) for b in self.blocks)

    def starts(self) -> list[int]:
        """Where each block begins, and the end."""
        return [0, *np.cumsum([len(b) for b in self.blocks]).tolist()]


class _System:
    """y are moments; A is (moments) x (entries of the block matrix)."""

    def __init__(self, problem: Localised, bound: bool) -> None:
        n = problem.size
        self.size = n
        sums: list[np.ndarray] = []
        entries: list[np.ndarray] = []
        values: list[np.ndarray] = []
        for w, rows, start in zip(problem.weights, problem.blocks, problem.starts(), strict=False):
            k = len(rows)
            i, j = np.divmod(np.arange(k * k), k)
            base = rows[i] + rows[j]
            one = Polynomial(problem.p.variables, {(0,) * len(problem.p.variables): Fraction(1)})
            g = one if w is None else problem.constraints[w]
            for m, c in g.terms.items():
                sums.append(base + np.array(m, dtype=np.int64))
                entries.append((start + i) * n + start + j)
                values.append(np.full(k * k, float(c)))
        every = np.vstack([*sums, problem.p.support, np.zeros((1, len(problem.p.variables)), int)])
        distinct, number = np.unique(every, axis=0, return_inverse=True)
        number = number.ravel()
        count = sum(len(s) for s in sums)
        self.sums = distinct
        self.scale = float(np.abs(problem.p.floats).max(initial=1.0))
        self.a_ = sparse.csr_array(
            (np.concatenate(values), (number[:count], np.concatenate(entries))),
            shape=(len(distinct), n * n),
        )
        self.a_.sum_duplicates()
        self.parts: list[tuple[int, int, np.ndarray, sparse.csr_array]] = []
        filled = self.a_.tocoo()
        block_of = np.searchsorted(problem.starts(), filled.col // n, side="right") - 1
        for i, (start, end) in enumerate(itertools.pairwise(problem.starts())):
            cut = block_of == i
            own, at = np.unique(filled.row[cut], return_inverse=True)
            k = end - start
            entry = (filled.col[cut] // n - start) * k + filled.col[cut] % n - start
            small = sparse.csr_array((filled.data[cut], (at, entry)), shape=(len(own), k * k))
            self.parts.append((start, end, own, small))
        c = np.zeros(len(distinct))
        c[number[count:-1]] = problem.p.floats / self.scale
        self.b = -c
        h: Vector = np.zeros(len(distinct))
        if bound:
            h[number[-1]] = 1.0
        else:
            h = self.a_ @ np.eye(n).ravel()
        self.h: Vector | None = h
        even = ~(distinct % 2).any(axis=1)
        start = np.where(even, 1.0 / np.prod(distinct + 1.0, axis=1), 0.0)
        level = float(h @ start)
        self.start: Vector = start / level if abs(level) > 1e-9 else start

    def along(self, d: Vector) -> Matrix:
        return (d @ self.a_).reshape(self.size, self.size)

    slack = along

    def apply(self, x: Matrix) -> Vector:
        return self.a_ @ x.ravel()

    def schur(self, x: Matrix, z: Matrix) -> Matrix:
        # X and Z have the blocks of the problem, so each block meets its own moments only.
        out = np.zeros((len(self.b), len(self.b)))
        for start, end, own, a in self.parts:
            out[np.ix_(own, own)] += schur_of(a, x[start:end, start:end], z[start:end, start:end])
        return out


@dataclass(frozen=True)
class Solved:
    """What the solver found: lambda (or t) from both sides, and the Gram matrices.

    Attributes:
        lower: Of the Gram matrices.
        upper: Of the moments.
        gram: All blocks in one matrix, for p over its largest coefficient.
        first: First moments over the mass, where they are among the moments.
        problem: What kept the solver from converging, or "".
    """

    lower: float
    upper: float
    gram: Matrix
    first: Vector
    problem: str


def solve_localised(problem: Localised, bound: bool, stop: Stop) -> Solved:
    """Maximise lambda (`bound`) or, for lambda = 0, the margin t of all Gram matrices.

    Raises:
        numpy.linalg.LinAlgError: The solver broke down at once.
    """
    system: Any = _System(problem, bound)
    n = problem.size
    y, _, x, lower, upper, _, trouble = run(
        system, system.start.copy(), np.eye(n), np.eye(n), stop, 100
    )
    gram = x if bound else x + lower * np.eye(n)
    first = np.zeros(len(problem.p.variables))
    place = {tuple(m): i for i, m in enumerate(system.sums.tolist())}
    mass = y[place[(0,) * len(first)]]
    for i in range(len(first)):
        at = place.get(tuple(int(i == j) for j in range(len(first))))
        if at is not None and mass > 0:
            first[i] = y[at] / mass
    return Solved(lower * system.scale, upper * system.scale, gram, first, trouble)


def prove_localised(problem: Localised, gram: Matrix) -> list[tuple[int | None, ExactBlock]] | None:
    """Round Gram matrices to an exact identity; None if none of the denominators gives one.

    The blocks with weights are rounded; what is left of p is a plain Gram problem.

    Args:
        problem: With lambda already subtracted from p.
        gram: For p over its largest coefficient.
    """
    scale = float(np.abs(problem.p.floats).max(initial=1.0))
    starts = problem.starts()
    plain = [i for i, w in enumerate(problem.weights) if w is None]
    where = np.concatenate([np.arange(starts[i], starts[i + 1]) for i in plain])
    for d in (*DENOMINATORS[5:],):
        check_time()
        out: list[tuple[int | None, ExactBlock]] = []
        rest = problem.p
        for i, (w, rows) in enumerate(zip(problem.weights, problem.blocks, strict=True)):
            if w is None:
                continue
            block = gram[starts[i] : starts[i + 1], starts[i] : starts[i + 1]] * scale
            numerators = np.rint(block * d)
            if np.abs(numerators).max(initial=0.0) > 2.0**62:
                return None
            entries = tuple(tuple(int(v) for v in row) for row in numerators)
            if not semidefinite(entries):
                break
            exact = ExactBlock(rows, entries, d)
            rest = rest - expanded(rest.variables, exact) * problem.constraints[w]
            if any(any(row) for row in entries):
                out.append((w, exact))
        else:
            inner = gram_problem(rest, [problem.blocks[i] for i in plain])
            if len(inner.uncovered):
                continue
            q = gram[np.ix_(where, where)] * scale / inner.scale
            q = inner.matrix(inner.project(q))
            found = rounded(inner, q)
            if found is not None:
                return [*((None, b) for b in found), *out]
    return None


def expanded(variables: Sequence[str], block: ExactBlock) -> Polynomial:
    """Return z' Q z."""
    rows = block.rows.tolist()
    terms: dict[tuple[int, ...], Fraction] = {}
    for i, a in enumerate(rows):
        for j in range(i, len(rows)):
            v = block.value(i, j) * (1 if i == j else 2)
            if v:
                m = tuple(x + y for x, y in zip(a, rows[j], strict=True))
                terms[m] = terms.get(m, Fraction(0)) + v
    return Polynomial(tuple(variables), terms)
