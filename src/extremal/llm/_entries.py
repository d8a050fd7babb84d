"""Three passes over all weights that torch's own operations make slow on a CPU.

Measured on one core beside another run, 1.6 million float32 entries: `isfinite(x).all()` 8 ms, the
least and largest entry 0.3 ms; `masked_fill` with a random mask 10 ms, because it decides entry by
entry, a bitwise product 1.4 ms; counting a mask by its sum 2.5 ms, by `count_nonzero` 0.4 ms.
"""

import torch
from jaxtyping import Bool, Shaped
from torch import Tensor

_WORDS = {2: torch.int16, 4: torch.int32, 8: torch.int64}


def finite(x: Tensor) -> Tensor:
    """Whether no entry is infinite or NaN, as a tensor: asking it waits for a GPU."""
    if x.numel() == 0 or x.dtype.itemsize == 1:  # eight-bit numbers are not compared
        return torch.isfinite(x).all()
    return torch.isfinite(torch.stack(x.aminmax())).all()


def all_finite(x: Tensor) -> bool:
    """Whether no entry is infinite or NaN."""
    return bool(finite(x))


def kept(x: Shaped[Tensor, "*n"], keep: Bool[Tensor, "*n"]) -> Shaped[Tensor, "*n"]:
    """Return x where the mask keeps, and +0 where it does not, whatever stands there."""
    if x.is_cuda:
        return x.masked_fill(~keep, 0)
    words = _WORDS[x.dtype.itemsize]
    return (x.view(words) & keep.to(words).neg_()).view(x.dtype)


def pruned_count(keep: Bool[Tensor, "*n"]) -> int:
    """Return how many entries a mask does not keep."""
    return keep.numel() - int(torch.count_nonzero(keep))
