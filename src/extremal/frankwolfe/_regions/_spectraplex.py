"""The spectraplex: positive semidefinite matrices of trace radius.

Only the symmetric part of a direction matters.
"""

import math

from extremal.frankwolfe._arrays import Array, namespace, transpose
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_simplex


class Spectraplex(Ball):
    """Symmetric matrices with eigenvalues at least 0 that sum to `radius`.

    Example:
        >>> import numpy as np
        >>> Spectraplex(1.0).lmo(np.diag([3.0, -1.0]))
        array([[0., 0.],
               [0., 1.]])
    """

    matrix = True
    square = True

    def _lmo(self, g: Array) -> Array:
        _, q = eigh(g)
        q = q[:, :, :1]
        return q * transpose(q)

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        w, _ = eigh(x)
        return xp.maximum(
            xp.maximum(xp.abs(xp.sum(w, axis=-1) - 1), -xp.amin(w, axis=-1)), asymmetry(x)
        )

    def _project(self, y: Array) -> Array:
        w, q = eigh(y)
        return (q * project_simplex(w)[:, None, :]) @ transpose(q)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0) if shape[0] > 1 else 0.0


def eigh(g: Array) -> tuple[Array, Array]:
    """Return ascending eigenvalues and eigenvectors of the symmetric part."""
    return namespace(g).linalg.eigh((g + transpose(g)) / 2)


def asymmetry(x: Array) -> Array:
    """Return the largest entry of |X - X'| of each matrix."""
    xp = namespace(x)
    return xp.amax(xp.abs(x - transpose(x)).reshape((x.shape[0], -1)), axis=-1)
