"""ADMM for the weights of a layer, on a given mask or with a mask that tightens on the way.

Notation: H Gram matrix, nu the root of its diagonal, G = H / (nu nu^T), Wt = W diag(nu), V the
inverse of G + rho I, Z the masked copy, U the scaled dual.
Source: Boža, arXiv:2401.02938: rho = 1, damping 0.1 on G, 20 iterations; the gradual mask follows a
cubic schedule over the first 15. Differs from it: the schedule holds for whole matrices too.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from ._cholesky import factor
from ._criteria import Group, select
from ._pattern import Pattern


def admm(
    W: Float[Tensor, "o d"],
    H: Float[Tensor, "d d"],
    *,
    keep: Bool[Tensor, "o d"] | None = None,
    pattern: Pattern | None = None,
    group: Group = "row",
    iterations: int = 20,
    rising: int = 15,
    damping: float = 0.1,
    rho: float = 1.0,
    name: str = "a layer",
) -> tuple[Float[Tensor, "o d"], Bool[Tensor, "o d"], float]:
    """Return (weights, mask, the damping that was needed).

    Args:
        W: The dense weight.
        H: Gram matrix of its inputs, any positive scale.
        keep: The mask; or give `pattern`, and the mask is chosen on the way by |Wt + U|.
        pattern: How much is pruned when there is no mask.
        group: Where a sparsity is met: in every row, or over the whole matrix.
        iterations: In all.
        rising: In how many of them the sparsity rises.
        damping: Times the mean of G's diagonal, which is 1.
        rho: Weight of the penalty.
        name: For messages.

    Cost: one inverse, and a product with it in each iteration.
    """
    assert (keep is None) != (pattern is None)
    weight = W.detach().to(H.dtype)
    nu = H.diagonal().clamp_min(0).sqrt() + 1e-8
    scaled = weight * nu
    gram = H / torch.outer(nu, nu)
    _, G, used = factor(gram, damping, name)
    eye = torch.eye(G.shape[0], dtype=G.dtype, device=G.device)
    V = torch.cholesky_inverse(torch.linalg.cholesky(G + rho * eye))
    right = scaled @ G
    dual = torch.zeros_like(scaled)
    current = scaled
    mask = keep if keep is not None else torch.ones_like(scaled, dtype=torch.bool)
    for t in range(iterations):
        if pattern is not None and t < max(rising, 1):
            mask = _tightened(current + dual, pattern, group, (t + 1) / max(rising, 1))
        z = (current + dual).masked_fill(~mask, 0)
        dual = dual + current - z
        current = (right + rho * (z - dual)) @ V
    z = (current + dual).masked_fill(~mask, 0)
    return z / nu, mask, used


def _tightened(values: Tensor, pattern: Pattern, group: Group, share: float) -> Tensor:
    """The mask of an iteration: N:M from the last rising step on, before it by sparsity."""
    if share >= 1:
        return select(values.abs(), pattern, group)
    s = float(pattern.sparsity)
    part = Pattern.parse(s - s * (1 - share) ** 3)
    return select(values.abs(), part, group)
