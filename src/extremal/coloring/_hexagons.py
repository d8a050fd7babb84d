"""Hexagonal cells: the points nearest to each point of a fine lattice (in space, polytopes).

Notation: V is the cell of 0, r its facet vectors: lattice vectors with V = {z : r z <= r r / 2}.
Two half-open cells at offset D differ by the vectors of D u plus the interior of 2 V, just as two
parallelograms by those of an open parallelotope, so everything that is said about offsets holds.

For cells of area 1 the distances between two of them differ by 2.370 on average for regular
hexagons, 2.546 for squares and 2.736 for parallelograms of 60 degrees (twice the mean width):
fewer offsets are forbidden by hexagons, and less of a colouring is lost.

Facet vectors are the shortest ones of their classes modulo 2 L (Voronoi); all of those are taken.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache

import numpy as np
from jaxtyping import Float, Int

from ._colouring import Matrix, Shape, solved


@dataclass(frozen=True, eq=False)
class Facets:
    """2 V in exact coordinates, whose axes may have other units than 1.

    Attributes:
        normals: The facet vectors r; 2 V = {z : r z <= r r}.
        corners: Of 2 V.
        axes: Squared units of the coordinates.
    """

    normals: Matrix
    corners: Matrix
    axes: tuple[Fraction, ...]

    @property
    def units(self) -> Float[np.ndarray, " n"]:
        """The units of the coordinates, in floats."""
        return np.sqrt([float(a) for a in self.axes])


@lru_cache(maxsize=64)
def facets(shape: Shape) -> Facets:
    """Return 2 V of the cells of a shape."""
    axes = shape.weights
    base = _reduced(shape.steps, axes)
    n = len(base)
    classes: dict[tuple[int, ...], list[tuple[Fraction, tuple[Fraction, ...]]]] = {}
    for c in itertools.product(range(-2, 3), repeat=n):
        key = tuple(x % 2 for x in c)
        if any(key):
            z = _combined(c, base)
            classes.setdefault(key, []).append((_dot(z, z, axes), z))
    normals: list[tuple[Fraction, ...]] = []
    for found in classes.values():
        least = min(square for square, _ in found)
        normals += [z for square, z in found if square == least]
    corners: set[tuple[Fraction, ...]] = set()
    for chosen in itertools.combinations(normals, n):
        rows = [[a * x for a, x in zip(axes, r, strict=True)] for r in chosen]
        z = solved(rows, [_dot(r, r, axes) for r in chosen])
        if z is not None and all(_dot(r, z, axes) <= _dot(r, r, axes) for r in normals):
            corners.add(z)
    return Facets(tuple(normals), tuple(sorted(corners)), axes)


def hexagon_norms(
    body: Facets, centres: Float[np.ndarray, "m n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the squared least and largest norm over centre + 2 V, in floats.

    Args:
        body: 2 V.
        centres: In true units.

    The nearest point of 2 V to -centre is the foot on the plane of up to n facets, if it lies in
    2 V; the least of those counts.
    """
    units = body.units
    corners = np.array([[float(x) for x in z] for z in body.corners]) * units
    largest = np.full(len(centres), 0.0)
    for corner in corners:
        largest = np.maximum(largest, ((centres + corner) ** 2).sum(1))
    normals = np.array([[float(x) for x in r] for r in body.normals]) * units
    heights = (normals**2).sum(1)
    against = -centres @ normals.T
    least = np.full(len(centres), np.inf)
    slack = 1e-12 * heights
    inside = (against <= heights + slack).all(1)
    least[inside] = 0.0
    outside = np.flatnonzero(~inside)
    for size in range(1, centres.shape[1] + 1):
        for chosen in itertools.combinations(range(len(normals)), size):
            rows = normals[list(chosen)]
            gram = rows @ rows.T
            if abs(np.linalg.det(gram)) < 1e-9 * np.prod(np.diag(gram)):
                continue
            missing = heights[list(chosen)] - against[outside][:, list(chosen)]
            factors = missing @ np.linalg.inv(gram)
            feet = against[outside] + factors @ (rows @ normals.T)
            good = (feet <= heights + slack).all(1)
            square = (factors * missing).sum(1)
            where = outside[good]
            least[where] = np.minimum(least[where], square[good])
    return least, largest


def exact_hexagon_norms(shape: Shape, offset: Sequence[int]) -> tuple[Fraction, Fraction]:
    """Return the squared least and largest norm over D u + 2 V, exactly."""
    body = facets(shape)
    axes = body.axes
    centre = _combined(offset, shape.steps)
    largest = max(
        _dot(z, z, axes)
        for z in (tuple(a + b for a, b in zip(centre, c, strict=True)) for c in body.corners)
    )
    against = [-_dot(r, centre, axes) for r in body.normals]
    heights = [_dot(r, r, axes) for r in body.normals]
    if all(a <= h for a, h in zip(against, heights, strict=True)):
        return Fraction(0), largest
    # Floats say which facets the nearest point lies on; that it is the nearest one is then exact:
    # it lies in 2 V, and the way to it is a sum of outer normals (Kuhn and Tucker).
    for chosen in _likely(body, centre):
        gram = [[_dot(body.normals[i], body.normals[j], axes) for j in chosen] for i in chosen]
        missing = [heights[i] - against[i] for i in chosen]
        factors = solved(gram, missing)
        if factors is None or any(f > 0 for f in factors):
            continue
        foot = tuple(
            -c
            + sum(
                (f * body.normals[i][k] for f, i in zip(factors, chosen, strict=True)), Fraction(0)
            )
            for k, c in enumerate(centre)
        )
        if all(_dot(r, foot, axes) <= h for r, h in zip(body.normals, heights, strict=True)):
            return sum((f * m for f, m in zip(factors, missing, strict=True)), Fraction(0)), largest
    raise ArithmeticError("no point of a cell is nearest to 0, which cannot be.")


