"""Auto-balanced filter pruning: shrink what will go, grow what will stay, together zero.

Source: Ding, Ding, Han, Tang, AAAI 2018. Notation: M_j the L1 norm of filter F_j, t the smallest
of a layer's filters to keep, c_j = 1 + log(t / M_j) for M_j < t and -1 - log(M_j / t) else,
S = sum c_j |F_j|^2 over those to prune (P) and to keep (R). The penalty is a S_P + b S_R with
b = -a S_P / S_R over all layers, so that its value is 0 while its gradient moves norm from one to
the other. The factors c_j are taken from the source's description, not from its code.
"""

import math

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.training._hooks import Hooks

from ._weights import convolutions


class ABFP(Hooks):
    """Balance the norms of filters; the share to prune must be known."""

    values_only = True

    def __init__(self, strength: float, ratio: float) -> None:
        """Take the weight a and the share of filters that will go."""
        if not 0 < ratio < 1:
            raise ValueError(f"ratio={ratio}: abfp needs the share of filters to prune, in (0, 1).")
        self.strength, self.ratio = strength, ratio

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Find the convolutions."""
        del optimizer
        self._weights = list(convolutions(model).values())

    def penalty(self) -> Tensor:
        """The penalty of the present weights."""
        return abfp_penalty(self._weights, self.strength, self.ratio)


def abfp_penalty(weights: list[Tensor], strength: float, ratio: float) -> Tensor:
    """Return a S_P + b S_R; its value is 0, its gradient is not."""
    pruned = kept = weights[0].new_zeros(())
    for weight in weights:
        rows = weight.flatten(1)
        factors, goes = balance(rows.detach().abs().sum(1), ratio)
        terms = factors * rows.square().sum(1)
        pruned = pruned + terms[goes].sum()
        kept = kept + terms[~goes].sum()
    share = torch.where(kept.detach() != 0, pruned.detach() / kept.detach(), 0.0)
    return strength * (pruned - share * kept)


def balance(magnitudes: Tensor, ratio: float) -> tuple[Tensor, Tensor]:
    """Return the factors c_j, and which filters are to be pruned.

    Example:
        >>> factors, goes = balance(torch.tensor([1.0, 2.0, 4.0]), 1 / 3)
        >>> [round(c, 4) for c in factors.tolist()], goes.tolist()
        ([1.6931, -1.0, -1.6931], [True, False, False])
    """
    count = min(math.floor(ratio * len(magnitudes) + 1e-9), len(magnitudes) - 1)
    goes = torch.zeros(len(magnitudes), dtype=torch.bool, device=magnitudes.device)
    goes[magnitudes.argsort(stable=True)[:count]] = True
    logs = magnitudes.clamp_min(1e-12).log()
    apart = logs[~goes].min() - logs
    return torch.where(goes, 1 + apart, apart - 1), goes
