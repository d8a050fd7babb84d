"""Checker of `coloring/polygons`: a periodic colouring of the plane by polygons.

Proves: the tiles are simple polygons that, with their lattice translates, cover the plane without
overlap (or, with `rest`, convex polygons that do not overlap, what is left being the free colour);
no two points of a colour that a rule names, on its closed tiles, are at a distance in the rule's
set; the free colour has exactly the claimed density. Points on common sides may take either colour.
Does not say: that fewer colours or less free space are impossible.

Covering: where the directed sides of all tiles, modulo the lattice, cancel in pairs, the number of
tiles over a point is the same almost everywhere, and it is the sum of the areas divided by the area
of a period. That number must be 1.
Distances: two closed tiles, connected, have exactly the distances from their least to their largest
one. The largest is between vertices; the least of tiles that do not overlap is between a vertex and
a side. All of it is decided in
integers and fractions.
"""

from collections import Counter
from fractions import Fraction
from hashlib import sha256
from itertools import product
from math import isqrt, lcm
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._proved._coloring_witness import fraction, palette
from extremal.verify._rejected import Rejected

STRENGTH = "proved"
CLAIM = ("dim", "colors", "free", "rules", "rest", "free_density", "coloring_sha256")
WITNESS = ("lattice", "tiles")
MAX_VERTICES = 100_000

