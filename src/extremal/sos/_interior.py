"""An interior point for the largest t with Q - t I positive semidefinite, in two forms.

    maximise b.y  with  S = C + A*(y)  positive semidefinite,  h.y = 1 (moment form only),
    and its dual X positive semidefinite with  b + A(X) = h nu.

Kernel form: y = (free pairs, t), S = Q - t I, X is a moment matrix of trace 1, <C, X> >= t.
Moment form: y are moments, S = M(y) of trace 1, X = Q - t I, and t = -nu comes with it.
Both problems are strictly feasible, so no status is ever guessed: t is known from both sides.

Method: infeasible primal-dual with the HKM direction and Mehrotra's correction. A face restricts
to U' S U with the columns of U spanning it; only U-sized matrices are then factored.

Source: Helmberg, Rendl, Vanderbei, Wolkowicz 1996; Kojima, Shindoh, Hara 1997 (HKM).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from scipy import linalg, sparse

from ._deadline import check_time
from ._problem import GramProblem, Matrix, Vector

_LAPACK: Any = linalg.lapack  # its functions are made at run time
_BACK = 0.98  # how far a step goes towards the boundary
_WRITTEN_OUT = 1 << 15  # entries of all coordinates' matrices
_LARGE = 60  # rows from which step lengths come from bisection, not from eigenvalues
_BISECTIONS = 20


@dataclass(frozen=True, slots=True)
class Margin:
    """What a solver found of max t with Q - t I positive semidefinite; p divided by its scale.

    Attributes:
        t: Of the matrix `q`; a lower bound of the optimum up to rounding.
        upper: A bound from the dual, or infinity if none was reached.
        q: The Gram matrix of all rows, satisfying the identity up to rounding.
        moments: The dual matrix X in the rows, of trace 1.
        iterations: How many.
        solver: Which.
        problem: What kept it from converging, or "".
    """

    t: float
    upper: float
    q: Matrix
    moments: Matrix
    iterations: int
    solver: str
    problem: str = ""


Stop = Callable[[float, float], bool]


def _symmetric(m: Matrix) -> Matrix:
    out = m + m.T
    out *= 0.5
    return out


class _Kernel:
    """y = (coordinates of the free pairs, t)."""

    h: Vector | None = None

    def __init__(
        self, problem: GramProblem, face: Matrix | None, origin: Vector, span: Matrix | None
    ) -> None:
        self.problem = problem
        self.face = face
        self.origin, self.span = origin, span
        p = problem.pairs
        w = problem.weights
        free, partner = problem.free, problem.dependent[p.s[problem.free]]
        self.used, where = np.unique(np.concatenate([free, partner]), return_inverse=True)
        k = len(free)
        ratio = w[free] / w[partner]
        self.combine = sparse.csr_array(
            (
                np.concatenate([np.ones(k), -ratio]),
                (np.concatenate([np.arange(k)] * 2), where),
            ),
            shape=(k, len(self.used)),
        )
        if k * len(self.used) < 50_000:  # small products are faster without the sparse detour
            self.combine = self.combine.toarray()
        self.half = np.where(p.a == p.b, 0.5, 1.0)[self.used]
        self.a, self.b_ = p.a[self.used], p.b[self.used]
        self.weight = w[self.used]
        self.dimension = k if span is None else span.shape[1]
        self.b = np.zeros(self.dimension + 1)
        self.b[-1] = 1.0
        self.start = np.zeros(self.dimension + 1)

    def pairs_of(self, y: Vector) -> Vector:
        free = self.origin if self.span is None else self.origin + self.span @ y[:-1]
        if self.span is None:
            free = free + y[:-1]
        return self.problem.complete(free)

    def _in_face(self, m: Matrix) -> Matrix:
        return m if self.face is None else self.face.T @ m @ self.face

    def _out(self, x: Matrix) -> Matrix:
        return x if self.face is None else self.face @ x @ self.face.T

    def slack(self, y: Vector) -> Matrix:
        q = self._in_face(self.problem.matrix(self.pairs_of(y)))
        q[np.diag_indices_from(q)] -= y[-1]
        return q

    def along(self, d: Vector) -> Matrix:
        free = d[:-1] if self.span is None else self.span @ d[:-1]
        values = free @ self.combine
        m = np.zeros((self.problem.size,) * 2)
        m[self.a, self.b_] = values
        m[self.b_, self.a] = values
        m = self._in_face(m)
        m[np.diag_indices_from(m)] -= d[-1]
        return m

    def _pull(self, m: Matrix) -> Vector:
        """<G, m> for every coordinate."""
        values = self.combine @ (self.weight * (m[self.a, self.b_] + m[self.b_, self.a]) / 2)
        return values if self.span is None else self.span.T @ values

    def apply(self, x: Matrix) -> Vector:
        return np.append(self._pull(self._out(x)), -x.trace())

    def schur(self, x: Matrix, z: Matrix) -> Matrix:
        k = self.dimension
        out = np.empty((k + 1, k + 1))
        out[k, k] = np.vdot(x, z)
        if k:
            big_x, big_z = self._out(x), self._out(z)
            a, b = self.a, self.b_
            t = big_x[b][:, a]
            t *= big_z[a][:, b]
            g = big_x[b][:, b]
            g *= big_z[a][:, a]
            t += g
            g = big_x[a][:, a]
            g *= big_z[b][:, b]
            t += g
            g = big_x[a][:, b]
            g *= big_z[b][:, a]
            t += g
            t *= self.half
            t *= self.half[:, None]
            t = self.combine @ t
            t = (self.combine @ t.T).T
            if self.span is not None:
                t = self.span.T @ t @ self.span
            out[:k, :k] = t
            out[k, :k] = out[:k, k] = -self._pull(self._out(_symmetric(z @ x)))
        return out


class _SmallKernel(_Kernel):
    """The same with the matrix of each coordinate written out, face and span included.

    For a few thousand entries products of whole matrices beat gathers of single ones.
    """

    def __init__(
        self, problem: GramProblem, face: Matrix | None, origin: Vector, span: Matrix | None
    ) -> None:
        super().__init__(problem, face, origin, span)
        k, n = len(problem.free), problem.size
        combine = self.combine if isinstance(self.combine, np.ndarray) else self.combine.toarray()
        whole = np.zeros((k, n, n))
        whole[:, self.a, self.b_] = combine
        whole[:, self.b_, self.a] = combine
        if span is not None:
            whole = np.tensordot(span.T, whole, 1)
        if face is not None:
            whole = face.T @ whole @ face
        self.n = whole.shape[-1]
        self.rows = whole.reshape(len(whole) * self.n, self.n)
        self.flat = whole.reshape(len(whole), self.n * self.n)
        self.middle = self._in_face(problem.matrix(problem.complete(origin)))

    def _moved(self, middle: Matrix | None, d: Vector) -> Matrix:
        m = (d[:-1] @ self.flat).reshape(self.n, self.n)
        if middle is not None:
            m += middle
        m.flat[:: self.n + 1] -= d[-1]
        return m

    def slack(self, y: Vector) -> Matrix:
        return self._moved(self.middle, y)

    def along(self, d: Vector) -> Matrix:
        return self._moved(None, d)

    def apply(self, x: Matrix) -> Vector:
        out = np.empty(self.dimension + 1)
        np.matmul(self.flat, x.ravel(), out=out[:-1])
        out[-1] = -x.ravel()[:: self.n + 1].sum()
        return out

    def schur(self, x: Matrix, z: Matrix) -> Matrix:
        # <G_i, X G_j Z> = <(G_i X)', G_j Z>
        k, n = self.dimension, self.n
        out = np.empty((k + 1, k + 1))
        left = (self.rows @ x).reshape(k, n, n).transpose(0, 2, 1).reshape(k, n * n)
        np.matmul(left, (self.rows @ z).reshape(k, n * n).T, out=out[:k, :k])
        out[k, :k] = out[:k, k] = -(self.flat @ _symmetric(z @ x).ravel())
        out[k, k] = np.vdot(x, z)
        return out


class _Moment:
    """y are the moments of the sums."""

    def __init__(self, problem: GramProblem, face: Matrix | None) -> None:
        self.problem, self.face = problem, face
        self.h: Vector | None
        p = problem.pairs
        n, m = problem.size, len(p.sums)
        off = p.a != p.b
        s = np.concatenate([p.s, p.s[off]])
        entry = np.concatenate([p.a * n + p.b, p.b[off] * n + p.a[off]])
        self.a_ = sparse.csr_array((np.ones(len(s)), (s, entry)), shape=(m, n * n))
        self.size = n
        self.b = -problem.floats
        identity = np.eye(n) if face is None else face @ face.T
        h: Vector = self.a_ @ identity.ravel()
        self.h = h
        diagonal = ~off
        y = np.zeros(m)
        y[p.s[diagonal]] = 1.0  # M(y) is the identity where squares are not hit otherwise
        self.start = y / (h @ y)

    def _in_face(self, m: Matrix) -> Matrix:
        return m if self.face is None else self.face.T @ m @ self.face

    def _out(self, x: Matrix) -> Matrix:
        return x if self.face is None else self.face @ x @ self.face.T

    def along(self, d: Vector) -> Matrix:
        return self._in_face((d @ self.a_).reshape(self.size, self.size))

    slack = along

    def apply(self, x: Matrix) -> Vector:
        return self.a_ @ self._out(x).ravel()

    def schur(self, x: Matrix, z: Matrix) -> Matrix:
        return schur_of(self.a_, self._out(x), self._out(z))


def schur_of(a: sparse.csr_array, x: Matrix, z: Matrix) -> Matrix:
    """Return <A_s, X A_t Z> for all rows s, t of a matrix whose rows are symmetric matrices."""
    n, m = len(x), len(a.indptr) - 1
    out = np.empty((m, m))
    first, second = a.indices // n, a.indices % n
    for s in range(m):
        check_time()
        cut = slice(a.indptr[s], a.indptr[s + 1])
        u = (x[:, first[cut]] * a.data[cut]) @ z[second[cut]]
        out[s] = a @ u.ravel()
    return _symmetric(out)


@runtime_checkable
class Operators(Protocol):
    """What the iteration needs of a form; the file's head says what the letters mean."""

    h: Vector | None
    b: Vector

    def slack(self, y: Vector) -> Matrix:
        """C + A*(y)."""
        ...

    def along(self, d: Vector) -> Matrix:
        """A*(d)."""
        ...

    def apply(self, x: Matrix) -> Vector:
        """A(x)."""
        ...

    def schur(self, x: Matrix, z: Matrix) -> Matrix:
        """<A_i, X A_j Z>."""
        ...


