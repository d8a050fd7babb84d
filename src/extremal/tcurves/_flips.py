"""Flips: the moves between unimodular triangulations, and a random walk over them.

An inner edge ab with opposite corners c and e can be flipped exactly where a + b = c + e; the
diagonals of that parallelogram change places. The flip graph is connected.
"""

import random

from ._lattice import lattice_points
from ._triangulation import Triangulation, Triple, honeycomb


def flippable(t: Triangulation) -> list[tuple[int, int]]:
    """Return the edges that can be flipped, sorted."""
    return [(a, b) for _, _, a, b, s in t.convexity() if s == 1]


def flip(t: Triangulation, edge: tuple[int, int]) -> Triangulation:
    """Return the triangulation with one edge flipped; it has no heights.

    Raises:
        ValueError: The edge cannot be flipped.
    """
    a, b = min(edge), max(edge)
    ends = t.opposite.get((a, b), ())
    points = t.points
    if len(ends) != 2 or any(
        points[a][k] + points[b][k] != points[ends[0]][k] + points[ends[1]][k] for k in (0, 1)
    ):
        raise ValueError(
            f"the edge {a}-{b} is no diagonal of a parallelogram of two triangles, so it cannot be "
            "flipped; flippable(t) lists those that can."
        )
    c, e = ends
    gone = {_sorted(a, b, c), _sorted(a, b, e)}
    new = [_sorted(c, e, a), _sorted(c, e, b)]
    triangles = tuple(sorted([*(x for x in t.triangles if x not in gone), *new]))
    return Triangulation(t.degree, triangles)


class Walker:
    """A triangulation that is changed in place; cheap steps for long walks.

    Args:
        start: Where the walk begins.
        seed: Of its random choices.
    """

    def __init__(self, start: Triangulation, seed: int) -> None:
        self.degree = start.degree
        self.points = lattice_points(start.degree)
        self.random = random.Random(seed)
        self.ends: dict[tuple[int, int], list[int]] = {
            k: list(v) for k, v in start.opposite.items()
        }
        self.edges = list(self.ends)

    def attempt(self) -> bool:
        """Pick a random edge and flip it if that is possible; say whether it was."""
        at = self.random.randrange(len(self.edges))
        edge = self.edges[at]
        if not self.can_flip(edge):
            return False
        self.edges[at] = self.flip(edge)
        return True

    def can_flip(self, edge: tuple[int, int]) -> bool:
        """Whether an edge is the diagonal of a unit parallelogram."""
        ends = self.ends[edge]
        if len(ends) != 2:
            return False
        p = self.points
        (xa, ya), (xb, yb), (xc, yc), (xe, ye) = (p[k] for k in (*edge, *ends))
        return xa + xb == xc + xe and ya + yb == yc + ye

    def flip(self, edge: tuple[int, int]) -> tuple[int, int]:
        """Flip an edge and return the new one."""
        a, b = edge
        c, e = sorted(self.ends.pop(edge))
        for u, v, old, new in ((a, c, b, e), (a, e, b, c), (b, c, a, e), (b, e, a, c)):
            ends = self.ends[min(u, v), max(u, v)]
            ends[ends.index(old)] = new
        self.ends[c, e] = [a, b]
        return c, e

    def triangulation(self) -> Triangulation:
        """Return where the walk stands."""
        triangles: set[Triple] = set()
        for (a, b), ends in self.ends.items():
            triangles.update(_sorted(a, b, c) for c in ends)
        return Triangulation(self.degree, tuple(sorted(triangles)))


def random_triangulation(
    d: int, seed: int, *, steps: int | None = None, start: Triangulation | None = None
) -> Triangulation:
    """Return where a random flip walk ends.

    Args:
        d: Degree.
        seed: Of the walk.
        steps: Attempted flips; 7 d^2 unless told, which forgets the start.
        start: Where it begins; the honeycomb unless told.

    Returns:
        A unimodular triangulation; 97 to 100 % of them are regular for d of 4 to 8.
    """
    walker = Walker(start or honeycomb(d), seed)
    for _ in range(7 * d * d if steps is None else steps):
        walker.attempt()
    return walker.triangulation()


def _sorted(a: int, b: int, c: int) -> Triple:
    x, y, z = sorted((a, b, c))
    return x, y, z
