"""The spectral k-support ball, hull of {X : |X|_F <= radius, rank X <= k} (arXiv:2205.11921)."""

import math

from extremal.frankwolfe._arrays import Array, namespace, svd
from extremal.frankwolfe._region import CountedBall, Shape
from extremal.frankwolfe._thresholds import rowwise

from ._group_ksupport import not_zero
from ._ksupport import ksupport_norm, project_ksupport


class SpectralKSupport(CountedBall):
    """The hull of all matrices of rank at most k and Frobenius norm `radius`.

    k = 1 is the nuclear ball, full k the Frobenius ball.

    Example:
        >>> import numpy as np
        >>> SpectralKSupport(1.0, k=2).lmo(np.diag([3.0, 2.0, 1.0])).diagonal().round(4) + 0.0
        array([-0.8321, -0.5547,  0.    ])
    """

    matrix = True

    def _countable(self, shape: Shape) -> int:
        return min(self._plain_shape(shape))

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        u, s, vt = svd(not_zero(g))
        s = s[:, : self.k]
        s = s / xp.sqrt(xp.sum(s * s, axis=-1, keepdims=True))
        return -((u[:, :, : self.k] * s[:, None, :]) @ vt[:, : self.k, :])

    def _gauge(self, x: Array) -> Array:
        return ksupport_norm(namespace(x).linalg.svd(x, full_matrices=False)[1], self.k)

    def _violation(self, x: Array) -> Array:
        # In blocks of k singular values the norm is at most the root of their number times the
        # Frobenius norm; where that suffices, nothing need be decomposed.
        xp = namespace(x)
        bound = xp.linalg.norm(x, axis=(-2, -1)) * math.sqrt(math.ceil(min(x.shape[1:]) / self.k))
        return bound - 1 if bool(xp.all(bound <= 1)) else self._gauge(x) - 1

    def _project(self, y: Array) -> Array:
        u, s, vt = svd(y)
        return (u * rowwise(lambda row: project_ksupport(row, self.k), s)[:, None, :]) @ vt

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
