"""Checker of `coloring/polygons`: a periodic colouring of the plane by polygons.

Proves: the tiles are simple polygons that, with their lattice translates, cover the plane without
overlap (or, with `rest`, convex polygons that do not overlap, what is left being the free colour);
no two points of a colour that a rule names, on its closed tiles, are at a distance in the rule's
set; the free colour has exactly the claimed density. Points on common sides may take either colour.
With `semantics` "assigned" every side and corner belongs to one tile, which the witness names, and
the same is proved for that colouring of all points: no slack is needed.
Does not say: that fewer colours or less free space are impossible.

Covering: where the directed sides of all tiles, modulo the lattice, cancel in pairs, the number of
tiles over a point is the same almost everywhere, and it is the sum of the areas divided by the area
of a period. That number must be 1.
No corner lies inside of a side then, because the two tiles at a side fill its surroundings: so the
points of the plane are those of open tiles, open sides and corners.
Distances: `_coloring_tiles`. All of it is decided in integers and fractions.
"""

from collections import Counter
from fractions import Fraction
from hashlib import sha256
from itertools import product
from math import isqrt, lcm
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._proved._coloring_tiles import (
    Point,
    Polygon,
    Tile,
    cross,
    distances,
    dot,
    owned,
    sides,
    square,
    turn,
)
from extremal.verify._proved._coloring_witness import fraction, palette
from extremal.verify._rejected import Rejected

STRENGTH = "proved"
CLAIM = ("dim", "colors", "free", "rules", "rest", "semantics", "free_density", "coloring_sha256")
WITNESS = ("lattice", "tiles", "axes")
MAX_VERTICES = 100_000

Exact = tuple[Fraction, Fraction]
ONE = (1, 1)  # the axes of plain products


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
    semantics = claim.get("semantics", "closed")
    if semantics not in ("closed", "assigned"):
        raise Rejected(f"semantics is {semantics!r}, not closed or assigned.")
    if rest and semantics == "assigned":
        raise Rejected("boundaries are assigned in whole tilings only, not with rest.")
    if fields.text(claim, "coloring_sha256") != digest(witness):
        raise Rejected("the witness has another SHA-256 than the claim says.")
    rows = _lattice(fields.items(witness, "lattice"))
    axes = _axes(witness)
    exact = _tiles(fields.items(witness, "tiles"), colors + claim["free"], semantics == "assigned")
    numbers = [x for _, polygon, _, _ in exact for v in polygon for x in v]
    numbers += [x for r in rows for x in r]
    scale = lcm(*(x.denominator for x in numbers))
    lattice = _scaled(rows[0], scale), _scaled(rows[1], scale)
    if cross(*lattice) == 0:
        raise Rejected("the lattice is singular.")
    tiles = [Tile(c, tuple(_scaled(v, scale) for v in polygon), *own) for c, polygon, *own in exact]
    period = abs(cross(*lattice))
    for number, tile in enumerate(tiles):
        _simple(tile.polygon, number)
    if rest:
        _disjoint(tiles, lattice)
        density = (
            1 - sum((_area(t.polygon) for t in tiles if t.color < colors), Fraction(0)) / period
        )
    else:
        _tiling(tiles, lattice, period)
        if semantics == "assigned":
            _assigned(tiles, lattice)
        density = sum((_area(t.polygon) for t in tiles if t.color == colors), Fraction(0)) / period
    if not claim["free"] and any(t.color == colors for t in tiles):
        raise Rejected("a tile is free, but the claim has no free colour.")
    if fraction(claim.get("free_density"), "free_density") != density:
        raise Rejected(
            f"free_density is claimed as {claim.get('free_density')!r}, but it is {density}."
        )
    said: list[str] = []
    rules = fields.items(claim, "rules")
    if not rules:
        raise Rejected("there is no rule, so nothing is claimed.")
    share = lcm(*(a.denominator for a in axes))
    whole = int(axes[0] * share), int(axes[1] * share)
    said += [_rule(r, colors, tiles, lattice, whole, scale, scale**2 * share) for r in rules]
    said.append(f"{len(tiles)} tiles and their translates cover the plane" if not rest else
                f"{len(tiles)} convex tiles and their translates do not overlap")  # fmt: skip
    if semantics == "assigned":
        said.append("every side and every corner belongs to one of the tiles at it")
    if claim["free"]:
        said.append(f"the free colour has density {float(density):.7%}, exactly as claimed")
    return said


