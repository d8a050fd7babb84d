"""The permutahedron: the hull of all permutations of given numbers.

Projection: sort, then one least-squares monotone fit (Lim and Wright 2016), on the CPU.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy.optimize

from extremal.frankwolfe._arrays import Array, constant, namespace, order_down, put, sort_down
from extremal.frankwolfe._region import Number, Region, Shape
from extremal.frankwolfe._thresholds import rowwise


class Permutahedron(Region):
    """The hull of the permutations of `weights`, by default of 1, …, n.

    Example:
        >>> import numpy as np
        >>> Permutahedron().lmo(np.array([0.3, -1.0, 2.0]))
        array([2., 3., 1.])
    """

    _names = ("weights",)
    _weights: tuple[float, ...] | None

    def __init__(self, weights: Sequence[Number] | None = None) -> None:
        """Make the region from the numbers to permute."""
        if weights is not None and (len(weights) == 0 or not np.isfinite(weights).all()):
            raise ValueError(f"Permutahedron needs finite weights, got {weights!r}.")
        self._set(_weights=None if weights is None else tuple(float(w) for w in weights))

    def as_plain(self) -> dict[str, Any]:
        """See `Region.as_plain`."""
        plain: dict[str, Any] = {"region": "Permutahedron"}
        return plain if self._weights is None else {**plain, "weights": list(self._weights)}

    def _up(self, n: int) -> np.ndarray:
        return np.arange(1.0, n + 1) if self._weights is None else np.sort(self._weights)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        n = int(np.prod(shape))
        if self._weights is not None and n != len(self._weights):
            raise ValueError(
                f"Permutahedron of {len(self._weights)} weights cannot hold {n} entries."
            )

    def _lmo(self, g: Array) -> Array:
        up = constant(self._up(g.shape[-1]), g)
        xp = namespace(g)
        return put(xp.zeros_like(g), order_down(g), xp.broadcast_to(up, g.shape))

    def _violation(self, x: Array) -> Array:
        xp = namespace(x)
        down = self._up(x.shape[-1])[::-1].copy()
        size = max(float(np.abs(down).sum()), 1e-300)
        over = xp.cumsum(sort_down(x), axis=-1) - constant(np.cumsum(down), x)
        return xp.maximum(xp.amax(over, axis=-1), xp.abs(over[:, -1])) / size

    def _project(self, y: Array) -> Array:
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        order = np.argsort(-y, kind="stable")
        z, w = y[order], self._up(len(y))[::-1]
        fit = scipy.optimize.isotonic_regression(z - w, increasing=False).x
        out = np.empty_like(y)
        out[order] = z - fit
        return out

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        up = self._up(int(np.prod(shape)))
        return float(np.linalg.norm(up - up[::-1]))

    def sized(self, shape: Shape, init_norm: float | None = None) -> "Permutahedron":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self
