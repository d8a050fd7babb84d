"""Are m stacked members faster than m separate trainings?

Run:      python benchmarks/pruning/vmap_throughput.py --device cpu
          python benchmarks/pruning/vmap_throughput.py --device cuda
Expect:   on a GPU at least 2x for nets as small as ResNet-20/56, whose steps are bound by kernel
          launches; on one CPU thread, where arithmetic is the bound, about 1x or below. Steps can
          also be recorded as CUDA graphs, on both sides; then the members' small kernels compete
          for the same GPU, and the gain is what one member leaves idle.
Fairness: the same steps, batches, masks and optimizer; one after another in one process; each
          repeated, the least time of each kept; the first, which warms up, is left out.
"""

import copy
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal.lab import Table, append_record, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "Are m stacked members faster than m separate trainings?"


@dataclass(frozen=True)
class Options:
    """What is trained."""

    models: tuple[str, ...] = ("resnet20",)
    members: int = 4
    batch_size: int = 32
    steps: int = 4
    repeats: int = 3
    device: str = "cpu"
    precision: str = "float32"
    threads: int = 1
    out: Path = HERE / "results" / "vmap_throughput.jsonl"


def main() -> None:
    """Measure and append a record for each network."""
    options = tyro.cli(Options)
    for name in options.models:
        samples = _measure(options, name)
        plain = {k: v for k, v in to_plain(options).items() if k not in ("out", "models")}
        if options.device != "cpu":
            import torch

            plain["gpu"] = torch.cuda.get_device_name()
        append_record(
            options.out,
            question=QUESTION,
            configuration={**plain, "model": name},
            seed=0,
            samples=samples,
            wall_seconds=sum(sum(seconds) for seconds in samples.values()),
        )
        print(name, samples, flush=True)


def _measure(options: Options, name: str) -> dict[str, list[float]]:
    import torch

    from extremal import pruning, training
    from extremal.pruning._retrain import KeepMasks

    torch.set_num_threads(options.threads)
    generator = torch.Generator().manual_seed(0)
    n = options.batch_size * options.steps
    images = torch.randint(0, 256, (n, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = training.Split(images, torch.arange(n) % 10)
    data = training.Data(
        "noise", split, split, None, 10, tuple("0123456789"), (0.5,) * 3, (0.25,) * 3
    )
    start = training.network(name, in_channels=3, classes=10, image_size=32).to(options.device)
    masks = pruning.select(pruning.prunable_weights(start), 0.9, "uniform")
    masks.write_zeros(start)
    loops = [
        training.LoopConfig(
            batch_size=options.batch_size,
            seed=j,
            device=options.device,
            precision=options.precision,
        )
        for j in range(options.members)
    ]
    lr = [0.01] * options.steps
    found: dict[str, list[float]] = {"separate": [], "stacked": []}
    recorded = options.device != "cpu"
    if recorded:
        found |= {"separate, recorded": [], "stacked, recorded": [], "branches, recorded": []}

    def timed(work: Any) -> float:
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        began = time.perf_counter()
        work()
        if options.device.startswith("cuda"):
            torch.cuda.synchronize()
        return time.perf_counter() - began

    for repeat in range(options.repeats + 1):
        for name in found:
            models = [copy.deepcopy(start) for _ in loops]
            record = "recorded" in name
            fields = {f.name for f in dataclasses.fields(training.LoopConfig)}
            use = [
                dataclasses.replace(each, graph=record) if "graph" in fields else each
                for each in loops
            ]

            def separate(models: list[Any] = models, use: list[Any] = use) -> None:
                for model, loop in zip(models, use, strict=True):
                    training.train(
                        model, data, epochs=1, lr=lr, loop=loop, hooks=[KeepMasks(masks)]
                    )

            how = {"stacked": "", "stacked, recorded": "vmap"}.get(name, "streams")

            def stacked(models: list[Any] = models, how: Any = how) -> None:
                pruning.train_stacked(
                    models, data, epochs=1, lr=[lr] * len(loops), loops=loops, masks=masks,
                    graph=how,
                )  # fmt: skip

            seconds = timed(separate if name.startswith("separate") else stacked)
            if repeat:
                found[name].append(seconds)
    return found


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Images a second over all members, and the ratio; the last record of each case."""
    last = {
        tuple(
            r["configuration"].get(k, "float32")
            for k in ("model", "device", "batch_size", "precision")
        ): r
        for r in records
    }
    rows: list[list[str | float | int | None]] = []
    recorded: list[list[str | float | int | None]] = []
    for record in last.values():
        c, samples = record["configuration"], record["samples"]
        images = c["members"] * c["batch_size"] * c["steps"]
        rate = {name: images / min(seconds) for name, seconds in samples.items()}
        head = [c["model"], c.get("gpu", c["device"]), c.get("precision", "float32")]
        head += [c["members"], c["batch_size"]]
        rows.append(
            [
                *head, round(rate["separate"], 1), round(rate["stacked"], 1),
                round(rate["stacked"] / rate["separate"], 2),
            ]
        )  # fmt: skip
        if "stacked, recorded" in rate:
            one, two, three = (
                rate[f"{name}, recorded"] for name in ("separate", "stacked", "branches")
            )
            best = max(two, three)
            recorded.append(
                [
                    *head, *(round(r, 1) for r in (one, two, three)), round(best / one, 2),
                    round(best / rate["separate"], 2),
                ]
            )  # fmt: skip
    head = ["network", "device", "precision", "members", "batch"]
    found = [
        Table(
            [*head, "separate img/s", "stacked img/s", "ratio"], rows,
            "Members trained apart and stacked; least of the repeats",
        )
    ]  # fmt: skip
    if recorded:
        names = ["separate img/s", "stacked img/s", "side by side img/s"]
        found.append(
            Table(
                [*head, *names, "best to separate", "best to unrecorded separate"], recorded,
                "The same with steps recorded as CUDA graphs; recording counts",
            )
        )  # fmt: skip
    return found


if __name__ == "__main__":
    main()
