"""A diamond: the hull of two points on every axis, lower_i e_i and upper_i e_i.

With lower = -1 and upper = 1 it is the L1 ball. Projection: soft thresholds that are inversely
proportional to the reach on each axis, found exactly by sorting.
"""

import math

import numpy as np

from extremal.frankwolfe._arrays import Array, constant, first_argmax, namespace, put, take
from extremal.frankwolfe._region import Region, Shape
from extremal.frankwolfe._thresholds import rowwise

from ._box import Bound


class Diamond(Region):
    """The hull of lower_i e_i and upper_i e_i over all axes i; lower <= 0 <= upper.

    Example:
        >>> import numpy as np
        >>> Diamond(-1.0, 3.0).lmo(np.array([2.0, -1.0]))
        array([0., 3.])
    """

    _names = ("lower", "upper")
    _lower: np.ndarray
    _upper: np.ndarray

    def __init__(self, lower: Bound, upper: Bound) -> None:
        """Make the diamond."""
        low, high = (np.array(b, dtype=np.float64).reshape(-1) for b in (lower, upper))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("Diamond needs finite bounds.")
        if (low >= 0).any() or (high <= 0).any():
            raise ValueError("Diamond needs lower < 0 < upper in every entry.")
        if 1 not in (low.size, high.size) and low.size != high.size:
            raise ValueError(f"Diamond got {low.size} lower and {high.size} upper bounds.")
        self._set(_lower=low, _upper=high)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        n = math.prod(shape)
        for bound in (self._lower, self._upper):
            if bound.size not in (1, n):
                raise ValueError(f"Diamond of {bound.size} bounds cannot hold {n} entries.")

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Diamond":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def _reach(self, x: Array) -> Array:
        """How far the set goes on each axis, on the side where x lies."""
        xp = namespace(x)
        low, high = constant(self._lower, x), constant(self._upper, x)
        return xp.where(x < 0, -low + xp.zeros_like(x), high + xp.zeros_like(x))

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        gain = xp.abs(g) * self._reach(-g)
        best = first_argmax(gain)
        value = xp.where(
            take(g, best) > 0, -take(self._reach(-g), best), take(self._reach(-g), best)
        )
        return put(xp.zeros_like(g), best, value)

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.sum(xp.abs(x) / self._reach(x), axis=-1)

    def _project(self, y: Array) -> Array:
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        a, c = np.abs(y), self._reach(y)
        if (a / c).sum() <= 1:
            return y
        # |x_i| = max(a_i - t / c_i, 0), the sum of |x_i| / c_i is 1: entry i dies at t = a_i c_i.
        order = np.argsort(-a * c, kind="stable")
        value = np.cumsum((a / c)[order]) - 1.0
        slope = np.cumsum(1.0 / c[order] ** 2)
        last = int(np.sum((a * c)[order] > value / slope)) - 1
        t = value[last] / slope[last]
        return np.sign(y) * np.maximum(a - t / c, 0)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        n = math.prod(shape)
        low, high = np.broadcast_to(-self._lower, n), np.broadcast_to(self._upper, n)
        along = float((low + high).max())
        if n == 1:
            return along
        two = np.sort(np.maximum(low, high))[-2:]
        return max(along, float(np.hypot(*two)))
