"""Where a method takes part in the loop."""

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn
from torch.optim import Optimizer


class Hooks:
    """Does nothing; override what is needed.

    Steps and epochs count from 0 over the whole training. The order within a step is
    `before_step`, forward, `penalty`, backward, `after_backward`, clipping, the optimizer,
    `after_step`.
    """

    values_only: ClassVar[bool] = False
    """Whether it changes nothing but the values of parameters, gradients and the optimizer's state.
    A step that is recorded as a CUDA graph reads those anew; with other hooks it is refused."""

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take hold of the model, already on its device, and of the optimizer."""

    def before_step(self, step: int) -> None:
        """Act before the forward pass; the learning rate of the step is set."""

    def penalty(self) -> Tensor | None:
        """Return what to add to the loss."""
        return None

    def after_backward(self, step: int) -> None:
        """Act on gradients: unscaled, averaged over processes, not yet clipped."""

    def after_step(self, step: int) -> None:
        """Act on weights that were just updated."""

    def epoch_loss(self, epoch: int, loss: float) -> None:
        """Take the mean training loss of an epoch; called before `after_epoch`."""

    def after_epoch(self, epoch: int) -> None:
        """Act after the last step of an epoch, before its checkpoint."""

    def state(self) -> dict[str, Tensor]:
        """Return what a checkpoint must keep."""
        return {}

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `state` returned; called after `start`."""
