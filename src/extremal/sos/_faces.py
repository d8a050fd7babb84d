"""Boundary cases: find the face of the cone in which all Gram matrices lie, and solve inside it.

If every Gram matrix of p kills a vector v, no rounding of an interior solution exists; but Q v = 0
is a linear condition on the free pairs. It is imposed exactly, which leaves fewer unknowns and a
smaller cone with an interior. A wrong guess of v costs time, never truth: what comes out is checked
like any other Gram matrix.

Guesses of v: the null space of the float Gram matrix, made rational by reducing it to echelon form;
z(x) for rational real zeros x of p; and for irrational null spaces the smallest rational space that
contains them, found by integer relations (LLL).
"""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import linalg

from extremal.lab import require

from ._deadline import check_time
from ._exact import ExactBlock
from ._interior import Margin, Stop, kernel_form
from ._problem import GramProblem, Matrix
from ._round import DENOMINATORS, exact_blocks, plausible

_MAX_UNKNOWNS = 1500
_MAX_TRIES = 12
_MAX_EQUATIONS = 4_000_000  # entries of the rational system

Kernel = list[list[list[Fraction]]]  # of each block: vectors
Levels = tuple[tuple[int, float], ...]  # denominators, and how near a float must be to be one
_STRICT: Levels = ((12, 2e-4), (100, 2e-5), (1000, 2e-7))
# Where a face lies in a face the dual is less accurate, and few denominators are above 30.
_LOOSE: Levels = ((30, 2e-4), (100, 2e-5), (1000, 2e-7))


@dataclass(frozen=True)
class _Affine:
    """The free pairs that kill a kernel, in integers: some are chosen, the others follow.

    scale * pivot pair = last entry / denominator - (entries of the chosen ones) * (chosen pairs),
    with a scale for each row.

    Attributes:
        count: How many free pairs there are.
        chosen: Which may have any value.
        pivots: Which follow.
        rows: For each of these the integers above: of the chosen ones, then the last.
        scales: None is 0.
        denominator: Of the right sides, positive.
    """

    count: int
    chosen: list[int]
    pivots: list[int]
    rows: list[list[int]]
    scales: list[int]
    denominator: int

    def floats(self) -> tuple[np.ndarray, np.ndarray]:
        """Return origin and span: free pairs = origin + span chosen."""
        origin = np.zeros(self.count)
        span = np.zeros((self.count, len(self.chosen)))
        span[self.chosen, np.arange(len(self.chosen))] = 1.0
        for pivot, row, scale in zip(self.pivots, self.rows, self.scales, strict=True):
            origin[pivot] = row[-1] / (scale * self.denominator)
            span[pivot] = [-x / scale if x else 0.0 for x in row[:-1]]
        return origin, span

    def exact(self, numerators: Sequence[int], d: int) -> list[Fraction]:
        """Return all free pairs, exactly, from the chosen ones over a denominator."""
        out = [Fraction(0)] * self.count
        for j, v in zip(self.chosen, numerators, strict=True):
            out[j] = Fraction(v, d)
        for pivot, row, scale in zip(self.pivots, self.rows, self.scales, strict=True):
            moved = sum(x * v for x, v in zip(row, numerators, strict=False) if x)
            top = row[-1] * d - self.denominator * moved
            out[pivot] = Fraction(top, scale * self.denominator * d)
        return out


def certify_on_face(
    problem: GramProblem, margin: Margin, zeros: list[list[Fraction]], stop: Stop
) -> tuple[ExactBlock, ...] | None:
    """Return exact blocks of a polynomial whose Gram matrices lie on the boundary, or None.

    Args:
        problem: What is asked.
        margin: A float solution with t about 0, of high accuracy.
        zeros: Rational real zeros of p.
        stop: For the solver.

    Cost: a rational elimination with a row for each monomial and null vector.
    """
    if problem.freedom > _MAX_UNKNOWNS:
        return None
    tried: set[str] = set()
    empty: Kernel = [[] for _ in problem.blocks]
    return _each(problem, margin, empty, zeros, stop, tried, 0)