def digest(witness: dict[str, Any]) -> str:
    """Return the SHA-256 that ties a claim to its witness."""
    text = f"{witness.get('lattice')}|{witness.get('tiles')}"
    if "axes" in witness:
        text += f"|axes={witness['axes']}"
    return sha256(text.encode()).hexdigest()


def _axes(witness: dict[str, Any]) -> Exact:
    """The squared lengths of the units of the coordinates; 1 where nothing is said."""
    if "axes" not in witness:
        return Fraction(1), Fraction(1)
    found = _point(witness["axes"], "axes")
    if min(found) <= 0:
        raise Rejected(f"axes is {witness['axes']!r}, not two squared lengths above 0.")
    return found


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


def _tiles(
    entries: list[Any], palette_size: int, assigned: bool
) -> list[tuple[int, tuple[Exact, ...], tuple[bool, ...], tuple[bool, ...]]]:
    found: list[tuple[int, tuple[Exact, ...], tuple[bool, ...], tuple[bool, ...]]] = []
    names = {"color", "vertices", *(("sides", "corners") if assigned else ())}
    total = 0
    for number, entry in enumerate(entries):
        if not isinstance(entry, dict) or set(cast("dict[str, Any]", entry)) != names:
            raise Rejected(f"tile {number} has not the fields {', '.join(sorted(names))}.")
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
        n = len(polygon)
        own = (
            owned(tile.get("sides", "1" * n), n, f"sides of tile {number}"),
            owned(tile.get("corners", "1" * n), n, f"corners of tile {number}"),
        )
        found.append((color, polygon, *own))
    if not found:
        raise Rejected("there is no tile.")
    return found


def _simple(polygon: Polygon, number: int) -> None:
    """Raise unless the sides meet at common ends only and the interior lies to their left."""
    if len(set(polygon)) != len(polygon):
        raise Rejected(f"tile {number} has a vertex twice.")
    if _area(polygon) <= 0:
        raise Rejected(f"tile {number} does not run counterclockwise around an area.")
    edges = sides(polygon)
    n = len(edges)
    if _convex(polygon):
        return
    for i in range(n):
        for j in range(i + 1, n):
            (a, b), (c, d) = edges[i], edges[j]
            if j == i + 1 or (i == 0 and j == n - 1):
                shared = b if j == i + 1 else a
                p, q = (a, d) if j == i + 1 else (b, c)
                folded = (
                    turn(p, shared, q) == 0 and dot(_minus(p, shared), _minus(q, shared), ONE) > 0
                )
                if folded:
                    raise Rejected(f"tile {number} runs back along its side {i}.")
            elif _meet(a, b, c, d):
                raise Rejected(f"sides {i} and {j} of tile {number} meet.")


def _convex(polygon: Polygon) -> bool:
    """Strictly convex, once around: all turns left, and the x-direction changes sign twice."""
    n = len(polygon)
    turns = [turn(polygon[i], polygon[(i + 1) % n], polygon[(i + 2) % n]) for i in range(n)]
    if any(t <= 0 for t in turns):
        return False
    signs = [b[0] - a[0] > 0 or (b[0] == a[0] and b[1] > a[1]) for a, b in sides(polygon)]
    return sum(signs[i] != signs[i - 1] for i in range(n)) == 2


