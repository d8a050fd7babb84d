"""N:M: of every M consecutive inputs of an output, the N largest magnitudes stay (2:4 on GPUs).

Convolutions are grouped along the (out, in * kh * kw) view, in memory order.
"""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from extremal.pruning._errors import PruningError
from extremal.pruning._masks import Masks
from extremal.pruning._ranking import refuse_not_finite


def parse_pattern(selector: str) -> tuple[int, int] | None:
    """Read "2:4" as (2, 4); None when it is not a pattern.

    >>> parse_pattern("2:4"), parse_pattern("global")
    ((2, 4), None)
    """
    match = re.fullmatch(r"(\d+):(\d+)", selector)
    if match is None:
        return None
    n, m = int(match[1]), int(match[2])
    if not 0 < n < m:
        raise ValueError(f"The pattern {selector!r} keeps {n} of {m}; it needs 0 < N < M.")
    return n, m


def select_n_to_m(
    weights: Mapping[str, Tensor], n: int, m: int, masks: Masks | None = None, skip: bool = False
) -> Masks:
    """Keep the `n` largest of every `m` inputs; ties keep the higher index.

    Args:
        weights: The prunable weights.
        n: Kept in a group.
        m: Size of a group.
        masks: What is pruned already; it stays pruned, and fills the group's zeros first.
        skip: Leave a layer dense whose inputs are no multiple of `m`, instead of refusing it.
    """
    kept: dict[str, Tensor] = {}
    for name, weight in weights.items():
        refuse_not_finite(weight)
        alive = torch.ones_like(weight, dtype=torch.bool) if masks is None else masks[name]
        inputs = weight.numel() // weight.shape[0]
        if inputs % m:
            if not skip:
                raise PruningError(
                    f"Layer {name} has {inputs} inputs an output, no multiple of {m}, so the "
                    f"pattern {n}:{m} does not fit. Leave such layers dense with skip=True, or "
                    "exclude them by name."
                )
            kept[name] = alive
            continue
        score = weight.detach().abs().masked_fill(~alive, -1).reshape(-1, m)
        order = score.argsort(dim=1, stable=True)  # of equals the lower index comes first
        mask = torch.ones_like(score, dtype=torch.bool).scatter_(1, order[:, : m - n], False)
        kept[name] = mask.reshape(weight.shape) & alive
    return Masks(kept)
