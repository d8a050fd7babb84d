"""What `soup` returns."""

import dataclasses
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from extremal.lab import Table, to_plain
from extremal.pruning._masks import Masks
from extremal.pruning._result import Pruned, percent

from ._config import SoupConfig


@dataclass(frozen=True)
class Candidate:
    """A member of the last phase."""

    name: str
    weight: str  # in the merge, a fraction
    accuracy: float | None
    validation: float | None
    epochs: int
    sha256: str
    file: str


@dataclass(frozen=True)
class Row:
    """One way to spend the budget."""

    method: str
    sparsity: float
    accuracy: float | None
    ece: float | None
    mce: float | None
    worst_class: float | None
    worst_change: float | None
    """The largest loss of accuracy of a class against the dense network."""
    corrupted: float | None
    """Mean accuracy over all corruptions and severities."""
    epochs: int
    """Member-epochs of retraining."""
    inference: int
    """Networks that answer together."""


@dataclass(frozen=True)
class Soup:
    """A sparse network averaged from several retrainings, and what it is compared with."""

    pruned: Pruned
    """The network itself, with masks, phases, budget and evaluation."""
    config: SoupConfig
    candidates: tuple[Candidate, ...]
    missing: tuple[str, ...]
    """Members that a quorum went on without, over all phases."""
    rows: tuple[Row, ...]
    geometry: dict[str, Any] | None
    """Of the last phase's members."""
    basins: tuple[dict[str, Any], ...]
    corrupted: dict[str, Any]
    """Method to accuracies by kind and severity."""
    greedy: dict[str, Any] | None
    seconds: float
    """Training time of all members and comparisons together."""
    estimated_hours: float | None
    computed: tuple[str, ...]
    reused: tuple[str, ...]
    failed: dict[str, str]
    path: Path | None = None
    certificate: Path | None = None

    @property
    def model(self) -> nn.Module:
        """The soup."""
        return self.pruned.model

    @property
    def masks(self) -> Masks:
        """What it keeps."""
        return self.pruned.masks

    @property
    def sparsity(self) -> float:
        """Over the prunable weights."""
        return self.pruned.sparsity

    @property
    def accuracy(self) -> float | None:
        """On the test split."""
        return self.pruned.accuracy

    @property
    def barrier(self) -> float | None:
        """The largest barrier between the members that were tested."""
        return max((b["barrier"] for b in self.basins), default=None)

    def row(self, method: str) -> Row:
        """The row of that method."""
        return next(row for row in self.rows if row.method == method)

    def table(self) -> Table:
        """One line a method."""
        lines: list[list[str | int | float | None]] = [
            [
                row.method,
                round(row.sparsity, 5),
                percent(row.accuracy),
                None if row.ece is None else round(row.ece, 4),
                percent(row.worst_class),
                percent(row.corrupted),
                row.epochs,
                row.inference,
            ]
            for row in self.rows
        ]
        head = [
            "method", "sparsity", "accuracy", "ECE", "worst class", "corrupted",
            "member-epochs", "networks",
        ]  # fmt: skip
        return Table(head, lines, self.pruned.note)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            **extras(self),
            "accuracy": self.accuracy,
            "sparsity": self.sparsity,
            "computed": list(self.computed),
            "reused": len(self.reused),
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "pruned": self.pruned.as_json(),
        }


@dataclass(frozen=True)
class Ran:
    """What `soup` with `node` returns: one node of the graph was run."""

    label: str
    key: str
    kind: str
    sha256: str | None
    computed: bool

    def table(self) -> Table:
        """One row."""
        row = [self.label, self.key[:12], self.kind, "computed" if self.computed else "was there"]
        return Table(["node", "key", "kind", ""], [row])

    def as_json(self) -> dict[str, Any]:
        """The same as plain values."""
        return dataclasses.asdict(self)


def extras(soup: Soup) -> dict[str, Any]:
    """What a soup has beside its network, without what differs between runs of the same."""
    return {
        "candidates": [to_plain(c) for c in soup.candidates],
        "missing": list(soup.missing),
        "failed": soup.failed,
        "rows": [to_plain(row) for row in soup.rows],
        "geometry": soup.geometry,
        "basins": list(soup.basins),
        "corrupted": soup.corrupted,
        "greedy": soup.greedy,
        "seconds": soup.seconds,
        "estimated_hours": soup.estimated_hours,
    }


def worst(per_class: tuple[float, ...] | list[float | None]) -> float | None:
    """The least accuracy of a class that has examples."""
    known = [x for x in per_class if x is not None and not math.isnan(x)]
    return min(known) if known else None
