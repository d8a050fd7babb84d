"""Channels that can only be removed together: the dependency groups of a network.

The filters of a convolution end in the next layer's inputs, in a normalisation, and where outputs
are added in the filters of the other convolutions too. torch-pruning finds what hangs together;
here its groups are written down once, so that training (a region over whole groups), masks,
counts and slicing all speak of the same ones.

Differs from plain torch-pruning: zero-padded shortcuts are maps of channels (see `_trace`), which
its graph follows as the 1x1 convolution that they are; a group with a grouped convolution says in
which steps its channels may go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from typing import Any, Literal

import torch
from jaxtyping import Int64
from torch import Tensor, fx, nn

from extremal.lab import require

from ._errors import TrainingError
from ._modes import device_of
from ._trace import ChannelMap, traced

Side = Literal["out", "in", "norm", "depthwise", "map-out", "map-in"]
_OTHERS = (nn.LayerNorm, nn.GroupNorm, nn.PReLU, nn.InstanceNorm2d)


@dataclass(frozen=True)
class Member:
    """What one layer loses with the channels of a group.

    Attributes:
        layer: Its name.
        side: Filters ("out"), inputs ("in"), channels of a normalisation ("norm") or of a
            depthwise convolution, outputs or inputs of a channel map ("map-out", "map-in").
        index: Positions in that layer.
        channel: The group's channel of each position.
    """

    layer: str
    side: Side
    index: Int64[Tensor, " n"]
    channel: Int64[Tensor, " n"]


@dataclass(frozen=True)
class ChannelGroup:
    """Channels that can only be removed together in all their layers.

    Attributes:
        name: The layer whose filters number the channels.
        channels: How many there are.
        blocks: Channels go from each of so many equal blocks alike (grouped convolutions); 1 is
            no restriction.
        members: What each layer loses; layers without parameters are left out.
    """

    name: str
    channels: int
    blocks: int
    members: tuple[Member, ...]

    def filters(self) -> tuple[Member, ...]:
        """The members that lose filters, which say how important a channel is."""
        return tuple(m for m in self.members if m.side == "out")


def channel_groups(model: nn.Module, shape: tuple[int, ...]) -> tuple[ChannelGroup, ...]:
    """Find the groups of channels that can be removed; those of the outputs are left out.

    Args:
        model: A network that `torch.fx` can trace.
        shape: Of one input without the batch dimension.

    Returns:
        The groups, in the order of the network's layers.

    Raises:
        TrainingError: The network cannot be traced.
        MissingExtra: torch-pruning is not installed.

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        >>> [(g.name, g.channels, len(g.members)) for g in channel_groups(net, (1, 4, 4))]
        [('0', 4, 2)]

    Cost: one forward pass with gradients for one input, and a walk over its graph.
    """
    return Slicer(model, shape).groups


class Slicer:
    """A copy of a network with its dependency graph, from which channels can be cut out.

    Attributes:
        groups: What can be removed.
        network: The copy; after `cut` it is smaller.
    """

    def __init__(self, model: nn.Module, shape: tuple[int, ...]) -> None:
        """Copy the network and find its groups."""
        tp: Any = require("torch_pruning", "compression")
        self._prune = {
            "out": tp.prune_conv_out_channels,
            "linear": tp.prune_linear_out_channels,
        }
        self.shape = shape
        made = traced(model, shape)
        self._outputs = _output_layers(made)
        self._maps = _maps_to_convolutions(made)
        for parameter in made.parameters():
            parameter.requires_grad_(True)  # the graph is read off the backward functions
        self.network = made
        self._modules: dict[str, nn.Module] = dict(made.named_modules())
        self._names = {module: name for name, module in self._modules.items()}
        try:
            self._graph = tp.DependencyGraph().build_dependency(
                made,
                # A tuple: of a bare tensor torch-pruning would first try the rows as arguments.
                example_inputs=(torch.randn(1, *shape, device=device_of(made)),),
            )
            self.groups = tuple(self._all_groups())
        except Exception as error:
            reason = str(error).strip().partition("\n")[0]
            raise TrainingError(
                f"the channels of {type(model).__name__} cannot be followed "
                f"({type(error).__name__}: {reason}); use masks (kind unstructured), or low rank."
            ) from error

    def _all_groups(self) -> list[ChannelGroup]:
        found: list[ChannelGroup] = []
        covered: set[str] = set()
        for name, module in self._modules.items():
            if not isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear)):
                continue
            if name in covered or name in self._maps or _depthwise(module):
                continue
            if module not in self._graph.module2node:  # never runs
                continue
            width = module.weight.shape[0]
            members, blocks = self._members(self._pruning(name, range(width)))
            filters = {m.layer for m in members if m.side == "out"}
            covered |= filters
            if filters & self._outputs:
                continue
            found.append(ChannelGroup(name, width, blocks, tuple(members)))
        return found

    def _pruning(self, name: str, channels: Sequence[int] | range) -> Any:
        module = self._modules[name]
        how = self._prune["linear" if isinstance(module, nn.Linear) else "out"]
        return self._graph.get_pruning_group(module, how, list(channels))

    def _members(self, pruning: Any) -> tuple[list[Member], int]:
        members: list[Member] = []
        blocks = 1
        for item in pruning.items:
            module = item.dep.target.module
            name = self._names.get(module)
            if name is None:  # an operation without parameters
                continue
            out = self._graph.is_out_channel_pruning_fn(item.dep.handler)
            side: Side
            if isinstance(module, (nn.modules.batchnorm._BatchNorm, *_OTHERS)):
                side = "norm"
            elif _depthwise(module):
                side = "depthwise"
            else:
                side = "out" if out else "in"
                if name in self._maps:
                    side = "map-out" if out else "map-in"
                elif not isinstance(module, nn.Linear) and module.groups > 1:
                    blocks = lcm(blocks, module.groups)
            members.append(
                Member(name, side, torch.tensor(item.idxs), torch.tensor(item.root_idxs))
            )
        place = {name: i for i, name in enumerate(self._modules)}
        members.sort(key=lambda m: place[m.layer])  # the walk's own order depends on its stack
        return members, blocks

    def cut(self, removed: Mapping[str, Sequence[int]]) -> fx.GraphModule:
        """Remove channels by group name, in place, and return the smaller network."""
        for name, channels in removed.items():
            if len(channels):
                self._pruning(name, channels).prune()
        _convolutions_to_maps(self.network, self._maps)
        self.network.recompile()
        return self.network.eval()


def _depthwise(module: nn.Module) -> bool:
    return (
        isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d))
        and module.groups > 1
        and module.groups == module.out_channels == module.in_channels
    )


def _output_layers(made: fx.GraphModule) -> set[str]:
    """The layers whose filters are the network's outputs, seen through what has no filters."""
    modules = dict(made.named_modules())
    layers: set[str] = set()
    output = next(n for n in made.graph.nodes if n.op == "output")
    stack, seen = list(output.all_input_nodes), set[fx.Node]()
    while stack:
        node = stack.pop()
        if node in seen:
            continue
        seen.add(node)
        module = modules.get(str(node.target)) if node.op == "call_module" else None
        weighted = isinstance(module, (nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.Linear))
        if weighted and not _depthwise(module):
            layers.add(str(node.target))
        else:
            stack += node.all_input_nodes
    return layers


def _maps_to_convolutions(made: fx.GraphModule) -> set[str]:
    """Write each channel map as the 1x1 convolution that it is, which the graph can follow."""
    names: set[str] = set()
    for name, module in list(made.named_modules()):
        if isinstance(module, ChannelMap):
            out, into = len(module.source), module.in_channels
            conv = nn.Conv2d(into, out, 1, bias=False).to(module.source.device)
            with torch.no_grad():
                conv.weight.zero_()
                there = (module.source >= 0).nonzero().flatten()
                conv.weight[there, module.source[there]] = 1.0
            made.set_submodule(name, conv)
            names.add(name)
    return names


def _convolutions_to_maps(made: fx.GraphModule, names: set[str]) -> None:
    for name in names:
        weight = made.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        rows = weight.detach()[:, :, 0, 0]
        largest, place = rows.max(1)
        source = torch.where(largest > 0, place, torch.full_like(place, -1))
        made.set_submodule(name, ChannelMap(source, rows.shape[1]))