def _each(
    problem: GramProblem,
    margin: Margin,
    known: Kernel,
    zeros: list[list[Fraction]],
    stop: Stop,
    tried: set[str],
    depth: int,
) -> tuple[ExactBlock, ...] | None:
    """Try the guesses that go beyond the known kernel."""
    size = sum(map(len, known))
    for kernel in _guesses(problem, margin, known, zeros):
        word = repr(kernel)
        if word in tried or sum(map(len, kernel)) <= size or len(tried) >= _MAX_TRIES:
            continue
        tried.add(word)
        found = _inside(problem, kernel, stop, tried, depth)
        if found is not None:
            return found
    return None


def _inside(
    problem: GramProblem, kernel: Kernel, stop: Stop, tried: set[str], depth: int
) -> tuple[ExactBlock, ...] | None:
    affine = _killing(problem, kernel)
    if affine is None:
        return None
    if not affine.chosen:
        return exact_blocks(problem, affine.exact([], 1))
    face = _complement(problem, kernel)
    if face.shape[1] == 0:
        return exact_blocks(problem, affine.exact([0] * len(affine.chosen), 1))
    scale = problem.scale
    origin, span = affine.floats()
    margin = kernel_form(problem, stop, face, origin / scale, span)
    if margin.upper < -1e-7:
        return None
    values = margin.q[problem.pairs.a, problem.pairs.b][problem.free] * scale
    chosen = values[affine.chosen]
    # Without an interior only the denominators of the data can hit a proof.
    for d in DENOMINATORS if abs(margin.t) > 1e-9 else (*DENOMINATORS[:8], 10**4):
        numerators = np.rint(chosen * d)
        if np.abs(numerators).max(initial=0.0) > 2.0**62:
            break
        if not plausible(problem, origin + span @ (numerators / d)):
            continue
        found = exact_blocks(problem, affine.exact([int(v) for v in numerators], d))
        if found is not None:
            return found
    if depth < 4 and abs(margin.t) < 1e-5:
        return _each(problem, margin, kernel, [], stop, tried, depth + 1)
    return None


def _complement(problem: GramProblem, kernel: Kernel) -> Matrix:
    """Orthonormal columns that span what the kernel leaves, block by block."""
    columns: list[np.ndarray] = []
    for vectors, start, end in zip(kernel, problem.starts, problem.starts[1:], strict=False):
        n = end - start
        if vectors:
            v = np.array([[float(x) for x in row] for row in vectors])
            v /= np.abs(v).max(axis=1, keepdims=True)
            u = linalg.null_space(v, rcond=1e-10)
        else:
            u = np.eye(n)
        wide = np.zeros((problem.size, u.shape[1]))
        wide[start:end] = u
        columns.append(wide)
    return np.hstack(columns)


