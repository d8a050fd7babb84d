"""Matrices whose columns have bounded Euclidean norms, for embeddings and first layers.

Source: arXiv:2502.07529. The bound is radius sqrt(outputs), or that over inputs.
"""

import math

from extremal.frankwolfe._arrays import Array, namespace, norm2, transpose
from extremal.frankwolfe._region import Ball, Number, Shape

from ._rownorm import project_rows, unit_rows


class ColNorm(Ball):
    """Matrices (outputs, inputs) with columns of norm at most radius sqrt(outputs).

    `normalized=True` divides the bound by the number of inputs.

    Example:
        >>> import numpy as np
        >>> ColNorm(1.0).lmo(np.array([[1.0, 0.0], [0.0, -1.0]])).round(4) + 0.0
        array([[-1.4142,  0.    ],
               [ 0.    ,  1.4142]])
    """

    matrix = True
    _names = ("radius", "normalized", "diameter", "width")
    _normalized: bool

    def __init__(
        self,
        radius: Number | None = None,
        *,
        normalized: bool = False,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the region; give exactly one size."""
        self._set_size(radius, diameter, width)
        self._set(_normalized=normalized)

    def _factor(self, shape: Shape) -> float:
        return math.sqrt(shape[0]) / (math.prod(shape[1:]) if self._normalized else 1)

    def _lmo(self, g: Array) -> Array:
        return -transpose(unit_rows(transpose(g)))

    def _gauge(self, x: Array) -> Array:
        return namespace(x).amax(norm2(x, axis=-2)[:, 0, :], axis=-1)

    def _project(self, y: Array) -> Array:
        return transpose(project_rows(transpose(y)))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(shape[1])
