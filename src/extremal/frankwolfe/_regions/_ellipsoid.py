"""An ellipsoid {(x - c)' A (x - c) <= radius}, A symmetric positive definite."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from extremal.frankwolfe._arrays import Array, constant, namespace, nonzero_rows
from extremal.frankwolfe._region import Number, Region, Shape
from extremal.frankwolfe._thresholds import root, rowwise


class Ellipsoid(Region):
    """Elements with (x - center)' A (x - center) at most `radius`.

    Example:
        >>> import numpy as np
        >>> Ellipsoid([[1.0, 0.0], [0.0, 4.0]]).lmo(np.array([0.0, 1.0]))
        array([ 0. , -0.5])
    """

    _names = ("a", "center", "radius")
    _a: np.ndarray
    _center: np.ndarray
    _radius: float
    _eigen: Any

    def __init__(
        self,
        a: Sequence[Sequence[Number]] | np.ndarray,
        center: Sequence[Number] | np.ndarray | None = None,
        *,
        radius: Number = 1.0,
    ) -> None:
        """Make the ellipsoid; the center is 0 by default."""
        matrix = np.array(a, dtype=np.float64)
        if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1] or not np.isfinite(matrix).all():
            raise ValueError("Ellipsoid needs a finite square matrix.")
        if not np.array_equal(matrix, matrix.T):
            raise ValueError("Ellipsoid needs a symmetric matrix.")
        w, q = np.linalg.eigh(matrix)
        if w[0] <= 0:
            raise ValueError(
                f"Ellipsoid needs a positive definite matrix; it has eigenvalue {w[0]}."
            )
        if isinstance(radius, bool) or not 0 < radius < math.inf:
            raise ValueError(f"Ellipsoid needs a finite radius > 0, got {radius!r}.")
        c = np.zeros(len(matrix)) if center is None else np.array(center, dtype=np.float64)
        if c.shape != (len(matrix),) or not np.isfinite(c).all():
            raise ValueError("Ellipsoid needs a finite center with one entry for each row of A.")
        self._set(_a=matrix, _center=c, _radius=float(radius), _eigen=(w, q))

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) != len(self._center):
            raise ValueError(
                f"Ellipsoid in {len(self._center)} dimensions cannot hold elements of {shape}."
            )

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Ellipsoid":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        w, q = (constant(part, g) for part in self._eigen)
        g = nonzero_rows(g)
        z = (g @ q) / w
        size = xp.sqrt(xp.sum(z * z * w, axis=-1, keepdims=True))
        return constant(self._center, g) - math.sqrt(self._radius) * (z / size) @ q.T

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        w, q = (constant(part, x) for part in self._eigen)
        z = (x - constant(self._center, x)) @ q
        return xp.sum(z * z * w, axis=-1) / self._radius - 1

    def _project(self, y: Array) -> Array:
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        w, q = self._eigen
        z = (y - self._center) @ q

        def excess(m: float) -> float:
            return float(np.sum(w * (z / (1 + m * w)) ** 2)) / self._radius - 1.0

        if excess(0.0) <= 0:
            return y
        high = 1.0 / w[0]
        while excess(high) > 0:
            high *= 4.0
        m = root(excess, 0.0, high, xtol=1e-300)
        return self._center + q @ (z / (1 + m * w))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(self._radius / self._eigen[0][0])
