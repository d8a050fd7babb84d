"""Unimodular triangulations of d times the standard triangle.

    honeycomb(d)                 edges (1,0), (0,1), (1,-1)
    strip_fan(d)                 in every strip two fans, with long edges
    from_heights(d, heights)     the lower hull of the lifted points
    from_triangles(d, triples)   given triangles

Notation: w are heights; an edge ab with opposite corners c and e satisfies c + e = s a + (2-s) b
for an integer s. The triangulation is regular if some heights have w_c + w_e > s w_a + (2-s) w_b on
every inner edge; that local convexity is convexity. Points are numbered lexicographically.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cached_property
from math import lcm

from extremal.lab import rational

from ._errors import NotRegular
from ._lattice import (
    Point,
    checked_degree,
    doubled_area,
    lattice_points,
    point_index,
    side_of,
    symmetries,
)

Triple = tuple[int, int, int]
Exact = int | str | float | Fraction


@dataclass(frozen=True, eq=False)
class Triangulation:
    """A unimodular triangulation that uses every lattice point.

    Attributes:
        degree: d, at least 1.
        triangles: d*d increasing triples of point numbers, sorted.
        heights: One exact height a point that makes it regular, or None where none are known.
    """

    degree: int
    triangles: tuple[Triple, ...]
    heights: tuple[Fraction, ...] | None = None
    name: str = field(default="", kw_only=True)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Triangulation):
            return NotImplemented
        return (self.degree, self.triangles) == (other.degree, other.triangles)

    def __hash__(self) -> int:
        return hash((self.degree, self.triangles))

    def __repr__(self) -> str:
        kind = "regular" if self.heights is not None else "no heights known"
        name = f"{self.name}: " if self.name else ""
        return f"<{name}triangulation of degree {self.degree}, {kind}>"

    @property
    def n(self) -> int:
        """The number of lattice points, (d+1)(d+2)/2."""
        return (self.degree + 1) * (self.degree + 2) // 2

    @property
    def points(self) -> tuple[Point, ...]:
        """The lattice points in order."""
        return lattice_points(self.degree)

    @cached_property
    def opposite(self) -> Mapping[tuple[int, int], tuple[int, ...]]:
        """For every edge (a, b), a < b, the one or two corners opposite to it."""
        found: dict[tuple[int, int], list[int]] = {}
        for a, b, c in self.triangles:
            found.setdefault((a, b), []).append(c)
            found.setdefault((a, c), []).append(b)
            found.setdefault((b, c), []).append(a)
        return {edge: tuple(sorted(ends)) for edge, ends in sorted(found.items())}

    @property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges (a, b), a < b, sorted; there are 3d(d+1)/2."""
        return tuple(self.opposite)

    @cached_property
    def neighbours(self) -> tuple[tuple[int, ...], ...]:
        """For every point the points it is joined to, ascending."""
        found: list[list[int]] = [[] for _ in range(self.n)]
        for a, b in self.opposite:
            found[a].append(b)
            found[b].append(a)
        return tuple(tuple(sorted(row)) for row in found)

    def convexity(self) -> list[tuple[int, int, int, int, int]]:
        """Return (c, e, a, b, s) for every inner edge: convex means w_c+w_e > s w_a+(2-s) w_b."""
        points = self.points
        rows: list[tuple[int, int, int, int, int]] = []
        for (a, b), ends in self.opposite.items():
            if len(ends) == 2:
                c, e = ends
                (xa, ya), (xb, yb) = points[a], points[b]
                sx, sy = points[c][0] + points[e][0], points[c][1] + points[e][1]
                # (sx, sy) = s a + (2-s) b, so s (a-b) = (sx, sy) - 2 b
                s = (sx - 2 * xb) // (xa - xb) if xa != xb else (sy - 2 * yb) // (ya - yb)
                rows.append((c, e, a, b, s))
        return rows

    def with_heights(self, heights: Sequence[Exact]) -> "Triangulation":
        """Return the same triangulation with heights that are checked exactly.

        Raises:
            ValueError: Their number is wrong.
            NotRegular: They are not strictly convex across some edge; it is named.
        """
        exact = tuple(rational(h) for h in heights)
        if len(exact) != self.n:
            raise ValueError(f"degree {self.degree} has {self.n} points, got {len(exact)} heights.")
        for c, e, a, b, s in self.convexity():
            if exact[c] + exact[e] <= s * exact[a] + (2 - s) * exact[b]:
                raise NotRegular(
                    f"the heights are not strictly convex across the edge {a}-{b} (points "
                    f"{self.points[a]} and {self.points[b]}), so they do not lift this "
                    "triangulation; leave them out to have some computed."
                )
        return Triangulation(self.degree, self.triangles, exact, name=self.name)


