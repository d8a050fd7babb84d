"""The group L1 ball: {x : the Euclidean norms of the groups sum to at most radius}.

A group is a slice along the first dimension, such as a filter.
"""

from extremal.frankwolfe._arrays import Array, first_argmax, index, namespace, norm2
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_l1

from ._group_ksupport import not_zero, with_norms


class GroupL1(Ball):
    """The hull of all elements with one nonzero group of Euclidean norm `radius`.

    Example:
        >>> import numpy as np
        >>> GroupL1(5.0).lmo(np.array([[3.0, 4.0], [0.0, 1.0]])) + 0.0
        array([[-3., -4.],
               [ 0.,  0.]])
    """

    matrix = True

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        g = not_zero(g)
        best = first_argmax(norm2(g)[:, :, 0])
        kept = (index(g.shape[1], g) == best)[:, :, None]
        v = xp.where(kept, g, xp.zeros_like(g))
        return -v / norm2(norm2(v), axis=1)

    def _gauge(self, x: Array) -> Array:
        return namespace(x).sum(norm2(x)[:, :, 0], axis=-1)

    def _project(self, y: Array) -> Array:
        return with_norms(y, project_l1(norm2(y)[:, :, 0]))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
