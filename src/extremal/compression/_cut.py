"""What an operator makes of a network at one ratio: new values for some weights, and counts."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Cut:
    """A network at one ratio, still in its dense shapes.

    Attributes:
        values: New values of parameters and buffers by name; all others stay.
        parameters: How many numbers the compressed network holds; of masks those not zero.
        macs: Multiply-accumulates for one input: after slicing, or of the two thin layers.
        nonzero_macs: The same counting only weights that are not zero.
        detail: What was chosen: removed channels by group, ranks by layer, or pruned weights.
    """

    values: Mapping[str, Tensor]
    parameters: int
    macs: int
    nonzero_macs: int
    detail: Mapping[str, Any]


@runtime_checkable
class Operator(Protocol):
    """One kind of compression, prepared once for all ratios."""

    kind: str

    def at(self, ratio: float) -> Cut:
        """Return the network at this ratio."""
        ...


@contextmanager
def applied(model: nn.Module, cut: Cut) -> Generator[nn.Module]:
    """Give the model the values of a cut for a while; parameters and buffers come back after."""
    tensors = model.state_dict()  # shares memory with the model
    touched = {*cut.values, *(name for name, _ in model.named_buffers())}
    before = {name: tensor.clone() for name, tensor in tensors.items() if name in touched}
    try:
        with torch.no_grad():
            for name, value in cut.values.items():
                tensors[name].copy_(value)
        yield model
    finally:
        with torch.no_grad():
            for name, tensor in before.items():
                tensors[name].copy_(tensor)


def changed(model: nn.Module, cut: Cut) -> bool:
    """Whether a cut changes any number of the model."""
    tensors = model.state_dict()
    return any(not torch.equal(tensors[n], v) for n, v in cut.values.items())


def check_ratio(ratio: float) -> float:
    """Return a ratio in [0, 1)."""
    if isinstance(ratio, bool) or not 0 <= ratio < 1:
        raise ValueError(
            f"the ratio {ratio!r} is not in [0, 1): it is the share that goes, such as 0.9."
        )
    return float(ratio)


def nonzero_macs(model: nn.Module, macs: Mapping[str, int], values: Mapping[str, Tensor]) -> int:
    """MACs of each layer times the share of its weights that are not zero."""
    total = 0
    for name, module in model.named_modules():
        if name in macs:
            weight = values.get(f"{name}.weight", module.weight)
            assert isinstance(weight, Tensor)
            # A whole number: the MACs are weights times places.
            total += macs[name] * int((weight != 0).sum()) // weight.numel()
    return total
