"""The unit hypersimplex {0 <= x <= radius, sum x <= k radius}: relaxed choices of at most k."""

import math

from extremal.frankwolfe._arrays import Array, clip, namespace, top_mask, upcast
from extremal.frankwolfe._region import CountedBall
from extremal.frankwolfe._thresholds import project_hypersimplex


class UnitHypersimplex(CountedBall):
    """The hull of all elements with at most k entries equal to `radius` and zeros elsewhere.

    Example:
        >>> import numpy as np
        >>> UnitHypersimplex(1.0, k=2).lmo(np.array([-3.0, 0.5, -1.0, -2.0, 0.0]))
        array([1., 0., 0., 1., 0.])
        >>> UnitHypersimplex(1.0, k=2).lmo(np.array([-3.0, 0.5, 1.0]))
        array([1., 0., 0.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        return xp.where(top_mask(-g, self.k) & (g < 0), xp.ones_like(g), xp.zeros_like(g))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        ends = xp.maximum(xp.amax(x, axis=-1) - 1, -xp.amin(x, axis=-1))
        return xp.maximum(ends, xp.sum(x, axis=-1) / self.k - 1)

    def _project(self, y: Array) -> Array:
        xp = namespace(y)
        inside = clip(y, 0, 1)
        fits = xp.sum(upcast(inside, True), axis=-1, keepdims=True) <= self.k
        return xp.where(fits, inside, project_hypersimplex(y, self.k))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(min(2.0 * self.k, math.prod(shape)))
