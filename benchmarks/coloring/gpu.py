"""What does a GPU change: random starts a second, and milliseconds a step of a stack of networks?

Run:      python benchmarks/coloring/gpu.py --device cpu
          python benchmarks/coloring/gpu.py --device cuda
Expect:   starts: a hundred times one core and more. Networks: a step takes nearly the same time
          from 1 to 64 networks, because starting kernels bounds it; with CUDA graphs less, and from
          128 networks on the memory of their activations bounds it.
Fairness: the same starts, steps and grids on both devices, both warm. The core is one core of the
          same machine, with torch on one thread and with the NumPy code that `find` uses there. A
          step is the median of repeats of 40. The copy rate is measured in the same run, and the
          least bytes of a step are those that its arrays need when each is read and written once.
          The notes of a record say where the GPU was shared with other work.
          A few starts on the core all go to the finest level, thousands on the GPU do not: compare
          the batch on the GPU with the NumPy row, which is the first level alone.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import coloring
from extremal.coloring import Problem, TrainConfig, _batch, _network
from extremal.lab import Table, append_record, require

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "gpu.jsonl"
    device: str = "cuda"
    starts: tuple[int, ...] = (1024, 8192)
    core_starts: int = 16
    networks: tuple[int, ...] = (1, 16, 128, 512)
    eager: tuple[int, ...] = (1, 128)
    """Stacks that are measured without a recorded graph, too."""
    repeats: int = 5
    seed: int = 0


def main(options: Options) -> None:
    """Measure both parts and append a record for each row."""
    torch = require("torch", "coloring")
    torch.set_num_threads(1)
    name = "one core"
    rate = None
    if options.device != "cpu":
        name = torch.cuda.get_device_name(options.device)
        rate = copy_rate(torch, options.device)
    train(torch, options, name, rate)
    search(torch, options, name, rate)


def copy_rate(torch: Any, device: str) -> float:
    """Return bytes read and written a second by a copy of 1 GB."""
    a = torch.rand(2**28, device=device)
    b = torch.empty_like(a)

    def copy() -> None:
        b.copy_(a)

    return 2 * 4 * a.numel() / seconds_of(torch, device, copy, 5)


def seconds_of(torch: Any, device: str, work: Callable[[], object], repeats: int) -> float:
    """Return the median of repeats, after one that does not count."""
    found: list[float] = []
    for _ in range(repeats + 1):
        if device != "cpu":
            torch.cuda.synchronize()
        begun = time.perf_counter()
        work()
        if device != "cpu":
            torch.cuda.synchronize()
        found.append(time.perf_counter() - begun)
    return statistics.median(found[1:])


def search(torch: Any, options: Options, name: str, rate: float | None) -> None:
    """Starts of five colours and a free one, to annealed cells of 96 x 96."""
    problem = Problem.plane(5, free_color=True)
    never = float("inf")
    jobs = [(options.device, name, count) for count in options.starts]
    if options.device == "cpu":
        begun = time.perf_counter()
        coloring.spectral_starts(problem, options.seed, 0, options.core_starts, never)
        spent = time.perf_counter() - begun
        record(options, "starts", name, "NumPy, 24 x 24 cells", options.core_starts, spent,
               {"starts_per_second": options.core_starts / spent})  # fmt: skip
        jobs = [("cpu", name, options.core_starts)]
    # Plans and kernels are made before the clock starts.
    coloring.batched_starts(problem, 1, 0, 16, never, grid=96, device=options.device)
    for device, where, count in jobs:
        begun = time.perf_counter()
        found = coloring.batched_starts(
            problem, options.seed, 0, count, never, grid=96, device=device
        )
        spent = time.perf_counter() - begun
        record(options, "starts", where, "batch, to 96 x 96 cells", count, spent,
               {"starts_per_second": count / spent, "best": found[0][0]})  # fmt: skip
    if options.device == "cpu":
        return
    for count in options.starts:
        softs = [coloring.random_start(problem, options.seed, i, 24) for i in range(count)]
        batch = _batch.SoftBatch.of(softs, options.device)

        def step(batch: Any = batch, count: int = count) -> None:
            with torch.no_grad():
                _batch.refine_many(batch, problem, 40, [0.06] * count, free_price=0.25)

        spent = seconds_of(torch, options.device, step, options.repeats) / 40
        # logits, both moments, probabilities, image, spread and gradient: in and out once
        least = 4 * 2 * 7 * batch.logits.numel()
        record(options, "steps", name, "batch, 24 x 24 cells", count, spent,
               {"ms": 1000 * spent, "floor_ms": 1000 * least / rate if rate else None})  # fmt: skip


def train(torch: Any, options: Options, name: str, rate: float | None) -> None:
    """Steps of stacks of networks for five colours and a free one."""
    problem = Problem.plane(5, free_color=True)
    rows = [(options.device, name, "eager", count) for count in options.eager]
    if options.device == "cpu":
        rows = [("cpu", name, "eager", 1)]
    else:
        rows += [(options.device, name, "graph", count) for count in options.networks]
    warm = _network.WARM
    for device, where, way, count in rows:
        config = TrainConfig(steps=10_000, networks=count, device=device)
        stack = _network.Stack(torch, problem, config, options.seed, None)
        _network.WARM = warm if way == "graph" else 10**9
        number = iter(range(config.steps))

        def steps(stack: Any = stack, number: Any = number) -> None:
            for _ in range(40):
                stack.step(next(number))

        spent = seconds_of(torch, device, steps, options.repeats if device != "cpu" else 1) / 40
        points = count * config.anchors * (1 + config.directions)
        # each layer's output before and after its sine, written and read, forward and back
        least = 4 * 4 * 2 * points * config.width * (config.depth + 1)
        record(options, "networks", where, way, count, spent,
               {"ms": 1000 * spent, "floor_ms": 1000 * least / rate if rate else None,
                "flop": 6 * points * 4500})  # fmt: skip
        del stack
    _network.WARM = warm


def record(
    options: Options, part: str, device: str, way: str, count: int, seconds: float,
    samples: dict[str, Any],
) -> None:  # fmt: skip
    """Append one row."""
    append_record(
        options.out,
        question="What does a GPU change?",
        configuration={"part": part, "device": device, "way": way, "count": count},
        seed=options.seed,
        samples=samples,
        wall_seconds=seconds,
    )
    print(part, device, way, count, {k: round(v, 5) for k, v in samples.items() if v}, flush=True)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return starts a second and milliseconds a step: of each row the best of its records.

    Where a GPU is shared, other work makes a run slower and never faster.
    """
    rows: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for r in records:
        rows.setdefault(tuple(r["configuration"].values()), []).append(r["samples"])
    starts: list[list[Any]] = []
    steps: list[list[Any]] = []
    for (part, device, way, count), runs in rows.items():
        if part == "starts":
            s = max(runs, key=lambda s: s["starts_per_second"])
            best = f"{s['best']:.2%}" if "best" in s else None
            starts.append([device, way, count, len(runs), round(s["starts_per_second"], 1), best])
        else:
            s = min(runs, key=lambda s: s["ms"])
            floors = [r["floor_ms"] for r in runs if r.get("floor_ms")]
            steps.append([part, device, way, count, len(runs), round(s["ms"], 3),
                          round(min(floors), 3) if floors else None,
                          round(1000 * s["ms"] / count, 2)])  # fmt: skip
    return [
        Table(["device", "way", "starts", "runs", "starts a second", "best, before repair"],
              starts),
        Table(["of", "device", "way", "at once", "runs", "ms a step", "floor, ms",
               "us a step each"], steps),
    ]  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
