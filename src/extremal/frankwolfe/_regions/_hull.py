"""The hull of listed points."""

import math
from collections.abc import Sequence

import numpy as np
import scipy.optimize
import scipy.spatial.distance

from extremal.frankwolfe._arrays import Array, constant, first_argmax
from extremal.frankwolfe._nearest import nearest_point
from extremal.frankwolfe._region import Number, Region, Shape
from extremal.frankwolfe._thresholds import rowwise


class Hull(Region):
    """The hull of the rows of `vertices`.

    Example:
        >>> import numpy as np
        >>> Hull([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]]).lmo(np.array([-1.0, -1.0]))
        array([2., 0.])
    """

    _names = ("vertices",)
    _vertices: np.ndarray

    def __init__(self, vertices: Sequence[Sequence[Number]] | np.ndarray) -> None:
        """Make the hull."""
        points = np.array(vertices, dtype=np.float64)
        if points.ndim != 2 or points.size == 0 or not np.isfinite(points).all():
            raise ValueError("Hull needs a finite array with one point a row.")
        self._set(_vertices=points)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) != self._vertices.shape[1]:
            raise ValueError(
                f"Hull of points with {self._vertices.shape[1]} entries cannot hold {shape}."
            )

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Hull":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def weights(self, x: np.ndarray) -> np.ndarray:
        """Return weights >= 0 of sum 1 with which the vertices come nearest to x."""
        size = max(1.0, float(np.abs(self._vertices).max()))
        rows = np.vstack([self._vertices.T / size, np.ones(len(self._vertices))])
        found, _ = scipy.optimize.nnls(rows, np.append(x / size, 1.0))
        return found

    def _lmo(self, g: Array) -> Array:
        points = constant(self._vertices, g)
        return points[first_argmax(-(g @ points.T))[:, 0]]

    def _violation(self, x: Array) -> Array:
        size = max(1.0, float(np.abs(self._vertices).max()))
        away = (x - self._project(x)) / size
        return (away * away).sum(-1) ** 0.5

    def _project(self, y: Array) -> Array:
        return rowwise(lambda row: nearest_point(lambda g: self._lmo(g[None])[0], row), y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        if len(self._vertices) == 1:
            return 0.0
        return float(scipy.spatial.distance.pdist(self._vertices).max())
