"""LAMP: a weight's share of the squared norm of the weights at least as large in its layer.

Source: Lee, Park, Mo, Ahn, Shin, arXiv:2010.07611.
Differs from it: the sums run from the largest weight down (suffix sums) in float64. Total minus
prefix in float32 scores the largest weight 1.0116 instead of 1 at three million weights.
"""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from extremal.pruning._masks import Masks
from extremal.pruning._ranking import refuse_not_finite

from ._global import rank_together


def lamp_scores(weight: Tensor, alive: Tensor | None = None) -> Tensor:
    """Return w_i^2 / sum of w_j^2 over the j at least as large, as float64 in the weight's shape.

    Args:
        weight: One layer.
        alive: Where given, pruned weights do not count and score 0.
    """
    flat = weight.detach().reshape(-1).to(torch.float64).abs()
    if alive is not None:
        flat = flat * alive.reshape(-1)
    # A power of two brings the layer near 1: squares neither vanish nor overflow, and it is exact.
    exponent = torch.frexp(flat.max()).exponent if flat.numel() else 0
    squares, order = torch.sort(torch.ldexp(flat, -torch.as_tensor(exponent)), stable=True)
    squares = squares.square_()
    suffix = squares.flip(0).cumsum(0).flip(0)
    sorted_scores = torch.where(suffix > 0, squares / suffix, 0.0).cummax(0).values
    return torch.empty_like(flat).scatter_(0, order, sorted_scores).reshape(weight.shape)


def select_lamp(
    weights: Mapping[str, Tensor],
    count: int,
    masks: Masks | None = None,
    keep: Sequence[int] | None = None,
) -> Masks:
    """Prune the `count` smallest scores; no layer dies before all are down to one weight."""
    for weight in weights.values():
        refuse_not_finite(weight)
    scores = {
        name: lamp_scores(weight, None if masks is None else masks[name])
        for name, weight in weights.items()
    }
    return rank_together(weights, scores, count, masks, keep)
