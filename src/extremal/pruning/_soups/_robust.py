"""Accuracy on corrupted test images: every kind, every severity, never one in place of all."""

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from extremal import training
from extremal.training import Data, Split

from ._corruptions import CORRUPTIONS, SEVERITIES, corrupt

_PER_SEVERITY = 10_000  # images of one severity in a CIFAR-C file
_FEW = 1 << 22  # bytes of images whose corruptions are kept for the next network: 45 times as many


def corrupted_accuracies(
    models: Sequence[nn.Module], data: Data, images: int, seed: int, folder: str | None = None
) -> dict[str, Any]:
    """Measure a network, or an ensemble of several, on corrupted data.

    Args:
        models: One network; of several, the mean probabilities answer.
        data: Its test split is corrupted.
        images: How many test images, a stratified choice that is always the same.
        seed: Of the noise.
        folder: CIFAR-C files to measure as well.

    Returns:
        `mean` over kinds and severities, `kinds` (accuracy at severities 1 to 5), `images`; and
        the same of the files under `files`, where there are any.
    """
    chosen = _some(data.test, images)
    kinds = {
        kind: _accuracies(
            models,
            [Split(_corrupted(chosen.images, kind, s, seed), chosen.labels) for s in SEVERITIES],
            data,
        )
        for kind in CORRUPTIONS
    }
    found: dict[str, Any] = {"mean": _mean(kinds), "kinds": kinds, "images": len(chosen)}
    if folder is not None:
        files = {
            kind: _accuracies(models, splits, data) for kind, splits in read_cifar_c(folder, images)
        }
        found["files"] = {"mean": _mean(files), "kinds": files}
    return found


def read_cifar_c(
    folder: str | Path, images: int | None = None
) -> Iterator[tuple[str, list[Split]]]:
    """Read CIFAR-C: `KIND.npy` of 5 x 10,000 images (n, 32, 32, 3) and `labels.npy`.

    Args:
        folder: With the files.
        images: Of each severity, the first so many.

    Yields:
        Kind, and one split for each severity.

    Raises:
        ValueError: Files are missing or of another form.
    """
    folder = Path(folder)
    files = sorted(p for p in folder.glob("*.npy") if p.name != "labels.npy")
    if not files or not (folder / "labels.npy").exists():
        raise ValueError(f"{folder} has no labels.npy with KIND.npy beside it; give CIFAR-C files.")
    labels = np.load(folder / "labels.npy", allow_pickle=False)
    for file in files:
        pixels = np.load(file, allow_pickle=False, mmap_mode="r")
        count = len(SEVERITIES)
        if (
            pixels.dtype != np.uint8
            or pixels.ndim != 4
            or pixels.shape[3] != 3
            or len(pixels) != len(labels)
            or len(pixels) % count
        ):
            raise ValueError(
                f"{file} has shape {pixels.shape} of {pixels.dtype} and {len(labels)} labels; "
                f"CIFAR-C is ({count * _PER_SEVERITY}, 32, 32, 3) uint8, severity by severity."
            )
        each = len(pixels) // count
        take = each if images is None else min(images, each)
        yield (
            file.stem,
            [
                Split(
                    torch.from_numpy(
                        np.ascontiguousarray(pixels[s * each : s * each + take])
                        .transpose(0, 3, 1, 2)
                        .copy()
                    ),
                    torch.from_numpy(labels[s * each : s * each + take].astype(np.int64)),
                )
                for s in range(count)
            ],
        )


def _corrupted(images: Tensor, kind: str, severity: int, seed: int) -> Tensor:
    """As `corrupt`; a soup's dozen networks share the result, where the images are few."""
    if images.nbytes > _FEW:
        return corrupt(images, kind, severity, seed)
    array = images.cpu().numpy()
    return _kept(array.tobytes(), array.dtype.str, array.shape, kind, severity, seed)


@functools.lru_cache(maxsize=len(CORRUPTIONS) * len(SEVERITIES))
def _kept(
    raw: bytes, dtype: str, shape: tuple[int, ...], kind: str, severity: int, seed: int
) -> Tensor:
    array = np.frombuffer(raw, dtype).reshape(shape)
    return corrupt(torch.from_numpy(array.copy()), kind, severity, seed)


def _some(split: Split, images: int) -> Split:
    """Evenly spaced images of each class in turn."""
    if images >= len(split):
        return split
    order = split.labels.argsort(stable=True)
    places = torch.arange(images) * len(split) // images
    return split.take(order[places].sort().values)


def _accuracies(models: Sequence[nn.Module], splits: Sequence[Split], data: Data) -> list[float]:
    """Of each split, measured in one sweep: a GPU is then waited for once."""
    together = Split(
        torch.cat([split.images for split in splits]), torch.cat([split.labels for split in splits])
    )
    if len(models) == 1:
        right = torch.from_numpy(training.evaluate(models[0], together, data=data).correct)
    else:
        total = torch.zeros(())
        for model in models:
            total = total + training.scores(model, together, data=data)[0].double().softmax(1)
        right = total.argmax(1) == together.labels
    parts = right.split([len(split) for split in splits])
    return [int(part.sum()) / len(part) for part in parts]


def _mean(kinds: dict[str, list[float]]) -> float:
    values = [value for row in kinds.values() for value in row]
    return sum(values) / len(values)
