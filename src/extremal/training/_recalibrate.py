"""Running statistics of batch normalisation, measured anew.

After weights were averaged or pruned, the stored means and variances belong to another network.
They are replaced by the means over a part of the training data of each batch's mean and
(unbiased) variance, weighted by the batch sizes. Source: the reference code of "Sparse Model
Soups". Differs from it: the statistics are true averages, not an exponential mean that still
remembers its start; every type of batch normalisation counts; no batch is an error, not a reset.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ._batches import moved_to, steps_per_epoch
from ._data import Data, Normaliser, stratified
from ._hash import shuffled
from ._modes import device_of, modes_kept


def recalibrate(
    model: nn.Module,
    data: Data | Iterable[Any],
    *,
    fraction: float = 0.2,
    batch_size: int = 128,
) -> int:
    """Measure the statistics of every batch normalisation on training data, without augmentation.

    Only the normalisation layers run in train mode, so no dropout is active; modes and momentum
    are put back.

    Args:
        model: Any module; one without running statistics is left alone.
        data: A `Data` (a stratified part of its training images is used, always the same), or an
            iterable of batches with a length, whose first ones are used.
        fraction: The share of the images (of the batches), 0 < fraction <= 1.
        batch_size: Images per batch of a `Data`.

    Returns:
        How many samples were seen; 0 if there was nothing to measure.

    Raises:
        ValueError: The share is out of range or gives no batch. Nothing is reset then.
    """
    if not 0 < fraction <= 1:
        raise ValueError(
            f"recalibrate: fraction={fraction} is no share of the data; choose 0 < fraction <= 1."
        )
    norms = [
        module
        for module in model.modules()
        if isinstance(module, _BatchNorm) and module.running_mean is not None
    ]
    if not norms:
        return 0
    batches = _batches(data, fraction, batch_size, device_of(model))
    averages = {norm: _Average(norm) for norm in norms}
    momenta = [norm.momentum for norm in norms]
    handles = [norm.register_forward_hook(averages[norm].add) for norm in norms]
    seen = 0
    try:
        with modes_kept(model), torch.no_grad():
            model.eval()
            for norm in norms:
                norm.reset_running_stats()
                norm.momentum = 1.0  # the running statistics are then those of the last batch
                norm.train()
            for inputs in batches:
                model(inputs)
                seen += len(inputs)
    finally:
        for handle in handles:
            handle.remove()
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum
    for average in averages.values():
        average.store()
    return seen


class _Average:
    """Mean and variance of one layer over its batches, summed in float64."""

    def __init__(self, norm: _BatchNorm) -> None:
        assert norm.running_mean is not None
        self.norm = norm
        self.mean = torch.zeros_like(norm.running_mean, dtype=torch.float64)
        self.var = torch.zeros_like(self.mean)
        self.weight = 0

    def add(self, norm: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        del norm, output
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        size = len(inputs[0])
        self.mean += size * self.norm.running_mean.double()
        self.var += size * self.norm.running_var.double()
        self.weight += size

    def store(self) -> None:
        assert self.norm.running_mean is not None
        assert self.norm.running_var is not None
        if self.weight:  # a layer that never ran keeps mean 0 and variance 1
            self.norm.running_mean.copy_(self.mean / self.weight)
            self.norm.running_var.copy_(self.var / self.weight)


def _batches(
    data: Data | Iterable[Any], fraction: float, batch_size: int, device: torch.device
) -> Iterator[Tensor]:
    """The inputs of the batches; raises at once, not at the first batch."""
    if isinstance(data, Data):
        count = int(fraction * len(data.train))
        if count < 2:
            raise ValueError(
                f"recalibrate: {fraction} of {len(data.train)} training images are {count}, too "
                "few for a variance; choose a larger fraction."
            )
        chosen, _ = stratified(data.train.labels, count, seed=0)
        mixed = chosen[shuffled(count, 0)]  # a batch of one class would have that class's mean
        normalise = Normaliser(data, device)
        pieces = list(mixed.split(batch_size))
        if len(pieces) > 1 and len(pieces[-1]) == 1:  # one image may have no variance
            pieces[-2:] = [torch.cat(pieces[-2:])]
        if device.type == "cpu":
            return (normalise(data.train.images[piece]) for piece in pieces)
        images = data.train.images[torch.cat(pieces)].to(device)  # one copy: each would wait
        return (normalise(part) for part in images.split([len(piece) for piece in pieces]))
    announced = steps_per_epoch(data)
    count = int(fraction * announced)
    if count < 1:
        raise ValueError(
            f"recalibrate: {fraction} of {announced} batches is less than one batch; choose a "
            "larger fraction."
        )
    firsts = (batch for batch, _ in zip(data, range(count), strict=False))
    return (
        moved_to(batch[0] if isinstance(batch, list | tuple) else batch, device) for batch in firsts
    )
