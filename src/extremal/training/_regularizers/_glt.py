"""Group lasso by proximal steps: small filters become exactly zero while training.

Source: Alvarez, Salzmann, NeurIPS 2016. After each step w_f <- max(0, 1 - lr a sqrt(P) / |w_f|) w_f
for each filter w_f of P numbers, with lr the learning rate of the step.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.training._hooks import Hooks

from ._weights import convolutions


class GLT(Hooks):
    """Shrink the filters of convolutions after each step."""

    values_only = True

    def __init__(self, strength: float) -> None:
        """Take the weight a."""
        self.strength = strength

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Find the convolutions."""
        self._weights, self._optimizer = list(convolutions(model).values()), optimizer

    def after_step(self, step: int) -> None:
        """Make the proximal step."""
        del step
        rate = float(self._optimizer.param_groups[0]["lr"])
        with torch.no_grad():
            for weight in self._weights:
                shrink_filters_(weight, rate * self.strength)


def shrink_filters_(weight: Tensor, amount: float) -> Tensor:
    """Shorten each filter by amount * sqrt(P), to 0 at most, in place.

    Example:
        >>> shrink_filters_(torch.tensor([[3.0, 4.0], [0.1, 0.0]]), 1 / 2**0.5)
        tensor([[2.4000, 3.2000],
                [0.0000, 0.0000]])
    """
    rows = weight.flatten(1)
    norms = rows.norm(dim=1)
    short = amount * rows.shape[1] ** 0.5
    factor = (1 - short / norms.clamp_min(1e-30)).clamp_min(0)
    return weight.mul_(factor.reshape(-1, *(1,) * (weight.ndim - 1)))
