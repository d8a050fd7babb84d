"""Open tiles: every side and corner of a tiling given to one tile, so that no slack is needed.

Closed tiles whose diameter is exactly a forbidden distance break the rule; open ones do not, and
whether the points between them can be shared out is a finite question. A distance is met

  by two corners      at the largest distance of two tiles, or the least,
  by a corner and a side, or by two opposite parallel sides      at the least distance,

only if both belong to the two tiles. So each such pair is a clause "not both", each side and corner
has one owner, and a solution (CP-SAT) is an assignment. Equality is decided in fractions; floats
only choose which pairs are looked at.
"""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ._cp_sat import largest
from ._errors import ColoringError
from ._polygon_colouring import PolygonColouring, Vertices, shifts_near
from ._problem import Problem, Span

_NEAR = 1e-9
Feature = tuple[int, str, int]  # tile, "side" or "corner", number
Pair = tuple[Feature, Feature]


def assign_boundary(
    colouring: PolygonColouring, problem: Problem, seconds: float = 60.0
) -> PolygonColouring:
    """Return the tiles with an owner for every side and corner such that no rule is broken.

    Args:
        colouring: A whole tiling; neighbours share whole sides.
        problem: Its pair rules.
        seconds: Limit of the solver.

    Raises:
        ColoringError: Open tiles break a rule, or their boundaries cannot be shared out.
        MissingExtra: ortools is not installed.

    Example:
        >>> from extremal import coloring
        >>> found = assign_boundary(coloring.isbell_tiles(), Problem.plane(7))
        >>> len(found.owners)
        7
    """
    broken, pairs = collisions(colouring, problem)
    if broken:
        raise ColoringError(f"the tiles break a rule by their interiors: {broken[0]}.")
    groups = _owners(colouring)
    number = {f: k for k, f in enumerate(f for group in groups for f in group)}
    solution = largest(
        len(number),
        pairs=sorted(
            {(min(i, j), max(i, j)) for i, j in ((number[a], number[b]) for a, b in pairs)}
        ),
        groups=[[number[f] for f in group] for group in groups],
        seconds=seconds,
    )
    if sum(solution.values) < len(groups):
        why = "no assignment exists" if solution.optimal else "none was found in time"
        raise ColoringError(
            f"sides and corners cannot be shared out: {why}; the rules need slack here."
        )
    owned = {f for f, k in number.items() if solution.values[k]}
    return replace(colouring, owners=_written(colouring, owned))


def assigned_problems(colouring: PolygonColouring, problem: Problem) -> list[str]:
    """Return which rules tiles with assigned boundaries break, exactly; empty if none."""
    found, pairs = collisions(colouring, problem)
    owned = _read(colouring)
    for group in _owners(colouring):
        count = sum(f in owned for f in group)
        if count != 1:
            tile, what, k = group[0]
            found.append(f"{what} {k} of tile {tile} has {count} owners, not one")
    for a, b in pairs:
        if a in owned and b in owned:
            found.append(
                f"{a[1]} {a[2]} of tile {a[0]} and {b[1]} {b[2]} of tile {b[0]} (or translates) "
                "hold points at a forbidden distance"
            )
    return found


def collisions(colouring: PolygonColouring, problem: Problem) -> tuple[list[str], list[Pair]]:
    """Return what open tiles break, and which boundary features may not both be owned.

    Cost: all pairs of equal tiles within reach; exact where floats are near to equality.
    """
    colouring.fits(problem)
    if colouring.rest:
        raise ColoringError("boundaries are assigned in whole tilings, not where the rest is free.")
    axes = colouring.weights
    floats, basis = colouring.floats(), colouring.basis
    broken: list[str] = []
    pairs: list[Pair] = []
    for spans, colors in problem.classes():
        reach = max(float(hi) for _, hi in spans) ** 0.5
        for color in colors:
            own = [k for k, (c, _) in enumerate(colouring.tiles) if c == color]
            for i, j in itertools.combinations_with_replacement(own, 2):
                near = shifts_near(floats[i][1], floats[j][1], basis, reach * (1 + _NEAR))
                for _, (s, t) in near:
                    moved = _moved(colouring, j, s, t)
                    same = i == j and (s, t) == (0, 0)
                    met = _two_tiles(colouring.tiles[i][1], moved, same, spans, axes, (i, j))
                    if isinstance(met, str):
                        broken.append(f"colour {color} {met}")
                    else:
                        pairs += met
    return broken, pairs


