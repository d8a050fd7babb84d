"""Move the vertices of tiles and the lattice until every rule holds with a margin.

Notation: a corner of a tile is a vertex number with an integer shift: V[k] + i * L0 + j * L1. The
variables are all V and the two lattice rows; equal corners stay equal, so that the tiles keep
fitting together whatever the variables are.

For every two tiles of one colour within reach, and every distance set of the colour, one of two
things must hold: all corners of the two are nearer than the set (largest distance), or every corner
is farther from every side than the set (least distance). Which one is decided anew in every round.
A round is one linear program: distances are replaced by their tangents within a trust region, which
shrinks where that was too bold. (SLSQP took a minute a round on 150 variables.) Tiles stay simple,
because the triangles they are cut into keep their orientation.
"""

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float

from ._errors import ColoringError
from ._polygon_colouring import gap_of, shifts_near
from ._problem import Problem
from ._simplify import simplified
from ._tiles import Corner, Tiles
from ._triangles import Triangle, areas, halved, longest_side, loosened, shortest_sides, triangles

Objective = Literal["feasible", "min_free", "max_interval"]
_CLOSE = 0.12  # inequalities with more room than this are left out of a round
_MOVES = 8.0  # or than this many times what a variable may move: such a step cannot break them


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
    rounds: int = 60,
    trust: float = 0.03,
    objective: Objective = "feasible",
    widen: int | None = None,
) -> tuple[Tiles, float]:
    """Solve for vertices and lattice.

    Args:
        tiles: The start; it should nearly keep the rules.
        problem: Pair rules only.
        margin: By which every inequality must hold.
        rounds: Linear programs at most.
        trust: How far a variable may move in the first round; adapted.
        objective: `"feasible"` (largest common margin), `"min_free"`, or `"max_interval"`: the
            gaps of colour `widen` become as large as they can, its diameters staying below its
            rule's lower end.
        widen: For `"max_interval"`.

    Returns:
        The tiles, and the worst violation (at most 0 if all inequalities hold with the margin).

    Raises:
        ColoringError: A tile of the start crosses itself.

    Cost: one linear program a round, 20 to 200 ms for 150 variables.
    """
    if objective == "max_interval" and widen is None:
        raise ValueError("max_interval needs the colour whose gaps are widened.")
    goal = _Goal(problem, margin, objective, widen)
    tiles, cut = loosened(tiles)
    merit = goal.merit(tiles)
    taken = 0
    for _ in range(rounds):
        trial = _step(tiles, goal, trust, cut)
        upright = bool((areas(trial, cut) > 0).all())
        after = goal.merit(trial) if upright else np.inf
        if after < merit - 1e-12:
            gain = merit - after
            tiles, merit = trial, after
            trust = min(0.1, 1.5 * trust)
            taken += 1
            if taken % 4 == 0:
                cut = _again(tiles, cut)
            if gain < 1e-9:
                break
        else:
            trust /= 3
            cut = _again(tiles, cut)
            if trust < 1e-8:
                break
    return _restored(tiles, goal)


def _again(tiles: Tiles, cut: list[Triangle]) -> list[Triangle]:
    """Cut anew, so that no thin triangle holds a vertex for long; the old cut is upright too."""
    again, simple = triangles(tiles)
    return again if simple else cut


def optimise_finely(
    tiles: Tiles, problem: Problem, longest: float, **options: Any
) -> tuple[Tiles, float]:
    """Optimise, halve the longest sides, and again, until no side is longer than `longest`.

    Args:
        tiles: The start.
        problem: Pair rules only.
        longest: Of a side; 0 keeps the vertices. A round side loses less space with short pieces.
            Sides below a sixth of it are taken out: they hold up the others.
        **options: As of `optimise`.
    """
    if longest > 0:
        tiles = simplified(tiles, longest / 6)
    tiles, worst = optimise(tiles, problem, **options)
    while longest > 0 and (side := longest_side(tiles)) > longest:
        now = max(longest, side / 2)
        tiles = halved(simplified(tiles, now / 6), now)
        options["trust"] = 0.01  # the halves begin near their best places
        tiles, worst = optimise(tiles, problem, **options)
    return tiles, worst


