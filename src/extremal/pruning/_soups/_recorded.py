"""A whole step of all members as one CUDA graph: forward, backward and update.

A small network on a GPU is bound by launches, and `vmap` doubles what Python spends on each;
recorded, a step of all members costs one launch. The graph reads its batch and rates from fixed
places, and weights, statistics and momentum where they lay when it was recorded.

Members can be stacked, so that one kernel does the work of all, or stand side by side as branches
of the graph, whose small kernels the GPU runs at the same time. Stacked convolutions are grouped
ones, for which libraries have slower kernels.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

_EAGER = 3  # steps before the recording, which make what is made lazily


class Recorded:
    """Calls `step(x, y, rates)`, eagerly at first and for batches of another size, else replays."""

    def __init__(self, step: Callable[[Tensor, Tensor, Tensor], Tensor]) -> None:
        """Take the step; all that it changes must be changed in place."""
        self._step = step
        self._seen = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._stream = torch.cuda.Stream()

    def __call__(self, x: Tensor, y: Tensor, rates: Tensor) -> Tensor:
        """Make one step and return the losses of the members."""
        here = torch.cuda.current_stream()
        self._stream.wait_stream(here)
        with torch.cuda.stream(self._stream):
            losses = self._on_stream(x, y, rates)
        here.wait_stream(self._stream)
        return losses

    def _on_stream(self, x: Tensor, y: Tensor, rates: Tensor) -> Tensor:
        self._seen += 1
        if self._seen <= _EAGER:
            return self._step(x, y, rates)
        if self._graph is None:
            self._inputs = [t.clone() for t in (x, y, rates)]
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph, stream=self._stream):
                self._losses = self._step(*self._inputs)
            self._graph = graph
        elif x.shape != self._inputs[0].shape:
            return self._step(x, y, rates)
        for kept, new in zip(self._inputs, (x, y, rates), strict=True):
            kept.copy_(new)
        self._graph.replay()
        return self._losses.clone()


class Branches:
    """Losses and gradients of all members, each on a stream of its own."""

    def __init__(
        self,
        objective: Callable[..., Tensor],
        params: dict[str, Tensor],
        buffers: dict[str, Tensor],
        precision: AbstractContextManager[Any],
    ) -> None:
        """Take the loss of (parameters, buffers, x, y) of one member, and the stacks of all."""
        self._objective, self._precision = objective, precision
        count = len(next(iter(params.values())))
        self._members = [
            (
                {n: p.detach()[j].requires_grad_(p.requires_grad) for n, p in params.items()},
                {n: b[j] for n, b in buffers.items()},
            )
            for j in range(count)
        ]
        self._streams = [torch.cuda.Stream() for _ in range(count)]
        self._trained = [n for n, p in params.items() if p.requires_grad]

    def __call__(self, x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return the loss of each member, and the stacked gradients."""
        here = torch.cuda.current_stream()
        losses: list[Tensor] = []
        found: list[tuple[Tensor | None, ...]] = []
        for (params, buffers), stream, one, two in zip(
            self._members, self._streams, x, y, strict=True
        ):
            stream.wait_stream(here)
            with torch.cuda.stream(stream):
                with self._precision:
                    loss = self._objective(params, buffers, one, two)
                wanted = [params[n] for n in self._trained]
                found.append(torch.autograd.grad(loss, wanted, allow_unused=True))
                losses.append(loss.detach())
        for stream in self._streams:
            here.wait_stream(stream)
        gradients: dict[str, Tensor] = {}
        for name, parts in zip(self._trained, zip(*found, strict=True), strict=True):
            given = [part for part in parts if part is not None]
            if given:
                gradients[name] = torch.stack(given)
        return torch.stack(losses), gradients
