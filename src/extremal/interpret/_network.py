"""Arthur as a network: values and mask in, scores of the classes and of don't know out.

A hidden unit is 0 with mask 0; a shown one lies in [-1, 1] (or is one-hot, for a column of a table)
with mask 1, so hidden never looks like a value. A column's one-hot entries are shown or hidden
together. Shapes: B rows, d units, w = width of the values, J masks, C classes.
"""

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from extremal.training import chosen_device, network

from ._attacks import Siege
from ._task import Task, in_pixels

_MASKS = 32  # that `cross` looks at together


class Encoder(nn.Module):
    """Turns codes into values, and masks over units into masks over values."""

    def __init__(self, task: Task) -> None:
        """Remember the units."""
        super().__init__()
        self.grid, self.patch, self.d = task.image, task.patch, task.d
        self.image = task.image and (task.image[0] * task.patch, task.image[1] * task.patch)
        pixels = task.patch * task.patch
        sizes = [pixels] * task.d if task.image else task.sizes.tolist()
        self.width = sum(sizes)
        self.levels = round(int(task.sizes[0]) ** (1 / pixels)) if task.image else 0
        begins = np.concatenate([[0], np.cumsum(sizes)])[:-1]
        self.register_buffer("begins", torch.from_numpy(begins.astype(np.int64)), persistent=False)
        expand = np.repeat(np.arange(task.d), sizes)
        if self.grid:  # pixels lie row by row, and those of a block in several rows
            expand = np.arange(task.d).reshape(self.grid)
            expand = expand.repeat(task.patch, 0).repeat(task.patch, 1).reshape(-1)
            of_unit = expand.argsort(kind="stable").reshape(task.d, pixels)
            self.register_buffer("pixels", torch.from_numpy(of_unit), persistent=False)
        self.register_buffer("expand", torch.from_numpy(expand), persistent=False)

    def values(self, codes: Int[np.ndarray, "B d"]) -> Float[Tensor, "B w"]:
        """Return the values of whole rows."""
        begins: Any = self.begins
        if self.grid and self.patch > 1:
            codes = in_pixels(codes, self.grid, self.patch, self.levels)
        given = torch.from_numpy(np.ascontiguousarray(codes, np.int64)).to(begins.device)
        if self.image:
            return given.float() * (2 / (self.levels - 1)) - 1
        known = given >= 0
        out = torch.zeros(len(given), self.width, device=begins.device)
        return out.scatter_(1, (given + begins).clamp_min(0) * known, known.float())

    def forward(self, values: Float[Tensor, "B w"], mask: Float[Tensor, "B d"]) -> Tensor:
        """Return what the network sees of masked rows: (B, 2, h, w) or (B, 1, 1, w + d)."""
        expand: Any = self.expand
        if self.image:
            mask = mask if self.patch == 1 else mask[:, expand]
            return torch.stack([values * mask, mask], 1).unflatten(2, self.image)
        seen = torch.cat([values * mask[:, expand], mask], 1)
        return seen[:, None, None]


