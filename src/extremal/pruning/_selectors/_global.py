"""Global magnitude: the K smallest |w| of all layers together."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from extremal.pruning._masks import Masks
from extremal.pruning._ranking import Ranked, smallest


def select_global(
    weights: Mapping[str, Tensor],
    count: int,
    masks: Masks | None = None,
    keep: Sequence[int] | None = None,
) -> Masks:
    """Prune the `count` smallest magnitudes.

    Args:
        weights: The prunable weights in parameter order.
        count: K, with what is pruned already.
        masks: What is pruned already.
        keep: Per layer, how many of its largest weights must stay.
    """
    return rank_together(weights, weights, count, masks, keep)


def rank_together(
    weights: Mapping[str, Tensor],
    scores: Mapping[str, Tensor],
    count: int,
    masks: Masks | None,
    keep: Sequence[int] | None,
) -> Masks:
    """Prune the `count` smallest scores of all layers, the `keep[i]` largest of each protected."""
    ranked: list[Ranked] = []
    for index, name in enumerate(weights):
        alive = None if masks is None else masks[name]
        protected = None
        if keep is not None and keep[index]:
            protected = _largest(Ranked(scores[name], alive), keep[index])
        ranked.append(Ranked(scores[name], alive, protected))
    kinds = {tensor.values.dtype for tensor in ranked}
    if len(kinds) > 1:  # networks of mixed precision: widen the narrow ones; the order is exact
        ranked = [Ranked(t.values.to(torch.float64), t.alive, t.protected) for t in ranked]
    return Masks(dict(zip(weights, smallest(ranked, count), strict=True)))


def _largest(tensor: Ranked, keep: int) -> Tensor:
    """The mask of the `keep` largest entries that are still alive."""
    (kept,) = smallest([tensor], max(tensor.values.numel() - keep, 0))
    return kept
