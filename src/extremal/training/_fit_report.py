"""The report of a `fit`: one page that needs nothing else."""

from pathlib import Path

import numpy as np

from extremal.lab import PALETTE, Picture, Table, Text, figure_bytes, new_figure, write_report

from ._data import Data
from ._evaluate import Evaluation
from ._loop import History


def write_fit_report(
    folder: Path,
    model: str,
    data: Data,
    history: History,
    evaluation: Evaluation,
    result: Table,
    how: str,
) -> Path:
    """Write `report.html`: result, loss curve, learning rates, accuracy of each class."""
    sections = [
        result,
        Text(f"Images: {data.note}.") if data.note else Text("Measured on the whole test split."),
        Text(f"Trained with {how}."),
        Picture(
            _curve(
                np.arange(1, history.epochs + 1),
                history.loss,
                "epoch",
                "training loss",
                marker="o" if history.epochs <= 50 else "",
            ),
            "Mean training loss of each epoch (logarithmic).",
        ),
        Picture(
            _curve(np.arange(history.steps), history.lr, "iteration", "learning rate"),
            "Learning rate of each iteration.",
        ),
        _classes(data, evaluation),
    ]
    footer = f"Check it: extremal verify {folder.name}/certificate.json"
    return write_report(folder / "report.html", f"{model} on {data.name}", sections, footer)


def _curve(
    x: np.ndarray, y: tuple[float, ...], x_label: str, y_label: str, marker: str = ""
) -> bytes:
    figure, axes = new_figure()
    axes.plot(x, y, color=PALETTE[0], marker=marker)
    if y_label == "training loss" and min(y) > 0:
        axes.set_yscale("log")
    axes.locator_params(axis="x", integer=True)
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    return figure_bytes(figure)


def _classes(data: Data, evaluation: Evaluation) -> Table:
    """Accuracy of each class, and what it is mistaken for most often."""
    rows: list[list[str | int | float | None]] = []
    for label, name in enumerate(data.class_names):
        answers = evaluation.predicted[evaluation.labels == label]
        counts = np.bincount(answers[answers != label], minlength=data.classes)
        taken_for = data.class_names[int(counts.argmax())] if counts.any() else None
        share = float((answers == label).mean()) if len(answers) else None
        rows.append(
            [
                name,
                len(answers),
                None if share is None else f"{share:.1%}",
                taken_for,
                int(counts.max()),
            ]
        )
    columns = ["class", "test images", "accuracy", "most often taken for", "times"]
    return Table(columns, rows, "Each class")