Exact = tuple[Fraction, Fraction]
Point = tuple[int, int]  # multiplied by the common denominator of everything
Polygon = tuple[Point, ...]
Tile = tuple[int, Polygon]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is proved, or raise `Rejected` with the first thing that is wrong."""
    if claim.get("dim") != 2:
        raise Rejected("polygons colour the plane, so dim is 2.")
    colors = fields.natural(claim, "colors")
    if not 1 <= colors <= 255 or type(claim.get("free")) is not bool:
        raise Rejected("colors is not 1 to 255, or free does not say whether one is free.")
    rest = claim.get("rest")
    if type(rest) is not bool or (rest and not claim["free"]):
        raise Rejected(
            "rest says whether what the tiles leave is free; then there is a free colour."
        )
    if fields.text(claim, "coloring_sha256") != digest(witness):
        raise Rejected("the witness has another SHA-256 than the claim says.")
    rows = _lattice(fields.items(witness, "lattice"))
    exact = _tiles(fields.items(witness, "tiles"), colors + claim["free"])
    numbers = [x for _, polygon in exact for v in polygon for x in v] + [x for r in rows for x in r]
    scale = lcm(*(x.denominator for x in numbers))
    lattice = _scaled(rows[0], scale), _scaled(rows[1], scale)
    if _cross(*lattice) == 0:
        raise Rejected("the lattice is singular.")
    tiles = [(c, tuple(_scaled(v, scale) for v in polygon)) for c, polygon in exact]
    period = abs(_cross(*lattice))
    for number, (_, polygon) in enumerate(tiles):
        _simple(polygon, number)
    if rest:
        _disjoint(tiles, lattice)
        density = 1 - sum((_area(p) for c, p in tiles if c < colors), Fraction(0)) / period
    else:
        _tiling(tiles, lattice, period)
        density = sum((_area(p) for c, p in tiles if c == colors), Fraction(0)) / period
    if not claim["free"] and any(c == colors for c, _ in tiles):
        raise Rejected("a tile is free, but the claim has no free colour.")
    if fraction(claim.get("free_density"), "free_density") != density:
        raise Rejected(
            f"free_density is claimed as {claim.get('free_density')!r}, but it is {density}."
        )
    said: list[str] = []
    rules = fields.items(claim, "rules")
    if not rules:
        raise Rejected("there is no rule, so nothing is claimed.")
    said += [_rule(rule, colors, tiles, lattice, scale) for rule in rules]
    said.append(f"{len(tiles)} tiles and their translates cover the plane" if not rest else
                f"{len(tiles)} convex tiles and their translates do not overlap")  # fmt: skip
    if claim["free"]:
        said.append(f"the free colour has density {float(density):.7%}, exactly as claimed")
    return said


def digest(witness: dict[str, Any]) -> str:
    """Return the SHA-256 that ties a claim to its witness."""
    return sha256(f"{witness.get('lattice')}|{witness.get('tiles')}".encode()).hexdigest()


def _scaled(p: Exact, scale: int) -> Point:
    return int(p[0] * scale), int(p[1] * scale)


def _lattice(rows: list[Any]) -> tuple[Exact, Exact]:
    if len(rows) != 2:
        raise Rejected("the lattice has not two rows.")
    return _point(rows[0], "a lattice row"), _point(rows[1], "a lattice row")


def _point(value: Any, name: str) -> Exact:
    if not isinstance(value, list) or len(cast("list[Any]", value)) != 2:
        raise Rejected(f"{name} is {value!r}, not two exact numbers.")
    x, y = cast("list[Any]", value)
    return fraction(x, name), fraction(y, name)


def _tiles(entries: list[Any], palette_size: int) -> list[tuple[int, tuple[Exact, ...]]]:
    found: list[tuple[int, tuple[Exact, ...]]] = []
    total = 0
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(cast("dict[str, Any]", entry)) != {
            "color",
            "vertices",
        }:
            raise Rejected(f"tile {number} has not the fields color and vertices.")
        tile = cast("dict[str, Any]", entry)
        color, vertices = tile["color"], tile["vertices"]
        if type(color) is not int or not 0 <= color < palette_size:
            raise Rejected(f"tile {number} has colour {color!r}, not 0 to {palette_size - 1}.")
        if not isinstance(vertices, list) or len(cast("list[Any]", vertices)) < 3:
            raise Rejected(f"tile {number} has fewer than three vertices.")
        polygon = tuple(
            _point(v, f"a vertex of tile {number}") for v in cast("list[Any]", vertices)
        )
        total += len(polygon)
        if total > MAX_VERTICES:
            raise Rejected(f"there are more than {MAX_VERTICES} vertices.")
        found.append((color, polygon))
    if not found:
        raise Rejected("there is no tile.")
    return found


def _simple(polygon: Polygon, number: int) -> None:
    """Raise unless the sides meet at common ends only and the interior lies to their left."""
    if len(set(polygon)) != len(polygon):
        raise Rejected(f"tile {number} has a vertex twice.")
    if _area(polygon) <= 0:
        raise Rejected(f"tile {number} does not run counterclockwise around an area.")
    sides = _sides(polygon)
    n = len(sides)
    if _convex(polygon):
        return
    for i in range(n):
        for j in range(i + 1, n):
            (a, b), (c, d) = sides[i], sides[j]
            if j == i + 1 or (i == 0 and j == n - 1):
                shared = b if j == i + 1 else a
                p, q = (a, d) if j == i + 1 else (b, c)
                folded = _turn(p, shared, q) == 0 and _dot(_minus(p, shared), _minus(q, shared)) > 0
                if folded:
                    raise Rejected(f"tile {number} runs back along its side {i}.")
            elif _meet(a, b, c, d):
                raise Rejected(f"sides {i} and {j} of tile {number} meet.")


def _convex(polygon: Polygon) -> bool:
    """Strictly convex, once around: all turns left, and the x-direction changes sign twice."""
    n = len(polygon)
    turns = [_turn(polygon[i], polygon[(i + 1) % n], polygon[(i + 2) % n]) for i in range(n)]
    if any(t <= 0 for t in turns):
        return False
    signs = [b[0] - a[0] > 0 or (b[0] == a[0] and b[1] > a[1]) for a, b in _sides(polygon)]
    return sum(signs[i] != signs[i - 1] for i in range(n)) == 2


def _tiling(tiles: list[Tile], lattice: tuple[Point, Point], period: int) -> None:
    """Raise unless every side is that of exactly one other tile, and the areas fill a period."""
    total = sum((_area(p) for _, p in tiles), Fraction(0))
    if total != period:
        raise Rejected(f"the tiles have area {total}, a period has {period}.")
    balance: Counter[tuple[Exact, Point]] = Counter()
    for _, polygon in tiles:
        for a, b in _sides(polygon):
            if (b[0] - a[0], b[1] - a[1]) > (0, 0):
                balance[_modulo(a, lattice), _minus(b, a)] += 1
            else:
                balance[_modulo(b, lattice), _minus(a, b)] -= 1
    for (start, step), count in balance.items():
        if count:
            where = f"({start[0]}, {start[1]}) by ({step[0]}, {step[1]})"
            raise Rejected(f"the side from {where} has {abs(count)} tiles too many on one side.")


def _modulo(p: Point, lattice: tuple[Point, Point]) -> Exact:
    """The representative of a point modulo the lattice with coordinates in [0, 1)."""
    (a, b), (c, d) = lattice
    det = a * d - b * c
    s, t = Fraction(p[0] * d - p[1] * c, det), Fraction(a * p[1] - b * p[0], det)
    s, t = s - s.__floor__(), t - t.__floor__()
    return s, t


def _disjoint(tiles: list[Tile], lattice: tuple[Point, Point]) -> None:
    """Raise unless all tiles are convex and no two, nor translates, overlap: a side separates."""
    for number, (_, polygon) in enumerate(tiles):
        if not _convex(polygon):
            raise Rejected(f"tile {number} is not convex, which is needed with rest.")
    for i, (_, p) in enumerate(tiles):
        for j, (_, q) in enumerate(tiles[: i + 1]):
            for shift in _shifts(p, q, lattice, 0):
                if i == j and shift == (0, 0):
                    continue
                moved = tuple(_plus(v, shift) for v in q)
                if not (_separates(p, moved) or _separates(moved, p)):
                    raise Rejected(f"tiles {i} and {j}, moved by a period, overlap.")


def _separates(p: Polygon, q: Polygon) -> bool:
    """Whether all of q lies on the outer side of some side of the convex polygon p."""
    return any(all(_turn(a, b, v) <= 0 for v in q) for a, b in _sides(p))


def _rule(
    rule: Any, colors: int, tiles: list[Tile], lattice: tuple[Point, Point], scale: int
) -> str:
    if not isinstance(rule, dict) or set(cast("dict[str, Any]", rule)) != {"colors", "squared"}:
        raise Rejected(f"the rule {rule!r} has not the fields colors and squared.")
    entry = cast("dict[str, Any]", rule)
    bound = palette(entry["colors"], colors)
    if not isinstance(entry["squared"], list) or not entry["squared"]:
        raise Rejected("a rule names no distance.")
    spans: list[tuple[Fraction, Fraction]] = []
    for span in cast("list[Any]", entry["squared"]):
        low, high = _point(span, "an interval of squared distances")
        if not 0 < low <= high:
            raise Rejected(f"the squared distances {low} to {high} are not 0 < low <= high.")
        spans.append((low, high))
    limits = [(low * scale**2, high * scale**2) for low, high in spans]
    reach = max(high for _, high in limits)
    pairs = 0
    for color in bound:
        own = [p for c, p in tiles if c == color]
        for i, p in enumerate(own):
            for j, q in enumerate(own[: i + 1]):
                for shift in _shifts(p, q, lattice, reach):
                    pairs += 1
                    moved = tuple(_plus(v, shift) for v in q)
                    same = i == j and shift == (0, 0)
                    largest = max(_square(u, v) for u in p for v in moved)
                    least = 0 if same else _least(p, moved)
                    for low, high in limits:
                        if low <= largest and least <= high:
                            ends = f"{_number(least, scale)} to {_number(largest, scale)}"
                            raise Rejected(
                                f"two tiles of colour {color} hold points at squared distances "
                                f"{ends}, which meets [{low / scale**2}, {high / scale**2}]: "
                                f"{_witness(p, moved, scale)}."
                            )
    where = ", ".join(_name(low, high) for low, high in spans)
    names = ", ".join(map(str, bound))
    return (
        f"no two points of the plane of colour {names} are at distance {where} "
        f"({pairs} pairs of tiles)"
    )


def _witness(p: Polygon, q: Polygon, scale: int) -> str:
    """The pair of vertices nearest to each other and the pair farthest apart."""
    pairs = sorted((_square(u, v), u, v) for u in p for v in q)
    return " and ".join(
        f"({Fraction(u[0], scale)}, {Fraction(u[1], scale)}) to "
        f"({Fraction(v[0], scale)}, {Fraction(v[1], scale)}) at squared distance "
        f"{_number(s, scale)}"
        for s, u, v in (pairs[0], pairs[-1])
    )


def _number(square: Fraction | int, scale: int) -> str:
    return f"{float(Fraction(square) / scale**2):.9f}"


def _shifts(
    p: Polygon, q: Polygon, lattice: tuple[Point, Point], reach: Fraction | int
) -> list[Point]:
    """Every translation of q by a period that may bring it within sqrt(reach) of p.

    A shift k with coordinates (s, t) needs |k + c| <= R for the difference c of two vertices and R
    the reach and the two extents; each coordinate is at most |dual row| * length.
    """
    u, v = p[0], q[0]
    extent = max(_square(u, w) for w in p), max(_square(v, w) for w in q)
    radius = sum((_root_above(Fraction(x)) for x in (*extent, reach)), Fraction(0))
    c = _minus(v, u)
    (a, b), (e, f) = lattice
    det = a * f - b * e
    dual = ((f, -e), (-b, a))  # times det
    ranges: list[range] = []
    for row in dual:
        middle = Fraction(-_dot(row, c), det)
        width = radius * _root_above(Fraction(_dot(row, row), det**2))
        ranges.append(range((middle - width).__ceil__(), (middle + width).__floor__() + 1))
    return [(s * a + t * e, s * b + t * f) for s, t in product(*ranges)]


def _least(p: Polygon, q: Polygon) -> Fraction | int:
    """The least squared distance of two polygons that do not overlap."""
    best: Fraction | int | None = None
    for one, two in ((p, q), (q, p)):
        for a, b in _sides(two):
            step = _minus(b, a)
            length = _dot(step, step)
            for v in one:
                t = _dot(_minus(v, a), step)
                if t <= 0:
                    d = _square(v, a)
                elif t >= length:
                    d = _square(v, b)
                else:
                    d = Fraction(_turn(a, b, v) ** 2, length)
                if best is None or d < best:
                    best = d
    assert best is not None  # polygons have vertices
    return best


def _root_above(square: Fraction) -> Fraction:
    """A rational number not below the root of p / q = sqrt(p q) / q, and relatively close to it."""
    p, q = square.numerator, square.denominator
    return Fraction(isqrt(p * q * 10**12) + 1, q * 10**6)


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the closed segments ab and cd have a common point."""
    s, t, u, v = _turn(a, b, c), _turn(a, b, d), _turn(c, d, a), _turn(c, d, b)
    if ((s > 0) - (s < 0)) * ((t > 0) - (t < 0)) < 0 and ((u > 0) - (u < 0)) * (
        (v > 0) - (v < 0)
    ) < 0:
        return True

    def on(p: Point, q: Point, r: Point) -> bool:
        return min(p[0], q[0]) <= r[0] <= max(p[0], q[0]) and min(p[1], q[1]) <= r[1] <= max(
            p[1], q[1]
        )

    return (
        (s == 0 and on(a, b, c))
        or (t == 0 and on(a, b, d))
        or (u == 0 and on(c, d, a))
        or (v == 0 and on(c, d, b))
    )


def _sides(polygon: Polygon) -> list[tuple[Point, Point]]:
    return [(polygon[i], polygon[(i + 1) % len(polygon)]) for i in range(len(polygon))]


def _area(polygon: Polygon) -> Fraction:
    return Fraction(sum(_cross(a, b) for a, b in _sides(polygon)), 2)


def _turn(a: Point, b: Point, c: Point) -> int:
    return _cross(_minus(b, a), _minus(c, a))


def _square(a: Point, b: Point) -> int:
    d = _minus(a, b)
    return _dot(d, d)


def _plus(a: Point, b: Point) -> Point:
    return a[0] + b[0], a[1] + b[1]


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _dot(a: Point, b: Point) -> int:
    return a[0] * b[0] + a[1] * b[1]


def _cross(a: Point, b: Point) -> int:
    return a[0] * b[1] - a[1] * b[0]


def _name(low: Fraction, high: Fraction) -> str:
    def root(square: Fraction) -> str:
        r = Fraction(isqrt(square.numerator), isqrt(square.denominator))
        return str(r) if r * r == square else f"sqrt({square})"

    return root(low) if low == high else f"in [{root(low)}, {root(high)}]"
