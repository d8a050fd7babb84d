"""What SFW-pruning adds to Frank-Wolfe over k-sparse polytopes: its schedule and its start.

Source: Miao et al., ICLR 2022. The rate is divided by 10 after each third of the training; from
epoch 21 on, every 5 epochs, it is lowered by 0.7 if the mean loss of the last 5 epochs exceeds
that of the last 10, else raised by 1.06. SFW-Init learns one positive factor for each parameter
tensor, so that one Frank-Wolfe step lowers the loss as much as it can.
Differs from it: the vertex is held fixed while the factor is learned (it is piecewise constant).
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.functional import cross_entropy
from torch.optim import Optimizer

from extremal.lab import progress

from ._hooks import Hooks

_FIRST, _EVERY = 20, 5


class AdaptiveRate(Hooks):
    """Multiplies the learning rate by a factor that follows the losses of the epochs."""

    values_only = True

    def __init__(self) -> None:
        """Start with the factor 1."""
        self._losses: list[float] = []
        self.factors = [1.0]

    def start(self, model: nn.Module, optimizer: Optimizer) -> None:
        """Take hold of the optimizer."""
        del model
        self._optimizer = optimizer

    def before_step(self, step: int) -> None:
        """Scale the rate that the schedule set."""
        del step
        for group in self._optimizer.param_groups:
            group["lr"] *= self.factors[-1]

    def epoch_loss(self, epoch: int, loss: float) -> None:
        """Keep the mean loss, and change the factor every fifth epoch."""
        self._losses.append(loss)
        self.factors.append(self.factors[-1] * next_factor(epoch + 1, self._losses))

    def state(self) -> dict[str, Tensor]:
        """Losses and factors."""
        return {
            "losses": torch.tensor(self._losses, dtype=torch.float64),
            "factors": torch.tensor(self.factors, dtype=torch.float64),
        }

    def load_state(self, state: Mapping[str, Tensor]) -> None:
        """Take them back."""
        self._losses, self.factors = state["losses"].tolist(), state["factors"].tolist()


def next_factor(done: int, losses: list[float]) -> float:
    """Return what the rate is multiplied by after `done` epochs.

    Example:
        >>> next_factor(25, [1.0] * 20 + [2.0] * 5), next_factor(25, [1.0] * 25)
        (0.7, 1.06)
    """
    if done <= _FIRST or done % _EVERY:
        return 1.0
    last, longer = losses[-5:], losses[-10:]
    return 0.7 if sum(last) / len(last) > sum(longer) / len(longer) else 1.06


def sfw_init_(
    model: nn.Module,
    batches: Any,
    region: Any,
    *,
    iterations: int = 390,
    lr: float = 1e-3,
    rate: float = 1.0,
) -> dict[str, float]:
    """Scale each parameter tensor so that one Frank-Wolfe step helps most, in place.

    Args:
        model: A new network.
        batches: Yields (inputs, labels), over and over.
        region: Of the weights (see `frankwolfe`).
        iterations: Steps of Adam on the factors, each with two batches.
        lr: Their learning rate; gradients are clipped at 1.
        rate: gamma, the rate of the step that is looked ahead.

    Returns:
        The factor of each tensor, at least 0.01 (0 for biases).
    """
    parameters = {n: p for n, p in model.named_parameters() if p.requires_grad}
    least = {n: 0.0 if n.endswith("bias") else 0.01 for n in parameters}
    scales = {n: torch.ones((), device=p.device, requires_grad=True) for n, p in parameters.items()}
    optimizer = torch.optim.Adam(scales.values(), lr=lr)
    sized = {
        n: region.sized(tuple(p.shape) or (1,), float(p.detach().norm()) or None)
        for n, p in parameters.items()
        if p.ndim > 1
    }
    buffers = {n: b.clone() for n, b in model.named_buffers()}  # statistics are not to follow
    model.train()
    with progress(iterations, "SFW-Init") as bar:
        for _ in range(iterations):
            values = {n: parameters[n].detach() * scales[n] for n in parameters}
            inputs, labels = next(batches)
            loss = cross_entropy(
                functional_call(model, {**values, **_copies(buffers)}, inputs), labels
            )
            grads = dict(
                zip(
                    values,
                    torch.autograd.grad(loss, list(values.values()), create_graph=True),
                    strict=True,
                )
            )
            ahead = {n: _ahead(v, grads[n], sized.get(n), rate) for n, v in values.items()}
            inputs, labels = next(batches)
            after = cross_entropy(
                functional_call(model, {**ahead, **_copies(buffers)}, inputs), labels
            )
            optimizer.zero_grad()
            (after / rate).backward()
            nn.utils.clip_grad_norm_(list(scales.values()), 1.0)
            optimizer.step()
            with torch.no_grad():
                for name, scale in scales.items():
                    scale.clamp_(min=least[name])
            bar.advance()
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.mul_(scales[name])
    return {name: float(scale.detach()) for name, scale in scales.items()}


def _copies(buffers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: buffer.clone() for name, buffer in buffers.items()}


def _ahead(value: Tensor, grad: Tensor, region: Any, rate: float) -> Tensor:
    """One Frank-Wolfe step with gradient rescaling; a gradient step where there is no region."""
    if region is None:
        return value - rate * grad
    with torch.no_grad():
        vertex = region.lmo(grad.detach())
        away = (vertex - value).norm().clamp_min(1e-12)
    length = (rate * grad.norm() / away).clamp(max=1.0)
    return value + length * (vertex - value)
