"""Filters: in each convolution, the round(s out) output channels of smallest L1 norm go whole.

Linear layers stay as they are. The channels are zeroed, not removed; biases and norms remain.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from extremal.pruning._errors import PruningError
from extremal.pruning._masks import Masks
from extremal.pruning._ranking import Ranked, refuse_not_finite, smallest

from ._common import pruned_count


def select_filters(
    weights: Mapping[str, Tensor], sparsity: float, masks: Masks | None = None
) -> Masks:
    """Prune whole filters, layer by layer; filters that are zero already go first."""
    if not any(weight.dim() > 2 for weight in weights.values()):
        raise PruningError(
            "Selector 'filter' found no convolution among the prunable weights. Choose another "
            "selector, or include the convolutions."
        )
    kept: dict[str, Tensor] = {}
    for name, weight in weights.items():
        refuse_not_finite(weight)
        alive = torch.ones_like(weight, dtype=torch.bool) if masks is None else masks[name]
        if weight.dim() == 2:
            kept[name] = alive
            continue
        filters = weight.shape[0]
        norms = (weight.detach().to(torch.float64) * alive).abs().reshape(filters, -1).sum(1)
        living = alive.reshape(filters, -1).any(1)
        (stays,) = smallest([Ranked(norms, living)], pruned_count(sparsity, filters))
        kept[name] = stays.reshape(-1, *[1] * (weight.dim() - 1)).expand_as(weight) & alive
    return Masks(kept)
