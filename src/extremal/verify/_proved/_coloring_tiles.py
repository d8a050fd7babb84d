"""Tiles that own all or a part of their boundary, and the distances between two of them.

A tile is an open polygon with those of its open sides and corners that it owns. With closed tiles
every tile owns all of them, and a boundary point may take the colour of any tile at it. With
assigned tiles every side and corner of the tiling has one owner.

Two open polygons have the distances strictly between the least and the largest one of their
closures (from 0 on for a polygon and itself): their interiors are connected and open. The largest
is met by pairs of corners only; the least by pairs of corners, by a corner and a point of a side,
or by parallel sides that lie opposite to each other. It is reached if both of a pair are owned.

Products are weighted: coordinate k may be in units of sqrt(axes[k]).
"""

from dataclasses import dataclass
from fractions import Fraction

from extremal.verify._rejected import Rejected

Point = tuple[int, int]  # multiplied by the common denominator of everything
Polygon = tuple[Point, ...]


@dataclass(frozen=True)
class Tile:
    """A coloured polygon; `sides[i]` is that from corner i to i + 1."""

    color: int
    polygon: Polygon
    sides: tuple[bool, ...]
    corners: tuple[bool, ...]

    def moved(self, step: Point) -> "Tile":
        """Return the tile at another place."""
        polygon = tuple((x + step[0], y + step[1]) for x, y in self.polygon)
        return Tile(self.color, polygon, self.sides, self.corners)


@dataclass(frozen=True)
class Range:
    """The distances of two tiles: strictly between two squares, and the ends that are reached."""

    least: Fraction | int
    reaches_least: bool
    largest: int
    reaches_largest: bool

    def meets(self, low: Fraction, high: Fraction) -> bool:
        """Return whether a distance of the closed interval occurs."""
        return (
            (low < self.largest and self.least < high)
            or (low == self.largest and self.reaches_largest)
            or (high == self.least and self.reaches_least)
        )


def owned(value: object, count: int, what: str) -> tuple[bool, ...]:
    """Read which of the sides or corners a tile owns, written as 0s and 1s."""
    if not isinstance(value, str) or len(value) != count or set(value) - {"0", "1"}:
        raise Rejected(f"{what} is {value!r}, not {count} times 0 or 1.")
    return tuple(c == "1" for c in value)


def distances(p: Tile, q: Tile, same: bool, axes: Point) -> Range:
    """Return the range of two tiles that do not overlap, or of one and itself."""
    x, y = axes
    largest, reaches = 0, False
    for (u0, u1), own in zip(p.polygon, p.corners, strict=True):
        for (v0, v1), other in zip(q.polygon, q.corners, strict=True):
            d = x * (u0 - v0) * (u0 - v0) + y * (u1 - v1) * (u1 - v1)
            if d >= largest:
                reaches = (own and other) or (reaches and d == largest)
                largest = d
    if same:
        return Range(0, True, largest, reaches)
    first, second = _nearest(p, q, axes), _nearest(q, p, axes)
    least = min(first[0], second[0])
    near = any(reached for d, reached in (first, second) if d == least)
    return Range(least, near or _opposite(p, q, least, axes), largest, reaches)


def _nearest(one: Tile, two: Tile, axes: Point) -> tuple[Fraction, bool]:
    """The least squared distance from a corner of one to a side of two, and whether it is reached.

    Kept as top / bottom, and compared in integers: a fraction a pair would take twice the time.
    """
    x, y = axes
    n = len(two.polygon)
    top, bottom, near = -1, 1, False
    for i, ((a0, a1), (b0, b1)) in enumerate(sides(two.polygon)):
        s0, s1 = b0 - a0, b1 - a1
        length = x * s0 * s0 + y * s1 * s1
        for (v0, v1), own in zip(one.polygon, one.corners, strict=True):
            d0, d1 = v0 - a0, v1 - a1
            t = x * d0 * s0 + y * d1 * s1
            if t <= 0:
                d, over, other = x * d0 * d0 + y * d1 * d1, 1, two.corners[i]
            elif t >= length:
                e0, e1 = v0 - b0, v1 - b1
                d, over, other = x * e0 * e0 + y * e1 * e1, 1, two.corners[(i + 1) % n]
            else:
                height = s0 * d1 - s1 * d0
                d, over, other = x * y * height * height, length, two.sides[i]
            change = d * bottom - top * over
            if top < 0 or change < 0:
                top, bottom, near = d, over, own and other
            elif change == 0:
                near = near or (own and other)
    return Fraction(top, bottom), near


def _opposite(p: Tile, q: Tile, least: Fraction | int, axes: Point) -> bool:
    """Whether two owned parallel sides at the least distance lie opposite to each other."""
    for (a, b), own in zip(sides(p.polygon), p.sides, strict=True):
        step = _minus(b, a)
        length = dot(step, step, axes)
        for (c, d), other in zip(sides(q.polygon), q.sides, strict=True):
            if not (own and other) or cross(step, _minus(d, c)):
                continue
            if Fraction(axes[0] * axes[1] * turn(a, b, c) ** 2, length) != least:
                continue
            s, t = dot(_minus(c, a), step, axes), dot(_minus(d, a), step, axes)
            if max(s, t) > 0 and min(s, t) < length:
                return True
    return False


def sides(polygon: Polygon) -> list[tuple[Point, Point]]:
    """Return the sides in order."""
    return [(polygon[i], polygon[(i + 1) % len(polygon)]) for i in range(len(polygon))]


def square(a: Point, b: Point, axes: Point) -> int:
    """Return the squared distance."""
    d = _minus(a, b)
    return dot(d, d, axes)


def dot(a: Point, b: Point, axes: Point) -> int:
    """Return the weighted product."""
    return axes[0] * a[0] * b[0] + axes[1] * a[1] * b[1]


def turn(a: Point, b: Point, c: Point) -> int:
    """Return twice the area of a triangle in plain coordinates: above 0 for a left turn."""
    return cross(_minus(b, a), _minus(c, a))


def cross(a: Point, b: Point) -> int:
    """Return the determinant in plain coordinates."""
    return a[0] * b[1] - a[1] * b[0]


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]
