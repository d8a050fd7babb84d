"""From cells to tiles: the boundaries of the patches as polygons that fit together.

A patch is a connected set of cells of one colour on the torus, unrolled into the plane. Corners
where three or more patches meet become vertices; the boundary between two of them is thinned by
Douglas and Peucker's rule, the same for the patches on its both sides.
"""

import itertools
from collections import defaultdict, deque
from typing import Any

import numpy as np
from jaxtyping import Int

from ._colouring import Colouring
from ._errors import ColoringError
from ._tiles import Corner, Tiles

Place = tuple[int, int]


def trace(colouring: Colouring, tolerance: float = 1.2, smallest: float = 0.002) -> Tiles:
    """Return the patches of a plane colouring as tiles.

    Args:
        colouring: Cells.
        tolerance: How far a thinned boundary may leave the cells' boundary, in cells.
        smallest: Patches below this share of the period are given to their neighbours first.

    Raises:
        ColoringError: A patch has a hole or wraps around the torus.
    """
    if colouring.dim != 2:
        raise ColoringError("polygons are for colourings of the plane.")
    cells = _without_specks(colouring.cells.astype(np.int64), smallest)
    label, homes = _patches(cells)
    if colouring.free:
        label, homes = _split_free(cells, label, homes, colouring.colors)
    numbers: dict[Place, int] = {}
    vertices: list[Place] = []
    corners: list[tuple[Corner, ...]] = []
    colors: list[int] = []
    thinned: dict[tuple[Place, tuple[Place, ...]], list[int]] = {}
    n0, n1 = cells.shape
    for number, home in enumerate(homes):
        loop = _loop(label, number, home)
        nodes = [k for k, c in enumerate(loop) if _is_node(label, c)]
        if len(nodes) < 2:
            raise ColoringError(
                "a patch has fewer than two corners where three patches meet (a hole or an "
                "island); trace a cleaner colouring, or raise smallest."
            )
        loop = loop[nodes[0] :] + loop[: nodes[0]]
        nodes = [k - nodes[0] for k in nodes] + [len(loop)]
        loop = [*loop, loop[0]]
        polygon: list[Corner] = []
        for a, b in itertools.pairwise(nodes):
            chain = loop[a : b + 1]
            for k in _thin(chain, (n0, n1), tolerance, thinned)[:-1]:
                i, j = chain[k]
                key = (i % n0, j % n1)
                if key not in numbers:
                    numbers[key] = len(vertices)
                    vertices.append(key)
                polygon.append((numbers[key], i // n0, j // n1))
        if len(polygon) < 3:  # thinned to a line, which its two neighbours share
            continue
        corners.append(tuple(polygon))
        colors.append(int(cells[home]))
    basis = colouring.basis
    places = np.array(vertices, float) / np.array([n0, n1]) @ basis
    found = Tiles(basis, places, tuple(corners), tuple(colors))
    if np.linalg.det(basis) < 0:  # the loops run the other way round in the plane
        found = Tiles(basis, places, tuple(tuple(reversed(c)) for c in corners), tuple(colors))
    return found


def _patches(cells: Int[np.ndarray, "a b"]) -> tuple[Int[np.ndarray, "a b"], list[Place]]:
    """Number the connected patches on the torus by their first cells."""
    import scipy.ndimage

    plain = np.zeros(cells.shape, np.int64)
    count = 0
    for color in np.unique(cells):
        labelled: Any = scipy.ndimage.label(cells == color)
        own, found = labelled
        plain += np.where(own > 0, own + count, 0)
        count += found
    # Patches that meet across the border of the period are one.
    root = np.arange(count + 1)
    for axis in (0, 1):
        here, there = np.take(plain, -1, axis), np.take(plain, 0, axis)
        same = np.take(cells, -1, axis) == np.take(cells, 0, axis)
        for p, q in zip(here[same].tolist(), there[same].tolist(), strict=True):
            while root[p] != p:
                p = root[p]
            while root[q] != q:
                q = root[q]
            root[max(p, q)] = min(p, q)
    for k in range(count + 1):
        root[k] = root[root[k]]
    merged = root[plain].ravel()
    _, first, inverse = np.unique(merged, return_index=True, return_inverse=True)
    order = np.argsort(first)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    homes = [(int(x) // cells.shape[1], int(x) % cells.shape[1]) for x in first[order]]
    return rank[inverse].reshape(cells.shape), homes


def _split_free(
    cells: Int[np.ndarray, "a b"], label: Int[np.ndarray, "a b"], homes: list[Place], free: int
) -> tuple[Int[np.ndarray, "a b"], list[Place]]:
    """Cut free patches that are no discs into basins around their widest places.

    Free neighbours break no rule, so where the cuts run does not matter.
    """
    import scipy.ndimage

    label, homes = label.copy(), list(homes)
    for number, home in enumerate(homes[:]):
        if cells[home] != free or _is_disc(label, number, home):
            continue
        own = label == number
        wide: Any = scipy.ndimage.distance_transform_edt(np.tile(own, (3, 3)))
        n0, n1 = own.shape
        depth = wide[n0 : 2 * n0, n1 : 2 * n1]
        peaks = own & (depth == scipy.ndimage.maximum_filter(depth, size=7, mode="wrap"))
        basin = np.full(own.shape, -1, np.int64)
        queue: deque[Place] = deque()
        places, _ = _patches(np.where(peaks, 1, 0))
        for seed in np.unique(places[peaks]).tolist():
            first = len(homes) if queue else number
            cells_of = np.argwhere((places == seed) & peaks).tolist()
            if first != number:
                homes.append((cells_of[0][0], cells_of[0][1]))
            else:
                homes[number] = (cells_of[0][0], cells_of[0][1])
            for i, j in cells_of:
                basin[i, j] = first
                queue.append((i, j))
        while queue:  # all basins grow at the same pace
            i, j = queue.popleft()
            for di, dj in ((1, 0), (-1, 0), (0, 1), (0, -1)):
                k = ((i + di) % n0, (j + dj) % n1)
                if own[k] and basin[k] < 0:
                    basin[k] = basin[i, j]
                    queue.append(k)
        label[own] = basin[own]
    return label, homes


def _is_disc(label: Int[np.ndarray, "a b"], number: int, home: Place) -> bool:
    try:
        loop = _loop(label, number, home)
    except ColoringError:
        return False
    return sum(_is_node(label, corner) for corner in loop) >= 2


def _without_specks(cells: Int[np.ndarray, "a b"], smallest: float) -> Int[np.ndarray, "a b"]:
    """Give every small patch, the smallest first, to the neighbour with the longest boundary."""
    cells = cells.copy()
    for _ in range(10_000):
        label, homes = _patches(cells)
        sizes = np.bincount(label.ravel(), minlength=len(homes))
        number = int(sizes.argmin())
        if sizes[number] >= smallest * cells.size or len(homes) == 1:
            return cells
        own = label == number
        votes: defaultdict[int, int] = defaultdict(int)
        for axis, step in ((0, 1), (0, -1), (1, 1), (1, -1)):
            beside = np.roll(cells, step, axis)[own & (np.roll(label, step, axis) != number)]
            for c in beside.tolist():
                votes[c] += 1
        cells[own] = max(sorted(votes), key=lambda c: votes[c])
    return cells


def _loop(label: Int[np.ndarray, "a b"], number: int, home: Place) -> list[Place]:
    """The boundary of a patch, unrolled, counterclockwise in the axes (first, second)."""
    n0, n1 = label.shape
    seen: dict[Place, Place] = {home: home}
    queue = deque([home])
    leaving: dict[Place, list[Place]] = defaultdict(list)
    # The four sides of a cell as directed edges around it.
    around = (((0, -1), (0, 0), (1, 0)), ((1, 0), (1, 0), (1, 1)),
              ((0, 1), (1, 1), (0, 1)), ((-1, 0), (0, 1), (0, 0)))  # fmt: skip
    while queue:
        i, j = queue.popleft()
        for (di, dj), (a, b), (c, d) in around:
            k = (i + di, j + dj)
            if label[k[0] % n0, k[1] % n1] == number:
                reduced = (k[0] % n0, k[1] % n1)
                if reduced in seen:
                    if seen[reduced] != k:
                        raise ColoringError("a patch wraps around the torus, so it is no polygon.")
                    continue
                seen[reduced] = k
                queue.append(k)
            else:
                leaving[i + a, j + b].append((i + c, j + d))
    start = min(leaving)
    loop = [start]
    here, before = leaving[start].pop(), start
    total = 1 + sum(len(v) for v in leaving.values())
    while here != start or leaving[start]:
        loop.append(here)
        choices = leaving[here]
        if len(choices) > 1:  # the patch touches itself at a corner: turn left, stay outside
            step = (here[0] - before[0], here[1] - before[1])
            choices.sort(key=lambda c: step[0] * (c[1] - here[1]) - step[1] * (c[0] - here[0]))
        if not choices:
            break
        here, before = choices.pop(), here
    if len(loop) != total:
        raise ColoringError("a patch has a hole, so it is no polygon.")
    return loop


def _is_node(label: Int[np.ndarray, "a b"], corner: Place) -> bool:
    n0, n1 = label.shape
    i, j = corner
    four = [int(label[(i - a) % n0, (j - b) % n1]) for a, b in ((1, 1), (1, 0), (0, 0), (0, 1))]
    changes = sum(four[k] != four[k - 1] for k in range(4))
    return changes >= 3


def _thin(
    chain: list[Place],
    grid: tuple[int, int],
    tolerance: float,
    known: dict[tuple[Place, tuple[Place, ...]], list[int]],
) -> list[int]:
    """Which corners of a boundary are kept; equal for both directions and all translates."""

    def key(c: list[Place]) -> tuple[Place, tuple[Place, ...]]:
        steps = tuple((b[0] - a[0], b[1] - a[1]) for a, b in itertools.pairwise(c))
        return (c[0][0] % grid[0], c[0][1] % grid[1]), steps

    forward, backward = key(chain), key(chain[::-1])
    turned = backward < forward
    name = min(forward, backward)
    if name not in known:
        known[name] = _douglas_peucker(np.array(chain[::-1] if turned else chain, float), tolerance)
    kept = known[name]
    return sorted(len(chain) - 1 - k for k in kept) if turned else kept


def _douglas_peucker(points: np.ndarray, tolerance: float) -> list[int]:
    kept = {0, len(points) - 1}
    stack = [(0, len(points) - 1)]
    while stack:
        a, b = stack.pop()
        if b - a < 2:
            continue
        line = points[b] - points[a]
        length = float(np.hypot(*line))
        rest = points[a + 1 : b] - points[a]
        off = (
            np.abs(line[0] * rest[:, 1] - line[1] * rest[:, 0]) / length
            if length > 0
            else np.hypot(rest[:, 0], rest[:, 1])
        )
        k = int(off.argmax())
        if off[k] > tolerance:
            kept.add(a + 1 + k)
            stack += [(a, a + 1 + k), (a + 1 + k, b)]
    return sorted(kept)
