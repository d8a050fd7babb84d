"""The unit spectrahedron: positive semidefinite matrices of trace at most radius."""

import math

from extremal.frankwolfe._arrays import Array, namespace, transpose
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_unit_simplex

from ._spectraplex import asymmetry, eigh


class UnitSpectrahedron(Ball):
    """Symmetric matrices with eigenvalues at least 0 that sum to at most `radius`.

    Example:
        >>> import numpy as np
        >>> UnitSpectrahedron(1.0).lmo(np.diag([3.0, 1.0]))
        array([[0., 0.],
               [0., 0.]])
    """

    matrix = True
    square = True

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        w, q = eigh(g)
        q = q[:, :, :1]
        v = q * transpose(q)
        return xp.where((w[:, :1] < 0)[:, :, None], v, xp.zeros_like(v))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        w, _ = eigh(x)
        return xp.maximum(xp.maximum(xp.sum(w, axis=-1) - 1, -xp.amin(w, axis=-1)), asymmetry(x))

    def _project(self, y: Array) -> Array:
        w, q = eigh(y)
        return (q * project_unit_simplex(w)[:, None, :]) @ transpose(q)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0) if shape[0] > 1 else 1.0
