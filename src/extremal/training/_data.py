"""Labelled images held in memory, whole.

A data set is small enough for the memory of the machine (CIFAR-10 is 184 MB as bytes), so there
are no workers and no queues: batches are rows of one tensor, and augmentation is tensor
operations on the device that trains. Bytes stay bytes until a batch is made.

A `Split` is images with labels. A `Data` is a training, a test and maybe a validation split with
everything a training needs to know about them.
"""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import torch
from jaxtyping import Float32, Int64, UInt8
from torch import Tensor

from ._augment import AUGMENTATIONS
from ._hash import shuffled

Images = UInt8[Tensor, "n c h w"] | Float32[Tensor, "n c h w"]


@dataclass(frozen=True)
class Split:
    """Images (bytes 0..255, or float32 in [0, 1]) and the class of each, counted from 0."""

    images: Images
    labels: Int64[Tensor, " labels"]  # as many as images: __post_init__ says it in words

    def __post_init__(self) -> None:
        if len(self.images) != len(self.labels):
            raise ValueError(
                f"A split of {len(self.images)} images has {len(self.labels)} labels; "
                "each image needs exactly one."
            )
        if self.images.numel() == 0:
            raise ValueError(
                f"A split of shape {tuple(self.images.shape)} holds no pixel, so there is nothing "
                "to learn or to measure; give at least one image."
            )

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: Int64[Tensor, " k"]) -> "Split":
        """Return the images of these indices, in their order."""
        return Split(self.images[index], self.labels[index])


class Origin(NamedTuple):
    """The arguments of `load_data` that made a `Data`: what it takes to load it again."""

    name: str
    path: str | None
    train_size: int | None
    validation: float
    seed: int
    augment: str | None


@dataclass(frozen=True)
class Data:
    """A data set for classification, in memory.

    `mean` and `std` are per channel, in units of the interval [0, 1]; batches are normalised with
    them. `augment` is applied to training batches only. `note` belongs beside every accuracy.
    """

    name: str
    train: Split
    test: Split
    validation: Split | None
    classes: int
    class_names: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    augment: str = "none"
    note: str = ""
    origin: Origin | None = None

    def __post_init__(self) -> None:
        if self.classes < 2:
            raise ValueError(f"{self.name}: {self.classes} class leaves nothing to decide.")
        if len(self.class_names) != self.classes:
            raise ValueError(
                f"{self.name}: {self.classes} classes have {len(self.class_names)} names."
            )
        for part, split in self.splits():
            if split.images.shape[1:] != self.train.images.shape[1:]:
                raise ValueError(
                    f"{self.name}: {part} images are {_by(split.images.shape[1:])} and training "
                    f"images {_by(self.shape)}; one network cannot take both. Resize one of them."
                )
            low, high = int(split.labels.min()), int(split.labels.max())
            if low < 0 or high >= self.classes:
                raise ValueError(
                    f"{self.name}: {part} labels reach from {low} to {high}, outside "
                    f"0..{self.classes - 1}; count classes from 0, or raise `classes`."
                )
            if split.images.is_floating_point() and not bool(split.images.isfinite().all()):
                raise ValueError(
                    f"{self.name}: {part} images hold NaN or infinity, which no network survives; "
                    "clean them first."
                )
        channels = self.shape[0]
        if not len(self.mean) == len(self.std) == channels:
            raise ValueError(
                f"{self.name}: {channels} channels have {len(self.mean)} means and "
                f"{len(self.std)} standard deviations; give one of each per channel."
            )
        if min(self.std) <= 0:
            raise ValueError(
                f"{self.name}: a standard deviation of {min(self.std)} would divide by zero; "
                "use 1 for a constant channel."
            )
        if self.augment not in AUGMENTATIONS:
            raise ValueError(
                f"augment={self.augment!r} is unknown; there are {', '.join(AUGMENTATIONS)}."
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of one image."""
        _, c, h, w = self.train.images.shape
        return c, h, w

    def splits(self) -> list[tuple[str, Split]]:
        """The splits there are, with their names."""
        named = [("training", self.train), ("test", self.test), ("validation", self.validation)]
        return [(part, split) for part, split in named if split is not None]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of every array and setting that training or measuring depends on."""
        digest = hashlib.sha256()
        settings = (self.classes, self.class_names, self.mean, self.std, self.augment)
        digest.update(repr(settings).encode())
        for part, split in self.splits():
            for tensor in (split.images, split.labels):
                digest.update(f"{part} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(raw_bytes(tensor))
        return digest.hexdigest()

    def subset(self, n: int, seed: int = 0) -> "Data":
        """Return the same data with `n` training images, each class in its old proportion.

        Args:
            n: How many training images to keep, 1..len(train).
            seed: Decides which.

        Raises:
            ValueError: `n` is outside 1..len(train).
        """
        if not 1 <= n <= len(self.train):
            raise ValueError(
                f"{self.name} has {len(self.train)} training images, so a subset of {n} cannot be "
                f"taken; choose 1..{len(self.train)}."
            )
        chosen, _ = stratified(self.train.labels, n, seed)
        origin = self.origin and self.origin._replace(train_size=n)
        if origin and origin.seed != seed:
            origin = None  # two seeds: `load_data` has no arguments that give this data again
        return replace(self, train=self.train.take(chosen), origin=origin)


def stratified(
    labels: Int64[Tensor, " n"], count: int, seed: int
) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " r"]]:
    """Split indices into `count` chosen and the rest, each class in proportion, both ascending.

    Shares are rounded by largest remainder (the lower class wins a tie), so that the total is
    exact.
    """
    sizes = torch.bincount(labels)
    floors = sizes * count // len(labels)
    remainders = sizes * count % len(labels)
    missing = count - int(floors.sum())
    floors[remainders.argsort(descending=True, stable=True)[:missing]] += 1
    taken = torch.zeros(len(labels), dtype=torch.bool)
    for label, share in enumerate(floors.tolist()):
        members = (labels == label).nonzero().flatten()
        taken[members[shuffled(len(members), seed, label)[:share]]] = True
    return taken.nonzero().flatten(), (~taken).nonzero().flatten()


