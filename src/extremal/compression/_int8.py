"""Weights in 8 bits: one scale for each output, symmetric, so that zeros stay zeros.

The network computes with the rounded weights in float32; what shrinks is the file.
"""

import torch
from torch import Tensor, nn

from ._packed import pack_tensors


def rounded(model: nn.Module) -> dict[str, tuple[Tensor, Tensor]]:
    """Round the weights of linear and convolutional layers in place.

    Returns:
        By name the integers in -127..127 and the scale of each output; their product is the new
        weight, bit for bit.
    """
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear | nn.Conv1d | nn.Conv2d):
            continue
        weight = module.weight.detach()
        rows = weight.flatten(1)
        largest = rows.abs().amax(1, keepdim=True)
        scale = torch.where(largest > 0, largest / 127, torch.ones_like(largest))
        integers = (rows / scale).round().clamp(-127, 127).to(torch.int8)
        with torch.no_grad():
            module.weight.copy_(restored(integers, scale).reshape(weight.shape))
        found[f"{name}.weight"] = (integers.reshape(weight.shape), scale.flatten())
    return found


def restored(integers: Tensor, scale: Tensor) -> Tensor:
    """The weight of integers and scales."""
    return integers.flatten(1).to(scale.dtype) * scale.reshape(-1, 1)


def int8_file(model: nn.Module, found: dict[str, tuple[Tensor, Tensor]]) -> bytes:
    """A packed file of the integers, the scales and everything else."""
    tensors = {name: t for name, t in model.state_dict().items() if name not in found}
    for name, (integers, scale) in found.items():
        tensors[name] = integers
        tensors[f"{name}.scale"] = scale
    return pack_tensors(tensors)
