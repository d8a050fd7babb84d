"""The hypersimplex {0 <= x <= radius, sum x = k radius}."""

import math

from extremal.frankwolfe._arrays import Array, namespace, top_mask
from extremal.frankwolfe._region import CountedBall
from extremal.frankwolfe._thresholds import project_hypersimplex


class Hypersimplex(CountedBall):
    """The hull of all elements with k entries equal to `radius` and zeros elsewhere.

    Example:
        >>> import numpy as np
        >>> Hypersimplex(1.0, k=2).lmo(np.array([3.0, -1.0, 2.0]))
        array([0., 1., 1.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        return xp.where(top_mask(-g, self.k), xp.ones_like(g), xp.zeros_like(g))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        ends = xp.maximum(xp.amax(x, axis=-1) - 1, -xp.amin(x, axis=-1))
        return xp.maximum(ends, xp.abs(xp.sum(x, axis=-1) - self.k) / self.k)

    def _project(self, y: Array) -> Array:
        return project_hypersimplex(y, self.k)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0 * min(self.k, math.prod(shape) - self.k))
