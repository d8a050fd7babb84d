"""The same on CIFAR-10: one training over regions, then any ratio?

Run:      python benchmarks/compression/cifar_curves.py --path cifar10-jpeg.tar.xz
Expect:   after recalibration k-support above SGD at high sparsity and few filters, as on digits; on
          few images and epochs all accuracies are low and only the differences tell anything.
Fairness: ResNet-20, the same images, epochs, batches and start for all of a seed; rate 0.1 falling
          linearly to 0, momentum 0.9 undamped; SGD with weight decay 5e-4, regions of width 10 and
          fraction 10 % on every tensor; the same cuts. The images are JPEG-recompressed, so numbers
          compare within this page only. On a GPU: --device cuda --train-size 50000 --epochs 100.
"""

import dataclasses
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro

from extremal import compression, training
from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "How accurate is one CIFAR-10 checkpoint after cutting, by what it was trained over?"


CUTS = (("unstructured", (0.9, 0.95, 0.98)), ("filters", (0.3, 0.5)), ("lowrank", (0.5, 0.7)))


@dataclass(frozen=True)
class Options:
    """What is trained, and on how much."""

    path: Path = Path("../shared/data/cifar10-jpeg.tar.xz")
    methods: tuple[str, ...] = ("sgd", "k-support", "group-k-support", "spectral-k-support")
    seeds: tuple[int, ...] = (0,)
    train_size: int = 2500
    test_size: int = 1000
    epochs: int = 5
    device: str = "cpu"
    out: Path = HERE / "results" / "cifar_curves.jsonl"


def main() -> None:
    """Train, sweep, record, print."""
    options = tyro.cli(Options)
    whole = training.load_data("cifar10", path=options.path, train_size=options.train_size)
    order = torch.randperm(len(whole.test), generator=torch.Generator().manual_seed(0))
    data = dataclasses.replace(whole, test=whole.test.take(order[: options.test_size]), origin=None)
    for seed in options.seeds:
        for method in options.methods:
            begun = time.perf_counter()
            settings: dict[str, Any] = {"optimizer": "sgd"}
            if method != "sgd":
                settings = {
                    "optimizer": "sfw", "region": method, "fraction": 0.1, "width": 10.0,
                    "constrain": "all", "dampening": 0.0, "momentum_seed": "gradient",
                }  # fmt: skip
            fit = training.fit(
                data=data, model="resnet20", epochs=options.epochs, lr=0.1, seed=seed, threads=1,
                device=options.device, **settings,
            )  # fmt: skip
            points: list[dict[str, Any]] = []
            for kind, ratios in CUTS:
                curve = compression.sweep(
                    fit.model.cpu(), data, kinds=(kind,), ratios=ratios, threads=1
                )
                points += [to_plain(p) for p in curve.points]
            append_record(
                options.out,
                question=QUESTION,
                configuration={
                    "method": method, "train images": options.train_size,
                    "test images": options.test_size, "epochs": options.epochs,
                },
                seed=seed,
                samples={"dense": fit.accuracy, "points": points},
                wall_seconds=time.perf_counter() - begun,
                notes=data.note,
            )  # fmt: skip
    print(table(read_records(options.out)).as_text())


def table(records: list[dict[str, Any]]) -> Table:
    """Mean accuracy over seeds, recalibrated."""
    found: dict[tuple[Any, ...], dict[int, dict[str, Any]]] = {}
    for r in records:
        c = r["configuration"]
        key = (c["method"], c["train images"], c["test images"], c["epochs"])
        found.setdefault(key, {})[r["seed"]] = r["samples"]
    names = list(
        dict.fromkeys((p["kind"], p["ratio"]) for r in records for p in r["samples"]["points"])
    )
    rows: list[list[str | float | int | None]] = []
    for key, seeds in found.items():
        row: list[str | float | int | None] = [*key, len(seeds)]
        row.append(f"{100 * statistics.mean(s['dense'] for s in seeds.values()):.1f}")
        for name in names:
            values = [
                100 * p["accuracy"]
                for s in seeds.values()
                for p in s["points"]
                if (p["kind"], p["ratio"]) == name
            ]
            row.append(f"{statistics.mean(values):.1f}")
        rows.append(row)
    return Table(
        ["method", "images", "tested on", "epochs", "seeds", "dense",
         *(f"{kind} {ratio:g}" for kind, ratio in names)],
        rows,
        f"Accuracy in %, recalibrated. {records[-1]['notes']}",
    )  # fmt: skip


if __name__ == "__main__":
    main()
