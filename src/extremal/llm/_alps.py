"""ALPS: ADMM over weights and support together, with a penalty that rises until the support rests.

Notation: as in `_admm`; G = Q diag(l) Q^T, so that (G + rho I)^-1 is cheap for every rho.
Source: Meng, Behdin, Wang, Mazumder, arXiv:2406.07831: damping 0.01; rho from 0.1, every 3
iterations times 1.3 / 1.2 / 1.1 by the share of the support that changed (over 10 %, over 0.5 %,
any); at rest it stops, or starts again with rho / 5 when it rests at once; then conjugate gradients
on the support.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._cholesky import damped
from ._criteria import Group, select
from ._least_squares import layer_error, masked_cg
from ._pattern import Pattern


def alps(
    W: Float[Tensor, "o d"],
    H: Float[Tensor, "d d"],
    *,
    keep: Bool[Tensor, "o d"] | None = None,
    pattern: Pattern | None = None,
    group: Group = "tensor",
    damping: float = 0.01,
    iterations: int = 300,
    polish: int = 10,
) -> tuple[Float[Tensor, "o d"], Bool[Tensor, "o d"]]:
    """Return (weights, mask).

    Args:
        W: The dense weight.
        H: Gram matrix of its inputs, any positive scale.
        keep: A mask to follow; then only the conjugate gradients run. Or give `pattern`.
        pattern: How much is pruned when there is no mask.
        group: Where a sparsity is met.
        damping: Times the mean of G's diagonal.
        iterations: At most so many.
        polish: Conjugate-gradient steps at the end.

    Cost: one eigendecomposition of H, and two products with it in each iteration.
    """
    assert (keep is None) != (pattern is None)
    weight = W.detach().to(H.dtype)
    nu = H.diagonal().clamp_min(0).sqrt() + 1e-8
    scaled = weight * nu
    G = damped(H / torch.outer(nu, nu), damping)
    if keep is not None:
        return masked_cg(scaled, G, keep, steps=polish) / nu, keep
    assert pattern is not None
    values, vectors = torch.linalg.eigh(G)
    right = scaled @ G
    rho = 0.1
    for _ in range(10):
        mask, start, moved = _search(
            scaled, right, values, vectors, rho, pattern, group, iterations
        )
        if moved:
            break
        rho /= 5  # the support rested at once: the penalty was too strong to move it
    else:
        mask, start = select(scaled.abs(), pattern, group), scaled
    # Start the polishing from the better of the iterate and the plain masked weights.
    plain = scaled.masked_fill(~mask, 0)
    first = start.masked_fill(~mask, 0)
    if layer_error(plain, scaled, G) < layer_error(first, scaled, G):
        first = plain
    return masked_cg(scaled, G, mask, steps=polish, start=first) / nu, mask


def _search(
    scaled: Tensor,
    right: Tensor,
    values: Tensor,
    vectors: Tensor,
    rho: float,
    pattern: Pattern,
    group: Group,
    iterations: int,
) -> tuple[Tensor, Tensor, bool]:
    """One run from a starting penalty: (mask, iterate, whether the support ever moved)."""
    mask = select(scaled.abs(), pattern, group)
    size = max(int(mask.sum()), 1)
    sparse = scaled.masked_fill(~mask, 0)
    dual = torch.zeros_like(scaled)
    before = mask
    moved = False
    for t in range(1, iterations + 1):
        current = ((right - dual + rho * sparse) @ vectors / (values + rho)) @ vectors.T
        free = current + dual / rho
        mask = select(free.abs(), pattern, group)
        sparse = free.masked_fill(~mask, 0)
        dual = dual + rho * (current - sparse)
        if t % 3 == 0:
            share = int((mask ^ before).sum()) / 2 / size
            before = mask
            if share == 0:
                break
            moved = True
            if t >= 30 and share < 3e-4:
                break
            rho *= 1.3 if share > 0.1 else 1.2 if share > 5e-3 else 1.1
    return mask, sparse, moved
