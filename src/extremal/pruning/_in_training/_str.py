"""STR, soft threshold reparametrisation: w_eff = sign(w) relu(|w| - sigmoid(tau)).

One learnable tau a layer, trained under the optimizer's weight decay; the sparsity is an outcome.
Source: Kusupati et al., arXiv:2002.03231.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.pruning._masks import Masks

from ._base import Effective, Select


class STR(Effective):
    """The final weights include the shrinkage.

    Args:
        names: The prunable parameters.
        sparsity: Not used; it is an outcome of `initial` and the weight decay.
        select: Not used.
        initial: tau at the start; the threshold is sigmoid(tau).
    """

    outcome = True

    def __init__(
        self, names: list[str], sparsity: float, select: Select, initial: float = -5.0
    ) -> None:
        super().__init__(names, sparsity, select)
        self.initial = initial
        self.tau: dict[str, nn.Parameter] = {}

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Add the thresholds to the optimizer, with its weight decay."""
        super().start(model, optimizer)
        self.tau = {
            name: nn.Parameter(weight.new_tensor(self.initial))
            for name, weight in self.weights.items()
        }
        optimizer.add_param_group({"params": list(self.tau.values())})

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """Shrink towards zero."""
        return stored.sign() * (stored.abs() - self.tau[name].detach().sigmoid()).clamp_min(0.0)

    def pull_back(self, name: str, stored: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of w where it survives; that of tau is set here too."""
        tau = self.tau[name]
        threshold = tau.detach().sigmoid()
        through = gradient * (stored.abs() > threshold)
        tau.grad = -(through * stored.sign()).sum() * threshold * (1 - threshold)
        return through

    @torch.no_grad()
    def finish(self) -> Masks:
        """Write the effective weights."""
        for name, weight in self.weights.items():
            weight.copy_(self.effective(name, weight.detach().clone()))
        masks = Masks.of_zeros(self.weights)
        self.write(masks)
        return masks

    def state(self) -> dict[str, Tensor]:
        """The thresholds."""
        return {name: tau.detach() for name, tau in self.tau.items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the thresholds back."""
        for name, tau in self.tau.items():
            tau.copy_(state[name])
