"""The ball of an ordered weighted L1 norm: sum of w_i |x|_(i) <= radius, w descending.

Projection: sort, subtract t w, fit a descending sequence, cut at 0; t is the root of a decreasing
piecewise linear function and is found by Newton's method, which ends after few fits (CPU).
"""

from collections.abc import Sequence

import numpy as np
import scipy.optimize

from extremal.frankwolfe._arrays import (
    Array,
    constant,
    first_argmax,
    index,
    namespace,
    order_down,
    put,
    sgn,
    sort_down,
    take,
)
from extremal.frankwolfe._region import Ball, Number
from extremal.frankwolfe._thresholds import rowwise


class OWLBall(Ball):
    """Elements whose ordered weighted L1 norm is at most `radius`.

    Example:
        >>> import numpy as np
        >>> OWLBall(1.0, weights=(3, 2, 1)).lmo(np.array([1.0, -2.0, 0.5])) + 0.0
        array([0.        , 0.33333333, 0.        ])
    """

    _names = ("radius", "weights", "diameter", "width")
    _weights: np.ndarray

    def __init__(
        self,
        radius: Number | None = None,
        *,
        weights: Sequence[Number] | np.ndarray,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the ball; `weights` descend, are at least 0, and the first is positive."""
        w = np.array(weights, dtype=np.float64)
        if w.ndim != 1 or w.size == 0 or not np.isfinite(w).all() or w[0] <= 0 or w[-1] < 0:
            raise ValueError("OWLBall needs finite weights, at least 0, the first positive.")
        if (np.diff(w) > 0).any():
            raise ValueError(
                "OWLBall needs weights in descending order, so that the set is convex."
            )
        w.flags.writeable = False
        self._set_size(radius, diameter, width)
        self._set(_weights=w)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        n = int(np.prod(shape))
        if n != self._weights.size:
            raise ValueError(
                f"OWLBall of {self._weights.size} weights cannot hold {n} entries; give one each."
            )

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        order = order_down(xp.abs(g))
        down = xp.abs(take(g, order))
        sums = constant(np.cumsum(self._weights), g)
        best = first_argmax(xp.cumsum(down, axis=-1) / sums)
        value = xp.where(index(g.shape[-1], g) <= best, 1 / sums[best], xp.zeros_like(g))
        return put(xp.zeros_like(g), order, -sgn(take(g, order)) * value)

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.sum(sort_down(xp.abs(x)) * constant(self._weights, x), axis=-1)

    def _project(self, y: Array) -> Array:
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        a, w = np.abs(y), self._weights
        order = np.argsort(-a, kind="stable")
        down = a[order]
        if down @ w <= 1:
            return y
        low, high, t = 0.0, float(down[0] / w[0]) + 1.0, 0.0
        while float(self._fit(down, high)[0] @ w) > 1:
            high *= 2.0
        fit = down
        for _ in range(200):
            fit, slope = self._fit(down, t)
            value = float(fit @ w) - 1.0
            if abs(value) <= 1e-15 * len(w) or low == high:
                break
            low, high = (t, high) if value > 0 else (low, t)
            step = t + value / slope if slope > 0 else high
            new = step if low < step < high else 0.5 * (low + high)
            if new == t:
                break
            t = new
        out = np.empty_like(y)
        out[order] = fit
        return np.sign(y) * out

    def _fit(self, down: np.ndarray, t: float) -> tuple[np.ndarray, float]:
        """The point at t, and how fast its norm falls in t."""
        w = self._weights
        found = scipy.optimize.isotonic_regression(down - t * w, increasing=False)
        starts = found.blocks[:-1]
        lengths = np.diff(found.blocks)
        means = np.add.reduceat(w, starts) / lengths
        alive = found.x[starts] > 0
        return np.maximum(found.x, 0), float((means**2 * lengths)[alive].sum())

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        n = np.arange(1, self._weights.size + 1)
        return 2.0 * float((np.sqrt(n) / np.cumsum(self._weights)).max())
