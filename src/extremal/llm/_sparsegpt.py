"""SparseGPT: choose a mask column block by column block and pass each error on to the right.

Notation: W (outputs, inputs), H the damped Gram matrix of the inputs, U upper with H^-1 = U^T U.
Source: Frantar, Alistarh, arXiv:2301.00774. Facts that the tests hold: the sum of e^2 is the error
tr(dW H dW^T); the weights left of a pruned column get no compensation, so the error is at least
that of least squares on the same mask.
Differs from the published program: exact counts in every slab; the mask is returned and never read
off the zeros; a failed Cholesky doubles the damping and says so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._cholesky import factor
from ._criteria import select
from ._entries import kept
from ._pattern import Pattern

_WHOLE = 192  # a triangle up to this size is inverted in one solve


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


def factor_of(
    H: Float[Tensor, "d d"],
    damping: float,
    name: str = "a layer",
) -> tuple[Float[Tensor, "d d"], float]:
    """Return (U, damping used) with (H + damping)^-1 = U^T U; an input that is always 0 counts 1.

    The published program factors H, inverts it and factors the inverse. Reversed in both indices,
    H = L L^T gives H = R R^T with R = reversed(L) upper, and so U = R^-1: one factor and one
    triangular solve, and no inverse that could lose its definiteness to rounding.
    """
    whole = H + torch.diag((H.diagonal() == 0).to(H.dtype))
    lower, _, used = factor(whole.flip(0, 1), damping, name)
    # By rows: the sweep reads rows of U, and took up to twice as long on LAPACK's columns.
    return inverse_upper(lower.flip(0, 1)).contiguous(), used


def inverse_upper(R: Float[Tensor, "d d"]) -> Float[Tensor, "d d"]:
    """Return the inverse of an upper triangular matrix.

    On a CPU by halves, [[A, B], [0, C]] gives [[A^-1, -A^-1 B C^-1], [0, C^-1]]: d^3 / 3 products
    instead of d^3 for a solve with the unit matrix.
    """
    d = len(R)
    if R.is_cuda or d <= _WHOLE:
        eye = torch.eye(d, dtype=R.dtype, device=R.device)
        return torch.linalg.solve_triangular(R, eye, upper=True)
    half = d // 2
    found = torch.zeros_like(R, memory_format=torch.contiguous_format)
    found[:half, :half] = inverse_upper(R[:half, :half])
    found[half:, half:] = inverse_upper(R[half:, half:])
    found[:half, half:] = -(found[:half, :half] @ R[:half, half:]) @ found[half:, half:]
    return found


def sweep(
    W: Float[Tensor, "o d"],
    H: Float[Tensor, "d d"],
    pattern: Pattern,
    *,
    keep: Bool[Tensor, "o d"] | None = None,
    damping: float = 0.01,
    block: int = 128,
    name: str = "a layer",
    upper: tuple[Tensor, float] | None = None,
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
        upper: What `factor_of` gives for H and the damping, where it is known.

    Cost: a Cholesky factor of H and a triangular solve, and o d^2 operations.
    """
    weight = W.detach().to(H.dtype).clone(memory_format=torch.contiguous_format)
    weight.masked_fill_(H.diagonal() == 0, 0)
    U, used = factor_of(H, damping, name) if upper is None else upper
    diagonal = U.diagonal()
    columns = weight.shape[1]
    mask = torch.ones_like(weight, dtype=torch.bool)
    if keep is not None:
        mask &= keep
    slab_of = _kernel(weight, U, pattern if keep is None else None, block)
    error = torch.zeros((), dtype=torch.float64, device=weight.device)
    for start in range(0, columns, block):
        end = min(start + block, columns)
        if keep is None and not pattern.structured:
            slab = weight[:, start:end].square() / diagonal[start:end].square()
            mask[:, start:end] = select(slab, pattern, "tensor")
        if slab_of is not None:
            errors = slab_of(weight, mask, start, end)
            weight[:, end:].addmm_(errors, U[start:end, end:], alpha=-1)
            error += errors.double().square().sum()
            continue
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
            weight[:, j:stop] -= e[:, None] * U[j, j:stop]
            weight[:, j] = torch.where(mask[:, j], weight[:, j], 0)
            errors[:, j - start] = e
        if stop < columns:
            weight[:, stop:] -= errors @ U[start:end, stop:]
        error += errors.double().square().sum()
    return Swept(kept(weight, mask), mask, float(error), used)


def _kernel(
    weight: Tensor, U: Tensor, pattern: Pattern | None, block: int
) -> Callable[[Tensor, Tensor, int, int], Tensor] | None:
    """The kernel for whole slabs, where groups fit slabs; on CUDA in float32 where triton is."""
    n, m = (0, 0) if pattern is None else (pattern.n, pattern.m)
    if m and block % m:
        return None
    if not weight.is_cuda and weight.dtype in (torch.float32, torch.float64):
        from ._slab_rows import sweep_slab
    elif weight.dtype == torch.float32 and find_spec("triton") is not None:
        from ._slab import sweep_slab
    else:
        return None

    upper = U.contiguous()  # as it is, if it came from `factor_of`
    return lambda w, keep, start, end: sweep_slab(w, keep, upper, start, end, n, m)
