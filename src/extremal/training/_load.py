"""One function that loads every data set."""

import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extremal.lab import imported, progress

from ._cifar10 import cifar10
from ._data import Data, Origin, Split, channel_statistics, stratified
from ._digits import digits
from ._errors import TrainingError
from ._mnist import mnist

_NAMES = ("digits", "cifar10", "mnist")
_HOW = {
    "cifar10": "the image tar or folder (train/CLASS/NAME.jpg), or the python batches",
    "mnist": "the folder of the four IDX files, or an .npz file",
}


def load_data(
    name: str = "digits",
    *,
    path: str | Path | None = None,
    train_size: int | None = None,
    validation: float = 0.0,
    seed: int = 0,
    augment: str | None = None,
) -> Data:
    """Load a data set into memory.

    Args:
        name: "digits" (embedded), "cifar10", "mnist", or `module:function` for a function that
            returns a `Data` or a pair (training, test) of torch Datasets.
        path: Where "cifar10" or "mnist" lies; handed to a function of yours as `path=`.
        train_size: Train on this many images, each class in proportion; all of them by default.
        validation: Share of the training images to set aside first, 0 <= share < 1, each class in
            proportion.
        seed: Decides which images are set aside and taken.
        augment: "none", "crop" or "crop-flip"; by default "crop-flip" for CIFAR-10, else "none".

    Returns:
        The data. The same arguments give the same images in the same order on every machine.

    Raises:
        ValueError: An argument makes no sense.
        TrainingError: The files at `path` cannot be read.

    Example:
        >>> data = load_data("digits", validation=0.1)
        >>> data.shape, len(data.train), len(data.validation), len(data.test)
        ((1, 8, 8), 1293, 144, 360)
    """
    if ":" in name:
        data = _own(name, path)
    elif name == "digits":
        if path is not None:
            raise ValueError(
                f"load_data: digits are embedded, so path={str(path)!r} would be ignored; "
                "leave it out, or name the data set that lies there."
            )
        data = digits()
    elif name in _HOW:
        data = (cifar10 if name == "cifar10" else mnist)(_existing(name, path))
    else:
        raise ValueError(
            f"load_data: there is no data set {name!r}; there are {', '.join(_NAMES)}, and "
            "module:function for your own."
        )
    if augment is not None:
        data = replace(data, augment=augment)
    if not 0 <= validation < 1:
        raise ValueError(
            f"load_data: validation={validation} is no share of the training images; "
            "choose 0 <= validation < 1, such as 0.1."
        )
    held = round(validation * len(data.train))
    if validation and not 0 < held < len(data.train):
        raise ValueError(
            f"load_data: validation={validation} of {len(data.train)} training images sets aside "
            f"{held} and leaves {len(data.train) - held}; both must be at least one."
        )
    if held:
        chosen, rest = stratified(data.train.labels, held, seed)
        data = replace(data, train=data.train.take(rest), validation=data.train.take(chosen))
    if train_size is not None:
        data = data.subset(train_size, seed)
    where = None if path is None else str(path)
    return replace(data, origin=Origin(name, where, train_size, validation, seed, augment))


def _existing(name: str, path: str | Path | None) -> Path:
    if path is None:
        raise ValueError(
            f"load_data: {name} is not embedded; give path= (in the shell --path) with "
            f"{_HOW[name]}."
        )
    path = Path(path)
    if not path.exists():
        raise ValueError(
            f"load_data: there is nothing at {path}; give the path of {_HOW[name]} of {name}."
        )
    return path


def _own(name: str, path: str | Path | None) -> Data:
    function = imported(name, "data set")
    if path is None:
        made = function()
    elif "path" in inspect.signature(function).parameters:
        made = function(path=path)
    else:
        raise ValueError(
            f"load_data: {name} takes no argument path, so path={str(path)!r} would be ignored; "
            "leave it out, or let the function take it."
        )
    if isinstance(made, Data):
        return made
    if not isinstance(made, tuple) or len(made) != 2:
        raise ValueError(
            f"load_data: {name} returned {type(made).__name__}; expected a Data or a pair "
            "(training, test) of torch Datasets."
        )
    train, test = (_held(name, dataset) for dataset in made)
    classes = max(int(train.labels.max()), int(test.labels.max())) + 1
    names = getattr(made[0], "classes", None) or range(classes)
    mean, std = channel_statistics(train.images)
    return Data(
        name=name,
        train=train,
        test=test,
        validation=None,
        classes=len(names),
        class_names=tuple(map(str, names)),
        mean=mean,
        std=std,
    )


def _held(name: str, dataset: Any) -> Split:
    """A torch Dataset of (image, label) read whole into memory."""
    images: list[Tensor] = []
    labels: list[int] = []
    with progress(len(dataset), f"reading {name}") as bar:
        for i in range(len(dataset)):
            item, label = dataset[i]
            image = item if isinstance(item, Tensor) else torch.from_numpy(np.array(item))
            if not isinstance(item, Tensor) and image.ndim == 3:
                image = image.permute(2, 0, 1)  # pictures and arrays have their channels last
            if image.ndim == 2:
                image = image[None]
            images.append(image if image.dtype == torch.uint8 else image.float())
            labels.append(int(label))
            bar.advance()
    shapes = {tuple(image.shape) for image in images}
    if len(shapes) != 1 or len(next(iter(shapes))) != 3:
        raise TrainingError(
            f"{name} gives images of the shapes {sorted(shapes)[:3]}; every image must have one "
            "and the same shape (channels, height, width)."
        )
    return Split(torch.stack(images), torch.tensor(labels))
