"""Checker of `coloring/configuration`: a colouring of R^n without certain configurations, n 2 or 3.

Proves: for every position (rotation, reflection, translation and scaling, as the rule says) of the
points 0, q_1, …, q_m, their colours are none of the forbidden patterns of the rule.
Does not say: that fewer colours are impossible. A rejection without two given points may also mean
that a conflict could not be excluded at the finest arc or box of motions.

Method: the motions are cut into boxes. On a box the cell coordinates W_i of the moved points, and
their differences, lie in intervals with rational ends. Whatever the base point t in [0, 1)^n of its
cell, q_i lands at an offset D_i, and per axis D_i - 1 < W_i < D_i + 1 and
W_j - W_i < D_j - D_i + 1 hold. All tuples that satisfy these on the box are tried; where a pattern
is met the box is cut, up to `DEPTH` or `DEPTH_3` times. Integers only, scaled by 2^80, rounded
outwards.

  plane  arcs theta = 2 atan t, t in [k, k + 1] / 2^depth, a quarter turn at a time; cos and sin are
         monotone there
  space  quaternions with one entry 1 and three in [-1, 1] (divide by the largest entry), in cubes
         around q_0 of half side h: q differs from q_0 by at most sqrt(3) h, so the sine of their
         angle is at most sqrt(3) h / |q_0|, and |R p - R_0 p| <= 2 |p| sqrt(3) h / |q_0|
  scale  intervals, halved where they are the wider part of a box
"""

from itertools import product
from math import isqrt
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._proved._coloring_bodies import duals
from extremal.verify._proved._coloring_witness import (
    WITNESS,
    Torus,
    check_density,
    fraction,
    palette,
    read_torus,
)
from extremal.verify._rejected import Rejected

STRENGTH = "proved"
CLAIM = ("dim", "colors", "free", "rules", "free_density", "coloring_sha256")
__all__ = ["CLAIM", "STRENGTH", "WITNESS", "check"]

