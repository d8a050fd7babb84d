"""One training, then any ratio: do regions of sparse, filter-sparse and low-rank weights help?

Run:      python benchmarks/compression/digits_table.py
Expect:   after measuring batch statistics anew, k-support at 98 % at least 30 points above SGD;
          filters at 70 % at least 20 above; spectral-k-support at rank -90 % at least 8 above.
Fairness: scikit-learn's digits, 1,297 training and 500 test images; one network (convolutions of
          32, 64, 64 filters with batch normalisation, one linear layer), 40 epochs, batch 128,
          rate 0.1 falling linearly to 0, momentum 0.9 undamped and seeded with the gradient; SGD
          with weight decay 5e-4; regions of width 10 and fraction 10 %, gradient rescaling; every
          network of a seed starts from the same weights; the same cuts and recalibration (on all
          training images) for all. The baselines are SGD with the penalties and proximal steps of
          their papers, and SFW-pruning with its own regions (width 15, 5 %), rate, schedule and
          start; strengths are the library's defaults, as those of regions are, tuned for none.
          Which parameters lie in the region: "weights" of all layers, "all" tensors (group and
          spectral: convolutions, L2 balls elsewhere), or "convs" alone. Low rank is cut with and
          without the last layer, whose rank of 10 has nothing to give.
"""

import dataclasses
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn

from extremal import compression, training
from extremal import frankwolfe as fw
from extremal.lab import (
    Table,
    append_record,
    derive_seed,
    read_records,
    seed_everything,
    to_plain,
)
from extremal.training import Data, Split
from extremal.training._regularizers import regularizer
from extremal.training._sfw_pruning import AdaptiveRate, sfw_init_

HERE = Path(__file__).resolve().parent
QUESTION = "How accurate is one checkpoint after cutting, by what it was trained over?"
RATIOS = (0.5, 0.7, 0.9, 0.95, 0.98)
REGIONS: dict[str, Any] = {
    "l2": lambda: fw.L2Ball(width=10),
    "k-sparse": lambda: fw.KSparse(width=10, fraction=0.1),
    "k-support": lambda: fw.KSupport(width=10, fraction=0.1),
    "group-k-support": lambda: fw.GroupKSupport(width=10, fraction=0.1),
    "spectral-k-support": lambda: fw.SpectralKSupport(width=10, fraction=0.1),
}


BASELINES = ("ssl", "glt", "abfp", "nuc", "lc")  # by SGD, with a regularizer
MIAO = "sfw-pruning"


@dataclass(frozen=True)
class Options:
    """What is trained."""

    methods: tuple[str, ...] = ("sgd", *REGIONS, *BASELINES, MIAO)
    constrained: tuple[str, ...] = ("weights", "all", "convs")
    seeds: tuple[int, ...] = (0, 1, 2)
    epochs: int = 40
    cache: Path = Path("runs/digits-table")
    """Trained weights; what is there is not trained again."""
    out: Path = HERE / "results" / "digits_table.jsonl"


def network() -> nn.Module:
    """Convolutions of 32, 64 and 64 filters."""
    layers: list[nn.Module] = []
    before = 1
    for width in (32, 64, 64):
        layers += [nn.Conv2d(before, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)]
        layers.append(nn.ReLU())
        before = width
        if len(layers) == 6:
            layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10))


def digits() -> Data:
    """All digits, 1,297 for training and 500 for testing."""
    data = training.load_data("digits")
    images = torch.cat([data.train.images, data.test.images])
    labels = torch.cat([data.train.labels, data.test.labels])
    order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))
    first, rest = order[:1297], order[1297:]
    return dataclasses.replace(
        data,
        train=Split(images[first], labels[first]),
        test=Split(images[rest], labels[rest]),
        origin=None,
    )


def groups(model: nn.Module, method: str, constrained: str) -> list[dict[str, Any]]:
    """Parameter groups: what lies in the region, and what is free or in an L2 ball."""
    region = REGIONS[method]()
    if constrained == "weights":
        return fw.regions_for(model, weights=region)

    def rule(name: str, module: nn.Module, p: torch.Tensor) -> Any:
        del name
        inside = isinstance(module, nn.Conv2d)
        if constrained == "convs":
            return region if inside else None
        plain = method not in ("group-k-support", "spectral-k-support")
        return region if plain or (inside and p.ndim == 4) else fw.L2Ball(width=10)

    return fw.regions_for(model, rule)


