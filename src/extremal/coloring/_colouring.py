"""A periodic colouring of R^n by half-open cells: exact lattice, grid, one colour a cell."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int, Integer, UInt8

from extremal.lab import atomic_write, rational

from ._errors import ColoringError

Matrix = tuple[tuple[Fraction, ...], ...]
Cell = Literal["parallelogram", "hexagon"]


@dataclass(frozen=True)
class Shape:
    """What decides which distances occur between two cells.

    Attributes:
        steps: The rows u_i = v_i / N_i.
        cell: Parallelograms, or hexagons: the points nearest to a point of the lattice of the u_i.
        axes: Squared units of the coordinates; empty: 1.
    """

    steps: Matrix
    cell: Cell = "parallelogram"
    axes: tuple[Fraction, ...] = ()

    @property
    def weights(self) -> tuple[Fraction, ...]:
        """The squared units of the coordinates."""
        return self.axes or (Fraction(1),) * len(self.steps)

    @property
    def floats(self) -> Float[np.ndarray, "n n"]:
        """The steps in floats and in true units."""
        units = np.sqrt([float(a) for a in self.weights])
        return np.array([[float(x) for x in row] for row in self.steps]) * units


@dataclass(frozen=True, eq=False)
class Colouring:
    """Colours of half-open cells, repeated under the lattice of the v_i.

    A parallelogram is sum (x_i + [0, 1)) v_i / N_i. A hexagon is what is nearest to the point
    sum x_i v_i / N_i (in space: a polytope of up to 14 facets); points on common boundaries belong
    to the cell that they enter when moved by (e, e^2, e^3) for every small e > 0.

    Attributes:
        lattice: The rows v_1 … v_n; exact numbers are read, fractions are kept.
        cells: Array of shape N_1 x … x N_n with the colour of each cell.
        colors: How many colours there are, the free one not counted.
        free: Whether colour number `colors` is the free one.
        cell: Parallelograms or hexagons.
        axes: Squared units of the coordinates, for lattices such as the regular hexagonal one:
            (3, 1) says that x is in units of sqrt(3). Empty: 1.
    """

    lattice: Any
    cells: Integer[np.ndarray, "..."]
    colors: int
    free: bool = False
    cell: Cell = "parallelogram"
    axes: tuple[Any, ...] = ()

    def __post_init__(self) -> None:
        lattice = tuple(tuple(rational(x) for x in row) for row in self.lattice)
        n = len(lattice)
        if n not in (2, 3) or any(len(row) != n for row in lattice):
            raise ValueError(f"the lattice is not 2 rows of 2 or 3 rows of 3 numbers: {lattice}.")
        object.__setattr__(self, "lattice", lattice)
        if determinant(lattice) == 0:
            raise ValueError("the lattice is singular, so it has no cells; give independent rows.")
        given = np.asarray(self.cells)
        if given.ndim != n or given.size == 0:
            raise ValueError(
                f"the cells have shape {given.shape}, but the lattice has dimension {n}."
            )
        if given.dtype.kind not in "iub":
            raise ValueError(f"the cells are of type {given.dtype}; colours are integers.")
        palette = self.colors + self.free
        if given.min() < 0 or given.max() >= palette:
            raise ValueError(
                f"the cells hold colours {given.min()} to {given.max()}, beyond 0 to {palette - 1}."
            )
        if self.cell not in ("parallelogram", "hexagon"):
            raise ValueError(f"cell is {self.cell!r}; cells are parallelograms or hexagons.")
        axes = tuple(rational(a) for a in self.axes)
        if axes and (len(axes) != n or min(axes) <= 0):
            raise ValueError(f"axes has {n} squared units above 0, or none; got {self.axes!r}.")
        object.__setattr__(self, "axes", () if all(a == 1 for a in axes) else axes)
        cells = np.ascontiguousarray(given, np.uint8)
        cells.setflags(write=False)
        object.__setattr__(self, "cells", cells)

    @property
    def dim(self) -> int:
        """2 or 3."""
        return len(self.lattice)

    @property
    def grid(self) -> tuple[int, ...]:
        """How many cells each period vector is divided into."""
        return self.cells.shape

    @property
    def palette(self) -> int:
        """How many colours there are, the free one included."""
        return self.colors + self.free

    @property
    def free_density(self) -> Fraction:
        """The exact share of space that is free."""
        if not self.free:
            return Fraction(0)
        return Fraction(int((self.cells == self.colors).sum()), self.cells.size)

    @property
    def basis(self) -> Float[np.ndarray, "n n"]:
        """The lattice rows in floats, in true units."""
        return Shape(self.lattice, axes=self.axes).floats

    @property
    def steps(self) -> Float[np.ndarray, "n n"]:
        """The rows u_i = v_i / N_i in floats."""
        return self.basis / np.array(self.grid, float)[:, None]

    @property
    def exact_steps(self) -> Matrix:
        """The rows u_i = v_i / N_i."""
        return tuple(tuple(x / n for x in v) for v, n in zip(self.lattice, self.grid, strict=True))

    @property
    def shape(self) -> Shape:
        """What decides about distances between cells."""
        return Shape(self.exact_steps, self.cell, self.axes)

    def with_cells(self, cells: Integer[np.ndarray, "..."]) -> "Colouring":
        """Return the same lattice and kind of cells with other colours in them."""
        return replace(self, cells=cells)

    def integer_lattice(self) -> tuple[list[list[int]], int]:
        """Return the lattice as integer rows and their common denominator."""
        common = math.lcm(*(x.denominator for row in self.lattice for x in row))
        return [[int(x * common) for x in row] for row in self.lattice], common

    def at(self, points: Float[np.ndarray, "m n"]) -> Int[np.ndarray, " m"]:
        """Return the colours of points, in floats: for pictures and samples, not for proofs.

        Raises:
            ValueError: A coordinate is NaN or infinite.
        """
        if not np.isfinite(points).all():
            raise ValueError("a point has a coordinate that is NaN or infinite.")
        if self.cell == "hexagon":
            from ._hexagons import nearest_cells

            index = nearest_cells(points, self.steps) % np.array(self.grid)
        else:
            inner = points @ np.linalg.inv(self.steps)
            index = np.floor(inner).astype(np.int64) % np.array(self.grid)
        return self.cells[tuple(index.T)].astype(np.int64)

    def refined(self, factor: int) -> "Colouring":
        """Return the same colouring with each cell cut into factor^n equal ones.

        Hexagons cannot be cut into hexagons: finer ones get the colour of the one at their middle,
        so boundaries move by a part of a cell.
        """
        cells = self.cells
        if self.cell == "hexagon":
            index = np.stack(
                np.meshgrid(*(np.arange(n * factor) for n in self.grid), indexing="ij"), -1
            )
            middles = index.reshape(-1, self.dim) @ (self.steps / factor)
            cells = self.at(middles).reshape(index.shape[:-1]).astype(np.uint8)
        else:
            for axis in range(self.dim):
                cells = np.repeat(cells, factor, axis)
        return self.with_cells(cells)

    def as_json(self) -> dict[str, Any]:
        """Return plain values from which `from_json` builds the same colouring."""
        lattice, denominator = self.integer_lattice()
        return {
            "lattice": lattice,
            "denominator": denominator,
            "grid": list(self.grid),
            "runs": runs_of(self.cells),
            "colors": self.colors,
            "free": self.free,
            **self.form(),
        }

    def form(self) -> dict[str, Any]:
        """Return what differs from parallelograms with coordinates in units of 1."""
        return {
            **({"cell": self.cell} if self.cell != "parallelogram" else {}),
            **({"axes": [str(a) for a in self.axes]} if self.axes else {}),
        }

    @classmethod
    def from_json(cls, plain: Mapping[str, Any]) -> "Colouring":
        """Build a colouring from what `as_json` wrote.

        Raises:
            ColoringError: A field is missing or does not fit.
        """
        try:
            rows = [
                [Fraction(int(x), int(plain["denominator"])) for x in r] for r in plain["lattice"]
            ]
            cells = cells_of(plain["runs"], tuple(int(n) for n in plain["grid"]))
            return cls(
                tuple(tuple(r) for r in rows), cells, int(plain["colors"]), bool(plain["free"]),
                plain.get("cell", "parallelogram"), tuple(plain.get("axes", ())),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError, ZeroDivisionError, OverflowError) as error:
            raise ColoringError(
                f"this is no colouring ({type(error).__name__}: {error}); it has the fields "
                "lattice, denominator, grid, runs, colors and free."
            ) from error

    def save(self, path: Path | str) -> Path:
        """Write the colouring as JSON."""
        return atomic_write(path, json.dumps(self.as_json()) + "\n")


def determinant(rows: Sequence[Sequence[Fraction]]) -> Fraction:
    """Return the exact determinant of a square matrix."""
    m = [list(row) for row in rows]
    found = Fraction(1)
    for k in range(len(m)):
        pivot = next((i for i in range(k, len(m)) if m[i][k]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != k:
            m[k], m[pivot], found = m[pivot], m[k], -found
        found *= m[k][k]
        for i in range(k + 1, len(m)):
            f = m[i][k] / m[k][k]
            m[i] = [a - f * b for a, b in zip(m[i], m[k], strict=True)]
    return found


def solved(
    rows: Sequence[Sequence[Fraction]], rhs: Sequence[Fraction]
) -> tuple[Fraction, ...] | None:
    """Return the solution of a square system, or None if it is singular."""
    n = len(rhs)
    m = [[*rows[i], rhs[i]] for i in range(n)]
    for k in range(n):
        pivot = next((i for i in range(k, n) if m[i][k]), None)
        if pivot is None:
            return None
        m[k], m[pivot] = m[pivot], m[k]
        for i in range(n):
            if i != k and m[i][k]:
                f = m[i][k] / m[k][k]
                m[i] = [a - f * b for a, b in zip(m[i], m[k], strict=True)]
    return tuple(m[i][n] / m[i][i] for i in range(n))


def runs_of(cells: UInt8[np.ndarray, "..."]) -> str:
    """Return the cells, last axis fastest, as runs "LENGTH:COLOUR" with spaces between."""
    flat = cells.ravel()
    starts = np.concatenate([[0], np.flatnonzero(np.diff(flat)) + 1, [flat.size]])
    return " ".join(
        f"{length}:{flat[start]}"
        for start, length in zip(starts[:-1], np.diff(starts), strict=True)
    )


def cells_of(runs: str, grid: tuple[int, ...]) -> UInt8[np.ndarray, "..."]:
    """Return the cells of what `runs_of` wrote.

    Raises:
        ValueError: The runs do not fill the grid.
    """
    pairs = [run.split(":") for run in runs.split(" ")]
    flat = np.repeat([int(c) for _, c in pairs], [int(n) for n, _ in pairs])
    if flat.size != math.prod(grid):
        raise ValueError(f"the runs give {flat.size} cells, the grid has {math.prod(grid)}")
    return flat.reshape(grid).astype(np.uint8)


def rational_lattice(basis: Float[np.ndarray, "n n"], digits: int = 4) -> Matrix:
    """Return a lattice in floats as decimals of so many digits, exactly."""
    return tuple(
        tuple(Fraction(round(float(x) * 10**digits), 10**digits) for x in row) for row in basis
    )
