"""DPF, dynamic pruning with feedback: masked weights forward, the stored dense ones updated.

Source: Lin, Stich, Barba, Dmitriev, Jaggi, arXiv:2006.07253.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from extremal.pruning._budget import gradual_sparsities
from extremal.pruning._masks import Masks

from ._base import Effective, Select


class DPF(Effective):
    """Masks are chosen anew every 16 iterations, at the sparsity of GMP's cubic.

    Args:
        names: The prunable parameters.
        sparsity: At the end.
        select: The selector.
        epochs: E of the training.
        interval: Epochs between rises of the target.
        refresh: Iterations between choices of the mask.
    """

    def __init__(
        self,
        names: list[str],
        sparsity: float,
        select: Select,
        epochs: int,
        interval: int = 1,
        refresh: int = 16,
    ) -> None:
        super().__init__(names, sparsity, select)
        self.targets = gradual_sparsities(sparsity, epochs, interval)
        self.refresh = refresh
        self._target = 0.0
        self._masks: Masks | None = None

    def prepare(self, step: int) -> None:
        """Choose the masks anew when they are due."""
        if self._target and (self._masks is None or step % self.refresh == 0):
            self._masks = self.select(self.weights, self._target, None)

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """Masked weights; the gradient goes straight through to the dense ones."""
        return stored if self._masks is None else stored * self._masks[name]

    def after_epoch(self, epoch: int) -> None:
        """Raise the target; epochs count from 0."""
        self._target = self.targets.get(epoch + 1, self._target)

    def state(self) -> dict[str, Tensor]:
        """Target and masks."""
        masks = {} if self._masks is None else dict(self._masks)
        return masks | {"target": torch.tensor(self._target, dtype=torch.float64)}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take target and masks back."""
        self._target = float(state["target"])
        if len(state) > 1:
            self._masks = Masks({n: state[n].to(w.device) for n, w in self.weights.items()})
