"""Frank-Wolfe optimizers with better gradient estimates, for networks.

Each is `SFW` (or `AdaSFW`, which adds its metric) with another direction d in place of the
gradient. Those that compare
gradients at two points call the closure twice a step, with the same random state, so that both see
the same batch, augmentation and dropout mask; count gradients, not epochs, when comparing.

Notation: t counts steps from 0, g(x) is the closure's gradient at x, w the snapshot.
Source: the variants as compared in arXiv:2009.14114.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ._adaptive import AdaSFW
from ._errors import FrankWolfeError
from ._optimizer import RegionOptimizer
from ._sfw import SFW


class _Estimating(RegionOptimizer):
    """What the variants share: the closure at two points. A step class stands behind it."""

    def __init__(self, params: Any, lr: float | int = 0.1, **options: Any) -> None:
        """Take groups; options as for the step class."""
        self.evaluations = 0
        super().__init__(params, lr, **options)  # pyright: ignore[reportArgumentType] # the step class takes lr

    def step(self, closure: Callable[[], Any] | None = None) -> Any:  # type: ignore[override]
        """Make one step.

        Args:
            closure: Clears the gradients, computes the loss of this step's batch, calls backward
                and returns the loss; it may be called twice.
        """
        if closure is None:
            raise ValueError(
                f"{type(self).__name__} needs gradients at two points of one batch; pass a closure "
                "that computes the loss and calls backward."
            )
        reference = self._reference()
        before = _random_state()
        loss = self._evaluate(closure)
        now = self._gradients()
        there: dict[Tensor, Tensor] = {}
        if reference is not None:
            after = _random_state()
            _restore(before)
            with torch.no_grad():
                here = {p: p.clone() for p in reference}
                for p, old in reference.items():
                    p.copy_(old)
            self._evaluate(closure)
            there = self._gradients()
            with torch.no_grad():
                for p, x in here.items():
                    p.copy_(x)
            _restore(after)
        with torch.no_grad():
            for p, g in now.items():
                p.grad = self._estimate(p, g, there.get(p))
                self._keep(p)
        super().step()
        return loss

    def _evaluate(self, closure: Callable[[], Any]) -> Any:
        self.evaluations += 1
        with torch.enable_grad():
            return closure()

    def _constrained(self) -> list[Tensor]:
        return [p for g in self.param_groups if g["region"] is not None for p in g["params"]]

    def _gradients(self) -> dict[Tensor, Tensor]:
        return {p: p.grad.clone() for p in self._constrained() if p.grad is not None}

    def _reference(self) -> dict[Tensor, Tensor] | None:
        """Where the second gradient is taken; None for no second one."""
        kept = {
            p: self.state[p]["reference"]
            for p in self._constrained()
            if "reference" in self.state[p]
        }
        return kept or None

    def _estimate(self, p: Tensor, g: Tensor, there: Tensor | None) -> Tensor:
        raise NotImplementedError

    def _keep(self, p: Tensor) -> None:
        """Remember what the next step compares with."""
        self.state[p]["reference"] = p.detach().clone()


class _Plain(SFW):
    """`SFW` with the given direction: no average, so no momentum options."""

    def __init__(self, params: Any, lr: float | int = 0.1, **options: Any) -> None:
        """Take groups; options as for `SFW`, without the momentum options."""
        super().__init__(params, lr, momentum=0.0, dampening=0.0, **options)


class _Recursive(_Estimating, _Plain):
    """d = g(x) + (1 - rho) (d_before - g(x_before))."""

    def _rho(self) -> float:
        raise NotImplementedError

    def _estimate(self, p: Tensor, g: Tensor, there: Tensor | None) -> Tensor:
        state = self.state[p]
        if there is None or "direction" not in state:
            state["direction"] = g.clone()
        else:
            state["direction"] = g + (1 - self._rho()) * (state["direction"] - there)
        return state["direction"].clone()


class OneSFW(_Recursive):
    """1-SFW: rho = 1 / (t + 1)."""

    def _rho(self) -> float:
        return 1.0 / (self._steps + 1.0)


class ORGFW(_Recursive):
    """ORGFW: rho = 1 / (t + 1)^(2/3)."""

    def _rho(self) -> float:
        return 1.0 / (self._steps + 1.0) ** (2 / 3)


class SPIDERFW(_Recursive):
    """SPIDER-FW: rho = 0 between snapshots; call `snapshot` once an epoch."""

    def _rho(self) -> float:
        return 0.0

    def snapshot(self, closure: Callable[[], Any]) -> Any:
        """Start again from a full gradient; see `SVRF.snapshot`."""
        return _take_snapshot(self, closure, "direction")


class _FromSnapshot(_Estimating):
    """d = grad f(w) + g(x) - g(w), with a snapshot w."""

    def snapshot(self, closure: Callable[[], Any]) -> Any:
        """Store the weights and the full gradient there.

        Args:
            closure: Clears the gradients, leaves the mean gradient over all data in `.grad`, and
                returns the loss.
        """
        return _take_snapshot(self, closure, "whole")

    def _estimate(self, p: Tensor, g: Tensor, there: Tensor | None) -> Tensor:
        if there is None:
            raise FrankWolfeError(
                f"{type(self).__name__} has no snapshot yet; call snapshot(closure) first."
            )
        return self.state[p]["whole"] + g - there

    def _keep(self, p: Tensor) -> None:
        """Keep the snapshot where it is."""


class SVRF(_FromSnapshot, _Plain):
    """SVRF: d = grad f(w) + g(x) - g(w), with a snapshot w; call `snapshot` once an epoch."""


class AdaSVRF(_FromSnapshot, AdaSFW):
    """AdaSFW's metric over SVRF's direction; options as for `AdaSFW`.

    The metric sums the squares of d, which is near zero close to an optimum, not of the gradients.
    """


class MSFW(_Plain):
    """Momentum SFW: m <- (1 - rho) m + rho g with rho = 4 / (t + 9)^(2/3); no closure needed."""

    def _region_step(self, group: dict[str, Any], places: list[int], grads: list[Tensor]) -> None:
        rho = min(1.0, 4.0 / (self._steps + 9.0) ** (2 / 3))
        group["momentum"], group["dampening"] = 1 - rho, 1 - rho
        super()._region_step(group, places, grads)


def _take_snapshot(optimizer: _Estimating, closure: Callable[[], Any], name: str) -> Any:
    loss = optimizer._evaluate(closure)
    with torch.no_grad():
        for p, g in optimizer._gradients().items():
            optimizer.state[p][name] = g
            optimizer.state[p]["reference"] = p.detach().clone()
    return loss


def _random_state() -> list[Tensor]:
    states = [torch.get_rng_state()]
    if torch.cuda.is_available():
        states += torch.cuda.get_rng_state_all()
    return states


def _restore(states: list[Tensor]) -> None:
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state_all(states[1:])
