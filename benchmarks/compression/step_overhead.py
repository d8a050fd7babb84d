"""How much longer is a training step over regions than a step of SGD?

Run:      python benchmarks/compression/step_overhead.py
          python benchmarks/compression/step_overhead.py --device cuda --networks resnet18 \
              --batches 128 --repeats 6
Expect:   k-support and group-k-support at most 1.15 times SGD, spectral-k-support at most 1.3
          times, on ResNet-18 at batch 128 and on ResNet-20 at batch 32; the proximal step of the
          nuclear norm, one decomposition a layer, far above.
Fairness: forward and backward passes of one network on one random batch, one thread, float32; the
          contenders update copies of it with the same gradients in turn; all samples kept; least
          times are compared, because other work on the machine only adds. Regions of width 10 and
          fraction 10 % on all weights, gradient rescaling, momentum 0.9.
"""

import copy
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn
from torch.nn.functional import cross_entropy

from extremal import frankwolfe as fw
from extremal import training
from extremal.lab import Table, append_record, read_records
from extremal.training._regularizers import NuclearProx

HERE = Path(__file__).resolve().parent
QUESTION = "How much longer is a training step over regions than a step of SGD?"
REGIONS: dict[str, Any] = {
    "k-support": lambda: fw.KSupport(width=10, fraction=0.1),
    "k-sparse": lambda: fw.KSparse(width=10, fraction=0.1),
    "group-k-support": lambda: fw.GroupKSupport(width=10, fraction=0.1),
    "spectral-k-support": lambda: fw.SpectralKSupport(width=10, fraction=0.1),
}


@dataclass(frozen=True)
class Options:
    """What is timed."""

    networks: tuple[str, ...] = ("resnet20", "resnet18")
    batches: tuple[int, ...] = (32, 128)
    repeats: tuple[int, ...] = (12, 3)
    threads: int = 1
    device: str = "cpu"
    out: Path = HERE / "results" / "step_overhead.jsonl"


class Contender:
    """A network with its optimizer, one step at a time."""

    def __init__(self, model: nn.Module, name: str) -> None:
        """Copy the network."""
        self.model = copy.deepcopy(model).train()
        parameters = list(self.model.parameters())
        self.hook = None
        if name in REGIONS:
            self.optimizer: Any = fw.SFW(
                fw.regions_for(self.model, weights=REGIONS[name]()), lr=1e-3, start="shrink"
            )
        else:
            self.optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, foreach=True)
        if name == "nuclear, proximal":
            self.hook = NuclearProx(1e-2)
            self.hook.start(self.model, self.optimizer)

    def update(self, gradients: list[torch.Tensor]) -> float:
        """Return the seconds of one update with these gradients."""
        for p, gradient in zip(self.model.parameters(), gradients, strict=True):
            p.grad = gradient.clone()
        wait = torch.cuda.synchronize if gradients[0].is_cuda else lambda: None
        wait()
        begun = time.perf_counter()
        self.optimizer.step()
        if self.hook is not None:
            self.hook.after_step(0)
        wait()
        return time.perf_counter() - begun


def passes(model: nn.Module, x: torch.Tensor, y: torch.Tensor) -> float:
    """Return the seconds of one forward and backward pass."""
    wait = torch.cuda.synchronize if x.is_cuda else lambda: None
    model.zero_grad(set_to_none=True)
    wait()
    begun = time.perf_counter()
    cross_entropy(model(x), y).backward()
    wait()
    return time.perf_counter() - begun


def main() -> None:
    """Time every network and print the table."""
    options = tyro.cli(Options)
    torch.set_num_threads(options.threads)
    for name, batch, repeats in zip(
        options.networks, options.batches, options.repeats, strict=True
    ):
        torch.manual_seed(0)
        model = training.network(name, in_channels=3, classes=10, image_size=32)
        model.to(options.device)
        contenders = {n: Contender(model, n) for n in ("SGD", *REGIONS, "nuclear, proximal")}
        x = torch.randn(batch, 3, 32, 32, device=options.device)
        y = torch.randint(10, (batch,), device=options.device)
        model.train()
        shared: list[float] = []
        update: dict[str, list[float]] = {n: [] for n in contenders}
        begun = time.perf_counter()
        for number in range(repeats + 1):
            seconds = passes(model, x, y)
            gradients = [p.grad.clone() for p in model.parameters() if p.grad is not None]
            for n, contender in contenders.items():
                if options.device != "cpu" and n == "nuclear, proximal" and number > 2:
                    continue  # seconds for each
                spent = contender.update(gradients)
                if number:
                    update[n].append(spent)
            if number:
                shared.append(seconds)
        append_record(
            options.out,
            question=QUESTION,
            configuration={
                "network": name, "batch": batch, "threads": options.threads,
                "device": options.device,
                **({} if options.device == "cpu" else {"gpu": torch.cuda.get_device_name()}),
            },
            seed=0,
            samples={"passes": shared, "update": update},
            wall_seconds=time.perf_counter() - begun,
        )  # fmt: skip
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """Least times of the last record of each network, and their ratio to SGD.

    A step is the least forward and backward pass plus the least update of the optimizer.
    """
    last = {
        (
            r["configuration"]["network"],
            r["configuration"]["batch"],
            r["configuration"]["device"],
        ): r
        for r in records
    }
    rows: list[list[str | float | int | None]] = []
    for (network, batch, _), record in last.items():
        update = record["samples"]["update"]
        shared = min(_passes(record["samples"]))
        base = shared + min(update["SGD"])
        rows += [
            [
                network, batch, _place(record), name,
                round(1000 * shared, 1),
                round(1000 * min(update[name]), 2),
                round((shared + min(update[name])) / base, 3),
            ]
            for name in update
        ]  # fmt: skip
    return Table(
        ["network", "batch", "device", "optimizer", "passes ms", "update ms", "times SGD"],
        rows,
        "Training step: shared passes plus the optimizer's own update, least times",
    )


def _place(record: dict[str, Any]) -> str:
    name = record["configuration"].get("gpu", record["configuration"]["device"])
    return f"{name}; {record['notes']}" if record["notes"] else name


def _passes(samples: dict[str, Any]) -> list[float]:
    if "passes" in samples:
        return samples["passes"]
    step, update = samples["step"], samples["update"]  # records of whole steps
    return [a - b for n in step for a, b in zip(step[n], update[n], strict=True)]


if __name__ == "__main__":
    main()
