"""The spectral form of the K-sparse polytope: singular values at most r that sum to at most k r."""

import math

from extremal.frankwolfe._arrays import Array, namespace, svd
from extremal.frankwolfe._region import CountedBall, Shape
from extremal.frankwolfe._thresholds import project_ksparse


class KyFanKSparse(CountedBall):
    """The hull of all matrices of rank k whose nonzero singular values are `radius`.

    Example:
        >>> import numpy as np
        >>> KyFanKSparse(1.0, k=2).lmo(np.diag([3.0, 2.0, 1.0])).diagonal().round(12) + 0.0
        array([-1., -1.,  0.])
    """

    matrix = True

    def _countable(self, shape: Shape) -> int:
        return min(self._plain_shape(shape))

    def _lmo(self, g: Array) -> Array:
        u, _, vt = svd(g)
        return -(u[:, :, : self.k] @ vt[:, : self.k, :])

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        s = xp.linalg.svd(x, full_matrices=False)[1]
        return xp.maximum(s[:, 0], xp.sum(s, axis=-1) / self.k)

    def _project(self, y: Array) -> Array:
        u, s, vt = svd(y)
        return (u * project_ksparse(s, self.k)[:, None, :]) @ vt

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(self.k)
