"""Move the vertices of tiles and the lattice until every rule holds with a margin.

Notation: a corner of a tile is a vertex number with an integer shift: V[k] + i * L0 + j * L1. The
variables are all V and the two lattice rows; equal corners stay equal, so that the tiles keep
fitting together whatever the variables are.

For every two tiles of one colour within reach, and every distance set of the colour, one of two
things must hold: all corners of the two are nearer than the set (largest distance), or every corner
is farther from every side than the set (least distance). Which one is decided anew in every round.
A round is a linear program: distances are replaced by their tangents within a trust region, which
shrinks where that was too bold, and what they miss is corrected by up to two small ones from the
new place. (SLSQP took a minute a round on 150 variables.) Tiles stay simple, because the
triangles they are cut into keep their orientation.
"""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float, Int

from ._errors import ColoringError
from ._polygon_colouring import apart, gap_of, shifts_near, sides_apart
from ._problem import Problem
from ._simplify import simplified
from ._tiles import Tiles
from ._triangles import Triangle, areas, halved, longest_side, loosened, triangles

Objective = Literal["feasible", "min_free", "max_interval"]
_CLOSE = 0.12  # inequalities with more room than this are left out of a round
_TURN = 3.0  # a side turns by at most so many times `trust`
_THIN = 1e-9  # twice the area below which no triangle shrinks: a patch may vanish, almost
_MOVES = 8.0  # or than this many times what a variable may move: such a step cannot break them