def _solve(h: Matrix) -> Callable[[Vector], Vector]:
    """Factor a Schur matrix, with the least shift that makes it positive definite."""
    scale = np.abs(h.diagonal()).max(initial=1e-300)
    for shift in (0.0, 1e-15, 1e-13, 1e-11, 1e-9):
        shifted = h + (shift * scale) * np.eye(len(h)) if shift else h
        factor, trouble = _LAPACK.dpotrf(shifted.T, lower=1, clean=0)
        if trouble == 0 and np.isfinite(factor[-1, -1]):
            return lambda r, factor=factor: _LAPACK.dpotrs(factor, r, lower=1)[0]
    raise linalg.LinAlgError("the Schur matrix is not positive definite")


def _inverse_factor(m: Matrix) -> Matrix:
    """Return W with W m W' = I, lower triangular; raises LinAlgError outside the cone."""
    # Straight to LAPACK: on a few rows the checks of numpy.linalg cost five times the work.
    factor, trouble = _LAPACK.dpotrf(m.T, lower=1, clean=1)
    if not trouble:
        factor, trouble = _LAPACK.dtrtri(factor, lower=1, overwrite_c=1)
    if trouble:
        raise np.linalg.LinAlgError("an iterate left the cone")
    return factor


def _longest(m: Matrix, inverse: Matrix | None, d: Matrix) -> float:
    """The largest step with m + step d still positive definite, at most 1; W m W' = I.

    Without W (large matrices) by bisection with Cholesky, which is cheaper than W d W'.
    """
    if inverse is not None:
        scaled = inverse @ d @ inverse.T
        # one triangle is read: the other half of the rounding error has no part in it
        values, _, trouble = _LAPACK.dsyev(scaled.T, compute_v=0, lower=1, overwrite_a=1)
        least = float(values[0])
        if trouble or not math.isfinite(least):
            return 0.0
        return 1.0 if least >= -_BACK else -_BACK / least
    if _is_definite(m + d):
        return 1.0
    low, high = 0.0, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _is_definite(m + middle * d):
            low = middle
            if high - low < low / 8:
                break
        else:
            high = middle
    return _BACK * low


