"""Checker of `coloring/cells`: a periodic colouring of R^n in which colours avoid distances.

Proves: every point of R^n has a colour; no two points of a colour that a rule names are at a
distance in that rule's set; the free colour, where there is one, has exactly the claimed density.
Does not say: that fewer colours or less free space are impossible.

Two cells at offset D, an integer vector, contain points at distance r exactly if r is the norm of
a point of the open parallelotope P(D) = {sum (D_i + s_i) u_i, |s_i| < 1}: if min < r < max of the
norm over its closure (0 <= r for D = 0). So the rule of a set S holds if and only if, for every
D with S between min and max, no cell x has both x and x + D of the colour. With closed cells the
comparisons are not strict. All of it is decided in integers.
"""

from fractions import Fraction
from functools import partial
from itertools import product
from math import isqrt
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
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
CLAIM = ("dim", "colors", "free", "rules", "semantics", "free_density", "coloring_sha256")
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
    by_set: dict[tuple[Span, ...], list[int]] = {}
    for color, spans in sets.items():
        by_set.setdefault(spans, []).append(color)
    said: list[str] = []
    for spans, colors in sorted(by_set.items(), key=lambda item: item[1]):
        offsets = _offsets(torus, spans, closed)
        for color in colors:
            _no_pair(torus, color, offsets, spans, closed)
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


def _offsets(torus: Torus, spans: tuple[Span, ...], closed: bool) -> list[Vector]:
    """Every D, one of D and -D, whose two cells contain points at a distance in the set."""
    found: set[Vector] = set()
    for low, high in spans:
        # Squared distances in the integer unit: compare q * (norm^2) with p.
        lo = (low.numerator * torus.scale**2, low.denominator)
        hi = (high.numerator * torus.scale**2, high.denominator)
        ranges = [range(-b, b + 1) for b in _bounds(torus, hi)[:-1]]
        for head in product(*ranges):
            inner, outer = _line(torus, head, lo, hi, closed)
            for last in outer:
                if last not in inner:
                    d = (*head, last)
                    if d >= tuple(-x for x in d):
                        found.add(d)
    return sorted(found)


