"""Cholesky factors that never fail in silence: the damping is doubled and the doubling reported.

TF32 has no place here: the matrices are ill-conditioned. They are factored in float32 as given, or
in float64 where the caller's matrix is.
"""

import torch
from jaxtyping import Float
from torch import Tensor

from ._entries import all_finite
from ._errors import LLMError

_TRIES = 30


def damped(H: Tensor, damping: float) -> Tensor:
    """Return H + damping * mean(diag H) * I."""
    if damping == 0:
        return H
    shift = damping * H.diagonal().mean()
    return H + torch.diag(shift.expand(H.shape[0]))


def factor(
    H: Float[Tensor, "d d"],
    damping: float,
    name: str = "a layer",
) -> tuple[Float[Tensor, "d d"], Float[Tensor, "d d"], float]:
    """Return (lower Cholesky factor, the damped matrix, the damping that was needed).

    Raises:
        LLMError: No damping up to 2^30 times the given one helps, or H is not finite.
    """
    if not all_finite(H):
        raise LLMError(
            f"the inputs of {name} are not finite on the calibration text, so there is no Gram "
            "matrix. Check the weights before it, or use --dtype float32."
        )
    used = damping
    for _ in range(_TRIES):
        matrix = damped(H, used)
        lower, failed = torch.linalg.cholesky_ex(matrix)
        if not bool(failed):
            return lower, matrix, used
        used = max(2 * used, 1e-6)
    raise LLMError(
        f"the Gram matrix of {name} is not positive definite even with damping {used:g}; give more "
        "calibration text."
    )
