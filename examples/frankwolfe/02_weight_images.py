"""The weights of a linear classifier as images: what each region makes of them, and what pruning.

Run: python examples/frankwolfe/02_weight_images.py --out figures [--mnist mnist.npz]

Without MNIST the images are scikit-learn's digits, 8 x 8 pixels. Two pictures are written: one row
of weight images for each region, red positive and blue negative on a scale symmetric about 0; and
the accuracy after the smallest weights are removed.
"""

import argparse
import tempfile
from pathlib import Path

import torch

from extremal import frankwolfe as fw
from extremal import training
from extremal.lab import PALETTE, figure_bytes, new_figure

REGIONS = {
    "free (SGD)": None,
    "L2": fw.L2Ball(width=2),
    "maximum norm": fw.LinfBall(width=2),
    "L1": fw.L1Ball(width=15),
    "K-sparse, 10 %": fw.KSparse(width=3, fraction=0.1),
    "k-support, 10 %": fw.KSupport(width=3, fraction=0.1),
    "nuclear": fw.NuclearBall(width=3),
    "spectral": fw.SpectralBall(width=2),
}
SPARSITIES = [0.0, 0.3, 0.5, 0.7, 0.8, 0.9, 0.95]


def trained(data: training.Data, region: fw.Region | None, epochs: int) -> torch.nn.Module:
    """A linear classifier, trained over a region with steps as long as SGD's."""
    torch.manual_seed(0)
    channels, height, width = data.shape
    model = torch.nn.Sequential(
        torch.nn.Flatten(), torch.nn.Linear(height * width * channels, data.classes)
    )
    steps = epochs * training.steps_per_epoch(data, 128)
    rates = [(0.1 if region is None else 1.0) * (1 - t / steps) for t in range(steps)]
    if region is None:
        optimizer: torch.optim.Optimizer = torch.optim.SGD(model.parameters(), momentum=0.9)
    else:
        groups = fw.regions_for(model, weights=region)
        optimizer = fw.SFW(groups, lr=1.0, start="shrink", free_lr=0.1)
    loop = training.LoopConfig(threads=1)
    training.train(model, data, epochs=epochs, lr=rates, loop=loop, optimizer=optimizer)
    return model


def pruned(model: torch.nn.Module, data: training.Data) -> list[float]:
    """Accuracies in per cent after removing the smallest weights."""
    weight = model[1].weight.detach()
    whole, found = weight.clone(), list[float]()
    for sparsity in SPARSITIES:
        cut = whole.abs().flatten().sort().values[int(sparsity * whole.numel())]
        weight.copy_(torch.where(whole.abs() >= cut, whole, 0.0))
        found.append(100 * training.evaluate(model, data).top1)
    weight.copy_(whole)
    return found


def main() -> None:
    """Train over every region and draw."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--mnist", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    if options.mnist:
        data, epochs = training.load_data("mnist", path=options.mnist), options.epochs or 3
    else:
        data, epochs = training.load_data("digits"), options.epochs or 8
    out = options.out or Path(tempfile.mkdtemp())
    out.mkdir(parents=True, exist_ok=True)

    images, curves = {}, {}
    for name, region in REGIONS.items():
        model = trained(data, region, epochs)
        weight = model[1].weight.detach()
        images[name], curves[name] = weight.clone(), pruned(model, data)
        small = float((weight.abs() < 1e-3).double().mean())
        rank = int(torch.linalg.matrix_rank(weight, rtol=1e-3))
        print(f"{name:16} accuracy {curves[name][0]:.1f} %  below 1e-3 {small:.0%}  rank {rank}")

    figure, axes = new_figure(width=8.0, height=0.85 * len(images))
    axes.set_axis_off()
    _, height, width = data.shape
    grid = figure.add_gridspec(len(images), data.classes, wspace=0.04, hspace=0.06)
    for row, (name, weight) in enumerate(images.items()):
        top = float(weight.abs().max())
        for column in range(data.classes):
            cell = figure.add_subplot(grid[row, column])
            cell.imshow(
                weight[column].reshape(height, width), cmap="RdBu_r", vmin=-top, vmax=top,
                interpolation="nearest",
            )  # fmt: skip
            cell.set_xticks([])
            cell.set_yticks([])
            cell.grid(visible=False)
            if column == 0:
                cell.set_ylabel(name, rotation=0, ha="right", va="center", fontsize=8)
            if row == 0:
                cell.set_title(str(column), fontsize=8)
    (out / "weight-images.png").write_bytes(figure_bytes(figure, "png"))

    figure, axes = new_figure(width=6.4, height=3.8)
    for i, (name, curve) in enumerate(curves.items()):
        axes.plot(
            range(len(SPARSITIES)), curve, marker="osD^vP*X"[i], markersize=4, label=name,
            color=PALETTE[i % len(PALETTE)], linestyle="-" if i < len(PALETTE) else "--",
        )  # fmt: skip
    axes.set_xticks(range(len(SPARSITIES)), [f"{100 * s:g}" for s in SPARSITIES])
    axes.set_xlabel("weights removed by magnitude (%)")
    axes.set_ylabel("test accuracy (%)")
    axes.legend(fontsize=8)
    (out / "accuracy-sparsity.svg").write_bytes(figure_bytes(figure))
    print(f"pictures in {out}")


if __name__ == "__main__":
    main()
