"""Which distances occur between two cells: the difference body of the cells, in integers.

A cell is a half-open set V whose translates by the integer combinations of the steps u_1 … u_n fill
space once. Points of the cells at x and x + D differ by vectors of D u + B, B the interior of the
difference body of V:

  parallelogram  V = sum [0, 1) u_i           B = {sum s_i u_i : |s_i| < 1}
  hexagon        V the points nearest to 0    B = 2 V = {z : r z < r r} for vectors r

Half-open: a point on common boundaries belongs to the cell that it enters when it moves by
(e, e^2, e^3) for every small e > 0. Of two opposite facets V then has one, so no difference lies on
the boundary of B. Either B is {z : r_i z < s_i} for finitely many normals, with known vertices.

The vectors r that bound V: a basis is turned into an obtuse superbase (v_0 + … + v_n = 0 and
v_i v_j <= 0) by Selling's steps; the sums of its parts bound V (Voronoi), and the corners of 2 V
are twice the centres of the spheres through 0, v_a, v_a + v_b, …

Products of vectors are weighted, so that coordinate k may be in units of sqrt(axes[k]).
"""

from dataclasses import dataclass
from fractions import Fraction
from itertools import combinations, permutations, product
from operator import mul

from extremal.verify._rejected import Rejected

Vector = tuple[int, ...]
# The squared distance, the facets on the way with their factors, whether nothing can be nearer.
Found = tuple[Fraction | None, list[tuple[int, Fraction]], bool]
MAX_SELLING = 10_000


@dataclass(frozen=True)
class Body:
    """B = {z : normals[i] z < heights[i]}, and its corners, divided by `denominator`."""

    axes: Vector
    normals: tuple[Vector, ...]
    heights: Vector
    corners: tuple[Vector, ...]
    denominator: int
    squares: Vector  # of the corners
    between: tuple[Vector, ...]  # normals[i] * normals[j]
    solvers: dict[tuple[int, ...], tuple[int, list[list[int]]]]  # filled as needed

    def far(self, centre: Vector) -> Fraction:
        """Return the largest squared norm over centre + B, not reached: it is at a corner."""
        top = self.denominator
        # |top c + k|^2 = top^2 c c + 2 top c k + k k: one product a corner.
        moved = [2 * top * w * x for w, x in zip(self.axes, centre, strict=True)]
        most = max(sum(map(mul, moved, k), kk) for k, kk in zip(self.corners, self.squares,
                                                              strict=True))  # fmt: skip
        return Fraction(most, top * top) + self._dot(centre, centre)

    def near(self, centre: Vector) -> Fraction:
        """Return the least squared norm over the closure of centre + B."""
        against = [-self._dot(r, centre) for r in self.normals]
        square, _, _ = self._project(against, ())
        assert square is not None  # B is not empty
        return square

    def nearest(self, centre: Vector) -> list[Fraction]:
        """Return the point of the closure of B that makes centre + b shortest."""
        against = [-self._dot(r, centre) for r in self.normals]
        _, way, _ = self._project(against, ())
        point = [Fraction(-x) for x in centre]
        for i, factor in way:
            point = [a + factor * x for a, x in zip(point, self.normals[i], strict=True)]
        return point

    def inside(self, b: list[Fraction]) -> bool:
        """Return whether a vector lies in B."""
        return all(
            sum((w * x * y for w, x, y in zip(self.axes, r, b, strict=True)), Fraction(0)) < s
            for r, s in zip(self.normals, self.heights, strict=True)
        )

    def _dot(self, a: Vector, b: Vector) -> int:
        return sum(w * x * y for w, x, y in zip(self.axes, a, b, strict=True))

    def _project(self, against: list[int], active: tuple[int, ...]) -> Found:
        """The squared distance of a point p to B where all `active` facets are met, and the way.

        The nearest point of the plane of the active facets is p + sum f_i r_i. Where it violates
        other facets, the nearest point of B lies on one of those: the way from it to p is a sum of
        outer normals, and the products of p with all of them cannot be within their heights. A
        point of B with no f_i above 0 is nearest to p of all of B, so the search ends there.
        """
        whole, adjugate = self._solver(active)
        if whole == 0:
            return None, [], False  # parallel facets, or one that meets the others outside of B
        missing = [self.heights[i] - against[i] for i in active]
        tops = [sum(map(mul, row, missing)) for row in adjugate]
        beyond: list[tuple[int, int]] = []
        for k, (a, s) in enumerate(zip(against, self.heights, strict=True)):
            if k not in active:
                over = whole * (a - s)
                for t, i in zip(tops, active, strict=True):
                    over += t * self.between[i][k]
                if over > 0:
                    beyond.append((-over, k))
        if not beyond:
            square = Fraction(sum(map(mul, tops, missing)), whole)
            way = [(i, Fraction(t, whole)) for t, i in zip(tops, active, strict=True)]
            return square, way, all(t <= 0 for t in tops)
        best: Found = (None, [], False)
        if len(active) < len(self.axes):
            for _, k in sorted(beyond):
                found = self._project(against, tuple(sorted((*active, k))))
                if found[0] is not None and (best[0] is None or found[0] < best[0]):
                    best = found
                if found[2]:
                    return found
        return best

    def _solver(self, active: tuple[int, ...]) -> tuple[int, list[list[int]]]:
        """The determinant and adjugate of the products of some normals, kept."""
        if active not in self.solvers:
            gram = [[self.between[i][j] for j in active] for i in active]
            columns = [cramer(gram, [int(i == j) for j in active]) for i in active]
            self.solvers[active] = (
                columns[0][0] if active else 1,
                [list(row) for row in zip(*(c for _, c in columns), strict=True)],
            )
        return self.solvers[active]


