"""Move the vertices of tiles and the lattice until every rule holds with a margin.

Notation: a corner of a tile is a vertex number with an integer shift: V[k] + i * L0 + j * L1. The
variables are all V and the two lattice rows; equal corners stay equal, so that the tiles keep
fitting together whatever the variables are.

For every two tiles of one colour within reach, and every distance set of the colour, one of two
things must hold: all corners of the two are nearer than the set (largest distance), or every corner
is farther from every side than the set (least distance). Which one is decided from the start of a
round. The program is solved by SLSQP in rounds with a trust region, constraints chosen anew in each.
"""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float

from ._colouring import determinant
from ._errors import ColoringError
from ._polygon_colouring import PolygonColouring, Vertices, shifts_near
from ._problem import Problem

Corner = tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Tiles:
    """The topology of a tiling with the present place of its vertices.

    Attributes:
        lattice: Two rows.
        vertices: One row each.
        corners: Of each tile, counterclockwise.
        colors: Of each tile.
    """

    lattice: Float[np.ndarray, "2 2"]
    vertices: Float[np.ndarray, "v 2"]
    corners: tuple[tuple[Corner, ...], ...]
    colors: tuple[int, ...]

    def polygons(self) -> list[tuple[int, Float[np.ndarray, "_ 2"]]]:
        """Return the tiles in floats."""
        return [(c, self.place(k)) for c, k in zip(self.colors, self.corners, strict=True)]

    def place(self, corners: tuple[Corner, ...]) -> Float[np.ndarray, "_ 2"]:
        """Return where corners are."""
        found = [self.vertices[k] + i * self.lattice[0] + j * self.lattice[1] for k, i, j in corners]
        return np.array(found)

    def exact(self, colors: int, free: bool, denominator: int = 10**10) -> PolygonColouring:
        """Return the tiles with vertices rounded to rationals; they still fit together."""

        def near(x: Any) -> Fraction:
            return Fraction(round(float(x) * denominator), denominator)

        lattice = tuple(tuple(near(x) for x in row) for row in self.lattice)
        places = [tuple(near(x) for x in v) for v in self.vertices]
        tiles: list[tuple[int, Vertices]] = []
        for c, corners in zip(self.colors, self.corners, strict=True):
            tiles.append(
                (
                    c,
                    tuple(
                        (
                            places[k][0] + i * lattice[0][0] + j * lattice[1][0],
                            places[k][1] + i * lattice[0][1] + j * lattice[1][1],
                        )
                        for k, i, j in corners
                    ),
                )
            )
        return PolygonColouring(lattice, tuple(tiles), colors, free)


def tiles_of(colouring: PolygonColouring) -> Tiles:
    """Return the topology of exact tiles: corners equal modulo the lattice share a vertex."""
    (a, b), (c, d) = colouring.lattice
    det = determinant(colouring.lattice)
    numbers: dict[tuple[Fraction, Fraction], int] = {}
    places: list[tuple[float, float]] = []
    corners: list[tuple[Corner, ...]] = []
    for _, polygon in colouring.tiles:
        own: list[Corner] = []
        for x, y in polygon:
            s, t = (x * d - y * c) / det, (a * y - b * x) / det
            i, j = s.__floor__(), t.__floor__()
            key = (s - i, t - j)
            if key not in numbers:
                numbers[key] = len(places)
                places.append((float(x - i * a - j * c), float(y - i * b - j * d)))
            own.append((numbers[key], i, j))
        corners.append(tuple(own))
    return Tiles(
        colouring.basis, np.array(places), tuple(corners), tuple(c for c, _ in colouring.tiles)
    )


@dataclass(frozen=True)
class _Bound:
    """One inequality: a distance of points that are combinations of corners, and its limit."""

    terms: tuple[tuple[Corner, float], ...]  # the difference vector is their weighted sum
    limit: float  # distance <= limit if below, else >= limit
    below: bool
    slack: bool  # whether the objective's variable moves the limit


def optimise(
    tiles: Tiles,
    problem: Problem,
    *,
    margin: float = 1e-7,
    rounds: int = 12,
    trust: float = 0.04,
    objective: str = "feasible",
    widen: int | None = None,
    lower: float | None = None,
) -> tuple[Tiles, float]:
    """Solve for vertices and lattice.

    Args:
        tiles: The start; it should nearly keep the rules.
        problem: Pair rules only.
        margin: By which every inequality must hold.
        rounds: Of SLSQP.
        trust: How far a variable may move in one round.
        objective: `"feasible"` (largest common margin), `"min_free"`, or `"max_interval"`: colour
            `widen` keeps its diameters below `lower` and its gaps become as large as they can.
        widen: For `"max_interval"`.
        lower: For `"max_interval"`; None: the lower end of the colour's rule.

    Returns:
        The tiles, and the worst violation (at most 0 if all inequalities hold with the margin).

    Cost: a second a round for 100 variables.
    """
    best, worst = tiles, np.inf
    current = tiles
    for _ in range(rounds):
        current, violation, moved = _round(
            current, problem, margin, trust, objective, widen, lower
        )
        if violation <= 1e-9 or violation < worst:
            best, worst = current, violation
        if moved < 1e-7:
            break
    return best, worst


