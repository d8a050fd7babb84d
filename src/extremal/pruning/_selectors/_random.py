"""Random: K weights drawn without replacement from a seed; the control of every comparison."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from extremal.pruning._masks import Masks
from extremal.pruning._ranking import refuse_not_finite

from ._global import rank_together


def select_random(
    weights: Mapping[str, Tensor],
    count: int,
    masks: Masks | None = None,
    keep: Sequence[int] | None = None,
    seed: int = 0,
) -> Masks:
    """Prune `count` weights at random: those with the smallest of N random 62-bit integers.

    The draws come from a CPU generator whatever the device, so a seed gives the same masks on
    every device; and the same draws in every phase, so that masks nest.
    """
    generator = torch.Generator().manual_seed(seed)
    draws: dict[str, Tensor] = {}
    for name, weight in weights.items():
        refuse_not_finite(weight)
        draw = torch.randint(1 << 62, tuple(weight.shape), generator=generator)
        draws[name] = draw.to(weight.device)
    return rank_together(weights, draws, count, masks, keep)
