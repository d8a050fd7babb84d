"""Boundaries between two coloured tiles without the teeth that cells leave.

Where both colours fit on both sides of a boundary its course does not matter, and what remains of
the cells there is a mass of teeth, whose thin triangles hold up the vertex program: hundreds of
vertices that cannot move. `straightened` takes out such vertices one after another, the one first
that shortens the boundary most, as long as both tiles keep the rules.

Taking out b between a and c gives the triangle a b c to one tile. All three are corners of that
tile already, so no distance within it, nor the largest to another tile, grows; only the new side
from a to c can come too near to another tile of the colour. That is the one inequality to decide.
"""

import heapq
from collections import defaultdict

import numpy as np
from jaxtyping import Float

from ._polygon_colouring import apart, shifts_near
from ._problem import Problem
from ._simplify import used
from ._tiles import Corner, Tiles


def straightened(
    tiles: Tiles, problem: Problem, *, margin: float = 0.0, deepest: float = np.inf
) -> Tiles:
    """Return tiles of the same free area with shorter boundaries between coloured tiles.

    Args:
        tiles: Simple ones.
        problem: Pair rules only. What the start keeps, the result keeps.
        margin: By which the new sides keep the gaps; negative: by how much they may break them.
        deepest: A vertex farther than this from the new side is kept.

    Cost: for every vertex taken out its distances to the tiles of the same colour: seconds for
    2,000 vertices.
    """
    return _Work(tiles, problem, margin, deepest).run()


class _Work:
    """Tiles as linked lists of corners, and which vertices may go."""

    def __init__(self, tiles: Tiles, problem: Problem, margin: float, deepest: float) -> None:
        self.tiles = tiles
        self.problem = problem
        self.margin = margin
        self.deepest = deepest
        self.corners: list[list[Corner]] = [list(own) for own in tiles.corners]
        holders: defaultdict[int, list[int]] = defaultdict(list)
        for number, own in enumerate(tiles.corners):
            for k, _, _ in own:
                holders[k].append(number)
        self.between = {
            k: (own[0], own[1])
            for k, own in holders.items()
            if len(own) == 2
            and own[0] != own[1]
            and all(tiles.colors[n] < problem.colors for n in own)
        }
        self.partners = {
            n: self._partners(n) for n, c in enumerate(tiles.colors) if c < problem.colors
        }

    def _partners(self, number: int) -> list[tuple[int, tuple[int, int], float]]:
        """Tiles of the same colour that must stay away from one, with the distance to keep."""
        tiles = self.tiles
        color = tiles.colors[number]
        spans = [(float(a) ** 0.5, float(b) ** 0.5) for a, b in self.problem.spans(color)]
        if not spans:
            return []
        own = tiles.place(tiles.corners[number])
        reach = max(high for _, high in spans) + abs(self.margin)
        found: list[tuple[int, tuple[int, int], float]] = []
        for other, c in enumerate(tiles.colors):
            if c != color:
                continue
            there = tiles.place(tiles.corners[other])
            for shift, (i, j) in shifts_near(own, there, tiles.lattice, reach):
                if (other, i, j) == (number, 0, 0):
                    continue
                largest = float(apart(own, there + shift).max())
                away = [high for low, high in spans if largest > low]
                if away:
                    found.append((other, (i, j), max(away)))
        return found

    def run(self) -> Tiles:
        queue: list[tuple[float, int]] = []
        for k in self.between:
            gain = self._gain(k)
            if gain > 0:
                heapq.heappush(queue, (-gain, k))
        while queue:
            gain, k = heapq.heappop(queue)
            if k not in self.between or abs(-gain - self._gain(k)) > 1e-15:
                continue
            if not self._may_go(k):
                continue
            a, c = self._beside(k)
            for number in self.between.pop(k):
                own = self.corners[number]
                del own[self._index(number, k)]
            for near in (a[0], c[0]):
                if near in self.between:
                    heapq.heappush(queue, (-self._gain(near), near))
        corners = tuple(tuple(own) for own in self.corners)
        old = self.tiles
        return used(Tiles(old.lattice, old.vertices, corners, old.colors))

    def _index(self, number: int, k: int) -> int:
        return next(n for n, corner in enumerate(self.corners[number]) if corner[0] == k)

    def _beside(self, k: int, which: int = 0) -> tuple[Corner, Corner]:
        own = self.corners[self.between[k][which]]
        n = self._index(self.between[k][which], k)
        return own[n - 1], own[(n + 1) % len(own)]

    def _three(self, k: int, which: int) -> Float[np.ndarray, "3 2"]:
        number = self.between[k][which]
        own = self.corners[number]
        n = self._index(number, k)
        return self.tiles.place((own[n - 1], own[n], own[(n + 1) % len(own)]))

    def _gain(self, k: int) -> float:
        """By how much the boundary gets shorter."""
        a, b, c = self._three(k, 0)
        return float(np.hypot(*(b - a)) + np.hypot(*(c - b)) - np.hypot(*(c - a)))

    def _may_go(self, k: int) -> bool:
        """Whether the vertex can be taken out: the ear is empty, and the new side keeps away."""
        if min(len(self.corners[n]) for n in self.between[k]) <= 3:
            return False
        a, b, c = self._three(k, 0)
        turn = float((b[0] - a[0]) * (c[1] - b[1]) - (b[1] - a[1]) * (c[0] - b[0]))
        long = float(np.hypot(*(c - a)))
        if long <= 0 or abs(turn) > self.deepest * long:
            return False
        losing = 0 if turn >= 0 else 1
        if not self._empty(k, losing):
            return False
        gaining = self.between[k][1 - losing]
        a, _, c = self._three(k, 1 - losing)
        for other, (i, j), away in self.partners[gaining]:
            shift = np.array([i, j]) @ self.tiles.lattice
            there = self.tiles.place(tuple(self.corners[other])) + shift
            if _from_side(there, a, c) < away + self.margin:
                return False
        return True

    def _empty(self, k: int, losing: int) -> bool:
        """Whether no other corner of the losing tile lies in the triangle."""
        number = self.between[k][losing]
        n = self._index(number, k)
        points = self.tiles.place(tuple(self.corners[number]))
        count = len(points)
        a, b, c = points[n - 1], points[n], points[(n + 1) % count]
        others = np.ones(count, bool)
        others[[n - 1, n, (n + 1) % count]] = False
        p = points[others]
        inside = np.ones(len(p), bool)
        for one, two in ((a, b), (b, c), (c, a)):
            step = two - one
            inside &= step[0] * (p[:, 1] - one[1]) - step[1] * (p[:, 0] - one[0]) >= -1e-12
        return not inside.any()


def _from_side(
    points: Float[np.ndarray, "m 2"], a: Float[np.ndarray, " 2"], c: Float[np.ndarray, " 2"]
) -> float:
    """The least distance of points to the side from a to c."""
    step = c - a
    t = np.clip((points - a) @ step / max(float(step @ step), 1e-300), 0, 1)
    return float(np.hypot(*(points - a - t[:, None] * step).T).min())