def from_triangles(
    degree: int, triangles: Iterable[Sequence[int]], heights: Sequence[Exact] | None = None
) -> Triangulation:
    """Return the triangulation with these triangles.

    Args:
        degree: d.
        triangles: d*d triples of point numbers, in any order.
        heights: One a point; they are checked. Without them regularity is open.

    Raises:
        ValueError: A triangle is not unimodular, an edge is in too many or too few triangles, two
            triangles overlap, or a point is not used.
        NotRegular: The heights do not lift it.
    """
    d = checked_degree(degree)
    points = lattice_points(d)
    n = len(points)
    found: list[Triple] = []
    for t in triangles:
        numbers = tuple(sorted(int(x) for x in t))
        if len(numbers) != 3 or len(set(numbers)) != 3:
            raise ValueError(f"a triangle has three different points, got {tuple(t)!r}.")
        if numbers[0] < 0 or numbers[2] >= n:
            raise ValueError(
                f"the triangle {numbers} leaves the {n} points of degree {d}, which are numbered "
                f"0 to {n - 1} lexicographically."
            )
        a, b, c = numbers
        area = abs(doubled_area(points[a], points[b], points[c]))
        if area != 1:
            raise ValueError(
                f"the triangle {numbers} has {area} times the unit area, so the triangulation is "
                "not unimodular; refine it until every triangle has area 1/2."
            )
        found.append((a, b, c))
    if len(set(found)) != len(found):
        raise ValueError("a triangle is listed twice.")
    if len(found) != d * d:
        raise ValueError(
            f"a unimodular triangulation of degree {d} has {d * d} triangles, got {len(found)}."
        )
    made = Triangulation(d, tuple(sorted(found)))
    for (a, b), ends in made.opposite.items():
        wanted = 1 if side_of(d, points[a], points[b]) else 2
        if len(ends) != wanted:
            raise ValueError(
                f"the edge {a}-{b} is in {len(ends)} triangles, but {wanted} is right there: "
                "triangles overlap or are missing."
            )
        if wanted == 2:
            c, e = (doubled_area(points[a], points[b], points[x]) for x in ends)
            if c * e >= 0:
                raise ValueError(f"the two triangles at the edge {a}-{b} overlap.")
    if any(not row for row in made.neighbours):
        raise ValueError("a lattice point is in no triangle.")
    return made if heights is None else made.with_heights(heights)


def from_heights(degree: int, heights: Sequence[Exact] | str, name: str = "") -> Triangulation:
    """Return the lower hull of the points lifted to these heights, found exactly.

    Args:
        degree: d.
        heights: One exact number a point, or all of them as text separated by spaces.
        name: Shown with it.

    Raises:
        ValueError: The number of heights is wrong, or the subdivision is coarser than a unimodular
            triangulation; a cell that is too big is named.

    Cost: O(n^2) exact operations; 5 ms at degree 7.
    """
    d = checked_degree(degree)
    points = lattice_points(d)
    words = heights.split() if isinstance(heights, str) else heights
    w = [rational(h) for h in words]
    if len(w) != len(points):
        raise ValueError(f"degree {d} has {len(points)} points, got {len(w)} heights.")
    scale = lcm(*(h.denominator for h in w))
    lifted = [int(h * scale) for h in w]
    triangles = _lower_hull(d, points, lifted)
    return Triangulation(d, tuple(sorted(triangles)), tuple(w), name=name)