def _restored(tiles: Tiles, goal: "_Goal") -> tuple[Tiles, float]:
    """End inside what is allowed: steps that only lower the violation converge quadratically."""
    worst = goal.violation(tiles)
    for _ in range(8):
        if worst <= 0:
            break
        cut, simple = triangles(tiles)
        if not simple:
            break
        trial = _step(tiles, goal, 50 * worst, cut, restore=True)
        after = goal.violation(trial)
        if after >= worst or not (areas(trial, cut) > 0).all():
            break
        tiles, worst = trial, after
    return tiles, worst


@dataclass(frozen=True)
class _Goal:
    """What is optimised, and how far a tiling is from it."""

    problem: Problem
    margin: float
    objective: Objective
    widen: int | None

    def merit(self, tiles: Tiles) -> float:
        """Smaller is better: the objective, and violations at a price that no gain outweighs."""
        if self.objective == "min_free":
            return _covered(tiles, self.problem.colors)[0] + 20 * max(0.0, self.violation(tiles))
        worst, slack = self.values(tiles)
        return 20 * max(0.0, worst) - slack

    def violation(self, tiles: Tiles) -> float:
        """The worst violation of the rules with the margin."""
        return self.values(tiles)[0]

    def values(self, tiles: Tiles) -> tuple[float, float]:
        """The worst violation, and the least slack among what the objective widens."""
        worst, slack = -np.inf, np.inf
        for p, q, pp, qq, spans in _pairs(tiles, self):
            largest = float(np.sqrt(((pp[:, None] - qq[None]) ** 2).sum(-1)).max())
            least = 0.0
            if p != q:
                least = min(gap_of(pp, qq), largest)
            for low, high, widens in spans:
                below, above = largest - low + self.margin, high - least + self.margin
                worst = max(worst, min(below, above))
                if widens and (self.objective == "feasible" or above < below):
                    slack = min(slack, -min(below, above))
        return worst, slack


def _step(
    tiles: Tiles, goal: _Goal, trust: float, cut: list[Triangle], restore: bool = False
) -> Tiles:
    """Move within the trust region to the optimum of the linearised program."""
    import scipy.optimize
    import scipy.sparse

    m = len(tiles.vertices)
    bounds = _bounds(tiles, goal, min(_CLOSE, _MOVES * trust + 1e-4))
    size = 2 * m + 6  # vertices, lattice, slack of the objective, violation
    rows: list[int] = []
    columns: list[int] = []
    entries: list[float] = []
    right = np.zeros(len(bounds) + len(cut))
    places = tiles.vertices
    at: list[list[float]] = places.tolist()
    (ax, ay), (bx, by) = tiles.lattice.tolist()
    for number, bound in enumerate(bounds):
        dx = dy = 0.0  # plain floats: arrays of two entries cost ten times as much here
        for (k, i, j), weight in bound.terms:
            dx += weight * (at[k][0] + i * ax + j * bx)
            dy += weight * (at[k][1] + i * ay + j * by)
        length = math.hypot(dx, dy)
        sign = 1.0 if bound.below else -1.0
        unit = (sign * dx / max(length, 1e-12), sign * dy / max(length, 1e-12))
        # sign * (|d| + unit . change) + slack - violation <= sign * limit
        for (k, i, j), weight in bound.terms:
            for axis in range(2):
                for column, factor in ((2 * k, 1), (2 * m, i), (2 * m + 2, j)):
                    if factor:
                        rows.append(number)
                        columns.append(column + axis)
                        entries.append(unit[axis] * weight * factor)
        if bound.slack:
            rows.append(number)
            columns.append(size - 2)
            entries.append(1.0)
        rows.append(number)
        columns.append(size - 1)
        entries.append(-1.0)
        right[number] = sign * (bound.limit - length)
    reach = _upright(tiles, cut, len(bounds), rows, columns, entries, right)
    cost = np.zeros(size)
    cost[-1] = 20.0
    if restore:
        pass  # the violation alone; a little below 0, so that rounding does not bring it back
    elif goal.objective == "min_free":
        cost[: size - 2] = _covered(tiles, goal.problem.colors)[1][: size - 2]
    else:
        cost[-2] = -1.0
    # The distance to a side that turns by an angle falls by its square, to second order: vertices
    # of short sides move less, in proportion.
    sides = shortest_sides(tiles)
    reach = np.minimum(reach, trust * sides / np.median(sides))
    own = np.repeat(np.clip(reach, 1e-3 * trust, trust), 2)
    # In units of `trust`, so that the tolerance of the solver, 1e-7, is that share of a step.
    box = [(-t / trust, t / trust) for t in [*own.tolist(), *[trust] * 4]]
    box[2 * m + 1] = (0.0, 0.0)  # the first lattice row keeps its direction
    matrix = scipy.sparse.csr_matrix((entries, (rows, columns)), (len(right), size))
    widest = (-1.0 / trust, 1.0 / trust) if goal.objective != "min_free" else (0.0, 0.0)
    answer = scipy.optimize.linprog(
        cost,
        A_ub=matrix,
        b_ub=right / trust,
        bounds=[*box, widest, (-1e-9 / trust if restore else 0.0, None)],
        method="highs",
    )
    if answer.x is None:
        raise ColoringError(f"the vertex program has no step ({answer.message}).")
    x = trust * answer.x
    return Tiles(
        tiles.lattice + x[2 * m : 2 * m + 4].reshape(2, 2),
        places + x[: 2 * m].reshape(m, 2),
        tiles.corners,
        tiles.colors,
    )


