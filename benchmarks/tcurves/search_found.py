"""Which schemes does a search from random starts find, and how fast?

Run:      python benchmarks/tcurves/search_found.py --degree 6 --budget 2m
          python benchmarks/tcurves/search_found.py --degree 7 --budget 60m
          python benchmarks/tcurves/search_found.py --degree 10 --targets p --budget 10m
Expect:   55 of 55 sextics within a minute; at least 116 of the 121 septics within an
          hour on 2 cores.
Fairness: random starts only, no published triangulation. The baselines get one core and the time
          stated: random signs (4,096 on each random triangulation) and climbing in the number of
          ovals by sign flips, both with the compiled batch evaluator.
"""

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        seconds = options.baseline_seconds
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
                "random_found": len(tcurves.random_signs(options.degree, seconds, seed)),
                "climb_found": len(tcurves.climb(options.degree, seconds, seed)),
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
            s["judged"], s["best_p"], c["baseline_seconds"], s["random_found"],
            s["climb_found"],
        ])  # fmt: skip
    return Table(
        ["degree", "targets", "seed", "found", "exist", "seconds", "last new one at, s",
         "processes", "censuses", "best p", "baselines' seconds", "random signs found",
         "climbing found"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
