"""Uniform+: the first convolution stays dense, the last linear layer keeps 20 % or more.

Source: Gale, Elsen, Hooker, arXiv:1902.09574.
Differs from it: the shared fraction is rounded by largest remainder, so the total is exactly K.
"""

from collections.abc import Mapping

from torch import Tensor

from extremal.pruning._errors import PruningError
from extremal.pruning._masks import Masks

from ._common import dead_counts, prune_counts, refuse_revival, share_exactly

LAST_AT_MOST = 0.8


def select_uniform_plus(
    weights: Mapping[str, Tensor], count: int, masks: Masks | None = None
) -> Masks:
    """Prune `count` weights; a network without convolutions has no dense first layer."""
    sizes = [weight.numel() for weight in weights.values()]
    convolutions = [i for i, weight in enumerate(weights.values()) if weight.dim() > 2]
    linears = [i for i, weight in enumerate(weights.values()) if weight.dim() == 2]
    first = convolutions[0] if convolutions else None
    last = linears[-1] if linears else None

    dense = 0 if first is None else sizes[first]
    shared = count / (sum(sizes) - dense) if sum(sizes) > dense else 2.0
    ideal = [0.0 if i == first else shared * n for i, n in enumerate(sizes)]
    if last is not None and shared > LAST_AT_MOST:
        ideal[last] = LAST_AT_MOST * sizes[last]
        middle = sum(sizes) - dense - sizes[last]
        shared = (count - ideal[last]) / middle if middle else 2.0
        ideal = [x if i in (first, last) else shared * sizes[i] for i, x in enumerate(ideal)]
    if shared > 1:
        raise PruningError(
            f"uniform+ cannot prune {count} of {sum(sizes)} weights: with the first convolution "
            "dense and 20 % of the last linear layer kept, the others would have to lose more "
            "than all they have. Choose a lower sparsity, or selector 'erk', 'lamp' or 'global'."
        )
    dead = dead_counts(weights, masks)
    refuse_revival(weights, ideal, dead, "uniform+")
    highest = [
        0 if i == first else int(LAST_AT_MOST * n) if i == last else n for i, n in enumerate(sizes)
    ]
    highest = [max(high, zeros) for high, zeros in zip(highest, dead, strict=True)]
    return prune_counts(weights, share_exactly(ideal, count, dead, highest), masks)
