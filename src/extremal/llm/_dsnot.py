"""DSnoT: exchange kept for pruned weights, row by row, without any update of values.

Notation: C_ij = W_ij * mean(x_j) is what weight (i, j) adds to output i on average; the residual of
a row is the sum of C over its pruned weights, which is the mean change of the output.
Source: Zhang et al., arXiv:2310.08915. A row stops when its residual is below the threshold or an
exchange would change its sign. N:M: the pruned one comes from the grown one's group.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._pattern import Pattern


def refine(
    W: Float[Tensor, "o d"],
    keep: Bool[Tensor, "o d"],
    *,
    mean: Float[Tensor, " d"],
    variance: Float[Tensor, " d"],
    norms: Float[Tensor, " d"],
    pattern: Pattern,
    cycles: int = 50,
    threshold: float = 0.1,
) -> Bool[Tensor, "o d"]:
    """Return a mask with the same number of kept weights in every row.

    Args:
        W: The dense weight.
        keep: The mask to start from.
        mean: Of every input.
        variance: Of every input.
        norms: Mean squared norms of the inputs, for Wanda's scores.
        pattern: Whether groups of M must be kept.
        cycles: At most so many exchanges a row.
        threshold: A row whose residual is at most this stays.

    Cost: `cycles` passes over the matrix.
    """
    weight = W.detach().float()
    keep = keep.clone()
    adds = weight * mean
    grow_score = adds / variance.clamp_min(1e-12)
    wanda = weight.abs() * norms.float().sqrt()
    rows = torch.arange(weight.shape[0], device=weight.device)
    residual = adds.masked_fill(keep, 0).sum(1)
    active = residual.abs() > threshold
    infinity = float("inf")
    for _ in range(cycles):
        if not bool(active.any()):
            break
        sign = residual.sign()[:, None]
        # Growing weight j removes C_ij from the residual: it must have the residual's sign.
        gain = (grow_score * sign).masked_fill(keep | (adds * sign <= 0), -infinity)
        grown = gain.argmax(1)
        # Pruning weight j adds C_ij: it must have the other sign.
        cost = wanda.masked_fill(~keep | (adds * sign >= 0), infinity)
        if pattern.structured:
            group = torch.arange(weight.shape[1], device=weight.device) // pattern.m
            cost = cost.masked_fill(group[None] != (grown // pattern.m)[:, None], infinity)
        pruned = cost.argmin(1)
        found = (gain[rows, grown] > -infinity) & (cost[rows, pruned] < infinity)
        after = residual - adds[rows, grown] + adds[rows, pruned]
        move = active & found & (after.sign() == residual.sign())
        moved = rows[move]
        keep[moved, grown[move]] = True
        keep[moved, pruned[move]] = False
        residual = torch.where(move, after, residual)
        active = move & (residual.abs() > threshold)
    return keep
