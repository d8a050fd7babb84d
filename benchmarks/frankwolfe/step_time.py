"""How long is an optimizer step over regions beside plain SGD with momentum?

Run:      python benchmarks/frankwolfe/step_time.py
          python benchmarks/frankwolfe/step_time.py --device cuda --repeats 40
Expect:   L2, maximum norm and L1 at most 1.3 times SGD, K-sparse and k-support at most 2 times,
          with gradient rescaling at most 1.6 times (2 for the last two); AdaSFW at most K + 1
          times SFW. SGD moves 32 bytes a parameter (m, then m and g, then x and m); our two passes
          24 to 28; AdaSFW 40 + 20 K + 4, less where a tensor fits in the cache. On a GPU K-sparse
          and k-support read m three times more to find the threshold (36 to 44 bytes), and AdaSFW
          moves 20 K + 20; at 3 TB/s L2 needs 0.09 ms for ResNet-18 and SGD 0.125. A step of three
          launches from Python takes longer than that.
Fairness: the same float32 tensors and gradients, the same threads, every step over all tensors, the
          contenders take turns step by step, all samples kept; the least times are compared,
          because other work on the machine only adds. On a GPU a step is timed by events between
          steps of one optimizer, host and launches included, and the median counts; "device" is
          the same with the launches queued behind a sleeping kernel, so that only the GPU's own
          time is left. torch's fused SGD runs too, which moves 20 bytes a parameter.
"""

import statistics
import time
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
import tyro

from extremal import frankwolfe as fw
from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "How long is an optimizer step over regions beside plain SGD with momentum?"


@dataclass(frozen=True)
class Options:
    """What is timed."""

    lists: tuple[str, ...] = ("resnet18", "resnet50", "gpt2")
    repeats: int = 15
    threads: int = 0
    """0 leaves torch's own number."""
    device: str = "cpu"
    out: Path = HERE / "results" / "step_time.jsonl"


def resnet(blocks: tuple[int, ...], bottleneck: bool) -> list[tuple[int, ...]]:
    """Shapes of the parameters of an ImageNet ResNet."""
    shapes: list[tuple[int, ...]] = []

    def conv(out: int, into: int, k: int) -> None:
        shapes.extend([(out, into, k, k), (out,), (out,)])

    conv(64, 3, 7)
    into = 64
    for stage, count in enumerate(blocks):
        width = 64 << stage
        out = 4 * width if bottleneck else width
        for block in range(count):
            if bottleneck:
                conv(width, into, 1)
                conv(width, width, 3)
                conv(out, width, 1)
            else:
                conv(width, into, 3)
                conv(width, width, 3)
            if block == 0 and into != out:
                conv(out, into, 1)
            into = out
    shapes.extend([(1000, into), (1000,)])
    return shapes


def gpt2() -> list[tuple[int, ...]]:
    """Shapes of the parameters of GPT-2 small."""
    d = 768
    layer = [(d,), (d,), (3 * d, d), (3 * d,), (d, d), (d,), (d,), (d,)]
    layer += [(4 * d, d), (4 * d,), (d, 4 * d), (d,)]
    return [(50257, d), (1024, d), *layer * 12, (d,), (d,)]


LISTS = {
    "resnet18": lambda: resnet((2, 2, 2, 2), False),
    "resnet50": lambda: resnet((3, 4, 6, 3), True),
    "gpt2": gpt2,
}
REGIONS = {
    "L2": lambda: fw.L2Ball(1000.0),
    "Linf": lambda: fw.LinfBall(1.0),
    "L1": lambda: fw.L1Ball(1e6),
    "K-sparse 10 %": lambda: fw.KSparse(10.0, fraction=0.1),
    "k-support 10 %": lambda: fw.KSupport(1000.0, fraction=0.1),
}


def contenders(shapes: list[tuple[int, ...]], device: str) -> dict[str, Any]:
    """A step of each optimizer, over tensors that all of them share."""
    generator = torch.Generator(device).manual_seed(0)
    more: dict[str, Any] = {"generator": generator, "device": device}
    params = [torch.nn.Parameter(0.01 * torch.randn(s, **more)) for s in shapes]
    for p in params:
        p.grad = torch.randn(p.shape, **more)
    found: dict[str, Any] = {"SGD": torch.optim.SGD(params, lr=1e-6, momentum=0.9, foreach=True)}
    if device != "cpu":
        found["SGD, fused"] = torch.optim.SGD(params, lr=1e-6, momentum=0.9, fused=True)
    for name, make in REGIONS.items():
        for rescale in ("diameter", "gradient"):
            found[f"{name}, {rescale}"] = fw.SFW(
                [{"params": params, "region": make()}], lr=1e-6, rescale=rescale
            )
    few = device == "cpu" and sum(p.numel() for p in params) > 5e7
    for name in ("Linf",) if few else ("L2", "Linf", "L1"):
        found[f"AdaSFW {name}, K=5"] = fw.AdaSFW(
            [{"params": params, "region": REGIONS[name]()}], lr=1e-6
        )
    return found


