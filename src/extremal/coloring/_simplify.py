"""Fewer vertices where sides have become too short to move.

In the vertex program a vertex moves in proportion to its shortest side, so that one side of 1e-5
holds up a whole boundary. `simplified` takes out vertices between two tiles that stand next to
another, and makes one corner of two corners of three tiles that have met: from there the tiles can
part in any direction.
"""

from collections import defaultdict

import numpy as np

from ._tiles import Corner, Tiles
from ._triangles import triangles


def simplified(tiles: Tiles, shortest: float) -> Tiles:
    """Return tiles without sides below `shortest`, as far as they stay simple.

    The rules may be broken by about shortest^2 / 8 afterwards, which the vertex program mends.

    Args:
        tiles: Simple ones.
        shortest: Least length of a side.

    Cost: a cut of two to six tiles into triangles for every side taken out.
    """
    refused: set[tuple[int, int, int, int]] = set()
    while True:
        side = _shortest(tiles, refused)
        if side is None or side[0] >= shortest:
            return tiles
        _, p, q = side
        trial = _joined(tiles, p, q)
        if trial is not None and triangles(_changed(tiles, trial))[1]:
            tiles = trial
        else:
            refused.add(_name(p, q))


def _name(p: Corner, q: Corner) -> tuple[int, int, int, int]:
    return (p[0], q[0], q[1] - p[1], q[2] - p[2])


def _shortest(
    tiles: Tiles, refused: set[tuple[int, int, int, int]]
) -> tuple[float, Corner, Corner] | None:
    best: tuple[float, Corner, Corner] | None = None
    for own in tiles.corners:
        places = tiles.place(own)
        lengths = np.hypot(*(np.roll(places, -1, 0) - places).T)
        for k in np.argsort(lengths)[:4].tolist():
            p, q = own[k], own[(k + 1) % len(own)]
            if _name(p, q) in refused or _name(q, p) in refused:
                continue
            if best is None or lengths[k] < best[0]:
                best = (float(lengths[k]), p, q)
            break
    return best


def _joined(tiles: Tiles, p: Corner, q: Corner) -> Tiles | None:
    """Make one vertex of the ends of a side; None where a tile would lose its third corner."""
    degrees: defaultdict[int, int] = defaultdict(int)
    for own in tiles.corners:
        for k, _, _ in own:
            degrees[k] += 1
    if p[0] == q[0]:  # an end and its own translate
        return None
    if degrees[q[0]] > degrees[p[0]]:
        p, q = q, p
    # q becomes p: q's vertex stands where V[p] + (shift of p - shift of q) stands.
    shift = (p[1] - q[1], p[2] - q[2])
    places = tiles.vertices.copy()
    if degrees[q[0]] > 2:  # two corners of three tiles meet half way
        far = tiles.vertices[q[0]] - np.array(shift, float) @ tiles.lattice
        places[p[0]] = (places[p[0]] + far) / 2
    corners: list[tuple[Corner, ...]] = []
    for own in tiles.corners:
        new = [(p[0], i + shift[0], j + shift[1]) if k == q[0] else (k, i, j) for k, i, j in own]
        new = [c for k, c in enumerate(new) if c != new[k - 1]]
        if len(new) < 3 or len(set(new)) < len(new):
            return None
        corners.append(tuple(new))
    return used(Tiles(tiles.lattice, places, tuple(corners), tiles.colors))


def _changed(before: Tiles, after: Tiles) -> Tiles:
    """Return the tiles whose corners have been moved or taken out: the others stay simple."""
    picked = [
        k
        for k, (old, new) in enumerate(zip(before.corners, after.corners, strict=True))
        if len(old) != len(new) or (before.place(old) != after.place(new)).any()
    ]
    return Tiles(
        after.lattice,
        after.vertices,
        tuple(after.corners[k] for k in picked),
        tuple(after.colors[k] for k in picked),
    )


def used(tiles: Tiles) -> Tiles:
    """Number the vertices that some tile has."""
    kept = sorted({k for own in tiles.corners for k, _, _ in own})
    number = {k: n for n, k in enumerate(kept)}
    corners = tuple(tuple((number[k], i, j) for k, i, j in own) for own in tiles.corners)
    return Tiles(tiles.lattice, tiles.vertices[kept], corners, tiles.colors)
