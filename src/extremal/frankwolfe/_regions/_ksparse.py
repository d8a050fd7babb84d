"""The K-sparse polytope: {x : |x|_inf <= radius, |x|_1 <= k radius}.

Its vertices have exactly k entries of size `radius`. Source: arXiv:2010.07243. Differs from it:
radial shrinking divides by the true gauge, and the k entries are exact among ties.
"""

import math

from extremal.frankwolfe._arrays import Array, namespace, sgn, top_mask
from extremal.frankwolfe._region import CountedBall
from extremal.frankwolfe._thresholds import project_ksparse


class KSparse(CountedBall):
    """The hull of all elements with k entries of absolute value `radius` and no others.

    Example:
        >>> import numpy as np
        >>> KSparse(1.0, k=2).lmo(np.array([1.0, -3.0, 2.0, 0.0]))
        array([ 0.,  1., -1.,  0.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        return xp.where(top_mask(xp.abs(g), self.k), -sgn(g), xp.zeros_like(g))

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        a = xp.abs(x)
        return xp.maximum(xp.amax(a, axis=-1), xp.sum(a, axis=-1) / self.k)

    def _project(self, y: Array) -> Array:
        return project_ksparse(y, self.k)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(self.k)