def _likely(body: Facets, centre: Sequence[Fraction]) -> Iterator[tuple[int, ...]]:
    """Sets of facets, those first that the projection meets in floats; all of them in the end."""
    normals = np.array([[float(x) for x in r] for r in body.normals]) * body.units
    heights = (normals**2).sum(1)
    against = -normals @ (np.array([float(x) for x in centre]) * body.units)
    later: list[tuple[int, ...]] = []
    for size in range(1, len(centre) + 1):
        for chosen in itertools.combinations(range(len(normals)), size):
            rows = normals[list(chosen)]
            gram = rows @ rows.T
            if abs(np.linalg.det(gram)) < 1e-9 * np.prod(np.diag(gram)):
                continue
            factors = np.linalg.solve(gram, heights[list(chosen)] - against[list(chosen)])
            feet = against + factors @ (rows @ normals.T)
            if (factors <= 1e-9).all() and (feet <= heights * (1 + 1e-9)).all():
                yield chosen
            else:
                later.append(chosen)
    yield from later


def nearest_cells(
    points: Float[np.ndarray, "m n"], steps: Float[np.ndarray, "n n"]
) -> Int[np.ndarray, "m n"]:
    """Return the cell of each point, in floats: the nearest lattice point.

    Among the corners of the lattice parallelotope around a point stands the nearest lattice point
    only if the basis is reduced, so it is reduced first.
    """
    turn = nearest_turns(steps)
    base = turn @ steps
    low = np.floor(points @ np.linalg.inv(base)).astype(np.int64)
    best = np.full(len(points), np.inf)
    found = low.copy()
    for step in itertools.product((-1, 0, 1, 2), repeat=len(base)):
        trial = low + np.array(step)
        square = ((points - trial @ base) ** 2).sum(1)
        closer = square < best
        found[closer], best = trial[closer], np.minimum(best, square)
    return found @ turn


def nearest_turns(steps: Float[np.ndarray, "n n"]) -> Int[np.ndarray, "n n"]:
    """Return the integer rows that turn a basis into one without shorter differences."""
    turn = np.eye(len(steps), dtype=np.int64)
    base = steps.copy()
    moved = True
    while moved:
        moved = False
        for i, j in itertools.permutations(range(len(base)), 2):
            k = round(float(base[i] @ base[j] / (base[j] @ base[j])))
            shorter = base[i] - k * base[j]
            if k and shorter @ shorter < (base[i] @ base[i]) * (1 - 1e-12):
                base[i] = shorter
                turn[i] -= k * turn[j]
                moved = True
    return turn


def overlaps(shape: Shape, z: Float[np.ndarray, "m 2"]) -> Float[np.ndarray, " m"]:
    """Return which share of a hexagon its translate by z covers; the plane only.

    With r_1 + r_2 + r_3 = 0 the common part is {|r_i y| <= a_i} around its centre, of area
    (2 (a_1 a_2 + a_2 a_3 + a_1 a_3) - a_1^2 - a_2^2 - a_3^2) / |r_1 x r_2|, an a_i that is larger
    than the two others together counting as their sum.
    """
    body = facets(shape)
    normals = np.array([[float(x) for x in r] for r in body.normals]) * body.units
    chosen = next(
        list(c)
        for c in itertools.combinations(range(len(normals)), 3)
        if np.abs(normals[list(c)].sum(0)).max() < 1e-9 * np.abs(normals).max()
        and abs(_cross(normals[c[0]], normals[c[1]])) > 0
    )  # rectangles have diagonals as their third pair, whose facets are corners
    r = normals[chosen]
    heights = (r**2).sum(1) / 2

    def area(a: Float[np.ndarray, "m 3"]) -> Float[np.ndarray, " m"]:
        a = np.maximum(a, 0.0)
        total = a.sum(1, keepdims=True)
        a = np.minimum(a, total - a)
        x, y, w = a.T
        return np.maximum(0.0, 2 * (x * y + y * w + x * w) - (a * a).sum(1))

    whole = float(area(heights[None])[0])
    a = heights - np.abs(z @ r.T) / 2
    return np.where((a > 0).all(1), area(a), 0.0) / whole


def _cross(a: Float[np.ndarray, " 2"], b: Float[np.ndarray, " 2"]) -> float:
    return float(a[0] * b[1] - a[1] * b[0])


def _reduced(steps: Matrix, axes: tuple[Fraction, ...]) -> Matrix:
    """A basis in which no vector gets shorter by multiples of another one."""
    base = [list(u) for u in steps]
    moved = True
    while moved:
        moved = False
        for i, j in itertools.permutations(range(len(base)), 2):
            k = round(_dot(base[i], base[j], axes) / _dot(base[j], base[j], axes))
            shorter = [a - k * b for a, b in zip(base[i], base[j], strict=True)]
            if k and _dot(shorter, shorter, axes) < _dot(base[i], base[i], axes):
                base[i] = shorter
                moved = True
    return tuple(tuple(u) for u in base)


def _combined(factors: Sequence[int], rows: Matrix) -> tuple[Fraction, ...]:
    return tuple(
        sum((f * r[k] for f, r in zip(factors, rows, strict=True)), Fraction(0))
        for k in range(len(rows[0]))
    )


def _dot(a: Sequence[Fraction], b: Sequence[Fraction], axes: Sequence[Fraction]) -> Fraction:
    return sum((w * x * y for w, x, y in zip(axes, a, b, strict=True)), Fraction(0))
