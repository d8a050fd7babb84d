"""The report of an export: files, memory, times and kernels, before and after."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from extremal.lab import (
    PALETTE,
    Picture,
    Section,
    Table,
    Text,
    figure_bytes,
    new_figure,
    write_figures,
    write_report,
)

if TYPE_CHECKING:
    from ._export import Exported


def write_export_report(
    folder: Path, result: "Exported", before: Mapping[str, Any], after: Mapping[str, Any]
) -> None:
    """Write `report.html` and its figure."""
    pictures = write_figures(folder, {"latency": _latency(result)})
    share = result.files["model.packed"] / max(result.dense_bytes, 1)
    sections: list[Section] = [
        result.table(),
        Text(
            f"The packed file holds the weights bit for bit in {share:.2%} of their dense bytes. "
            f"{after['nonzero']:,} of {before['parameters']:,} parameters are not zero. A fresh "
            "process opened the folder without the network's class; its outputs differ by at most "
            f"{result.reloaded:.3g} from those here."
        ),
        *pictures,
        Table(["file", "bytes"], [[name, size] for name, size in result.files.items()]),
    ]
    if result.kernels:
        rows = [
            [
                k.layer,
                f"{k.sparsity:.2%}",
                batch,
                round(1000 * k.dense[batch], 3),
                round(1000 * k.sparse[batch], 3),
                round(k.dense[batch] / k.sparse[batch], 2),
                "sparse" if k.kept else "dense",
            ]
            for k in result.kernels
            for batch in k.dense
        ]
        sections += [
            Text("Linear layers, measured here", heading=True),
            Table(
                ["layer", "zeros", "batch", f"{result.config.dense} ms", "sparse ms", "times",
                 "kept"],
                rows,
            ),
            Text("A sparse kernel is kept only where it is faster at every batch size."),
        ]  # fmt: skip
    sections.append(
        Text(
            "model.onnx is a dense graph: ONNX Runtime has no kernels for unstructured zeros, so "
            "there only sliced and thin layers are faster. Memory is what a fresh process needs at "
            "most beyond its own start, for loading the network and for the forward passes."
        )
    )
    write_report(
        folder / "report.html",
        "Export: what is left of the network on this machine",
        sections,
        "Check this run: extremal verify certificate.json",
    )


def _latency(result: "Exported") -> Picture:
    figure, axes = new_figure(5.6, 3.2)
    batches = list(result.config.batches)
    colors = {"dense": "#d8d8d8", "before": "#9a9a9a", "after": PALETTE[0]}
    width = 0.8 / len(result.latency)
    for offset, name in enumerate(result.latency):
        shift = width * (offset - (len(result.latency) - 1) / 2)
        places = [i + shift for i in range(len(batches))]
        times = [1000 * result.latency[name][b] for b in batches]
        axes.bar(places, times, width=0.94 * width, color=colors[name], label=name)
        for x, y in zip(places, times, strict=True):
            axes.annotate(f"{y:.3g}", (x, y), ha="center", va="bottom", fontsize=8)
    axes.set_xticks(range(len(batches)), [str(b) for b in batches])
    axes.set_xlabel("images a forward pass")
    axes.set_ylabel("ms (median)")
    axes.grid(visible=False, axis="x")
    axes.legend()
    return Picture(
        figure_bytes(figure), "Time of a forward pass: dense, before export, after export."
    )
