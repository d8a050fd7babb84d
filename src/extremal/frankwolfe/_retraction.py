"""Learning rates that follow the loss: retract when it rises, grow slowly while it falls."""

from collections import deque
from typing import Any


class LossRetraction:
    """Multiply learning rates by what two moving averages of the epoch losses say.

    Once both averages are full: if the one over `close` epochs is above the one over `far`, the
    rates are multiplied by 1 - factor; if it is below, divided by 1 - factor growth. They stay in
    [low, high]. Source: the schedule of arXiv:2010.07243's code.

    Args:
        optimizer: Any with `param_groups`.
        factor: In (0, 1).
        growth: In [0, 1].
        close: Epochs of the short average.
        far: Epochs of the long one.
        low: Smallest rate.
        high: Largest rate.
    """

    def __init__(
        self,
        optimizer: Any,
        *,
        factor: float = 0.3,
        growth: float = 0.2,
        close: int = 5,
        far: int = 10,
        low: float = 1e-5,
        high: float = 1.0,
    ) -> None:
        """See the class."""
        if not (0 < factor < 1 and 0 <= growth <= 1 and 1 <= close < far and 0 < low <= high):
            raise ValueError(
                f"factor={factor}, growth={growth}, close={close}, far={far}, low={low}, "
                f"high={high}: choose 0 < factor < 1, 0 <= growth <= 1, 1 <= close < far and "
                "0 < low <= high."
            )
        self.optimizer = optimizer
        self.factor, self.growth, self.low, self.high = factor, growth, low, high
        self.close = close
        self.losses: deque[float] = deque(maxlen=far)

    def step(self, loss: float | int) -> None:
        """Take the mean training loss of an epoch that has ended."""
        self.losses.append(float(loss))
        if len(self.losses) < (self.losses.maxlen or 0):
            return
        recent = list(self.losses)
        near = sum(recent[-self.close :]) / self.close
        whole = sum(recent) / len(recent)
        change = 1.0
        if near > whole:
            change = 1.0 - self.factor
        elif near < whole:
            change = 1.0 / (1.0 - self.factor * self.growth)
        for group in self.optimizer.param_groups:
            group["lr"] = min(self.high, max(self.low, group["lr"] * change))

    def state_dict(self) -> dict[str, Any]:
        """Return the losses seen."""
        return {"losses": list(self.losses)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take them back."""
        self.losses.clear()
        self.losses.extend(state["losses"])
