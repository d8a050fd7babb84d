"""The unit simplex {x >= 0, sum x <= radius}."""

import math

from extremal.frankwolfe._arrays import Array, first_argmax, namespace, put, take
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_unit_simplex


class UnitSimplex(Ball):
    """Elements with entries at least 0 that sum to at most `radius`.

    Example:
        >>> import numpy as np
        >>> UnitSimplex(1.0).lmo(np.array([0.5, -0.2]))
        array([0., 1.])
        >>> UnitSimplex(1.0).lmo(np.array([0.5, 0.2]))
        array([0., 0.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        best = first_argmax(-g)
        least = take(g, best)
        value = xp.where(least < 0, xp.ones_like(least), xp.zeros_like(least))
        return put(xp.zeros_like(g), best, value)

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.maximum(xp.sum(x, axis=-1) - 1, -xp.amin(x, axis=-1))

    def _project(self, y: Array) -> Array:
        return project_unit_simplex(y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0) if math.prod(shape) > 1 else 1.0
