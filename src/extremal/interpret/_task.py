"""What an audit is about: rows of discrete values, their classes, and who may use which rows.

A row is d *units* (columns of a table, pixels of an image), each with a code 0, 1, …; a feature is
a set of units with their codes. Whoever is asked about a feature sees `HIDDEN` elsewhere, so that
"hidden" never looks like a value.

Four disjoint sets of rows: `train` for Arthur and the provers, `catalogue` to freeze what Merlin
shows, `reference` to measure precision, `audit` to count on. Only the last decides.
"""

import hashlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped

from extremal.lab import generator

from ._errors import InterpretError

HIDDEN = -1
_MOST_LEVELS = 1024  # codes of one unit; more is a continuous quantity that was not binned


@dataclass(frozen=True)
class Rows:
    """Rows of codes with a class each.

    Attributes:
        codes: One code a unit.
        labels: Classes, counted from 0.
        ids: What tells rows of one source apart; equal ids are the same row.
    """

    codes: Int[np.ndarray, "n d"]
    labels: Int[np.ndarray, " labels"]
    ids: Int[np.ndarray, " ids"]

    def __post_init__(self) -> None:
        if not len(self.codes) == len(self.labels) == len(self.ids):
            raise ValueError(
                f"{len(self.codes)} rows have {len(self.labels)} labels and {len(self.ids)} ids; "
                "each needs one of both."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Int[np.ndarray, " k"] | slice) -> "Rows":
        """Return some of the rows."""
        return Rows(self.codes[index], self.labels[index], self.ids[index])


@dataclass(frozen=True)
class Unit:
    """One column or pixel: its name and what its codes stand for."""

    name: str
    levels: tuple[str, ...]


