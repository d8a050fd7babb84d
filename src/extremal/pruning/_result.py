"""What `prune` returns."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from extremal.lab import Table, to_plain
from extremal.training import Evaluation

from ._budget import Budget
from ._config import Config
from ._masks import LayerSparsity, Masks
from ._metrics import per_class_change, pruning_instability, recovery


@dataclass(frozen=True)
class Phase:
    """One round of pruning and retraining, as plain values. Accuracies are on the test split."""

    number: int  # from 1
    target: float
    pruned: int  # weights pruned after this phase
    sparsity: float
    rho: float  # norm of what this phase removed over the norm before
    d1: float  # rho over the root of the removed fraction
    norm: float  # of all parameters, right after pruning
    factor: float  # of the adaptive schedules; 1 where it is not used
    epochs: int
    iterations: int
    seconds: float
    top_lr: float
    accuracy_pruned: float | None  # before retraining
    loss_pruned: float | None
    ece_pruned: float | None
    accuracy: float | None
    loss: float | None
    ece: float | None


@dataclass(frozen=True)
class Pruned:
    """A sparse network with everything that is known about it."""

    model: nn.Module
    masks: Masks
    config: Config
    phases: tuple[Phase, ...]
    sparsity: float
    """Over the prunable weights."""
    parameter_sparsity: float
    """Over all parameters, biases and norms included."""
    budget: Budget
    speedup: float | None
    """Dense MACs over MACs on kept weights; a bound, no dense kernel reaches it."""
    evaluation: Evaluation | None
    """On the test split; None where there is none."""
    dense_evaluation: Evaluation | None
    """Of the network before pruning."""
    learning_rates: tuple[float, ...]
    """Of every iteration, over all phases."""
    note: str = ""
    path: Path | None = None
    certificate: Path | None = None

    @property
    def accuracy(self) -> float | None:
        """Share of correct answers on the test split, 0..1."""
        return None if self.evaluation is None else self.evaluation.top1

    @property
    def per_layer(self) -> tuple[LayerSparsity, ...]:
        """Each layer's name, shape, size and pruned count."""
        return self.masks.per_layer()

    @property
    def dense_accuracy(self) -> float | None:
        """Of the network before pruning."""
        return None if self.dense_evaluation is None else self.dense_evaluation.top1

    @property
    def instability(self) -> float | None:
        """Relative accuracy lost by the last pruning, before its retraining."""
        before = self.dense_accuracy if len(self.phases) == 1 else self.phases[-2].accuracy
        after = self.phases[-1].accuracy_pruned
        return None if before is None or after is None else pruning_instability(before, after)

    @property
    def recovery(self) -> float | None:
        """Share of the accuracy lost by the last pruning that its retraining won back."""
        before = self.dense_accuracy if len(self.phases) == 1 else self.phases[-2].accuracy
        after, end = self.phases[-1].accuracy_pruned, self.accuracy
        if before is None or after is None or end is None:
            return None
        return recovery(before, after, end)

    @property
    def per_class_change(self) -> tuple[float, ...] | None:
        """Each class's accuracy minus that before pruning."""
        if self.evaluation is None or self.dense_evaluation is None:
            return None
        return per_class_change(self.dense_evaluation, self.evaluation)

    def table(self) -> Table:
        """One row a phase."""
        rows: list[list[str | int | float | None]] = []
        if self.dense_evaluation is not None:
            e = self.dense_evaluation
            rows.append(["dense", 0.0, 0, None, None, None, None, percent(e.top1), e.ece])
        rows += [
            [
                str(phase.number),
                round(phase.sparsity, 6),
                phase.pruned,
                phase.epochs,
                phase.top_lr,
                phase.rho,
                percent(phase.accuracy_pruned),
                percent(phase.accuracy),
                phase.ece,
            ]
            for phase in self.phases
        ]
        columns = [
            "phase", "sparsity", "pruned", "epochs", "top lr", "norm drop",
            "accuracy pruned", "accuracy", "ECE",
        ]  # fmt: skip
        return Table(columns, rows, self.note)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        worst = None if self.evaluation is None else _worst(self.evaluation.per_class)
        return {
            "accuracy": self.accuracy,
            "dense_accuracy": self.dense_accuracy,
            "worst_class_accuracy": worst,
            "sparsity": self.sparsity,
            "parameter_sparsity": self.parameter_sparsity,
            "theoretical_speedup": self.speedup,
            "instability": self.instability,
            "recovery": self.recovery,
            "phases": [to_plain(phase) for phase in self.phases],
            "per_layer": [
                {**to_plain(layer), "sparsity": layer.sparsity} for layer in self.per_layer
            ],
            "budget": {
                **to_plain(self.budget),
                "total": to_plain(self.budget.total),
                "member_epochs": self.budget.member_epochs,
            },
            "note": self.note,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "config": to_plain(self.config),
        }


def percent(value: float | None) -> str | None:
    """Text of a share.

    >>> percent(0.9125)
    '91.25%'
    """
    return None if value is None else f"{value:.2%}"


def _worst(per_class: tuple[float, ...]) -> float | None:
    known = [value for value in per_class if not math.isnan(value)]
    return min(known) if known else None
