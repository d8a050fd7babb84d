"""A periodic colouring of the plane by polygons with exact vertices."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from extremal.lab import Part, atomic_write

from ._colouring import Matrix, determinant
from ._errors import ColoringError
from ._problem import Problem

Vertices = tuple[tuple[Fraction, Fraction], ...]


@dataclass(frozen=True, eq=False)
class PolygonColouring:
    """Coloured polygons, counterclockwise, repeated under a lattice.

    Attributes:
        lattice: Two exact rows.
        tiles: (colour, vertices) of one period. Neighbours share whole sides.
        colors: How many colours there are, the free one not counted.
        free: Whether colour number `colors` is the free one.
        rest: Whether what the tiles leave uncovered is free; then tiles are convex.
        axes: Squared units of the coordinates; (3, 1): x is in units of sqrt(3). Empty: 1.
        owners: For open tiles: of every tile a 1 for each side and each corner that it owns, else
            0, as two texts; side i follows corner i. Empty: tiles are closed.
    """

    lattice: Matrix
    tiles: tuple[tuple[int, Vertices], ...]
    colors: int
    free: bool = False
    rest: bool = False
    axes: tuple[Fraction, ...] = ()
    owners: tuple[tuple[str, str], ...] = ()

    dim = 2

    def __post_init__(self) -> None:
        if self.axes and (len(self.axes) != 2 or min(self.axes) <= 0):
            raise ValueError(f"axes has two squared units above 0, or none; got {self.axes!r}.")
        counts = [len(v) for _, v in self.tiles]
        if self.owners and [(len(s), len(c)) for s, c in self.owners] != [(n, n) for n in counts]:
            raise ValueError("owners has not a digit for every side and corner of every tile.")

    @property
    def weights(self) -> tuple[Fraction, Fraction]:
        """The squared units of the coordinates."""
        return (self.axes[0], self.axes[1]) if self.axes else (Fraction(1), Fraction(1))

    def fits(self, asked: Problem) -> None:
        """Refuse a problem that is not about these tiles.

        Raises:
            ColoringError: It has another dimension, configurations or other colours.
        """
        if asked.dim != 2 or asked.configurations:
            raise ColoringError("polygons are for pair rules in the plane.")
        if (asked.colors, asked.free_color) != (self.colors, self.free):
            raise ColoringError("the colouring has other colours than the problem.")

    @property
    def palette(self) -> int:
        """How many colours there are, the free one included."""
        return self.colors + self.free

    @property
    def basis(self) -> Float[np.ndarray, "2 2"]:
        """The lattice rows in floats, in true units."""
        units = np.sqrt([float(a) for a in self.weights])
        return np.array([[float(x) for x in row] for row in self.lattice]) * units

    @property
    def free_density(self) -> Fraction:
        """The exact share of the plane that is free."""
        period = abs(determinant(self.lattice))
        if self.rest:
            return (
                1 - sum((area(v) for c, v in self.tiles if c < self.colors), Fraction(0)) / period
            )
        return sum((area(v) for c, v in self.tiles if c == self.colors), Fraction(0)) / period

    def floats(self) -> list[tuple[int, Float[np.ndarray, "_ 2"]]]:
        """Return the tiles with vertices in floats, in true units."""
        units = np.sqrt([float(a) for a in self.weights])
        return [(c, np.array([[float(x), float(y)] for x, y in v]) * units) for c, v in self.tiles]

    def at(self, points: Float[np.ndarray, "m 2"]) -> Int[np.ndarray, " m"]:
        """Return the colours of points, in floats; what no tile covers is free."""
        if not np.isfinite(points).all():
            raise ValueError("a point has a coordinate that is NaN or infinite.")
        basis = self.basis
        home = points - np.floor(points @ np.linalg.inv(basis)) @ basis
        found = np.full(len(points), self.colors, np.int64)
        shifts = np.array([[i, j] for i in range(-2, 3) for j in range(-2, 3)]) @ basis
        for color, vertices in self.floats():
            for shift in shifts:
                found[inside(home, vertices + shift)] = color
        return found

    def problems(self, asked: Problem, margin: float = 1e-9) -> list[str]:
        """Return which rules the tiles break, in floats with a margin; empty if none.

        The certificate's checker decides the same in fractions; so does this for open tiles.
        """
        self.fits(asked)
        if self.owners:
            from ._open_tiles import assigned_problems

            return assigned_problems(self, asked)
        found: list[str] = []
        for spans, colors in asked.classes():
            reach = max(float(hi) for _, hi in spans) ** 0.5
            for color in colors:
                for gap, span in distances(self.floats(), self.basis, color, reach):
                    for low, high in spans:
                        if float(low) ** 0.5 < span + margin and gap - margin < float(high) ** 0.5:
                            found.append(f"colour {color} has distances {gap:.9f} to {span:.9f}")
        return found

    def spectrum(self, color: int, upto: float = 2.0) -> tuple[tuple[float, float], ...]:
        """Return the open intervals of distances below `upto` that a colour avoids, in floats."""
        ranges = sorted(distances(self.floats(), self.basis, color, upto))
        gaps: list[tuple[float, float]] = []
        top = 0.0
        for low, high in ranges:
            if low > top + 1e-12:
                gaps.append((top, low))
            top = max(top, high)
        if top < upto:
            gaps.append((top, upto))
        return tuple(gaps)

    def part(self, asked: Problem) -> Part:
        """Return the claim of these tiles."""
        plain = self.as_json()
        witness = {name: plain[name] for name in ("lattice", "tiles", "axes") if name in plain}
        text = f"{witness['lattice']}|{witness['tiles']}"
        if self.axes:
            text += f"|axes={witness['axes']}"
        digest = sha256(text.encode()).hexdigest()
        claim = {
            "dim": 2,
            "colors": self.colors,
            "free": self.free,
            "rules": [
                {"colors": list(cs), "squared": [[str(a), str(b)] for a, b in spans]}
                for spans, cs in asked.classes()
            ],
            "rest": self.rest,
            **({"semantics": "assigned"} if self.owners else {}),
            "free_density": str(self.free_density),
            "coloring_sha256": digest,
        }
        return Part("coloring/polygons", 1, claim, witness)

    def as_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same colouring."""
        return {
            "lattice": [[str(x) for x in row] for row in self.lattice],
            "tiles": [
                {"color": c, "vertices": [[str(x), str(y)] for x, y in v], **self._owned(k)}
                for k, (c, v) in enumerate(self.tiles)
            ],
            "colors": self.colors,
            "free": self.free,
            "rest": self.rest,
            **({"axes": [str(a) for a in self.axes]} if self.axes else {}),
        }

    def _owned(self, tile: int) -> dict[str, str]:
        if not self.owners:
            return {}
        sides, corners = self.owners[tile]
        return {"sides": sides, "corners": corners}

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "PolygonColouring":
        """Build a colouring from what `as_json` wrote.

        Raises:
            ColoringError: A field is missing or does not fit.
        """
        try:
            return cls(
                tuple(tuple(Fraction(x) for x in row) for row in plain["lattice"]),
                tuple(
                    (int(t["color"]), tuple((Fraction(x), Fraction(y)) for x, y in t["vertices"]))
                    for t in plain["tiles"]
                ),
                int(plain["colors"]),
                bool(plain["free"]),
                bool(plain["rest"]),
                tuple(Fraction(a) for a in plain.get("axes", ())),
                tuple((str(t["sides"]), str(t["corners"])) for t in plain["tiles"])
                if any("sides" in t for t in plain["tiles"])
                else (),
            )
        except (KeyError, TypeError, ValueError, ZeroDivisionError) as error:
            raise ColoringError(
                f"this is no colouring by polygons ({type(error).__name__}: {error})."
            ) from error

    def save(self, path: Path | str) -> Path:
        """Write the colouring as JSON."""
        return atomic_write(path, json.dumps(self.as_json()) + "\n")


