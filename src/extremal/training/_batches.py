"""Batches for the loop: from a `Data` held on the device, or from any iterable of the user's.

The order of a `Data` is a function of (seed, epoch). The last batch of an epoch may be smaller;
a single left-over image joins the batch before, since batch normalisation cannot use one image.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from extremal.lab import derive_seed

from ._augment import augmented
from ._data import Data, Normaliser
from ._ddp import Group
from ._errors import TrainingError
from ._hash import shuffled
from ._randomness import generators, set_generators

_TOGETHER = 16  # batches that a GPU prepares at a time: 25 MB of CIFAR-10 at 128 images


class Batch(NamedTuple):
    """What one step sees in this process."""

    content: Any
    """(inputs, labels), or whatever the user's loader gave, on the device."""
    size: int
    """Images of this process."""
    weight: float
    """Factor of this process's mean loss, so that the mean over processes is that over images."""


def steps_per_epoch(data: Data | Iterable[Any], batch_size: int = 128) -> int:
    """Return the number of iterations of one pass over the training data.

    Args:
        data: A `Data`, or an iterable of batches with a length (whose own batches then count).
        batch_size: Images per step.

    Raises:
        ValueError: The batch size is below 1, or the iterable has no length or no batch.

    Example:
        >>> from extremal.training import load_data
        >>> steps_per_epoch(load_data("digits"), 128)
        12
    """
    if isinstance(data, Data):
        return len(_bounds(len(data.train), batch_size))
    try:
        steps = len(cast("Any", data))
    except TypeError as error:
        raise ValueError(
            f"The training data ({type(data).__name__}) have no length, so the learning rates of "
            "an epoch cannot be counted; pass a list of batches, a DataLoader or a Data."
        ) from error
    if steps < 1:
        raise ValueError("The training data have no batch, so there is nothing to train on.")
    return steps


def _bounds(n: int, batch_size: int) -> list[tuple[int, int]]:
    if batch_size < 1:
        raise ValueError(f"batch_size={batch_size} makes no step; give 1 or more.")
    starts = list(range(0, n, batch_size))
    if len(starts) > 1 and batch_size > 1 and n - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], n], strict=True))


class DataBatches:
    """The training images of a `Data`, on the device."""

    def __init__(
        self,
        data: Data,
        batch_size: int,
        seed: int,
        device: torch.device,
        group: Group | None = None,
    ) -> None:
        """Move the images to the device, once."""
        self.kind, self.group, self.device = data.augment, group or Group(), device
        self.images = data.train.images.to(device)
        self.labels = data.train.labels.to(device)
        self.normalise = Normaliser(data, device)
        self.bounds = _bounds(len(data.train), batch_size)
        self.steps = len(self.bounds)
        self.order_seed = derive_seed(seed, "order")
        self.augment_seed = derive_seed(seed, "augment")

    def epoch(self, epoch: int, first: int, began: Mapping[str, Tensor]) -> Iterator[Batch]:
        """Yield the batches of a pass from its `first`-th on."""
        del began  # the order needs no generator
        order = shuffled(len(self.labels), self.order_seed, epoch, device=self.device)
        rank, world = self.group.rank, self.group.world
        # What a batch is made by takes some 30 kernels, as long for many images as for few.
        together = 1 if self.device.type == "cpu" else _TOGETHER
        for number in range(first, self.steps, together):
            parts: list[tuple[int, int, float]] = []
            for start, stop in self.bounds[number : number + together]:
                whole = stop - start
                # Fewer images than processes: each computes all, which averages to the same.
                if world > 1 and whole >= world:
                    start, stop = start + rank * whole // world, start + (rank + 1) * whole // world
                share = (stop - start) * world / whole if whole >= world else 1.0
                parts.append((start, stop, share))
            index = torch.cat([order[start:stop] for start, stop, _ in parts])
            images = augmented(self.kind, self.images[index], index, self.augment_seed, epoch)
            sizes = [stop - start for start, stop, _ in parts]
            ready = zip(
                self.normalise(images).split(sizes), self.labels[index].split(sizes), strict=True
            )
            for content, size, (_, _, share) in zip(ready, sizes, parts, strict=True):
                yield Batch(content, size, share)


class LoaderBatches:
    """The batches of a user's iterable, moved to the device as they come.

    Order and augmentation are the loader's affair. A pass that is taken up in its middle draws
    the batches before once more and drops them, so the loader's random numbers repeat.
    """

    def __init__(self, loader: Iterable[Any], device: torch.device) -> None:
        """Take any iterable with a length."""
        self.loader, self.device = loader, device
        self.steps = steps_per_epoch(loader)

    def epoch(self, epoch: int, first: int, began: Mapping[str, Tensor]) -> Iterator[Batch]:
        """Yield the batches of a pass from its `first`-th on.

        `began` holds the random generators as they were when the pass began.
        """
        set_epoch = getattr(getattr(self.loader, "sampler", None), "set_epoch", None)
        if set_epoch is not None:
            set_epoch(epoch)  # a DistributedSampler's order
        now = generators(self.device)
        if first:
            set_generators(began, self.device)
        source = iter(self.loader)
        for _ in range(first):
            next(source, None)
        if first:
            set_generators(now, self.device)
        for number in range(first, self.steps):
            try:
                content = moved_to(next(source), self.device)
            except StopIteration:
                raise TrainingError(
                    f"The training data announced {self.steps} batches and gave {number}; the "
                    "learning rates are counted by the announcement. Give data whose length is "
                    "right, and that can be iterated once per epoch."
                ) from None
            yield Batch(content, _images_in(content), 1.0)


def moved_to(content: Any, device: torch.device) -> Any:
    """Return the same lists, tuples and mappings with their tensors on the device."""
    if isinstance(content, Tensor):
        return content.to(device, non_blocking=True)
    if isinstance(content, Mapping):
        mapping = cast("Mapping[Any, Any]", content)
        return {key: moved_to(value, device) for key, value in mapping.items()}
    if isinstance(content, list | tuple):
        items = [moved_to(item, device) for item in cast("list[Any]", content)]
        return items if isinstance(content, list) else tuple(items)
    return content


def _images_in(content: Any) -> int:
    """The length of the first tensor; 1 where there is none, which weighs all batches equally."""
    if isinstance(content, Tensor):
        return len(content) if content.ndim else 1
    parts: Iterable[Any] = ()
    if isinstance(content, Mapping):
        parts = cast("Mapping[Any, Any]", content).values()
    elif isinstance(content, list | tuple):
        parts = cast("list[Any]", content)
    for part in parts:
        if isinstance(part, Tensor) and part.ndim:
            return len(part)
    return 1
