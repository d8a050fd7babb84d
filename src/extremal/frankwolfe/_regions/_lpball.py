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

        x = a.copy()

        def excess(log_m: float) -> float:
            nonlocal x
            x = _shrunk(a, math.exp(log_m) * p, p)
            return math.log(np.sum(x**p))

        low = high = 0.0
        while excess(high) > 0:
            high += 2.0
        while excess(low) < 0:
            low -= 2.0
        best = root(excess, low, high) if low < high else low
        excess(best)
        return np.sign(y) * x / np.sum(x**p) ** (1 / p)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        n = math.prod(shape)
        power = 0.5 - (0.0 if self.p == math.inf else 1 / self.p)
        return 2.0 * max(1.0, n**power)


def _shrunk(a: np.ndarray, c: float, p: float) -> np.ndarray:
    """Solve x + c x^(p-1) = a for x >= 0; Newton from the side where it cannot overshoot."""
    if p >= 2:  # convex in x
        x = a.copy()
        for _ in range(100):
            power = x ** (p - 2)
            step = (x + c * power * x - a) / (1 + c * (p - 1) * power)
            x -= step
            if np.max(step) <= 1e-15 * np.max(a):
                break
        return np.maximum(x, 0)
    e = 1 / (p - 1)  # convex in t = x^(p-1), where x = t^e
    t = np.minimum(a ** (p - 1), a / c)
    for _ in range(100):
        power = t ** (e - 1)
        step = (power * t + c * t - a) / (e * power + c)
        t -= step
        if np.max(np.abs(step)) <= 1e-15 * np.max(t):
            break
    return np.maximum(t, 0) ** e
