"""Whole channels, in the groups that can only lose them together.

Notation: a channel's score is taken over the filters of all layers of its group that produce it;
the channels with the smallest scores go. In a plain chain that is the usual ranking of filters.
Sources: norms as in Li et al. 2017; FPGM, distance to the geometric median, He et al. 2019; scale
of batch normalisation, Liu et al. 2017; Taylor, |weight x gradient|, Molchanov et al. 2019.
Differs from them: of equal scores the lower channel goes; each group keeps at least one step.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from extremal.training import ChannelGroup, Member

from ._cut import Cut, check_ratio, nonzero_macs
from ._errors import CompressionError

CRITERIA = ("l2", "l1", "fpgm", "bn", "taylor", "random")
Losses = Callable[[nn.Module], Tensor]


class Filters:
    """Remove the least important channels of every group."""

    kind = "filters"

    def __init__(
        self,
        model: nn.Module,
        macs: Mapping[str, int],
        groups: Sequence[ChannelGroup],
        *,
        criterion: str = "l2",
        scope: str = "layer",
        multiple: int = 1,
        seed: int = 0,
        losses: Losses | None = None,
    ) -> None:
        """Score every channel once.

        Args:
            model: The dense network.
            macs: Of each layer.
            groups: From `training.channel_groups`.
            criterion: One of `CRITERIA`.
            scope: "layer" removes the same share of every group, "global" ranks all channels
                by score over the group's mean score.
            multiple: Channels kept are a multiple of this, where a group has as many.
            seed: Of the random criterion.
            losses: Gives the loss of a batch, for the Taylor criterion.
        """
        if criterion not in CRITERIA:
            raise ValueError(f"criterion={criterion!r} is unknown; choose {', '.join(CRITERIA)}.")
        if scope not in ("layer", "global"):
            raise ValueError(f"scope={scope!r} is unknown for filters; choose layer or global.")
        if multiple < 1:
            raise ValueError(f"multiple={multiple}; choose 1 or more, such as 8.")
        if not groups:
            raise CompressionError(
                "the network has no channels that can be removed: all of them are inputs or "
                "outputs. Use kind unstructured or lowrank."
            )
        self.model, self.macs, self.groups = model, macs, tuple(groups)
        self.scope, self.multiple = scope, multiple
        self.modules = dict(model.named_modules())
        scores = _scores(model, self.groups, criterion, seed, losses)
        # Channels of a grouped convolution go from all blocks alike: one step is one of each.
        self.steps = [scores[g.name].reshape(g.blocks, -1).sum(0) for g in self.groups]
        self.orders = [s.argsort(stable=True) for s in self.steps]
        self.most = [
            self._rounded(g, len(s) - 1) for g, s in zip(self.groups, self.steps, strict=True)
        ]
        if scope == "global":
            scaled = torch.cat([s / s.mean().clamp_min(1e-30) for s in self.steps])
            owner = torch.cat([torch.full((len(s),), i) for i, s in enumerate(self.steps)])
            self.ranking = owner[scaled.argsort(stable=True)]

    def _rounded(self, group: ChannelGroup, gone: int) -> int:
        """The steps to remove so that what is kept is a multiple, and at least one step."""
        steps = group.channels // group.blocks
        kept = max(1, steps - gone)
        if self.multiple > 1:
            while kept < steps and kept * group.blocks % self.multiple:
                kept += 1
        return steps - kept

    def counts(self, ratio: float) -> list[int]:
        """Return how many steps each group loses at a ratio."""
        check_ratio(ratio)
        if self.scope == "layer":
            gone = [round(ratio * len(s)) for s in self.steps]
        else:
            wanted = round(ratio * len(self.ranking))
            gone = torch.bincount(self.ranking[:wanted], minlength=len(self.steps)).tolist()
        return [self._rounded(g, n) for g, n in zip(self.groups, gone, strict=True)]

    def removed(self, counts: Sequence[int]) -> dict[str, list[int]]:
        """Return the channels that go, by group."""
        found: dict[str, list[int]] = {}
        for group, order, count in zip(self.groups, self.orders, counts, strict=True):
            size = group.channels // group.blocks
            steps = order[:count].sort().values
            found[group.name] = [
                int(block * size + s) for block in range(group.blocks) for s in steps
            ]
        return found

    def at(self, ratio: float) -> Cut:
        """Zero the channels that go at this ratio, in all layers of their groups."""
        return self.without(self.removed(self.counts(ratio)))

    def smallest(self) -> Cut:
        """The smallest network that this kind reaches: one step a group."""
        return self.without(self.removed(self.most))

    def without(self, removed: Mapping[str, Sequence[int]]) -> Cut:
        """Zero these channels: filters, biases, normalisation, and the inputs they feed."""
        values: dict[str, Tensor] = {}
        lost_out: dict[str, int] = {}
        lost_in: dict[str, int] = {}

        def value(name: str) -> Tensor | None:
            layer, _, own = name.rpartition(".")
            tensor = getattr(self.modules[layer], own, None)
            if tensor is None:
                return None
            return values.setdefault(name, tensor.detach().clone())

        for group in self.groups:
            gone = torch.tensor(removed.get(group.name, []), dtype=torch.int64)
            if not len(gone):
                continue
            for member in group.members:
                index = member.index[torch.isin(member.channel, gone)]
                if member.side in ("map-out", "map-in"):
                    source = value(f"{member.layer}.source")
                    assert source is not None
                    if member.side == "map-out":
                        source[index] = -1
                    else:
                        source[torch.isin(source, index)] = -1
                    continue
                weight = value(f"{member.layer}.weight")
                if member.side == "in":
                    lost_in[member.layer] = lost_in.get(member.layer, 0) + len(index)
                    assert weight is not None
                    _zero_inputs(self.modules[member.layer], weight, index)
                    continue
                lost_out[member.layer] = lost_out.get(member.layer, 0) + len(index)
                for tensor in (weight, value(f"{member.layer}.bias")):
                    if tensor is not None:
                        tensor[index] = 0.0
        parameters, macs = self._counted(lost_out, lost_in)
        return Cut(
            values,
            parameters,
            macs,
            nonzero_macs(self.model, self.macs, values),
            {"removed": {k: list(v) for k, v in removed.items()}},
        )

    def _counted(self, lost_out: Mapping[str, int], lost_in: Mapping[str, int]) -> tuple[int, int]:
        """Parameters and MACs after slicing, in closed form."""
        parameters = macs = 0
        for name, module in self.modules.items():
            own = dict(module.named_parameters(recurse=False))
            out, into = lost_out.get(name, 0), lost_in.get(name, 0)
            for key, p in own.items():
                rows = p.shape[0] - out
                if key == "weight" and p.ndim > 1:
                    columns = p.shape[1]
                    if into:
                        groups = getattr(module, "groups", 1)
                        columns -= into // groups
                    size = rows * columns * (p[0, 0].numel())
                    parameters += size
                    if name in self.macs:
                        macs += self.macs[name] * size // p.numel()
                else:
                    parameters += rows * (p.numel() // p.shape[0])
        return parameters, macs


def _zero_inputs(module: nn.Module, weight: Tensor, index: Tensor) -> None:
    groups: Any = getattr(module, "groups", 1)
    if groups == 1:
        weight[:, index] = 0.0
        return
    width, height = weight.shape[1], weight.shape[0] // groups
    for i in index.tolist():
        block = i // width
        weight[block * height : (block + 1) * height, i % width] = 0.0


def _rows(modules: Mapping[str, nn.Module], group: ChannelGroup) -> list[tuple[Member, Tensor]]:
    """The filters of each layer of a group, one row a position of the layer."""
    rows: list[tuple[Member, Tensor]] = []
    for member in group.filters():
        weight = modules[member.layer].weight
        assert isinstance(weight, Tensor)
        rows.append((member, weight.detach()[member.index].flatten(1).double()))
    return rows


def _gathered(group: ChannelGroup, member: Member, score: Tensor) -> Tensor:
    return torch.zeros(group.channels, dtype=torch.float64).index_add_(
        0, member.channel, score.double().cpu()
    )


def _scores(
    model: nn.Module,
    groups: Sequence[ChannelGroup],
    criterion: str,
    seed: int,
    losses: Losses | None,
) -> dict[str, Tensor]:
    modules = dict(model.named_modules())
    gradients = _gradients(model, losses) if criterion == "taylor" else {}
    generator = torch.Generator().manual_seed(seed)
    found: dict[str, Tensor] = {}
    for group in groups:
        total = torch.zeros(group.channels, dtype=torch.float64)
        if criterion == "random":
            total = torch.rand(group.channels, generator=generator, dtype=torch.float64)
        elif criterion == "bn":
            norms = [m for m in group.members if m.side == "norm"]
            if not norms:
                raise CompressionError(
                    f"criterion 'bn' needs a normalisation after {group.name}, which has none; "
                    "choose criterion l2."
                )
            for member in norms:
                scale = modules[member.layer].weight
                assert isinstance(scale, Tensor)
                total += _gathered(group, member, scale.detach()[member.index].abs())
        elif criterion == "fpgm":
            rows = torch.zeros(group.channels, 0, dtype=torch.float64)
            for member, weights in _rows(modules, group):
                part = torch.zeros(group.channels, weights.shape[1], dtype=torch.float64)
                part.index_add_(0, member.channel, weights.cpu())
                rows = torch.cat([rows, part], 1)
            total = torch.cdist(rows, rows).sum(1)
        else:
            for member, weights in _rows(modules, group):
                if criterion == "taylor":
                    gradient = gradients[f"{member.layer}.weight"][member.index].flatten(1)
                    score = (weights * gradient).sum(1).square()
                else:
                    score = weights.abs().sum(1) if criterion == "l1" else weights.square().sum(1)
                total += _gathered(group, member, score)
            if criterion != "l1":
                total = total.sqrt()
        if not bool(total.isfinite().all()):
            raise CompressionError(
                f"the filters of {group.name} hold NaN or infinity, so they have no order; the "
                "training diverged. Compress an earlier checkpoint."
            )
        found[group.name] = total
    return found


def _gradients(model: nn.Module, losses: Losses | None) -> dict[str, Tensor]:
    if losses is None:
        raise ValueError("criterion 'taylor' needs training data for its gradients; give data.")
    parameters = dict(model.named_parameters())
    # materialize_grads: a parameter that the loss does not depend on has the gradient 0
    grads = torch.autograd.grad(
        losses(model), list(parameters.values()), allow_unused=True, materialize_grads=True
    )
    return {
        name: gradient.detach().double() for name, gradient in zip(parameters, grads, strict=True)
    }
