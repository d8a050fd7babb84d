"""Checker of `coloring/cells`: a periodic colouring of R^n in which colours avoid distances.

Proves: every point of R^n has a colour; no two points of a colour that a rule names are at a
distance in that rule's set; the free colour, where there is one, has exactly the claimed density.
Does not say: that fewer colours or less free space are impossible.

Two cells at offset D, an integer vector, contain points at distance r exactly if r is the norm of
a point of the open set P(D) = sum D_i u_i + B, B the difference body of the cells
(`_coloring_bodies`): if min < r < max of the norm over its closure (0 <= r for D = 0). So the rule
of a set S holds if and only if, for every D with S between min and max, no cell x has both x and
x + D of the colour. With closed cells the comparisons are not strict. All of it is decided in
integers.
"""

from fractions import Fraction
from functools import partial
from itertools import product
from math import isqrt
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._proved import _coloring_witness as shared
from extremal.verify._proved._coloring_bodies import Body, body, duals
from extremal.verify._proved._coloring_witness import (
    Torus,
    check_density,
    fraction,
    palette,
    read_torus,
)
from extremal.verify._rejected import Rejected

STRENGTH = "proved"
CLAIM = ("dim", "colors", "free", "rules", "semantics", "free_density", "coloring_sha256")
WITNESS = (*shared.WITNESS, *shared.OPTIONAL)
__all__ = ["CLAIM", "STRENGTH", "WITNESS", "check"]