def area(vertices: Sequence[tuple[Fraction, Fraction]]) -> Fraction:
    """Return the signed area of a polygon."""
    n = len(vertices)
    twice = sum(
        (
            vertices[i][0] * vertices[(i + 1) % n][1] - vertices[(i + 1) % n][0] * vertices[i][1]
            for i in range(n)
        ),
        Fraction(0),
    )
    return twice / 2


def inside(points: Float[np.ndarray, "m 2"], polygon: Float[np.ndarray, "_ 2"]) -> Any:
    """Return which points lie in a polygon (crossing number)."""
    x, y = points[:, 0], points[:, 1]
    odd = np.zeros(len(points), bool)
    for (ax, ay), (bx, by) in zip(polygon, np.roll(polygon, -1, 0), strict=True):
        crosses = (ay > y) != (by > y)
        if ay != by:
            odd ^= crosses & (x < ax + (y - ay) * (bx - ax) / (by - ay))
    return odd


def apart(p: Float[np.ndarray, "m 2"], q: Float[np.ndarray, "k 2"]) -> Float[np.ndarray, "m k"]:
    """Return the distances of all pairs of points (a sum over an axis of 2 would be slower)."""
    return np.sqrt((p[:, None, 0] - q[None, :, 0]) ** 2 + (p[:, None, 1] - q[None, :, 1]) ** 2)


