"""How little of the plane must k colours that avoid distance 1 leave uncoloured?

Run:      python benchmarks/coloring/almost.py
Expect:   k = 1 to 4 Croft's densities; k = 5 below 4.5 %; every figure with its certificate.
Fairness: published values are from table 1 of arXiv 2501.18527 (known before: Croft, Parts), whose
          own certified colourings have much finer grids and took thousands of training runs. Ours:
          random starts for the stated seconds on one core, then finer grids and polygons.
"""

import time
from dataclasses import dataclass
from fractions import Fraction
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

    out: Path = HERE / "results" / "almost.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    colors: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    seconds: float = 60.0
    """Of random starts, for k = 5 and 6."""
    finest: int = 768
    seed: int = 0
    polygons: bool = True


def record(options: Options, k: int, way: str, colouring: Any, begun: float) -> bool:
    """Write and check a certificate, and append the record."""
    problem = Problem.plane(k, free_color=True)
    path = options.certificates / f"almost-{k}-{way}.json"
    write_certificate(path, parts_of(colouring, problem))
    good = verify.file(path).accepted
    seconds = time.perf_counter() - begun
    append_record(
        options.out,
        question="How little must k colours leave uncoloured?",
        configuration={"colors": k, "way": way, "search_seconds": options.seconds},
        seed=options.seed,
        samples={"free": str(colouring.free_density), "verified": good},
        status="done" if good else "negative",
        wall_seconds=seconds,
    )
    print(k, way, float(colouring.free_density), good, round(seconds, 1), flush=True)
    return good


def main(options: Options) -> None:
    """Search every k and append a record for each way."""
    for k in options.colors:
        begun = time.perf_counter()
        if k <= 4:
            record(options, k, "tortoises", coloring.croft(k, arc=24), begun)
            continue
        problem = Problem.plane(k, free_color=True)
        deadline = time.monotonic() + options.seconds
        starts = coloring.spectral_starts(problem, options.seed, 0, 100_000, deadline, steps=200)
        print(k, len(starts), "starts", flush=True)
        best = min(
            (coloring.finish(soft, problem, 96, free_price=0.06) for _, soft in starts[:5]),
            key=coloring.Candidate.key,
        ).colouring
        while 2 * best.grid[0] <= options.finest:
            best = coloring.go_finer(
                best, problem, 2, free_price=0.06, move_lattice=best.grid[0] < 200
            ).colouring
            print(
                k, best.grid[0], float(best.free_density), time.perf_counter() - begun, flush=True
            )
            if best.grid[0] == 192:
                coarse = best
        record(options, k, f"cells-{best.grid[0]}", best, begun)
        if options.polygons and best.grid[0] >= 192:
            try:
                tiles = coloring.trace(coarse, 1.5, 0.006 if k == 5 else 0.0003)
                tiles, _ = coloring.optimise(tiles, problem, objective="min_free", rounds=80)
                # The program ends on the boundary of what is allowed; pull back by the margin.
                exact = tiles.exact(k, True)
                if not exact.problems(problem):
                    record(options, k, "polygons", exact, begun)
            except coloring.ColoringError as error:
                print(k, "no polygons:", error, flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return the certified values beside the published ones: the least of each k."""
    best: dict[int, Fraction] = {}
    for r in records:
        if r["samples"]["verified"]:
            k, free = r["configuration"]["colors"], Fraction(r["samples"]["free"])
            best[k] = min(best.get(k, Fraction(1)), free)
    return coloring.free_table(best)


if __name__ == "__main__":
    main(tyro.cli(Options))
