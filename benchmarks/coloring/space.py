"""How little of space must 14 colours leave uncoloured, and how near to proper are 15 when trained?

Run:      python benchmarks/coloring/space.py
Expect:   a certified 14-colouring with a free colour; published after formalisation 3.4622 %.
Fairness: cells lose about half a cell at every boundary, and ours are much larger than published
          ones; the pair rate of 15 colours is that of cells, beside the trained network's loss.
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

    out: Path = HERE / "results" / "space.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    seconds: float = 40.0
    """Of random starts, for each of the two problems."""
    grid: int = 40
    steps: int = 300
    """Of the network with 15 colours; 0 leaves it out."""
    seed: int = 0


def main(options: Options) -> None:
    """Search both problems, train one network, and append the records."""
    begun = time.perf_counter()
    almost = Problem.plane(14, 3, free_color=True)
    starts = coloring.spectral_starts(
        almost, options.seed, 0, 10_000, time.monotonic() + options.seconds, steps=100
    )
    soft, _ = coloring.refine_lattice(
        starts[0][1], almost, 150, blur=0.08, rate=0.05, lattice_rate=0.004, free_price=0.06
    )
    best = coloring.finish(soft, almost, options.grid, refine_steps=0, relax_steps=100).colouring
    path = options.certificates / "space-14-and-free.json"
    good = verify.file(write_certificate(path, parts_of(best, almost))).accepted
    record(options, "14 and free", "spectral", begun,
           {"free": float(best.free_density), "verified": good, "starts": len(starts)})  # fmt: skip
    begun = time.perf_counter()
    proper = Problem.plane(15, 3)
    starts = coloring.spectral_starts(
        proper, options.seed, 0, 10_000, time.monotonic() + options.seconds, steps=100
    )
    cells = starts[0][1].rounded(proper).refined(2)
    record(options, "15", "spectral", begun,
           {"loss": starts[0][0], "pair_rate": coloring.pair_rate(cells, proper)})  # fmt: skip
    if options.steps:
        begun = time.perf_counter()
        config = coloring.TrainConfig(steps=options.steps, anchors=512, directions=6)
        network = coloring.train(proper, config, options.seed)[0]
        record(options, "15", f"network, {options.steps} steps", begun, {"loss": network.loss})


def record(options: Options, what: str, method: str, begun: float, samples: dict[str, Any]) -> None:
    """Append one result."""
    seconds = time.perf_counter() - begun
    append_record(
        options.out,
        question="How little of space must 14 colours leave, and how good are 15?",
        configuration={"problem": what, "method": method, "grid": options.grid},
        seed=options.seed,
        samples=samples,
        wall_seconds=seconds,
    )
    print(what, method, samples, round(seconds, 1), flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a problem and method, from its last record."""
    last = {(r["configuration"]["problem"], r["configuration"]["method"]): r for r in records}
    return Table(
        ["colours", "method", "free, %", "verified", "loss", "pair rate of cells", "seconds"],
        [
            [what, method, round(100 * s["free"], 3) if "free" in s else None,
             "yes" if s.get("verified") else None, s.get("loss"), s.get("pair_rate"),
             round(r["wall_seconds"], 1)]
            for (what, method), r in last.items()
            for s in [r["samples"]]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
