"""How long does it take to check 2048 x 2048 cells in six colours?

Run:      python benchmarks/coloring/checking.py
Expect:   at most 10 s with the compiled screen, at most 90 s with `extremal verify`, same verdict.
Fairness: one core; the screen is compiled before the clock starts; verify includes reading the
          file. A second file differs in one cell and must be rejected by both. Where the machine is
          busy with other work the wall time is longer than the time of the core, so both are given.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import tyro

from extremal import coloring, verify
from extremal.coloring import Colouring, Problem
from extremal.coloring._certify import parts_of
from extremal.lab import Table, append_record, write_certificate

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is checked."""

    out: Path = HERE / "results" / "checking.jsonl"
    seed: int = 0


def main(options: Options) -> None:
    """Measure both checks on a valid and an invalid file."""
    problem = Problem.type(1, 1, 1, 1, 1, 0.5)
    small = coloring.find(problem, budget="120s", seed=options.seed, grid=64).colouring
    large = small.refined(2048 // small.grid[0])
    cells = large.cells.copy()
    home = int(cells[0, 0])
    # A cell at a forbidden offset from a cell of colour `home` takes that colour, too.
    offset = coloring.forbidden(large.exact_steps, problem.spans(home))[0]
    cells[tuple(offset % 2048)] = home
    forged = Colouring(large.lattice, cells, 6)
    coloring.screen(small, problem)
    for name, colouring in (("valid", large), ("one cell changed", forged)):
        begun, cpu = time.perf_counter(), time.process_time()
        conflict = coloring.screen(colouring, problem)
        screened, screen_cpu = time.perf_counter() - begun, time.process_time() - cpu
        with TemporaryDirectory() as folder:
            path = write_certificate(Path(folder) / "c.json", parts_of(colouring, problem))
            begun, cpu = time.perf_counter(), time.process_time()
            verdict = verify.file(path)
            verified, verify_cpu = time.perf_counter() - begun, time.process_time() - cpu
        if (conflict is None) != verdict.accepted or verdict.accepted != (name == "valid"):
            raise AssertionError("the two checks disagree, or accept what is broken")
        append_record(
            options.out,
            question="How long does it take to check 2048 x 2048 cells in six colours?",
            configuration={"grid": 2048, "colours": 6, "file": name},
            seed=options.seed,
            samples={"screen": screened, "verify": verified, "accepted": verdict.accepted,
                     "screen_cpu": screen_cpu, "verify_cpu": verify_cpu},
            wall_seconds=screened + verified,
        )  # fmt: skip
        print(name, screened, verified, verdict.accepted, flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a file, from its last record."""
    last = {r["configuration"]["file"]: r for r in records}
    return Table(
        ["file", "screen, s", "of the core, s", "verify, s", "of the core, s", "both say"],
        [
            [name, round(r["samples"]["screen"], 2), round(r["samples"]["screen_cpu"], 2),
             round(r["samples"]["verify"], 1), round(r["samples"]["verify_cpu"], 1),
             "valid" if r["samples"]["accepted"] else "invalid"]
            for name, r in last.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
