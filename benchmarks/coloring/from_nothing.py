"""How long from a question to a certificate, with random starts on tori and with networks?

Run:      python benchmarks/coloring/from_nothing.py
Expect:   seven colours within 60 s; type (1, 1, 1, 1, 1, d) at d = 0.50 within 10 minutes, and by
          continuation at 0.45, 0.53, 0.56, 0.60.
Fairness: same core and seeds, one thread; all ways share lattice refinement, annealing, repair and
          the exact decision. The network way is the published relaxation with our settings; its
          training ends at the given steps. Kernels are compiled before the clock starts.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import coloring, verify
from extremal.coloring import Problem
from extremal.coloring._certify import parts_of
from extremal.lab import Table, append_record, write_certificate

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is searched."""

    out: Path = HERE / "results" / "from_nothing.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    seeds: tuple[int, ...] = (0, 1, 2)
    permuted: bool = True
    """Search with exchanged colours, too."""
    spectral: bool = True
    """Search without, and continue to neighbours."""
    network_steps: int = 2500
    """Of the one network that is trained for comparison; 0 leaves it out."""
    along: tuple[float, ...] = (0.45, 0.53, 0.56, 0.60)


def accepted(colouring: coloring.Colouring, problem: Problem, path: Path) -> bool:
    """Write a certificate and let the independent checker decide."""
    return verify.file(write_certificate(path, parts_of(colouring, problem))).accepted


def record(
    options: Options, what: str, method: str, seed: int, seconds: float, grid: int, good: bool
) -> None:
    """Append one search."""
    append_record(
        options.out,
        question="How long from a question to a certificate?",
        configuration={"problem": what, "method": method},
        seed=seed,
        samples={"seconds": seconds, "grid": grid, "verified": good},
        status="done" if good else "negative",
        wall_seconds=seconds,
    )
    print(what, method, seed, round(seconds, 1), grid, good, flush=True)


def main(options: Options) -> None:
    """Search everything once per seed and append a record for each answer."""
    coloring.find(Problem.plane(7), budget="20s", grid=24)  # compile
    six = Problem.type(1, 1, 1, 1, 1, 0.5)
    for seed in options.seeds:
        for what, problem in (("7 colours", Problem.plane(7)), ("type 0.5", six)):
            ways = [False] * options.spectral + [True] * options.permuted
            for permuted in ways:
                grid = 24 if what == "7 colours" else 48
                found = coloring.find(
                    problem, budget="120s", seed=seed, grid=grid, permuted=permuted
                )
                name = f"{what.replace(' ', '-')}{'-permuted' * permuted}.json"
                path = options.certificates / name
                good = found.status == "valid" and accepted(found.colouring, problem, path)
                method = "spectral, exchanged colours" if permuted else "spectral"
                record(options, what, method, seed, found.seconds, found.colouring.grid[0], good)
                if what != "7 colours" and not permuted and seed == options.seeds[0] and good:
                    follow(options, found.colouring)
    if options.network_steps:
        found = coloring.find(
            six, budget="200s", method="network", steps=options.network_steps, seed=0, grid=48
        )
        record(options, "type 0.5", "network", 0, found.seconds, 48, found.status == "valid")


def follow(options: Options, start: coloring.Colouring) -> None:
    """Continue from d = 0.5 to its neighbours, each from the nearest one that worked."""
    known = {0.5: start}
    for d in options.along:
        begun = time.perf_counter()
        nearest = min(known, key=lambda e: abs(e - d))
        problem = Problem.type(1, 1, 1, 1, 1, d)
        soft = coloring.soften(known[nearest], 3.0, 2.0)
        for grid in (48, 64, 96):
            candidate = coloring.finish(soft, problem, grid)
            if candidate.residue == 0:
                known[d] = candidate.colouring
                break
        seconds = time.perf_counter() - begun
        path = options.certificates / f"type-{d}.json"
        good = candidate.residue == 0 and accepted(candidate.colouring, problem, path)
        record(options, f"type {d}", f"continued from {nearest}", 0, seconds, grid, good)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a problem and method, all runs of the last configuration."""
    rows: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for r in records:
        rows.setdefault((r["configuration"]["problem"], r["configuration"]["method"]), []).append(r)
    return Table(
        ["problem", "method", "runs", "verified", "least, s", "most, s", "cells a side"],
        [
            [what, method, len(rs), sum(r["samples"]["verified"] for r in rs),
             round(min(r["samples"]["seconds"] for r in rs), 1),
             round(max(r["samples"]["seconds"] for r in rs), 1), rs[-1]["samples"]["grid"]]
            for (what, method), rs in rows.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