def _lower_hull(d: int, points: tuple[Point, ...], w: list[int]) -> list[Triple]:
    """Wrap the hull: from each edge turn to the lowest plane on its open side."""
    index = point_index(d)
    for row in _side_rows(d):
        for a, b, c in zip(row, row[1:], row[2:], strict=False):
            if w[a] + w[c] <= 2 * w[b]:
                raise ValueError(
                    f"the point {points[b]} (number {b}) lies on or above the segment between its "
                    "neighbours on a side, so the heights give a coarser subdivision; lower it."
                )
    first = (index[0, 0], index[1, 0])  # the side's points are strictly convex, so this is an edge
    found: set[Triple] = set()
    queue = [first]  # directed edges with the big triangle's inside on their left
    done: set[tuple[int, int]] = set()
    while queue:
        a, b = queue.pop()
        if (a, b) in done:
            continue
        (xa, ya), (xb, yb) = points[a], points[b]
        best: list[int] = []
        slope: tuple[int, int] | None = None  # height over the edge's line, per distance from it
        for c, (x, y) in enumerate(points):
            side = (xb - xa) * (y - ya) - (x - xa) * (yb - ya)
            if side <= 0:
                continue
            # Height of c over the linear extension along ab. The edge is primitive, so an integer
            # step along it has a whole height; across it only the slope counts.
            along = (x - xa) * (xb - xa) + (y - ya) * (yb - ya)
            length = (xb - xa) ** 2 + (yb - ya) ** 2
            rise = (w[c] - w[a]) * length - along * (w[b] - w[a])
            if slope is None or rise * slope[1] < slope[0] * side:
                slope, best = (rise, side), [c]
            elif rise * slope[1] == slope[0] * side:
                best.append(c)
        if not best:
            continue  # the edge lies on the boundary, seen from inside
        cell = sorted({a, b, *best})
        if len(best) > 1 or abs(doubled_area(points[a], points[b], points[best[0]])) != 1:
            raise ValueError(
                f"the heights give a cell with the points {[points[k] for k in cell]} (numbers "
                f"{cell}), which is more than a unit triangle; perturb them, or choose heights of "
                "a unimodular triangulation."
            )
        c = best[0]
        found.add((cell[0], cell[1], cell[2]))
        for u, v in ((a, b), (b, c), (c, a)):
            done.add((u, v))
            if (v, u) not in done and not side_of(d, points[u], points[v]):
                queue.append((v, u))
    if len(found) != d * d or len({p for t in found for p in t}) != len(points):
        used = {p for t in found for p in t}
        lost = [points[k] for k in range(len(points)) if k not in used]
        raise ValueError(
            f"the heights give {len(found)} unit triangles instead of {d * d}; points that lie "
            f"above the surface: {lost[:5]}. Choose heights of a unimodular triangulation."
        )
    return list(found)


def _side_rows(d: int) -> list[list[int]]:
    index = point_index(d)
    return [
        [index[k, 0] for k in range(d + 1)],
        [index[0, k] for k in range(d + 1)],
        [index[k, d - k] for k in range(d + 1)],
    ]


def honeycomb(d: int) -> Triangulation:
    """Return the triangulation with edges (1,0), (0,1) and (1,-1); heights i^2 + ij + j^2."""
    d = checked_degree(d)
    index = point_index(d)
    triangles: list[Triple] = []
    for i, j in lattice_points(d):
        if i + j < d:
            triangles.append((index[i, j], index[i, j + 1], index[i + 1, j]))
        if i + j < d - 1:
            triangles.append((index[i, j + 1], index[i + 1, j], index[i + 1, j + 1]))
    heights = tuple(Fraction(i * i + i * j + j * j) for i, j in lattice_points(d))
    made = tuple(sorted((min(t), sorted(t)[1], max(t)) for t in triangles))
    return Triangulation(d, made, heights, name=f"honeycomb-{d}")


def strip_fan(d: int) -> Triangulation:
    """Return the triangulation of fans: column c from (c, 0), column c+1's top to column c.

    It has long edges, which makes its census cheap. Heights are computed where they exist.
    """
    from ._regular import regular

    d = checked_degree(d)
    index = point_index(d)
    triangles: list[Triple] = []
    for c in range(d):
        low, top = index[c, 0], index[c + 1, d - c - 1]
        triangles += [(low, index[c + 1, j], index[c + 1, j + 1]) for j in range(d - c - 1)]
        triangles += [(index[c, j], index[c, j + 1], top) for j in range(d - c)]
    made = from_triangles(d, triangles)
    found = regular(made)
    return Triangulation(d, made.triangles, found.heights, name=f"strip-fan-{d}")


def canonical(t: Triangulation) -> tuple[Triple, ...]:
    """Return the least of the six images of the triangles under S3: equal for equal orbits."""
    return min(image(t, k).triangles for k in range(len(symmetries(t.degree))))


def image(t: Triangulation, symmetry: int) -> Triangulation:
    """Return the triangulation moved by one of the six symmetries, heights included."""
    move = symmetries(t.degree)[symmetry]
    triangles = tuple(sorted(_triple(move[a], move[b], move[c]) for a, b, c in t.triangles))
    heights = None
    if t.heights is not None:
        new = [Fraction(0)] * t.n
        for k, h in enumerate(t.heights):
            new[move[k]] = h
        heights = tuple(new)
    return Triangulation(t.degree, triangles, heights)


def _triple(a: int, b: int, c: int) -> Triple:
    low, middle, high = sorted((a, b, c))
    return low, middle, high
