"""Counts over phases: how much to prune in each, how long to retrain, what it all cost.

Notation: s the final sparsity, k phases, N prunable weights.
"""

import math
from dataclasses import dataclass

from ._selectors import pruned_count


def phase_sparsities(sparsity: float, phases: int, present: float = 0.0) -> tuple[float, ...]:
    """Return the cumulative sparsity after each of `phases` phases; the last is `sparsity`.

    Each phase prunes the same fraction p = 1 - ((1 - s)/(1 - present))^(1/k) of what remains.
    Counts come from this formula: rounding p phase by phase drifts (N = 12345, s = 0.95, k = 4
    would give 11727 instead of 11728).

    Args:
        sparsity: The goal s in [0, 1).
        phases: k, at least 1.
        present: Where the network starts, for one that is sparse already.

    Example:
        >>> [pruned_count(s, 1000) for s in phase_sparsities(0.9, 3)]
        [536, 785, 900]
    """
    if phases < 1:
        raise ValueError(f"phases is {phases}; pruning takes at least 1 (one-shot).")
    if not 0 <= sparsity < 1:
        raise ValueError(f"sparsity is {sparsity}; it must be at least 0 and below 1.")
    left = (1 - sparsity) / (1 - present)
    rising = [1 - (1 - present) * left ** (i / phases) for i in range(1, phases)]
    return (*rising, sparsity)


def phase_counts(sparsity: float, phases: int, size: int) -> tuple[int, ...]:
    """Return how many of `size` weights are pruned after each phase: round(s_i N), half to even."""
    return tuple(pruned_count(s, size) for s in phase_sparsities(sparsity, phases))


def renda_phases(sparsity: float) -> int:
    """How many phases that each prune 20 % of what remains reach `sparsity`.

    Source: Renda, Frankle, Carbin, arXiv:2003.02389.

    >>> renda_phases(0.8), renda_phases(0.9)
    (8, 11)
    """
    return max(1, math.ceil(math.log(1 - sparsity) / math.log(0.8)))


def split_epochs(epochs: int, phases: int) -> tuple[int, ...]:
    """Share a budget of epochs over the phases; the remainder goes to the last.

    >>> split_epochs(10, 3)
    (3, 3, 4)
    """
    if phases < 1:
        raise ValueError(f"phases is {phases}; pruning takes at least 1 (one-shot).")
    if epochs < phases:
        raise ValueError(
            f"{epochs} epochs do not give each of {phases} phases one. Give epochs={phases} or "
            "more, or fewer phases."
        )
    each = epochs // phases
    return (*[each] * (phases - 1), epochs - each * (phases - 1))


def gradual_sparsities(sparsity: float, epochs: int, interval: int) -> dict[int, float]:
    """Return epoch -> sparsity of gradual magnitude pruning's cubic schedule.

    Prunes after epochs t = D, 2D, ..., nD with n = E // D - 1, to s - s (1 - t/(nD))^3.
    Source: Zhu and Gupta, arXiv:1710.01878.

    Example:
        >>> gradual_sparsities(0.9, 10, 2)
        {2: 0.5203125, 4: 0.7875, 6: 0.8859375, 8: 0.9}
    """
    if interval < 1 or epochs < 2 * interval:
        raise ValueError(
            f"Gradual pruning every {interval} epochs needs at least {2 * max(interval, 1)} epochs "
            f"and an interval of 1 or more; got {epochs} epochs."
        )
    n = epochs // interval - 1
    rising = {t * interval: sparsity - sparsity * (1 - t / n) ** 3 for t in range(1, n)}
    return {**rising, n * interval: sparsity}


@dataclass(frozen=True)
class Cost:
    """What a training or retraining spent."""

    epochs: int
    iterations: int
    seconds: float  # wall time; 0 where it was not measured
    flops_dense: float  # training FLOPs as if nothing were pruned
    flops_masked: float  # counting only the products with weights that are kept

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(
            self.epochs + other.epochs,
            self.iterations + other.iterations,
            self.seconds + other.seconds,
            self.flops_dense + other.flops_dense,
            self.flops_masked + other.flops_masked,
        )


@dataclass(frozen=True)
class Budget:
    """Dense training, retraining, and both together; `members` counts soup members (1 here)."""

    dense: Cost
    retrain: Cost
    members: int = 1

    @property
    def total(self) -> Cost:
        """Dense and retraining together."""
        return self.dense + self.retrain

    @property
    def member_epochs(self) -> int:
        """Dense epochs plus retraining epochs of all members."""
        return self.dense.epochs + self.members * self.retrain.epochs


def training_flops(macs: float | int, samples: int) -> float:
    """Training FLOPs of `samples` passes: 2 a multiply-add, and backward twice the forward.

    >>> training_flops(40_551_040, 1)
    243306240.0
    """
    return float(6 * macs * samples)
