"""A tiling of the torus whose vertices may move: which corners are one vertex, and where it is.

Notation: a corner of a tile is a vertex number with an integer shift: V[k] + i * L0 + j * L1. Equal
corners stay equal, so that the tiles keep fitting together whatever V and L are.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float

from ._colouring import determinant
from ._polygon_colouring import PolygonColouring, Vertices

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tiles:
    """The topology of a tiling with the present place of its vertices.

    Attributes:
        lattice: Two rows.
        vertices: One row each.
        corners: Of each tile, counterclockwise.
        colors: Of each tile.
    """

    lattice: Float[np.ndarray, "2 2"]
    vertices: Float[np.ndarray, "_ 2"]
    corners: tuple[tuple[Corner, ...], ...]
    colors: tuple[int, ...]

    def polygons(self) -> list[tuple[int, Float[np.ndarray, "_ 2"]]]:
        """Return the tiles in floats."""
        return [(c, self.place(k)) for c, k in zip(self.colors, self.corners, strict=True)]

    def place(self, corners: tuple[Corner, ...]) -> Float[np.ndarray, "_ 2"]:
        """Return where corners are."""
        k, i, j = np.array(corners).T
        moved = np.stack([i, j], 1) @ self.lattice
        return self.vertices[k] + moved

    def exact(self, colors: int, free: bool, denominator: int = 10**10) -> PolygonColouring:
        """Return the tiles with vertices rounded to rationals; they still fit together."""

        def near(x: Any) -> Fraction:
            return Fraction(round(float(x) * denominator), denominator)

        lattice = tuple(tuple(near(x) for x in row) for row in self.lattice)
        places = [tuple(near(x) for x in v) for v in self.vertices]
        tiles: list[tuple[int, Vertices]] = []
        for c, corners in zip(self.colors, self.corners, strict=True):
            tiles.append(
                (
                    c,
                    tuple(
                        (
                            places[k][0] + i * lattice[0][0] + j * lattice[1][0],
                            places[k][1] + i * lattice[0][1] + j * lattice[1][1],
                        )
                        for k, i, j in corners
                    ),
                )
            )
        return PolygonColouring(lattice, tuple(tiles), colors, free)


def tiles_of(colouring: PolygonColouring) -> Tiles:
    """Return the topology of exact tiles: corners equal modulo the lattice share a vertex."""
    (a, b), (c, d) = colouring.lattice
    det = determinant(colouring.lattice)
    numbers: dict[tuple[Fraction, Fraction], int] = {}
    places: list[tuple[float, float]] = []
    corners: list[tuple[Corner, ...]] = []
    for _, polygon in colouring.tiles:
        own: list[Corner] = []
        for x, y in polygon:
            s, t = (x * d - y * c) / det, (a * y - b * x) / det
            i, j = s.__floor__(), t.__floor__()
            key = (s - i, t - j)
            if key not in numbers:
                numbers[key] = len(places)
                places.append((float(x - i * a - j * c), float(y - i * b - j * d)))
            own.append((numbers[key], i, j))
        corners.append(tuple(own))
    return Tiles(
        colouring.basis, np.array(places), tuple(corners), tuple(c for c, _ in colouring.tiles)
    )
