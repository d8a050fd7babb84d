"""Which schemes does a search from random starts find, and how fast?

Run:      python benchmarks/tcurves/search_found.py --degree 6 --budget 2m
          python benchmarks/tcurves/search_found.py --degree 7 --budget 60m
          python benchmarks/tcurves/search_found.py --degree 10 --targets p --budget 10m
Expect:   55 of 55 sextics within a minute; at least 116 of the 121 septics within an hour on 2
cores.
Fairness: random starts only, no published triangulation; the baseline draws random triangulations
by
          flip walks and random signs for the same time (one census a triangulation would already be
          our method, so it evaluates 4,096 random sign vectors of each).
"""

import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import tcurves
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is searched."""

    out: Path = HERE / "results" / "search_found.jsonl"
    degree: int = 6
    targets: str = "all"
    budget: str = "2m"
    walks: int = 4
    workers: int = 2
    seeds: tuple[int, ...] = (0, 1, 2)
    baseline_seconds: float = 30.0
    folder: Path = Path("runs/benchmark-search")


def baseline(degree: int, seconds: float, seed: int) -> int:
    """Return how many schemes random triangulations with random signs show."""
    rng = np.random.default_rng(seed)
    found: set[tcurves.Scheme] = set()
    begun = time.perf_counter()
    count = 0
    while time.perf_counter() - begun < seconds:
        t = tcurves.random_triangulation(degree, seed * 1_000_003 + count)
        signs = rng.integers(0, 2, (4096, t.n), dtype=np.uint8)
        found.update(tcurves.schemes(t, signs).types)
        count += 1
    return len(found)


def main(options: Options) -> None:
    """Search once a seed and append a record for each."""
    for seed in options.seeds:
        out = options.folder / f"{options.degree}-{options.targets}-{seed}"
        shutil.rmtree(out, ignore_errors=True)
        found = tcurves.search(
            degree=options.degree, targets=options.targets, budget=options.budget, seed=seed,
            walks=options.walks, workers=options.workers, out=out,
        )  # fmt: skip
        database = tcurves.Database(out / "catalogue.sqlite", options.degree)
        times = sorted(database.schemes().values())
        database.close()
        append_record(
            options.out,
            question="Which schemes does a search from random starts find?",
            configuration={
                "degree": options.degree, "targets": options.targets, "budget": options.budget,
                "walks": options.walks, "workers": options.workers,
                "baseline_seconds": options.baseline_seconds,
            },
            seed=seed,
            samples={
                "found": len(found.witnesses),
                "missing": [str(s) for s in found.missing],
                "seconds_of_finding": times,
                "judged": found.judged,
                "best_p": found.best_p,
                "baseline_found": baseline(options.degree, options.baseline_seconds, seed)
                if options.baseline_seconds
                else None,
            },
            wall_seconds=found.seconds,
        )  # fmt: skip
        print(found.table().as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a search."""
    rows: list[list[Any]] = []
    for r in records:
        s, c = r["samples"], r["configuration"]
        known = len(tcurves.known_schemes(c["degree"])) if c["degree"] <= 7 else None
        rows.append([
            c["degree"], c["targets"], r["seed"], s["found"], known,
            round(r["wall_seconds"], 1), round(max(s["seconds_of_finding"]), 1), c["workers"],
            s["judged"], s["best_p"], s["baseline_found"],
        ])  # fmt: skip
    return Table(
        ["degree", "targets", "seed", "found", "exist", "seconds", "last new one at, s",
         "processes", "censuses", "best p", "random sampling found"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
