"""Learning and compression in turn: weights are drawn to low-rank ones that follow them.

Source: Idelbayev, Carreira-Perpiñán, CVPR 2020. Notation: w a weight read as (n, m), Theta its
low-rank companion, y multipliers, mu the strength of the bond, a the price of a number. The loss
grows by mu/2 |w - Theta - y/mu|^2. Every few epochs Theta becomes the truncation of w - y/mu to
the rank at which each kept singular value s pays: mu s^2 / 2 > a (n + m) c; then
y <- y - mu (w - Theta), and mu grows. c = 1 prices storage.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.training._hooks import Hooks

from ._weights import matrices


class LowRankLC(Hooks):
    """Draw every weight to a matrix of a rank that pays."""

    values_only = True

    def __init__(
        self, price: float, *, every: int = 1, mu: float = 1e-3, growth: float = 1.25
    ) -> None:
        """Take the price a, the epochs between compressions, mu at the start and its growth."""
        self.price, self.every, self.growth = price, every, growth
        self.mu = torch.tensor(mu, dtype=torch.float64)

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Compress the weights as they are."""
        del optimizer
        self._weights = matrices(model)
        with torch.no_grad():
            self._multipliers = {n: torch.zeros_like(w) for n, w in self._weights.items()}
            self._companions = {n: self._compressed(n) for n in self._weights}

    def penalty(self) -> Tensor:
        """The bond of the present weights to their companions."""
        mu = float(self.mu)
        bonds = [
            (w - self._companions[n] - self._multipliers[n] / mu).square().sum()
            for n, w in self._weights.items()
        ]
        return mu / 2 * torch.stack(bonds).sum()

    def after_epoch(self, epoch: int) -> None:
        """Compress, correct the multipliers, strengthen the bond."""
        if (epoch + 1) % self.every:
            return
        with torch.no_grad():
            for name, weight in self._weights.items():
                self._companions[name] = self._compressed(name)
                self._multipliers[name] -= float(self.mu) * (weight - self._companions[name])
        self.mu = self.mu * self.growth

    def ranks(self) -> dict[str, int]:
        """The rank of each companion."""
        return {n: int(torch.linalg.matrix_rank(t.flatten(1))) for n, t in self._companions.items()}

    def state(self) -> dict[str, Tensor]:
        """Companions, multipliers and mu."""
        kept = {f"companion.{n}": t for n, t in self._companions.items()}
        return kept | {f"multiplier.{n}": t for n, t in self._multipliers.items()} | {"mu": self.mu}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self.mu = state["mu"]
        for name, weight in self._weights.items():
            self._companions[name] = state[f"companion.{name}"].to(weight.device)
            self._multipliers[name] = state[f"multiplier.{name}"].to(weight.device)

    def _compressed(self, name: str) -> Tensor:
        weight = self._weights[name]
        mu = float(self.mu)
        drawn = (weight.detach() - self._multipliers[name] / mu).flatten(1)
        u, s, vt = torch.linalg.svd(drawn, full_matrices=False)
        rank = lc_rank(s, sum(drawn.shape), self.price, mu)
        return ((u[:, :rank] * s[:rank]) @ vt[:rank]).reshape(weight.shape)


def lc_rank(s: Tensor, sides: int, price: float, mu: float, each: float = 1.0) -> int:
    """How many singular values pay: mu s^2 / 2 > price * sides * each.

    Example:
        >>> lc_rank(torch.tensor([3.0, 2.0, 1.0]), 6, 0.5, 2.0)
        2
    """
    return int((mu * s.square() / 2 > price * sides * each).sum())
