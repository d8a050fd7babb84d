"""How little of the plane must k colours that avoid distance 1 leave uncoloured?

Run:      python benchmarks/coloring/almost.py
          python benchmarks/coloring/almost.py --colors 5 --period 1.2 1.4 --starts 60 (two patches
          of each colour in a period)
          python benchmarks/coloring/almost.py --device cuda --colors 5 6 --workers 6 --finest 1536
Expect:   k = 1 to 4 Croft's densities; k = 5 below 4.1 %, with two patches
          a colour below 3.7 % from one round in a hundred; every figure with its certificate.
Fairness: published values are from table 1 of arXiv 2501.18527 (known before: Croft, Parts), whose
          own certified colourings have much finer grids and took thousands of training runs. Ours:
          random starts for the stated seconds on one core or one GPU; the best few of single
          rounds go to finer cells and to polygons; the best of each kind is certified.
"""

import time
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Literal

import tyro

from extremal import coloring, verify
from extremal.coloring import Colouring, Problem
from extremal.coloring._certify import parts_of, read
from extremal.lab import Table, append_record, executor, require, write_certificate

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is searched."""

    out: Path = HERE / "results" / "almost.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    colors: tuple[int, ...] = (1, 2, 3, 4, 5, 6)
    seconds: float = 60.0
    """Of random starts, for k = 5 and 6."""
    device: str = "cpu"
    starts: int = 0
    """Of a round; 0 means what `find` takes."""
    tries: int = 3
    keep: int = 4
    """How many colourings of single rounds go to finer cells and polygons."""
    period: tuple[float, float] = (0.0, 0.0)
    """As of `find`."""
    source: tuple[Path, ...] = ()
    """Colourings, cells or polygons, to go on from, instead of random starts."""
    found_on: str = ""
    """Where those of `source` were found, for the record."""
    as_they_are: bool = False
    """Certify and record those of `source` without any change."""
    middle: int = 384
    """Cells along an axis from which polygons are traced."""
    finest: int = 768
    longest: float = 0.08
    """Of a polygon's side; 0 leaves polygons out."""
    rounds: int = 60
    workers: int = 1
    check: bool = True
    """Run `extremal verify` at once; without it the record says that nothing was checked."""
    seed: int = 0


@dataclass(frozen=True)
class Job:
    """One colouring to be polished."""

    colors: int
    plain: dict[str, Any]
    middle: int
    longest: float
    rounds: int
    device: str
    save: Path
    """Where each stage of the polygons is kept, so that an interrupted one is not lost."""


def polish(job: Job) -> dict[str, Any]:
    """Take one colouring to finer cells and to polygons."""
    problem = Problem.plane(job.colors, free_color=True)
    if "tiles" in job.plain:
        return polygons(job, problem, coloring.PolygonColouring.from_json(job.plain), [job.longest])
    cells = Colouring.from_json(job.plain)
    while 2 * cells.grid[0] <= job.middle:
        move = cells.grid[0] < 200
        cells = coloring.go_finer(
            cells, problem, 2, free_price=0.06, move_lattice=move, device=job.device
        ).colouring
    cells = coloring.smooth(cells, problem)
    print(job.colors, cells.grid[0], f"{float(cells.free_density):.4%}", flush=True)
    stages = [0.0, 4 * job.longest, 2 * job.longest, job.longest] if job.longest else []
    stages = [s for s in stages if s <= max(0.2, job.longest)]  # longer sides lose the pattern
    return {"cells": cells.as_json(), **polygons(job, problem, cells, stages)}


