"""Does co-evolution of packets approach the Nash flow over time as steps shrink (Braess)?

Run:      python benchmarks/flows/braess_refinement.py
Expect:   medians within the spread of the published figures: volume about 1.15, 0.57, 0.40, 0.31,
          0.22 and time about 2.6, 1.1, 0.65, 0.43, 0.28 for steps 1 … 1/16, not falling to 0;
          under 10 minutes on 2 cores.
Fairness: 20 seeds, 200 iterations, packets of step squared, inertial logit with mu = 5; every run
          is kept. The published figures were read off by eye; their co-evolution is MATSim's.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import flows
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
PUBLISHED = {"1": (1.15, 2.6), "1/2": (0.57, 1.1), "1/4": (0.40, 0.65), "1/8": (0.31, 0.43),
             "1/16": (0.22, 0.28), "1/32": (0.20, 0.25), "1/64": (0.22, 0.30)}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """How to measure."""

    out: Path = HERE / "results" / "braess_refinement.jsonl"
    levels: int = 5
    seeds: int = 20
    iterations: int = 200
    executor: str = "processes"
    workers: int = 2


def table(records: list[dict[str, Any]]) -> Table:
    """The last record, a row for each level."""
    record = records[-1]
    rows: list[list[str | float | int | None]] = []
    for level in record["samples"]["levels"]:
        volume, late = level["volume"], level["time"]
        published = PUBLISHED.get(level["step"], (None, None))
        rows.append(
            [
                level["step"],
                len(late),
                float(np.median(volume)),
                f"{min(volume):.2f} … {max(volume):.2f}",
                published[0],
                level["averaged_volume"],
                float(np.median(late)),
                f"{min(late):.2f} … {max(late):.2f}",
                published[1],
                level["averaged_time"],
                float(np.median(level["gap"])),
            ]
        )
    columns = ["step", "seeds", "volume", "its range", "published", "averaged", "time",
               "its range ", "published ", "averaged ", "relative gap"]  # fmt: skip
    seconds = record["wall_seconds"]
    title = f"Mean deviation from the Nash flow, medians over seeds; {seconds:.0f} s of wall time"
    return Table(columns, rows, title=title)


def main(options: Options) -> None:
    """Measure and append a record."""
    begun = time.perf_counter()
    found = flows.refine(
        "braess", levels=options.levels, seeds=options.seeds, iterations=options.iterations,
        executor=options.executor, workers=options.workers,
    )  # fmt: skip
    seconds = time.perf_counter() - begun
    print(found.table().as_text())
    append_record(
        options.out,
        question=(__doc__ or "").splitlines()[0],
        configuration={k: v for k, v in vars(options).items() if k != "out"},
        seed=list(range(options.seeds)),
        samples=found.as_json(),
        status="done" if seconds < 600 else "negative",
        wall_seconds=seconds,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
