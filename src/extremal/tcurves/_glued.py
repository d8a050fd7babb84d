"""The glued complex: four reflected copies of a triangulation, antipodal boundary points joined.

Notation: a copy of the point (i, j) is (±i, ±j); a boundary copy is represented by the one with
x > 0, or x = 0 and y > 0, and its antipode carries flip = 1. The sign of a copy is the point's sign
plus x's parity where x < 0 plus y's where y < 0. An edge has twist = flip + flip of its ends, and
is monochromatic if the signs of its ends differ by twist * d (mod 2); otherwise the curve cuts it.
The same two copies can be joined by two edges of different twist.
Source: section 2.2 of the notes on arXiv:2604.09221; V = 2d^2+1, E = 6d^2, F = 4d^2.
"""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._lattice import lattice_points
from ._triangulation import Triangulation


@dataclass(frozen=True)
class Glued:
    """The projective plane, triangulated.

    Attributes:
        degree: d.
        point: (V,) the lattice point of each copy; copies of one point are neighbours in the list.
        offset: (V,) what is added to the point's sign, 0 or 1.
        place: (V, 2) coordinates of the representative.
        first: (n+1,) copies of point k are first[k] .. first[k+1]-1.
        edges: (E, 4) rows u, v, twist, difference: monochromatic exactly where the signs of the
            *points* of u and v differ by `difference`.
    """

    degree: int
    point: np.ndarray
    offset: np.ndarray
    place: np.ndarray
    first: np.ndarray
    edges: np.ndarray


@lru_cache(maxsize=64)
def glued(t: Triangulation) -> Glued:
    """Return the glued complex of a triangulation; its numbers of cells are asserted."""
    d = t.degree
    number: dict[tuple[int, int], tuple[int, int]] = {}  # place -> copy, flip
    point: list[int] = []
    place: list[tuple[int, int]] = []
    first = [0]
    for k, (i, j) in enumerate(lattice_points(d)):
        for x in sorted({i, -i}, reverse=True):
            for y in sorted({j, -j}, reverse=True):
                if abs(x) + abs(y) == d and (x < 0 or (x == 0 and y < 0)):
                    continue
                number[x, y] = (len(point), 0)
                if abs(x) + abs(y) == d:
                    number[-x, -y] = (len(point), 1)
                point.append(k)
                place.append((x, y))
        first.append(len(point))
    offset = [((x < 0) * x + (y < 0) * y) % 2 for x, y in place]
    seen: set[tuple[int, int, int]] = set()
    for a, b in t.edges:
        (xa, ya), (xb, yb) = t.points[a], t.points[b]
        for ex in (1, -1):
            for ey in (1, -1):
                u, flip_u = number[ex * xa, ey * ya]
                v, flip_v = number[ex * xb, ey * yb]
                seen.add((u, v, flip_u ^ flip_v))
    rows = [(u, v, twist, offset[u] ^ offset[v] ^ (twist * d % 2)) for u, v, twist in sorted(seen)]
    assert (len(point), len(rows)) == (2 * d * d + 1, 6 * d * d)
    return Glued(
        d,
        np.array(point, np.int32),
        np.array(offset, np.uint8),
        np.array(place, np.int32),
        np.array(first, np.int32),
        np.array(rows, np.int32),
    )