def polygons(job: Job, problem: Problem, source: Any, stages: list[float]) -> dict[str, Any]:
    """Optimise polygons with shorter and shorter sides; the last valid ones are the answer."""
    answer: dict[str, Any] = {}
    smallest = 0.0004 if job.colors == 5 else 0.00001  # free patches of k = 6 are tiny
    try:
        for longest in stages:
            done = coloring.refine(
                source, problem, longest=longest, rounds=job.rounds, smallest=smallest,
                trust=0.01 if longest else 0.03,
            )  # fmt: skip
            source = done.colouring
            print(job.colors, "polygons", longest, done.verdict.status,
                  f"{float(source.free_density):.4%}", flush=True)  # fmt: skip
            if done.verdict.status == "valid":
                answer["polygons"] = source.as_json()
                source.save(job.save)
    except coloring.ColoringError as error:
        print(job.colors, "no polygons:", error, flush=True)
    return answer


def record(options: Options, k: int, way: str, colouring: Any, begun: float, device: str) -> bool:
    """Write and check a certificate, and append the record."""
    problem = Problem.plane(k, free_color=True)
    path = options.certificates / f"almost-{k}-{way}.json"
    write_certificate(path, parts_of(colouring, problem))
    good = verify.file(path).accepted if options.check else None
    seconds = time.perf_counter() - begun
    append_record(
        options.out,
        question="How little must k colours leave uncoloured?",
        configuration={"colors": k, "way": way, "search_seconds": options.seconds,
                       "device": device, "starts": options.starts},
        seed=options.seed,
        samples={"free": str(colouring.free_density), "verified": good},
        status="negative" if good is False else "done",
        wall_seconds=seconds,
    )  # fmt: skip
    print(k, way, f"{float(colouring.free_density):.4%}", good, round(seconds, 1), flush=True)
    return bool(good)


def candidates(options: Options, k: int) -> list[Any]:
    """Search, and return the best colourings of single rounds."""
    if options.source:
        return [read(path) for path in options.source]
    problem = Problem.plane(k, free_color=True)
    with TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        found = coloring.find(
            problem, budget=f"{options.seconds / 0.66:.0f}s", seed=options.seed, grid=96,
            finest=96, device=options.device, starts=options.starts, tries=options.tries,
            keep=options.keep, period=options.period, out=run,
        )  # fmt: skip
        print(k, found.rounds, "rounds", f"{float(found.free_density):.4%}", flush=True)
        return [read(path) for path in sorted((run / "candidates").iterdir())]


def main(options: Options) -> None:
    """Search every k and append a record for each way."""
    device = options.found_on or "one core"
    if options.device != "cpu":
        device = require("torch", "coloring").cuda.get_device_name(options.device)
    for k in options.colors:
        begun = time.perf_counter()
        if k <= 4:
            record(options, k, "tortoises", coloring.croft(k, arc=24), begun, "one core")
            continue
        problem = Problem.plane(k, free_color=True)
        if options.as_they_are:
            for found in candidates(options, k):
                cells = isinstance(found, Colouring)
                way = f"cells-{found.grid[0]}" if cells else "polygons"
                record(options, k, way, found, begun, device)
            continue
        jobs = [
            Job(
                k,
                c.as_json(),
                options.middle,
                options.longest,
                options.rounds,
                options.device,
                options.certificates / f"stage-{k}-{i}.json",
            )
            for i, c in enumerate(candidates(options, k))
        ]
        kind: Literal["serial", "processes"] = "processes" if options.workers > 1 else "serial"
        with executor(kind, workers=options.workers) as runner:
            answers = runner.map(polish, jobs)
        shapes = [coloring.PolygonColouring.from_json(a["polygons"])
                  for a in answers if "polygons" in a]  # fmt: skip
        if shapes:
            best = min(shapes, key=lambda s: s.free_density)
            record(options, k, "polygons", best, begun, device)
        grids = [Colouring.from_json(a["cells"]) for a in answers if "cells" in a]
        if not grids:
            continue
        cells = min(grids, key=lambda c: c.free_density)
        while 2 * cells.grid[0] <= options.finest:
            cells = coloring.go_finer(
                cells, problem, 2, free_price=0.06, device=options.device
            ).colouring
        record(options, k, f"cells-{cells.grid[0]}", cells, begun, device)


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
