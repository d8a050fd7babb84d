"""Finds the record behind a row, runs its benchmark again with the same options, and compares.

A benchmark is a script `benchmarks/AREA/QUESTION.py` with a dataclass `Options`, a function
`table(records)` and records in `benchmarks/AREA/results/QUESTION.jsonl`. Of a record's
configuration every entry that is an option of the script is passed on, also where the option is
the plural (`name` and `names`); the rest describes what the script measures anyway, and chooses the
new record that belongs to the row.
"""

import dataclasses
import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

from extremal.lab import Cell, ExtremalError, Table, command, read_records, resolve, to_plain

from ._compare import Sample, compare

_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Options:
    """Which row, and how closely measurements must agree."""

    row: str = ""
    """The first words of the row; without it the rows are listed."""
    benchmarks: Path = Path("benchmarks")
    """The folder of that name in a checkout."""
    factor: float = 2.0
    """By how much times, bytes and rates may differ."""
    timeout: float = 3600.0
    """Seconds that the benchmark may take."""


@dataclass(frozen=True, slots=True)
class Reproduced:
    """A row beside its record.

    Attributes:
        name: The table, such as `tcurves/census`.
        row: The row's words; "" if the rows were only listed.
        status: `"agrees"`, `"differs"` or `"listed"`.
        rows: The rows that the table has, if they were listed.
        samples: Every sample beside its record.
        factor: By how much measurements might differ.
        recorded: The record.
        now: The new record.
        seconds: How long the benchmark took.
    """

    name: str
    row: str
    status: Literal["agrees", "differs", "listed"]
    rows: tuple[str, ...] = ()
    samples: tuple[Sample, ...] = ()
    factor: float = 2.0
    recorded: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    now: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    seconds: float = 0.0

    @property
    def exit_code(self) -> int:
        """0 if it agrees, 1 if not."""
        return int(self.status == "differs")

    def table(self) -> Table:
        """Return the rows, or what differs; where nothing does, the measurements."""
        if self.status == "listed":
            return Table(["rows of " + self.name], [[row] for row in self.rows])
        measured = sum(s.measured for s in self.samples)
        title = (
            f"{self.name}, {self.row}: {self.status} ({len(self.samples) - measured} facts "
            f"exactly, {measured} measurements within a factor of {self.factor:g}; "
            f"{self.seconds:.0f} s; recorded {self.recorded.get('date', 'at an unknown time')})"
        )
        wanted = [
            s for s in self.samples if (s.measured if self.status == "agrees" else not s.agrees)
        ]
        shown = [[s.name, _cell(s.recorded), _cell(s.now)] for s in wanted[:_SHOWN]]
        if len(wanted) > _SHOWN:
            shown.append([f"and {len(wanted) - _SHOWN} more", None, None])
        return Table(["sample", "recorded", "now"], shown, title=title)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return to_plain(self)


def _cell(value: Any) -> Cell:
    return value if isinstance(value, (str, int, float)) or value is None else str(value)


@command(options=Options, inputs=("table",), flags=())
def reproduce(table: str, *, config: Options | None = None, **options: Any) -> Reproduced:
    """Run one row of a table in docs/benchmarks again and say whether it agrees.

    Args:
        table: Area and script, such as `tcurves/census`.
        config: The options whole.
        **options: Fields of `Options`.

    Returns:
        Whether every fact is the same and every measurement within the factor.

    Raises:
        ExtremalError: There is no such table or row, or the benchmark failed or took too long.

    Cost: that of the benchmark; its record says how long it took (`wall_seconds`).
    """
    settings = resolve(Options, config, options)
    if not settings.factor > 1:
        raise ValueError(f"factor is over 1, got {settings.factor:g}; take 2 for a like machine.")
    script = _script(table, settings.benchmarks)
    module = _load(script)
    records = read_records(script.parent / "results" / f"{script.stem}.jsonl")
    tables: Table | Sequence[Table] = module.table(records)
    rows = _rows([tables] if isinstance(tables, Table) else tables)
    if not settings.row:
        return Reproduced(table, "", "listed", tuple(" · ".join(words) for words in rows))
    words = _row(settings.row, rows, table)
    record = _record(words, records)
    begun = time.perf_counter()
    found = _again(script, module, record, settings.timeout)
    samples = compare(
        record["samples"], found["samples"], settings.factor, frozenset(_measured(module))
    )
    return Reproduced(
        table,
        " · ".join(words),
        "agrees" if all(s.agrees for s in samples) else "differs",
        samples=tuple(samples),
        factor=settings.factor,
        recorded=record,
        now=found,
        seconds=time.perf_counter() - begun,
    )


def _measured(module: ModuleType) -> Sequence[str]:
    """Names of samples that a script declares to be measurements of the machine."""
    return getattr(module, "MEASURED", ())


