"""The reports of the verbs: pictures and tables of what was pruned and how well it was repaired."""

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
    write_report,
)

from ._retrain import sections as retraining

if TYPE_CHECKING:
    from ._prune import LLMPruned


def write_prune_report(out: Path, result: "LLMPruned") -> None:
    """Write `report.html` of a pruned folder."""
    config = result.config
    pictures = [p for p in (_errors(result), _repairs(result)) if p is not None]
    repair = "" if config.repair == "none" else f", repair {config.repair}"
    if config.repair == "reconstruct":
        repair += f" ({config.targets})"
    trained = [] if result.retrained is None else retraining(result.retrained)
    sections: list[Section] = [
        Text(
            f"Criterion {config.criterion}, pattern {config.pattern}, update {config.update}"
            f"{repair}. {result.pruned:,} of {result.size:,} weights of the blocks' linear layers "
            f"are exactly zero ({result.sparsity:.4%}). {result.tokens:,} calibration tokens. "
            "The folder is plain: files keep their size and speed; the zeros are for tools that "
            "use them."
        ),
        result.table(),
        *pictures,
        *trained,
        Text("Time and memory", heading=True),
        Table(
            ["phase", "seconds", "tokens a second"],
            [
                [k, round(v, 2), round(result.tokens / v) if result.tokens and v > 0 else None]
                for k, v in result.seconds.items()
            ],
            f"largest resident memory {result.peak_bytes / 1e6:.0f} MB",
        ),
        Text("Layers", heading=True),
        Table(
            ["layer", "outputs", "inputs", "rule", "pruned", "error masked", "error updated",
             "note"],
            [
                [x.name, *x.shape, x.rule, x.pruned, x.error_masked, x.error_updated,
                 x.note or None]
                for x in result.layers
            ],
            "Errors are those of the layer's outputs on the calibration text, over the outputs' "
            "own size.",
        ),
    ]  # fmt: skip
    write_report(
        out / "report.html",
        f"Pruned to {result.sparsity:.2%}",
        sections,
        "Check this folder: extremal verify certificate.json",
    )


def _errors(result: "LLMPruned") -> Picture | None:
    layers = [x for x in result.layers if x.error_updated is not None]
    if not layers:
        return None
    kinds = list(dict.fromkeys(x.name.rpartition(".")[2] for x in layers))
    figure, axes = new_figure(6.4, 3.6)
    for i, kind in enumerate(kinds):
        same = [x for x in layers if x.name.rpartition(".")[2] == kind]
        color = PALETTE[i % len(PALETTE)]
        before = [x.error_masked or 0.0 for x in same]
        after = [x.error_updated or 0.0 for x in same]
        axes.plot(range(len(same)), before, "o:", color=color, alpha=0.45)
        axes.plot(range(len(same)), after, "o-", color=color, label=kind)
    axes.set_xlabel("block")
    axes.set_xticks(range(max(len(layers) // len(kinds), 1)))
    axes.set_ylabel("relative layer error")
    axes.set_ylim(bottom=0)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    return Picture(
        figure_bytes(figure), "Error of each layer: masked (dotted) and after the update (solid)."
    )


def _repairs(result: "LLMPruned") -> Picture | None:
    repairs = [r for unit in result.units for r in unit.repairs]
    if not repairs or len(repairs) > 200:
        return None
    figure, axes = new_figure(6.4, 1.4 + 0.24 * len(repairs))
    rows = range(len(repairs))
    axes.barh([i - 0.2 for i in rows], [r.before for r in repairs], 0.4, color=PALETTE[1])
    axes.barh([i + 0.2 for i in rows], [r.after for r in repairs], 0.4, color=PALETTE[0])
    axes.set_yticks(list(rows), [r.part for r in repairs], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("mean squared error (orange before, blue after reconstruction)")
    return Picture(figure_bytes(figure), "Reconstruction error of each submodel.")