def _round(
    tiles: Tiles, problem: Problem, margin: float, trust: float, objective: str,
    widen: int | None, lower: float | None,
) -> tuple[Tiles, float, float]:  # fmt: skip
    import scipy.optimize

    m = len(tiles.vertices)
    x0 = np.concatenate([tiles.vertices.ravel(), tiles.lattice.ravel(), [0.0]])
    gaps: list[float] = []

    def unpack(x: Float[np.ndarray, " k"]) -> Tiles:
        return Tiles(
            x[2 * m : 2 * m + 4].reshape(2, 2), x[: 2 * m].reshape(m, 2), tiles.corners, tiles.colors
        )

    bounds = _bounds(tiles, problem, margin, objective, widen, lower, gaps)
    size = len(x0)
    rows = np.zeros((len(bounds), 2, size))
    for k, bound in enumerate(bounds):
        for (v, i, j), weight in bound.terms:
            for axis in range(2):
                rows[k, axis, 2 * v + axis] += weight
                rows[k, axis, 2 * m + axis] += weight * i
                rows[k, axis, 2 * m + 2 + axis] += weight * j
    limits = np.array([b.limit for b in bounds])
    sign = np.array([1.0 if b.below else -1.0 for b in bounds])
    slack = np.array([1.0 if b.slack else 0.0 for b in bounds])

    def constraint(x: Float[np.ndarray, " k"]) -> Float[np.ndarray, " b"]:
        d = np.linalg.norm(rows @ x, axis=1)
        return sign * (limits - d) - slack * x[-1]

    def slope(x: Float[np.ndarray, " k"]) -> Float[np.ndarray, "b k"]:
        v = rows @ x
        unit = v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), 1e-12)
        grad = -sign[:, None] * np.einsum("ba,bak->bk", unit, rows)
        grad[:, -1] -= slack
        return grad

    if objective == "min_free":
        def goal(x: Float[np.ndarray, " k"]) -> float:
            now = unpack(x)
            covered = sum(_area(p) for c, p in now.polygons() if c < problem.colors)
            return covered / -abs(float(np.linalg.det(now.lattice)))

        def goal_slope(x: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
            return scipy.optimize.approx_fprime(x, goal, 1e-7)
    else:
        def goal(x: Float[np.ndarray, " k"]) -> float:
            return -float(x[-1])

        def goal_slope(x: Float[np.ndarray, " k"]) -> Float[np.ndarray, " k"]:
            grad = np.zeros(size)
            grad[-1] = -1.0
            return grad

    start = x0.copy()
    start[-1] = min(0.0, float(constraint(x0)[slack > 0].min())) if slack.any() else 0.0
    region = [(v - trust, v + trust) for v in x0[:-1]]
    region[2 * m + 1] = (x0[2 * m + 1], x0[2 * m + 1])  # the first lattice row keeps its direction
    result = scipy.optimize.minimize(
        goal, start, jac=goal_slope, method="SLSQP", bounds=[*region, (-1.0, 1.0)],
        constraints=[{"type": "ineq", "fun": constraint, "jac": slope}],
        options={"maxiter": 60, "ftol": 1e-10},
    )  # fmt: skip
    if not np.isfinite(result.x).all():
        raise ColoringError("the vertex program diverged; start closer to a valid tiling.")
    moved = float(np.abs(result.x[:-1] - x0[:-1]).max())
    after = unpack(result.x)
    return after, _violation(after, problem, margin, objective, widen, lower), moved


def _spans(problem: Problem, color: int, objective: str, widen: int | None, lower: float | None
           ) -> list[tuple[float, float, bool]]:  # fmt: skip
    found: list[tuple[float, float, bool]] = []
    for low, high in problem.spans(color):
        a, b = float(low) ** 0.5, float(high) ** 0.5
        if objective == "max_interval" and color == widen and lower is not None:
            a = lower
        found.append((a, b, objective == "feasible" or (objective == "max_interval" and color == widen)))
    return found


def _bounds(
    tiles: Tiles, problem: Problem, margin: float, objective: str, widen: int | None,
    lower: float | None, gaps: list[float],
) -> list[_Bound]:  # fmt: skip
    found: list[_Bound] = []
    for p, q, spans in _pairs(tiles, problem, objective, widen, lower):
        pp, qq = tiles.place(p), tiles.place(q)
        same = p == q
        apart = np.sqrt(((pp[:, None] - qq[None]) ** 2).sum(-1))
        largest = float(apart.max())
        feet = [(*f, one, two) for one, two in ((p, q), (q, p))
                for f in _feet(tiles.place(one), tiles.place(two))] if not same else []  # fmt: skip
        least = min((f[0] for f in feet), default=0.0)
        for low, high, slack in spans:
            if same or largest - low < high - least:
                # Only gaps are widened by the interval objective, diameters keep their bound.
                moves = slack and objective == "feasible"
                for a, b in zip(*np.nonzero(apart > low - 0.25), strict=True):
                    if p[a] != q[b] and (not same or a < b):
                        found.append(
                            _Bound(((p[a], 1.0), (q[b], -1.0)), low - margin, True, moves)
                        )
            else:
                for distance, k, e, t, one, two in feet:
                    if distance < high + 0.15:
                        terms = [(one[k], 1.0), (two[e], t - 1.0), (two[(e + 1) % len(two)], -t)]
                        found.append(_Bound(tuple(terms), high + margin, False, slack))
    return found


def _pairs(tiles: Tiles, problem: Problem, objective: str, widen: int | None, lower: float | None) -> Any:
    """Pairs of tiles of one colour that may come within reach, the second one shifted."""
    polygons = tiles.polygons()
    for color in range(problem.colors):
        spans = _spans(problem, color, objective, widen, lower)
        if not spans:
            continue
        reach = max(b for _, b, _ in spans) + 0.25
        own = [k for k, c in enumerate(tiles.colors) if c == color]
        for n, a in enumerate(own):
            for b in own[: n + 1]:
                for _, (i, j) in shifts_near(polygons[a][1], polygons[b][1], tiles.lattice, reach):
                    if a == b and (i, j) < (0, 0):
                        continue
                    q = tuple((k, s + i, t + j) for k, s, t in tiles.corners[b])
                    yield tiles.corners[a], q, spans


def _feet(p: Float[np.ndarray, "v 2"], q: Float[np.ndarray, "w 2"]) -> list[tuple[float, int, int, float]]:
    """(distance, vertex of p, side of q, place on the side) for every vertex and side."""
    a, step = q, np.roll(q, -1, 0) - q
    t = ((p[:, None] - a[None]) * step[None]).sum(-1) / np.maximum((step**2).sum(-1), 1e-300)
    t = np.clip(t, 0, 1)
    d = np.sqrt(((p[:, None] - a[None] - t[..., None] * step[None]) ** 2).sum(-1))
    return [
        (float(d[k, e]), k, e, float(t[k, e]))
        for k in range(len(p))
        for e in range(len(q))
    ]


def _violation(
    tiles: Tiles, problem: Problem, margin: float, objective: str, widen: int | None,
    lower: float | None,
) -> float:  # fmt: skip
    worst = -np.inf
    for p, q, spans in _pairs(tiles, problem, objective, widen, lower):
        pp, qq = tiles.place(p), tiles.place(q)
        largest = float(np.sqrt(((pp[:, None] - qq[None]) ** 2).sum(-1)).max())
        least = 0.0
        if p != q:
            least = min(f[0] for one, two in ((pp, qq), (qq, pp)) for f in _feet(one, two))
        for low, high, _ in spans:
            worst = max(worst, min(largest - low, high - least) + margin)
    return worst


def _area(p: Float[np.ndarray, "v 2"]) -> float:
    x, y = p[:, 0], p[:, 1]
    return float((x * np.roll(y, -1) - y * np.roll(x, -1)).sum() / 2)


def second_six_colouring() -> PolygonColouring:
    """Return a start near the second six-colouring: its topology with plausible numbers.

    Blue hexagons, red rhombi and pentagons, heptagons in four colours, mirror symmetric in both
    axes (arXiv 2404.05509 shows it; the numbers here are ours and break rules a little). The red
    colour is number 5.
    """
    a, b = 2.0, 2 * 3**0.5
    p, q, r, s, t, e, f, g = 0.5, 0.187, 0.463, 0.19, 0.19, 0.16, 0.70, 0.82

    def exact(points: list[tuple[float, float]]) -> Vertices:
        return tuple((Fraction(round(x * 10**6), 10**6), Fraction(round(y * 10**6), 10**6)) for x, y in points)

    seven = [(p, 0.0), (q, r), (e, f), (a / 2 - e, b / 2 - f), (a / 2, b / 2 - g), (a / 2, t),
             (a / 2 - s, 0.0)]  # fmt: skip
    five = [(-q, r), (q, r), (e, f), (0.0, g), (-e, f)]
    tiles = [
        (0, exact([(p, 0.0), (q, r), (-q, r), (-p, 0.0), (-q, -r), (q, -r)])),
        (5, exact([(a / 2 + s, 0.0), (a / 2, t), (a / 2 - s, 0.0), (a / 2, -t)])),
        (5, exact(five)),
        (5, exact([(x, -y) for x, y in reversed(five)])),
        (1, exact(list(reversed(seven)))),
        (2, exact([(-x, y) for x, y in seven])),
        (3, exact([(-x, -y) for x, y in reversed(seven)])),
        (4, exact([(x, -y) for x, y in seven])),
    ]
    half = exact([(a / 2, b / 2)])[0]
    return PolygonColouring(((2 * half[0], Fraction(0)), half), tuple(tiles), 6)
