"""The exact k smallest magnitudes of many tensors, without sorting or joining them.

The bits of |w| of a float, read as an integer, are ordered as |w| is. So a radix select finds the
k-th smallest value: one pass counts the upper 16 bits, a second counts the lower ones among those
that share the upper ones (float64 needs four passes), a last one writes the masks. Beyond the
masks the memory is one chunk. Ties go to the lower flat index, in the order of the tensors.

Notation: a key is the integer of |w|; where something is pruned already, keys are one larger and
key 0 marks what must go first.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from ._errors import PruningError

_INTEGER = {
    torch.float64: (torch.int64, 63),
    torch.float32: (torch.int32, 31),
    torch.bfloat16: (torch.int16, 15),
    torch.float16: (torch.int16, 15),
    torch.int64: (torch.int64, 63),
}
_INFINITY = {  # its bits; NaNs lie above
    torch.float64: 0x7FF0 << 48,
    torch.float32: 0x7F80 << 16,
    torch.bfloat16: 0x7F80,
    torch.float16: 0x7C00,
}
_CPU_CHUNK = 1 << 18  # keys of a chunk stay in the cache: 65 ms for 25 M weights, 105 ms at 1 << 22
_GPU_CHUNK = 1 << 24


@dataclass(frozen=True)
class Ranked:
    """A tensor to rank, what of it is already pruned, and what must stay."""

    values: Tensor  # floats are ranked by magnitude, int64 (>= 0) by value
    alive: Tensor | None = None  # bool; False is pruned already
    protected: Tensor | None = None  # bool; True must stay


def smallest(tensors: Sequence[Ranked], count: int) -> list[Tensor]:
    """Return for each tensor a boolean mask of what is kept when the `count` smallest go.

    Args:
        tensors: All of one dtype; ties between them go by this order.
        count: How many entries to prune in all, those already pruned included.

    Returns:
        Masks in the tensors' shapes, True = kept; exactly `count` entries are False.

    Raises:
        PruningError: A value is NaN or infinite, or `count` is out of reach.

    Cost: two passes over float32 (four over float64) and one to write the masks.
    """
    lengths = sum(tensor.values.numel() for tensor in tensors)
    protected = sum(int(t.protected.sum()) for t in tensors if t.protected is not None)
    dead = sum(int((~t.alive).sum()) for t in tensors if t.alive is not None)
    if not dead <= count <= lengths - protected:
        raise PruningError(
            f"{count} of {lengths} weights cannot be pruned: {dead} are pruned already and "
            f"{protected} must be kept. Choose a sparsity between the two."
        )
    if not tensors or count == 0:
        for tensor in tensors:
            refuse_not_finite(tensor.values)
        return [torch.ones_like(tensor.values, dtype=torch.bool) for tensor in tensors]

    _, bits = _INTEGER[tensors[0].values.dtype]
    infinity = _INFINITY.get(tensors[0].values.dtype, 0)
    upper = bits  # finite |w| leave room for the plus one
    prefix, below = 0, 0  # the key's leading bits found so far; how many keys are smaller
    while upper > 0:
        lower = max(upper - 16, 0)
        width = 1 << (upper - lower)
        device = tensors[0].values.device
        histogram = torch.zeros(width, dtype=torch.int64, device=device)
        for _, _, keys in _chunks(tensors):
            if upper < bits:
                keys = keys[(keys >> upper) == prefix]
            digits = (keys >> lower) & (width - 1)
            histogram += torch.bincount(digits, minlength=width).to(device)
        if upper == bits and infinity and bool(histogram[infinity >> lower :].any()):
            # NaN, infinity, or what shares the upper bits with them (a protected weight's key):
            # look closely. Looking at every weight first would take a third of the time.
            for tensor in tensors:
                refuse_not_finite(tensor.values)
        running = histogram.cumsum(0) + below
        digit = int(torch.searchsorted(running, count))  # first with running >= count
        below = int(running[digit - 1]) if digit else below
        prefix, upper = (prefix << (upper - lower)) | digit, lower

    threshold, ties = prefix, count - below  # `ties` of the keys equal to it still go
    masks = [  # contiguous even where the weight is channels_last: flat means logical order
        torch.empty(tensor.values.shape, dtype=torch.bool, device=tensor.values.device)
        for tensor in tensors
    ]
    flat = [mask.view(-1) for mask in masks]
    for index, start, keys in _chunks(tensors):
        kept = flat[index][start : start + keys.numel()]
        torch.ge(keys, threshold, out=kept)
        if ties:
            equal = (keys == threshold).nonzero().squeeze(1)[:ties]
            kept[equal] = False
            ties -= equal.numel()
    return masks


def _chunks(tensors: Sequence[Ranked]) -> Iterator[tuple[int, int, Tensor]]:
    """Yield (tensor's number, first flat index, keys) in order."""
    marked = any(tensor.alive is not None for tensor in tensors)
    for index, tensor in enumerate(tensors):
        values = tensor.values.detach().reshape(-1)
        integer, bits = _INTEGER[values.dtype]
        alive = None if tensor.alive is None else tensor.alive.reshape(-1)
        protected = None if tensor.protected is None else tensor.protected.reshape(-1)
        size = _CPU_CHUNK if values.device.type == "cpu" else _GPU_CHUNK
        largest = (1 << bits) - 1
        for start in range(0, values.numel(), size):
            part = slice(start, start + size)
            # int16 keys of half floats are widened: key + 1 must not overflow.
            keys = values[part].view(integer)
            keys = keys.to(torch.int32) if integer is torch.int16 else keys
            keys = keys & largest
            if marked:  # clamped first: the NaN of all ones would overflow and pass for pruned
                keys.clamp_(max=largest - 1).add_(1)
            if alive is not None:
                keys *= alive[part]
            if protected is not None:
                keys.masked_fill_(protected[part], largest)
            yield index, start, keys


def refuse_not_finite(values: Tensor) -> None:
    """Refuse NaN and infinity, which have no place in an order."""
    if not values.is_floating_point():
        return
    flat = values.detach().reshape(-1)
    size = _CPU_CHUNK if values.device.type == "cpu" else _GPU_CHUNK
    for start in range(0, flat.numel(), size):
        if not bool(torch.isfinite(flat[start : start + size]).all()):
            raise PruningError(
                f"A weight tensor of shape {tuple(values.shape)} holds NaN or infinity, so its "
                "weights have no order. The training that produced it diverged; prune an "
                "earlier checkpoint or train again with a smaller learning rate."
            )