def _is_definite(m: Matrix) -> bool:
    return _LAPACK.dpotrf(m, lower=1, clean=0)[1] == 0


@dataclass(frozen=True, slots=True)
class _Iterate:
    """What the two linear systems of one iteration share: z is S^-1, r* are the residuals.

    `ax` is A(X); `rd` is None where the dual residual is 0.
    """

    ops: Operators
    solve: Callable[[Vector], Vector]
    x: Matrix
    z: Matrix
    rd: Matrix | None
    rp: Vector
    rh: float
    ax: Vector

    def direction(self, target: Matrix | None) -> tuple[Vector, float, Matrix, Matrix]:
        """Return the changes of y, nu, S and X that lead to X S = target S (None: to 0)."""
        base = -self.x if target is None else target - self.x
        if self.rd is not None:
            right = self.ops.apply(base - _symmetric(self.x @ self.rd @ self.z)) - self.rp
        elif target is None:
            right = -self.ax - self.rp
        else:
            right = self.ops.apply(target) - self.ax - self.rp
        dy = self.solve(right)
        dnu = 0.0
        if self.ops.h is not None:
            back = self.solve(self.ops.h)
            dnu = (self.rh - float(self.ops.h @ dy)) / float(self.ops.h @ back)
            dy = dy + dnu * back
        ds = self.ops.along(dy)
        if self.rd is not None:
            ds = self.rd + ds
        return dy, dnu, ds, base - _symmetric(self.x @ ds @ self.z)


