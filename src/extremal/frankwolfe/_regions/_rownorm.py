"""Matrices whose rows have bounded Euclidean norms (arXiv:2502.07529)."""

import math

from extremal.frankwolfe._arrays import Array, index, namespace, norm2
from extremal.frankwolfe._region import Ball, Shape


class RowNorm(Ball):
    """Matrices (outputs, inputs) with rows of norm at most radius / sqrt(inputs).

    Example:
        >>> import numpy as np
        >>> RowNorm(2.0).lmo(np.array([[3.0, 4.0, 0.0, 0.0]])) + 0.0
        array([[-0.6, -0.8,  0. ,  0. ]])
    """

    matrix = True

    def _factor(self, shape: Shape) -> float:
        return 1.0 / math.sqrt(math.prod(shape[1:]))

    def _lmo(self, g: Array) -> Array:
        return -unit_rows(g)

    def _gauge(self, x: Array) -> Array:
        return namespace(x).amax(norm2(x)[:, :, 0], axis=-1)

    def _project(self, y: Array) -> Array:
        return project_rows(y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(shape[0])


def unit_rows(g: Array) -> Array:
    """Divide each row by its norm; a zero row becomes the first unit vector."""
    xp = namespace(g)
    largest = xp.amax(xp.abs(g), axis=-1, keepdims=True)
    none = largest == 0
    first = (index(g.shape[-1], g) == 0) & none
    g = xp.where(first, xp.ones_like(g), g / xp.where(none, xp.ones_like(largest), largest))
    return g / norm2(g)


def project_rows(y: Array) -> Array:
    """Project each row on the unit ball."""
    xp = namespace(y)
    n = norm2(y)
    return y / xp.where(n > 1, n, xp.ones_like(n))
