"""The main job: train a small network densely, prune and retrain it to 90, 95 and 98 %."""

import time
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING

from extremal.lab import Picture, Section, Table, Text, figure_bytes, new_figure

from ._tour import Stop

if TYPE_CHECKING:
    from torch import nn

SPARSITIES = (0.9, 0.95, 0.98)


def main_job(folder: Path, seed: int, epochs: int) -> Iterator[Stop]:
    """Yield the answers of training and pruning on the embedded digits."""
    from extremal import pruning, training

    start = time.perf_counter()
    dense = training.fit(
        training.Config(
            model="resnet20", data="digits", epochs=epochs, schedule="linear", seed=seed, threads=1
        ),
        out=folder / "dense",
    )
    networks: list[tuple[str, float, Path, nn.Module]] = [
        ("dense", dense.accuracy, folder / "dense", dense.model)
    ]
    yield Stop(
        "training",
        "How well does ResNet-20 read 8x8 digits?",
        f"{100 * dense.accuracy:.1f} % of {dense.evaluation.n} test images",
        folder / "dense" / "certificate.json",
        time.perf_counter() - start,
        [],
    )
    for sparsity in SPARSITIES:
        name = f"p{100 * sparsity:.0f}"
        begun = time.perf_counter()
        pruned = pruning.prune(
            dense,
            sparsity=sparsity,
            phases=1 if sparsity < 0.95 else 2,
            schedule="allr",
            epochs=max(2, epochs // 2),
            seed=seed,
            out=folder / name,
        )
        assert pruned.accuracy is not None  # the digits have a test split
        networks.append(
            (f"{100 * sparsity:.0f} % pruned", pruned.accuracy, folder / name, pruned.model)
        )
        last = sparsity == SPARSITIES[-1]
        yield Stop(
            "pruning",
            f"What remains with {100 * sparsity:.0f} % of the weights gone?",
            f"{100 * pruned.accuracy:.1f} % (dense {100 * dense.accuracy:.1f} %)",
            folder / name / "certificate.json",
            time.perf_counter() - begun,
            _sections(networks) if last else [],
        )


def _milliseconds(models: "Sequence[nn.Module]") -> list[float]:
    """Median time of one image through each network: one thread, 50 rounds in turn, 5 to warm up.

    In turn, so that whatever else the machine does meets all of them alike.
    """
    import torch

    image = torch.zeros(1, 1, 8, 8)
    samples: list[list[float]] = [[] for _ in models]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        for _ in range(55):
            for model, times in zip(models, samples, strict=True):
                begun = time.perf_counter()
                model.eval()(image)
                times.append(1000 * (time.perf_counter() - begun))
    torch.set_num_threads(threads)
    return [median(times[5:]) for times in samples]


def _sections(networks: "Sequence[tuple[str, float, Path, nn.Module]]") -> list[Section]:
    times = _milliseconds([model for *_, model in networks])
    rows: list[list[str | float | int | None]] = []
    for (name, accuracy, run, _), milliseconds in zip(networks, times, strict=True):
        weights = (run / "model.safetensors").read_bytes()
        packed = len(zlib.compress(weights, 9))
        rows.append([name, round(100 * accuracy, 2), len(weights), packed, round(milliseconds, 2)])
    figure, axes = new_figure(5.5, 3.2)
    percent = [100 * s for s in SPARSITIES]
    axes.plot(
        percent,
        [100 * accuracy for _, accuracy, *_ in networks[1:]],
        marker="o",
        label="pruned and retrained",
    )
    axes.axhline(100 * networks[0][1], color="#888888", linewidth=1, linestyle="--", label="dense")
    axes.set_xlabel("weights removed (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.set_xticks(percent)
    axes.legend()
    return [
        Text("The main job: train, prune, retrain", heading=True),
        Table(
            ["network", "accuracy (%)", "file bytes", "bytes after zlib", "ms an image"],
            rows,
            title="ResNet-20 on the embedded digits, one seed",
        ),
        Picture(figure_bytes(figure), "Test accuracy against the share of weights removed."),
        Text(
            "A weight that is zero still occupies its place in a dense file and still costs its "
            "multiplication, so file bytes and time do not change by pruning alone; the "
            "losslessly compressed file shows what the zeros are worth in storage."
        ),
    ]
