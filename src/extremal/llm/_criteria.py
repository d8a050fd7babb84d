"""Which weights go: scores, and their exact selection within a group.

Notation: W (outputs, inputs) is a weight, n_j the mean over sequences of the squared norm of input
j, S the scores; the smallest go. The mask is True where a weight is kept.

    random     uniform numbers                       group: the whole matrix
    magnitude  |W|                                   group: the whole matrix
    wanda      |W_ij| sqrt(n_j)                      group: the row
    ria        (|W_ij| / its column's sum + |W_ij| / its row's sum) sqrt(n_j)^(1/2)   the row

Sources: Sun, Liu, Bair, Kolter (Wanda), arXiv:2306.11695; Zhang et al. (RIA), ICLR 2024.
Differs from the published programs: they compare with a threshold, which removes at least one
weight too many and every tie; here exactly floor(s n) go, of equal scores the lower index first.
"""

from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._pattern import Pattern

_FEW = 16  # columns below which sorting a row is as fast
Group = Literal["row", "tensor"]
SCORES = ("random", "magnitude", "wanda", "ria")
DEFAULT_GROUP: dict[str, Group] = {
    "random": "tensor",
    "magnitude": "tensor",
    "wanda": "row",
    "ria": "row",
}


def score(
    criterion: str,
    W: Float[Tensor, "o d"],
    norms: Float[Tensor, " d"] | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Float[Tensor, "o d"]:
    """Return the scores of a weight; the smallest are to go.

    Args:
        criterion: One of `SCORES`.
        W: The weight.
        norms: Mean squared norms of the inputs, for "wanda" and "ria".
        generator: For "random".

    Raises:
        ValueError: There is no such criterion, or it needs norms.
    """
    size = W.detach().abs().float()
    if criterion == "random":
        return torch.rand(W.shape, generator=generator).to(W.device)
    if criterion == "magnitude":
        return size
    if criterion not in SCORES:
        raise ValueError(f"there is no criterion {criterion!r}; scores are {', '.join(SCORES)}.")
    if norms is None:
        raise ValueError(f"{criterion} needs the norms of the inputs; give calibration text.")
    if criterion == "wanda":
        return size * norms.float().sqrt()
    tiny = torch.finfo(torch.float32).tiny  # an all-zero row or column scores 0, not NaN
    relative = size / size.sum(0).clamp_min(tiny) + size / size.sum(1, True).clamp_min(tiny)
    return relative * norms.float().sqrt().sqrt()


def select(
    scores: Float[Tensor, "o d"], pattern: Pattern, group: Group = "row"
) -> Bool[Tensor, "o d"]:
    """Return the mask that prunes the smallest scores, exactly as many as the pattern says.

    Args:
        scores: Any real numbers.
        pattern: N:M compares within its groups; a sparsity within `group`.
        group: "row" (each output by itself) or "tensor" (all together).

    Example:
        >>> select(torch.tensor([[1.0, 8.0, 3.0, 8.0], [4.0, 4.0, 2.0, 2.0]]), Pattern.parse(0.5))
        tensor([[False,  True, False,  True],
                [ True,  True, False, False]])
    """
    if pattern.structured:
        return _drop(scores.reshape(-1, pattern.m), pattern.m - pattern.n).reshape(scores.shape)
    if group == "row":
        return _drop(scores, pattern.count(scores.shape[1]))
    return _drop(scores.reshape(1, -1), pattern.count(scores.numel())).reshape(scores.shape)


def select_by_mass(
    scores: Float[Tensor, "o d"], sparsity: float, *, within: float = 1e-3
) -> Bool[Tensor, "o d"]:
    """Wanda's variant: each row loses its smallest scores up to a share of the row's sum.

    The share is bisected in [0, 0.8] from 0.4 until the sparsity is `within` the wanted one; rows
    may differ in their counts.
    """
    ordered, order = scores.sort(dim=1, stable=True)
    mass = ordered.cumsum(1)
    low, high, share = 0.0, 0.8, 0.4
    keep = torch.ones_like(scores, dtype=torch.bool)
    for _ in range(60):
        keep_sorted = mass > share * mass[:, -1:]
        keep = torch.empty_like(keep_sorted).scatter_(1, order, keep_sorted)
        found = 1 - float(keep.float().mean())
        if abs(found - sparsity) <= within:
            break
        low, high = (share, high) if found < sparsity else (low, share)
        share = (low + high) / 2
    return keep


def _drop(scores: Tensor, count: int) -> Tensor:
    """Keep all but the `count` smallest of every row; of equals the lower index goes first."""
    if count == 0:
        return torch.ones_like(scores, dtype=torch.bool)
    if scores.is_cuda and scores.shape[1] <= _FEW:
        return _rank(scores) >= count
    if scores.is_cuda and len(scores) > 1:
        return ~_smallest(scores, count)
    if scores.is_cuda or scores.shape[1] <= _FEW:
        order = scores.argsort(dim=1, stable=True)
        keep = torch.ones_like(scores, dtype=torch.bool)
        return keep.scatter_(1, order[:, :count], False)
    # Selection instead of sorting: five times faster on a CPU, the same mask.
    parted = np.partition(scores.numpy(), count - 1, axis=1)
    threshold = torch.from_numpy(parted[:, count - 1 : count].copy())
    drop = scores <= threshold
    least = torch.from_numpy(parted[:, count:].min(1, initial=np.inf))  # of those that stay
    rows = (least <= threshold[:, 0]).nonzero().squeeze(1)  # where equals straddle the threshold
    if len(rows):
        part, level = scores[rows], threshold[rows]
        below, equal = part < level, part == level
        left = count - below.sum(1, keepdim=True)
        drop[rows] = below | (equal & (equal.cumsum(1) <= left))
    return ~drop


def _rank(scores: Tensor) -> Tensor:
    """The place of each score in its row, counted by comparing all pairs: no sort, for few columns.

    Of equals the lower index comes first.
    """
    one, two = scores[:, None, :], scores[:, :, None]
    before = torch.ones(scores.shape[1], scores.shape[1], device=scores.device).tril(-1).bool()
    return ((one < two) | ((one == two) & before)).sum(2)


def _smallest(scores: Tensor, count: int) -> Tensor:
    """Where the `count` smallest of each row are, without a sort and without waiting for the GPU.

    A stable sort of 4096 rows of 4096 moves some twenty times as many bytes as this selection.
    """
    threshold = scores.kthvalue(count, dim=1, keepdim=True).values
    below, equal = scores < threshold, scores == threshold
    left = count - below.sum(1, keepdim=True)
    return below | (equal & (equal.cumsum(1) <= left))
