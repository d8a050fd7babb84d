"""A network as a graph of its operations, written down by `torch.fx`.

A shortcut that pads channels with zeros is written as a `ChannelMap`, which says for each output
channel which input channel it takes. Padding by numbers would pad at the wrong places once
channels are removed on either side; a map can lose any of them.
"""

import copy
from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import jaxtyping
import torch
from jaxtyping import Float
from torch import Tensor, fx, nn
from torch.fx.passes.shape_prop import ShapeProp
from torch.nn.functional import pad

from ._errors import TrainingError
from ._modes import device_of, modes_kept


class ChannelMap(nn.Module):
    """Take channels by number; a channel without a source is zero."""

    source: Tensor

    def __init__(self, source: Tensor, in_channels: int) -> None:
        """Take the source of each output channel, -1 for none, and the channels before."""
        super().__init__()
        self.in_channels = in_channels
        self.register_buffer("source", source.long())

    def forward(self, x: Float[Tensor, "n c h w"]) -> Float[Tensor, "n d h w"]:
        """Return the chosen channels."""
        # One channel of zeros goes last, where -1 points to after the remainder below.
        padded = pad(x, (0, 0, 0, 0, 0, 1))
        return padded.index_select(1, self.source.remainder(self.in_channels + 1))


class _Tracer(fx.Tracer):
    def __init__(self, leaves: tuple[type[nn.Module], ...]) -> None:
        super().__init__()
        self.leaves = leaves

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        return isinstance(m, self.leaves) or super().is_leaf_module(m, module_qualified_name)


def traced(
    model: nn.Module, shape: tuple[int, ...], leaves: tuple[type[nn.Module], ...] = ()
) -> fx.GraphModule:
    """Write a network down as a graph, on a copy in eval mode.

    Args:
        model: A module whose forward pass takes one tensor and does not branch on its values.
        shape: Of one input without the batch dimension, such as (3, 32, 32).
        leaves: Further kinds of modules to keep whole.

    Returns:
        A module with the same parameters, the same names and the same outputs.

    Raises:
        TrainingError: The forward pass cannot be written down, or does not take such an input.
    """
    with modes_kept(model):
        twin = copy.deepcopy(model).eval()
    try:
        with _annotations_unchecked():
            graph = _Tracer((ChannelMap, *leaves)).trace(twin)
        made = fx.GraphModule(twin, graph)
        made.eval()
        with torch.no_grad():
            ShapeProp(made).propagate(torch.zeros(2, *shape, device=device_of(twin)))
    except Exception as error:
        reason = str(error).strip().partition("\n")[0]
        raise TrainingError(
            f"{type(model).__name__} cannot be written down as a graph for inputs of shape {shape} "
            f"({type(error).__name__}: {reason}). Its forward pass must take one tensor and not "
            "branch on values; move such code into a module of its own."
        ) from error
    _map_padding(made)
    made.recompile()
    return made


@contextmanager
def _annotations_unchecked() -> Generator[None]:
    """Where annotations are checked at run time, they would refuse the tracer's stand-ins."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def _map_padding(made: fx.GraphModule) -> None:
    """Replace every padding of channels with zeros by a map."""
    count = 0
    for node in list(made.graph.nodes):
        if node.op != "call_function" or node.target is not pad:
            continue
        spec = _pad_arguments(node)
        before = node.args[0].meta["tensor_meta"].shape
        if len(before) != 4 or len(spec["pad"]) != 6 or any(spec["pad"][:4]):
            continue
        if spec["mode"] != "constant" or spec["value"] not in (None, 0, 0.0):
            continue
        low, high = spec["pad"][4:]
        channels = before[1]
        source = torch.cat(
            [torch.full((low,), -1), torch.arange(channels), torch.full((high,), -1)]
        )
        name = f"channel_map_{count}"
        count += 1
        made.add_submodule(name, ChannelMap(source.to(device_of(made)), channels))
        with made.graph.inserting_before(node):
            new = made.graph.call_module(name, (node.args[0],))
        new.meta = dict(node.meta)
        node.replace_all_uses_with(new)
        made.graph.erase_node(node)


def _pad_arguments(node: fx.Node) -> dict[str, Any]:
    names = ("input", "pad", "mode", "value")
    given = {"mode": "constant", "value": None}
    return {**given, **dict(zip(names, node.args, strict=False)), **node.kwargs}
