"""The probability simplex {x >= 0, sum x = radius}."""

import math

from extremal.frankwolfe._arrays import Array, first_argmax, namespace, put
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_simplex


class Simplex(Ball):
    """Elements with entries at least 0 that sum to `radius`.

    Example:
        >>> import numpy as np
        >>> Simplex(1.0).lmo(np.array([0.5, 0.2]))
        array([0., 1.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        best = first_argmax(-g)
        return put(xp.zeros_like(g), best, xp.ones_like(g[:, :1]))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.maximum(xp.abs(xp.sum(x, axis=-1) - 1), -xp.amin(x, axis=-1))

    def _project(self, y: Array) -> Array:
        return project_simplex(y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0) if math.prod(shape) > 1 else 0.0
