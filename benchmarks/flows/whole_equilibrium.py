"""How long does a whole Nash flow over time take on Sioux Falls, beside the MILP baselines?

Run:      python benchmarks/flows/whole_equilibrium.py --data ../shared/data/tntp
Expect:   16 phases; at most 0.15 s exact and 0.02 s in floats; the programs far behind.
Fairness: one thread, the same network and inflow (1 -> 20, 500 a minute), all methods in one
          process, warmed up, in turn; every thin flow of every method is checked in rationals, the
          floats apart. CPU seconds stand beside wall seconds, because the machine may be shared.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import flows
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
WAYS = (
    ("exact, floats name the basis", "exact", "auto"),
    ("exact, pivots in rationals", "exact", "pivoting"),
    ("floats", "float", "auto"),
    ("milp-2 through HiGHS, solved exactly", "exact", "milp-2"),
)


@dataclass(frozen=True)
class Options:
    """How to measure."""

    data: Path = Path("../shared/data/tntp")
    out: Path = HERE / "results" / "whole_equilibrium.jsonl"
    repeats: int = 15
    slow_repeats: int = 3


def table(records: list[dict[str, Any]]) -> Table:
    """The last record."""
    samples = records[-1]["samples"]
    rows: list[list[str | float | int | None]] = []
    for name, found in samples.items():
        wall, cpu = found["wall_seconds"], found["cpu_seconds"]
        cells = [len(wall), found["phases"], sum(found["pivots"])]
        rows.append([name, *cells, statistics.median(wall), min(wall), statistics.median(cpu)])
    columns = ["method", "n", "phases", "pivots or programs", "median (s)", "least (s)",
               "CPU, median (s)"]  # fmt: skip
    return Table(columns, rows, title="Sioux Falls 1 -> 20, inflow 500 a minute")


def main(options: Options) -> None:
    """Measure and append a record."""
    net = flows.read_tntp(options.data / "SiouxFalls_net.tntp")
    samples: dict[str, dict[str, Any]] = {
        name: {"wall_seconds": [], "cpu_seconds": []} for name, *_ in WAYS
    }
    begun = time.perf_counter()
    for repeat in range(options.repeats + 1):
        for name, arithmetic, method in WAYS:
            if method.startswith(("milp", "piv")) and repeat > options.slow_repeats:
                continue
            wall, cpu = time.perf_counter(), time.process_time()
            eq = flows.nash(
                net, source=1, sink=20, inflow=500, arithmetic=arithmetic, method=method
            )
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if repeat:
                samples[name]["wall_seconds"].append(wall)
                samples[name]["cpu_seconds"].append(cpu)
            samples[name] |= {"phases": len(eq.phases), "pivots": list(eq.pivots)}
    print(table([{"samples": samples}]).as_text())
    exact, floats = samples[WAYS[0][0]], samples[WAYS[2][0]]
    reached = min(exact["wall_seconds"]) <= 0.15 and min(floats["wall_seconds"]) <= 0.02
    append_record(
        options.out,
        question=(__doc__ or "").splitlines()[0],
        configuration={"repeats": options.repeats, "network": "SiouxFalls", "inflow": 500},
        seed=None,
        samples=samples,
        status="done" if reached else "negative",
        wall_seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
