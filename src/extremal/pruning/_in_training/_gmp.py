"""GMP, gradual magnitude pruning: prune more every few epochs, along a cubic.

Source: Zhu and Gupta, arXiv:1710.01878.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from extremal.pruning._budget import gradual_sparsities
from extremal.pruning._masks import MaskEnforcer, Masks

from ._base import InTraining, Select


class GMP(InTraining):
    """Prune after epochs D, 2D, ..., nD; the momentum is zeroed each time.

    Args:
        names: The prunable parameters.
        sparsity: At the end.
        select: The selector.
        epochs: E of the training.
        interval: D, epochs between prunings; E >= 2 D.
        allow_recovering: Choose anew among all weights, the pruned ones with the value they had
            when they were pruned; otherwise masks only grow.
    """

    def __init__(
        self,
        names: list[str],
        sparsity: float,
        select: Select,
        epochs: int,
        interval: int = 1,
        allow_recovering: bool = False,
    ) -> None:
        super().__init__(names, sparsity, select)
        self.targets = gradual_sparsities(sparsity, epochs, interval)
        self.allow_recovering = allow_recovering
        self._masks: Masks | None = None
        self._aside: dict[str, Tensor] = {}  # pruned values, where they may come back
        self._model: nn.Module | None = None
        self._enforcer: MaskEnforcer | None = None

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take hold of the model; masks begin dense."""
        super().start(model, optimizer)
        self._model = model

    def after_backward(self, step: int) -> None:
        """Mask gradients."""
        if self._enforcer is not None:
            self._enforcer.mask_gradients()

    def after_step(self, step: int) -> None:
        """Mask weights and optimizer state."""
        if self._enforcer is not None:
            self._enforcer.mask_weights()

    def after_epoch(self, epoch: int) -> None:
        """Prune when the schedule says so; epochs count from 0."""
        target = self.targets.get(epoch + 1)
        if target is not None:
            self.prune_to(target)

    @torch.no_grad()
    def prune_to(self, sparsity: float) -> None:
        """Prune to this sparsity now."""
        if self.allow_recovering and self._masks is not None:
            for name, weight in self.weights.items():
                weight.copy_(torch.where(self._masks[name], weight, self._aside[name]))
        self._hold(
            self.select(self.weights, sparsity, None if self.allow_recovering else self._masks)
        )
        if self.allow_recovering:
            self._aside = {name: weight.detach().clone() for name, weight in self.weights.items()}
        self.clear_momentum()
        self.after_step(0)

    def finish(self) -> Masks:
        """Return the masks of the last pruning."""
        assert self._masks is not None
        self.write(self._masks)
        return self._masks

    def state(self) -> dict[str, Tensor]:
        """The masks, and what was set aside."""
        masks = {} if self._masks is None else {f"mask.{k}": m for k, m in self._masks.items()}
        return masks | {f"aside.{name}": value for name, value in self._aside.items()}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take masks and values back."""
        parts = {
            prefix: {
                name: state[prefix + name].to(weight.device)
                for name, weight in self.weights.items()
                if prefix + name in state
            }
            for prefix in ("mask.", "aside.")
        }
        self._aside = parts["aside."]
        if parts["mask."]:
            self._hold(Masks(parts["mask."]))

    def _hold(self, masks: Masks) -> None:
        assert self._model is not None
        self._masks = masks
        self._enforcer = MaskEnforcer(self._model, masks, self.optimizer)
