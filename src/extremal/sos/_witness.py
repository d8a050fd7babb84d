"""Points: where p is negative, and where it vanishes, in rational numbers.

The search is in floats; what it finds is rounded and evaluated exactly, so a point is a proof.
"""

from collections.abc import Callable, Iterator
from fractions import Fraction

import numpy as np
from scipy import optimize

from ._polynomial import Polynomial

_DENOMINATORS = (1, 2, 3, 4, 6, 10, 100, 1000, 10**4, 10**6, 10**8)
Point = list[Fraction]


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


def minima(
    p: Polynomial, starts: Iterator[np.ndarray] | list[np.ndarray], limit: int = 200
) -> Iterator[tuple[float, np.ndarray]]:
    """Yield local minima of p as floats, one a start."""
    f = evaluator(p)
    scale = float(np.abs(p.floats).max(initial=1.0))

    def scaled(x: np.ndarray) -> tuple[float, np.ndarray]:
        v, g = f(x)
        return v / scale, g / scale

    for x in starts:
        with np.errstate(all="ignore"):
            found = optimize.minimize(
                scaled, x, jac=True, method="L-BFGS-B",
                bounds=[(-1e3, 1e3)] * len(x),
                options={"maxiter": limit, "ftol": 1e-15, "gtol": 1e-9},
            )  # fmt: skip
        if np.isfinite(found.x).all():
            yield float(found.fun) * scale, found.x


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
    p: Polynomial, seed: int = 0, extra: list[np.ndarray] | None = None, count: int = 6
) -> Point | None:
    """Search for a rational point where p is negative.

    Args:
        p: The polynomial.
        seed: Of the random starts.
        extra: Further starting points.
        count: How many random starts.

    Returns:
        The point, or None; None proves nothing.

    Cost: a local descent a start.
    """
    n = len(p.variables)
    if n == 0:
        return [] if p.terms and next(iter(p.terms.values())) < 0 else None
    point = _far_away(p, seed)
    if point is not None:
        return point
    size = float(np.abs(p.floats).max(initial=1.0))
    # The nearest to negative first: a value that floats cannot tell from 0 is tried last.
    found = sorted(minima(p, [*(extra or []), *starts(n, count, seed)]), key=lambda t: t[0])
    for value, x in found:
        if value > 1e-9 * size * max(1.0, float(np.abs(x).max())):
            break
        for point in near(x):
            if p(point) < 0:
                return point
    return None


def zeros(p: Polynomial, around: list[np.ndarray], seed: int = 0, count: int = 8) -> list[Point]:
    """Return rational real zeros of a polynomial that is thought nonnegative; each is exact."""
    n = len(p.variables)
    out: list[Point] = []
    size = float(np.abs(p.floats).max(initial=1.0))
    for value, x in minima(p, [*around, *starts(n, count, seed)]):
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
    odd = (support % 2).any(axis=1)
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
