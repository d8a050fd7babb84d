"""How little of space must 14 colours leave uncoloured, and how near to proper are 15 when trained?

Run:      python benchmarks/coloring/space.py
          python benchmarks/coloring/space.py --device cuda --finest 96 --networks 64 --steps 10000
Expect:   a certified 14-colouring with a free colour; published after formalisation 3.4622 %.
Fairness: cells lose about half a cell at every boundary, and ours are larger than published ones.
          The rates of 15 colours are those of the best network's likeliest colours at random points
          of its box with 256 random partners each: a pair in conflict, a point with any.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import coloring, verify
from extremal.coloring import Colouring, Network, Problem
from extremal.coloring._certify import parts_of, read
from extremal.lab import Table, append_record, generator, require, write_certificate

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is searched."""

    out: Path = HERE / "results" / "space.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    parts: tuple[str, ...] = ("14", "15")
    seconds: float = 60.0
    """Of random starts for 14 colours and a free one."""
    device: str = "cpu"
    starts: int = 0
    tries: int = 2
    iterations: int = 4000
    grid: int = 24
    finest: int = 48
    source: str = ""
    """A colouring to go on from, instead of random starts."""
    found_on: str = ""
    """Where the source was found, for the record."""
    check: bool = True
    """Run `extremal verify` at once."""
    networks: int = 1
    steps: int = 2500
    anchors: int = 512
    seed: int = 0


def main(options: Options) -> None:
    """Search with 14 colours, train with 15, and append the records."""
    device = options.found_on or "one core"
    if options.device != "cpu":
        device = require("torch", "coloring").cuda.get_device_name(options.device)
    if "14" in options.parts:
        fourteen(options, device)
    if "15" in options.parts:
        fifteen(options, device)


def fourteen(options: Options, device: str) -> None:
    """Random starts, then finer cells; a certificate of each grid."""
    begun = time.perf_counter()
    problem = Problem.plane(14, 3, free_color=True)
    if options.source:
        best: Any = read(options.source)
    else:
        best = coloring.find(
            problem, budget=f"{options.seconds / 0.66:.0f}s", seed=options.seed,
            grid=options.grid, finest=options.grid, device=options.device, starts=options.starts,
            tries=options.tries, iterations=options.iterations,
        ).colouring  # fmt: skip
    while True:
        certificate(options, device, problem, best, begun)
        if 2 * best.grid[0] > options.finest:
            return
        best = coloring.go_finer(
            best, problem, 2, iterations=options.iterations, device=options.device
        ).colouring


def certificate(
    options: Options, device: str, problem: Problem, best: Colouring, begun: float
) -> None:
    """Write and check a certificate, and append the record."""
    path = options.certificates / f"space-14-and-free-{best.grid[0]}.json"
    write_certificate(path, parts_of(best, problem))
    good = verify.file(path).accepted if options.check else None
    samples = {"free": float(best.free_density), "verified": good}
    record(options, "14 and free", f"cells of {best.grid[0]}^3", device, begun, samples)


def fifteen(options: Options, device: str) -> None:
    """Train a stack, and count the conflicts of the best network."""
    begun = time.perf_counter()
    problem = Problem.plane(15, 3)
    config = coloring.TrainConfig(
        steps=options.steps, anchors=options.anchors, networks=options.networks,
        device=options.device,
    )  # fmt: skip

    def progress(step: int, loss: float) -> bool:
        if step % 500 == 0:
            print("15:", step, loss, flush=True)
        return True

    network = coloring.train(problem, config, options.seed, progress)[0]
    pair, point = rates(network, options.seed)
    method = f"{options.networks} networks, {options.steps} steps"
    samples = {"loss": network.loss, "pair_rate": pair, "point_rate": point}
    record(options, "15", method, device, begun, samples)


def rates(network: Network, seed: int, points: int = 2000, many: int = 256) -> tuple[float, float]:
    """Return the shares of pairs in conflict, and of points with a conflict."""
    rng = generator(seed, "rates")
    x = rng.uniform(-network.box, network.box, (points, 3))
    u = rng.normal(size=(points, many, 3))
    u /= np.linalg.norm(u, axis=-1, keepdims=True)
    home = network(x).argmax(1)
    other = network((x[:, None] + u).reshape(-1, 3)).argmax(1).reshape(points, many)
    same = other == home[:, None]
    return float(same.mean()), float(same.any(1).mean())


def record(
    options: Options, what: str, method: str, device: str, begun: float, samples: dict[str, Any]
) -> None:
    """Append one result."""
    seconds = time.perf_counter() - begun
    append_record(
        options.out,
        question="How little of space must 14 colours leave, and how good are 15?",
        configuration={"problem": what, "method": method, "device": device,
                       "anchors": options.anchors},
        seed=options.seed,
        samples=samples,
        status="negative" if samples.get("verified") is False else "done",
        wall_seconds=seconds,
    )  # fmt: skip
    print(what, method, samples, round(seconds, 1), flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a problem and method, from its last record."""
    last = {(r["configuration"]["problem"], r["configuration"]["method"]): r for r in records}
    return Table(
        ["colours", "method", "device", "free, %", "verified", "loss", "pairs in conflict",
         "points in conflict", "seconds"],
        [
            [what, method, r["configuration"].get("device", "one core"),
             round(100 * s["free"], 3) if "free" in s else None,
             "yes" if s.get("verified") else None, s.get("loss"), s.get("pair_rate"),
             s.get("point_rate"), round(r["wall_seconds"], 1)]
            for (what, method), r in last.items()
            for s in [r["samples"]]
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
