"""The k-support ball of groups: a group is a slice along the first dimension, such as a filter.

Source: arXiv:2205.11921. Differs from the published code: among equal groups exactly k are kept.
"""

from extremal.frankwolfe._arrays import Array, namespace, norm2, put, top_mask
from extremal.frankwolfe._region import CountedBall, Shape
from extremal.frankwolfe._thresholds import rowwise

from ._ksupport import ksupport_norm, project_ksupport


class GroupKSupport(CountedBall):
    """The hull of all elements with at most k nonzero groups and Frobenius norm `radius`.

    Example:
        >>> import numpy as np
        >>> g = np.array([[3.0, 4.0], [0.0, 1.0], [6.0, 8.0]])
        >>> GroupKSupport(2.0, k=2).lmo(g).round(4) + 0.0
        array([[-0.5367, -0.7155],
               [ 0.    ,  0.    ],
               [-1.0733, -1.4311]])
    """

    matrix = True

    def _countable(self, shape: Shape) -> int:
        return shape[0]

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        g = not_zero(g)
        kept = top_mask(norm2(g)[:, :, 0], self.k)[:, :, None]
        v = xp.where(kept, g, xp.zeros_like(g))
        return -v / norm2(norm2(v), axis=1)

    def _gauge(self, x: Array) -> Array:
        return ksupport_norm(norm2(x)[:, :, 0], self.k)

    def _project(self, y: Array) -> Array:
        return with_norms(y, rowwise(lambda row: project_ksupport(row, self.k), norm2(y)[:, :, 0]))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0


def with_norms(y: Array, wanted: Array) -> Array:
    """Scale the groups of y, (b, groups, n), to the given norms, (b, groups)."""
    xp = namespace(y)
    norms = norm2(y)
    factor = wanted[:, :, None] / xp.where(norms > 0, norms, xp.ones_like(norms))
    return y * factor


def not_zero(g: Array) -> Array:
    """Divide each matrix by its largest entry; a zero matrix gets a 1 in its corner."""
    xp = namespace(g)
    flat = g.reshape((g.shape[0], -1))
    largest = xp.amax(xp.abs(flat), axis=-1, keepdims=True)
    none = largest == 0
    flat = flat / xp.where(none, xp.ones_like(largest), largest)
    at = xp.zeros_like(largest, dtype=xp.int64)
    first = xp.where(none, xp.ones_like(largest), flat[:, :1])
    return put(flat, at, first).reshape(tuple(g.shape))
