"""After one-shot pruning, which retraining schedule recovers most on a short budget?

Run:      python benchmarks/pruning/cifar_schedules.py --data PATH
Expect:   CLR, LLR and ALLR (a large rate that falls to almost 0) above FT (the last, small rate);
          the gap grows with sparsity. LRW and FT repeat the small end of a stepped schedule.
Fairness: one dense network for all; the same budget, batch order and weight decay for every
          schedule; seeds differ in batch order and augmentation alone; nothing is tuned for any of
          them; every run is kept, accuracies are of the whole test set after the last epoch.
Note:     a fixed stratified 10,000-image training subset and few epochs, for a CPU; the images are
          JPEG-recompressed with 4:2:0 chroma, so compare within this table only.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import tyro

from extremal.lab import Table, append_record, executor, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "After one-shot pruning, which retraining schedule recovers most on a short budget?"
SCHEDULES = ("ft", "lrw", "slr", "clr", "llr", "allr")


@dataclass(frozen=True)
class Options:
    """What is compared."""

    data: Path = Path("../shared/data/cifar10-jpeg.tar.xz")
    """CIFAR-10, in any form that `training.load_data` reads."""
    model: str = "resnet20"
    train_size: int = 10_000
    dense_epochs: int = 15
    epochs: int = 2
    batch_size: int = 128
    lr: float = 0.1
    weight_decay: float = 5e-4
    sparsities: tuple[float, ...] = (0.9, 0.98)
    schedules: tuple[str, ...] = SCHEDULES
    seeds: tuple[int, ...] = (0, 1, 2)
    workers: int = 2
    work: Path = Path("runs/cifar-schedules")
    """Where the dense run lies; a finished one is used again."""
    out: Path = HERE / "results" / "cifar_schedules.jsonl"


@dataclass(frozen=True)
class Job:
    """One retraining."""

    options: Options
    sparsity: float
    schedule: str
    seed: int

    @property
    def configuration(self) -> dict[str, Any]:
        """What decides the result, without where it is written."""
        plain = to_plain(self.options)
        for name in ("data", "work", "out", "workers", "sparsities", "schedules", "seeds"):
            del plain[name]
        return {**plain, "sparsity": self.sparsity, "schedule": self.schedule}


def run(job: Job) -> dict[str, Any]:
    """Prune and retrain once; return the record."""
    from extremal import pruning

    begun = time.perf_counter()
    name = f"{job.schedule}-{job.sparsity}-{job.seed}"
    out = job.options.work / name
    pruned = pruning.prune(
        job.options.work / "dense",
        sparsity=job.sparsity,
        phases=1,
        schedule=job.schedule,
        epochs=job.options.epochs,
        seed=job.seed,
        out=out,
        resume=out.exists(),
    )
    return append_record(
        job.options.out,
        question=QUESTION,
        configuration=job.configuration,
        seed=job.seed,
        samples={
            "accuracy": pruned.accuracy,
            "dense_accuracy": pruned.dense_accuracy,
            "sparsity": pruned.sparsity,
        },
        wall_seconds=time.perf_counter() - begun,
        notes="JPEG-recompressed CIFAR-10; whole test set; single-threaded workers",
    )


def table(records: list[dict[str, Any]]) -> Table:
    """Mean and standard deviation over seeds, in points, and the difference from FT."""
    cells: dict[tuple[float, str], dict[int, float]] = {}
    for record in records:
        if record["status"] == "done":
            key = (record["configuration"]["sparsity"], record["configuration"]["schedule"])
            cells.setdefault(key, {})[record["seed"]] = 100 * record["samples"]["accuracy"]
    rows: list[list[str | float | int | None]] = []
    for sparsity, schedule in sorted(cells, key=lambda c: (c[0], SCHEDULES.index(c[1]))):
        values = cells[sparsity, schedule]
        base = cells.get((sparsity, "ft"), {})
        paired = [values[s] - base[s] for s in values if s in base]
        spread = stdev(values.values()) if len(values) > 1 else None
        rows.append(
            [
                f"{100 * sparsity:g} %",
                schedule.upper(),
                len(values),
                round(mean(values.values()), 2),
                None if spread is None else round(spread, 2),
                round(mean(paired), 2) if paired and schedule != "ft" else None,
            ]
        )
    first = records[0]
    about = first["configuration"]
    return Table(
        ["pruned", "schedule", "seeds", "accuracy, mean (%)", "st. dev.", "mean minus FT"],
        rows,
        title=(
            f"{about['model']}, {about['train_size']:,} training images, dense "
            f"{about['dense_epochs']} epochs ({100 * first['samples']['dense_accuracy']:.2f} %), "
            f"retrained {about['epochs']} epochs"
        ),
    )


def main() -> None:
    """Run what is not yet recorded, then print the table."""
    options = tyro.cli(Options)
    if not options.data.exists():
        print(f"left out: there is no CIFAR-10 at {options.data}; give --data PATH")
        return
    from _dense import dense_run

    dense_run(options, options.work / "dense")
    jobs = [
        Job(options, sparsity, schedule, seed)
        for seed in options.seeds
        for sparsity in options.sparsities
        for schedule in options.schedules
    ]
    done = read_records(options.out) if options.out.exists() else []
    known = [(r["configuration"], r["seed"]) for r in done if r["status"] == "done"]
    jobs = [job for job in jobs if (job.configuration, job.seed) not in known]
    for outcome in executor("processes", workers=options.workers, threads=1).outcomes(run, jobs):
        if outcome.error is not None:
            append_record(
                options.out,
                question=QUESTION,
                configuration=jobs[outcome.index].configuration,
                seed=jobs[outcome.index].seed,
                samples={},
                status="failed",
                notes=str(outcome.error),
            )
        print(f"{outcome.index + 1}/{len(jobs)}: {outcome.value or outcome.error}", flush=True)
    print(table(read_records(options.out)).as_text())


if __name__ == "__main__":
    main()
