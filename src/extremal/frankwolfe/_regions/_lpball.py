"""The Lp ball {x : |x|_p <= radius}, 1 <= p <= inf.

Notation: q = p / (p - 1). Differs from the published implementation: for 1 < p < 2 the diameter is
2 radius (theirs is smaller than that).
"""

import math
from typing import Any

import numpy as np

from extremal.frankwolfe._arrays import Array, clip, namespace, nonzero_rows, sgn
from extremal.frankwolfe._region import Ball, Number
from extremal.frankwolfe._thresholds import project_l1, root, rowwise

from ._l1ball import L1Ball

_FEW = 20_000  # entries of a sample that brackets the multiplier


class LpBall(Ball):
    """Elements of p-norm at most `radius`.

    The projection solves |x| + m p |x|^(p-1) = |y| for every entry and finds the m that makes the
    norm fit; it runs on the CPU in float64.

    Example:
        >>> import numpy as np
        >>> LpBall(1.0, p=3).lmo(np.array([1.0, -8.0])).round(6)
        array([-0.348493,  0.985688])
    """

    _names = ("radius", "p", "diameter", "width")
    _p: Number

    def __init__(
        self,
        radius: Number | None = None,
        *,
        p: Number | str = 2,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the ball; give exactly one size."""
        p = math.inf if p == "inf" else p
        if isinstance(p, (bool, str)) or not p >= 1:
            raise ValueError(
                f"LpBall needs p >= 1, got {p!r}; below 1 the set is not convex, and for sparsity "
                "KSparse or KSupport is."
            )
        self._set_size(radius, diameter, width)
        self._set(_p=p)

    def as_plain(self) -> dict[str, Any]:
        """See `Region.as_plain`; an infinite p is the text "inf"."""
        plain = super().as_plain()
        return {**plain, "p": "inf"} if plain["p"] == math.inf else plain

    @property
    def p(self) -> float:
        """The exponent."""
        return float(self._p)

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        if self.p == 1:
            return L1Ball(1.0)._lmo(g)
        if self.p == math.inf:
            return -sgn(g)
        q = self.p / (self.p - 1)
        a = xp.abs(nonzero_rows(g))
        norm = xp.sum(a**q, axis=-1, keepdims=True) ** (1 / q)
        return -sgn(g) * (a / norm) ** (q - 1)

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        a = xp.abs(x)
        top = xp.amax(a, axis=-1, keepdims=True)
        if self.p == math.inf:
            return top[:, 0]
        safe = xp.where(top > 0, top, xp.ones_like(top))
        return (top * xp.sum((a / safe) ** self.p, axis=-1, keepdims=True) ** (1 / self.p))[:, 0]

    def _project(self, y: Array) -> Array:
        if self.p == 1:
            return project_l1(y)
        if self.p == math.inf:
            return clip(y, -1, 1)
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        a, p = np.abs(y), self.p
        norm = float(self._gauge(y[None])[0])
        if norm <= 1:
            return y
        if p == 2 or norm <= 1 + 1e-14:
            return y / norm

        few = a[:: max(1, a.size // _FEW)]
        guess, _ = _solved(few, a.size / few.size, p, 0.0, 2.0) if few.size < a.size else (0.0, a)
        _, x = _solved(a, 1.0, p, guess, 2.0 if few.size == a.size else 0.02)
        return np.sign(y) * x / np.sum(x**p) ** (1 / p)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        n = math.prod(shape)
        power = 0.5 - (0.0 if self.p == math.inf else 1 / self.p)
        return 2.0 * max(1.0, n**power)


def _solved(
    a: np.ndarray, weight: float, p: float, start: float, width: float
) -> tuple[float, np.ndarray]:
    """Find log m where the shrunk entries, each counted `weight` times, have norm 1; and them."""
    x = a

    def excess(log_m: float) -> float:
        nonlocal x
        x = _shrunk(a, math.exp(log_m) * p, p, x)
        return math.log(weight * np.sum(x**p))

    low = high = start
    reach = width
    while excess(high) > 0:
        low, high, reach = high, high + reach, 2 * reach
    reach = width
    while low == high or excess(low) < 0:
        high = min(high, low)
        low, reach = low - reach, 2 * reach
    best = root(excess, low, high)
    excess(best)
    return best, x


def _shrunk(a: np.ndarray, c: float, p: float, near: np.ndarray) -> np.ndarray:
    """Solve x + c x^(p-1) = a for x >= 0 by Newton steps from a point near by.

    In x for p >= 2, else in t = x^(p-1), the equation is convex and rises: the first step lands on
    the side where no later one overshoots.
    """
    if p >= 2:
        x = near.copy()
        for _ in range(100):
            power = x if p == 3 else x ** (p - 2)
            step = (x + c * power * x - a) / (1 + c * (p - 1) * power)
            x -= step
            if np.max(np.abs(step)) <= 1e-15 * np.max(a):
                break
        return np.maximum(x, 0)
    e = 1 / (p - 1)
    t = np.minimum(near ** (p - 1), a / c)
    for _ in range(100):
        power = t if e == 2 else t ** (e - 1)
        step = (power * t + c * t - a) / (e * power + c)
        t -= step
        if np.max(np.abs(step)) <= 1e-15 * np.max(t):
            break
    return np.maximum(t, 0) ** e
