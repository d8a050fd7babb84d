"""Points: where p is negative, and where it vanishes, in rational numbers.

The search is in floats; what it finds is rounded and evaluated exactly, so a point is a proof.
"""

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction

import numpy as np
from scipy import optimize

from ._deadline import check_time
from ._polynomial import Polynomial

_BATCH_WORK = 1_000_000  # multiplications of a step of Newton's method on all starts
_DENOMINATORS = (1, 2, 3, 4, 6, 10, 100, 1000, 10**4, 10**6, 10**8)
Point = list[Fraction]
Minimum = tuple[float, np.ndarray]  # value and place, in floats


def evaluator(
    p: Polynomial,
) -> Callable[[np.ndarray], tuple[float, np.ndarray]]:
    """Return a function that gives value and gradient of p at a float point."""
    support, c = p.support, p.floats
    n = support.shape[1]
    which = [np.flatnonzero(support[:, i]) for i in range(n)]
    where = [(rows, support[rows, i]) for i, rows in enumerate(which)]

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        terms = c.copy()
        parts = [x[i] ** powers for i, (_, powers) in enumerate(where)]
        for (rows, _), part in zip(where, parts, strict=True):
            terms[rows] *= part
        gradient = np.empty(n)
        for i, (rows, powers) in enumerate(where):
            if x[i] != 0.0:
                gradient[i] = float((terms[rows] * powers).sum()) / x[i]
                continue
            first = rows[powers == 1]
            others = np.delete(x, i)
            gradient[i] = float(
                (c[first] * np.prod(others ** np.delete(support[first], i, axis=1), axis=1)).sum()
            )
        return float(terms.sum()), gradient

    return value


