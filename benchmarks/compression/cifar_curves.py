"""The same on CIFAR-10: one training over regions or with a penalty, then any ratio?

Run:      python benchmarks/compression/cifar_curves.py --path cifar10-jpeg.tar.xz
          on a GPU with --device cuda --train-size 50000 --test-size 10000 --epochs 20
Expect:   after recalibration k-support above SGD at high sparsity, group-k-support above it at few
          filters, spectral-k-support at low rank, as on digits; dense accuracy below that of SGD.
Fairness: ResNet-20, the same images, epochs, batches and start for all of a seed; rate 0.1 falling
          linearly to 0, momentum 0.9 undamped; SGD and the penalties with weight decay 5e-4,
          regions of width 10 and fraction 10 % on every tensor; SFW-pruning with its own regions
          (width 15, 5 %), rate 1, averaged momentum, schedule and start. Strengths of penalties and
          regions are the library's defaults, tuned for none. The same cuts for all, without
          retraining. The images are JPEG-recompressed, so compare within this page only.
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
from extremal.lab import (
    PALETTE,
    Table,
    append_record,
    atomic_write,
    figure_bytes,
    new_figure,
    read_records,
    to_plain,
)

HERE = Path(__file__).resolve().parent
FIGURE = HERE.parents[1] / "docs" / "figures" / "compression-cifar-curves.svg"
QUESTION = "How accurate is one CIFAR-10 checkpoint after cutting, by what it was trained with?"
CUTS = (
    ("unstructured", (0.7, 0.8, 0.9, 0.95, 0.98)),
    ("filters", (0.1, 0.2, 0.3, 0.5, 0.7)),
    ("lowrank", (0.3, 0.5, 0.7, 0.8, 0.9)),
)
SHOWN = (
    ("unstructured", 0.9), ("unstructured", 0.95), ("unstructured", 0.98),
    ("filters", 0.3), ("filters", 0.5), ("lowrank", 0.5), ("lowrank", 0.7), ("lowrank", 0.9),
)  # fmt: skip


def _region(name: str, **more: Any) -> dict[str, Any]:
    return {
        "optimizer": "sfw", "region": name, "fraction": 0.1, "width": 10.0, "constrain": "all",
        "dampening": 0.0, "momentum_seed": "gradient", "lr": 0.1, **more,
    }  # fmt: skip


METHODS: dict[str, dict[str, Any]] = {
    "SGD": {},
    "k-support": _region("k-support"),
    "group-k-support": _region("group-k-support"),
    "coupled group-k-support": _region("group-k-support", coupled=True),
    "spectral-k-support": _region("spectral-k-support"),
    "SFW-pruning": {
        "optimizer": "sfw", "region": "k-sparse", "fraction": 0.05, "width": 15.0,
        "constrain": "all", "schedule": "thirds", "adapt_rate": True, "sfw_init": 390, "lr": 1.0,
    },
    "SSL": {"regularizer": "ssl"},
    "GLT": {"regularizer": "glt"},
    "ABFP": {"regularizer": "abfp"},
    "NUC": {"regularizer": "nuc"},
    "LC": {"regularizer": "lc"},
}  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What is trained, and on how much."""

    path: Path = Path("../shared/data/cifar10-jpeg.tar.xz")
    methods: tuple[str, ...] = tuple(METHODS)
    seeds: tuple[int, ...] = (0,)
    train_size: int = 2500
    test_size: int = 1000
    epochs: int = 5
    device: str = "cpu"
    precision: str = "float32"
    """Of training; weights and measurements are float32."""
    out: Path = HERE / "results" / "cifar_curves.jsonl"


def main() -> None:
    """Train, sweep and record what is not recorded yet; print the table and draw the curves."""
    options = tyro.cli(Options)
    whole = training.load_data("cifar10", path=options.path, train_size=options.train_size)
    order = torch.randperm(len(whole.test), generator=torch.Generator().manual_seed(0))
    data = dataclasses.replace(whole, test=whole.test.take(order[: options.test_size]), origin=None)
    for seed in options.seeds:
        for method in options.methods:
            configuration = {
                "method": method, "train images": options.train_size,
                "test images": options.test_size, "epochs": options.epochs,
                "device": options.device, "precision": options.precision,
                "options": METHODS[method],
            }  # fmt: skip
            done = read_records(options.out) if options.out.exists() else []
            if (configuration, seed) in [(r["configuration"], r["seed"]) for r in done]:
                continue
            record = measured(options, data, method, seed)
            append_record(
                options.out, question=QUESTION, configuration=configuration, seed=seed,
                notes=f"{data.note}. {_machine(options)}".strip(),
                status=record.pop("status"), samples=record,
                wall_seconds=record["training seconds"] + record["sweep seconds"],
            )  # fmt: skip
            print(method, seed, {k: v for k, v in record.items() if k != "points"}, flush=True)
    records = read_records(options.out)
    for one in table(records):
        print(one.as_text())
    atomic_write(FIGURE, picture(records))