def _script(table: str, benchmarks: Path) -> Path:
    if not benchmarks.is_dir():
        raise ExtremalError(
            f"{benchmarks} is no folder; a table is run again from a checkout, where its script "
            "and its records lie. Go there, or say --benchmarks PATH."
        )
    known = sorted(
        f"{p.parent.name}/{p.stem}"
        for p in benchmarks.glob("*/[a-z]*.py")
        if (p.parent / "results" / f"{p.stem}.jsonl").is_file()
    )
    if table not in known:
        raise ExtremalError(
            f"there is no table {table!r} with records; there are {', '.join(known) or 'none'}."
        )
    return benchmarks / f"{table}.py"


def _load(script: Path) -> ModuleType:
    name = f"benchmark_{script.parent.name}_{script.stem}"
    spec = importlib.util.spec_from_file_location(name, script)
    assert spec is not None, "the file exists"
    assert spec.loader is not None, "it is a Python file"
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # its dataclasses look their annotations up there
    sys.path.insert(0, str(script.parent))  # as if it were run: scripts share small modules
    try:
        spec.loader.exec_module(module)
    finally:
        sys.path.remove(str(script.parent))
    return module


def _rows(tables: Sequence[Table]) -> list[tuple[str, ...]]:
    """The words that name each row: its cells up to the first number, the first cell at least."""
    found: dict[tuple[str, ...], None] = {}
    for table in tables:
        for row, cells in zip(table.rows, table.cells()[1:], strict=True):
            words = [str(row[0]) if isinstance(row[0], (int, float)) else cells[0]]
            for value, text in zip(row[1:], cells[1:], strict=True):
                if not isinstance(value, str):
                    break
                words.append(text)
            found[tuple(words)] = None
    return list(found)


def _row(wanted: str, rows: Sequence[tuple[str, ...]], table: str) -> tuple[str, ...]:
    plain = _folded(wanted)
    exact = [r for r in rows if plain in {_folded(r[0]), _folded(" ".join(r))}]
    hits = exact or [r for r in rows if _folded(" ".join(r)).startswith(plain)]
    if not hits:
        shown = "; ".join(" · ".join(r) for r in rows[:_SHOWN])
        raise ExtremalError(
            f"{table} has no row {wanted!r}; its rows begin with: {shown}"
            f"{' ...' if len(rows) > _SHOWN else ''}. Without --row all are listed."
        )
    return hits[0]


def _folded(text: str) -> str:
    return " ".join(text.replace("·", " ").split()).casefold()


def _record(words: Sequence[str], records: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The newest record whose configuration, seed or samples have the row's words."""
    left = [r for r in records if r.get("status") == "done"] or list(records)
    for word in words:
        narrower = [r for r in left if word in _texts(r)]
        left = narrower or left
    return left[-1]


def _texts(record: Mapping[str, Any]) -> set[str]:
    values = record["configuration"].values()
    flat = [x for v in values for x in (v if isinstance(v, list) else [v])]
    return {str(x) for x in flat} | {str(record["seed"])} | set(record["samples"])


def _again(
    script: Path, module: ModuleType, record: Mapping[str, Any], timeout: float
) -> Mapping[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "records.jsonl"
        words = [sys.executable, str(script.resolve()), *arguments(module.Options, record)]
        try:
            ended = subprocess.run(
                [*words, "--out", str(out)],
                capture_output=True, text=True, check=False, timeout=timeout,
            )  # fmt: skip
        except subprocess.TimeoutExpired as error:
            raise ExtremalError(
                f"{script} did not end within {timeout:g} s; its record says "
                f"{record.get('wall_seconds')} s for this part. Give more with --timeout."
            ) from error
        if ended.returncode or not out.exists():
            last = (ended.stderr.strip().splitlines() or ["it wrote no record"])[-1]
            raise ExtremalError(
                f"{script} failed with exit code {ended.returncode}: {last}. Run it by hand: "
                f"python {script} {' '.join(words[2:])}"
            )
        found = read_records(out)
    fitting = [
        r
        for r in found
        if all(r["configuration"].get(k, v) == v for k, v in record["configuration"].items())
        and r["seed"] == record["seed"]
    ]
    if not fitting:
        raise ExtremalError(
            f"{script} ran, but none of its {len(found)} new records has the configuration of the "
            "old one: the script has changed since. Renew its records with `make bench`."
        )
    return fitting[-1]


def arguments(options: type, record: Mapping[str, Any]) -> list[str]:
    """Return the words that give a script the configuration and seed of a record."""
    fields = {f.name for f in dataclasses.fields(options)} - {"out"}
    entries = dict(record["configuration"])
    seed = record["seed"]
    if "seeds" in fields and "seeds" not in entries and seed is not None:
        entries["seeds"] = seed
    elif "seed" in fields and isinstance(seed, int):
        entries["seed"] = seed
    words: list[str] = []
    for key, value in entries.items():
        plural = key[:-1] + "ies" if key.endswith("y") else key + "s"
        name = next((n for n in (key, plural) if n in fields), None)
        if name is None or isinstance(value, dict) or value == "":
            continue
        flag = "--" + name.replace("_", "-")
        if isinstance(value, bool):
            words.append(flag if value else "--no-" + flag[2:])
        else:
            values = value if isinstance(value, list) else [value]
            words += [flag, *(str(v) for v in values)]
    return words
