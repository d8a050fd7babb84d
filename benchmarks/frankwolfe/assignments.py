"""What do potentials kept from one Frank-Wolfe step to the next save on Birkhoff's polytope?

Run:      OMP_NUM_THREADS=1 python benchmarks/frankwolfe/assignments.py
Expect:   the oracle of `minimize` several times faster than an assignment from scratch.
Fairness: the gradients of the first 60 Frank-Wolfe steps with exact line search from the uniform
          matrix towards a random point outside (entries normal, three times the uniform matrix's),
          float64, one thread; ours and SciPy's linear_sum_assignment on the same gradients, taking
          turns. SciPy's answer has no potentials; ours leaves them. Values agree at every step.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import scipy.optimize
import tyro

from extremal import frankwolfe as fw
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
QUESTION = "What do potentials kept from step to step save?"


@dataclass(frozen=True)
class Options:
    """What is timed."""

    sizes: tuple[int, ...] = (50, 300, 1000)
    steps: int = 60
    seeds: tuple[int, ...] = (0, 1, 2)
    out: Path = HERE / "results" / "assignments.jsonl"


def run(n: int, steps: int, seed: int) -> dict[str, Any]:
    """Time both oracles along one path."""
    rng = np.random.default_rng(seed)
    target = rng.standard_normal((n, n)) * 3 / n
    x, lmo = np.full((n, n), 1.0 / n), fw.Birkhoff().following()
    lmo(rng.standard_normal((n, n)))  # compiled, and far from the first gradient
    samples: dict[str, list[float]] = {"ours": [], "scipy": []}
    apart = 0.0
    for _ in range(steps):
        g = x - target
        start = time.perf_counter()
        v = lmo(g)
        middle = time.perf_counter()
        row, column = scipy.optimize.linear_sum_assignment(g)
        samples["scipy"].append(time.perf_counter() - middle)
        samples["ours"].append(middle - start)
        apart = max(apart, abs(float(np.vdot(g, v)) - float(g[row, column].sum())))
        away = v - x
        x = x + min(1.0, -float(np.vdot(g, away)) / float(np.vdot(away, away))) * away
    return {**samples, "difference": apart}


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Medians over the steps of a path, a row for each size and seed."""
    last = {(r["configuration"]["size"], r["seed"]): r["samples"] for r in records}
    rows: list[list[str | float | int | None]] = []
    for (size, seed), s in sorted(last.items(), key=lambda item: item[0]):
        ours, scipys = (1e3 * float(np.median(s[k])) for k in ("ours", "scipy"))
        rows.append(
            [size, seed, round(ours, 3), round(scipys, 3), round(scipys / ours, 1),
             f"{s['difference']:.0e}"]
        )  # fmt: skip
    head = ["rows", "seed", "ours, ms", "SciPy, ms", "ratio", "largest difference"]
    return [Table(head, rows, title="Oracle of Birkhoff's polytope along a Frank-Wolfe path")]


def main() -> None:
    """Measure everything and print the table."""
    options = tyro.cli(Options)
    for size in options.sizes:
        for seed in options.seeds:
            begun = time.perf_counter()
            append_record(
                options.out,
                question=QUESTION,
                configuration={"steps": options.steps, "size": size},
                seed=seed,
                samples=run(size, options.steps, seed),
                wall_seconds=time.perf_counter() - begun,
            )
    for one in table(read_records(options.out)):
        print(one.as_text())


if __name__ == "__main__":
    main()
