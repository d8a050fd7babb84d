"""The picture and the report of a sweep."""

from pathlib import Path
from typing import TYPE_CHECKING

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
    from ._sweep import Sweep

_WORDS = {
    "unstructured": "single weights (masks)",
    "filters": "channels (sliced)",
    "lowrank": "low rank",
}


def write_sweep_report(folder: Path, result: "Sweep", data_name: str) -> None:
    """Write `report.html` and its figures."""
    pictures = write_figures(folder, {"curve": curve(result), "size": curve(result, "parameters")})
    best = result.pareto()
    sections: list[Section] = [
        Text(
            f"One checkpoint on {data_name}, cut without retraining. Dense accuracy "
            f"{result.dense.accuracy:.2%}, {result.dense.parameters:,} parameters, "
            f"{result.dense.macs:,} multiply-accumulates an image."
        ),
        *pictures,
        result.table(),
        Text("What no other point beats", heading=True),
        Table(
            ["kind", "ratio", "MACs on nonzero", "accuracy"],
            [[p.kind, p.ratio, p.nonzero_macs, f"{p.accuracy:.2%}"] for p in best],
        ),
        Text(
            "MACs on nonzero weights of masks are a bound that no dense kernel reaches; `extremal "
            "compression export` measures what remains of it on a machine. Sliced and low-rank "
            f"MACs are those of the smaller network itself. {result.seconds:.1f} s, of which "
            f"{result.forward_seconds:.1f} s in forward passes."
        ),
    ]
    write_report(
        folder / "report.html",
        f"Accuracy against size: {len(result.points)} networks from one",
        sections,
        "Check this run: extremal verify certificate.json",
    )


def curve(result: "Sweep", unit: str = "macs") -> Picture:
    """Accuracy against MACs or parameters, before and after recalibration."""
    figure, axes = new_figure(6.4, 3.9)
    whole = result.dense.macs if unit == "macs" else result.dense.parameters
    axes.axhline(100 * result.dense.accuracy, color="#888888", linewidth=1, linestyle="--")
    for color, kind in zip(PALETTE, result.config.kinds, strict=False):
        points = [p for p in result.points if p.kind == kind]
        places = [
            whole / max(p.nonzero_macs if unit == "macs" else p.parameters, 1) for p in points
        ]
        axes.plot(places, [100 * p.accuracy for p in points], "o-", color=color, label=_WORDS[kind])
        if any(p.raw != p.accuracy for p in points):
            axes.plot(places, [100 * p.raw for p in points], "o:", color=color, alpha=0.55)
    axes.set_xscale("log")
    axes.set_xlabel(
        "times fewer multiply-accumulates (on nonzero weights)"
        if unit == "macs"
        else "times fewer parameters"
    )
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    axes.xaxis.set_minor_formatter(lambda x, _: f"{x:g}" if str(x)[0] in "25" else "")
    axes.set_ylabel("test accuracy (%)")
    axes.set_ylim(0, 102)
    axes.legend()
    return Picture(
        figure_bytes(figure),
        "Test accuracy of one checkpoint cut without retraining: solid after measuring batch "
        "statistics anew, dotted as cut, dashed the dense network.",
    )
