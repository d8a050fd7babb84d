"""The Fantope: symmetric matrices with eigenvalues in [0, 1] and trace k.

It is the hull of the projections on k-dimensional subspaces.
"""

import math

from extremal.frankwolfe._arrays import Array, namespace, transpose
from extremal.frankwolfe._region import Number, Region, Shape, check_count, check_fits
from extremal.frankwolfe._thresholds import project_hypersimplex

from ._spectraplex import asymmetry, eigh


class Fantope(Region):
    """The hull of all orthogonal projections of rank k.

    Example:
        >>> import numpy as np
        >>> Fantope(k=2).lmo(np.diag([3.0, -1.0, 2.0])).diagonal()
        array([0., 1., 1.])
    """

    matrix = True
    square = True
    _names = ("k", "fraction")
    _k: int | None
    _fraction: Number | None

    def __init__(self, k: int | None = None, *, fraction: Number | None = None) -> None:
        """Make the region; give one of `k` and `fraction`."""
        check_count("Fantope", k, fraction)
        self._set(_k=k, _fraction=fraction)

    @property
    def k(self) -> int:
        """The trace."""
        if self._k is None:
            raise ValueError(f"the k of {self} depends on a shape; call sized(shape) first.")
        return self._k

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Fantope":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        if self._k is None:
            return Fantope(max(1, math.floor(float(self._fraction or 0) * shape[0])))
        check_fits("Fantope", self._k, shape[0], shape)
        return self

    def _lmo(self, g: Array) -> Array:
        _, q = eigh(g)
        q = q[:, :, : self.k]
        return q @ transpose(q)

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        w, _ = eigh(x)
        ends = xp.maximum(xp.amax(w, axis=-1) - 1, -xp.amin(w, axis=-1))
        trace = xp.abs(xp.sum(w, axis=-1) - self.k) / self.k
        return xp.maximum(xp.maximum(ends, trace), asymmetry(x))

    def _project(self, y: Array) -> Array:
        w, q = eigh(y)
        return (q * project_hypersimplex(w, self.k)[:, None, :]) @ transpose(q)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0 * min(self.k, shape[0] - self.k))
