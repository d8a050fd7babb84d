"""Checker of `coloring/configuration`: a colouring of the plane without certain configurations.

Proves: for every position (rotation, reflection and translation, as the rule says) of the points
0, q_1, …, q_m, their colours are none of the forbidden patterns of the rule.
Does not say: that fewer colours are impossible. A rejection without two given points may also mean
that a conflict could not be excluded at the finest arc of angles.

Method: the circle of rotations is cut into arcs. On an arc the cell coordinates W_i of the turned
points, and their differences, lie in intervals with rational ends. Whatever the base point t in
[0, 1)^2 of its cell, q_i lands at an offset D_i, and per axis D_i - 1 < W_i < D_i + 1 and
W_j - W_i < D_j - D_i + 1 hold. All tuples that satisfy these on the arc are tried; where a pattern
is met the arc is halved, up to `DEPTH` times. Integers only, scaled by 2^80, rounded outwards.
"""

from itertools import product
from math import isqrt
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._proved._coloring_witness import (
    WITNESS,
    Torus,
    check_density,
    determinant,
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
Interval = tuple[int, int]  # low <= value * ONE <= high
Offset = tuple[int, int]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is proved, or raise `Rejected` with the position that could not be excluded."""
    torus = read_torus(claim, witness)
    if torus.dim != 2:
        raise Rejected("configurations are checked in the plane only.")
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
    if not isinstance(rule, dict) or set(cast("dict[str, Any]", rule)) != names:
        raise Rejected(f"a rule has not the fields {', '.join(sorted(names))}.")
    entry = cast("dict[str, Any]", rule)
    motions = entry["motions"]
    if motions not in ("rigid", "direct", "translations"):
        raise Rejected(f"motions is {motions!r}, not rigid, direct or translations.")
    points = [_point(q) for q in fields.items(entry, "points")]
    patterns = [palette(p, colors) for p in fields.items(entry, "patterns")]
    if not points or not patterns or any(len(p) != len(points) + 1 for p in patterns):
        raise Rejected("the rule has no points or patterns, or a pattern of another length.")
    sweep = _Sweep(torus, patterns)
    if motions == "translations":
        sweep.arc([_coordinates(torus, q) for q in points], None, "as given")
    else:
        for mirrored in (False, True) if motions == "rigid" else (False,):
            shown = [(x, (-y[1], -y[0])) for x, y in points] if mirrored else points
            for quarter in range(4):
                sweep.turn(shown, quarter)
                shown = [((-y[1], -y[0]), x) for x, y in shown]
    text = ", ".join(f"({x}, {y})" for x, y in entry["points"])
    return (
        f"no {motions} copy of (0, 0), {text} has its colours in one of {len(patterns)} forbidden "
        f"patterns ({sweep.arcs} arcs, {len(sweep.clean)} offset tuples)"
    )


class _Sweep:
    """The arcs of one rule, with the offset tuples known to be clean."""

    def __init__(self, torus: Torus, patterns: list[list[int]]) -> None:
        self.torus, self.patterns = torus, patterns
        self.clean: set[tuple[Offset, ...]] = set()
        self.arcs = 0
        self.turned: dict[tuple[int, Offset], int] = {}

    def turn(self, points: list[tuple[Interval, Interval]], quarter: int) -> None:
        """Try all angles of a quarter turn; theta = 2 atan(t) with t from 0 to 1."""
        # W = cos * a + sin * b with a the coordinates of q, b those of q turned by 90 degrees.
        forms = [
            (_coordinates(self.torus, q), _coordinates(self.torus, ((-q[1][1], -q[1][0]), q[0])))
            for q in points
        ]
        stack = [(k, 5) for k in reversed(range(32))]  # the arc t in [k, k + 1] / 2^depth
        while stack:
            k, depth = stack.pop()
            cos, sin = _arc(k, depth)
            where = f"quarter {quarter}, t in [{k}, {k + 1}]/2^{depth}"
            bad = self.arc([_turned(f, cos, sin) for f in forms],
                           [[_turned(_less(f, g), cos, sin) for g in forms] for f in forms]
                           , where, depth < DEPTH)  # fmt: skip
            if bad:
                stack += [(2 * k + 1, depth + 1), (2 * k, depth + 1)]

    def arc(
        self,
        w: list[tuple[Interval, Interval]],
        differences: list[list[tuple[Interval, Interval]]] | None,
        where: str,
        may_split: bool = False,
    ) -> bool:
        """Try every tuple of an arc; True if one is met and the arc can be halved."""
        self.arcs += 1
        axes = [_offsets(w, differences, axis) for axis in range(2)]
        for first, second in product(*axes):
            offsets = tuple(zip(first, second, strict=True))
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
        return False

    def met(self, offsets: tuple[Offset, ...]) -> tuple[tuple[int, ...], list[int]] | None:
        """A cell whose pattern at these offsets is forbidden."""
        for pattern in self.patterns:
            both = self.torus.masks[pattern[0]]
            for d, color in zip(offsets, pattern[1:], strict=True):
                if not both:
                    break
                reduced = (d[0] % self.torus.grid[0], d[1] % self.torus.grid[1])
                if (color, reduced) not in self.turned:
                    self.turned[color, reduced] = self.torus.shifted(
                        self.torus.masks[color], reduced
                    )
                both &= self.turned[color, reduced]
            if both:
                return self.torus.place((both & -both).bit_length() - 1), pattern
        return None


def _offsets(
    w: list[tuple[Interval, Interval]],
    differences: list[list[tuple[Interval, Interval]]] | None,
    axis: int,
) -> list[tuple[int, ...]]:
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
                    if differences is None:
                        least, most = low - w[i][axis][1], high - w[i][axis][0]
                    else:
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


def _turned(
    form: tuple[tuple[Interval, Interval], tuple[Interval, Interval]], cos: Interval, sin: Interval
) -> tuple[Interval, Interval]:
    a, b = form
    first = tuple(_times(a[axis], cos) for axis in range(2))
    second = tuple(_times(b[axis], sin) for axis in range(2))
    x, y = (
        (first[axis][0] + second[axis][0], first[axis][1] + second[axis][1]) for axis in range(2)
    )
    return x, y


def _times(p: Interval, q: Interval) -> Interval:
    products = [x * y for x in p for y in q]
    return min(products) // ONE, -(-max(products) // ONE)


def _less(
    f: tuple[tuple[Interval, Interval], tuple[Interval, Interval]],
    g: tuple[tuple[Interval, Interval], tuple[Interval, Interval]],
) -> tuple[tuple[Interval, Interval], tuple[Interval, Interval]]:
    """The form of the difference f - g."""

    def minus(p: Interval, q: Interval) -> Interval:
        return p[0] - q[1], p[1] - q[0]

    a, b = ((minus(p[0], q[0]), minus(p[1], q[1])) for p, q in zip(f, g, strict=True))
    return a, b


def _coordinates(torus: Torus, q: tuple[Interval, Interval]) -> tuple[Interval, Interval]:
    """The coordinates of a point in the basis of the cell vectors."""
    (a, b), (c, d) = torus.steps
    det = determinant(torus.steps)
    x, y = q
    # z = x e1 + y e2 has coordinates ((x d - y c), (y a - x b)) * scale / det
    return _combine(x, d * torus.scale, y, -c * torus.scale, det), _combine(
        y, a * torus.scale, x, -b * torus.scale, det
    )


def _combine(x: Interval, u: int, y: Interval, v: int, det: int) -> Interval:
    if det < 0:
        u, v, det = -u, -v, -det
    low = min(x[0] * u, x[1] * u) + min(y[0] * v, y[1] * v)
    high = max(x[0] * u, x[1] * u) + max(y[0] * v, y[1] * v)
    return low // det, -(-high // det)


def _point(value: Any) -> tuple[Interval, Interval]:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise Rejected(f"{value!r} is not a point of the plane.")
    x, y = (_number(z) for z in cast("list[Any]", value))
    if x == y == (0, 0):
        raise Rejected("a point of the configuration is the origin again.")
    return x, y


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