def _killing(problem: GramProblem, kernel: Kernel) -> _Affine | None:
    """Solve Q v = 0 for all v of the kernel, exactly; None if that is impossible or too large."""
    flint = require("flint", "sos")

    k = problem.freedom
    count = sum(len(v) * len(b) for v, b in zip(kernel, problem.blocks, strict=True))
    if count * (k + 1) > _MAX_EQUATIONS:
        return None
    denominator, effects, constants = problem.integer_effects
    equations: list[list[int]] = []
    for vectors, start, end in zip(kernel, problem.starts, problem.starts[1:], strict=False):
        if not vectors:
            continue
        check_time()
        v = [_integers(row) for row in vectors]
        at = problem.pair_at[start:end, start:end]
        # of row i and vector v: the sum over j of v_j times what 2 denominator Q[i, j] is
        small = 4 * max(sum(map(abs, row)) for row in v) < 2**53  # exact in floats, then
        kind = float if small else object
        left = np.tensordot(np.array(v, dtype=kind), effects[at].astype(kind), (1, 1))
        rows = left.reshape(-1, k).astype(np.int64 if small else object).tolist()
        right = [[constants[e] for e in row] for row in at.tolist()]
        for row, (x, c) in zip(rows, itertools.product(v, right), strict=True):
            equations.append([*row, sum(y * z for y, z in zip(x, c, strict=True) if z)])
    equations = [row for row in equations if any(row)]
    for row in equations:
        row[k] = -row[k]
        if not any(row[:k]):
            return None
    if not equations:
        return _Affine(k, list(range(k)), [], [], [], 1)
    reduced, scale, rank = flint.fmpz_mat(equations).rref()
    check_time()
    scale = int(scale)
    found = reduced.tolist()[:rank]
    pivots = [next(at for at, x in enumerate(row) if x) for row in found]
    if pivots[-1] == k:
        return None
    chosen = sorted(set(range(k)) - set(pivots))
    rows: list[list[int]] = []
    scales: list[int] = []
    for row in found:
        kept = [int(row[j]) for j in (*chosen, k)]
        divisor = math.gcd(scale, *kept)  # what elimination without fractions left behind
        rows.append([x // divisor for x in kept])
        scales.append(scale // divisor)
    return _Affine(k, chosen, pivots, rows, scales, denominator)


def _integers(v: Sequence[Fraction]) -> list[int]:
    """The same direction in integers."""
    scale = math.lcm(*(x.denominator for x in v))
    return [x.numerator * (scale // x.denominator) for x in v]


def _guesses(
    problem: GramProblem, margin: Margin, known: Kernel, zeros: list[list[Fraction]]
) -> Iterator[Kernel]:
    """Yield kernels to try, the most plausible first; each contains the known one."""
    spans = list(zip(problem.starts, problem.starts[1:], strict=False))
    given = [_orthonormal(k, end - start) for k, (start, end) in zip(known, spans, strict=True)]
    # Every Gram matrix kills the range of an optimal dual matrix, and that range is accurate.
    dual = [linalg.eigh(margin.moments[start:end, start:end]) for start, end in spans]
    for threshold in _cuts(np.concatenate([w for w, _ in dual])):
        ranges = [
            _joined(old, v[:, w > threshold]) for (w, v), old in zip(dual, given, strict=True)
        ]
        for levels in (_STRICT, _LOOSE):
            hulls = [_rational_space(space, levels) for space in ranges]
            if all(k is not None for k in hulls):
                yield [k for k in hulls if k is not None]
                break
    spaces = [linalg.eigh(margin.q[start:end, start:end]) for start, end in spans]
    exact: Kernel = [list(k) for k in known]
    for x in zeros:
        for i, block in enumerate(problem.blocks):
            vector = [_value(m, x) for m in block.tolist()]
            if any(vector):
                exact[i].append(vector)
    levels = _cuts(np.concatenate([w for w, _ in spaces]))
    for threshold in levels:
        kernel: Kernel = []
        for (w, v), sure in zip(spaces, exact, strict=True):
            found = _rational_space(v[:, w < threshold])
            kernel.append(sure if found is None else found)
        yield kernel
    yield exact
    for threshold in levels:
        hulls = [_rational_hull(v[:, w < threshold]) for w, v in spaces]
        if all(k is not None for k in hulls):
            yield [k for k in hulls if k is not None]


def _orthonormal(vectors: list[list[Fraction]], n: int) -> np.ndarray:
    if not vectors:
        return np.zeros((n, 0))
    v = np.array([[float(x) for x in row] for row in vectors]).T
    return linalg.orth(v / np.abs(v).max(axis=0), rcond=1e-10)


def _joined(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    if not a.shape[1]:
        return b
    return linalg.orth(np.hstack([a, b]), rcond=1e-4)


def _cuts(eigenvalues: np.ndarray, count: int = 5) -> list[float]:
    """Where the eigenvalues may fall into zero and not zero: the widest gaps, widest first."""
    w = np.sort(np.maximum(np.abs(eigenvalues), 1e-13))
    w = w[: int(np.searchsorted(w, 1e-2 * w[-1])) + 1]
    if len(w) < 2:
        return [2 * float(w[0])] if len(eigenvalues) > 1 else []
    gaps = np.log(w[1:] / w[:-1])
    order = np.argsort(-gaps, kind="stable")[:count]
    return [float(np.sqrt(w[i] * w[i + 1])) for i in order if gaps[i] > 0.7]


def _value(m: list[int], x: list[Fraction]) -> Fraction:
    value = Fraction(1)
    for e, v in zip(m, x, strict=True):
        if e:
            value *= v**e
    return value


def echelon(space: np.ndarray) -> tuple[np.ndarray, list[int]]:
    """Reduce the columns of a float basis so that chosen rows are a unit matrix."""
    v = space.T.copy()
    chosen: list[int] = []
    for i in range(len(v)):
        rest = np.abs(v[i:]).copy()
        rest[:, chosen] = 0.0
        r, c = np.unravel_index(int(rest.argmax()), rest.shape)
        v[[i, i + int(r)]] = v[[i + int(r), i]]
        chosen.append(int(c))
        v[i] /= v[i, c]
        others = v[:, c].copy()
        others[i] = 0.0
        v -= np.outer(others, v[i])
    return v, chosen


def _rational_space(space: np.ndarray, levels: Levels = _STRICT) -> list[list[Fraction]] | None:
    """Rational vectors that span the columns, or None if they do not look rational."""
    if not space.shape[1]:
        return []
    reduced, _ = echelon(space)
    tops, bottoms = _simple(reduced.ravel(), levels)
    if not bottoms.all():
        return None
    n = len(space)
    every = [Fraction(a, b) for a, b in zip(tops.tolist(), bottoms.tolist(), strict=True)]
    return [every[at : at + n] for at in range(0, len(every), n)]


def _simple(x: np.ndarray, levels: Levels) -> tuple[np.ndarray, np.ndarray]:
    """The fractions of least denominator within the accuracy of a solver; denominator 0: none."""
    size = np.maximum(1.0, np.abs(x))
    tops = np.rint(x)
    bottoms = (np.abs(tops - x) < 2e-3 * size).astype(np.int64)  # most are integers
    for limit, tolerance in levels:
        left = np.flatnonzero(bottoms == 0)
        if not len(left):
            break
        d = np.arange(2, limit + 1)
        near = np.rint(np.outer(x[left], d))
        hit = np.abs(near / d - x[left, None]) < tolerance * size[left, None]
        at = hit.argmax(axis=1)
        good = hit.any(axis=1)
        tops[left[good]] = near[good, at[good]]
        bottoms[left[good]] = d[at[good]]
    return tops.astype(np.int64), bottoms


def _rational_hull(space: np.ndarray) -> list[list[Fraction]] | None:
    """The least rational space that seems to contain the columns, by integer relations.

    Small integers a with a.v = 0 for every column v are the relations; the space is what they kill.
    A rational Gram matrix that kills an irrational zero kills its conjugates as well, and these
    span, with it, a rational space.
    """
    flint = require("flint", "sos")

    n, q = space.shape
    if not q:
        return []
    if n > 40:
        return None
    scale = 10**7
    largest = max(1.0, scale ** (q / max(1, n - q)) / 6)  # chance alone gives relations beyond it
    v = np.rint(space * scale).astype(np.int64).tolist()
    lattice = flint.fmpz_mat([[int(i == j) for j in range(n)] + v[i] for i in range(n)]).lll()
    relations: list[list[int]] = []
    for i in range(n):
        row = [int(lattice[i, j]) for j in range(n + q)]
        a, tail = row[:n], row[n:]
        close = all(abs(t) <= 5 * sum(map(abs, a)) for t in tail)
        if any(a) and max(map(abs, a)) <= largest and close:
            relations.append(a)
    if not relations:
        return None
    null, nullity = flint.fmpz_mat(relations).nullspace()
    return [[Fraction(int(null[i, j])) for i in range(n)] for j in range(nullity)] or None