def _bounds(torus: Torus, high: tuple[int, int]) -> list[int]:
    """How large |D_i| can be if P(D) meets the ball of squared radius high[0] / high[1].

    For every point z of R^n with coordinates z_i in the basis u: |z_i| <= |z| * |w_i| with w the
    dual basis, and D_i differs from a coordinate of a point of P(D) by at most 1.
    """
    bounds: list[int] = []
    for i in range(torus.dim):
        others = [u for j, u in enumerate(torus.steps) if j != i]
        if torus.dim == 2:
            normal = (-others[0][1], others[0][0])
        else:
            (a, b, c), (d, e, f) = others
            normal = (b * f - c * e, c * d - a * f, a * e - b * d)
        height = _dot(normal, torus.steps[i])  # not 0: the lattice is regular
        bounds.append(isqrt(high[0] * _dot(normal, normal) // (high[1] * height**2)) + 2)
    return bounds


def _line(
    torus: Torus, head: Vector, lo: tuple[int, int], hi: tuple[int, int], closed: bool
) -> tuple[range, range]:
    """Along the last axis: where the farthest point is too near, and where the nearest is in reach.

    Both squared norms are convex functions of the last coordinate, so each place is an interval
    around the least value, and an integer that is no worse than its two neighbours is best.
    """
    base = tuple(
        sum(d * u[k] for d, u in zip(head, torus.steps, strict=False)) for k in range(torus.dim)
    )
    last = torus.steps[-1]
    start = round(Fraction(-_dot(base, last), _dot(last, last)))
    low, high = Fraction(*lo), Fraction(*hi)
    # Functions of the module, not nested ones: this is called once a line of cells.
    inner = _below(partial(_far, torus, base), start, low, not closed)
    outer = _below(partial(_near, torus, base, head), start, high, closed)
    return inner, outer


def _at(torus: Torus, base: Vector, t: int) -> Vector:
    return tuple(b + t * x for b, x in zip(base, torus.steps[-1], strict=True))


def _far(torus: Torus, base: Vector, t: int) -> Fraction:
    return Fraction(_farthest(_at(torus, base, t), torus.steps))


def _near(torus: Torus, base: Vector, head: Vector, t: int) -> Fraction:
    if abs(t) <= 1 and all(abs(d) <= 1 for d in head):
        return Fraction(0)
    return _nearest(_at(torus, base, t), torus.steps)


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


def _farthest(centre: Vector, steps: tuple[Vector, ...]) -> int:
    """The largest squared norm over centre + sum s_i u_i, |s_i| <= 1; it is at a corner."""
    corners = [centre]
    for u in steps:
        corners = [
            tuple(a + sign * b for a, b in zip(c, u, strict=True))
            for c in corners
            for sign in (1, -1)
        ]
    return max(_dot(c, c) for c in corners)


def _nearest(centre: Vector, steps: tuple[Vector, ...]) -> Fraction:
    """The least squared norm over centre + sum s_i u_i, |s_i| <= 1.

    Where the minimum over all s has some |s_i| > 1, one such s_i is at that bound in the minimum
    over the box: else a step towards the former would stay in the box and lower the norm.
    """
    if not steps:
        return Fraction(_dot(centre, centre))
    gram = [[_dot(u, v) for v in steps] for u in steps]
    against = [-_dot(u, centre) for u in steps]
    whole, tops = _cramer(gram, against)
    beyond = [i for i, top in enumerate(tops) if abs(top) > whole]
    if not beyond:
        drop = sum(top * a for top, a in zip(tops, against, strict=True))
        return Fraction(_dot(centre, centre) * whole - drop, whole)
    best: list[Fraction] = []
    for i in beyond:
        sign = 1 if tops[i] > 0 else -1
        moved = tuple(a + sign * b for a, b in zip(centre, steps[i], strict=True))
        best.append(_nearest(moved, steps[:i] + steps[i + 1 :]))
    return min(best)


def _cramer(gram: list[list[int]], rhs: list[int]) -> tuple[int, list[int]]:
    """The determinant of a positive definite system and its solution times the determinant."""

    def det(m: list[list[int]]) -> int:
        if len(m) == 1:
            return m[0][0]
        return sum(
            (-1) ** j * m[0][j] * det([row[:j] + row[j + 1 :] for row in m[1:]])
            for j in range(len(m))
        )

    columns = range(len(rhs))
    tops = [
        det([[rhs[i] if j == k else gram[i][j] for j in columns] for i in columns]) for k in columns
    ]
    return det(gram), tops


def _no_pair(
    torus: Torus, color: int, offsets: list[Vector], spans: tuple[Span, ...], closed: bool
) -> None:
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
            raise Rejected(_counterexample(torus, color, x, d, spans, closed))


def _counterexample(
    torus: Torus, color: int, x: Vector, d: Vector, spans: tuple[Span, ...], closed: bool
) -> str:
    """Two points of one colour at a forbidden distance, in rational coordinates where there are."""
    y = tuple((a + b) % n for a, b, n in zip(x, d, torus.grid, strict=True))
    where = f"cells {x} and {y} both have colour {color} and hold points at a forbidden distance"
    for low, high in spans:
        pair = _points(torus, x, d, low, high)
        if pair is not None:
            p, q, text = pair
            points = " and ".join("(" + ", ".join(map(str, z)) + ")" for z in (p, q))
            return f"{where}: {points}, {text}."
    return f"{where} on their boundary (closed cells)." if closed else f"{where}."


def _points(
    torus: Torus, x: Vector, d: Vector, low: Fraction, high: Fraction
) -> tuple[list[Fraction], list[Fraction], str] | None:
    """Walk inside P(d) from its point nearest to 0 to its farthest until the norm is right."""
    steps = [[Fraction(a, torus.scale) for a in u] for u in torus.steps]
    pull = 1 - Fraction(1, 10**9)
    corners = [[pull * s for s in signs] for signs in product((1, -1), repeat=torus.dim)]

    def vector(s: list[Fraction]) -> list[Fraction]:
        return [
            sum(((k + t) * u[j] for k, t, u in zip(d, s, steps, strict=True)), Fraction(0))
            for j in range(torus.dim)
        ]

    def norm(s: list[Fraction]) -> Fraction:
        return sum((z * z for z in vector(s)), Fraction(0))

    far = max(corners, key=norm)
    near = [Fraction(0)] * torus.dim  # coordinate descent to the nearest point, in the box
    for _ in range(60):
        for i in range(torus.dim):
            rest = vector([Fraction(-d[j]) if j == i else near[j] for j in range(torus.dim)])
            best = (
                -sum((a * b for a, b in zip(rest, steps[i], strict=True)), Fraction(0))
                / sum((a * a for a in steps[i]), Fraction(0))
                - d[i]
            )
            near[i] = max(-pull, min(pull, best)).limit_denominator(10**12)
    if not (norm(near) < high and low < norm(far)):
        return None
    s, other = near, far
    for _ in range(40):  # bisection: norm(s) <= high, norm(other) >= low
        middle = [(a + b) / 2 for a, b in zip(s, other, strict=True)]
        if low <= norm(middle) <= high:
            s = other = middle
            break
        s, other = (middle, other) if norm(middle) < low else (s, middle)
    if not low <= norm(s) <= high:
        exact = _on_sphere(vector(s), low, d, steps)
        if exact is None:
            text = f"at distances {float(norm(s)) ** 0.5:.9f} and, in the same two cells, more than"
            return (*_ends(x, d, s, steps), f"{text} {_name(low, high)} is reached too")
        s = exact
    return (*_ends(x, d, s, steps), f"at squared distance {norm(s)}")


def _ends(
    x: Vector, d: Vector, s: list[Fraction], steps: list[list[Fraction]]
) -> tuple[list[Fraction], list[Fraction]]:
    """Points of the cells x and x + d whose difference has coordinates d + s."""
    a = [(max(Fraction(0), -t) + min(Fraction(1), 1 - t)) / 2 for t in s]
    first = [k + b for k, b in zip(x, a, strict=True)]
    second = [k + e + t for k, e, t in zip(first, d, s, strict=True)]

    def point(z: list[Fraction]) -> list[Fraction]:
        return [
            sum((c * u[j] for c, u in zip(z, steps, strict=True)), Fraction(0))
            for j in range(len(z))
        ]

    return point(first), point(second)


def _on_sphere(
    near: list[Fraction], squared: Fraction, d: Vector, steps: list[list[Fraction]]
) -> list[Fraction] | None:
    """Box coordinates s of a rational point of the sphere close to `near`, for a rational radius.

    The line from the pole (-r, 0, …) with a rational direction meets the sphere in a rational
    point; directions of growing denominators are tried until the point lies in P(d).
    """
    root = Fraction(isqrt(squared.numerator), isqrt(squared.denominator))
    if root * root != squared or root + near[0] == 0:
        return None
    for digits in range(2, 14):
        slopes = [(z / (root + near[0])).limit_denominator(10**digits) for z in near[1:]]
        t = 2 * root / (1 + sum((m * m for m in slopes), Fraction(0)))
        point = [t - root, *(t * m for m in slopes)]
        s = [c - k for c, k in zip(_coordinates(point, steps), d, strict=True)]
        if all(abs(c) < 1 for c in s):
            return s
    return None


def _coordinates(point: list[Fraction], steps: list[list[Fraction]]) -> list[Fraction]:
    """The coordinates of a point in the basis u, by elimination."""
    n = len(point)
    rows = [[*(steps[j][i] for j in range(n)), point[i]] for i in range(n)]
    for k in range(n):
        pivot = next(i for i in range(k, n) if rows[i][k])
        rows[k], rows[pivot] = rows[pivot], rows[k]
        for i in range(n):
            if i != k:
                f = rows[i][k] / rows[k][k]
                rows[i] = [a - f * b for a, b in zip(rows[i], rows[k], strict=True)]
    return [rows[i][n] / rows[i][i] for i in range(n)]


def _dot(a: Vector, b: Vector) -> int:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _name(low: Fraction, high: Fraction) -> str:
    def root(square: Fraction) -> str:
        r = Fraction(isqrt(square.numerator), isqrt(square.denominator))
        return str(r) if r * r == square else f"sqrt({square})"

    return root(low) if low == high else f"in [{root(low)}, {root(high)}]"