@dataclass(frozen=True, eq=False)
class _Bounds:
    """Inequalities: distances of points that are combinations of up to three corners, and limits.

    Attributes:
        corners: Of each one, (vertex, i, j) three times.
        weights: The difference vector is their weighted sum.
        limit: Distance <= limit where the sign is 1, >= limit where it is -1.
        sign: See there.
        slack: Whether the objective's variable moves the limit.
    """

    corners: Int[np.ndarray, "m 3 3"]
    weights: Float[np.ndarray, "m 3"]
    limit: Float[np.ndarray, " m"]
    sign: Float[np.ndarray, " m"]
    slack: Bool[np.ndarray, " m"]


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
        rounds: Steps at most, each with up to two corrections.
        trust: How far a variable may move in the first round; adapted.
        objective: `"feasible"` (largest common margin), `"min_free"`, or `"max_interval"`: the
            gaps of colour `widen` become as large as they can, its diameters staying below its
            rule's lower end.
        widen: For `"max_interval"`.

    Returns:
        The tiles, and the worst violation (at most 0 if all inequalities hold with the margin).

    Raises:
        ColoringError: A tile of the start crosses itself.

    Cost: one to three linear programs a round, 20 to 200 ms each for 150 variables.
    """
    if objective == "max_interval" and widen is None:
        raise ValueError("max_interval needs the colour whose gaps are widened.")
    goal = _Goal(problem, margin, objective, widen)
    tiles, cut = loosened(tiles)
    merit = goal.merit(tiles)
    for _ in range(rounds):
        found = _corrected(_step(tiles, goal, trust, cut), goal, trust, cut)
        if found is not None and found[0] < merit - 1e-12:
            gain = merit - found[0]
            merit, tiles, cut = found
            trust = min(0.1, 2 * trust)
            if gain < 1e-9:
                break
        else:
            trust /= 3
            cut = _again(tiles, cut)
            if trust < 1e-8:
                break
    return _restored(tiles, goal)


def _corrected(
    trial: Tiles, goal: "_Goal", trust: float, cut: list[Triangle]
) -> tuple[float, Tiles, list[Triangle]] | None:
    """Take back what a step violates to second order by small steps from where it ended.

    Without them steps would have to be so short that their violation, which grows with the square,
    is not worth more than what they gain.

    Returns:
        The best merit met, its tiles and their triangles; None if a triangle was turned over.
    """
    best: tuple[float, Tiles, list[Triangle]] | None = None
    for left in (2, 1, 0):
        if not (areas(trial, cut) > 0).all():
            break
        merit = goal.merit(trial)
        if best is None or merit < best[0]:
            best = (merit, trial, cut)
        violation = goal.violation(trial)
        if violation < 1e-9 or not left:
            break
        cut, simple = triangles(trial)
        if not simple:
            break
        trial = _step(trial, goal, min(trust, 30 * violation), cut)
    return best


def _again(tiles: Tiles, cut: list[Triangle]) -> list[Triangle]:
    """Cut anew, so that no thin triangle holds a vertex for long; the old cut is upright too."""
    again, simple = triangles(tiles)
    return again if simple else cut


def optimise_finely(
    tiles: Tiles, problem: Problem, longest: float, **options: Any
) -> tuple[Tiles, float]:
    """Optimise, halve the longest sides, and again, until no side is much longer than `longest`.

    Args:
        tiles: The start.
        problem: Pair rules only.
        longest: Of a side; 0 keeps the vertices. A round side loses less space with short pieces.
            Sides below a sixth of it are taken out: they hold up the others.
        **options: As of `optimise`.
    """
    if longest > 0:
        tiles = simplified(loosened(tiles)[0], longest / 6)
    tiles, worst = optimise(tiles, problem, **options)
    # The program stretches sides a little; halving for that would never end.
    while longest > 0 and (side := longest_side(tiles)) > 1.3 * longest:
        now = max(longest, side / 2)
        tiles = halved(simplified(tiles, longest / 6), now)
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
            largest = float(apart(pp, qq).max())
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
    places = tiles.vertices
    vertex, shift = bounds.corners[..., 0], bounds.corners[..., 1:]
    ends = places[vertex] + shift @ tiles.lattice
    across = np.einsum("nt,nta->na", bounds.weights, ends)
    length = np.hypot(across[:, 0], across[:, 1])
    unit = bounds.sign[:, None] * across / np.maximum(length, 1e-12)[:, None]
    # sign * (|d| + unit . change) + slack - violation <= sign * limit
    number = np.arange(len(length))
    rows, columns, entries = _Column(), _Column(), _Column()
    for axis in range(2):
        own = unit[:, axis, None] * bounds.weights
        for column, factor in (
            (2 * vertex, np.ones_like(own)),
            (np.full_like(vertex, 2 * m), shift[..., 0]),
            (np.full_like(vertex, 2 * m + 2), shift[..., 1]),
        ):
            some = (bounds.weights != 0) & (factor != 0)
            rows.add(np.broadcast_to(number[:, None], own.shape)[some])
            columns.add((column + axis)[some])
            entries.add((own * factor)[some])
    moved = np.flatnonzero(bounds.slack)
    rows.add(moved, number)
    columns.add(np.full(len(moved), size - 2), np.full(len(number), size - 1))
    entries.add(np.ones(len(moved)), np.full(len(number), -1.0))
    upright, areas_kept = _upright(tiles, cut, len(number))
    together, apart_by = _together(tiles, cut, trust, len(number) + len(cut))
    for found, *more in zip((rows, columns, entries), upright, together, strict=True):
        found.add(*more)
    right = np.concatenate([bounds.sign * (bounds.limit - length), areas_kept, apart_by])
    cost = np.zeros(size)
    cost[-1] = 20.0
    if restore:
        pass  # the violation alone; a little below 0, so that rounding does not bring it back
    elif goal.objective == "min_free":
        cost[: size - 2] = _covered(tiles, goal.problem.colors)[1][: size - 2]
    else:
        cost[-2] = -1.0
    # In units of `trust`, so that the tolerance of the solver, 1e-7, is that share of a step.
    box = [(-1.0, 1.0)] * (2 * m + 4)
    box[2 * m + 1] = (0.0, 0.0)  # the first lattice row keeps its direction
    matrix = scipy.sparse.csr_matrix(
        (entries.whole(), (rows.whole(), columns.whole())), (len(right), size)
    )
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


class _Column:
    """An array that grows by whole pieces."""

    def __init__(self) -> None:
        self.pieces: list[Any] = []

    def add(self, *pieces: Any) -> None:
        self.pieces += pieces

    def whole(self) -> Any:
        return np.concatenate(self.pieces)


def _upright(
    tiles: Tiles, cut: list[Triangle], first: int
) -> tuple[tuple[Any, Any, Any], Float[np.ndarray, " t"]]:
    """Rows that keep half of the area of each triangle, to first order, and none below `_THIN`.

    Returns:
        Rows, columns and entries, from row `first` on; the right sides.
    """
    m = len(tiles.vertices)
    table = np.array(cut)  # (triangles, 3 corners, 3)
    corners = [tiles.vertices[table[:, i, 0]] + table[:, i, 1:] @ tiles.lattice for i in range(3)]
    rows, columns, entries = _Column(), _Column(), _Column()
    number = first + np.arange(len(cut))
    for side in range(3):
        # d(2 area) = (after - before) turned by a quarter, times the change of the corner
        across = corners[(side + 1) % 3] - corners[(side + 2) % 3]
        slope = np.stack([across[:, 1], -across[:, 0]], 1)
        k, i, j = table[:, side].T
        for axis in range(2):
            for column, factor in ((2 * k, np.ones_like(k)), (np.full_like(k, 2 * m), i),
                                   (np.full_like(k, 2 * m + 2), j)):  # fmt: skip
                some = factor != 0
                rows.add(number[some])
                columns.add((column + axis)[some])
                entries.add(-(slope[:, axis] * factor)[some])
    now = areas(tiles, cut)
    kept = np.clip(now - _THIN, 0.0, 0.45 * now)
    return (rows.whole(), columns.whole(), entries.whole()), kept


def _together(
    tiles: Tiles, cut: list[Triangle], trust: float, first: int
) -> tuple[tuple[Any, Any, Any], Float[np.ndarray, " r"]]:
    """Rows that let the ends of a side move away from each other by a little only, each axis.

    Of second order in a triangle's area (twice) is the product of how its second and third corner
    move against the first; with 0.47 times the root of it for two of its sides that is below what
    `_upright` keeps. And the distance to a side that turns by an angle falls by its square: sides
    turn by a few times `trust` at most. Vertices that move along with their neighbours are not
    held up by either.

    Returns:
        Rows, columns and entries, from row `first` on; the right sides.
    """
    m = len(tiles.vertices)
    table = np.array(cut)
    places = tiles.vertices[table[..., 0]] + table[..., 1:] @ tiles.lattice
    length = np.linalg.norm(places - np.roll(places, -1, 1), axis=2)  # of side k to k + 1
    reach = np.repeat(0.47 * np.sqrt(np.maximum(areas(tiles, cut), 1e-14))[:, None], 3, 1)
    reach[np.arange(len(cut)), length.argmax(1)] = np.inf  # two sides are enough
    ends = [np.stack([table, np.roll(table, -1, 1)], 2).reshape(-1, 2, 3)]
    limits = [reach.ravel()]
    for own in tiles.corners:
        at = np.array(own)
        p = tiles.place(own)
        ends.append(np.stack([at, np.roll(at, -1, 0)], 1))
        limits.append(_TURN * trust * np.hypot(*(np.roll(p, -1, 0) - p).T))
    pair, limit = np.concatenate(ends), np.concatenate(limits)
    pair, limit = pair[limit < 2 * trust], limit[limit < 2 * trust]
    # One row a pair: its least limit; a pair is the same from both ends and in every translate.
    turned = pair[:, 0, 0] > pair[:, 1, 0]
    pair[turned] = pair[turned][:, ::-1]
    key = np.column_stack([pair[:, 0, 0], pair[:, 1, 0], pair[:, 1, 1:] - pair[:, 0, 1:]])
    order = np.argsort(limit, kind="stable")
    key, where = np.unique(key[order], axis=0, return_index=True)
    limit = limit[order][where]
    rows, columns, entries = _Column(), _Column(), _Column()
    count = len(limit)
    for axis in range(2):
        for turn, sign in enumerate((1.0, -1.0)):
            number = first + (2 * axis + turn) * count + np.arange(count)
            for column, factor in (
                (2 * key[:, 0], np.ones(count)),
                (2 * key[:, 1], -np.ones(count)),
                (np.full(count, 2 * m), -key[:, 2]),
                (np.full(count, 2 * m + 2), -key[:, 3]),
            ):
                some = factor != 0
                rows.add(number[some])
                columns.add((column + axis)[some])
                entries.add(sign * factor[some])
    return (rows.whole(), columns.whole(), entries.whole()), np.tile(limit, 4)


def _spans(goal: _Goal, color: int) -> list[tuple[float, float, bool]]:
    """The distances a colour avoids, and whether the objective widens them."""
    widens = goal.objective == "feasible" or (
        goal.objective == "max_interval" and color == goal.widen
    )
    return [(float(a) ** 0.5, float(b) ** 0.5, widens) for a, b in goal.problem.spans(color)]


def _bounds(tiles: Tiles, goal: _Goal, close: float) -> _Bounds:
    parts: list[tuple[Any, Any, Any, float, float, bool]] = []
    margin = goal.margin
    for p, q, pp, qq, spans in _pairs(tiles, goal):
        same = p == q
        one, two = np.array(p), np.array(q)
        far = apart(pp, qq)
        largest = float(far.max())
        least = 0.0 if same else gap_of(pp, qq)
        for low, high, widens in spans:
            if same or largest - low < high - least:
                # The interval objective widens gaps only; diameters keep their bound.
                moves = widens and goal.objective == "feasible"
                a, b = np.nonzero(far > low - close)
                some = (one[a] != two[b]).any(1)
                if same:
                    some &= a < b
                ends = np.stack([one[a[some]], two[b[some]], two[b[some]]], 1)
                weights = np.tile([1.0, -1.0, 0.0], (len(ends), 1))
                parts.append((ends, weights, len(ends), low - margin, 1.0, moves))
            else:
                for first, second, here, there in ((one, two, pp, qq), (two, one, qq, pp)):
                    k, e, t = _feet(here, there, high + close, close)
                    ends = np.stack([first[k], second[e], second[(e + 1) % len(second)]], 1)
                    weights = np.stack([np.ones_like(t), t - 1, -t], 1)
                    parts.append((ends, weights, len(ends), high + margin, -1.0, widens))
    if not parts:
        empty = np.zeros(0)
        return _Bounds(np.zeros((0, 3, 3), np.int64), np.zeros((0, 3)), empty, empty, empty > 0)
    counts = [count for _, _, count, _, _, _ in parts]
    return _Bounds(
        np.concatenate([ends for ends, *_ in parts]),
        np.concatenate([weights for _, weights, *_ in parts]),
        np.repeat([limit for *_, limit, _, _ in parts], counts),
        np.repeat([sign for *_, sign, _ in parts], counts),
        np.repeat([moves for *_, moves in parts], counts),
    )


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
) -> tuple[Int[np.ndarray, " m"], Int[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """(vertex of p, side of q, place on the side) for all within reach, touching ones left out.

    A side shorter than `short` may turn in one step, so each end of it counts by itself, too.
    """
    step = np.roll(q, -1, 0) - q
    d, t = sides_apart(p, q)
    vertices, sides = np.nonzero((d < reach) & (d > 0))
    found = [(vertices, sides, t[vertices, sides])]
    turning = np.flatnonzero((step**2).sum(1) < short**2)
    far = apart(p, q)
    for end in (0, 1):
        at = far[:, (turning + end) % len(q)]
        vertices, which = np.nonzero((at < reach) & (at > 0))
        found.append((vertices, turning[which], np.full(len(which), float(end))))
    k, e, place = (np.concatenate(column) for column in zip(*found, strict=True))
    return k, e, place


def free_share(tiles: Tiles, problem: Problem) -> float:
    """Return the share of the plane that no tile of a colour covers."""
    return float(1 + _covered(tiles, problem.colors)[0])


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