Vector = tuple[int, ...]
Span = tuple[Fraction, Fraction]  # a closed interval of squared distances


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is proved, or raise `Rejected` with two points that break a rule."""
    torus = read_torus(claim, witness)
    if claim.get("semantics") not in ("half-open", "closed"):
        raise Rejected(f"semantics is {claim.get('semantics')!r}, not half-open or closed.")
    closed = claim["semantics"] == "closed"
    sets = _rules(claim)
    density = check_density(claim, torus)
    difference = body(torus.steps, torus.cell, torus.axes)
    by_set: dict[tuple[Span, ...], list[int]] = {}
    for color, spans in sets.items():
        by_set.setdefault(spans, []).append(color)
    said: list[str] = []
    for spans, colors in sorted(by_set.items(), key=lambda item: item[1]):
        offsets = _offsets(torus, difference, spans, closed)
        for color in colors:
            _no_pair(torus, difference, color, offsets, spans, closed)
        names = ", ".join(map(str, colors))
        where = ", ".join(_name(lo, hi) for lo, hi in spans)
        said.append(
            f"no two points of R^{torus.dim} of colour {names} are at distance {where} "
            f"({len(offsets)} offsets of {torus.cells} cells)"
        )
    if claim["free"]:
        said.append(f"the free colour has density {density} = {float(density):.6%}")
    unbound = [c for c in range(claim["colors"]) if c not in sets]
    if unbound:
        said.append(f"no rule binds colour {', '.join(map(str, unbound))}")
    return said


def _rules(claim: dict[str, Any]) -> dict[int, tuple[Span, ...]]:
    """The distances each colour avoids."""
    found: dict[int, set[Span]] = {}
    rules = fields.items(claim, "rules")
    if not rules:
        raise Rejected("there is no rule, so nothing is claimed.")
    for rule in rules:
        if not isinstance(rule, dict) or set(cast("dict[str, Any]", rule)) != {"colors", "squared"}:
            raise Rejected(f"the rule {rule!r} has not the fields colors and squared.")
        entry = cast("dict[str, Any]", rule)
        spans = entry["squared"]
        if not isinstance(spans, list) or not spans:
            raise Rejected("a rule names no distance.")
        for span in cast("list[Any]", spans):
            if not isinstance(span, list) or len(cast("list[Any]", span)) != 2:
                raise Rejected(f"{span!r} is not an interval [low, high] of squared distances.")
            low, high = (fraction(x, "a squared distance") for x in cast("list[Any]", span))
            if not 0 < low <= high:
                raise Rejected(f"the squared distances {low} to {high} are not 0 < low <= high.")
            for color in palette(entry["colors"], claim["colors"]):
                found.setdefault(color, set()).add((low, high))
    return {color: tuple(sorted(spans)) for color, spans in sorted(found.items())}


def _offsets(torus: Torus, difference: Body, spans: tuple[Span, ...], closed: bool) -> list[Vector]:
    """Every D, one of D and -D, whose two cells contain points at a distance in the set."""
    found: set[Vector] = set()
    for low, high in spans:
        lo, hi = low * torus.unit, high * torus.unit
        ranges = [range(-b, b + 1) for b in _bounds(torus, difference, hi)[:-1]]
        for head in product(*ranges):
            inner, outer = _line(torus, difference, head, lo, hi, closed)
            for last in outer:
                if last not in inner:
                    d = (*head, last)
                    if d >= tuple(-x for x in d):
                        found.add(d)
    return sorted(found)


def _bounds(torus: Torus, difference: Body, high: Fraction) -> list[int]:
    """How large |D_i| can be if P(D) meets the ball of squared radius `high`.

    The coordinate i of a vector z in the basis u is n_i z / (n_i u_i), with n_i across the other
    u_j, so at most |z| |n_i| / (n_i u_i); D_i differs from that of a point of P(D) by at most the
    largest coordinate in B, which is at a corner.
    """
    bounds: list[int] = []
    for n, u in zip(duals(torus.steps, torus.axes), torus.steps, strict=True):
        height = _dot(n, u, torus.axes)  # above 0: the lattice is regular
        reach = isqrt(int(high * _dot(n, n, torus.axes)) // height**2) + 1
        corner = max(abs(_dot(n, c, torus.axes)) for c in difference.corners)
        bounds.append(reach + corner // (height * difference.denominator) + 1)
    return bounds


def _line(
    torus: Torus, difference: Body, head: Vector, low: Fraction, high: Fraction, closed: bool
) -> tuple[range, range]:
    """Along the last axis: where the farthest point is too near, and where the nearest is in reach.

    Both squared norms are convex functions of the last coordinate, so each place is an interval
    around the least value, and an integer that is no worse than its two neighbours is best.
    """
    base = tuple(
        sum(d * u[k] for d, u in zip(head, torus.steps, strict=False)) for k in range(torus.dim)
    )
    last = torus.steps[-1]
    start = round(Fraction(-_dot(base, last, torus.axes), _dot(last, last, torus.axes)))
    # Functions of the module, not nested ones: this is called once a line of cells.
    inner = _below(partial(_far, torus, difference, base), start, low, not closed)
    outer = _below(partial(_near, torus, difference, base), start, high, closed)
    return inner, outer


def _at(torus: Torus, base: Vector, t: int) -> Vector:
    return tuple(b + t * x for b, x in zip(base, torus.steps[-1], strict=True))


def _far(torus: Torus, difference: Body, base: Vector, t: int) -> Fraction:
    return difference.far(_at(torus, base, t))


def _near(torus: Torus, difference: Body, base: Vector, t: int) -> Fraction:
    return difference.near(_at(torus, base, t))


def _good(value: Fraction, bound: Fraction, or_equal: bool) -> bool:
    return value < bound or (or_equal and value == bound)


def _below(value: Any, start: int, bound: Fraction, or_equal: bool) -> range:
    """The integers at which a convex function is below a bound, or equal to it."""
    here = value(start)
    while not _good(here, bound, or_equal):  # walk downhill to the least value, or to a good one
        for step in (1, -1):
            there = value(start + step)
            if there < here:
                start, here = start + step, there
                break
        else:
            return range(0)
    low, high = (_edge(value, start, sign, bound, or_equal) for sign in (-1, 1))
    return range(low, high + 1)


def _edge(value: Any, start: int, sign: int, bound: Fraction, or_equal: bool) -> int:
    """The last good integer in one direction from a good one."""
    step = 1
    while _good(value(start + sign * step), bound, or_equal):
        step *= 2
    inside, outside = step // 2, step
    while outside - inside > 1:
        middle = (inside + outside) // 2
        if _good(value(start + sign * middle), bound, or_equal):
            inside = middle
        else:
            outside = middle
    return start + sign * inside


def _no_pair(
    torus: Torus, difference: Body, color: int, offsets: list[Vector], spans: tuple[Span, ...],
    closed: bool,
) -> None:  # fmt: skip
    """Raise if two cells of the colour are at one of the offsets."""
    mask = torus.masks[color]
    if not mask:
        return
    whole = torus.cells
    stride = whole // torus.grid[0]
    turned: dict[Vector, int] = {}
    for d in sorted(offsets, key=lambda d: d[1:]):
        tail = tuple(x % n for x, n in zip(d[1:], torus.grid[1:], strict=True))
        if tail not in turned:
            turned = {tail: torus.shifted(mask, (0, *tail))}  # the sort brings equal tails together
        # Turn the first axis without building the turned integer: its two pieces one by one.
        low = d[0] % torus.grid[0] * stride
        both = mask & (turned[tail] >> low)
        if not both and low:
            both = ((mask >> (whole - low)) & turned[tail]) << (whole - low)
        if both:
            x = torus.place((both & -both).bit_length() - 1)
            raise Rejected(_counterexample(torus, difference, color, x, d, spans, closed))


def _counterexample(
    torus: Torus, difference: Body, color: int, x: Vector, d: Vector, spans: tuple[Span, ...],
    closed: bool,
) -> str:  # fmt: skip
    """Two points of one colour at a forbidden distance, in rational coordinates where there are."""
    y = tuple((a + b) % n for a, b, n in zip(x, d, torus.grid, strict=True))
    where = f"cells {x} and {y} both have colour {color} and hold points at a forbidden distance"
    for low, high in spans:
        pair = _points(torus, difference, x, d, low * torus.unit, high * torus.unit)
        if pair is not None:
            p, q, text = pair
            points = " and ".join(_coordinates(torus, z) for z in (p, q))
            return f"{where}: {points}, {text}."
    return f"{where} on their boundary (closed cells)." if closed else f"{where}."


def _points(
    torus: Torus, difference: Body, x: Vector, d: Vector, low: Fraction, high: Fraction
) -> tuple[list[Fraction], list[Fraction], str] | None:
    """Walk inside P(d) from its point nearest to 0 to its farthest until the norm is right."""
    centre = _combined(torus, d)
    pull = 1 - Fraction(1, 10**9)

    def norm(b: list[Fraction]) -> Fraction:
        z = [a + e for a, e in zip(centre, b, strict=True)]
        return sum((w * c * c for w, c in zip(torus.axes, z, strict=True)), Fraction(0))

    corners = [[Fraction(c, difference.denominator) for c in v] for v in difference.corners]
    far = [pull * e for e in max(corners, key=norm)]
    near = [(pull * e).limit_denominator(10**12) for e in difference.nearest(centre)]
    if not (difference.inside(near) and norm(near) < high and low < norm(far)):
        return None
    b, other = near, far
    for _ in range(40):  # bisection: norm(b) <= high, norm(other) >= low
        middle = [(s + t) / 2 for s, t in zip(b, other, strict=True)]
        if low <= norm(middle) <= high:
            b = other = middle
            break
        b, other = (middle, other) if norm(middle) < low else (b, middle)
    if not low <= norm(b) <= high:
        exact = _on_sphere(torus, difference, centre, b, low)
        if exact is None:
            reached = float(norm(b) / torus.unit) ** 0.5
            text = f"at distances {reached:.9f} and, in the same two cells, more than"
            named = _name(low / torus.unit, high / torus.unit)
            return (*_ends(torus, x, d, b), f"{text} {named} is reached too")
        b = exact
    return (*_ends(torus, x, d, b), f"at squared distance {norm(b) / torus.unit}")


def _ends(
    torus: Torus, x: Vector, d: Vector, b: list[Fraction]
) -> tuple[list[Fraction], list[Fraction]]:
    """Points of the cells x and x + d whose difference is that of their places and b, in B."""
    first = [Fraction(a) for a in _combined(torus, x)]
    if torus.cell == "parallelogram":  # its place is a corner, not the middle
        for u in torus.steps:
            first = [a + Fraction(e, 2) for a, e in zip(first, u, strict=True)]
    second = [a + e for a, e in zip(first, _combined(torus, d), strict=True)]
    return ([a - e / 2 for a, e in zip(first, b, strict=True)],
            [a + e / 2 for a, e in zip(second, b, strict=True)])  # fmt: skip


def _on_sphere(
    torus: Torus, difference: Body, centre: Vector, b: list[Fraction], squared: Fraction
) -> list[Fraction] | None:
    """A point of B at a rational distance from -centre, close to b, for unweighted coordinates.

    The line from the pole (-r, 0, …) with a rational direction meets the sphere in a rational
    point; directions of growing denominators are tried until the point lies in B.
    """
    near = [a + e for a, e in zip(centre, b, strict=True)]
    root = Fraction(isqrt(squared.numerator), isqrt(squared.denominator))
    if root * root != squared or root + near[0] == 0 or any(w != 1 for w in torus.axes):
        return None
    for digits in range(2, 14):
        slopes = [(z / (root + near[0])).limit_denominator(10**digits) for z in near[1:]]
        t = 2 * root / (1 + sum((m * m for m in slopes), Fraction(0)))
        point = [t - root, *(t * m for m in slopes)]
        found = [z - a for z, a in zip(point, centre, strict=True)]
        if difference.inside(found):
            return found
    return None


def _combined(torus: Torus, d: Vector) -> Vector:
    """The vector sum d_i u_i."""
    return tuple(sum(k * u[j] for k, u in zip(d, torus.steps, strict=True))
                 for j in range(torus.dim))  # fmt: skip


def _coordinates(torus: Torus, z: list[Fraction]) -> str:
    """A point as text, in the units of the axes."""
    return "(" + ", ".join(str(a / torus.scale) for a in z) + ")"


def _dot(a: Vector, b: Vector, axes: Vector) -> int:
    return sum(w * x * y for w, x, y in zip(axes, a, b, strict=True))


def _name(low: Fraction, high: Fraction) -> str:
    def root(square: Fraction) -> str:
        r = Fraction(isqrt(square.numerator), isqrt(square.denominator))
        return str(r) if r * r == square else f"sqrt({square})"

    return root(low) if low == high else f"in [{root(low)}, {root(high)}]"