def run(
    ops: Operators, y: Vector, s: Matrix, x: Matrix, stop: Stop, limit: int
) -> tuple[Vector, Matrix, Matrix, float, float, int, str]:
    """Return y, S, X, the lower and upper bound of t, iterations, and what went wrong.

    Raises:
        TimeLimitError: The deadline of the whole decision has passed.
    """
    n = len(s)
    nu = 0.0  # t of the moment form
    lower, upper = -np.inf, np.inf
    problem = "too many iterations"
    steps = 0
    for steps in range(limit):  # noqa: B007 - how far it came is part of the answer
        check_time()
        exact = ops.slack(y)
        rd: Matrix | None = exact - s
        off = float(np.abs(rd).max(initial=0.0))
        if off < 1e-13:
            # Feasible up to rounding: take S as it is defined, which spares a correction that
            # would be multiplied by a huge S^-1 near the boundary.
            s, rd, off = exact, None, 0.0
        try:
            ls = _inverse_factor(s)
            lx = _inverse_factor(x) if n <= _LARGE else None
        except np.linalg.LinAlgError:
            problem = "an iterate left the cone"
            break
        z = ls.T @ ls
        own = ls if n <= _LARGE else None
        gap = float(np.vdot(s, x))
        mu = gap / n
        ax = ops.apply(x)
        rp = -ops.b - ax
        rh = 0.0
        if ops.h is not None:
            rp = rp - nu * ops.h
            rh = 1.0 - float(ops.h @ y)
        off = max(off, float(np.abs(rp).max(initial=0.0)), abs(rh))
        if isinstance(ops, _Kernel):
            lower, upper = float(y[-1]), float(y[-1]) + gap
        else:
            # b + A(X) = nu h reads: A(Q) = c with Q = X + t I and t = nu here.
            lower, upper = nu, nu + gap
        if off < 1e-7 and stop(lower, upper):
            problem = ""
            break
        try:
            solve = _solve(ops.schur(x, z))
        except (linalg.LinAlgError, ValueError):
            problem = "the Schur matrix lost definiteness"
            break

        at = _Iterate(ops, solve, x, z, rd, rp, rh, ax)
        dy, dnu, ds, dx = at.direction(None)
        ps, px = _longest(s, own, ds), _longest(x, lx, dx)
        after = float(np.vdot(s + ps * ds, x + px * dx)) / n
        sigma = min(1.0, max(1e-6, (after / mu) ** 2 if min(ps, px) > 0.1 else 0.5))
        dy, dnu, ds, dx = at.direction(sigma * mu * z - _symmetric(dx @ ds @ z))
        ps, px = _longest(s, own, ds), _longest(x, lx, dx)
        if min(ps, px) < 1e-7:
            problem = "no step is left"
            break
        y, s = y + ps * dy, s + ps * ds
        x = x + px * dx
        nu += px * dnu
        s, x = _symmetric(s), _symmetric(x)
    return y, s, x, lower, upper, steps, problem