def body(steps: tuple[Vector, ...], cell: str, axes: Vector) -> Body:
    """Return the difference body of the cells with these steps."""

    def dot(a: Vector, b: Vector) -> int:
        return sum(w * x * y for w, x, y in zip(axes, a, b, strict=True))

    n = len(steps)
    if cell == "parallelogram":
        dual = duals(steps, axes)
        height = dot(dual[0], steps[0])  # the same for all, and above 0
        normals = [tuple(s * x for x in d) for d in dual for s in (1, -1)]
        heights = [height] * (2 * n)
        corners = [_sum([[s * x for x in u] for s, u in zip(signs, steps, strict=True)])
                   for signs in product((1, -1), repeat=n)]  # fmt: skip
        denominator = 1
    else:
        base = _superbase(steps, axes)
        parts = (p for size in range(1, n + 1) for p in combinations(range(n + 1), size))
        normals = [_sum([base[i] for i in part]) for part in parts]
        heights = [dot(r, r) for r in normals]
        denominator = 0
        corners: list[Vector] = []
        for order in permutations(range(n + 1), n):
            sums = [_sum([base[i] for i in order[: k + 1]]) for k in range(n)]
            rows = [[w * x for w, x in zip(axes, r, strict=True)] for r in sums]
            whole, tops = cramer(rows, [dot(r, r) for r in sums])
            # Every part of a superbase is a basis of the lattice, so |whole| is always the same.
            denominator = abs(whole)
            corners.append(tuple(t if whole > 0 else -t for t in tops))
    between = tuple(tuple(dot(r, q) for q in normals) for r in normals)
    squares = tuple(dot(c, c) for c in corners)
    return Body(
        axes, tuple(normals), tuple(heights), tuple(corners), denominator, squares, between, {}
    )


def duals(steps: tuple[Vector, ...], axes: Vector) -> list[Vector]:
    """Return n_i with n_i u_j = 0 for j != i, and the same number above 0 for j = i."""
    gram = [[sum(w * a * b for w, a, b in zip(axes, u, v, strict=True)) for v in steps]
            for u in steps]  # fmt: skip
    found: list[Vector] = []
    for i in range(len(steps)):
        _, tops = cramer(gram, [int(i == j) for j in range(len(steps))])
        found.append(_sum([[t * x for x in u] for t, u in zip(tops, steps, strict=True)]))
    return found


def cramer(rows: list[list[int]], rhs: list[int]) -> tuple[int, list[int]]:
    """Return the determinant of a system and its solution times the determinant; 1 for none."""
    if not rows:
        return 1, []
    columns = range(len(rhs))
    tops = [
        _det([[rhs[i] if j == k else rows[i][j] for j in columns] for i in columns])
        for k in columns
    ]
    return _det(rows), tops


def _det(m: list[list[int]]) -> int:
    if len(m) == 1:
        return m[0][0]
    if len(m) == 2:
        return m[0][0] * m[1][1] - m[0][1] * m[1][0]
    return sum(
        (-1) ** j * m[0][j] * _det([row[:j] + row[j + 1 :] for row in m[1:]]) for j in range(len(m))
    )


def _superbase(steps: tuple[Vector, ...], axes: Vector) -> list[Vector]:
    """Selling: while v_i v_j > 0 turn v_i around and correct the others; squares only fall."""
    base = [*steps, _sum([[-x for x in u] for u in steps])]
    n = len(base)
    for _ in range(MAX_SELLING):
        pair = next(
            ((i, j) for i, j in combinations(range(n), 2)
             if sum(w * x * y for w, x, y in zip(axes, base[i], base[j], strict=True)) > 0),
            None,
        )  # fmt: skip
        if pair is None:
            return base
        i, j = pair
        turned = base[i]
        # In the plane the one other vector takes v_i twice, so that the sum stays 0.
        times = 2 if n == 3 else 1
        base = [
            tuple(-x for x in v)
            if k == i
            else v
            if k == j
            else tuple(x + times * y for x, y in zip(v, turned, strict=True))
            for k, v in enumerate(base)
        ]
    raise Rejected(f"the cells' lattice is not reduced after {MAX_SELLING} steps; reduce it.")


def _sum(vectors: list[Vector] | list[list[int]]) -> Vector:
    return tuple(sum(column) for column in zip(*vectors, strict=True))
