"""Searches against a network: `Prospects` whose questions share the first layer of Arthur."""

from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import generator

from ._network import ArthurNet
from ._search import searched

ScoreLoss = Callable[[Float[Tensor, "b c"], Int[Tensor, " b"]], Float[Tensor, " b"]]
_ENTRIES = 1 << 24  # numbers in the largest hidden layer that is held at once: 64 MiB


class NetProspects:
    """Values of features under a loss of Arthur's scores, and a penalty a unit."""

    def __init__(
        self, arthur: ArthurNet, values: Float[Tensor, "b w"], labels: Int[Tensor, " b"],
        loss: ScoreLoss, units: Int[np.ndarray, " s"], penalty: Float[np.ndarray, " d"],
    ) -> None:  # fmt: skip
        """Remember rows and loss, and the units that are worth asking about."""
        self.arthur, self.values, self.labels, self.loss = arthur, values, labels, loss
        self.units, self.penalty = units, penalty
        self.step = max(1, _ENTRIES // (512 * max(1, len(values))))

    def added(self, masks: Bool[np.ndarray, "B d"]) -> Float[np.ndarray, "B d"]:
        """Return the value of each mask with each one unit besides; infinite for the others."""
        out = np.full(masks.shape, np.inf)
        shown = torch.from_numpy(masks.astype(np.float32)).to(self.values.device)
        for start in range(0, len(self.units), self.step):
            part = self.units[start : start + self.step]
            at = torch.from_numpy(part).to(self.values.device)
            out[:, part] = self._lost(lambda at=at: self.arthur.added(self.values, shown, at))
        return out + (masks @ self.penalty)[:, None] + self.penalty

    def under(self, masks: Bool[np.ndarray, "J d"]) -> Float[np.ndarray, "B J"]:
        """Return the value of each row under each mask."""
        parts: list[np.ndarray] = []
        for start in range(0, len(masks), self.step):
            some = torch.from_numpy(masks[start : start + self.step]).to(self.values.device)
            parts.append(self._lost(lambda some=some: self.arthur.cross(self.values, some)))
        return np.concatenate(parts, axis=1) + masks @ self.penalty

    def _lost(self, scores: Callable[[], Tensor]) -> Float[np.ndarray, "b j"]:
        with torch.no_grad():
            z = scores()
            labels = self.labels.repeat_interleave(z.shape[1])
            return self.loss(z.flatten(0, 1), labels).unflatten(0, z.shape[:2]).cpu().numpy()


def searched_masks(
    how: str, arthur: ArthurNet, values: Float[Tensor, "b w"], labels: Int[Tensor, " b"],
    loss: ScoreLoss, k: int, allowed: Bool[Tensor, " d"], penalty: Float[Tensor, " d"],
    exchanges: int, draw: torch.Generator,
) -> Bool[Tensor, "b d"]:  # fmt: skip
    """Search masks of k units that make a loss of Arthur's scores small.

    Args:
        how: One of `SEARCHES`.
        arthur: In evaluation mode.
        values: Of the rows.
        labels: As the loss takes them.
        loss: From scores and labels to one number a row.
        k: Units shown.
        allowed: Units that may be shown.
        penalty: Added for each shown unit.
        exchanges: At most so many, of `swaps`.
        draw: Breaks ties.

    Cost: greedy k d and swaps k d an exchange through all layers but the first; brute force all
    C(d, k) sets.
    """
    may = allowed.cpu().numpy()
    seed = int(torch.randint(2**31, (1,), generator=draw))
    prospects = NetProspects(
        arthur, values, labels, loss, np.flatnonzero(may), penalty.cpu().double().numpy()
    )
    found = searched(how, prospects, len(values), k, may, generator(seed, how), exchanges)
    return torch.from_numpy(found).to(allowed.device)
