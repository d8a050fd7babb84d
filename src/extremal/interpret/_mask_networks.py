"""Provers that learn: networks from a row and a class to a mask.

A network gives one number a unit; sigmoid and scaling make it a relaxed mask of sum at most k.
`MaskMLP` reads rows of any kind; `MaskUNet` reads images with an encoder and a decoder that halves
and doubles. Widths of the full U-Net: 64, 128, 256, 512, 512.
"""

import itertools
import math
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional

from ._network import Encoder
from ._task import Task

CONDITIONS = ("planes", "gate", "none")


class MaskMLP(nn.Module):
    """Two hidden layers over the values and the class."""

    def __init__(self, task: Task, condition: str, provers: int = 1, width: int = 256) -> None:
        """Make it anew; `provers` masks come out, one a prover that shares the network."""
        super().__init__()
        self.encoder, self.classes, self.condition = Encoder(task), task.classes, condition
        self.provers = provers
        told = task.classes if condition != "none" else 0
        self.body = nn.Sequential(
            nn.Linear(self.encoder.width + told, width), nn.ReLU(),
            nn.Linear(width, width), nn.ReLU(), nn.Linear(width, provers * task.d),
        )  # fmt: skip

    def forward(
        self, values: Float[Tensor, "b w"], labels: Int[Tensor, " b"], prover: int = 0
    ) -> Float[Tensor, "b d"]:
        """Return one number a unit."""
        if self.condition != "none":
            values = torch.cat([values, functional.one_hot(labels, self.classes).float()], 1)
        return self.body(values).unflatten(1, (self.provers, -1))[:, prover]


class MaskUNet(nn.Module):
    """Encoder and decoder with skips; the class is given as planes or gates the bottleneck.

    Where units are blocks of pixels, a block's number is the mean of its pixels'.
    """

    def __init__(self, task: Task, condition: str, provers: int = 1, width: float = 1.0) -> None:
        """Make it anew; `width` scales all channels, 0.25 being the quarter-width network."""
        super().__init__()
        self.encoder, self.classes, self.condition = Encoder(task), task.classes, condition
        if self.encoder.image is None:
            raise ValueError("a U-Net reads images; use the prover mlp for tables.")
        sizes = [max(4, round(width * c)) for c in (64, 128, 256, 512, 512)]
        smallest = min(self.encoder.image)
        depth = max(1, min(4, int(math.log2(smallest)) - 1))  # at least 2 pixels are left
        sizes = sizes[: depth + 1]
        told = task.classes if condition == "planes" else 0
        self.down = nn.ModuleList([_double(1 + told, sizes[0])])
        for a, b in itertools.pairwise(sizes):
            self.down.append(_double(a, b))
        self.up = nn.ModuleList(
            [_double(a + b, b) for a, b in reversed(list(zip(sizes[1:], sizes, strict=False)))]
        )
        self.gate = nn.Embedding(task.classes, sizes[-1]) if condition == "gate" else None
        self.out = nn.Conv2d(sizes[0], provers, 1)
        # Quarter width, 64 rows forward and back on one core: 0.35 s as rows of planes, 0.27 s so.
        self.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]

    def forward(
        self, values: Float[Tensor, "b w"], labels: Int[Tensor, " b"], prover: int = 0
    ) -> Float[Tensor, "b d"]:
        """Return one number a pixel."""
        assert self.encoder.image is not None
        x = values.unflatten(1, self.encoder.image)[:, None]
        if self.condition == "planes":
            told = functional.one_hot(labels, self.classes).float()[:, :, None, None]
            x = torch.cat([x, told.expand(-1, -1, *x.shape[2:])], 1)
        kept: list[Tensor] = []
        for i, block in enumerate(self.down):
            x = block(x if i == 0 else functional.max_pool2d(x, 2, ceil_mode=True))
            kept.append(x)
        if self.gate is not None:  # as the saliency network of Dabkowski and Gal
            x = x * torch.sigmoid((x * self.gate(labels)[:, :, None, None]).sum(1, keepdim=True))
        for block, skip in zip(self.up, reversed(kept[:-1]), strict=True):
            size = skip.shape[2:]
            x = functional.interpolate(x, size=size, mode="bilinear", align_corners=False)
            x = block(torch.cat([x, skip], 1))
        x = self.out(x)[:, prover]
        if self.encoder.patch > 1:
            x = functional.avg_pool2d(x, self.encoder.patch)
        return x.flatten(1)


def _double(before: int, after: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
        nn.Conv2d(after, after, 3, padding=1, bias=False), nn.BatchNorm2d(after), nn.ReLU(),
    )  # fmt: skip


def mask_network(
    kind: str, task: Task, condition: str, provers: int, width: float
) -> "MaskMLP | MaskUNet":
    """Make a prover's network: `mlp` or `u-net`.

    Raises:
        ValueError: The kind or the condition is unknown, or a U-Net is asked for a table.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"condition={condition!r} is unknown; choose {', '.join(CONDITIONS)}.")
    if kind == "mlp":
        return MaskMLP(task, condition, provers)
    if kind == "u-net":
        return MaskUNet(task, condition, provers, width)
    raise ValueError(f"there is no prover network {kind!r}; choose mlp or u-net.")


def soft_mask(
    logits: Float[Tensor, "b d"], k: int, allowed: Bool[Tensor, " d"]
) -> Float[Tensor, "b d"]:
    """Return sigmoids, scaled down to a sum of at most k."""
    s = torch.sigmoid(logits) * allowed
    return s * (k / s.sum(1, keepdim=True).clamp_min(1e-12)).clamp(max=1)


def hard_mask(soft: Float[Tensor, "b d"], binary: Bool[Tensor, "b d"]) -> Float[Tensor, "b d"]:
    """Return the binary mask with the gradient of the soft one (straight through)."""
    return binary.float() + soft - soft.detach()


def soft_top_k(
    logits: Float[Tensor, "b d"], k: int, allowed: Bool[Tensor, " d"],
    generator: torch.Generator, draws: int = 5000, temperature: float = 1.0,
) -> Float[Tensor, "b d"]:  # fmt: skip
    """Return the mean of random k-masks, weighted by softmax of the logits that they show.

    A differentiable top-k by Monte-Carlo: weights softmax(<mask, logits> / temperature).

    Cost: a product (b, d) x (d, draws).
    """
    noise = torch.rand(draws, len(allowed), generator=generator).to(logits.device)
    chosen = torch.where(allowed, noise, -torch.inf).topk(k, dim=1).indices
    masks = torch.zeros(draws, len(allowed), device=logits.device).scatter_(1, chosen, 1.0)
    weight = torch.softmax(logits @ masks.t() / temperature, 1)
    return weight @ masks


def shaped(
    soft: Float[Tensor, "b d"], l1: float, l2: float, tv: float, image: Any
) -> Float[Tensor, " b"]:
    """Return the penalties of a learned mask, a number a row."""
    from ._relaxed import total_variation

    out = l1 * soft.mean(1) + l2 * soft.square().mean(1)
    return out + tv * total_variation(soft, image) if tv and image is not None else out
