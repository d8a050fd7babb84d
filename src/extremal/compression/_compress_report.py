"""The report of a compression: before and after, what each layer lost."""

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
    from ._compress import Compressed

_WORDS = {
    "sliced": "Channels were cut out of every layer that holds them. The sliced network was run "
    "beside its masked twin, which has the dense shapes and zeros.",
    "factorised": "Layers were replaced by two thin ones, and run beside the truncated network.",
    "zeros": "Weights are zero in the dense shapes. Neither dense file nor dense kernel is smaller "
    "or faster for it: the packed file is, and `extremal compression export` measures kernels.",
    "masked": "Channels could not be cut out, so they are only zeroed; the network keeps its size.",
}


def write_compress_report(folder: Path, result: "Compressed", claim: Mapping[str, Any]) -> None:
    """Write `report.html` and its figure."""
    pictures = write_figures(folder, {"layers": _layers(result, claim)})
    share = claim["bytes"] / max(claim["parent_bytes"], 1)
    accuracy = [[name, f"{value:.2%}"] for name, value in result.accuracy.items()]
    sections: list[Section] = [
        result.table(),
        Text(
            f"{_WORDS[result.status]} Largest difference of outputs over {claim['examples']} "
            f"inputs: {result.difference:.3g}. Packed file {claim['bytes']:,} bytes, "
            f"{share:.2%} of the dense values."
        ),
    ]
    if accuracy:
        sections.append(Table(["accuracy", "share"], accuracy, result.start.note))
    sections += [
        *pictures,
        Table(
            ["layer", "kind", "weight", "MACs", "not zero"],
            [
                [x["name"], x["kind"], " x ".join(map(str, x["shape"])), x["macs"], x["nonzero"]]
                for x in claim["layers"]
            ],
        ),
    ]
    fewer = result.before["macs"] / max(result.after["nonzero_macs"], 1)
    write_report(
        folder / "report.html",
        f"{result.config.kind}: {fewer:.2f} times fewer multiply-accumulates",
        sections,
        "Check this run: extremal verify certificate.json",
    )


def _layers(result: "Compressed", claim: Mapping[str, Any]) -> Picture:
    before = result.start.macs
    names = list(before)
    after = {
        name: sum(
            x["macs"] * x["nonzero"] // max(_size(x["shape"]), 1)
            for x in claim["layers"]
            if x["name"] == name or x["name"].startswith(f"{name}.")
        )
        for name in names
    }
    figure, axes = new_figure(6.4, 1.3 + 0.16 * len(names))
    places = range(len(names))
    axes.barh(places, [before[n] for n in names], color="#d8d8d8", label="before")
    axes.barh(places, [after[n] for n in names], color=PALETTE[0], label="after, on nonzero")
    axes.set_yticks(list(places), names, fontsize=7)
    axes.invert_yaxis()
    axes.set_xlabel("multiply-accumulates an input")
    axes.legend()
    return Picture(figure_bytes(figure), "Cost of each layer before and after.")


def _size(shape: list[int]) -> int:
    size = 1
    for n in shape:
        size *= n
    return size