def channel_statistics(images: Images) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel, in units of [0, 1]; a constant channel gets 1.

    Summed in float64 a piece at a time, so that no float copy of the whole set is made; rounded to
    6 digits, so that the order of a machine's sums cannot change the data's fingerprint.
    """
    scale = 255.0 if images.dtype == torch.uint8 else 1.0
    total = torch.zeros(images.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(total)
    for piece in images.split(4096):
        x = piece.double() / scale
        total += x.sum((0, 2, 3))
        squares += x.square().sum((0, 2, 3))
    n = images.numel() / images.shape[1]
    mean = total / n
    std = (squares / n - mean.square()).clamp_min(0).sqrt()
    std[std < 1e-6] = 1.0
    return tuple(round(x, 6) for x in mean.tolist()), tuple(round(x, 6) for x in std.tolist())


class Normaliser:
    """Turns images as they are stored into float32 of about mean 0 and deviation 1 per channel."""

    def __init__(self, data: Data, device: torch.device) -> None:
        """Put the constants on the device once, not once per batch."""
        self.shift = torch.tensor(data.mean, device=device).view(-1, 1, 1)
        self.scale = torch.tensor(data.std, device=device).view(-1, 1, 1)

    def __call__(self, images: Images) -> Float32[Tensor, "n c h w"]:
        """Return the network's input."""
        x = images.float() / 255.0 if images.dtype == torch.uint8 else images
        return (x - self.shift) / self.scale


def raw_bytes(tensor: Tensor) -> memoryview:
    """The bytes of a tensor's values in order, for a hash; no copy on the CPU."""
    plain = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
    return plain.numpy().data


def _by(shape: Iterable[int]) -> str:
    return "x".join(map(str, shape))
