"""A free triangle where three tiles meet.

The vertex program moves what there is; it cannot make a patch. Where three coloured tiles meet in a
corner it may pay that they part, so `opened` puts a small free triangle there, which the program
widens or lets vanish.
"""

from collections import defaultdict

import numpy as np
from jaxtyping import Float

from ._problem import Problem
from ._simplify import used
from ._tiles import Corner, Tiles

_SHARE = 0.3  # of a side, which the triangle takes at most


def opened(tiles: Tiles, problem: Problem, wide: float) -> Tiles:
    """Return tiles with three vertices, on the sides that leave it, in the place of a corner.

    Args:
        tiles: Simple ones.
        problem: With a free colour. Corners of free tiles stay as they are.
        wide: How far from the corner the free triangle begins, at most.
    """
    free = problem.colors
    holders: defaultdict[int, list[int]] = defaultdict(list)
    for own, color in zip(tiles.corners, tiles.colors, strict=True):
        for k, _, _ in own:
            holders[k].append(color)
    parting = {k for k, own in holders.items() if len(own) > 2 and free not in own}
    numbers: dict[tuple[int, int, int, int], int] = {}
    places = [np.asarray(v, float) for v in tiles.vertices]

    def vertex(here: Corner, there: Corner) -> Corner:
        key = (here[0], there[0], there[1] - here[1], there[2] - here[2])
        if key not in numbers:
            numbers[key] = len(places)
            a: Float[np.ndarray, " 2"] = tiles.vertices[here[0]]
            step = tiles.vertices[key[1]] + np.array(key[2:]) @ tiles.lattice - a
            share = min(_SHARE, wide / max(float(np.hypot(*step)), 1e-12))
            places.append(a + share * step)
        return (numbers[key], here[1], here[2])

    corners: list[tuple[Corner, ...]] = []
    sides: defaultdict[int, dict[Corner, Corner]] = defaultdict(dict)
    for own in tiles.corners:
        tile: list[Corner] = []
        for n, here in enumerate(own):
            if here[0] not in parting:
                tile.append(here)
                continue
            first, second = vertex(here, own[n - 1]), vertex(here, own[(n + 1) % len(own)])
            tile += [first, second]
            sides[here[0]][second[0], 0, 0] = (first[0], 0, 0)
        corners.append(tuple(tile))
    patches: list[tuple[Corner, ...]] = []
    for after in sides.values():  # a tile runs from its first to its second; the patch back
        patch = [next(iter(after))]
        while (following := after[patch[-1]]) != patch[0]:
            patch.append(following)
        patches.append(tuple(patch))
    palette = (*tiles.colors, *([free] * len(patches)))
    return used(Tiles(tiles.lattice, np.array(places), (*corners, *patches), palette))


def parted(tiles: Tiles, problem: Problem, wide: float = 1e-4) -> Tiles:
    """Return tiles where two free patches that meet in a corner have become one.

    The two coloured tiles between them touch in that corner alone, and could part no further.

    Args:
        tiles: Simple ones.
        problem: With a free colour.
        wide: How far from the corner the two tiles begin, in shares of their sides there.
    """
    refused: set[int] = set()
    while True:
        holders: defaultdict[int, list[int]] = defaultdict(list)
        for number, own in enumerate(tiles.corners):
            for k, _, _ in own:
                holders[k].append(number)
        found = next(
            (
                k
                for k, own in holders.items()
                if k not in refused
                and len(own) == 4
                and len({n for n in own if tiles.colors[n] == problem.colors}) == 2
                and sum(tiles.colors[n] == problem.colors for n in own) == 2
            ),
            None,
        )
        if found is None:
            return tiles
        trial = _merged(tiles, found, holders[found], problem.colors, wide)
        if trial is None:
            refused.add(found)
        else:
            tiles = trial


def _merged(tiles: Tiles, k: int, holders: list[int], free: int, wide: float) -> Tiles | None:
    """Join the two free tiles at a vertex; None where free and coloured ones do not alternate."""
    one, two = (n for n in holders if tiles.colors[n] == free)
    first, second = _from(tiles.corners[one], k), _from(tiles.corners[two], k)
    places = [np.asarray(v, float) for v in tiles.vertices]
    corners = list(tiles.corners)
    # The tile between the end of one patch and the beginning of the other gets its own corner.
    new: list[Corner] = []
    for into, out in ((first[-1], second[1]), (second[-1], first[1])):
        own = next((n for n in holders if _between(tiles.corners[n], k, out, into)), None)
        if own is None or tiles.colors[own] == free:
            return None
        at = next(n for n, c in enumerate(corners[own]) if c[0] == k)
        before, here, after = tiles.place(
            (corners[own][at - 1], corners[own][at], corners[own][(at + 1) % len(corners[own])])
        )
        bend = (before - here) + (after - here)
        u, v = here - before, after - here
        places.append(tiles.vertices[k] + wide * (bend if u[0] * v[1] - u[1] * v[0] > 0 else -bend))
        own_corner = corners[own][at]
        changed = list(corners[own])
        changed[at] = (len(places) - 1, own_corner[1], own_corner[2])
        corners[own] = tuple(changed)
        new.append((len(places) - 1, 0, 0))
    joined = (*first[1:], new[0], *second[1:], new[1])
    if len(set(joined)) < len(joined):
        return None
    corners[one] = joined
    del corners[two]
    colors = tuple(c for n, c in enumerate(tiles.colors) if n != two)
    return used(Tiles(tiles.lattice, np.array(places), tuple(corners), colors))


def _from(own: tuple[Corner, ...], k: int) -> tuple[Corner, ...]:
    """A tile's corners from a vertex on, shifted so that the vertex has no shift."""
    at = next(n for n, c in enumerate(own) if c[0] == k)
    _, i, j = own[at]
    return tuple((m, a - i, b - j) for m, a, b in (*own[at:], *own[:at]))


def _between(own: tuple[Corner, ...], k: int, before: Corner, after: Corner) -> bool:
    """Whether a tile comes to a vertex from the one corner and goes on to the other."""
    turned = _from(own, k)
    return turned[-1] == before and turned[1] == after


def eased(tiles: Tiles, problem: Problem, by: float = 1e-5) -> Tiles:
    """Return tiles where free patches are a little wider, so that none has a neck of width zero.

    Corners of one coloured tile and free ones draw back towards the middle of the coloured tile.

    Args:
        tiles: Ones that do not overlap, but may touch.
        problem: With a free colour.
        by: How far corners move.
    """
    held: defaultdict[int, dict[int, Corner]] = defaultdict(dict)
    for number, own in enumerate(tiles.corners):
        if tiles.colors[number] < problem.colors:
            for corner in own:
                held[corner[0]][number] = corner
    places = tiles.vertices.copy()
    beside = {
        k
        for own, color in zip(tiles.corners, tiles.colors, strict=True)
        if color == problem.colors
        for k, _, _ in own
    }
    for k in beside:
        if len(held[k]) == 1:
            ((number, corner),) = held[k].items()
            step = tiles.place(tiles.corners[number]).mean(0) - tiles.place((corner,))[0]
            places[k] += by * step / max(float(np.hypot(*step)), 1e-12)
    return Tiles(tiles.lattice, places, tiles.corners, tiles.colors)
