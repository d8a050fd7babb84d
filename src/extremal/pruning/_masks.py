"""Masks: which weights are kept, one boolean tensor a weight.

They live beside the network and never inside it: the parameters stay ordinary parameters, the
state dict keeps its keys, and what is read from `module.weight` is what is used. (In
torch.nn.utils.prune the attribute goes stale after a step, and the hidden original drifts.)
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class LayerSparsity:
    """One layer's counts."""

    name: str
    shape: tuple[int, ...]
    size: int
    pruned: int

    @property
    def sparsity(self) -> float:
        """The fraction pruned."""
        return self.pruned / self.size


class Masks(Mapping[str, Tensor]):
    """Parameter name to boolean tensor, True = kept. Do not edit the tensors."""

    def __init__(self, kept: Mapping[str, Tensor]) -> None:
        for name, mask in kept.items():
            if mask.dtype != torch.bool:
                raise ValueError(f"The mask of {name} is {mask.dtype}; masks are torch.bool.")
        self._kept = dict(kept)

    def __getitem__(self, name: str) -> Tensor:
        return self._kept[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._kept)

    def __len__(self) -> int:
        return len(self._kept)

    @classmethod
    def dense(cls, weights: Mapping[str, Tensor]) -> "Masks":
        """Masks that keep everything."""
        return cls({k: torch.ones_like(w, dtype=torch.bool) for k, w in weights.items()})

    @classmethod
    def of_zeros(cls, weights: Mapping[str, Tensor]) -> "Masks":
        """Masks of what is not zero already; -0.0 counts as zero."""
        return cls({name: w.detach() != 0 for name, w in weights.items()})

    @property
    def size(self) -> int:
        """How many weights are prunable."""
        return sum(mask.numel() for mask in self.values())

    @property
    def pruned(self) -> int:
        """How many of them are pruned."""
        return self.size - sum(self._counts())

    @property
    def sparsity(self) -> float:
        """The pruned fraction of the prunable weights."""
        return self.pruned / self.size

    def per_layer(self) -> tuple[LayerSparsity, ...]:
        """Each layer's counts, in parameter order."""
        return tuple(
            LayerSparsity(name, tuple(m.shape), m.numel(), m.numel() - kept)
            for (name, m), kept in zip(self.items(), self._counts(), strict=True)
        )

    def _counts(self) -> list[int]:
        """Weights kept in each layer; asked of a GPU once, not once a layer."""
        if not self._kept:
            return []
        return torch.stack([mask.sum() for mask in self.values()]).tolist()

    def within(self, other: Mapping[str, Tensor]) -> bool:
        """Whether everything kept here is kept in `other` too (phases nest)."""
        return self.keys() == other.keys() and not any(
            bool((mask & ~other[name]).any()) for name, mask in self.items()
        )

    def to(self, device: torch.device) -> "Masks":
        """The same masks on another device."""
        return Masks({name: mask.to(device) for name, mask in self.items()})

    def write_zeros(self, model: nn.Module) -> None:
        """Set every pruned weight of `model` to +0.0."""
        parameters = dict(model.named_parameters())
        with torch.no_grad():
            for name, mask in self.items():
                if name not in parameters or parameters[name].shape != mask.shape:
                    raise ValueError(
                        f"The mask of {name} with shape {tuple(mask.shape)} fits no parameter of "
                        f"{type(model).__name__}. Masks belong to the network they were made for."
                    )
                parameters[name].masked_fill_(~mask.to(parameters[name].device), 0.0)


class MaskEnforcer:
    """Keep pruned weights at zero during training: gradients, weights and optimizer state.

    Fixed cost: three foreach products a step (gradient, weight, momentum) with the boolean masks.
    A float copy of the masks would be four times faster on CPU and cost as much memory as the
    weights; at under 1 % of a step the memory matters more. On a GPU it is float: products of two
    types are a launch a tensor, 60 for ResNet-20, and those of one type are one for all.
    """

    def __init__(self, model: nn.Module, masks: Masks, optimizer: torch.optim.Optimizer) -> None:
        parameters = dict(model.named_parameters())
        self._weights = [parameters[name] for name in masks]
        # In the weight's memory layout (channels_last): products then walk memory together.
        self._masks = [
            torch.empty_like(
                parameters[name], dtype=None if parameters[name].is_cuda else torch.bool
            ).copy_(mask)
            for name, mask in masks.items()
        ]
        self._optimizer = optimizer

    @torch.no_grad()
    def mask_gradients(self) -> None:
        """Zero the gradients of pruned weights (before clipping, so that the norm is right)."""
        pairs = [
            (weight.grad, mask)
            for weight, mask in zip(self._weights, self._masks, strict=True)
            if weight.grad is not None
        ]
        _multiply([gradient for gradient, _ in pairs], [mask for _, mask in pairs])

    @torch.no_grad()
    def mask_weights(self) -> None:
        """Zero the pruned weights and every optimizer buffer of their shape."""
        tensors: list[Tensor] = []
        masks: list[Tensor] = []
        for weight, mask in zip(self._weights, self._masks, strict=True):
            tensors.append(weight)
            masks.append(mask)
            for buffer in self._optimizer.state.get(weight, {}).values():
                if isinstance(buffer, Tensor) and buffer.shape == weight.shape:
                    tensors.append(buffer)
                    masks.append(mask)
        _multiply(tensors, masks)


def _multiply(tensors: list[Tensor], masks: list[Tensor]) -> None:
    if tensors:
        torch._foreach_mul_(tensors, masks)  # pyright: ignore[reportPrivateImportUsage]
