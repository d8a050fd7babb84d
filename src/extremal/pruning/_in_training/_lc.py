"""LC, learning-compression: weight decay acts on the smallest weights alone.

Source: Carreira-Perpinan and Idelbayev, CVPR 2018.
Differs from it: as in the comparison of arXiv:2111.00843, no Lagrange multipliers; the optimizer's
decay is cancelled on the n_keep largest weights, by g - decay * w, and may grow on the others.
"""

import torch
from torch import nn
from torch.optim import SGD, Optimizer

from extremal.pruning._masks import Masks

from ._base import InTraining, Select

GROWTH_STEPS = 30


class LC(InTraining):
    """Decay only the N - n_keep smallest weights.

    Args:
        names: The prunable parameters.
        sparsity: At the end.
        select: Which weights are the smallest.
        iterations: T of the training.
        growth: Factor of the decay in each of 30 equal parts of the training; 1 keeps it.
    """

    def __init__(
        self,
        names: list[str],
        sparsity: float,
        select: Select,
        iterations: int,
        growth: float = 1.0,
    ) -> None:
        super().__init__(names, sparsity, select)
        self.iterations = iterations
        self.growth = growth

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Refuse an optimizer whose decay does not go through the gradient, or has none."""
        super().start(model, optimizer)
        decay = self.group_of(next(iter(self.weights.values())))["weight_decay"]
        if not isinstance(optimizer, SGD) or not decay > 0:
            raise ValueError(
                f"Method 'lc' moves the weight decay of SGD to the smallest weights; met "
                f"{type(optimizer).__name__} with weight decay {decay}. Use optimizer='sgd' and "
                "weight_decay above 0."
            )

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Cancel the decay on the largest weights, and let it grow on the others."""
        masks: Masks = self.select(self.weights, self.sparsity, None)
        factor = self.growth ** (GROWTH_STEPS * step // self.iterations) - 1
        for name, weight in self.weights.items():
            if weight.grad is None:
                continue
            decay = self.group_of(weight)["weight_decay"]
            weight.grad -= decay * weight * masks[name]
            if factor:
                weight.grad += factor * decay * weight * ~masks[name]
