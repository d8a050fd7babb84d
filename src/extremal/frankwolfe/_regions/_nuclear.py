"""The nuclear-norm ball: matrices whose singular values sum to at most radius.

A convolution kernel is read as (outputs, inputs x height x width).
"""

from extremal.frankwolfe._arrays import Array, namespace, svd
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_l1


class NuclearBall(Ball):
    """The hull of all rank-one matrices of Frobenius norm `radius`.

    Example:
        >>> import numpy as np
        >>> NuclearBall(1.0).lmo(np.diag([3.0, 2.0, 1.0])).diagonal().round(12) + 0.0
        array([-1.,  0.,  0.])
    """

    matrix = True

    def _lmo(self, g: Array) -> Array:
        u, _, vt = svd(g)
        return -u[:, :, :1] * vt[:, :1, :]

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.sum(xp.linalg.svd(x, full_matrices=False)[1], axis=-1)

    def _project(self, y: Array) -> Array:
        u, s, vt = svd(y)
        return (u * project_l1(s)[:, None, :]) @ vt

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
