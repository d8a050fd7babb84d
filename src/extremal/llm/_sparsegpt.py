"""SparseGPT: choose a mask column block by column block and pass each error on to the right.

Notation: W (outputs, inputs), H the damped Gram matrix of the inputs, U upper with H^-1 = U^T U.
Source: Frantar, Alistarh, arXiv:2301.00774. Facts that the tests hold: the sum of e^2 is the error
tr(dW H dW^T); the weights left of a pruned column get no compensation, so the error is at least
that of least squares on the same mask.
Differs from the published program: exact counts in every slab; the mask is returned and never read
off the zeros; a failed Cholesky doubles the damping and says so.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._cholesky import factor
from ._criteria import select
from ._pattern import Pattern


@dataclass(frozen=True)
class Swept:
    """What a sweep gives.

    Attributes:
        weight: The updated weight, exactly zero where pruned.
        keep: The mask.
        error: The sum of e^2.
        damping: What was needed.
    """

    weight: Tensor
    keep: Tensor
    error: float
    damping: float


def upper_factor(
    H: Float[Tensor, "d d"],
    damping: float,
    name: str = "a layer",
) -> tuple[Float[Tensor, "d d"], float]:
    """Return (U, damping used) with (H + damping)^-1 = U^T U."""
    lower, _, used = factor(H, damping, name)
    inverse = torch.cholesky_inverse(lower)
    upper, failed = torch.linalg.cholesky_ex(inverse, upper=True)
    while bool(failed):  # the inverse lost its definiteness to rounding
        used = max(2 * used, 1e-6)
        lower, _, used = factor(H, used, name)
        upper, failed = torch.linalg.cholesky_ex(torch.cholesky_inverse(lower), upper=True)
    return upper, used


def sweep(
    W: Float[Tensor, "o d"],
    H: Float[Tensor, "d d"],
    pattern: Pattern,
    *,
    keep: Bool[Tensor, "o d"] | None = None,
    damping: float = 0.01,
    block: int = 128,
    name: str = "a layer",
) -> Swept:
    """Prune and update in one sweep from left to right.

    Args:
        W: The dense weight.
        H: Gram matrix of the inputs, undamped, any positive scale.
        pattern: A sparsity is met exactly in every slab of `block` columns, over all rows; N:M in
            every group, chosen with the weights as they are when the group is reached.
        keep: A mask to follow instead of choosing one.
        damping: Times the mean of H's diagonal, added to it.
        block: Columns of a slab.
        name: For messages.

    Cost: a Cholesky factor of H, and o d^2 operations.
    """
    weight = W.detach().to(H.dtype).clone()
    dead = H.diagonal() == 0
    if bool(dead.any()):
        weight[:, dead] = 0
    upper, used = upper_factor(H + torch.diag(dead.to(H.dtype)), damping, name)
    diagonal = upper.diagonal()
    columns = weight.shape[1]
    mask = torch.ones_like(weight, dtype=torch.bool) if keep is None else keep.clone()
    error = 0.0
    for start in range(0, columns, block):
        end = min(start + block, columns)
        if keep is None and not pattern.structured:
            slab = weight[:, start:end].square() / diagonal[start:end].square()
            mask[:, start:end] = select(slab, pattern, "tensor")
        errors = torch.zeros_like(weight[:, start:end])
        # A group of M may reach beyond the slab; its columns are kept up to date with the slab's.
        stop = min(-(-end // pattern.m) * pattern.m, columns) if pattern.structured else end
        for j in range(start, end):
            if keep is None and pattern.structured and j % pattern.m == 0:
                group = slice(j, j + pattern.m)
                scores = weight[:, group].square() / diagonal[group].square()
                mask[:, group] = select(scores, pattern)
            column = weight[:, j]
            e = torch.where(mask[:, j], 0, column / diagonal[j])
            weight[:, j:stop] -= e[:, None] * upper[j, j:stop]
            weight[:, j] = torch.where(mask[:, j], weight[:, j], 0)
            errors[:, j - start] = e
        if stop < columns:
            weight[:, stop:] -= errors @ upper[start:end, stop:]
        error += float(errors.double().square().sum())
    return Swept(weight.masked_fill(~mask, 0), mask, error, used)
