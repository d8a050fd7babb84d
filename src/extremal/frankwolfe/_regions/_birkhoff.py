"""The Birkhoff polytope: doubly stochastic matrices, the hull of permutation matrices.

LMO: an assignment problem, solved on the CPU by SciPy, or by `_assignment` from the potentials of
the last direction. Its dual potentials u, v (u_i + v_j at most the cost everywhere) bound every
linear function from below without a solver.
Projection: max(0, Y + a 1' + 1 b'), rows and columns fitted in turn by exact simplex projections.
"""

import importlib.util
import math
from collections.abc import Callable

import numpy as np
import scipy.optimize

from extremal.frankwolfe._arrays import Array, like, namespace, on_cpu, positive, transpose, upcast
from extremal.frankwolfe._region import Region
from extremal.frankwolfe._thresholds import simplex_threshold

_SWEEPS = 20_000
_TOLERANCE = 1e-12


class Birkhoff(Region):
    """Square matrices with entries at least 0 whose rows and columns sum to 1.

    Example:
        >>> import numpy as np
        >>> cost = np.array([[4.0, 1.0, 3.0], [2.0, 0.0, 5.0], [3.0, 2.0, 2.0]])
        >>> Birkhoff().lmo(cost).argmax(1)
        array([1, 0, 2])
    """

    matrix = True
    square = True

    def _lmo(self, g: Array) -> Array:
        cost = on_cpu(g)
        out = np.zeros_like(cost)
        for item, matrix in zip(out, cost, strict=True):
            item[scipy.optimize.linear_sum_assignment(matrix)] = 1.0
        return like(out, g)

    def following(self) -> Callable[[Array], Array]:
        """See `Region.following`: assignments start from the last one's potentials.

        Where numba is missing every assignment is SciPy's, from scratch.
        """
        if importlib.util.find_spec("numba") is None:
            return self.lmo
        from ._assignment import assign

        v, column = np.empty(0), np.empty(0, np.int64)

        def lmo(g: Array) -> Array:
            nonlocal v, column
            rows, _ = self._open(g, 0, "lmo")
            cost = np.ascontiguousarray(on_cpu(rows)[0], dtype=np.float64)
            if len(v) != len(cost):
                v, column = np.zeros(len(cost)), np.full(len(cost), -1)
            assign(cost, v, column)
            out = np.zeros_like(cost)
            out[np.arange(len(cost)), column] = 1.0
            return like(out.reshape(tuple(g.shape)), g)

        return lmo

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        rows = xp.amax(xp.abs(xp.sum(x, axis=-1) - 1), axis=-1)
        columns = xp.amax(xp.abs(xp.sum(x, axis=-2) - 1), axis=-1)
        least = xp.amin(x.reshape((x.shape[0], -1)), axis=-1)
        return xp.maximum(xp.maximum(rows, columns), -least)

    def _project(self, y: Array) -> Array:
        xp = namespace(y)
        y = upcast(y, True)
        b, n, _ = y.shape
        columns = xp.zeros_like(y[:, :1, :])
        x = y
        for _ in range(_SWEEPS):
            rows = -simplex_threshold((y + columns).reshape((b * n, n)), 1.0).reshape((b, n, 1))
            turned = transpose(y + rows).reshape((b * n, n))
            columns = -simplex_threshold(turned, 1.0).reshape((b, 1, n))
            x = positive(y + rows + columns)
            if float(xp.amax(xp.abs(xp.sum(x, axis=-1) - 1))) < _TOLERANCE:
                break
        return x

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0 * shape[0]) if shape[0] > 1 else 0.0


def assignment_potentials(cost: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return u, v with u_i + v_j <= cost_ij whose sum is the least assignment's cost.

    Args:
        cost: Square and finite.

    Notes:
        The potentials are shortest distances in the residual graph of an optimal assignment.
    """
    cost = np.asarray(cost, dtype=np.float64)
    _, column = scipy.optimize.linear_sum_assignment(cost)
    reduced = cost - cost[np.arange(len(cost)), column][:, None]
    v = np.zeros(len(cost))
    for _ in range(len(cost)):  # Bellman-Ford; no negative cycle, because the assignment is best
        new = np.minimum(v, (v[column][:, None] + reduced).min(axis=0))
        if np.array_equal(new, v):
            break
        v = new
    return (cost - v).min(axis=1), v
