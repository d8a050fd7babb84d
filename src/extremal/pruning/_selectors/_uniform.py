"""Uniform: round(s n_i) of the smallest magnitudes in every layer."""

from collections.abc import Mapping

from torch import Tensor

from extremal.pruning._masks import Masks

from ._common import dead_counts, prune_counts, pruned_count, refuse_revival


def select_uniform(
    weights: Mapping[str, Tensor], sparsity: float, masks: Masks | None = None
) -> Masks:
    """Prune the same fraction of every layer; the total may miss round(s N) by the rounding."""
    counts = [pruned_count(sparsity, weight.numel()) for weight in weights.values()]
    refuse_revival(weights, [c - 1.0 for c in counts], dead_counts(weights, masks), "uniform")
    return prune_counts(weights, counts, masks)
