"""A user's region, made from one function."""

from collections.abc import Callable
from typing import Any

import numpy as np

from extremal.frankwolfe._arrays import Array, like, on_cpu
from extremal.frankwolfe._nearest import nearest_point
from extremal.frankwolfe._region import Number, Region
from extremal.frankwolfe._thresholds import rowwise


class Oracle(Region):
    """A region that is known by its linear minimisation oracle alone.

    Projections use the oracle; so does membership, up to 1e-6. Such a region cannot be written to
    a file, and what is found over it has no certificate.

    Example:
        >>> import numpy as np
        >>> corner = Oracle(lambda g: np.where(g < 0, 1.0, 0.0), diameter=2.0)
        >>> corner.lmo(np.array([1.0, -1.0]))
        array([0., 1.])
    """

    _lmo_of: Callable[[np.ndarray], np.ndarray]
    _bound: float | None

    def __init__(
        self, lmo: Callable[[np.ndarray], np.ndarray], diameter: Number | None = None
    ) -> None:
        """Make the region.

        Args:
            lmo: Takes a float64 vector and returns a point of the region that minimises the
                inner product with it.
            diameter: An upper bound of the Euclidean one, for the steps that need it.
        """
        self._set(_lmo_of=lmo, _bound=None if diameter is None else float(diameter))

    def as_plain(self) -> dict[str, Any]:
        """Refuse: a function is no data."""
        raise ValueError("a region made from a function cannot be written to a file.")

    def __eq__(self, other: object) -> bool:
        """Equal only to itself."""
        return self is other

    def __hash__(self) -> int:
        """Hash of the function."""
        return hash(self._lmo_of)

    def __repr__(self) -> str:
        """Name the function."""
        return f"Oracle({getattr(self._lmo_of, '__name__', 'lmo')})"

    def _lmo(self, g: Array) -> Array:
        rows = [np.asarray(self._lmo_of(row), dtype=np.float64) for row in on_cpu(g)]
        for row in rows:
            if row.shape != (g.shape[-1],) or not np.isfinite(row).all():
                raise ValueError(
                    f"the oracle returned shape {row.shape} or a value that is not finite for a "
                    f"direction of {g.shape[-1]} entries; it must return a point of the region."
                )
        return like(np.stack(rows), g)

    def _violation(self, x: Array) -> Array:
        away = x - self._project(x)
        return (away * away).sum(-1) ** 0.5

    def _project(self, y: Array) -> Array:
        return rowwise(lambda row: nearest_point(lambda g: self._lmo(g[None])[0], row), y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        if self._bound is None:
            raise ValueError("this region's diameter is not known; give Oracle(lmo, diameter=…).")
        return self._bound
