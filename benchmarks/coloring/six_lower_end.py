"""How small can the sixth colour's distance be, while five others avoid distance 1?

Run:      python benchmarks/coloring/six_lower_end.py
Expect:   d = 0.40 to 0.33 and at least one interval that begins below 0.354, where the first
          published family of six-colourings ends (arXiv 2404.05509: [0.354, 0.553]).
Fairness: published ends are bounds of that paper's own colourings, not limits. Ours: cells for
          d = 0.45 searched on towards 0.40 for `--budget`, which leaves a few conflicts; their
          boundaries as polygons have none, and each d goes on from the polygons of the one before.
          All is checked in exact fractions.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import coloring, verify
from extremal.lab import Table, append_record, write_certificate

HERE = Path(__file__).resolve().parent
CERTIFICATES = HERE / "results" / "certificates"


@dataclass(frozen=True)
class Options:
    """Which distances are tried, one from the polygons of the last."""

    out: Path = HERE / "results" / "six_lower_end.jsonl"
    certificates: Path = CERTIFICATES
    start: Path = CERTIFICATES / "type-0.45.json"
    """Cells."""
    budget: str = "60s"
    """Of the search for cells at the first distance."""
    distances: tuple[str, ...] = ("0.40", "0.37", "0.36", "0.354", "0.35", "0.345", "0.34", "0.335",
                                  "0.33", "0.325")  # fmt: skip
    rounds: int = 80
    seed: int = 0


def refined(source: Any, problem: Any, rounds: int) -> Any:
    """Polygons that keep the rules, if one of three ways leads there; else the last try."""
    done = None
    for longest, trust in ((0.0, 0.02), (0.0, 0.01), (0.12, 0.01)):
        done = coloring.refine(source, problem, rounds=rounds, longest=longest, trust=trust)
        if done.verdict.status == "valid":
            break
    return done


def main(options: Options) -> None:
    """Try the distances in turn; certify each one's whole interval; append a record for each."""
    source = coloring.find(
        coloring.Problem.type(1, 1, 1, 1, 1, options.distances[0]),
        start=str(options.start), budget=options.budget, seed=options.seed,
    ).colouring  # fmt: skip
    for d in options.distances:
        begun = time.perf_counter()
        done = refined(source, coloring.Problem.type(1, 1, 1, 1, 1, d), options.rounds)
        good, low, high = done.verdict.status == "valid", "", ""
        if good:
            source = done.colouring
            ends = next(x for x in source.spectrum(5, 1.0) if x[0] < float(d) < x[1])
            low, high = f"{ends[0] + 1e-4:.4f}", f"{ends[1] - 1e-4:.4f}"  # a margin at both ends
            problem = coloring.Problem.type(1, 1, 1, 1, 1, (low, high))
            path = options.certificates / f"six-lower-{d}.json"
            good = verify.file(write_certificate(path, [source.part(problem)])).accepted
        seconds = time.perf_counter() - begun
        append_record(
            options.out,
            question="How small can the sixth colour's distance be?",
            configuration={"d": d, "rounds": options.rounds, "budget": options.budget},
            seed=options.seed,
            samples={"seconds": seconds, "low": low, "high": high, "verified": good},
            status="done" if good else "negative",
            wall_seconds=seconds,
        )
        print(d, low, high, good, round(seconds, 1), flush=True)
        if not good:
            break


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a distance, from its last record."""
    last = {r["configuration"]["d"]: r["samples"] for r in records}
    return Table(
        ["d", "sixth colour avoids", "verified", "seconds"],
        [
            [d, f"[{s['low']}, {s['high']}]" if s["verified"] else None,
             "yes" if s["verified"] else "no", round(s["seconds"], 1)]
            for d, s in last.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
