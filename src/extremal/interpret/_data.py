"""The data sets by name, as tasks: embedded tables and digits; Adult, MNIST, CSV from a path."""

import csv
import io
import lzma
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int

from extremal.lab import generator, require

from ._errors import InterpretError
from ._task import Task, Unit, bin_columns, in_blocks, make_task

NAMES = ("monks", "breast-cancer", "digits", "adult", "mnist", "table")


@dataclass(frozen=True)
class DataConfig:
    """Which data an audit or a game is about."""

    data: str = "monks"
    """monks, breast-cancer, digits (embedded), adult, mnist, table (a CSV file), from --path."""
    path: str | None = None
    """Where adult, mnist or table lies."""
    target: str | None = None
    """Column that is the class: of adult `sex` or `income`, of a table any."""
    classes: tuple[str, ...] = ()
    """Of images the digits that play, such as 3 8; all by default."""
    drop: tuple[str, ...] = ()
    """Columns to leave out altogether."""
    hide: tuple[str, ...] = ()
    """Columns that nobody may show."""
    bins: int = 8
    """Bins of a quantity, by quantiles of the training rows."""
    levels: int = 2
    """Grey levels of an image."""
    patch: int = 1
    """Side of the square blocks of pixels of an image that are shown or hidden together."""
    seed: int = 0
    """Decides which rows go where."""


def load_task(config: DataConfig | None = None, **options: Any) -> Task:
    """Load a data set as a task.

    Args:
        config: All options at once.
        **options: Fields of `DataConfig`, in its place.

    Returns:
        The task. Audit rows are the test rows where the source has such; catalogue and reference
        rows are held out of the training rows.

    Raises:
        ValueError: An option makes no sense for these data.
        InterpretError: The file is not what its name says.

    Example:
        >>> task = load_task(data="monks")
        >>> task.d, task.class_names, len(task.audit)
        (6, ('0', '1'), 1600)
    """
    c = config or DataConfig(**options)
    if c.data not in NAMES:
        raise ValueError(f"there are no data {c.data!r}; there are {', '.join(NAMES)}.")
    embedded = c.data in ("monks", "breast-cancer", "digits")
    if embedded and c.path is not None:
        raise ValueError(
            f"{c.data} is embedded, so path={c.path!r} would be ignored; leave it out."
        )
    if not embedded and c.path is None:
        raise ValueError(f"{c.data} is not embedded; give path= (in the shell --path).")
    images = c.data in ("digits", "mnist")
    if c.classes and not images:
        raise ValueError(f"classes are chosen of images only; {c.data} has a target column.")
    if c.patch != 1 and not images:
        raise ValueError(f"only images have blocks of pixels; leave out patch={c.patch}.")
    if c.target is not None and c.data not in ("adult", "table"):
        raise ValueError(f"{c.data} has one target, so target={c.target!r} would be ignored.")
    if c.drop and c.data not in ("adult", "table"):
        raise ValueError(f"columns are dropped from adult and table only; use hide for {c.data}.")
    maker = {
        "monks": _monks, "breast-cancer": _breast_cancer, "adult": _adult, "table": _table,
        "digits": _images, "mnist": _images,
    }[c.data]  # fmt: skip
    task = maker(c)
    return task.hide(*c.hide) if c.hide else task


def _monks(c: DataConfig) -> Task:
    """The first of the MONK's problems: class 1 where head = body shape, or the jacket is red.

    Its 432 equally likely robots are known by formula, so that answers can be checked; 4,000 are
    drawn independently.
    """
    columns = {
        "head": ("round", "square", "octagon"),
        "body": ("round", "square", "octagon"),
        "smiling": ("yes", "no"),
        "holding": ("sword", "balloon", "flag"),
        "jacket": ("red", "yellow", "green", "blue"),
        "tie": ("yes", "no"),
    }
    rng = generator(c.seed, "monks")
    codes = np.stack([rng.integers(0, len(v), 4000) for v in columns.values()], axis=1)
    labels = ((codes[:, 0] == codes[:, 1]) | (codes[:, 4] == 0)).astype(np.int64)
    return make_task(
        codes, labels, name="monks", units=[Unit(n, v) for n, v in columns.items()],
        shares=(0.5, 0.5), seed=c.seed, note="MONK-1, drawn from its 432 robots.",
    )  # fmt: skip