def measure(name: str, options: Options) -> dict[str, Any]:
    """Time one list of parameters."""
    shapes = LISTS[name]()
    found = contenders(shapes, options.device)
    samples: dict[str, list[float]] = {key: [] for key in found}
    begun = time.perf_counter()
    if options.device != "cpu":
        samples |= {f"{key}, device": [] for key in found}
        for key, optimizer in found.items():
            on_device(optimizer, options.repeats, samples[key], samples[f"{key}, device"])
        return record(name, shapes, options, samples, time.perf_counter() - begun)
    for round_ in range(options.repeats + 2):
        for key, optimizer in found.items():
            start = time.perf_counter()
            optimizer.step()
            if round_ >= 2:  # kernels compiled, thresholds known
                samples[key].append(time.perf_counter() - start)
    return record(name, shapes, options, samples, time.perf_counter() - begun)


def on_device(optimizer: Any, repeats: int, whole: list[float], alone: list[float]) -> None:
    """Time steps by events: between steps, and with all launches queued beforehand."""
    for _ in range(5):  # kernels compiled, state made
        optimizer.step()
    torch.cuda.synchronize()
    for kept, queued in ((whole, False), (alone, True)):
        for _ in range(4):
            if queued:
                torch.cuda._sleep(40_000_000)  # about 25 ms, in which the host runs ahead
            events = [torch.cuda.Event(enable_timing=True) for _ in range(repeats // 4 + 1)]
            events[0].record()
            for event in events[1:]:
                optimizer.step()
                event.record()
            torch.cuda.synchronize()
            kept += [a.elapsed_time(b) / 1e3 for a, b in pairwise(events)]


def record(
    name: str,
    shapes: list[tuple[int, ...]],
    options: Options,
    samples: dict[str, list[float]],
    seconds: float,
) -> dict[str, Any]:
    """Append the samples of one list."""
    plain = to_plain(options)
    del plain["out"], plain["lists"]
    plain |= {"list": name, "parameters": sum(torch.Size(s).numel() for s in shapes)}
    plain["threads"] = torch.get_num_threads()
    if options.device != "cpu":
        plain["gpu"] = torch.cuda.get_device_name()
    return append_record(
        options.out,
        question=QUESTION,
        configuration=plain,
        seed=0,
        samples=samples,
        wall_seconds=seconds,
    )


def table(records: list[dict[str, Any]]) -> list[Table]:
    """The last record of each list and device: times, and their ratio to SGD in the same run."""
    return [one for kind in ("cpu", "cuda") if (one := _table(records, kind)) is not None]


def _table(records: list[dict[str, Any]], kind: str) -> Table | None:
    last = {
        r["configuration"]["list"]: r
        for r in records
        if r["status"] == "done" and r["configuration"].get("device", "cpu").startswith(kind)
    }
    if not last:
        return None
    of = min if kind == "cpu" else statistics.median
    names = list(dict.fromkeys(key for r in last.values() for key in r["samples"]))
    rows: list[list[str | float | int | None]] = []
    for key in names:
        row: list[str | float | int | None] = [key]
        base = "SGD, device" if key.endswith(", device") else "SGD"
        for record in last.values():
            samples = record["samples"]
            if key not in samples:
                row += [None, None]
                continue
            seconds = of(samples[key])
            digits = 2 if kind == "cpu" else 3
            row += [round(1e3 * seconds, digits), round(seconds / of(samples[base]), 2)]
        rows.append(row)
    columns = ["step"]
    for name in last:
        columns += [f"{name}, ms", "times SGD"]
    about = next(iter(last.values()))["configuration"]
    threads = about["threads"]
    title = f"{threads} CPU thread{'' if threads == 1 else 's'}, float32, least times"
    if kind != "cpu":
        title = f"{about['gpu']}, float32, medians"
    return Table(columns, rows, title=title)


def main() -> None:
    """Time every list and print the table."""
    options = tyro.cli(Options)
    if options.threads:
        torch.set_num_threads(options.threads)
    for name in options.lists:
        measure(name, options)
    for one in table(read_records(options.out)):
        print(one.as_text())


if __name__ == "__main__":
    main()
