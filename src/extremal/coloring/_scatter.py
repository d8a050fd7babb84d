"""Tiles to start from without any cells: Voronoi cells of random points on a random torus.

The vertex program finds the best tiles of a topology; which topology it is comes from the start.
Points are spread by a few steps of Lloyd's, every corner of three tiles is opened by a small free
triangle, and sides are halved, so that the program can bend them.

Notation: a site is (number, i, j), the point with its shift; a corner of the Voronoi tiling is
named by its three sites, shifted so that equal corners on the torus have equal names.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from extremal.lab import generator

from ._open import opened
from ._problem import Problem
from ._tiles import Tiles
from ._triangles import halved

Site = tuple[int, int, int]
Name = tuple[Site, Site, Site]
_NEAR = [(i, j) for i in range(-3, 4) for j in range(-3, 4)]


def scattered(
    problem: Problem,
    *,
    seed: int,
    copies: int = 1,
    room: float = 0.655,
    wide: float = 0.06,
    longest: float = 0.3,
) -> Tiles:
    """Return random tiles, nearly keeping rules of distance 1, with a free triangle at each corner.

    Args:
        problem: With a free colour.
        seed: Of the lattice and the points.
        copies: Tiles of each colour in a period; they are spread from each other.
        room: Area of the plane for each tile.
        wide: How far from a corner the free triangle begins.
        longest: Of a side.
    """
    draw = generator(seed, "scattered")
    # Rows of one colour's lattice, nearly of equal sides: the other ones leave less room.
    area = problem.colors * room
    ratio, angle = np.exp(draw.normal(0, 0.04)), np.pi / 3 + draw.normal(0, 0.05)
    side = np.sqrt(area / (ratio * np.sin(angle)))
    one = np.array([[side, 0.0], side * ratio * np.array([np.cos(angle), np.sin(angle)])])
    shape = _sublattice(copies, draw)
    lattice = shape @ one
    count = copies * problem.colors
    points = draw.random((count, 2)) @ lattice
    for _ in range(int(draw.integers(2, 12))):
        points = np.array([_middle(p) for _, p in _cells(points, lattice)])
    names = _cells(points, lattice)
    colors = _spread(points, lattice, problem.colors, copies, draw)
    tiles = opened(_joined([own for own, _ in names], points, lattice, colors), problem, wide)
    return halved(halved(tiles, 2 * longest), longest)


def _sublattice(copies: int, draw: np.random.Generator) -> Float[np.ndarray, "2 2"]:
    """A random sublattice of Z^2 of this index, with short rows where it can."""
    divisors = [d for d in range(1, copies + 1) if copies % d == 0]
    a = int(draw.choice(divisors))
    return np.array([[a, 0], [int(draw.integers(0, a)), copies // a]], float)


def _cells(
    points: Float[np.ndarray, "n 2"], lattice: Float[np.ndarray, "2 2"]
) -> list[tuple[list[tuple[Name, int, int]], Float[np.ndarray, "_ 2"]]]:
    """The corners of each Voronoi cell, counterclockwise: names with shifts, and places."""
    import scipy.spatial

    sites = [(n, i, j) for i, j in _NEAR for n in range(len(points))]
    spread = np.array([points[n] + np.array([i, j]) @ lattice for n, i, j in sites])
    mesh = scipy.spatial.Delaunay(spread)
    around: defaultdict[int, list[tuple[int, int, int]]] = defaultdict(list)
    for simplex in mesh.simplices.tolist():
        for k in simplex:
            if sites[k][1:] == (0, 0):
                around[sites[k][0]].append(tuple(simplex))
    found: list[tuple[list[tuple[Name, int, int]], Float[np.ndarray, "_ 2"]]] = []
    for n in range(len(points)):
        own: list[tuple[float, tuple[Name, int, int], Float[np.ndarray, " 2"]]] = []
        for simplex in around[n]:
            centre = _circumcentre(*(spread[k] for k in simplex))
            # The angle of the triangle's middle, not of the centre, which may lie on a side.
            middle = spread[list(simplex)].mean(0) - points[n]
            own.append(
                (
                    float(np.arctan2(middle[1], middle[0])),
                    _name([sites[k] for k in simplex]),
                    centre,
                )
            )
        own.sort(key=lambda entry: entry[0])
        found.append(([name for _, name, _ in own], np.array([c for _, _, c in own])))
    return found


def _name(three: Sequence[Site]) -> tuple[Name, int, int]:
    """The name of a corner, and its shift from the corner of that name."""
    forms: list[tuple[Name, int, int]] = []
    for _, i, j in three:
        a, b, c = sorted((n, k - i, m - j) for n, k, m in three)
        forms.append(((a, b, c), i, j))
    return min(forms)


def _circumcentre(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> Float[np.ndarray, " 2"]:
    rows = 2 * np.array([b - a, c - a])
    return np.linalg.solve(rows, [b @ b - a @ a, c @ c - a @ a])


def _middle(polygon: Float[np.ndarray, "_ 2"]) -> Float[np.ndarray, " 2"]:
    """The centre of mass."""
    after = np.roll(polygon, -1, 0)
    cross = polygon[:, 0] * after[:, 1] - after[:, 0] * polygon[:, 1]
    return ((polygon + after) * cross[:, None]).sum(0) / (3 * cross.sum())


def _spread(
    points: Float[np.ndarray, "n 2"],
    lattice: Float[np.ndarray, "2 2"],
    colors: int,
    copies: int,
    draw: np.random.Generator,
) -> tuple[int, ...]:
    """Colours, each `copies` times, such that points of one colour are far apart."""
    shifts = np.array(_NEAR) @ lattice
    near = np.linalg.norm(points[:, None, None] - points[None, :, None] + shifts, axis=-1)
    near[near < 1e-9] = np.inf
    cost = (near.min(-1) ** -8) * (1 - np.eye(len(points)))
    best = np.repeat(np.arange(colors), copies)
    for _ in range(20 if copies > 1 else 0):
        own = draw.permutation(np.repeat(np.arange(colors), copies))
        better = True
        while better:
            better = False
            for a in range(len(own)):
                for b in range(a):
                    trial = own.copy()
                    trial[[a, b]] = trial[[b, a]]
                    if _touching(trial, cost) < _touching(own, cost) - 1e-12:
                        own, better = trial, True
        if _touching(own, cost) < _touching(best, cost):
            best = own
    return tuple(best.tolist())


def _touching(colors: np.ndarray, cost: np.ndarray) -> float:
    return float((cost * (colors[:, None] == colors[None])).sum())


def _joined(
    cells: list[list[tuple[Name, int, int]]],
    points: Float[np.ndarray, "n 2"],
    lattice: Float[np.ndarray, "2 2"],
    colors: tuple[int, ...],
) -> Tiles:
    """Number the corners."""
    numbers: dict[Name, int] = {}
    corners = tuple(
        tuple((numbers.setdefault(name, len(numbers)), i, j) for name, i, j in own) for own in cells
    )
    places = [
        _circumcentre(*(points[n] + np.array([i, j]) @ lattice for n, i, j in name))
        for name in numbers
    ]
    return Tiles(lattice, np.array(places), corners, colors)