def _breast_cancer(c: DataConfig) -> Task:
    bunch = require("sklearn.datasets", "interpret").load_breast_cancer()
    values, labels = np.asarray(bunch.data), np.asarray(bunch.target)
    # The same 60 % that make_task will not audit decide the edges.
    order = generator(c.seed, "rows", "breast-cancer").permutation(len(values))
    fit_on = values[order[round(0.4 * len(values)) :]]
    codes, units = bin_columns(values, fit_on, list(map(str, bunch.feature_names)), c.bins)
    return make_task(
        codes, labels, name="breast-cancer", units=units, seed=c.seed,
        class_names=list(map(str, bunch.target_names)), note=f"Quantities in {c.bins} bins.",
    )  # fmt: skip


# Tables of text.

Column = list[str]
_ADULT_DROPPED = ("fnlwgt", "education")  # a sampling weight; the text of education-num


def _adult(c: DataConfig) -> Task:
    """UCI Adult: rows with missing values left out, classes balanced by undersampling."""
    folder = Path(str(c.path))
    parts: list[dict[str, Column]] = []
    for stem in ("adult.data", "adult.test"):
        found = [p for p in (folder / f"{stem}.xz", folder / stem) if p.is_file()]
        if not found:
            raise InterpretError(
                f"{folder} holds neither {stem} nor {stem}.xz; give the folder with both files of "
                "UCI Adult, comma-separated with a header line."
            )
        parts.append(_columns(found[0], "?"))
    for part in parts:
        if "Y" in part:
            part["income"] = [v.rstrip(".") for v in part.pop("Y")]
    return _from_columns(
        c, parts, c.target or "income", (*_ADULT_DROPPED, *c.drop), balanced=True,
        note="UCI Adult, rows with missing values left out, classes balanced by undersampling.",
    )  # fmt: skip


def _table(c: DataConfig) -> Task:
    if c.target is None:
        raise ValueError("a table needs its target column: give target= (in the shell --target).")
    part = _columns(Path(str(c.path)), "")
    return _from_columns(c, [part], c.target, c.drop, balanced=False, note="")


def _columns(path: Path, missing: str) -> dict[str, Column]:
    """Read a CSV file with a header; rows with a missing value are left out."""
    if not path.is_file():
        raise InterpretError(f"there is no file {path}; give a CSV file with a header line.")
    raw = path.read_bytes()
    try:
        raw = lzma.decompress(raw) if path.suffix == ".xz" else raw
        lines = csv.reader(io.StringIO(raw.decode()), skipinitialspace=True)
        rows = [r for r in ([v.strip() for v in row] for row in lines) if any(r)]
    except (UnicodeDecodeError, csv.Error, lzma.LZMAError) as error:
        raise InterpretError(f"{path} is not a CSV file in UTF-8 ({error}).") from error
    if len(rows) < 2:
        raise InterpretError(f"{path} has no row below its header line.")
    head = rows[0]
    for number, row in enumerate(rows[1:], start=2):
        if len(row) != len(head):
            raise InterpretError(
                f"{path}: row {number} has {len(row)} values for {len(head)} columns; repair it."
            )
    kept = [row for row in rows[1:] if missing not in row]
    if not kept:
        raise InterpretError(f"{path}: every row has a missing value.")
    return {name: [row[j] for row in kept] for j, name in enumerate(head)}


def _from_columns(
    c: DataConfig, parts: Sequence[dict[str, Column]], target: str, drop: Sequence[str],
    balanced: bool, note: str,
) -> Task:  # fmt: skip
    first = parts[0]
    for name in (target, *drop):
        if name not in first:
            raise ValueError(f"{c.data} has no column {name!r}; it has {', '.join(first)}.")
    names = sorted(set(first[target]))
    if not 2 <= len(names) <= 64:
        raise ValueError(
            f"the column {target} has {len(names)} values; a class column has 2 to 64."
        )
    labels = [np.array([names.index(v) for v in part[target]]) for part in parts]
    columns = [n for n in first if n != target and n not in drop]
    rng = generator(c.seed, "balance")
    kept = [_balanced(y, rng) if balanced else np.arange(len(y)) for y in labels]
    if len(parts) == 1:  # the rows that will not be audited decide the edges
        order = generator(c.seed, "rows", c.data).permutation(len(labels[0]))
        fit = order[round(0.4 * len(order)) :]
    else:
        fit = kept[0]
    codes: list[list[Int[np.ndarray, " n"]]] = [[] for _ in parts]
    units: list[Unit] = []
    for name in columns:
        numbers = [_numbers(part[name]) for part in parts]
        if all(v is not None for v in numbers):
            known = [v for v in numbers if v is not None]
            coded = [bin_columns(v[:, None], known[0][fit][:, None], [name], c.bins) for v in known]
            units += coded[0][1]
            for out, (column, _) in zip(codes, coded, strict=True):
                out.append(column[:, 0])
        else:
            levels = sorted({v for part in parts for v in part[name]})
            units.append(Unit(name, tuple(levels)))
            place = {v: i for i, v in enumerate(levels)}
            for out, part in zip(codes, parts, strict=True):
                out.append(np.array([place[v] for v in part[name]]))
    rows = [np.stack(out, axis=1)[k] for out, k in zip(codes, kept, strict=True)]
    chosen = [y[k] for y, k in zip(labels, kept, strict=True)]
    return make_task(
        rows[0], chosen[0], name=c.data, units=units, class_names=names, seed=c.seed,
        audit=(rows[1], chosen[1]) if len(parts) > 1 else 0.4, catalogue=0.2, reference=0.3,
        shares=[1 / len(names)] * len(names) if balanced else None,
        note=f"{note} Quantities in {c.bins} bins.".strip(),
    )  # fmt: skip


