"""The one way into the selectors: validation, dispatch by name, collapsed layers."""

import warnings
from collections.abc import Mapping
from typing import Literal

from torch import Tensor

from extremal.pruning._errors import LayerCollapseWarning, PruningError
from extremal.pruning._masks import Masks

from ._common import pruned_count
from ._erk import select_erk
from ._filter import select_filters
from ._global import select_global
from ._lamp import select_lamp
from ._n_to_m import parse_pattern, select_n_to_m
from ._random import select_random
from ._uniform import select_uniform
from ._uniform_plus import select_uniform_plus

SELECTORS = ("global", "uniform", "uniform+", "erk", "lamp", "random", "filter", "N:M")

OnCollapse = Literal["warn", "raise", "allow"]


def select(
    weights: Mapping[str, Tensor],
    sparsity: float,
    selector: str = "global",
    *,
    masks: Masks | None = None,
    seed: int = 0,
    min_keep_per_layer: int = 0,
    on_layer_collapse: OnCollapse = "warn",
    skip: bool = False,
) -> Masks:
    """Choose the weights to prune; the weights themselves are not touched.

    Args:
        weights: Prunable weights by name, in parameter order (see `prunable_weights`).
        sparsity: s in [0, 1), over these weights; K = round(s N), half to even. For a pattern
            N:M it must be 1 - N/M.
        selector: "global", "uniform", "uniform+", "erk", "lamp", "random", "filter", or a pattern
            such as "2:4".
        masks: What is pruned already and stays pruned.
        seed: Of the random selector.
        min_keep_per_layer: At least so many weights stay in each layer. "global", "lamp" and
            "random" take the difference from other layers; the others refuse.
        on_layer_collapse: What to do when a layer loses every weight.
        skip: With a pattern, leave dense the layers that it does not fit.

    Returns:
        The masks, True = kept. Ties: of equal scores the lower flat index is pruned first.

    Raises:
        ValueError: An argument is out of range.
        PruningError: The weights cannot be pruned so (NaN, too few, a collapsed layer).

    Example:
        >>> import torch
        >>> select({"w": torch.tensor([1.0, -2.0, 3.0, -4.0])}, 0.5)["w"].tolist()
        [False, False, True, True]
    """
    if not 0 <= sparsity < 1:
        raise ValueError(
            f"sparsity is {sparsity!r}, but it must be at least 0 and below 1: the fraction of "
            "prunable weights that go."
        )
    if not weights:
        raise ValueError("There is no weight to prune. Include at least one layer.")
    if min_keep_per_layer < 0:
        raise ValueError(f"min_keep_per_layer is {min_keep_per_layer}; it must be 0 or more.")
    size = sum(weight.numel() for weight in weights.values())
    count = pruned_count(sparsity, size)
    pattern = parse_pattern(selector)
    _refuse_fewer(count, size, masks, sparsity, selector)
    keep = [min(min_keep_per_layer, weight.numel()) for weight in weights.values()]
    if count > size - sum(keep):
        raise PruningError(
            f"Sparsity {sparsity} prunes {count} of {size} weights, but min_keep_per_layer="
            f"{min_keep_per_layer} reserves {sum(keep)}. Lower one of the two."
        )

    if pattern is not None:
        n, m = pattern
        if abs(sparsity - (1 - n / m)) > 1e-9:
            raise ValueError(
                f"The pattern {selector} prunes {1 - n / m:g} of a layer, not {sparsity:g}. "
                "Give that sparsity, or choose another selector."
            )
        chosen = select_n_to_m(weights, n, m, masks, skip)
    elif selector == "global":
        chosen = select_global(weights, count, masks, keep)
    elif selector == "uniform":
        chosen = select_uniform(weights, sparsity, masks)
    elif selector == "uniform+":
        chosen = select_uniform_plus(weights, count, masks)
    elif selector == "erk":
        chosen = select_erk(weights, count, masks)
    elif selector == "lamp":
        chosen = select_lamp(weights, count, masks, keep)
    elif selector == "random":
        chosen = select_random(weights, count, masks, keep, seed)
    elif selector == "filter":
        chosen = select_filters(weights, sparsity, masks)
    else:
        raise ValueError(f"Unknown selector {selector!r}; choose one of {', '.join(SELECTORS)}.")
    _refuse_short(chosen, selector, min_keep_per_layer)
    look_for_collapse(chosen, selector, on_layer_collapse, 4)
    return chosen


def _refuse_fewer(
    count: int, size: int, masks: Masks | None, sparsity: float, selector: str
) -> None:
    if masks is None or selector == "filter" or parse_pattern(selector) is not None:
        return
    if masks.pruned > count:
        raise PruningError(
            f"The network is {masks.pruned / size:.4%} sparse already, above the sparsity "
            f"{sparsity} asked for. Pruned weights never come back: ask for more, or start from "
            "the dense network."
        )


def _refuse_short(masks: Masks, selector: str, min_keep: int) -> None:
    if not min_keep:
        return
    layers = masks.per_layer()
    short = [layer for layer in layers if layer.size - layer.pruned < min(min_keep, layer.size)]
    if short:
        raise PruningError(
            f"Selector {selector!r} keeps only {short[0].size - short[0].pruned} weights of "
            f"{short[0].name}, under min_keep_per_layer={min_keep}. Lower the sparsity or the "
            "minimum, or choose 'global' or 'lamp', which take the difference elsewhere."
        )


def look_for_collapse(
    masks: Masks, cause: str, on_collapse: OnCollapse, stacklevel: int = 2
) -> None:
    """Warn or raise where a layer has no weight left; `cause` names the selector or method."""
    gone = [name for name, mask in masks.items() if not bool(mask.any())]
    if gone and on_collapse != "allow":
        text = (
            f"{cause!r} leaves no weight in {', '.join(gone)}: nothing passes there "
            "any more. Set min_keep_per_layer=, lower the sparsity, or choose 'lamp' or 'erk'."
        )
        if on_collapse == "raise":
            raise PruningError(text)
        warnings.warn(text, LayerCollapseWarning, stacklevel=stacklevel)
