"""Frank-Wolfe over dependency groups: filters that go together are chosen together.

A channel of a residual network lives in several convolutions, which can only lose it together. One
group-k-support ball over all of them, row by row, makes its vertices of whole such channels; then
what training concentrates is what `compression` removes.
"""

import copy
from typing import Any

from torch import nn

from extremal import frankwolfe as fw

from ._channels import channel_groups
from ._loop import LoopConfig, region_groups


def coupled_sfw(model: nn.Module, loop: LoopConfig, shape: tuple[int, ...]) -> fw.SFW:
    """Return SFW whose groups of parameters are the dependency groups of channels.

    Args:
        model: A network that `torch.fx` can trace.
        loop: Region, width, fraction and the optimizer's options.
        shape: Of one input.

    Raises:
        TrainingError: The channels cannot be followed.
    """
    region = fw.region_named(loop.region, width=loop.width, fraction=loop.fraction)
    parameters = dict(model.named_parameters())
    coupled: list[dict[str, Any]] = []
    taken: set[str] = set()
    for group in channel_groups(copy.deepcopy(model).cpu(), shape):
        names = [
            f"{m.layer}.weight"
            for m in group.filters()
            if len(m.index) == group.channels and m.index.tolist() == m.channel.tolist()
        ]
        names = [n for n in names if n in parameters and n not in taken]
        if names:
            taken |= set(names)
            coupled.append({"names": names, "params": [parameters[n] for n in names]})
    plain = region_groups(model, loop)
    norms = {n: x for g in plain for n, x in zip(g["names"], g["init_norms"], strict=True)}
    groups: list[dict[str, Any]] = [
        {**g, "region": region, "joint": True, "init_norms": [norms[n] for n in g["names"]]}
        for g in coupled
    ]
    for group in plain:
        rest = [i for i, n in enumerate(group["names"]) if n not in taken]
        if rest:
            lists = {
                key: [group[key][i] for i in rest] for key in ("params", "names", "init_norms")
            }
            groups.append({**group, **lists})
    return fw.SFW(
        groups,
        lr=0.0,
        momentum=loop.momentum,
        dampening=loop.dampening,
        momentum_seed=loop.momentum_seed,
        rescale=loop.rescale,
        spectral=loop.spectral,
        start="shrink",
    )
