"""Structured sparsity learning: the sum of the norms of filters and of input channels.

Source: Wen et al., NeurIPS 2016. The loss grows by a sum_f |W[f]| + b sum_c |W[:, c]|.
"""

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.training._hooks import Hooks

from ._weights import convolutions


class SSL(Hooks):
    """Penalise the Euclidean norms of filters and of input channels of convolutions."""

    values_only = True

    def __init__(self, filters: float, channels: float) -> None:
        """Take the two weights."""
        self.filters, self.channels = filters, channels

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Find the convolutions."""
        del optimizer
        self._weights = list(convolutions(model).values())

    def penalty(self) -> Tensor:
        """The penalty of the present weights."""
        return ssl_penalty(self._weights, self.filters, self.channels)


def ssl_penalty(weights: list[Tensor], filters: float, channels: float) -> Tensor:
    """Return a sum_f |W[f]| + b sum_c |W[:, c]| over the weights.

    Example:
        >>> ssl_penalty([torch.tensor([[3.0, 4.0], [0.0, 0.0]])], 1.0, 0.5)
        tensor(8.5000)
    """
    total = weights[0].new_zeros(())
    for weight in weights:
        total = total + filters * _norms(weight.flatten(1)).sum()
        total = total + channels * _norms(weight.transpose(0, 1).flatten(1)).sum()
    return total


def _norms(rows: Tensor) -> Tensor:
    # The norm has no gradient at 0; a row of zeros shall stay where it is, not become NaN.
    square = rows.square().sum(1)
    return torch.where(square > 0, square, torch.ones_like(square)).sqrt() * (square > 0)