def sides_apart(
    p: Float[np.ndarray, "m 2"], q: Float[np.ndarray, "k 2"]
) -> tuple[Float[np.ndarray, "m k"], Float[np.ndarray, "m k"]]:
    """Return the distance of every point to every side of a polygon, and where on the side."""
    step = np.roll(q, -1, 0) - q
    dx, dy = p[:, None, 0] - q[None, :, 0], p[:, None, 1] - q[None, :, 1]
    square = np.maximum(step[:, 0] ** 2 + step[:, 1] ** 2, 1e-300)
    t = np.clip((dx * step[:, 0] + dy * step[:, 1]) / square, 0, 1)
    return np.sqrt((dx - t * step[:, 0]) ** 2 + (dy - t * step[:, 1]) ** 2), t


def gap_of(p: Float[np.ndarray, "_ 2"], q: Float[np.ndarray, "_ 2"]) -> float:
    """Return the least distance of two polygons that do not overlap."""
    return min(float(sides_apart(p, q)[0].min()), float(sides_apart(q, p)[0].min()))


def distances(
    tiles: Sequence[tuple[int, Float[np.ndarray, "_ 2"]]],
    basis: Float[np.ndarray, "2 2"],
    color: int,
    reach: float,
) -> list[tuple[float, float]]:
    """Return (least, largest distance) for every pair of tiles of a colour within `reach`."""
    own = [v for c, v in tiles if c == color]
    found: list[tuple[float, float]] = []
    for i, p in enumerate(own):
        for j, q in enumerate(own[: i + 1]):
            for shift, (k, m) in shifts_near(p, q, basis, reach):
                moved = q + shift
                largest = float(np.sqrt(((p[:, None] - moved[None]) ** 2).sum(-1)).max())
                least = 0.0 if i == j and (k, m) == (0, 0) else gap_of(p, moved)
                if least <= reach:
                    found.append((least, largest))
    return found


def shifts_near(
    p: Float[np.ndarray, "_ 2"],
    q: Float[np.ndarray, "_ 2"],
    basis: Float[np.ndarray, "2 2"],
    reach: float,
) -> list[tuple[Float[np.ndarray, " 2"], tuple[int, int]]]:
    """Return the lattice translations that may bring q within `reach` of p."""
    centre = p.mean(0) - q.mean(0)
    radius = (
        reach
        + float(np.linalg.norm(p - p.mean(0), axis=1).max())
        + float(np.linalg.norm(q - q.mean(0), axis=1).max())
    )
    dual = np.linalg.inv(basis)
    middle = centre @ dual
    width = radius * np.linalg.norm(dual, axis=0)
    found: list[tuple[Float[np.ndarray, " 2"], tuple[int, int]]] = []
    for i in range(int(np.ceil(middle[0] - width[0])), int(np.floor(middle[0] + width[0])) + 1):
        for j in range(int(np.ceil(middle[1] - width[1])), int(np.floor(middle[1] + width[1])) + 1):
            shift = i * basis[0] + j * basis[1]
            if np.linalg.norm(shift - centre) <= radius:
                found.append((shift, (i, j)))
    return found
