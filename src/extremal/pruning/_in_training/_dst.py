"""DST, dynamic sparse training: a learnable threshold for every output unit or filter.

The mask is 1[|w| > t]; its derivative is replaced by a long-tailed triangle. The sparsity is an
outcome. Source: Liu, Xu, Shi, Cheung, So, arXiv:2005.06870.
Differs from the published code: weight decay acts once; thresholds have none.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.pruning._masks import Masks

from ._base import Effective, Select

DENSITY_FLOOR = 0.01


def surrogate_slope(x: Tensor) -> Tensor:
    """The stand-in for the derivative of the step at x = |w| - t.

    >>> surrogate_slope(torch.tensor([0.0, 0.2, 0.5, 1.01])).tolist()
    [2.0, 1.2000000476837158, 0.4000000059604645, 0.0]
    """
    distance = x.abs()
    return torch.where(distance <= 0.4, 2 - 4 * distance, torch.where(distance <= 1, 0.4, 0.0))


class DST(Effective):
    """Learn thresholds under the penalty sum of exp(-t).

    Args:
        names: The prunable parameters.
        sparsity: Not used; it is an outcome of `penalty`.
        select: Not used.
        penalty: Of the sum of exp(-t).
    """

    outcome = True

    def __init__(
        self, names: list[str], sparsity: float, select: Select, penalty: float = 1e-5
    ) -> None:
        super().__init__(names, sparsity, select)
        self.factor = penalty
        self.t: dict[str, nn.Parameter] = {}

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Add the thresholds to the optimizer, without weight decay."""
        super().start(model, optimizer)
        self.t = {
            name: nn.Parameter(weight.new_zeros(weight.shape[0]))
            for name, weight in self.weights.items()
        }
        self.without_decay(list(self.t.values()))

    @torch.no_grad()
    def prepare(self, step: int) -> None:
        """Reset the thresholds of a layer of which next to nothing is left."""
        for name, weight in self.weights.items():
            if float(self._mask(name, weight).double().mean()) <= DENSITY_FLOOR:
                self.t[name].zero_()

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """Masked weights."""
        return stored * self._mask(name, stored)

    def pull_back(self, name: str, stored: Tensor, gradient: Tensor) -> Tensor:
        """Through the mask and its surrogate; the gradient of t is set here too."""
        t = self.t[name]
        slope = surrogate_slope(stored.abs() - self._rows(name, stored))
        along = (gradient * stored * slope).reshape(len(t), -1).sum(1)
        t.grad = -along - self.factor * (-t.detach()).exp()
        return gradient * (self._mask(name, stored) + stored.abs() * slope)

    @torch.no_grad()
    def finish(self) -> Masks:
        """Keep what lies above its threshold."""
        masks = Masks({n: self._mask(n, w.detach()) & (w != 0) for n, w in self.weights.items()})
        self.write(masks)
        return masks

    def state(self) -> dict[str, Tensor]:
        """The thresholds."""
        return {name: t.detach() for name, t in self.t.items()}

    @torch.no_grad()
    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take the thresholds back."""
        for name, t in self.t.items():
            t.copy_(state[name])

    def _rows(self, name: str, stored: Tensor) -> Tensor:
        return self.t[name].detach().reshape(-1, *[1] * (stored.dim() - 1))

    def _mask(self, name: str, stored: Tensor) -> Tensor:
        return stored.abs() > self._rows(name, stored)
