"""Triangles that keep tiles simple while their vertices move.

If every tile is cut into triangles that run counterclockwise, and all of them still do after a
move, the tiles still fit together without overlap: the move is a piecewise linear map of the torus
that turns no triangle over. So a step of the vertex program keeps each triangle's area above a
little, to first order, and a trial that turns one over is not taken. The cut is made anew for every
step, greedily with the roundest ears, so that thin triangles hold up vertices no longer than one
step.
"""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from extremal.lab import generator

from ._errors import ColoringError
from ._tiles import Corner, Tiles

_TRIES = 64
_FLAT = 1e-7  # a triangle with less area, in sums of its squared sides, is as good as turned over
Triangle = tuple[Corner, Corner, Corner]


def ears(polygon: Float[np.ndarray, "m 2"]) -> list[tuple[int, int, int]]:
    """Return the corners of the triangles of a simple polygon, counterclockwise.

    The ear with the largest least angle is cut first. Where a polygon is not simple fewer than
    m - 2 triangles come back.
    """
    points = [(float(x), float(y)) for x, y in polygon]
    left = list(range(len(points)))
    found: list[tuple[int, int, int]] = []
    worth: dict[tuple[int, int, int], float] = {}

    def value(k: int) -> float:
        ear = (left[k - 1], left[k], left[(k + 1) % len(left)])
        if ear not in worth:
            a, b, c = (points[i] for i in ear)
            round_ = _roundness(a, b, c)
            if round_ > _FLAT and _holds_any(points, ear, left):
                return -1.0  # not kept: it may come free
            worth[ear] = round_
        return worth[ear]

    values = [value(k) for k in range(len(left))]
    while len(left) > 3:
        k = max(range(len(left)), key=values.__getitem__)
        if values[k] <= _FLAT:
            return found
        found.append((left[k - 1], left[k], left[(k + 1) % len(left)]))
        del left[k], values[k]
        # The neighbours have new ears, and ears that held the corner may hold none now.
        for i in range(len(left)):
            if values[i] == -1.0 or i in (k % len(left), k - 1 if k else len(left) - 1):
                values[i] = value(i)
    if len(left) == 3 and _roundness(*(points[i] for i in left)) > _FLAT:
        found.append((left[0], left[1], left[2]))
    return found


def triangles(tiles: Tiles) -> tuple[list[Triangle], bool]:
    """Return the triangles of all tiles, and whether every tile is simple."""
    found: list[Triangle] = []
    simple = True
    for corners in tiles.corners:
        cut = ears(tiles.place(corners))
        simple = simple and len(cut) == len(corners) - 2
        found += [(corners[a], corners[b], corners[c]) for a, b, c in cut]
    return found, simple


def loosened(tiles: Tiles) -> tuple[Tiles, list[Triangle]]:
    """Return tiles that are simple, moved a little if need be, and their triangles.

    Corners of cells are often on one line, so that a thin patch has no area at all; a tiny random
    move, tried until every triangle stands upright, gives it some.

    Raises:
        ColoringError: A tile crosses itself by more than that.
    """
    moved = tiles
    for attempt in range(_TRIES):
        cut, simple = triangles(moved)
        if simple:
            return moved, cut
        draw = generator(0, "loosened", attempt).normal(size=tiles.vertices.shape)
        # As little as is enough: a patch that has all but vanished needs 1e-7, cells 1e-4.
        scale = 1e-7 * 10 ** min(3, attempt // 8) * (1 + attempt / 8)
        places = tiles.vertices + scale * draw
        moved = Tiles(tiles.lattice, places, tiles.corners, tiles.colors)
    raise ColoringError(
        "a tile of the start crosses itself; trace with a smaller tolerance, or finer cells."
    )


def areas(tiles: Tiles, found: Sequence[Triangle]) -> Float[np.ndarray, " t"]:
    """Return twice the signed area of each triangle."""
    a, b, c = (tiles.place(tuple(t[i] for t in found)) for i in range(3))
    one, two = b - a, c - a
    return one[:, 0] * two[:, 1] - one[:, 1] * two[:, 0]


def halved(tiles: Tiles, longest: float) -> Tiles:
    """Return tiles whose sides longer than this have a vertex in their middle, for both tiles."""
    places = [tuple(map(float, v)) for v in tiles.vertices]
    middles: dict[tuple[int, int, int, int], int] = {}
    corners: list[tuple[Corner, ...]] = []
    for own in tiles.corners:
        points = tiles.place(own)
        new: list[Corner] = []
        for k, (p, q) in enumerate(zip(own, (*own[1:], own[0]), strict=True)):
            new.append(p)
            a, b = points[k], points[(k + 1) % len(own)]
            if float(np.hypot(*(b - a))) <= longest:
                continue
            first, second = (p, q) if (p[0], q[1] - p[1], q[2] - p[2]) <= (
                q[0], p[1] - q[1], p[2] - q[2]) else (q, p)  # fmt: skip
            name = (first[0], second[0], second[1] - first[1], second[2] - first[2])
            if name not in middles:
                middles[name] = len(places)
                far = tiles.vertices[second[0]] + name[2] * tiles.lattice[0] + name[3] * (
                    tiles.lattice[1])  # fmt: skip
                places.append(tuple(map(float, (tiles.vertices[first[0]] + far) / 2)))
            new.append((middles[name], first[1], first[2]))
        corners.append(tuple(new))
    return Tiles(tiles.lattice, np.array(places), tuple(corners), tiles.colors)


def longest_side(tiles: Tiles) -> float:
    """Return the length of the longest side of a tile."""
    found = 0.0
    for own in tiles.corners:
        p = tiles.place(own)
        found = max(found, float(np.sqrt(((np.roll(p, -1, 0) - p) ** 2).sum(1)).max()))
    return found


def shortest_sides(tiles: Tiles) -> Float[np.ndarray, " m"]:
    """Return for every vertex the length of its shortest side."""
    found = np.full(len(tiles.vertices), np.inf)
    for own in tiles.corners:
        p = tiles.place(own)
        length = np.sqrt(((np.roll(p, -1, 0) - p) ** 2).sum(1))
        index = [k for k, _, _ in own]
        np.minimum.at(found, index, length)
        np.minimum.at(found, index, np.roll(length, 1))
    return found


def _twice(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    return (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])


def _roundness(a: tuple[float, float], b: tuple[float, float], c: tuple[float, float]) -> float:
    """Area over the sum of the squared sides: largest for equal sides, negative if turned over."""
    sides = sum((p[0] - q[0]) ** 2 + (p[1] - q[1]) ** 2 for p, q in ((a, b), (b, c), (c, a)))
    return _twice(a, b, c) / max(sides, 1e-300)


def _holds_any(
    points: Sequence[tuple[float, float]], ear: tuple[int, int, int], left: Sequence[int]
) -> bool:
    a, b, c = (points[i] for i in ear)
    low = (min(a[0], b[0], c[0]), min(a[1], b[1], c[1]))
    high = (max(a[0], b[0], c[0]), max(a[1], b[1], c[1]))
    for i in left:
        p = points[i]
        if i in ear or not (low[0] <= p[0] <= high[0] and low[1] <= p[1] <= high[1]):
            continue
        if p in (a, b, c):  # a polygon may touch itself in a vertex
            continue
        if _twice(a, b, p) >= 0 and _twice(b, c, p) >= 0 and _twice(c, a, p) >= 0:
            return True
    return False


__all__ = ["Triangle", "areas", "ears", "halved", "triangles"]