def kernel_form(
    problem: GramProblem,
    stop: Stop,
    face: Matrix | None = None,
    origin: Vector | None = None,
    span: Matrix | None = None,
    limit: int = 100,
) -> Margin:
    """Solve with the free pairs as unknowns.

    Args:
        problem: What is asked; every monomial of p is covered.
        stop: Given a lower and an upper bound of t, whether to stop.
        face: Orthonormal columns that span the face, or None.
        origin: Values of the free pairs to begin with; default: those of least norm.
        span: Directions in which the free pairs may move; default: all.
        limit: Iterations at most.

    Cost: an iteration factors one matrix of the rows and one of the unknowns, and gathers four
    matrices of twice the unknowns.
    """
    start = problem.spread()[problem.free] if origin is None else origin
    unknowns = problem.freedom if span is None else span.shape[1]
    form = _SmallKernel if unknowns * problem.size**2 <= _WRITTEN_OUT else _Kernel
    ops = form(problem, face, start, span)
    y = ops.start.copy()
    q = ops.slack(y)
    n = len(q)
    if n == 0:
        return _nothing(problem, "kernel")
    least = float(linalg.eigvalsh(q, subset_by_index=[0, 0])[0])
    if ops.dimension == 0:
        full = problem.matrix(ops.pairs_of(y))
        vector = linalg.eigh(q, subset_by_index=[0, 0])[1]
        out = vector if face is None else face @ vector
        return Margin(least, least, full, out @ out.T, 0, "kernel")
    y[-1] = least - max(1.0, abs(least)) * 0.5
    s = ops.slack(y)
    x = np.eye(n) / n
    y, s, x, lower, upper, steps, trouble = run(ops, y, s, x, stop, limit)
    full = problem.matrix(ops.pairs_of(y))
    x = ops._out(x)
    return Margin(lower, upper, full, x / np.trace(x), steps, "kernel", trouble)


def moment_form(
    problem: GramProblem, stop: Stop, face: Matrix | None = None, limit: int = 100
) -> Margin:
    """Solve with the moments as unknowns; for dense bases, where the kernel form has more.

    Cost: an iteration multiplies rows^4 numbers in BLAS and factors one matrix of the sums.
    """
    ops: Any = _Moment(problem, face)
    n = problem.size if face is None else face.shape[1]
    if n == 0:
        return _nothing(problem, "moment")
    y = ops.start.copy()
    s = np.eye(n) / n
    x = np.eye(n) * max(1.0, float(np.abs(problem.floats).max(initial=0.0)))
    y, s, x, lower, upper, steps, trouble = run(ops, y, s, x, stop, limit)
    inner = x + lower * np.eye(n)
    full = inner if face is None else face @ inner @ face.T
    q = problem.matrix(problem.project(full))
    m = s if face is None else face @ s @ face.T
    return Margin(lower, upper, q, m / np.trace(m), steps, "moment", trouble)


def _nothing(problem: GramProblem, name: str) -> Margin:
    empty = np.zeros((problem.size, problem.size))
    return Margin(0.0, 0.0, empty, empty, 0, name)
