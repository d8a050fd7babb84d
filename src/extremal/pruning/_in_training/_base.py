"""What the in-training methods share: they are hooks of the loop that end in a sparse network.

Notation: w a stored weight, w_eff what the forward pass sees, g the gradient, N prunable weights,
K = round(s N) pruned at the end, N - K = n_keep. (The published code takes int((1 - s) N); with
K everywhere all methods end at the same count.)
"""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.pruning._masks import Masks
from extremal.training import Hooks

Select = Callable[[Mapping[str, Tensor], float, Masks | None], Masks]
"""From (weights, sparsity, what is pruned already) to masks: a selector with its options."""


class InTraining(Hooks):
    """A method that prunes while it trains.

    Attributes:
        weights: The prunable parameters by name, after `start`.
        outcome: Whether the sparsity is an outcome of the method rather than set.
    """

    values_only = True
    outcome = False

    def __init__(self, names: list[str], sparsity: float, select: Select) -> None:
        self.names = names
        self.sparsity = sparsity
        self.select = select
        self.weights: dict[str, nn.Parameter] = {}
        self._optimizer: Optimizer | None = None

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take hold of the prunable parameters."""
        parameters = dict(model.named_parameters())
        self.weights = {name: parameters[name] for name in self.names}
        self._optimizer = optimizer

    @property
    def optimizer(self) -> Optimizer:
        """The optimizer of the running training."""
        assert self._optimizer is not None
        return self._optimizer

    @torch.no_grad()
    def finish(self) -> Masks:
        """Make the network sparse for good: write the zeros and return the masks."""
        masks = self.select(self.weights, self.sparsity, None)
        self.write(masks)
        return masks

    @torch.no_grad()
    def write(self, masks: Masks) -> None:
        """Set the pruned weights to +0.0."""
        for name, weight in self.weights.items():
            weight.masked_fill_(~masks[name], 0.0)

    def clear_momentum(self) -> None:
        """Zero the moving averages of gradients; second moments and step counts stay."""
        for buffers in self.optimizer.state.values():
            for key in ("momentum_buffer", "exp_avg"):
                if isinstance(buffers.get(key), Tensor):
                    buffers[key].zero_()

    def group_of(self, weight: nn.Parameter) -> dict[str, Any]:
        """The optimizer's settings for this parameter."""
        for group in self.optimizer.param_groups:
            if any(parameter is weight for parameter in group["params"]):
                return group
        raise AssertionError("every prunable weight is trained")


class Effective(InTraining):
    """A method whose forward pass sees other weights than it stores.

    The effective weights are written into the parameters before the forward pass and the stored
    ones put back after the backward pass, where the chain rule is applied by hand. So the network
    needs no wrapping, and the optimizer only ever sees the stored weights.
    """

    def __init__(self, names: list[str], sparsity: float, select: Select) -> None:
        super().__init__(names, sparsity, select)
        self._stored: dict[str, Tensor] = {}

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """Return what the forward pass sees."""
        raise NotImplementedError

    def pull_back(self, name: str, stored: Tensor, gradient: Tensor) -> Tensor:
        """Return the gradient of the stored weight; straight-through unless overridden."""
        return gradient

    def prepare(self, step: int) -> None:
        """Act before the effective weights of this step are made."""

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Put the effective weights in."""
        self.prepare(step)
        for name, weight in self.weights.items():
            stored = weight.detach().clone()
            self._stored[name] = stored
            weight.copy_(self.effective(name, stored))

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Put the stored weights back and apply the chain rule."""
        for name, weight in self.weights.items():
            stored = self._stored.pop(name)
            weight.copy_(stored)
            if weight.grad is not None:
                weight.grad = self.pull_back(name, stored, weight.grad)

    def without_decay(self, extra: list[nn.Parameter]) -> None:
        """Add the method's own parameters to the optimizer, free of its weight decay."""
        self.optimizer.add_param_group({"params": extra, "weight_decay": 0.0})
