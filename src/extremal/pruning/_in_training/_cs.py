"""CS, continuous sparsification: w_eff = w sigmoid(beta m) / sigmoid(m_0), beta rising.

One m a weight; in the end m > 0 is kept. The sparsity is an outcome.
Source: Savarese, Silva, Maire, arXiv:1912.04427.
Differs from the published code: weight decay acts once, as the term 1/2 decay ||w||^2 of the loss;
the optimizer's own is turned off for w and m.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.pruning._masks import Masks

from ._base import Effective, Select


def rising_beta(final: float, iteration: int, iterations: int) -> float:
    """Return beta = final^(iteration / iterations).

    >>> round(rising_beta(300.0, 50, 100), 4)
    17.3205
    """
    return final ** (iteration / iterations)


class CS(Effective):
    """Learn which weights to keep, by a sigmoid that hardens.

    Args:
        names: The prunable parameters.
        sparsity: Not used; it is an outcome of `initial` and `penalty`.
        select: Not used.
        iterations: T of the training.
        initial: m at the start, m_0; lower gives sparser networks.
        penalty: Of the sum of sigmoid(beta m).
        final_beta: beta at the end.
    """

    outcome = True

    def __init__(
        self,
        names: list[str],
        sparsity: float,
        select: Select,
        iterations: int,
        initial: float = 0.0,
        penalty: float = 1e-8,
        final_beta: float = 300.0,
    ) -> None:
        super().__init__(names, sparsity, select)
        self.iterations = iterations
        self.initial = initial
        self.factor = penalty
        self.final_beta = final_beta
        self.beta = 1.0
        self.decay = 0.0
        self.m: dict[str, nn.Parameter] = {}

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take the weights out of the optimizer's decay and add m, free of it."""
        super().start(model, optimizer)
        weights = list(self.weights.values())
        self.decay = float(self.group_of(weights[0])["weight_decay"])
        ours = {id(weight) for weight in weights}
        for group in optimizer.param_groups:
            group["params"] = [p for p in group["params"] if id(p) not in ours]
        optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]
        self.m = {
            name: nn.Parameter(torch.full_like(weight, self.initial))
            for name, weight in self.weights.items()
        }
        self.without_decay([*weights, *self.m.values()])

    def prepare(self, step: int) -> None:
        """Raise beta."""
        self.beta = rising_beta(self.final_beta, step, self.iterations)

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """The weight times its soft mask."""
        return stored * (self.beta * self.m[name].detach()).sigmoid() / self._scale()

    def pull_back(self, name: str, stored: Tensor, gradient: Tensor) -> Tensor:
        """The gradient of w with its decay; that of m with its penalty is set here too."""
        m = self.m[name]
        soft = (self.beta * m.detach()).sigmoid()
        slope = self.beta * soft * (1 - soft)
        m.grad = slope * (gradient * stored / self._scale() + self.factor)
        return gradient * soft / self._scale() + self.decay * stored

    @torch.no_grad()
    def finish(self) -> Masks:
        """Keep m > 0, scaled as in the forward pass."""
        masks = Masks({name: m.detach() > 0 for name, m in self.m.items()})
        for weight in self.weights.values():
            weight.div_(self._scale())
        self.write(masks)
        return masks

    def state(self) -> dict[str, Tensor]:
        """The mask variables."""
        return {name: m.detach() for name, m in self.m.items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the mask variables back."""
        for name, m in self.m.items():
            m.copy_(state[name])

    def _scale(self) -> float:
        return float(torch.tensor(self.initial, dtype=torch.float64).sigmoid())