def _numbers(column: Column) -> Any:
    try:
        return np.array([float(v) for v in column])
    except ValueError:
        return None


def _balanced(labels: Int[np.ndarray, " n"], rng: np.random.Generator) -> Int[np.ndarray, " k"]:
    least = int(np.bincount(labels).min())
    chosen = [
        rng.choice(np.flatnonzero(labels == c), least, replace=False)
        for c in range(int(labels.max()) + 1)
    ]
    return np.sort(np.concatenate(chosen))


# Images.


@dataclass(frozen=True)
class _Pixels:
    """Images of the chosen classes as codes."""

    codes: Any
    labels: Any


def _images(c: DataConfig) -> Task:
    """Images in a few grey levels; digits are pooled, and 40 % of them audited."""
    if not 2 <= c.levels <= 16:
        raise ValueError(f"levels={c.levels}: an image is read in 2 to 16 grey levels.")
    require("torch", "interpret")
    from extremal.training import load_data

    data = load_data(c.data, path=c.path)
    names = c.classes or data.class_names
    unknown = [n for n in names if n not in data.class_names]
    if unknown or len(set(names)) != len(names) or len(names) < 2:
        raise ValueError(
            f"classes={' '.join(names)}: choose two or more different ones of "
            f"{' '.join(data.class_names)}."
        )
    parts = [_pixels(s, [data.class_names.index(n) for n in names], c.levels)
             for s in (data.train, data.test)]  # fmt: skip
    _, height, width = data.shape
    parts = [
        _Pixels(in_blocks(p.codes, (height, width), c.patch, c.levels), p.labels) for p in parts
    ]
    top = f"/{c.levels - 1}" if c.patch == 1 else ""
    levels = tuple(f"{v}{top}" for v in range(c.levels ** (c.patch * c.patch)))
    grid = (height // c.patch, width // c.patch)
    units = [Unit(f"{y},{x}", levels) for y in range(grid[0]) for x in range(grid[1])]
    common: dict[str, Any] = {
        "name": c.data, "units": units, "class_names": names, "image": grid, "patch": c.patch,
        "seed": c.seed, "shares": [1 / len(names)] * len(names),
        "note": f"Pixels in {c.levels} grey levels; classes taken as equally likely.",
    }  # fmt: skip
    if c.data == "digits":  # small: training and test images together, 40 % of them audited
        codes = np.concatenate([p.codes for p in parts])
        labels = np.concatenate([p.labels for p in parts])
        return make_task(codes, labels, catalogue=0.1, reference=0.15, **common)
    return make_task(
        parts[0].codes, parts[0].labels, audit=(parts[1].codes, parts[1].labels),
        catalogue=0.15, reference=0.35, **common,
    )  # fmt: skip


def _pixels(split: Any, wanted: list[int], levels: int) -> _Pixels:
    labels = split.labels.numpy()
    chosen = np.isin(labels, wanted)
    images = split.images.numpy()[chosen].mean(1).reshape(int(chosen.sum()), -1)
    top = 255.0 if split.images.dtype.is_floating_point is False else 1.0
    codes = np.minimum((images / top * levels).astype(np.int16), levels - 1)
    place = {c: i for i, c in enumerate(wanted)}
    return _Pixels(codes, np.array([place[int(v)] for v in labels[chosen]]))