class _Batch:
    """Values, gradients and Hessians of p at many points at once."""

    def __init__(self, p: Polynomial) -> None:
        support, c = p.support, p.floats / float(np.abs(p.floats).max(initial=1.0))
        n = support.shape[1]
        parts: list[tuple[np.ndarray, np.ndarray]] = [(support, c)]
        firsts = [_derivative(support, c, i) for i in range(n)]
        parts += firsts
        self.at: list[tuple[int, int]] = []
        for i, (s, d) in enumerate(firsts):
            for j in range(i, n):
                parts.append(_derivative(s, d, j))
                self.at.append((i, j))
        self.n = n
        self.value_only = len(c)
        self.ends = np.cumsum([0, *(len(d) for _, d in parts)])
        self.support = np.vstack([s for s, _ in parts])
        self.c = np.concatenate([d for _, d in parts])
        self.degree = int(support.max(initial=0))

    @property
    def work(self) -> int:
        """Multiplications at one point."""
        return len(self.c) * self.n

    def _terms(self, x: np.ndarray, count: int) -> np.ndarray:
        powers = np.ones((*x.shape, self.degree + 1))
        for e in range(self.degree):
            powers[:, :, e + 1] = powers[:, :, e] * x
        terms = np.broadcast_to(self.c[:count], (len(x), count)).copy()
        for i in range(self.n):
            terms *= powers[:, i, self.support[:count, i]]
        return terms

    def values(self, x: np.ndarray) -> np.ndarray:
        """The value at each row of x."""
        return self._terms(x, self.value_only).sum(axis=1)

    def all(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Values, gradients, Hessians."""
        terms = self._terms(x, len(self.c))
        sums = np.add.reduceat(
            np.hstack([terms, np.zeros((len(x), 1))]), np.minimum(self.ends[:-1], len(self.c)), 1
        )
        sums[:, np.diff(self.ends) == 0] = 0.0  # reduceat repeats an entry for an empty part
        n = self.n
        hessian = np.empty((len(x), n, n))
        for k, (i, j) in enumerate(self.at):
            hessian[:, i, j] = hessian[:, j, i] = sums[:, 1 + n + k]
        return sums[:, 0], sums[:, 1 : 1 + n], hessian


def _derivative(support: np.ndarray, c: np.ndarray, i: int) -> tuple[np.ndarray, np.ndarray]:
    keep = support[:, i] > 0
    s = support[keep].copy()
    d = c[keep] * s[:, i]
    s[:, i] -= 1
    return s, d


_STEPS = np.array([1.0, 0.5, 0.25, 0.1, 0.03, 0.01])


def _newton(batch: _Batch, x: np.ndarray, limit: int = 30) -> tuple[np.ndarray, np.ndarray]:
    """Damped Newton from all rows of x at once; indefinite Hessians are made definite."""
    value = batch.values(x)
    for _ in range(limit):
        check_time()
        _, gradient, hessian = batch.all(x)
        w, v = np.linalg.eigh(hessian)
        floor = 1e-10 + 1e-8 * np.abs(w).max(axis=1, keepdims=True)
        step = -np.einsum(
            "sij,sj->si", v, np.einsum("sij,si->sj", v, gradient) / np.maximum(np.abs(w), floor)
        )
        tries = x[:, None, :] + _STEPS[None, :, None] * step[:, None, :]
        found = batch.values(tries.reshape(-1, batch.n)).reshape(len(x), -1)
        found[~np.isfinite(found)] = np.inf
        best = found.argmin(axis=1)
        new = found[np.arange(len(x)), best]
        better = new < value
        if not better.any():
            break
        moved = tries[np.arange(len(x)), best]
        small = np.abs(value - new) <= 1e-15 * (1 + np.abs(value))
        x = np.where(better[:, None], moved, x)
        value = np.where(better, new, value)
        if (small | ~better).all():
            break
    return value, x


def minima(p: Polynomial, starts: list[np.ndarray]) -> list[Minimum]:
    """Return local minima of p as floats, one a start, the lowest first."""
    scale = float(np.abs(p.floats).max(initial=1.0))
    n = len(p.variables)
    terms = len(p.terms) * (1 + n + n * (n + 1) // 2)
    with np.errstate(all="ignore"):
        if terms * n * len(starts) <= _BATCH_WORK:
            values, points = _newton(_Batch(p), np.array(starts))
            out = [(float(v) * scale, x) for v, x in zip(values, points, strict=True)]
        else:
            out = [_descend(p, scale, x) for x in starts]  # each looks at the time
    kept = [(v, x) for v, x in out if np.isfinite(x).all() and np.isfinite(v)]
    return sorted(kept, key=lambda t: t[0])


def _descend(p: Polynomial, scale: float, x: np.ndarray) -> tuple[float, np.ndarray]:
    f = evaluator(p)

    def scaled(y: np.ndarray) -> tuple[float, np.ndarray]:
        check_time()
        v, g = f(y)
        return v / scale, g / scale

    found = optimize.minimize(
        scaled, x, jac=True, method="L-BFGS-B",
        bounds=[(-1e3, 1e3)] * len(x), options={"maxiter": 200, "ftol": 1e-15, "gtol": 1e-9},
    )  # fmt: skip
    return float(found.fun) * scale, found.x


def starts(n: int, count: int, seed: int) -> list[np.ndarray]:
    """Return starting points: ones, then random ones of several sizes."""
    rng = np.random.default_rng(seed)
    out = [np.ones(n), -np.ones(n), np.full(n, 0.1)]
    out += [
        rng.standard_normal(n) * size
        for size, _ in zip([1, 2, 0.5, 3, 1] * count, range(count), strict=False)
    ]
    return out


def near(x: np.ndarray) -> Iterator[Point]:
    """Yield rational points near a float one, the simplest first."""
    last: Point | None = None
    for d in _DENOMINATORS:
        point = [Fraction(round(float(v) * d), d) for v in x]
        if point != last:
            last = point
            yield point


def negative_point(
    p: Polynomial,
    seed: int = 0,
    extra: list[np.ndarray] | None = None,
    count: int = 6,
    seen: list[Minimum] | None = None,
) -> Point | None:
    """Search for a rational point where p is negative.

    Args:
        p: The polynomial.
        seed: Of the random starts.
        extra: Further starting points.
        count: How many random starts.
        seen: Receives the local minima that were found, for `zeros`.

    Returns:
        The point, or None; None proves nothing.

    Cost: a local descent a start.
    """
    n = len(p.variables)
    if n == 0:
        return [] if p.terms and next(iter(p.terms.values())) < 0 else None
    point = _far_away(p, seed)
    if point is not None:
        return _plainer(p, point)
    size = float(np.abs(p.floats).max(initial=1.0))
    # The nearest to negative first: a value that floats cannot tell from 0 is tried last.
    found = minima(p, [*(extra or []), *starts(n, count, seed)])
    if seen is not None:
        seen += found
    for value, x in found:
        if value > 1e-9 * size * max(1.0, float(np.abs(x).max())):
            break
        for point in near(x):
            if p(point) < 0:
                return _plainer(p, point)
    return None


def _plainer(p: Polynomial, point: Point) -> Point:
    """The same direction at length 1 (in the largest coordinate), if p is negative there too."""
    size = max(abs(float(x)) for x in point)
    if size > 1:
        for other in near(np.array([float(x) / size for x in point])):
            if p(other) < 0:
                return other
    return point


def zeros(p: Polynomial, found: Sequence[Minimum]) -> list[Point]:
    """Return rational zeros near local minima of a polynomial thought nonnegative; each exact."""
    out: list[Point] = []
    size = float(np.abs(p.floats).max(initial=1.0))
    for value, x in found:
        if abs(value) > 1e-6 * size:
            continue
        for point in near(x):
            if p(point) == 0:
                if point not in out:
                    out.append(point)
                break
    return out


def _far_away(p: Polynomial, seed: int) -> Point | None:
    """A point x_i = +-t^w_i: a vertex of the Newton polytope that is odd or negative wins there."""
    support = p.support
    n = support.shape[1]
    c = p.floats
    odd = np.asarray((support % 2).any(axis=1))
    bad = np.flatnonzero(odd | (c < 0))
    if not len(bad):
        return None
    rng = np.random.default_rng(seed)
    eye = np.eye(n, dtype=np.int64)
    directions = [*eye, *-eye, np.ones(n, np.int64), -np.ones(n, np.int64)]
    directions += list(rng.integers(-3, 4, (min(64, 8 * n), n)))
    # A direction that makes this very term the largest, if its distance to the mean is typical.
    center = support.mean(axis=0)
    for u in bad[:200]:
        away = support[u] - center
        directions.append(np.rint(3 * away / max(1e-9, float(np.abs(away).max()))).astype(np.int64))
    for w in directions:
        level = support @ w
        top = np.flatnonzero(level == level.max())
        if len(top) != 1 or not (odd[top[0]] or c[top[0]] < 0):
            continue
        signs = np.ones(n, dtype=np.int64)
        u = support[top[0]]
        if c[top[0]] > 0:
            signs[int(np.flatnonzero(u % 2)[0])] = -1
        for exponent in (1, 2, 4, 8, 16, 32):
            t = Fraction(2) ** exponent
            point = [int(s) * t ** int(e) for s, e in zip(signs, w, strict=True)]
            if p(point) < 0:
                return point
    return None
