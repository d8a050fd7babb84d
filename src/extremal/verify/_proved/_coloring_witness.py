"""What the checkers of periodic cell colourings share: reading the witness, shifting on the torus.

A colouring of R^n repeats under the lattice of the rows v_1 … v_n and is constant on half-open
cells at the points sum x_i u_i with u_i = v_i / N_i: parallelograms, or hexagons, that is, the
points nearest to them (`_coloring_bodies` says which points of boundaries). Coordinate k may be in
units of sqrt(axes[k]), so that lattices such as the regular hexagonal one are exact. All vectors
are kept as integers: multiplied by one common denominator `scale`; squared norms by `unit`. The
cells of one colour are the bits of one integer, the last axis running fastest.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from hashlib import sha256
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

MAX_CELLS = 1 << 26
WITNESS = ("lattice", "denominator", "grid", "runs")
OPTIONAL = ("cell", "axes")
CELLS = ("parallelogram", "hexagon")


@dataclass(frozen=True)
class Torus:
    """A cell colouring, read and found consistent."""

    dim: int
    grid: tuple[int, ...]
    steps: tuple[tuple[int, ...], ...]  # u_i * scale
    scale: int
    masks: tuple[int, ...]  # the cells of each colour, the free one last
    cell: str = "parallelogram"
    axes: tuple[int, ...] = ()  # weights of the coordinates, integers
    unit: int = 1  # squared norms of integer vectors, with these weights, are so many times larger

    @property
    def cells(self) -> int:
        """How many cells a period has."""
        return math.prod(self.grid)

    def shifted(self, mask: int, offset: tuple[int, ...]) -> int:
        """Return the cells x for which x + offset is in `mask`."""
        stride = self.cells
        for n, d in zip(self.grid, offset, strict=True):
            block, stride = stride, stride // n
            low = d % n * stride
            if low:
                starts = _starts(self.cells, block)
                wrapped = mask & ((starts << low) - starts)
                mask = ((mask ^ wrapped) >> low) | (wrapped << (block - low))
        return mask

    def place(self, bit: int) -> tuple[int, ...]:
        """Return the coordinates of a cell from its number."""
        found: list[int] = []
        for n in reversed(self.grid):
            bit, x = divmod(bit, n)
            found.append(x)
        return tuple(reversed(found))


@lru_cache(maxsize=4)
def _starts(cells: int, block: int) -> int:
    """The first bit of every block; kept, because the division takes longer than all shifts."""
    return ((1 << cells) - 1) // ((1 << block) - 1)


def read_torus(claim: dict[str, Any], witness: dict[str, Any]) -> Torus:
    """Return the witness of a claim; what does not fit is a rejection."""
    dim, colors = fields.natural(claim, "dim"), fields.natural(claim, "colors")
    if dim not in (2, 3):
        raise Rejected(f"dim is {dim}; only the plane and space are checked.")
    if not 1 <= colors <= 255:
        raise Rejected(f"colors is {colors}, not 1 to 255.")
    if type(claim.get("free")) is not bool:
        raise Rejected("free does not say whether there is a free colour.")
    if fields.text(claim, "coloring_sha256") != digest(witness):
        raise Rejected("the witness has another SHA-256 than the claim says.")
    lattice = _integers(fields.items(witness, "lattice"), dim)
    denominator = fields.natural(witness, "denominator")
    grid = fields.items(witness, "grid")
    if denominator < 1 or len(grid) != dim or any(type(n) is not int or n < 1 for n in grid):
        raise Rejected("the denominator and grid are not positive integers, one a dimension.")
    if math.prod(grid) > MAX_CELLS:
        raise Rejected(f"there are more than {MAX_CELLS} cells.")
    if determinant(lattice) == 0:
        raise Rejected("the lattice is singular.")
    cell = witness.get("cell", "parallelogram")
    if cell not in CELLS:
        raise Rejected(f"cell is {cell!r}, not {' or '.join(CELLS)}.")
    axes = _axes(witness, dim)
    share = math.lcm(*(a.denominator for a in axes))
    common = math.lcm(*grid)
    steps = tuple(
        tuple(x * (common // n) for x in row) for row, n in zip(lattice, grid, strict=True)
    )
    cells = _cells(fields.text(witness, "runs"), math.prod(grid), colors + claim["free"])
    backwards = cells[::-1]
    masks: list[int] = []
    for color in range(colors + claim["free"]):
        table = bytearray(b"0" * 256)
        table[color] = ord("1")
        masks.append(int(backwards.translate(bytes(table)), 2))
    scale = denominator * common
    return Torus(
        dim, tuple(grid), steps, scale, tuple(masks), cell,
        tuple(int(a * share) for a in axes), scale * scale * share,
    )  # fmt: skip


def digest(witness: dict[str, Any]) -> str:
    """Return the SHA-256 that ties a claim to its witness."""
    parts = [str(witness.get(name)) for name in WITNESS]
    parts += [f"{name}={witness[name]}" for name in OPTIONAL if name in witness]
    return sha256("|".join(parts).encode()).hexdigest()


def determinant(rows: tuple[tuple[int, ...], ...]) -> int:
    """Return the determinant of 1 to 3 rows."""
    if len(rows) == 1:
        return rows[0][0]
    return sum(
        (-1) ** j * rows[0][j] * determinant(tuple(r[:j] + r[j + 1 :] for r in rows[1:]))
        for j in range(len(rows))
    )


def fraction(value: Any, name: str) -> Fraction:
    """Return a number written as "p" or "p/q"; floats and words such as nan are refused."""
    if not isinstance(value, str) or len(value) > 2000:
        raise Rejected(f"{name} is {value!r}, not an exact number as text.")
    top, slash, bottom = value.partition("/")
    if (
        not top.removeprefix("-").isdigit()
        or (slash and not bottom.isdigit())
        or (slash and int(bottom) == 0)
    ):
        raise Rejected(f"{name} is {value!r}, not an exact number p/q.")
    return Fraction(int(top), int(bottom) if slash else 1)


def palette(value: Any, colors: int) -> list[int]:
    """Return a list of colours that rules may bind; the free one is not among them."""
    if not isinstance(value, list) or not value:
        raise Rejected(f"the colours {value!r} of a rule are no list of colours.")
    found = cast("list[Any]", value)
    if any(type(c) is not int or not 0 <= c < colors for c in found):
        raise Rejected(f"the colours {found!r} of a rule are not all among 0 to {colors - 1}.")
    return found


def check_density(claim: dict[str, Any], torus: Torus) -> Fraction:
    """Return the exact density of the free colour, which must be the claimed one."""
    free = torus.masks[-1].bit_count() if claim["free"] else 0
    density = Fraction(free, torus.cells)
    if fraction(claim.get("free_density"), "free_density") != density:
        raise Rejected(
            f"free_density is claimed as {claim.get('free_density')!r}; {free} of {torus.cells} "
            f"cells are free, which is {density}."
        )
    return density


def _axes(witness: dict[str, Any], dim: int) -> list[Fraction]:
    """The squared lengths of the units of the coordinates; 1 where nothing is said."""
    if "axes" not in witness:
        return [Fraction(1)] * dim
    given = fields.items(witness, "axes")
    found = [fraction(a, "an axis") for a in given]
    if len(found) != dim or any(a <= 0 for a in found):
        raise Rejected(f"axes is {given!r}, not {dim} squared lengths above 0.")
    return found


def _integers(rows: list[Any], dim: int) -> tuple[tuple[int, ...], ...]:
    square = len(rows) == dim and all(isinstance(r, list) and len(r) == dim for r in rows)
    if not square or any(type(x) is not int for r in rows for x in r):
        raise Rejected(f"the lattice is not {dim} rows of {dim} integers.")
    return tuple(tuple(r) for r in rows)


def _cells(runs: str, count: int, colors: int) -> bytes:
    found = bytearray()
    for run in runs.split(" "):
        length, _, color = run.partition(":")
        if not (length.isdigit() and color.isdigit()) or int(color) >= colors or int(length) < 1:
            raise Rejected(f"the run {run!r} is not LENGTH:COLOUR with a colour below {colors}.")
        if len(found) + int(length) > count:
            raise Rejected(f"the runs are longer than the {count} cells of the grid.")
        found += bytes([int(color)]) * int(length)
    if len(found) != count:
        raise Rejected(f"the runs give {len(found)} cells, the grid has {count}.")
    return bytes(found)