ONE = 1 << 80
DEPTH = 40
DEPTH_3 = 16
MAX_BOXES = 2_000_000
Interval = tuple[int, int]  # low <= value * ONE <= high
Point = tuple[Interval, ...]
Offset = tuple[int, ...]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is proved, or raise `Rejected` with the position that could not be excluded."""
    torus = read_torus(claim, witness)
    if torus.cell != "parallelogram" or any(w != 1 for w in torus.axes):
        raise Rejected("configurations are checked on parallelograms with plain coordinates.")
    density = check_density(claim, torus)
    rules = fields.items(claim, "rules")
    if not rules:
        raise Rejected("there is no rule, so nothing is claimed.")
    said = [_rule(rule, claim["colors"], torus) for rule in rules]
    if claim["free"]:
        said.append(f"the free colour has density {density} = {float(density):.6%}")
    return said


def _rule(rule: Any, colors: int, torus: Torus) -> str:
    names = {"points", "patterns", "motions"}
    if not isinstance(rule, dict) or set(cast("dict[str, Any]", rule)) - {"scales"} != names:
        raise Rejected(f"a rule has not the fields {', '.join(sorted(names))}.")
    entry = cast("dict[str, Any]", rule)
    motions = entry["motions"]
    if motions not in ("rigid", "direct", "translations"):
        raise Rejected(f"motions is {motions!r}, not rigid, direct or translations.")
    points = [_point(q, torus.dim) for q in fields.items(entry, "points")]
    scales = _scales(entry)
    patterns = [palette(p, colors) for p in fields.items(entry, "patterns")]
    if not points or not patterns or any(len(p) != len(points) + 1 for p in patterns):
        raise Rejected("the rule has no points or patterns, or a pattern of another length.")
    sweep = _Sweep(torus, patterns)
    if motions == "translations":
        sweep.still(points, scales)
    else:
        for mirrored in (False, True) if motions == "rigid" else (False,):
            # The last coordinate turned around: a reflection.
            shown = [(*q[:-1], (-q[-1][1], -q[-1][0])) for q in points] if mirrored else points
            if torus.dim == 3:
                for chart in range(4):
                    sweep.tumble(shown, chart, scales)
                continue
            for quarter in range(4):
                sweep.turn(shown, quarter, scales)
                shown = [((-y[1], -y[0]), x) for x, y in shown]
    origin = ", ".join("0" * torus.dim)
    text = ", ".join(f"({', '.join(q)})" for q in entry["points"])
    scaled = ""
    if "scales" in entry:
        scaled = f" scaled by {entry['scales'][0]} to {entry['scales'][1]}"
    return (
        f"no {motions} copy of ({origin}), {text}{scaled} has its colours in one of "
        f"{len(patterns)} forbidden patterns ({sweep.boxes} boxes, {len(sweep.clean)} tuples)"
    )


class _Sweep:
    """The boxes of motions of one rule, with the offset tuples known to be clean."""

    def __init__(self, torus: Torus, patterns: list[list[int]]) -> None:
        self.torus, self.patterns = torus, patterns
        self.clean: set[tuple[Offset, ...]] = set()
        self.products: set[tuple[tuple[tuple[int, ...], ...], ...]] = set()
        self.boxes = 0
        self.turned: dict[tuple[int, Offset], int] = {}
        plain = (1,) * torus.dim
        # Coordinate i of a vector is its product with duals[i], divided by height.
        self.duals = duals(torus.steps, plain)
        height = sum(a * b for a, b in zip(self.duals[0], torus.steps[0], strict=True))
        self.factors = [(tuple(x * torus.scale for x in n), height) for n in self.duals]
        self.norms = [_root_above(sum(x * x for x in n) * ONE * ONE, height * height)
                      for n, height in self.factors]  # fmt: skip

    def coordinates(self, q: Point) -> Point:
        """Return the coordinates of a point in the basis of the cell vectors."""
        found: list[Interval] = []
        for n, height in self.factors:
            ends = [(x * c, y * c) if c >= 0 else (y * c, x * c)
                    for (x, y), c in zip(q, n, strict=True)]  # fmt: skip
            low, high = sum(e[0] for e in ends), sum(e[1] for e in ends)
            found.append((low // height, -(-high // height)))
        return tuple(found)

    def still(self, points: list[Point], scales: Interval) -> None:
        """Try translations, of every scale."""
        stack = [(scales, 0)]
        while stack:
            scale, depth = stack.pop()
            w = [tuple(_times(x, scale) for x in self.coordinates(q)) for q in points]
            # Without a scale each difference is that of two narrow intervals.
            apart = [[tuple(_times(x, scale) for x in self.coordinates(_less(f, g)))
                      for g in points] for f in points]  # fmt: skip
            wide = scale[0] < scale[1] and depth < DEPTH
            if self.box(w, apart, f"as given, scale {_shown(scale)}", wide):
                stack += [(half, depth + 1) for half in _halves(scale)]

    def turn(self, points: list[Point], quarter: int, scales: Interval) -> None:
        """Try all angles of a quarter turn; theta = 2 atan(t) with t from 0 to 1."""
        # W = cos * a + sin * b with a the coordinates of q, b those of q turned by 90 degrees.
        forms = [
            (self.coordinates(q), self.coordinates(((-q[1][1], -q[1][0]), q[0]))) for q in points
        ]
        stack = [(k, 5, scales) for k in reversed(range(32))]  # t in [k, k + 1] / 2^depth
        while stack:
            k, depth, scale = stack.pop()
            cos, sin = _arc(k, depth)
            where = f"quarter {quarter}, t in [{k}, {k + 1}]/2^{depth}, scale {_shown(scale)}"
            w = [_turned(f, cos, sin, scale) for f in forms]
            apart = [
                [_turned((_less(f[0], g[0]), _less(f[1], g[1])), cos, sin, scale) for g in forms]
                for f in forms
            ]
            if not self.box(w, apart, where, depth < DEPTH):
                continue
            if (scale[1] - scale[0]) << depth > 2 * scale[1]:  # an arc is at most 2 / 2^depth long
                stack += [(k, depth, half) for half in _halves(scale)]
            else:
                stack += [(2 * k + 1, depth + 1, scale), (2 * k, depth + 1, scale)]

    def tumble(self, points: list[Point], chart: int, scales: Interval) -> None:
        """Try all rotations of space whose quaternion is largest in one entry."""
        lengths = [_length(q) for q in points]
        apart = [[_less(f, g) for g in points] for f in points]
        spans = [[_length(q) for q in row] for row in apart]
        stack = [((0, 0, 0), 0, scales)]  # the cube around centre / 2^depth of half side 2^-depth
        while stack:
            centre, depth, scale = stack.pop()
            entries = [*centre[:chart], 1 << depth, *centre[chart:]]
            matrix, norm = _rotation(entries)
            middle = (scale[0] + scale[1]) // 2
            # |R p - R_0 p| <= |p| sqrt(12 / norm), both times the scale; and what the scale adds.
            turning = -(-middle * _root_above(12 * ONE * ONE, norm) // ONE)
            spread = scale[1] - middle + 1
            radius = turning + spread
            thin = (middle, middle + 1)
            where = f"quaternion {tuple(entries)} within 1, scale {_shown(scale)}"
            w = [self._about(q, length, matrix, norm, thin, radius)
                 for q, length in zip(points, lengths, strict=True)]  # fmt: skip
            differences = [
                [self._about(q, length, matrix, norm, thin, radius)
                 for q, length in zip(row, over, strict=True)]
                for row, over in zip(apart, spans, strict=True)
            ]  # fmt: skip
            if not self.box(w, differences, where, depth < DEPTH_3):
                continue
            if spread > turning:
                stack += [(centre, depth, half) for half in _halves(scale)]
            else:
                stack += [
                    (tuple(2 * c + d for c, d in zip(centre, move, strict=True)), depth + 1, scale)
                    for move in product((-1, 1), repeat=3)
                ]

    def _about(
        self,
        q: Point,
        length: int,
        matrix: list[list[int]],
        norm: int,
        scale: Interval,
        radius: int,
    ) -> Point:
        """Coordinates of a point turned by a rotation, and of all within radius * |q|."""
        turned: list[Interval] = []
        for row in matrix:
            ends = [(x * c, y * c) if c >= 0 else (y * c, x * c)
                    for (x, y), c in zip(q, row, strict=True)]  # fmt: skip
            low, high = sum(e[0] for e in ends), sum(e[1] for e in ends)
            turned.append(_times((low // norm, -(-high // norm)), scale))
        found: list[Interval] = []
        for (low, high), size in zip(self.coordinates(tuple(turned)), self.norms, strict=True):
            wide = -(-radius * length * size // (ONE * ONE)) + 1
            found.append((low - wide, high + wide))
        return tuple(found)

    def box(
        self, w: list[Point], differences: list[list[Point]], where: str, may_split: bool = False
    ) -> bool:
        """Try every tuple of a box; True if one is met, or the box is wide, and it can be cut."""
        self.boxes += 1
        if self.boxes > MAX_BOXES:
            raise Rejected(f"a copy could not be excluded in {MAX_BOXES} boxes, last {where}.")
        if may_split and any(
            high - low > ONE
            for q in w
            for (low, high), n in zip(q, self.torus.grid, strict=True)
            if n > 1
        ):
            return True
        # Modulo the grid: an axis along which no colour changes is left out of account.
        axes = tuple(
            tuple(sorted({tuple(d % n for d in t) for t in _offsets(w, differences, axis)}))
            if n > 1
            else ((0,) * len(w),)
            for axis, n in enumerate(self.torus.grid)
        )
        if axes in self.products:
            return False
        for chosen in product(*axes):
            offsets = tuple(zip(*chosen, strict=True))
            if offsets in self.clean:
                continue
            met = self.met(offsets)
            if met is None:
                self.clean.add(offsets)
            elif may_split:
                return True
            else:
                x, pattern = met
                cells = [
                    x,
                    *(
                        tuple((a + b) % n for a, b, n in zip(x, d, self.torus.grid, strict=True))
                        for d in offsets
                    ),
                ]
                raise Rejected(
                    f"a copy of the configuration with colours {pattern} cannot be excluded: "
                    f"cells {', '.join(map(str, cells))}, rotation {where}."
                )
        self.products.add(axes)
        return False

    def met(self, offsets: tuple[Offset, ...]) -> tuple[tuple[int, ...], list[int]] | None:
        """A cell whose pattern at these offsets is forbidden."""
        for pattern in self.patterns:
            both = self.torus.masks[pattern[0]]
            for d, color in zip(offsets, pattern[1:], strict=True):
                if not both:
                    break
                reduced = tuple(x % n for x, n in zip(d, self.torus.grid, strict=True))
                if (color, reduced) not in self.turned:
                    self.turned[color, reduced] = self.torus.shifted(
                        self.torus.masks[color], reduced
                    )
                both &= self.turned[color, reduced]
            if both:
                return self.torus.place((both & -both).bit_length() - 1), pattern
        return None


def _offsets(w: list[Point], differences: list[list[Point]], axis: int) -> list[tuple[int, ...]]:
    """The tuples along one axis that the intervals allow."""
    found: list[tuple[int, ...]] = [()]
    for j, entry in enumerate(w):
        low, high = entry[axis]
        longer: list[tuple[int, ...]] = []
        # D - 1 < W < D + 1 for some W in [low, high]
        for d in range(low // ONE, -(-high // ONE) + 1):
            if not (low < (d + 1) * ONE and high > (d - 1) * ONE):
                continue
            for shorter in found:
                good = True
                for i, e in enumerate(shorter):
                    least, most = differences[j][i][axis]
                    # W_j - W_i < D_j - D_i + 1 and the same with i and j exchanged
                    if not (least < (d - e + 1) * ONE and most > (d - e - 1) * ONE):
                        good = False
                        break
                if good:
                    longer.append((*shorter, d))
        found = longer
    return found


def _arc(k: int, depth: int) -> tuple[Interval, Interval]:
    """Cos and sin of theta = 2 atan(t) over t in [k, k + 1] / 2^depth; both are monotone there."""
    unit = 1 << depth

    def at(n: int) -> tuple[int, int, int]:
        return unit * unit - n * n, 2 * n * unit, unit * unit + n * n

    (c0, s0, n0), (c1, s1, n1) = at(k), at(k + 1)
    return (c1 * ONE // n1, -(-c0 * ONE // n0)), (s0 * ONE // n0, -(-s1 * ONE // n1))


def _turned(form: tuple[Point, Point], cos: Interval, sin: Interval, scale: Interval) -> Point:
    found: list[Interval] = []
    for a, b in zip(*form, strict=True):
        x, y = _times(a, cos), _times(b, sin)
        found.append(_times((x[0] + y[0], x[1] + y[1]), scale))
    return tuple(found)


def _times(p: Interval, q: Interval) -> Interval:
    products = [x * y for x in p for y in q]
    return min(products) // ONE, -(-max(products) // ONE)


def _less(p: Point, q: Point) -> Point:
    return tuple((a[0] - b[1], a[1] - b[0]) for a, b in zip(p, q, strict=True))


def _halves(scale: Interval) -> list[Interval]:
    middle = (scale[0] + scale[1]) // 2
    return [(scale[0], middle + 1), (middle, scale[1])]


def _shown(scale: Interval) -> str:
    return f"{scale[0] / ONE:.6f} to {scale[1] / ONE:.6f}"


def _rotation(q: list[int]) -> tuple[list[list[int]], int]:
    """The matrix of a quaternion times its squared norm, and that."""
    a, b, c, d = q
    matrix = [
        [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
        [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
        [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
    ]
    return matrix, a * a + b * b + c * c + d * d


def _length(q: Point) -> int:
    """An upper bound of the length of a point."""
    return isqrt(sum(max(x * x, y * y) for x, y in q)) + 1


def _root_above(top: int, bottom: int) -> int:
    """An integer not below the root of top / bottom."""
    return isqrt(-(-top // bottom)) + 1


def _scales(entry: dict[str, Any]) -> Interval:
    """The range of scales; 1 where nothing is said."""
    if "scales" not in entry:
        return ONE, ONE
    given = fields.items(entry, "scales")
    if len(given) != 2:
        raise Rejected(f"scales is {given!r}, not [low, high].")
    low, high = fraction(given[0], "a scale"), fraction(given[1], "a scale")
    if not 0 < low <= high:
        raise Rejected(f"the scales {low} to {high} are not 0 < low <= high.")
    return low.numerator * ONE // low.denominator, -(-high.numerator * ONE // high.denominator)


def _point(value: Any, dim: int) -> Point:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != dim:
        raise Rejected(f"{value!r} is not a point of R^{dim}.")
    found = tuple(_number(z) for z in cast("list[Any]", value))
    if all(z == (0, 0) for z in found):
        raise Rejected("a point of the configuration is the origin again.")
    return found


def _number(value: Any) -> Interval:
    """Enclose p/q, sqrt(p/q) or -sqrt(p/q)."""
    if isinstance(value, str) and value.endswith(")"):
        sign = -1 if value.startswith("-") else 1
        inner = value.removeprefix("-")
        if not inner.startswith("sqrt("):
            raise Rejected(f"{value!r} is not an exact number or a root.")
        square = fraction(inner[5:-1], "the square of a coordinate")
        if square < 0:
            raise Rejected(f"{value!r} is not real.")
        root = isqrt(square.numerator * ONE * ONE // square.denominator)
        return (root, root + 1) if sign > 0 else (-root - 1, -root)
    number = fraction(value, "a coordinate")
    top = number.numerator * ONE
    return top // number.denominator, -(-top // number.denominator)
