"""How much faster are training steps that are replayed as CUDA graphs?

Run:      python benchmarks/training/graph_speed.py
Expect:   several times for ResNet-20, whose step is some 400 kernels of microseconds, bound by how
          fast Python launches them; little for ResNet-18, whose kernels take longer than a launch.
Fairness: the same loop, batches of 128 (random pixels, cropped and mirrored), SGD with momentum;
          each setting eager and replayed in turn in one process; epochs of `steps` steps, the first
          left out, which warms up and records; every epoch's time kept, the least compared.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from extremal import training
from extremal.lab import Table, append_record, read_records

HERE = Path(__file__).resolve().parent
QUESTION = "How much faster are training steps that are replayed as CUDA graphs?"
SETTINGS: tuple[dict[str, Any], ...] = (
    {},
    {"channels_last": True},
    {"channels_last": True, "precision": "bfloat16"},
)


@dataclass(frozen=True)
class Options:
    """What is timed."""

    networks: tuple[str, ...] = ("resnet20", "resnet18")
    batch: int = 128
    steps: int = 60
    epochs: int = 4
    shared: bool = False
    """Say in the record that other processes use the GPU at the same time."""
    out: Path = HERE / "results" / "graph_speed.jsonl"


class Clock(training.Hooks):
    """The time at the end of each epoch."""

    values_only = True

    def __init__(self) -> None:
        """Start without any."""
        self.seen: list[float] = []

    def after_epoch(self, epoch: int) -> None:
        """Wait for the GPU and look."""
        del epoch
        torch.cuda.synchronize()
        self.seen.append(time.perf_counter())


def milliseconds(
    name: str, data: training.Data, options: Options, settings: dict[str, Any], graph: bool
) -> list[float]:
    """Return the time of a step in each epoch but the first."""
    torch.manual_seed(0)
    model = training.network(name, in_channels=3, classes=10, image_size=32)
    clock = Clock()
    loop = training.LoopConfig(batch_size=options.batch, device="cuda", graph=graph, **settings)
    training.train(
        model, data, epochs=options.epochs, lr=[0.01] * (options.epochs * options.steps),
        loop=loop, hooks=[clock],
    )  # fmt: skip
    pairs = zip(clock.seen, clock.seen[1:], strict=False)
    return [1e3 * (after - before) / options.steps for before, after in pairs]


def main() -> None:
    """Time every setting and print the table."""
    options = tyro.cli(Options)
    if not torch.cuda.is_available():
        print("left out: there is no CUDA device here")
        return
    n = options.batch * options.steps
    images = torch.randint(0, 256, (n, 3, 32, 32), dtype=torch.uint8)
    split = training.Split(images, torch.arange(n) % 10)
    names = tuple("0123456789")
    data = training.Data(
        "noise", split, split, None, 10, names, (0.5,) * 3, (0.25,) * 3, "crop-flip"
    )
    for name in options.networks:
        for settings in SETTINGS:
            begun = time.perf_counter()
            samples = {
                how: milliseconds(name, data, options, settings, how == "replayed")
                for how in ("eager", "replayed")
            }
            append_record(
                options.out,
                question=QUESTION,
                configuration={
                    "network": name, "batch": options.batch, "steps": options.steps,
                    "device": torch.cuda.get_device_name(), "shared": options.shared,
                    **settings,
                },
                seed=0,
                samples=samples,
                wall_seconds=time.perf_counter() - begun,
            )  # fmt: skip
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """Least milliseconds a step, eager and replayed."""
    found: dict[tuple[Any, ...], dict[str, list[float]]] = {}
    for r in records:
        c = r["configuration"]
        key = (
            c["network"], c["batch"], "last" if c.get("channels_last") else "first",
            c.get("precision", "float32"),
            c["device"] + (", beside other processes" if c["shared"] else ""),
        )  # fmt: skip
        for how, values in r["samples"].items():
            found.setdefault(key, {}).setdefault(how, []).extend(values)
    rows: list[list[str | float | int | None]] = []
    for key, how in found.items():
        eager, replayed = min(how["eager"]), min(how["replayed"])
        rows.append([*key, round(eager, 3), round(replayed, 3), round(eager / replayed, 2)])
    head = [
        "network", "batch", "channels", "precision", "device", "eager (ms a step)", "replayed",
        "ratio",
    ]  # fmt: skip
    return Table(head, rows, "Least of the epochs; float32 convolutions use TF32, torch's default")


if __name__ == "__main__":
    main()
