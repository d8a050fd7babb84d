"""The Euclidean ball {x : |x|_2 <= radius}."""

from extremal.frankwolfe._arrays import Array, namespace, nonzero_rows, norm2
from extremal.frankwolfe._region import Ball


class L2Ball(Ball):
    """Elements of Euclidean (for matrices: Frobenius) norm at most `radius`.

    Example:
        >>> import numpy as np
        >>> L2Ball(5.0).lmo(np.array([3.0, -4.0]))
        array([-3.,  4.])
    """

    def _lmo(self, g: Array) -> Array:
        g = nonzero_rows(g)
        return -g / norm2(g)

    def _gauge(self, x: Array) -> Array:
        return norm2(x)[:, 0]

    def _project(self, y: Array) -> Array:
        xp = namespace(y)
        n = norm2(y)
        return xp.where(n > 1, y / xp.where(n > 1, n, xp.ones_like(n)), y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
