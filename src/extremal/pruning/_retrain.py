"""The hook that keeps a retraining inside its masks."""

from typing import Any

from torch import nn
from torch.optim import Optimizer

from extremal.training import Hooks

from ._masks import MaskEnforcer, Masks


class KeepMasks(Hooks):
    """Pruned weights, their gradients and their optimizer state stay zero.

    Args:
        masks: Fixed during this training.
        inherit: The hook of the phase before, whose optimizer state goes on (None: fresh).
    """

    values_only = True

    def __init__(self, masks: Masks, inherit: "KeepMasks | None" = None) -> None:
        self._masks = masks
        self._inherit = inherit
        self._optimizer: Optimizer | None = None
        self._enforcer: MaskEnforcer | None = None

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take hold of the parameters and zero what is pruned."""
        if self._inherit is not None:
            optimizer.load_state_dict(self._inherit.optimizer_state())
        self._optimizer = optimizer
        self._enforcer = MaskEnforcer(model, self._masks, optimizer)
        self._enforcer.mask_weights()
        self._inherit = None

    def optimizer_state(self) -> dict[str, Any]:
        """The state at the end of this phase, for the next one."""
        assert self._optimizer is not None
        return self._optimizer.state_dict()

    def after_backward(self, step: int) -> None:
        """Mask gradients before they are clipped."""
        assert self._enforcer is not None
        self._enforcer.mask_gradients()

    def after_step(self, step: int) -> None:
        """Mask weights and optimizer state."""
        assert self._enforcer is not None
        self._enforcer.mask_weights()