class ArthurNet(nn.Module):
    """The network; its last score is don't know."""

    def __init__(self, task: Task, name: str) -> None:
        """Make it anew from torch's global generator."""
        super().__init__()
        self.encoder = Encoder(task)
        size = self.encoder.image or (1, self.encoder.width + task.d)
        channels = 2 if task.image else 1
        self.body = network(name, in_channels=channels, classes=task.classes + 1, image_size=size)

    def forward(
        self, values: Float[Tensor, "B w"], mask: Float[Tensor, "B d"]
    ) -> Float[Tensor, "B c"]:
        """Return the scores."""
        return self.body(self.encoder(values, mask))

    def cross(
        self, values: Float[Tensor, "B w"], masks: Bool[Tensor, "J d"]
    ) -> Float[Tensor, "B J c"]:
        """Return the scores of every row under every mask.

        Cost: for an `mlp` on images the first layer reads only the k shown pixels, a k/d part of
        the dense product, which is most of the work; else B J forward passes.
        """
        b, j = len(values), len(masks)
        sizes = masks.sum(1)
        k = int(sizes[0])
        found = self._layers()
        if found is None or self.encoder.image is None or not bool((sizes == k).all()):
            rows = values.repeat_interleave(j, 0)
            return self(rows, masks.float().repeat(b, 1)).unflatten(0, (b, j))
        first, rest = found
        weight = first.weight.t()  # (2 w, hidden): of the values, then of the mask
        pixels: Any = self.encoder.pixels
        at = pixels[masks.nonzero()[:, 1]].reshape(j, -1)  # the pixels of the k units
        rows = values.t()
        told = (weight[self.encoder.width + at].sum(1) + first.bias).unsqueeze(1)
        parts: list[Tensor] = []
        # Pieces that stay in the cache: whole, the layers between took as long as the products.
        for some, bias in zip(at.split(_MASKS), told.split(_MASKS), strict=True):
            shown = rows[some].transpose(1, 2)  # (J, B, pixels)
            out = torch.baddbmm(bias, shown, weight[some]).flatten(0, 1)
            parts.append(_through(rest, out).unflatten(0, (-1, b)))
        return torch.cat(parts).transpose(0, 1)

    def added(
        self, values: Float[Tensor, "B w"], masks: Float[Tensor, "B d"], units: Int[Tensor, " J"]
    ) -> Float[Tensor, "B J c"]:
        """Return the scores of every row with each one of some units shown besides its mask.

        Cost: for an `mlp` the first layer is computed once a row, and a unit adds its columns to
        it; else B J forward passes.
        """
        b, j = len(values), len(units)
        found = self._layers()
        if found is None:
            more = masks[:, None].expand(-1, j, -1).clone()
            more[:, torch.arange(j), units] = 1.0
            return self(values.repeat_interleave(j, 0), more.flatten(0, 1)).unflatten(0, (b, j))
        first, rest = found
        weight = first.weight.t()
        width = self.encoder.width
        before = first(self.encoder(values, masks).flatten(1))
        if self.encoder.image is not None:
            pixels: Any = self.encoder.pixels
            at = pixels[units]  # (J, pixels of a unit)
            step = torch.einsum("bjp,jph->bjh", values[:, at], weight[at])
            told = weight[width + at].sum(1)
        else:  # the one-hot entries of a unit come and go together
            expand: Any = self.encoder.expand
            begins: Any = self.encoder.begins
            level = torch.zeros(b, self.encoder.d, dtype=torch.long, device=values.device)
            at, entry = values.nonzero(as_tuple=True)
            level[at, expand[entry]] = entry - begins[expand[entry]]
            step = weight[(begins + level)[:, units]]
            told = weight[width + units]
        step = (step + told) * (1 - masks[:, units, None])  # shown ones stay
        return _through(rest, before[:, None] + step)

    def _layers(self) -> tuple[nn.Linear, list[nn.Module]] | None:
        """The first layer and the others where the network is a stack on the flat input."""
        layers = list(self.body.children()) if isinstance(self.body, nn.Sequential) else []
        if len(layers) > 2 and isinstance(layers[0], nn.Flatten):
            first = layers[1]
            if isinstance(first, nn.Linear):
                return first, layers[2:]
        return None


def _through(layers: list[nn.Module], out: Tensor) -> Tensor:
    """The layers after the first; what a ReLU is given is not needed again."""
    for layer in layers:
        out = out.relu_() if isinstance(layer, nn.ReLU) else layer(out)
    return out


class NetArthur:
    """An `ArthurNet` as the function that an audit asks, in batches, without gradients."""

    name = "a network"

    def __init__(self, net: ArthurNet, task: Task, k: int, attacker: Any = None) -> None:
        """Wrap a trained network; `attacker` is a learned Morgana, if there is one."""
        self.net, self.task, self.k, self.attacker = net.eval(), task, k, attacker

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n c"]:
        """Return the scores."""
        parts: list[Any] = []
        with torch.inference_mode():
            for start in range(0, len(codes), 8192):
                piece = slice(start, start + 8192)
                shown = torch.from_numpy(mask[piece].astype(np.float32)).to(self.device)
                values = self.net.encoder.values(np.maximum(codes[piece], 0))
                parts.append(self.net(values, shown).double().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, self.task.classes + 1))

    def to(self, device: str) -> "NetArthur":
        """Return the same Arthur on a device, a copy where that is another one."""
        place = chosen_device(device)
        if place.type == self.device.type:
            return self
        attacker = None if self.attacker is None else copy.deepcopy(self.attacker).to(place)
        return NetArthur(copy.deepcopy(self.net).to(place), self.task, self.k, attacker)

    @property
    def device(self) -> torch.device:
        """Where the network lies."""
        return next(self.net.parameters()).device

    def attacks(self, restarts: int, seed: int) -> dict[str, Callable[[Siege], str]]:
        """Return the attacks that use gradients."""
        from ._gradient_attacks import gradient_attacks

        return gradient_attacks(self, restarts, seed)
