"""Boundary cases: find the face of the cone in which all Gram matrices lie, and solve inside it.

If every Gram matrix of p kills a vector v, no rounding of an interior solution exists; but Q v = 0
is a linear condition on the free pairs. It is imposed exactly, which leaves fewer unknowns and a
smaller cone with an interior. A wrong guess of v costs time, never truth: what comes out is checked
like any other Gram matrix.

Guesses of v: the null space of the float Gram matrix, made rational by reducing it to echelon form;
z(x) for rational real zeros x of p; and for irrational null spaces the smallest rational space that
contains them, found by integer relations (LLL).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from scipy import linalg

from extremal.lab import require

from ._exact import ExactBlock
from ._interior import Margin, Stop, kernel_form
from ._problem import GramProblem, Matrix
from ._round import DENOMINATORS, exact_blocks, plausible

_MAX_UNKNOWNS = 1500
_MAX_TRIES = 12
_MAX_EQUATIONS = 4_000_000  # entries of the rational system

Kernel = list[list[list[Fraction]]]  # of each block: vectors


@dataclass(frozen=True, slots=True)
class _Affine:
    """Free pairs = origin + span mu, exactly."""

    origin: list[Fraction]
    span: list[dict[int, Fraction]]  # of each mu: its effect on the free pairs


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
    face = _complement(problem, kernel)
    span = np.zeros((problem.freedom, len(affine.span)))
    scale = problem.scale
    for j, column in enumerate(affine.span):
        for e, v in column.items():
            span[e, j] = float(v)
    origin = np.array([float(v) for v in affine.origin]) / scale
    if face.shape[1] == 0:
        return exact_blocks(problem, affine.origin)
    if not len(affine.span):
        return exact_blocks(problem, affine.origin)
    margin = kernel_form(problem, stop, face, origin, span)
    if margin.upper < -1e-7:
        return None
    # mu by least squares: the echelon form has a unit row for each of them
    values = margin.q[problem.pairs.a, problem.pairs.b][problem.free] * scale
    pivot = [next(e for e, v in c.items() if v == 1 and _alone(affine, e)) for c in affine.span]
    mu = values[pivot]
    # Without an interior only the denominators of the data can hit a proof.
    for d in DENOMINATORS if abs(margin.t) > 1e-9 else (*DENOMINATORS[:8], 10**4):
        numerators = np.rint(mu * d)
        if np.abs(numerators).max(initial=0.0) > 2.0**62:
            break
        if not plausible(problem, origin * scale + span @ (numerators / d)):
            continue
        free = list(affine.origin)
        for j, column in enumerate(affine.span):
            size = Fraction(int(numerators[j]), d)
            if size:
                for e, v in column.items():
                    free[e] += size * v
        found = exact_blocks(problem, free)
        if found is not None:
            return found
    if depth < 4 and abs(margin.t) < 1e-5:
        return _each(problem, margin, kernel, [], stop, tried, depth + 1)
    return None


def _alone(affine: _Affine, e: int) -> bool:
    return sum(e in c for c in affine.span) == 1 and affine.origin[e] == 0


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

    p, k = problem.pairs, problem.freedom
    free_at = {e: i for i, e in enumerate(problem.free.tolist())}
    by_sum: dict[int, list[int]] = {}
    for e in problem.free.tolist():
        by_sum.setdefault(int(p.s[e]), []).append(e)
    weight = problem.weights.astype(int).tolist()
    c = problem.exact
    dependent = problem.dependent.tolist()
    pair_at = {(a, b): e for e, (a, b) in enumerate(zip(p.a.tolist(), p.b.tolist(), strict=True))}
    rows: list[dict[int, Fraction]] = []
    s = p.s.tolist()
    for vectors, start, end in zip(kernel, problem.starts, problem.starts[1:], strict=False):
        for v in vectors:
            for i in range(start, end):
                row: dict[int, Fraction] = {}
                right = Fraction(0)
                for j, x in enumerate(v, start=start):
                    if not x:
                        continue
                    e = pair_at[min(i, j), max(i, j)]
                    if e in free_at:
                        row[free_at[e]] = row.get(free_at[e], Fraction(0)) + x
                        continue
                    assert dependent[s[e]] == e
                    right -= x * c[s[e]] / weight[e]
                    for f in by_sum.get(s[e], ()):
                        at = free_at[f]
                        row[at] = row.get(at, Fraction(0)) - x * weight[f] / weight[e]
                row = {at: x for at, x in row.items() if x}
                if row:
                    row[k] = right
                    rows.append(row)
                elif right:
                    return None
    if not rows:
        return _Affine([Fraction(0)] * k, [{i: Fraction(1)} for i in range(k)])
    if len(rows) * (k + 1) > _MAX_EQUATIONS:
        return None
    matrix = flint.fmpq_mat(len(rows), k + 1)
    for i, row in enumerate(rows):
        for j, x in row.items():
            matrix[i, j] = flint.fmpq(x.numerator, x.denominator)
    reduced, rank = matrix.rref()
    pivots: list[int] = []
    at = 0
    for i in range(rank):
        while reduced[i, at] == 0:
            at += 1
        pivots.append(at)
    if pivots and pivots[-1] == k:
        return None
    origin = [Fraction(0)] * k
    others = sorted(set(range(k)) - set(pivots))
    span: list[dict[int, Fraction]] = [{j: Fraction(1)} for j in others]
    for i, pivot in enumerate(pivots):
        value = reduced[i, k]
        origin[pivot] = Fraction(int(value.p), int(value.q))
        for column, j in zip(span, others, strict=True):
            x = reduced[i, j]
            if x != 0:
                column[pivot] = -Fraction(int(x.p), int(x.q))
    return _Affine(origin, span)


def _guesses(
    problem: GramProblem, margin: Margin, known: Kernel, zeros: list[list[Fraction]]
) -> Iterator[Kernel]:
    """Yield kernels to try, the most plausible first; each contains the known one."""
    spans = list(zip(problem.starts, problem.starts[1:], strict=False))
    given = [_orthonormal(k, end - start) for k, (start, end) in zip(known, spans, strict=True)]
    # Every Gram matrix kills the range of an optimal dual matrix, and that range is accurate.
    dual = [linalg.eigh(margin.moments[start:end, start:end]) for start, end in spans]
    for threshold in _cuts(np.concatenate([w for w, _ in dual])):
        hulls = [
            _rational_space(_joined(old, v[:, w > threshold]))
            for (w, v), old in zip(dual, given, strict=True)
        ]
        if all(k is not None for k in hulls):
            yield [k for k in hulls if k is not None]
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


def _rational_space(space: np.ndarray) -> list[list[Fraction]] | None:
    """Rational vectors that span the columns, or None if they do not look rational."""
    if not space.shape[1]:
        return []
    reduced, _ = echelon(space)
    out: list[list[Fraction]] = []
    for row in reduced.tolist():
        vector: list[Fraction] = []
        for x in row:
            guess = _simple(x)
            if guess is None:
                return None
            vector.append(guess)
        out.append(vector)
    return out


def _simple(x: float) -> Fraction | None:
    """The simplest fraction within the accuracy of a solver, if it is simple enough."""
    whole = round(x)  # most are integers, and the search for fractions is slow
    if abs(whole - x) < 2e-3 * max(1.0, abs(x)):
        return Fraction(whole)
    for limit, tolerance in ((12, 2e-4), (100, 2e-5), (1000, 2e-7)):
        guess = Fraction(x).limit_denominator(limit)
        if abs(float(guess) - x) < tolerance * max(1.0, abs(x)):
            return guess
    return None


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
