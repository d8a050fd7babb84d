"""From any mask to N:M, which some GPUs multiply at up to twice the speed (2:4)."""

import re
from dataclasses import dataclass

import torch
from torch import nn

from extremal import pruning

from ._errors import CompressionError


@dataclass(frozen=True)
class Projection:
    """What a projection cost.

    Attributes:
        pattern: Such as "2:4".
        before: Weights that were not zero, in the layers that it fits.
        after: Those that stay.
        skipped: Layers that it does not fit; they are left alone.
    """

    pattern: str
    before: int
    after: int
    skipped: tuple[str, ...]

    @property
    def lost(self) -> float:
        """Share of the survivors that the pattern costs."""
        return 1 - self.after / max(self.before, 1)


def project(model: nn.Module, pattern: str) -> Projection:
    """Keep at most N of every M consecutive inputs of an output, the largest, in place.

    Zeros fill the pattern first, so a mask of density d loses little: at random places 18.8 % of
    the survivors for d = 0.5, 0.95 % for d = 0.1 (2:4).

    Args:
        model: Linear layers and convolutions of it are read as (outputs, inputs x kernel).
        pattern: "N:M".

    Raises:
        ValueError: It is no such pattern.
        CompressionError: It fits no layer.
    """
    weights = pruning.prunable_weights(model)
    match = re.fullmatch(r"(\d+):(\d+)", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise ValueError(
            f"the pattern {pattern!r} cannot be read; write N:M with 0 < N < M, such as 2:4."
        )
    n, m = int(match[1]), int(match[2])
    fitting = {n: w for n, w in weights.items() if (w.numel() // w.shape[0]) % m == 0}
    if not fitting:
        raise CompressionError(f"the pattern {pattern} fits no layer: no input is a multiple of M.")
    alive = pruning.Masks.of_zeros(fitting)
    masks = pruning.select(
        fitting, 1 - n / m, pattern, masks=_at_most(alive, m - n, m), on_layer_collapse="allow"
    )
    kept = pruning.Masks({name: masks[name] & alive[name] for name in masks})
    kept.write_zeros(model)
    return Projection(
        pattern,
        alive.size - alive.pruned,
        kept.size - kept.pruned,
        tuple(name for name in weights if name not in fitting),
    )


def _at_most(alive: pruning.Masks, zeros: int, m: int) -> pruning.Masks:
    """Of each group, at most so many of its zeros as already pruned, the first ones."""
    found: dict[str, torch.Tensor] = {}
    for name, mask in alive.items():
        groups = mask.reshape(-1, m)
        counted = (~groups).cumsum(1) <= zeros
        found[name] = (groups | ~counted).reshape(mask.shape)
    return pruning.Masks(found)
