"""What do regions change in a network trained on MNIST, beside SGD with and without weight decay?

Run:      python benchmarks/frankwolfe/mnist_training.py --data PATH
Expect:   SFW over L2 balls about as accurate as SGD with weight decay; K-sparse and k-support lose
          least when the smallest weights are removed afterwards.
Fairness: the same network, batches, epochs and linear schedule for all. Every method gets three
          learning rates, tried once on a third of the training images and judged on a validation
          split; the best one is then trained on all images with every seed. Seeds change the
          initial weights and the order of batches. Pruning is global by magnitude over the weight
          matrices, without retraining. Every run is kept.
Note:     a multilayer perceptron (784-256-128-10) and five epochs, for one CPU core.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import torch
import tyro

from extremal import training
from extremal.lab import (
    Table,
    append_record,
    atomic_write,
    figure_bytes,
    new_figure,
    read_records,
    to_plain,
)

HERE = Path(__file__).resolve().parent
FIGURE = HERE.parents[1] / "docs" / "figures" / "frankwolfe-mnist-sparsity.svg"
QUESTION = "What do regions change in a network trained on MNIST?"
SPARSITIES = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
METHODS: dict[str, tuple[dict[str, Any], tuple[float, ...]]] = {
    "SGD": ({"optimizer": "sgd", "weight_decay": 0.0, "nesterov": False}, (0.03, 0.1, 0.3)),
    "SGD, weight decay": (
        {"optimizer": "sgd", "weight_decay": 5e-4, "nesterov": False},
        (0.03, 0.1, 0.3),
    ),
    "SFW, L2": ({"optimizer": "sfw", "region": "l2", "width": 20.0}, (0.3, 1.0, 3.0)),
    "SFW, K-sparse": (
        {"optimizer": "sfw", "region": "k-sparse", "width": 50.0},
        (0.3, 1.0, 3.0),
    ),
    "SFW, k-support": (
        {"optimizer": "sfw", "region": "k-support", "width": 20.0},
        (0.3, 1.0, 3.0),
    ),
    "SFW, spectral": (
        {
            "optimizer": "sfw",
            "region": "spectral",
            "width": 20.0,
            "rescale": "diameter",
        },
        (0.1, 0.3, 1.0),
    ),
}


@dataclass(frozen=True)
class Options:
    """What is compared."""

    data: Path = Path("../shared/data/mnist.npz")
    """MNIST, in any form that `training.load_data` reads."""
    epochs: int = 5
    tuning_size: int = 20_000
    validation: float = 0.1
    seeds: tuple[int, ...] = (0, 1, 2)
    methods: tuple[str, ...] = tuple(METHODS)
    out: Path = HERE / "results" / "mnist_training.jsonl"


def pruned(model: torch.nn.Module, data: training.Data) -> list[float]:
    """Test accuracies after removing the smallest weights, for each of `SPARSITIES`."""
    weights = [p.detach() for p in model.parameters() if p.ndim > 1]
    kept = [w.clone() for w in weights]
    sizes = torch.cat([w.abs().flatten() for w in weights]).sort().values
    found: list[float] = []
    for sparsity in SPARSITIES:
        cut = sizes[min(round(sparsity * len(sizes)), len(sizes) - 1)]
        for w, whole in zip(weights, kept, strict=True):
            w.copy_(torch.where(whole.abs() >= cut, whole, 0.0))
        found.append(training.evaluate(model, data).top1)
    for w, whole in zip(weights, kept, strict=True):
        w.copy_(whole)
    return found


def measured(result: training.Fit, tuning: bool) -> dict[str, Any]:
    """What is kept of a training."""
    samples: dict[str, Any] = {"loss": list(result.history.loss), "seconds": result.history.seconds}
    if tuning:
        assert result.validation is not None
        return {**samples, "validation": result.validation.top1}
    weights = [p.detach() for p in result.model.parameters() if p.ndim > 1]
    small = torch.cat([w.abs().flatten() < 1e-3 for w in weights])
    return {
        **samples,
        "accuracy": result.accuracy,
        "sparsities": list(SPARSITIES),
        "pruned": pruned(result.model, result.data),
        "norms": [float(w.norm()) for w in weights],
        "below 1e-3": float(small.double().mean()),
    }


def fitted(options: Options, method: str, lr: float, seed: int, tuning: bool) -> dict[str, Any]:
    """Train once and return the record."""
    begun = time.perf_counter()
    chosen, _ = METHODS[method]
    size = {"train_size": options.tuning_size, "validation": options.validation} if tuning else {}
    notes = ""
    try:
        result = training.fit(
            model="mlp",
            data="mnist",
            path=str(options.data),
            epochs=options.epochs,
            lr=lr,
            seed=seed,
            threads=1,
            **size,
            **chosen,
        )
    except training.TrainingError as error:
        if not tuning:
            raise
        notes, samples = str(error), {"validation": 0.0}
    else:
        samples = measured(result, tuning)
    plain = to_plain(options)
    for name in ("data", "out", "methods", "seeds"):
        del plain[name]
    plain |= {"method": method, "lr": lr, "options": chosen, "tuning": tuning, "model": "mlp"}
    if chosen["optimizer"] == "sfw":
        plain |= {"dampening": "momentum", "momentum_seed": "zero"}
    return append_record(
        options.out,
        question=QUESTION,
        configuration=plain,
        seed=seed,
        samples=samples,
        wall_seconds=time.perf_counter() - begun,
        notes=notes,
    )


def best_rate(records: list[dict[str, Any]], method: str) -> float | None:
    """The rate with the best validation accuracy, once all of them are tried."""
    tried = {
        r["configuration"]["lr"]: r["samples"]["validation"]
        for r in records
        if r["configuration"]["method"] == method and r["configuration"]["tuning"]
    }
    return max(tried, key=lambda lr: tried[lr]) if len(tried) == len(METHODS[method][1]) else None


def final(records: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """The runs on all training images, by method."""
    found: dict[str, list[dict[str, Any]]] = {}
    for name in METHODS:
        runs = [
            r
            for r in records
            if r["configuration"]["method"] == name and not r["configuration"]["tuning"]
        ]
        if runs:
            found[name] = runs
    return found


def table(records: list[dict[str, Any]]) -> Table:
    """Mean accuracy over seeds, in per cent, with the standard deviation in brackets."""
    rows: list[list[str | float | int | None]] = []
    for name, runs in final(records).items():
        row: list[str | float | int | None] = [name, runs[0]["configuration"]["lr"], len(runs)]
        for i in range(len(SPARSITIES)):
            values = [100 * r["samples"]["pruned"][i] for r in runs]
            spread = f" ({stdev(values):.2f})" if len(values) > 1 else ""
            row.append(f"{mean(values):.2f}{spread}")
        row.append(round(mean(r["samples"]["seconds"] for r in runs), 1))
        rows.append(row)
    columns = ["method", "rate", "seeds", "dense"]
    columns += [f"{100 * s:g} % pruned" for s in SPARSITIES[1:]] + ["seconds"]
    return Table(columns, rows, title="Test accuracy (%), mean and standard deviation over seeds")


def draw(records: list[dict[str, Any]]) -> None:
    """Draw accuracy against sparsity."""
    figure, axes = new_figure(width=6.4, height=3.8)
    markers = iter("osD^vP")
    for name, runs in final(records).items():
        values = [[100 * v for v in r["samples"]["pruned"]] for r in runs]
        middle = [mean(column) for column in zip(*values, strict=True)]
        low = [min(column) for column in zip(*values, strict=True)]
        high = [max(column) for column in zip(*values, strict=True)]
        places = range(len(SPARSITIES))
        (line,) = axes.plot(places, middle, marker=next(markers), markersize=4, label=name)
        axes.fill_between(places, low, high, color=line.get_color(), alpha=0.15, linewidth=0)
    axes.set_xticks(range(len(SPARSITIES)), [f"{100 * s:g}" for s in SPARSITIES])
    axes.set_xlabel("weights removed by magnitude (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.legend(loc="lower left")
    FIGURE.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(FIGURE, figure_bytes(figure).decode())


def main() -> None:
    """Run what is not yet recorded, then print the table and draw."""
    options = tyro.cli(Options)
    if not options.data.exists():
        print(f"left out: there is no MNIST at {options.data}; give --data PATH")
        return

    def records() -> list[dict[str, Any]]:
        return read_records(options.out) if options.out.exists() else []

    def known(method: str, lr: float, seed: int, tuning: bool) -> bool:
        wanted = (method, lr, seed, tuning)
        keys = [(r["configuration"], r["seed"]) for r in records()]
        return any((c["method"], c["lr"], s, c["tuning"]) == wanted for c, s in keys)

    for method in options.methods:
        for lr in METHODS[method][1]:
            if not known(method, lr, 1000, True):
                fitted(options, method, lr, 1000, True)
    for seed in options.seeds:
        for method in options.methods:
            lr = best_rate(records(), method)
            assert lr is not None
            if not known(method, lr, seed, False):
                done = fitted(options, method, lr, seed, False)
                print(method, seed, done["samples"]["pruned"], flush=True)
    print(table(records()).as_text())
    draw(records())


if __name__ == "__main__":
    main()