def measured(options: Options, data: training.Data, method: str, seed: int) -> dict[str, Any]:
    """Train once and cut in every way; a training that diverges is a result too."""
    settings = {"optimizer": "sgd", "lr": 0.1, **METHODS[method]}
    begun = time.perf_counter()
    try:
        fit = training.fit(
            data=data, model="resnet20", epochs=options.epochs, seed=seed, threads=1,
            device=options.device, graph=options.device.startswith("cuda"),
            precision=options.precision, channels_last=True,
            **settings,
        )  # fmt: skip
    except training.TrainingError as error:
        seconds = time.perf_counter() - begun
        return {
            "status": "failed", "error": str(error), "training seconds": seconds,
            "sweep seconds": 0.0,
        }  # fmt: skip
    trained = time.perf_counter()
    points: list[dict[str, Any]] = []
    for kind, ratios in CUTS:
        curve = compression.sweep(
            fit.model, data, kinds=(kind,), ratios=ratios, threads=1, device=options.device
        )
        points += [to_plain(p) for p in curve.points]
    return {
        "status": "done",
        "dense": fit.accuracy,
        "loss": list(fit.history.loss),
        "points": points,
        "seconds an epoch": fit.history.seconds / options.epochs,
        "training seconds": trained - begun,
        "sweep seconds": time.perf_counter() - trained,
    }


def _machine(options: Options) -> str:
    """What a record does not know of the machine by itself."""
    cuda = options.device.startswith("cuda")
    return f"One {torch.cuda.get_device_name()}." if cuda else ""


Runs = dict[str, dict[int, dict[str, Any]]]


def _settings(records: list[dict[str, Any]]) -> dict[tuple[Any, ...], Runs]:
    """The last record of each method and seed, by what it was trained on."""
    found: dict[tuple[Any, ...], Runs] = {}
    for r in records:
        c = r["configuration"]
        key = (c["train images"], c["test images"], c["epochs"], c["device"])
        found.setdefault(key, {}).setdefault(c["method"], {})[r["seed"]] = r["samples"]
    return found


def _values(seeds: dict[int, dict[str, Any]], name: tuple[str, float] | None) -> list[float]:
    """Accuracies in %, dense without a name; none of a training that diverged."""
    found: list[float] = []
    for s in seeds.values():
        if "dense" not in s:
            continue
        if name is None:
            found.append(100 * s["dense"])
        found += [100 * p["accuracy"] for p in s["points"] if (p["kind"], p["ratio"]) == name]
    return found


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Mean accuracy over seeds, recalibrated, with the standard deviation; a table a setting."""
    tables: list[Table] = []
    for (images, tested, epochs, device), runs in _settings(records).items():
        rows: list[list[str | float | int | None]] = []
        for method in (m for m in METHODS if m in runs):
            seeds = runs[method]
            row: list[str | float | int | None] = [method, len(seeds)]
            for name in (None, *SHOWN):
                values = _values(seeds, name)
                spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
                row.append(f"{statistics.mean(values):.1f}{spread}" if values else "diverged")
            each = [s["seconds an epoch"] for s in seeds.values() if "dense" in s]
            row.append(round(statistics.median(each), 2) if each else None)
            rows.append(row)
        tables.append(
            Table(
                ["method", "seeds", "dense", *(f"{kind} {ratio:g}" for kind, ratio in SHOWN),
                 "seconds an epoch, beside other runs"],
                rows,
                f"Accuracy in %, recalibrated: ResNet-20, {images:,} training images, {epochs} "
                f"epochs on {device}, {tested:,} test images",
            )
        )  # fmt: skip
    return tables


def picture(records: list[dict[str, Any]]) -> bytes:
    """Mean accuracy over the share that goes, a panel a kind, of the setting with most images."""
    settings = _settings(records)
    images, _, epochs, _ = key = max(settings)
    figure, first = new_figure(10.5, 3.8)
    first.remove()
    for number, (kind, ratios) in enumerate(CUTS, start=1):
        axes = figure.add_subplot(1, 3, number)
        for i, method in enumerate(m for m in METHODS if m in settings[key]):
            values = [_values(settings[key][method], (kind, r)) for r in ratios]
            if all(values):
                ours = "support" in method
                axes.plot(
                    ratios, [statistics.mean(v) for v in values], label=method, marker=".",
                    color=PALETTE[i % len(PALETTE)], linestyle="-" if ours else "--",
                )  # fmt: skip
        axes.set_xlabel({"unstructured": "weights removed", "filters": "filters removed",
                         "lowrank": "ranks removed"}[kind])  # fmt: skip
        axes.set_ylim(0, 100)
        if number == 1:
            axes.set_ylabel("test accuracy (%)")
            axes.set_title(f"{images:,} images, {epochs} epochs")
        if number == 3:
            axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return figure_bytes(figure)


if __name__ == "__main__":
    main()
