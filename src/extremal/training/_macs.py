"""Multiply-accumulate operations, counted from the output shapes that really occur.

A layer costs one MAC per weight and per place where it is applied: a convolution
`weight.numel() * out_h * out_w` (grouped weights are already smaller by the groups), a linear
layer `weight.numel()` per row it sees.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ._modes import device_of, modes_kept


class LayerMacs(NamedTuple):
    """What one layer costs for one input: MACs, and height and width of its output."""

    macs: int
    out_h: int
    out_w: int


def count_macs(model: nn.Module, shape: tuple[int, ...]) -> dict[str, LayerMacs]:
    """Count the MACs of each Linear and ConvNd layer for one input.

    Args:
        model: Any module; it runs once, in eval mode, on zeros.
        shape: Shape of one input without the batch dimension, such as (3, 32, 32).

    Returns:
        By the layer's name; a layer that runs twice counts twice and shows its last output. The
        output of a linear layer is 1 high and as wide as the rows it saw, of a 1-d convolution
        1 high; depth and height of a 3-d one are multiplied.

    Example:
        >>> count_macs(nn.Sequential(nn.Conv2d(3, 16, 3, padding=1)), (3, 32, 32))
        {'0': LayerMacs(macs=442368, out_h=32, out_w=32)}
    """
    counts: dict[str, LayerMacs] = {}

    def note(name: str, layer: nn.Module, output: Tensor) -> None:
        weight = layer.weight
        assert isinstance(weight, Tensor)
        if isinstance(layer, nn.Linear):
            out_h, out_w = 1, math.prod(output.shape[1:-1])
        else:
            out_h, out_w = math.prod(output.shape[2:-1]), output.shape[-1]
        before = counts[name].macs if name in counts else 0
        counts[name] = LayerMacs(before + weight.numel() * out_h * out_w, out_h, out_w)

    def watch(name: str, layer: nn.Module) -> Any:
        def after(layer: nn.Module, inputs: Any, output: Tensor) -> None:
            del inputs
            note(name, layer, output)

        return layer.register_forward_hook(after)

    handles = [
        watch(name, layer)
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d)
    ]
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            model(torch.zeros(1, *shape, device=device_of(model)))
    finally:
        for handle in handles:
            handle.remove()
    return counts