def _upright(
    tiles: Tiles, cut: list[Triangle], first: int, rows: list[int], columns: list[int],
    entries: list[float], right: Float[np.ndarray, " k"],
) -> Float[np.ndarray, " m"]:  # fmt: skip
    """Rows that keep half of the area of each triangle, to first order; the reach of each vertex.

    With its vertices moving at most sqrt(twice the area) / 4 along each axis, what is of second
    order in a triangle's area is below the half that is kept. Without that one thin triangle would
    shrink the steps of all vertices.
    """
    m = len(tiles.vertices)
    now = areas(tiles, cut)
    right[first:] = 0.45 * now
    reach = np.full(m, np.inf)
    for side in range(3):
        np.minimum.at(reach, [t[side][0] for t in cut], np.sqrt(np.maximum(now, 1e-14)) / 4)
    corners = [tiles.place(tuple(t[i] for t in cut)) for i in range(3)]
    for side in range(3):
        # d(2 area) = (after - before) turned by a quarter, times the change of the corner
        across = corners[(side + 1) % 3] - corners[(side + 2) % 3]
        slope = np.stack([across[:, 1], -across[:, 0]], 1)
        for number, triangle in enumerate(cut):
            k, i, j = triangle[side]
            for axis in range(2):
                for column, factor in ((2 * k, 1), (2 * m, i), (2 * m + 2, j)):
                    if factor:
                        rows.append(first + number)
                        columns.append(column + axis)
                        entries.append(-float(slope[number, axis]) * factor)
    return reach


def _spans(goal: _Goal, color: int) -> list[tuple[float, float, bool]]:
    """The distances a colour avoids, and whether the objective widens them."""
    widens = goal.objective == "feasible" or (
        goal.objective == "max_interval" and color == goal.widen
    )
    return [(float(a) ** 0.5, float(b) ** 0.5, widens) for a, b in goal.problem.spans(color)]


