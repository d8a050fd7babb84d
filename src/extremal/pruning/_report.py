"""The report of a pruning: accuracy against sparsity, sparsity per layer, learning rates, table."""

from pathlib import Path

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

from ._result import Pruned, percent


def write_prune_report(folder: Path, result: Pruned, data_name: str) -> None:
    """Write `report.html` and its figures."""
    pictures = write_figures(
        folder,
        {
            "accuracy": _accuracy(result),
            "layers": _layers(result),
            "learning-rates": _rates(result),
        },
    )
    config = result.config
    sections: list[Section] = [
        Text(
            f"Method {config.method}, selector {config.selector}, schedule {config.rates}, "
            f"{config.phases} phase(s), trained afterwards: {config.retrain}, on {data_name}. "
            f"{result.masks.pruned:,} of "
            f"{result.masks.size:,} prunable weights are exactly zero "
            f"({result.sparsity:.4%}); over all parameters {result.parameter_sparsity:.4%}."
        ),
        result.table(),
        *pictures,
        Text("What it cost", heading=True),
        _cost(result),
        Text("Layers", heading=True),
        Table(
            ["layer", "shape", "weights", "pruned", "sparsity"],
            [
                [x.name, " x ".join(map(str, x.shape)), x.size, x.pruned, round(x.sparsity, 5)]
                for x in result.per_layer
            ],
        ),
    ]
    if result.speedup is not None:
        sections.append(
            Text(
                f"Theoretical speedup {result.speedup:.2f}: dense multiply-accumulates over those "
                "on kept weights. Zeros in dense storage change neither the file's size nor its "
                "speed by themselves; this is a bound, not a measurement."
            )
        )
    changes = result.per_class_change
    if changes is not None and result.evaluation is not None:
        sections += [
            Text("Classes", heading=True),
            Table(
                ["class", "accuracy", "change in points"],
                [
                    [str(k), percent(accuracy), round(100 * change, 2)]
                    for k, (accuracy, change) in enumerate(
                        zip(result.evaluation.per_class, changes, strict=True)
                    )
                    if change == change  # a class without examples has no accuracy
                ],
            ),
        ]
    title = "Pruning" if result.accuracy is None else f"Pruning: {result.accuracy:.2%} accurate"
    write_report(
        folder / "report.html",
        f"{title} at {result.sparsity:.2%} sparsity",
        sections,
        "Check this run: extremal verify certificate.json",
    )


def _cost(result: Pruned) -> Table:
    budget = result.budget
    return Table(
        ["", "epochs", "iterations", "seconds", "FLOPs as dense", "FLOPs on kept weights"],
        [
            [
                name,
                cost.epochs,
                cost.iterations,
                round(cost.seconds, 1),
                f"{cost.flops_dense:.3g}",
                f"{cost.flops_masked:.3g}",
            ]
            for name, cost in (
                ("dense", budget.dense),
                ("retraining", budget.retrain),
                ("total", budget.total),
            )
        ],
    )


def _accuracy(result: Pruned) -> Picture | None:
    if result.accuracy is None or result.dense_accuracy is None:
        return None
    figure, axes = new_figure()
    sparsities = [100 * phase.sparsity for phase in result.phases]
    before = [100 * (phase.accuracy_pruned or 0.0) for phase in result.phases]
    after = [100 * (phase.accuracy or 0.0) for phase in result.phases]
    axes.axhline(100 * result.dense_accuracy, color="#888888", linestyle="--", label="dense")
    axes.plot(sparsities, before, "o:", color=PALETTE[1], label="before retraining")
    axes.plot(sparsities, after, "o-", color=PALETTE[0], label="after retraining")
    axes.set_xlabel("sparsity (% of prunable weights)")
    axes.set_ylabel("test accuracy (%)")
    axes.legend()
    return Picture(figure_bytes(figure), "Test accuracy after each phase.")


def _layers(result: Pruned) -> Picture:
    layers = result.per_layer
    figure, axes = new_figure(6.0, 1.2 + 0.16 * len(layers))
    axes.barh(range(len(layers)), [100 * x.sparsity for x in layers], color=PALETTE[0])
    axes.set_yticks(range(len(layers)), [x.name for x in layers], fontsize=7)
    axes.invert_yaxis()
    axes.set_xlim(0, 100)
    axes.set_xlabel("pruned (%)")
    return Picture(figure_bytes(figure), "Sparsity of each layer, from input to output.")


def _rates(result: Pruned) -> Picture:
    figure, axes = new_figure()
    axes.plot(range(len(result.learning_rates)), result.learning_rates, color=PALETTE[0])
    start = 0
    for phase in result.phases:
        axes.axvline(start, color="#bbbbbb", linewidth=0.8)
        start += phase.iterations
    axes.set_xlabel("iteration")
    axes.set_ylabel("learning rate")
    axes.set_ylim(bottom=0)
    return Picture(figure_bytes(figure), "Learning rate of every iteration; lines start a phase.")
