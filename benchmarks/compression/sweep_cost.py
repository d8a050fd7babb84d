"""What does a sweep of 20 ratios cost beyond the forward passes that it makes?

Run:      python benchmarks/compression/sweep_cost.py
Expect:   at most 1.3 times the evaluations and recalibrations themselves.
Fairness: one process, one thread; the time of the forward passes is taken around them inside the
          sweep, so both belong to the same run. ResNet-20 on digits, whose passes are cheap: what
          is shared between ratios weighs most there.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from extremal import compression, training
from extremal.lab import Table, append_record, read_records, seed_everything

HERE = Path(__file__).resolve().parent
QUESTION = "What does a sweep of 20 ratios cost beyond the forward passes that it makes?"


@dataclass(frozen=True)
class Options:
    """What is swept."""

    model: str = "resnet20"
    ratios: int = 20
    kinds: tuple[str, ...] = ("unstructured", "filters", "lowrank")
    threads: int = 1
    out: Path = HERE / "results" / "sweep_cost.jsonl"


def main() -> None:
    """Sweep each kind and print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    seed_everything(0)
    data = training.load_data("digits")
    model = training.network(options.model, in_channels=1, classes=10, image_size=8).eval()
    # From 0.4 on, so that low rank saves something in some layer at each of them.
    ratios = tuple(round(0.4 + 0.58 * i / (options.ratios - 1), 4) for i in range(options.ratios))
    for kind in options.kinds:
        begun = time.perf_counter()
        curve = compression.sweep(
            model, data, kinds=(kind,), ratios=ratios, threads=options.threads
        )
        whole = time.perf_counter() - begun
        append_record(
            options.out,
            question=QUESTION,
            configuration={"model": options.model, "kind": kind, "ratios": options.ratios},
            seed=0,
            samples={
                "whole": whole,
                "forward": curve.forward_seconds,
                "preparing": curve.preparing[kind],
                "points": [p.seconds for p in curve.points],
            },
            wall_seconds=whole,
        )
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """The last record of each kind."""
    last = {(r["configuration"]["model"], r["configuration"]["kind"]): r for r in records}
    rows: list[list[str | float | int | None]] = [
        [
            model, kind, r["configuration"]["ratios"], round(r["samples"]["whole"], 2),
            round(r["samples"]["forward"], 2), round(r["samples"]["preparing"], 3),
            round(r["samples"]["whole"] / r["samples"]["forward"], 3),
        ]
        for (model, kind), r in last.items()
    ]  # fmt: skip
    return Table(
        ["network", "kind", "ratios", "seconds", "in forward passes", "shared", "times"],
        rows,
        "A sweep beside its own forward passes (evaluations and recalibrations)",
    )


if __name__ == "__main__":
    main()