def _bounds(tiles: Tiles, goal: _Goal, close: float) -> list[_Bound]:
    found: list[_Bound] = []
    margin = goal.margin
    for p, q, pp, qq, spans in _pairs(tiles, goal):
        same = p == q
        apart = np.sqrt(((pp[:, None] - qq[None]) ** 2).sum(-1))
        largest = float(apart.max())
        least = 0.0 if same else gap_of(pp, qq)
        for low, high, widens in spans:
            if same or largest - low < high - least:
                # The interval objective widens gaps only; diameters keep their bound.
                moves = widens and goal.objective == "feasible"
                for a, b in zip(*np.nonzero(apart > low - close), strict=True):
                    if p[a] != q[b] and (not same or a < b):
                        terms = ((p[a], 1.0), (q[b], -1.0))
                        found.append(_Bound(terms, low - margin, True, moves))
            else:
                for one, two, here, there in ((p, q, pp, qq), (q, p, qq, pp)):
                    for d, k, e, t in _feet(here, there, high + close, close):
                        if d > 0:
                            terms = ((one[k], 1.0), (two[e], t - 1.0),
                                     (two[(e + 1) % len(two)], -t))  # fmt: skip
                            found.append(_Bound(terms, high + margin, False, widens))
    return found


def _pairs(tiles: Tiles, goal: _Goal) -> Any:
    """Pairs of tiles of one colour that may come within reach: corners, places, distances.

    The second tile is the shifted one.
    """
    polygons = tiles.polygons()
    for color in range(goal.problem.colors):
        spans = _spans(goal, color)
        if not spans:
            continue
        reach = max(b for _, b, _ in spans) + _CLOSE
        own = [k for k, c in enumerate(tiles.colors) if c == color]
        for n, a in enumerate(own):
            for b in own[: n + 1]:
                for shift, (i, j) in shifts_near(
                    polygons[a][1], polygons[b][1], tiles.lattice, reach
                ):
                    if a == b and (i, j) < (0, 0):
                        continue
                    q = tuple((k, s + i, t + j) for k, s, t in tiles.corners[b])
                    yield tiles.corners[a], q, polygons[a][1], polygons[b][1] + shift, spans


def _feet(
    p: Float[np.ndarray, "_ 2"], q: Float[np.ndarray, "_ 2"], reach: float, short: float
) -> list[tuple[float, int, int, float]]:
    """(distance, vertex of p, side of q, place on the side) for all within reach.

    A side shorter than `short` may turn in one step, so each end of it counts by itself, too.
    """
    step = np.roll(q, -1, 0) - q
    t = ((p[:, None] - q[None]) * step[None]).sum(-1) / np.maximum((step**2).sum(-1), 1e-300)
    t = np.clip(t, 0, 1)
    d = np.sqrt(((p[:, None] - q[None] - t[..., None] * step[None]) ** 2).sum(-1))
    found = [
        (float(d[k, e]), int(k), int(e), float(t[k, e]))
        for k, e in zip(*np.nonzero(d < reach), strict=True)
    ]
    for e in np.flatnonzero((step**2).sum(1) < short**2).tolist():
        for end in (0, 1):
            far = np.sqrt(((p - q[(e + end) % len(q)]) ** 2).sum(1))
            found += [(float(far[k]), int(k), e, float(end)) for k in np.flatnonzero(far < reach)]
    return found


def _covered(tiles: Tiles, colors: int) -> tuple[float, Float[np.ndarray, " k"]]:
    """Minus the covered share of the period, and its gradient in all variables."""
    m = len(tiles.vertices)
    grad = np.zeros(2 * m + 5)
    covered = 0.0
    for color, corners in zip(tiles.colors, tiles.corners, strict=True):
        if color >= colors:
            continue
        p = tiles.place(corners)
        after, before = np.roll(p, -1, 0), np.roll(p, 1, 0)
        covered += float((p[:, 0] * after[:, 1] - p[:, 1] * after[:, 0]).sum() / 2)
        change = 0.5 * np.stack([after[:, 1] - before[:, 1], before[:, 0] - after[:, 0]], 1)
        k, i, j = np.array(corners).T
        for axis in range(2):
            np.add.at(grad, 2 * k + axis, change[:, axis])
            grad[2 * m + axis] += float(i @ change[:, axis])
            grad[2 * m + 2 + axis] += float(j @ change[:, axis])
    (a, b), (c, d) = tiles.lattice
    det = a * d - b * c
    sign = np.sign(det)
    grad[2 * m : 2 * m + 4] -= covered / det * np.array([d, -c, -b, a])
    return -covered / abs(det), -grad / det * sign
