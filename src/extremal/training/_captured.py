"""A step's forward and backward pass as one CUDA graph.

A small network on a GPU is bound by launches: a step of ResNet-20 is some 400 kernels of a few
microseconds each, which Python cannot start as fast as they run. A graph is recorded once and
started whole (`benchmarks/training/graph_speed.py` measures what that gains). It reads weights,
statistics and batch where they lay when it was recorded, so hooks may change their values and
gradients, but nothing else: they say so by `Hooks.values_only`.

The first steps run eagerly, which makes what is made lazily (workspaces, plans); a batch of another
size than the first one does too. Everything runs on one stream of its own: torch refuses to
record gradients that were accumulated on another before.
"""

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from ._errors import TrainingError

_EAGER = 3  # steps before the recording


class CapturedStep:
    """Replays the forward and backward pass of a training step."""

    def __init__(
        self, model: nn.Module, step: Callable[[nn.Module, Any], Tensor], precision: Any
    ) -> None:
        """Take the module, the function (model, batch) -> mean loss, and autocast's type."""
        self._model, self._step, self._precision = model, step, precision
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._seen = 0
        self._shapes: list[torch.Size] = []
        self._graph: torch.cuda.CUDAGraph | None = None

    def replayed(self, batch: Any) -> Tensor | None:
        """Set every gradient and return the loss; None where the step is to run eagerly.

        Raises:
            TrainingError: The step does something that no graph can hold.
        """
        inputs = _tensors(batch)
        shapes = [t.shape for t in inputs]
        self._shapes = self._shapes or shapes
        self._seen += 1
        if self._seen <= _EAGER or shapes != self._shapes:
            return None
        # Once; and again where something put other tensors in the place of the parameters.
        if self._graph is None or self._places != self._addresses():
            self._record(inputs)
        assert self._graph is not None
        for kept, new in zip(self._inputs, inputs, strict=True):
            kept.copy_(new)
        self._graph.replay()
        for parameter, gradient in zip(self._parameters, self._gradients, strict=True):
            parameter.grad = gradient
        return self._loss.clone()

    def _addresses(self) -> list[int]:
        return [p.data_ptr() for p in self._parameters]

    def _record(self, inputs: Sequence[Tensor]) -> None:
        self._inputs = [t.clone() for t in inputs]
        self._places = self._addresses()
        for parameter in self._parameters:
            parameter.grad = None  # then the graph writes gradients instead of adding to them
        graph = torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=torch.cuda.current_stream()):
                with torch.autocast("cuda", self._precision, enabled=self._precision is not None):
                    loss = self._step(self._model, tuple(self._inputs))
                loss.backward()
        except RuntimeError as error:
            reason = str(error).strip().partition("\n")[0]
            raise TrainingError(
                f"This training step cannot be recorded as a CUDA graph ({reason}): it waits for "
                "the GPU, or what it does depends on values. Train with graph=False."
            ) from error
        self._graph, self._loss = graph, loss.detach()
        self._gradients = [p.grad for p in self._parameters]


def _tensors(batch: Any) -> list[Tensor]:
    if isinstance(batch, list | tuple):
        parts = list(cast("Sequence[Any]", batch))
        if parts and all(isinstance(part, Tensor) for part in parts):
            return cast("list[Tensor]", parts)
    raise TrainingError(
        f"graph=True records steps on (inputs, labels), and a batch is a {type(batch).__name__} "
        "of something else. Train with graph=False."
    )
