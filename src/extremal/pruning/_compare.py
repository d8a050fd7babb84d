"""Methods side by side at equal budget, and at equal achieved sparsity.

STR, CS and DST do not set their sparsity: it comes out. So every method is put beside a baseline
that is run at exactly the sparsity which that method achieved.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from extremal.lab import Table, executor, resolve

from ._config import IN_TRAINING, Config
from ._prune import prune
from ._result import percent


@dataclass(frozen=True)
class Row:
    """One method with the baseline at its sparsity."""

    method: str
    sparsity: float  # achieved, over the prunable weights
    pruned: int
    accuracy: float | None
    baseline_accuracy: float | None
    seconds: float


@dataclass(frozen=True)
class Comparison:
    """All methods of one comparison."""

    baseline: str
    epochs: int
    rows: tuple[Row, ...]
    note: str

    def table(self) -> Table:
        """One line a method."""
        head = ["method", "sparsity", "accuracy", f"{self.baseline} at that sparsity", "points"]
        lines: list[list[str | int | float | None]] = []
        for row in self.rows:
            points = None
            if row.accuracy is not None and row.baseline_accuracy is not None:
                points = round(100 * (row.accuracy - row.baseline_accuracy), 2)
            lines.append(
                [
                    row.method,
                    round(row.sparsity, 5),
                    percent(row.accuracy),
                    percent(row.baseline_accuracy),
                    points,
                ]
            )
        return Table(head, lines, f"{self.epochs} epochs each. {self.note}".strip())

    def as_json(self) -> dict[str, Any]:
        """The comparison as plain values."""
        return {
            "baseline": self.baseline,
            "epochs": self.epochs,
            "note": self.note,
            "rows": [vars(row) for row in self.rows],
        }


@dataclass(frozen=True)
class _Job:
    source: Any
    data: Any
    config: Config
    out: Path | None


@dataclass(frozen=True)
class _Answer:
    sparsity: float
    pruned: int
    size: int
    accuracy: float | None
    seconds: float
    note: str


def compare(
    model: Any,
    data: Any = None,
    *,
    methods: Sequence[str] = IN_TRAINING,
    baseline: str = "bimp",
    config: Config | None = None,
    out: str | Path | None = None,
    workers: int | None = None,
    run_on: Literal["serial", "processes", "ray"] = "serial",
    **options: Any,
) -> Comparison:
    """Run several methods from the same start with the same epochs and set each by a baseline.

    Args:
        model: An untrained module (or what `prune` takes); each method starts from a copy.
        data: As for `prune`.
        methods: Names of methods, such as "gmp" or "str".
        baseline: The method run at every achieved sparsity.
        config: Options of all runs; their `method` is replaced.
        out: Folder of the runs, one a method; run again to go on where it was interrupted.
        workers: How many runs at a time.
        run_on: The executor: serial, processes or ray.
        **options: Fields of `Config`.

    Returns:
        A row a method: achieved sparsity, accuracy, and the baseline's accuracy there.

    Raises:
        ValueError: A method is unknown, or no method is given.
    """
    if not methods:
        raise ValueError("compare has no method to run; name at least one in methods=.")
    settings = resolve(Config, config, options)
    folder = None if out is None else Path(out)

    def job(name: str, changed: Config) -> _Job:
        return _Job(model, data, changed, None if folder is None else folder / name)

    jobs = [job(method, replace(settings, method=method)) for method in methods]
    with executor(run_on, workers=workers) as runner:
        found = runner.map(_run, jobs)
        # The sparsity as a fraction of integers: round(s N) gives the achieved count back.
        wanted = sorted({answer.pruned / answer.size for answer in found})
        jobs = [
            job(f"{baseline}-{sparsity:.6f}", replace(settings, method=baseline, sparsity=sparsity))
            for sparsity in wanted
        ]
        baselines = dict(zip(wanted, runner.map(_run, jobs), strict=True))
    rows = tuple(
        Row(
            method,
            answer.sparsity,
            answer.pruned,
            answer.accuracy,
            baselines[answer.pruned / answer.size].accuracy,
            answer.seconds,
        )
        for method, answer in zip(methods, found, strict=True)
    )
    return Comparison(baseline, settings.epochs, rows, found[0].note)


def _run(job: _Job) -> _Answer:
    result = prune(job.source, job.data, config=job.config, out=job.out, resume=job.out is not None)
    return _Answer(
        result.sparsity,
        result.masks.pruned,
        result.masks.size,
        result.accuracy,
        result.budget.total.seconds,
        result.note,
    )
