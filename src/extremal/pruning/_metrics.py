"""What pruning did to a network, in numbers.

Notation: rho is the norm of the removed weights over the norm before; MACs multiply-accumulates
for one input.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from extremal.training import Evaluation, LayerMacs

from ._masks import Masks
from ._schedules import norm_drop_factor, relative_norm_drop


@dataclass(frozen=True)
class NormDrop:
    """How much of the weights' norm a phase removed."""

    rho: float  # relative norm drop over the chosen scope
    d1: float  # rho / sqrt(p), in [0, 1]
    removed: int  # weights pruned in this phase
    removed_fraction: float  # p: of the weights that were still unpruned


def norm_drop(model: nn.Module, before: Masks | None, after: Masks, scope: str = "all") -> NormDrop:
    """Measure the norm that the step from `before` to `after` removes; call before zeroing.

    Args:
        model: Still with its weights of before the step.
        before: What was pruned already; None for a dense network.
        after: The new masks.
        scope: Whose norm rho is relative to: "prunable" weights, or "all" parameters, biases and
            norms included (as the published code has it; it makes d1 a little smaller).
    """
    if scope not in ("prunable", "all"):
        raise ValueError(f"norm_scope is {scope!r}; choose 'prunable' or 'all'.")
    parameters = dict(model.named_parameters())
    removed = alive = 0
    squares_removed = 0.0
    for name, mask in after.items():
        gone = ~mask if before is None else before[name] & ~mask
        removed += int(gone.sum())
        alive += mask.numel() if before is None else int(before[name].sum())
        squares_removed += _square(parameters[name].detach()[gone])
    of = parameters if scope == "all" else {name: parameters[name] for name in after}
    total = sum(_square(parameter.detach()) for parameter in of.values())
    rho = relative_norm_drop(squares_removed, total)
    fraction = removed / alive if alive else 0.0
    return NormDrop(rho, norm_drop_factor(rho, fraction), removed, fraction)


def weight_norm(model: nn.Module) -> float:
    """The Euclidean norm of all parameters, summed in float64."""
    return sum(_square(parameter.detach()) for parameter in model.parameters()) ** 0.5


def parameter_sparsity(model: nn.Module) -> float:
    """The fraction of exact zeros among all parameters, tied ones counted once."""
    sizes = zeros = 0
    for parameter in model.parameters():
        sizes += parameter.numel()
        zeros += int((parameter.detach() == 0).sum())
    return zeros / sizes if sizes else 0.0


def pruning_instability(before: float, after: float) -> float:
    """The accuracy lost by pruning, relative to the accuracy before: (before - after) / before."""
    return (before - after) / before if before else 0.0


def recovery(dense: float, pruned: float, retrained: float) -> float | None:
    """The share of the accuracy lost by pruning that retraining won back; None if none was lost.

    >>> recovery(0.9, 0.5, 0.8)
    0.75
    """
    lost = dense - pruned
    return round((retrained - pruned) / lost, 12) if lost > 0 else None


def per_class_change(before: Evaluation, after: Evaluation) -> tuple[float, ...]:
    """Each class's accuracy after minus before."""
    return tuple(b - a for a, b in zip(before.per_class, after.per_class, strict=True))


def macs_on_nonzero(
    model: nn.Module, macs: Mapping[str, LayerMacs], masks: Mapping[str, Tensor]
) -> tuple[float, float]:
    """Return MACs of the dense network and MACs on its kept weights.

    Args:
        model: The network that `macs` was counted on.
        macs: From `training.count_macs`, by layer name.
        masks: By parameter name; a layer without a mask counts as dense.
    """
    density_of: dict[int, float] = {}
    parameters = dict(model.named_parameters())
    for name, mask in masks.items():
        density_of[id(parameters[name])] = int(mask.sum()) / mask.numel()
    dense = kept = 0.0
    modules = dict(model.named_modules())
    for layer, cost in macs.items():
        dense += cost.macs
        kept += cost.macs * density_of.get(id(modules[layer].weight), 1.0)
    return dense, kept


def theoretical_speedup(
    model: nn.Module, macs: Mapping[str, LayerMacs], masks: Mapping[str, Tensor]
) -> float | None:
    """Dense MACs over MACs on nonzero weights: a bound; None where no weight is left."""
    dense, kept = macs_on_nonzero(model, macs, masks)
    return dense / kept if kept else None


def _square(values: Tensor) -> float:
    return float(torch.linalg.vector_norm(values, dtype=torch.float64)) ** 2