def _tiling(tiles: list[Tile], lattice: tuple[Point, Point], period: int) -> None:
    """Raise unless every side is that of exactly one other tile, and the areas fill a period."""
    total = sum((_area(t.polygon) for t in tiles), Fraction(0))
    if total != period:
        raise Rejected(f"the tiles have area {total}, a period has {period}.")
    balance: Counter[tuple[Exact, Point]] = Counter()
    for tile in tiles:
        for a, b in sides(tile.polygon):
            key, sign = _side(a, b, lattice)
            balance[key] += sign
    for (start, step), count in balance.items():
        if count:
            where = f"({start[0]}, {start[1]}) by ({step[0]}, {step[1]})"
            raise Rejected(f"the side from {where} has {abs(count)} tiles too many on one side.")


def _side(a: Point, b: Point, lattice: tuple[Point, Point]) -> tuple[tuple[Exact, Point], int]:
    """A side modulo the lattice, named from its lesser end, and its direction."""
    if _minus(b, a) > (0, 0):
        return (_modulo(a, lattice), _minus(b, a)), 1
    return (_modulo(b, lattice), _minus(a, b)), -1


def _assigned(tiles: list[Tile], lattice: tuple[Point, Point]) -> None:
    """Raise unless every side and every corner, modulo the lattice, has exactly one owner."""
    owners: Counter[tuple[Exact, Point]] = Counter()
    at: Counter[Exact] = Counter()
    for tile in tiles:
        for (a, b), side, corner in zip(sides(tile.polygon), tile.sides, tile.corners, strict=True):
            owners[_side(a, b, lattice)[0]] += side
            at[_modulo(a, lattice)] += corner
    for (start, step), count in owners.items():
        if count != 1:
            raise Rejected(
                f"the side from ({start[0]}, {start[1]}) by ({step[0]}, {step[1]}) has {count} "
                "owners, not one."
            )
    for place, count in at.items():
        if count != 1:
            raise Rejected(f"the corner ({place[0]}, {place[1]}) has {count} owners, not one.")


def _modulo(p: Point, lattice: tuple[Point, Point]) -> Exact:
    """The representative of a point modulo the lattice with coordinates in [0, 1)."""
    (a, b), (c, d) = lattice
    det = a * d - b * c
    s, t = Fraction(p[0] * d - p[1] * c, det), Fraction(a * p[1] - b * p[0], det)
    s, t = s - s.__floor__(), t - t.__floor__()
    return s, t


def _disjoint(tiles: list[Tile], lattice: tuple[Point, Point]) -> None:
    """Raise unless all tiles are convex and no two, nor translates, overlap: a side separates."""
    for number, tile in enumerate(tiles):
        if not _convex(tile.polygon):
            raise Rejected(f"tile {number} is not convex, which is needed with rest.")
    for i, one in enumerate(tiles):
        for j, two in enumerate(tiles[: i + 1]):
            p, q = one.polygon, two.polygon
            for shift in _shifts(p, q, lattice, 0, ONE):
                if i == j and shift == (0, 0):
                    continue
                moved = two.moved(shift).polygon
                if not (_separates(p, moved) or _separates(moved, p)):
                    raise Rejected(f"tiles {i} and {j}, moved by a period, overlap.")


def _separates(p: Polygon, q: Polygon) -> bool:
    """Whether all of q lies on the outer side of some side of the convex polygon p."""
    return any(all(turn(a, b, v) <= 0 for v in q) for a, b in sides(p))