def _two_tiles(
    p: Vertices, q: Vertices, same: bool, spans: Sequence[Span], axes: tuple[Fraction, Fraction],
    tiles: tuple[int, int],
) -> str | list[Pair]:  # fmt: skip
    corners = [(_square(u, v, axes), a, b) for a, u in enumerate(p) for b, v in enumerate(q)]
    most = max(d for d, _, _ in corners)
    contacts = [] if same else list(_contacts(p, q, axes))
    least = min((d for d, _, _ in contacts), default=Fraction(0))
    found: list[Pair] = []
    for low, high in spans:
        if low < most and least < high:
            ends = f"{float(least) ** 0.5:.9f} to {float(most) ** 0.5:.9f}"
            return f"has distances {ends}"
        if low == most:
            found += [((tiles[0], "corner", a), (tiles[1], "corner", b))
                      for d, a, b in corners if d == most]  # fmt: skip
        if high == least and not same:
            found += [((tiles[0], *f), (tiles[1], *g)) for d, f, g in contacts if d == least]
    return found


def _contacts(
    p: Vertices, q: Vertices, axes: tuple[Fraction, Fraction]
) -> Iterator[tuple[Fraction, tuple[str, int], tuple[str, int]]]:
    """Where two polygons can be nearest to each other: squared distance and the two features."""
    for a, u in enumerate(p):
        for b, v in enumerate(q):
            yield _square(u, v, axes), ("corner", a), ("corner", b)
    for one, two, turned in ((p, q, False), (q, p, True)):
        for a, u in enumerate(one):
            for b, (v, w) in enumerate(_edges(two)):
                step = _minus(w, v)
                length = _dot(step, step, axes)
                t = _dot(_minus(u, v), step, axes)
                if 0 < t < length:
                    d = axes[0] * axes[1] * _cross(step, _minus(u, v)) ** 2 / length
                    corner, side = ("corner", a), ("side", b)
                    yield (d, side, corner) if turned else (d, corner, side)
    for a, (u, x) in enumerate(_edges(p)):
        step = _minus(x, u)
        length = _dot(step, step, axes)
        for b, (v, w) in enumerate(_edges(q)):
            if _cross(step, _minus(w, v)) == 0:
                s, t = _dot(_minus(v, u), step, axes), _dot(_minus(w, u), step, axes)
                if max(s, t) > 0 and min(s, t) < length:
                    d = axes[0] * axes[1] * _cross(step, _minus(v, u)) ** 2 / length
                    yield d, ("side", a), ("side", b)


def _owners(colouring: PolygonColouring) -> list[list[Feature]]:
    """The sides and corners of all tiles, those together that are one modulo the lattice."""
    groups: dict[Any, list[Feature]] = {}
    for k, (_, polygon) in enumerate(colouring.tiles):
        for i, (a, b) in enumerate(_edges(polygon)):
            groups.setdefault(("corner", _modulo(colouring, a)), []).append((k, "corner", i))
            first, last = (a, b) if _minus(b, a) > (Fraction(0), Fraction(0)) else (b, a)
            key = ("side", _modulo(colouring, first), _minus(last, first))
            groups.setdefault(key, []).append((k, "side", i))
    for key, group in groups.items():
        if key[0] == "side" and len(group) != 2:
            raise ColoringError(
                f"side {group[0][2]} of tile {group[0][0]} is not that of exactly one neighbour; "
                "neighbours share whole sides."
            )
    return list(groups.values())


def _written(colouring: PolygonColouring, owned: set[Feature]) -> tuple[tuple[str, str], ...]:
    def text(tile: int, what: str, count: int) -> str:
        return "".join(str(int((tile, what, i) in owned)) for i in range(count))

    return tuple(
        (text(k, "side", len(v)), text(k, "corner", len(v)))
        for k, (_, v) in enumerate(colouring.tiles)
    )


def _read(colouring: PolygonColouring) -> set[Feature]:
    return {
        (k, what, i)
        for k, both in enumerate(colouring.owners)
        for what, text in zip(("side", "corner"), both, strict=True)
        for i, digit in enumerate(text)
        if digit == "1"
    }


def _modulo(colouring: PolygonColouring, p: tuple[Fraction, Fraction]) -> Any:
    (a, b), (c, d) = colouring.lattice
    det = a * d - b * c
    s, t = (p[0] * d - p[1] * c) / det, (a * p[1] - b * p[0]) / det
    return s % 1, t % 1


def _moved(colouring: PolygonColouring, tile: int, s: int, t: int) -> Vertices:
    (a, b), (c, d) = colouring.lattice
    return tuple((x + s * a + t * c, y + s * b + t * d) for x, y in colouring.tiles[tile][1])


def _edges(polygon: Vertices) -> list[Any]:
    return list(zip(polygon, (*polygon[1:], polygon[0]), strict=True))


def _square(a: Any, b: Any, axes: tuple[Fraction, Fraction]) -> Fraction:
    d = _minus(a, b)
    return _dot(d, d, axes)


def _minus(a: Any, b: Any) -> tuple[Fraction, Fraction]:
    return a[0] - b[0], a[1] - b[1]


def _dot(a: Any, b: Any, axes: tuple[Fraction, Fraction]) -> Fraction:
    return axes[0] * a[0] * b[0] + axes[1] * a[1] * b[1]


def _cross(a: Any, b: Any) -> Fraction:
    return a[0] * b[1] - a[1] * b[0]
