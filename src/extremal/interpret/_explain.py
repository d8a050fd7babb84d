"""The verb `explain`: decide one unlabelled row and show why, or abstain.

Merlin is run once for each class. If exactly one run convinces Arthur, the class is accepted with
the feature that convinced; else the answer is an abstention, with the reason.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from extremal.lab import Cell, Table, command, resolve

from ._audit import precision_limits
from ._counting import Index
from ._trained import Trained, load_trained


@dataclass(frozen=True)
class ExplainConfig:
    """Which row is explained, and how sure its interval is."""

    row: int = 0
    """An audit row, by number."""
    confidence: float = 0.95
    """Of the interval of the precision."""


@dataclass(frozen=True)
class Explanation:
    """A decision with its reason.

    Attributes:
        decision: The class, or None for an abstention.
        reason: In words.
        mask: The units that convinced, or None.
        support: Reference rows that contain the feature; None with an abstention.
        agrees: How many of them have the class.
        low: Lower limit of the feature's precision; 0 without support.
        high: Upper limit; 1 without support.
        convinced: The classes whose run convinced Arthur.
        feature: What was shown, in words.
        truth: The row's class where it is known.
    """

    decision: str | None
    reason: str
    mask: Bool[np.ndarray, " d"] | None
    support: int | None
    agrees: int | None
    low: float
    high: float
    convinced: tuple[str, ...]
    feature: str
    truth: str | None = None

    def table(self) -> Table:
        """Return one row, with the reason above it."""
        rows: list[list[Cell]] = [
            [
                self.decision or "abstained", self.feature or None, self.support, self.agrees,
                self.low, self.high, self.truth,
            ]
        ]  # fmt: skip
        return Table(
            ["decision", "shown", "support", "of the class", "at least", "at most", "truth"],
            rows,
            title=self.reason,
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "decision": self.decision,
            "reason": self.reason,
            "units": None if self.mask is None else np.flatnonzero(self.mask).tolist(),
            "feature": self.feature,
            "support": self.support,
            "agrees": self.agrees,
            "low": self.low,
            "high": self.high,
            "convinced": list(self.convinced),
            "truth": self.truth,
        }


@command(options=ExplainConfig, inputs=("run",), flags=())
def explain(
    run: Trained | Path | str,
    codes: Int[np.ndarray, " d"] | None = None,
    *,
    config: ExplainConfig | None = None,
    **options: Any,
) -> Explanation:
    """Decide a row and show why, or abstain.

    Args:
        run: A run of `train`, its folder or the object.
        codes: The row; by default the audit row `row`.
        config: All options at once; or give any of its fields as keywords.
        **options: Fields of `ExplainConfig`; they replace those of `config`.

    Returns:
        The decision, the feature, and the interval of its precision over the reference pool.

    Raises:
        ValueError: There is no such row, or the codes do not fit.

    Cost: one prover and one forward pass a class; solving provers take their iterations.
    """
    settings = resolve(ExplainConfig, config, options)
    game = run if isinstance(run, Trained) else load_trained(Path(run))
    task = game.task
    truth = None
    if codes is None:
        if not 0 <= settings.row < len(task.audit):
            raise ValueError(
                f"there is no audit row {settings.row}; choose 0..{len(task.audit) - 1}."
            )
        codes = task.audit.codes[settings.row]
        truth = task.class_names[task.audit.labels[settings.row]]
    codes = np.asarray(codes)
    if codes.shape != (task.d,) or (codes < 0).any() or (codes >= task.sizes).any():
        raise ValueError(
            f"a row of {task.name} has {task.d} codes, each from 0 up to the levels of its unit; "
            f"got an array of shape {codes.shape}."
        )
    convinced, shown = game.convinced(codes[None])
    masks = shown[0]
    won = np.flatnonzero(convinced[0]).tolist()
    names = tuple(task.class_names[c] for c in won)
    if len(won) != 1:
        reason = (
            "Arthur was not convinced of any class."
            if not won
            else f"Arthur was convinced of {' and of '.join(names)}."
        )
        return Explanation(
            None, f"Abstained: {reason}", None, None, None, 0.0, 1.0, names, "", truth
        )
    c = won[0]
    index = Index(task.reference.codes, task.reference.labels, task.classes)
    counted = index.counts(masks[c : c + 1], codes[None])[0]
    support, agrees = int(counted.sum()), int(counted[c])
    low, high = precision_limits(np.array([agrees]), np.array([support]), 1 - settings.confidence)
    said = (
        f"{agrees} of {support} reference rows that contain it have the class"
        if support
        else "no reference row contains it, so there is no evidence for its precision"
    )
    return Explanation(
        task.class_names[c], f"Only class {task.class_names[c]} convinced Arthur; {said}.",
        masks[c], support, agrees, float(low[0]), float(high[0]), names,
        task.describe(masks[c], codes), truth,
    )  # fmt: skip