def _rule(
    rule: Any, colors: int, tiles: list[Tile], lattice: tuple[Point, Point], axes: Point,
    scale: int, unit: int,
) -> str:  # fmt: skip
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
    limits = [(low * unit, high * unit) for low, high in spans]
    reach = max(high for _, high in limits)
    pairs = 0
    for color in bound:
        own = [t for t in tiles if t.color == color]
        for i, p in enumerate(own):
            for j, q in enumerate(own[: i + 1]):
                for shift in _shifts(p.polygon, q.polygon, lattice, reach, axes):
                    pairs += 1
                    moved = q.moved(shift)
                    found = distances(p, moved, i == j and shift == (0, 0), axes)
                    for low, high in limits:
                        if found.meets(low, high):
                            ends = f"{_number(found.least, unit)} to {_number(found.largest, unit)}"
                            raise Rejected(
                                f"two tiles of colour {color} hold points at squared distances "
                                f"{ends}, which meets [{low / unit}, {high / unit}]: "
                                f"{_witness(p.polygon, moved.polygon, axes, scale, unit)}."
                            )
    where = ", ".join(_name(low, high) for low, high in spans)
    names = ", ".join(map(str, bound))
    return (
        f"no two points of the plane of colour {names} are at distance {where} "
        f"({pairs} pairs of tiles)"
    )


def _witness(p: Polygon, q: Polygon, axes: Point, scale: int, unit: int) -> str:
    """The pair of vertices nearest to each other and the pair farthest apart."""
    pairs = sorted((square(u, v, axes), u, v) for u in p for v in q)
    return " and ".join(
        f"({Fraction(u[0], scale)}, {Fraction(u[1], scale)}) to "
        f"({Fraction(v[0], scale)}, {Fraction(v[1], scale)}) at squared distance "
        f"{_number(s, unit)}"
        for s, u, v in (pairs[0], pairs[-1])
    )


def _number(squared: Fraction | int, unit: int) -> str:
    return f"{float(Fraction(squared) / unit):.9f}"


def _shifts(
    p: Polygon, q: Polygon, lattice: tuple[Point, Point], reach: Fraction | int, axes: Point
) -> list[Point]:
    """Every translation of q by a period that may bring it within sqrt(reach) of p.

    A shift k with coordinates (s, t) needs |k + c| <= R for the difference c of two vertices and R
    the reach and the two extents; each coordinate is at most |dual row| * length.
    """
    u, v = p[0], q[0]
    extent = max(square(u, w, axes) for w in p), max(square(v, w, axes) for w in q)
    radius = sum((_root_above(Fraction(x)) for x in (*extent, reach)), Fraction(0))
    c = _minus(v, u)
    (a, b), (e, f) = lattice
    det = a * f - b * e
    dual = ((f, -e), (-b, a))  # times det; plain products with them give the coordinates
    ranges: list[range] = []
    for x, y in dual:
        middle = Fraction(-(x * c[0] + y * c[1]), det)
        square_of_row = Fraction(x * x, axes[0]) + Fraction(y * y, axes[1])
        width = radius * _root_above(square_of_row / det**2)
        ranges.append(range((middle - width).__ceil__(), (middle + width).__floor__() + 1))
    return [(s * a + t * e, s * b + t * f) for s, t in product(*ranges)]


def _root_above(square: Fraction) -> Fraction:
    """A rational number not below the root of p / q = sqrt(p q) / q, and relatively close to it."""
    p, q = square.numerator, square.denominator
    return Fraction(isqrt(p * q * 10**12) + 1, q * 10**6)


def _meet(a: Point, b: Point, c: Point, d: Point) -> bool:
    """Whether the closed segments ab and cd have a common point."""
    s, t, u, v = turn(a, b, c), turn(a, b, d), turn(c, d, a), turn(c, d, b)
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


def _area(polygon: Polygon) -> Fraction:
    return Fraction(sum(cross(a, b) for a, b in sides(polygon)), 2)


def _minus(a: Point, b: Point) -> Point:
    return a[0] - b[0], a[1] - b[1]


def _name(low: Fraction, high: Fraction) -> str:
    def root(square: Fraction) -> str:
        r = Fraction(isqrt(square.numerator), isqrt(square.denominator))
        return str(r) if r * r == square else f"sqrt({square})"

    return root(low) if low == high else f"in [{root(low)}, {root(high)}]"
