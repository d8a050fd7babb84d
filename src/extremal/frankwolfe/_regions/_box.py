"""A box {lower <= x <= upper}."""

import math

import numpy as np

from extremal.frankwolfe._arrays import Array, clip, constant, namespace
from extremal.frankwolfe._region import Number, Region, Shape

Bound = Number | list[Number] | np.ndarray


class Box(Region):
    """Elements whose entries lie between bounds; a bound is a number or one number an entry.

    Example:
        >>> import numpy as np
        >>> Box(0.0, 1.0).lmo(np.array([2.0, -1.0]))
        array([0., 1.])
    """

    _names = ("lower", "upper")
    _lower: np.ndarray
    _upper: np.ndarray

    def __init__(self, lower: Bound, upper: Bound) -> None:
        """Make the box."""
        low, high = (np.array(b, dtype=np.float64) for b in (lower, upper))
        if not (np.isfinite(low).all() and np.isfinite(high).all()):
            raise ValueError("Box needs finite bounds.")
        if low.ndim and high.ndim and low.size != high.size:
            raise ValueError(f"Box got {low.size} lower and {high.size} upper bounds.")
        low, high = low.reshape(-1), high.reshape(-1)
        if (low > high).any():
            raise ValueError("Box needs lower <= upper in every entry.")
        self._set(_lower=low, _upper=high)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        n = math.prod(shape)
        for bound in (self._lower, self._upper):
            if bound.size not in (1, n):
                raise ValueError(f"Box of {bound.size} bounds cannot hold {n} entries.")

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Box":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        low, high = constant(self._lower, g), constant(self._upper, g)
        return xp.where(g < 0, high + xp.zeros_like(g), low + xp.zeros_like(g))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        low, high = constant(self._lower, x), constant(self._upper, x)
        size = max(1.0, float(np.abs(self._lower).max()), float(np.abs(self._upper).max()))
        return xp.amax(xp.maximum(low - x, x - high), axis=-1) / size

    def _project(self, y: Array) -> Array:
        return clip(y, constant(self._lower, y), constant(self._upper, y))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return float(np.linalg.norm(np.broadcast_to(self._upper - self._lower, math.prod(shape))))