def trained(data: Data, method: str, constrained: str, seed: int, options: Options) -> nn.Module:
    """Train, or open what was trained before."""
    seed_everything(seed)
    model = network()
    file = options.cache / f"{method}-{constrained}-{seed}.safetensors"
    if file.exists():
        training.load_weights(model, file)
        return model
    steps = options.epochs * training.steps_per_epoch(data, 128)
    lr = training.schedule("linear", steps, 0.1)
    hooks: list[training.Hooks] = []
    if method in BASELINES:
        hooks += regularizer(method, None, ratio=0.5, epochs=options.epochs)
    if method == MIAO:
        lr = training.schedule("thirds", steps, 1.0)
        hooks.append(AdaptiveRate())
        sfw_init_(model, _forever(data, seed), _miao_region(), iterations=390, rate=1.0)

    def optimizer(parameters: Any) -> torch.optim.Optimizer:
        if method == "sgd" or method in BASELINES:
            return torch.optim.SGD(parameters, lr=0.0, momentum=0.9, weight_decay=5e-4)
        if method == MIAO:
            everything = fw.regions_for(model, lambda name, module, p: _miao_region())
            return fw.SFW(everything, lr=0.0, momentum=0.9, start="shrink")
        return fw.SFW(
            groups(model, method, constrained),
            lr=0.0,
            momentum=0.9,
            dampening=0.0,
            momentum_seed="gradient",
            start="shrink",
        )

    training.train(
        model,
        data,
        epochs=options.epochs,
        lr=lr,
        hooks=hooks,
        loop=training.LoopConfig(seed=seed, threads=1),
        optimizer=optimizer,
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    training.save_tensors(file, model.state_dict())
    return model


def _miao_region() -> fw.Region:
    return fw.KSparse(width=15, fraction=0.05)


def _forever(data: Data, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Batches for SFW-Init, in an order of their own."""
    batches = training.DataBatches(data, 128, derive_seed(seed, "sfw-init"), torch.device("cpu"))
    for epoch in count():
        for batch in batches.epoch(epoch, 0, {}):
            yield batch.content


def main() -> None:
    """Train and cut every network and print the table."""
    options = tyro.cli(Options)
    data = digits()
    for seed in options.seeds:
        for constrained in options.constrained:
            for method in options.methods:
                where = "all" if method == MIAO else "weights"
                if method not in REGIONS and constrained != where:
                    continue
                begun = time.perf_counter()
                model = trained(data, method, constrained, seed, options)
                cut = {"ratios": RATIOS, "recalibrate": 1.0, "threads": 1}
                curve = compression.sweep(model, data, **cut)
                rest = compression.sweep(model, data, kinds=("lowrank",), exclude=("12",), **cut)
                points = [to_plain(p) for p in (curve.dense, *curve.points)]
                points += [
                    {**to_plain(p), "kind": "lowrank, last layer whole"} for p in rest.points
                ]
                append_record(
                    options.out,
                    question=QUESTION,
                    configuration={
                        "method": method, "constrained": constrained, "epochs": options.epochs,
                    },
                    seed=seed,
                    samples={"points": points},
                    wall_seconds=time.perf_counter() - begun,
                )  # fmt: skip
    print("\n\n".join(t.as_text() for t in table(read_records(options.out))))


COLUMNS = (
    ("unstructured", 0.9, "mag 90 %"),
    ("unstructured", 0.95, "95 %"),
    ("unstructured", 0.98, "98 %"),
    ("filters", 0.5, "filters 50 %"),
    ("filters", 0.7, "70 %"),
    ("lowrank", 0.7, "rank -70 %"),
    ("lowrank", 0.9, "-90 %"),
    ("lowrank, last layer whole", 0.7, "last whole -70 %"),
    ("lowrank, last layer whole", 0.9, "-90 %"),
)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Mean accuracy over seeds, recalibrated (and as cut); then the margins over SGD."""
    found: dict[tuple[str, str], dict[int, dict[tuple[str, float], dict[str, Any]]]] = {}
    for record in records:
        if record["status"] != "done":
            continue
        key = record["configuration"]["constrained"], record["configuration"]["method"]
        points = {(p["kind"], p["ratio"]): p for p in record["samples"]["points"]}
        found.setdefault(key, {})[record["seed"]] = points

    def mean(key: tuple[str, str], point: tuple[str, float], how: str = "accuracy") -> float:
        return 100 * statistics.mean(seeds[point][how] for seeds in found[key].values())

    rows: list[list[str | int | float | None]] = []
    for (constrained, method), seeds in found.items():
        where = "" if method == "sgd" or method in BASELINES else constrained
        row: list[str | int | float | None] = [
            method, where, len(seeds), f"{mean((constrained, method), ('dense', 0.0)):.1f}",
        ]  # fmt: skip
        for kind, ratio, _ in COLUMNS:
            point = (kind, ratio)
            row.append(
                f"{mean((constrained, method), point):.1f} "
                f"({mean((constrained, method), point, 'raw'):.1f})"
            )
        rows.append(row)
    whole = Table(
        ["method", "in the region", "seeds", "dense", *(c for *_, c in COLUMNS)],
        rows,
        "Accuracy in %, mean over seeds, recalibrated (as cut in brackets)",
    )
    sgd = ("weights", "sgd")
    margins: list[list[str | int | float | None]] = []
    if sgd in found:
        for name, method, point, wanted in (
            ("98 % of the weights", "k-support", ("unstructured", 0.98), 30),
            ("70 % of the filters", "k-support", ("filters", 0.7), 20),
            ("70 % of the filters", "group-k-support", ("filters", 0.7), 20),
            ("rank -90 %", "spectral-k-support", ("lowrank", 0.9), 8),
            ("rank -90 %, last layer whole", "spectral-k-support",
             ("lowrank, last layer whole", 0.9), 8),
        ):  # fmt: skip
            for constrained in ("weights", "all", "convs"):
                if (constrained, method) not in found:
                    continue
                both = sorted(set(found[constrained, method]) & set(found[sgd]))
                each = [
                    100
                    * (
                        found[constrained, method][s][point]["accuracy"]
                        - found[sgd][s][point]["accuracy"]
                    )
                    for s in both
                ]
                margins.append(
                    [
                        name, method, constrained, len(each),
                        round(statistics.mean(each), 1),
                        f"{min(each):.1f} to {max(each):.1f}", wanted,
                    ]
                )  # fmt: skip
    return [
        whole,
        Table(
            ["cut", "method", "in the region", "seeds", "points above SGD", "by seed", "wanted"],
            margins,
            "Margins over SGD",
        ),
    ]


if __name__ == "__main__":
    main()