@dataclass(frozen=True)
class Task:
    """Rows, classes and units of an audit; `make_task` makes one from arrays.

    Attributes:
        image: Height and width of the grid of units where they are pixels or blocks of pixels, else
            None; a pixel's code c of L stands for the value 2c/(L-1) - 1.
        patch: Side of the blocks: a unit of an image is patch x patch pixels, shown or hidden
            together, and its code the number whose digits in base L are their codes, row by row.
        shares: Of the classes in the population, where they are known; None to estimate them.
        hidden: Units that nobody may show.
        note: What belongs beside every number.
    """

    name: str
    class_names: tuple[str, ...]
    units: tuple[Unit, ...]
    train: Rows
    catalogue: Rows
    reference: Rows
    audit: Rows
    image: tuple[int, int] | None = None
    shares: tuple[float, ...] | None = None
    hidden: tuple[int, ...] = ()
    note: str = ""
    patch: int = 1

    def __post_init__(self) -> None:
        for name, rows in self.parts():
            if rows.codes.ndim != 2 or rows.codes.shape[1] != len(self.units):
                raise ValueError(
                    f"{self.name}: {name} rows have shape {rows.codes.shape}, not "
                    f"(n, {len(self.units)}), one code a unit."
                )
            if len(rows) and not 0 <= rows.labels.min() <= rows.labels.max() < self.classes:
                raise ValueError(
                    f"{self.name}: {name} labels leave 0..{self.classes - 1}; count classes from 0."
                )
            for u, unit in enumerate(self.units):
                column = rows.codes[:, u]
                if len(rows) and not 0 <= column.min() <= column.max() < len(unit.levels):
                    raise ValueError(
                        f"{self.name}: {name} codes of {unit.name} leave 0..{len(unit.levels) - 1}."
                    )
        absent = [self.class_names[c] for c in range(self.classes) if c not in self.audit.labels]
        if absent:
            raise ValueError(
                f"{self.name}: the class {', '.join(absent)} has no audit row, so nothing can be "
                "said about it; audit more rows or choose other classes."
            )
        if self.shares is not None and (
            len(self.shares) != self.classes
            or min(self.shares) <= 0
            or abs(sum(self.shares) - 1) > 1e-9
        ):
            raise ValueError(f"shares={self.shares} are not {self.classes} positive parts of 1.")

    @property
    def classes(self) -> int:
        """How many classes there are."""
        return len(self.class_names)

    @property
    def d(self) -> int:
        """How many units there are."""
        return len(self.units)

    @cached_property
    def sizes(self) -> Int[np.ndarray, " d"]:
        """How many codes each unit has."""
        return np.array([len(u.levels) for u in self.units])

    @cached_property
    def shown(self) -> Int[np.ndarray, " s"]:
        """The units that may be shown."""
        return np.setdiff1d(np.arange(self.d), np.array(self.hidden, int))

    def parts(self) -> list[tuple[str, Rows]]:
        """The four sets of rows with their names."""
        names = ("train", "catalogue", "reference", "audit")
        return [(name, getattr(self, name)) for name in names]

    def unit(self, name: str) -> int:
        """Return the number of a unit.

        Raises:
            ValueError: There is none of that name.
        """
        for u, unit in enumerate(self.units):
            if unit.name == name:
                return u
        raise ValueError(
            f"{self.name} has no column {name!r}; it has {', '.join(u.name for u in self.units)}."
        )

    def hide(self, *names: str) -> "Task":
        """Return the task in which nobody may show these units."""
        return replace(self, hidden=tuple(sorted({*self.hidden, *map(self.unit, names)})))

    def relabelled(self, classify: Callable[[Int[np.ndarray, "n d"]], Any]) -> "Task":
        """Return the task whose classes are the answers of a black box, so that they are explained.

        Args:
            classify: From codes of whole rows to classes counted from 0.

        Returns:
            The same rows with its answers as labels; shares are no longer known.
        """
        parts = {
            name: Rows(rows.codes, np.asarray(classify(rows.codes), np.int64), rows.ids)
            for name, rows in self.parts()
        }
        note = f"{self.note} The classes are the answers of a black box.".strip()
        return replace(self, **parts, shares=None, note=note)

    def sampled(self, samples: int) -> "Task":
        """Return the task with the first `samples` audit rows; they lie in random order."""
        if not 1 <= samples <= len(self.audit):
            raise ValueError(
                f"{self.name} has {len(self.audit)} audit rows, so {samples} cannot be taken."
            )
        return replace(self, audit=self.audit.take(slice(0, samples)))

    def describe(self, mask: Bool[np.ndarray, " d"], codes: Int[np.ndarray, " d"]) -> str:
        """Return a feature in words."""
        if self.image:
            blocks = f"blocks of {self.patch} x {self.patch} pixels" if self.patch > 1 else "pixels"
            return f"{int(mask.sum())} {blocks}"
        said = [
            f"{self.units[u].name} {self.units[u].levels[codes[u]]}" for u in np.flatnonzero(mask)
        ]
        return " and ".join(said)

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of all rows and of who may use them."""
        digest = hashlib.sha256(repr((self.class_names, self.image, self.hidden)).encode())
        if self.patch > 1:
            digest.update(f"patch {self.patch}".encode())
        for name, rows in self.parts():
            digest.update(name.encode())
            for array in (rows.codes, rows.labels):
                digest.update(np.ascontiguousarray(array, "<i8").tobytes())
        return digest.hexdigest()


def make_task(
    codes: Shaped[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    *,
    name: str,
    units: Sequence[Unit] | None = None,
    class_names: Sequence[str] | None = None,
    audit: tuple[Shaped[np.ndarray, "m d"], Int[np.ndarray, " m"]] | float = 0.4,
    catalogue: float = 0.15,
    reference: float = 0.25,
    shares: Sequence[float] | None = None,
    image: tuple[int, int] | None = None,
    patch: int = 1,
    seed: int = 0,
    note: str = "",
) -> Task:
    """Make a task from arrays of codes.

    Args:
        codes: Whole numbers from 0, of any type; bin quantities first (`bin_columns`).
        labels: Classes from 0.
        name: Of the data.
        units: Names and levels; by default numbers.
        class_names: By default numbers.
        audit: Rows of their own to audit on, or the share of the rows to set aside for it.
        catalogue: Share of the remaining rows to freeze Merlin's catalogue on.
        reference: Share of the remaining rows to measure precision on.
        shares: Of the classes in the population, where known, for instance by balancing.
        image: Height and width where the units are pixels, or blocks of them.
        patch: Side of the blocks.
        seed: Decides which rows go where, and the order of the audit rows.
        note: What belongs beside every number.

    Returns:
        The task; its four sets of rows are disjoint.

    Raises:
        ValueError: The codes are not whole numbers, hold NaN, or a unit has over 1,024 levels (a
            quantity that was not binned).

    Example:
        >>> codes = np.array([[0, 1], [1, 0], [0, 0], [1, 1]] * 10)
        >>> task = make_task(codes, codes[:, 0], name="first bit")
        >>> len(task.train), len(task.catalogue), len(task.reference), len(task.audit)
        (14, 4, 6, 16)
    """
    codes = whole_numbers(codes, name)
    labels = np.asarray(labels, np.int64)
    separate = None if isinstance(audit, (int, float)) else audit
    order = generator(seed, "rows", name).permutation(len(codes))
    ids = np.arange(len(codes))
    rest = order
    if separate is None:
        share = float(audit)  # pyright: ignore[reportArgumentType]
        if not 0 < share < 1:
            raise ValueError(f"audit={share} is no share of the rows; choose 0 < share < 1.")
        held = round(share * len(codes))
        audited, rest = Rows(codes, labels, ids).take(order[:held]), order[held:]
    else:
        other = whole_numbers(separate[0], name)
        shuffled = generator(seed, "audit", name).permutation(len(other))
        audited = Rows(
            other[shuffled], np.asarray(separate[1], np.int64)[shuffled], len(codes) + shuffled
        )
    if catalogue < 0 or reference < 0 or catalogue + reference >= 1:
        raise ValueError(
            f"catalogue={catalogue} and reference={reference} leave no row to train on; they are "
            "shares that add up to less than 1."
        )
    a, b = round(catalogue * len(rest)), round(reference * len(rest))
    whole = Rows(codes, labels, ids)
    if units is None:
        top = np.max([codes.max(0), audited.codes.max(0)], axis=0) if len(codes) else []
        units = [Unit(f"x{u}", tuple(map(str, range(int(t) + 1)))) for u, t in enumerate(top)]
    names = class_names or [str(c) for c in range(int(max(labels.max(), audited.labels.max())) + 1)]
    return Task(
        name=name,
        class_names=tuple(names),
        units=tuple(units),
        train=whole.take(rest[a + b :]),
        catalogue=whole.take(rest[:a]),
        reference=whole.take(rest[a : a + b]),
        audit=audited,
        image=image,
        patch=patch,
        shares=None if shares is None else tuple(shares),
        note=note,
    )


def in_blocks(
    codes: Int[np.ndarray, "n pixels"], image: tuple[int, int], patch: int, levels: int
) -> Int[np.ndarray, "n d"]:
    """Return the codes of square blocks of pixels; see `Task.patch`.

    Args:
        codes: Of pixels, row by row.
        image: Height and width in pixels.
        patch: Side of a block.
        levels: Codes of a pixel.

    Raises:
        ValueError: Blocks do not tile the image, or have over 1,024 codes.

    Example:
        >>> in_blocks(np.array([[1, 0, 0, 0, 1, 1, 0, 0]]), (2, 4), 2, 2)
        array([[11,  0]], dtype=int16)
    """
    height, width = image
    if patch < 1 or height % patch or width % patch:
        raise ValueError(
            f"blocks of {patch} x {patch} pixels do not tile {height} x {width} of them; choose "
            "a side that divides both."
        )
    if levels ** (patch * patch) > _MOST_LEVELS:
        raise ValueError(
            f"a block of {patch} x {patch} pixels in {levels} levels has {levels}^{patch * patch} "
            f"codes, over {_MOST_LEVELS:,}; choose smaller blocks or fewer levels."
        )
    grid = codes.reshape(-1, height // patch, patch, width // patch, patch)
    digits = grid.transpose(0, 1, 3, 2, 4).reshape(len(codes), -1, patch * patch)
    powers = levels ** np.arange(patch * patch - 1, -1, -1)
    return (digits.astype(np.int64) * powers).sum(2).astype(np.int16)


def in_pixels(
    codes: Int[np.ndarray, "n d"], image: tuple[int, int], patch: int, levels: int
) -> Int[np.ndarray, "n pixels"]:
    """Return the codes of pixels from those of blocks, the inverse of `in_blocks`.

    Args:
        codes: Of blocks.
        image: Height and width of the grid of blocks.
        patch: Side of a block.
        levels: Codes of a pixel.
    """
    powers = levels ** np.arange(patch * patch - 1, -1, -1)
    digits = codes[:, :, None].astype(np.int64) // powers % levels
    grid = digits.reshape(-1, *image, patch, patch).transpose(0, 1, 3, 2, 4)
    return grid.reshape(len(codes), -1).astype(np.int16)


def whole_numbers(values: Any, name: str) -> Int[np.ndarray, "n d"]:
    """Return codes as int16, or refuse what is not discrete."""
    array = np.asarray(values)
    if array.ndim != 2:
        raise ValueError(f"{name}: rows have shape {array.shape}; expected (n, units).")
    if array.dtype.kind == "f":
        if not np.isfinite(array).all():
            raise ValueError(f"{name}: the rows hold NaN or infinity; clean them first.")
        if (array != np.round(array)).any():
            raise ValueError(
                f"{name}: the rows hold fractions, so nearly every feature would be unique and its "
                "precision meaningless; bin them first (bin_columns, or --bins at the shell)."
            )
    elif array.dtype.kind not in "iub":
        raise ValueError(f"{name}: the rows are {array.dtype}; code them as whole numbers first.")
    if array.size and not 0 <= array.min() <= array.max() < _MOST_LEVELS:
        raise ValueError(
            f"{name}: codes reach from {array.min()} to {array.max()}, but lie in 0.."
            f"{_MOST_LEVELS - 1}; bin quantities first (bin_columns, or --bins at the shell)."
        )
    return array.astype(np.int16)


def bin_columns(
    values: Float[np.ndarray, "n d"] | Int[np.ndarray, "n d"],
    fit_on: Float[np.ndarray, "m d"] | Int[np.ndarray, "m d"],
    names: Sequence[str],
    bins: int,
) -> tuple[Int[np.ndarray, "n d"], list[Unit]]:
    """Bin quantities by quantiles.

    Args:
        values: What to bin.
        fit_on: Rows that decide the edges, never those of an audit.
        names: Of the columns.
        bins: At most so many bins a column, 2 to 64; equal quantiles are merged.

    Returns:
        The codes, and the units with their intervals.

    Raises:
        ValueError: `bins` is out of range (0 would leave continuous features) or a value is NaN.

    Example:
        >>> bin_columns(np.array([[1.0], [9.0]]), np.arange(10.0)[:, None], ["age"], 2)[1]
        [Unit(name='age', levels=('<= 4.5', '> 4.5'))]
    """
    if not 2 <= bins <= 64:
        raise ValueError(
            f"bins={bins}: quantities need 2 to 64 bins; without any, nearly every feature would "
            "be unique and its precision meaningless."
        )
    if not np.isfinite(values).all() or not np.isfinite(fit_on).all():
        raise ValueError("the columns to bin hold NaN or infinity; clean them first.")
    codes = np.empty(values.shape, np.int16)
    units: list[Unit] = []
    for j, name in enumerate(names):
        edges = np.unique(np.quantile(fit_on[:, j], np.linspace(0, 1, bins + 1)[1:-1]))
        edges = edges[edges < fit_on[:, j].max()]
        codes[:, j] = np.searchsorted(edges, values[:, j], side="left")
        text = [f"{e:.4g}" for e in edges]
        inner = [f"{a} to {b}" for a, b in itertools.pairwise(text)]
        levels = (f"<= {text[0]}", *inner, f"> {text[-1]}") if text else ("any",)
        units.append(Unit(name, levels))
    return codes, units


def check_size(k: int, task: Task) -> None:
    """Refuse a number of units that cannot be shown."""
    if not 1 <= k <= len(task.shown):
        raise ValueError(
            f"k={k} units cannot be shown of the {len(task.shown)} that {task.name} allows; choose "
            f"1 <= k <= {len(task.shown)}."
        )


def check_disjoint(task: Task) -> int:
    """Refuse audit rows in the reference pool; return how many are training rows too.

    Raises:
        InterpretError: The direct certificate would count a row as its own evidence.
    """
    both = np.intersect1d(task.audit.ids, task.reference.ids).size
    if both:
        raise InterpretError(
            f"{both} audit rows are also in the reference pool, so they would be evidence for "
            "themselves; take reference rows of their own."
        )
    other = np.concatenate([task.train.ids, task.catalogue.ids])
    return int(np.intersect1d(task.audit.ids, other).size)
