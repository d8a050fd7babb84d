"""MNIST, or any set in its formats: a folder of IDX files, or one `.npz`.

IDX: four bytes 0, 0, type (8 = unsigned byte), number of dimensions; each dimension as a
big-endian 32-bit number; then the values. Files may be compressed with gzip.
"""

import gzip
import math
import zipfile
import zlib
from pathlib import Path

import numpy as np
import torch

from ._data import Data, Split, channel_statistics
from ._errors import TrainingError

_PARTS = ("train images", "train labels", "test images", "test labels")
_IDX = ("train-images*idx3-ubyte*", "train-labels*idx1-ubyte*",
        "t10k-images*idx3-ubyte*", "t10k-labels*idx1-ubyte*")  # fmt: skip
_KEYS = (
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("x_train", "y_train", "x_test", "y_test"),
)


def mnist(path: Path) -> Data:
    """Read the set from a folder of IDX files or from an `.npz` file."""
    arrays = _from_folder(path) if path.is_dir() else _from_npz(path)
    splits: list[Split] = []
    for images, labels in (arrays[:2], arrays[2:]):
        if images.ndim == 3:
            images = images[:, None]
        if images.ndim != 4 or images.dtype != np.uint8:
            raise TrainingError(
                f"{path}: images are {images.dtype} of shape {images.shape}; expected bytes of "
                "shape (n, height, width) or (n, channels, height, width)."
            )
        if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
            raise TrainingError(
                f"{path}: labels are {labels.dtype} of shape {labels.shape} for {len(images)} "
                "images; expected one whole number each."
            )
        splits.append(
            Split(
                torch.from_numpy(np.ascontiguousarray(images)),
                torch.from_numpy(labels.astype(np.int64)),
            )
        )
    train, test = splits
    mean, std = channel_statistics(train.images)
    return Data(
        name="mnist",
        train=train,
        test=test,
        validation=None,
        classes=10,
        class_names=tuple("0123456789"),
        mean=mean,
        std=std,
    )


def _from_npz(path: Path) -> list[np.ndarray]:
    try:
        with np.load(path, allow_pickle=False) as archive:
            for keys in _KEYS:
                if set(keys) <= set(archive.files):
                    return [archive[key] for key in keys]
            found = ", ".join(archive.files) or "none"
    except (zipfile.BadZipFile, ValueError, EOFError, AttributeError, zlib.error) as error:
        raise TrainingError(
            f"{path} is not a readable .npz file ({error}); give an .npz or a folder of IDX files."
        ) from error
    raise TrainingError(
        f"{path} holds the arrays {found}; expected {', '.join(_KEYS[0])} or {', '.join(_KEYS[1])}."
    )


def _from_folder(folder: Path) -> list[np.ndarray]:
    arrays: list[np.ndarray] = []
    for part, pattern in zip(_PARTS, _IDX, strict=True):
        found = sorted(folder.glob(pattern))
        if not found:
            raise TrainingError(
                f"{folder} has no file {pattern} with the {part}; put the four IDX files of MNIST "
                "into one folder (compressed with gzip or not)."
            )
        arrays.append(_idx(found[0]))
    return arrays


def _idx(path: Path) -> np.ndarray:
    raw = path.read_bytes()
    if raw[:2] == b"\x1f\x8b":
        try:
            raw = gzip.decompress(raw)
        except (EOFError, OSError, zlib.error) as error:
            raise TrainingError(
                f"{path} does not unpack ({error}); download the file again."
            ) from error
    if len(raw) < 4 or raw[:3] != b"\0\0\x08":
        raise TrainingError(
            f"{path} does not begin as an IDX file of bytes (00 00 08), so its shape is unknown; "
            "check that it is the file it is named after."
        )
    dimensions = raw[3]
    start = 4 + 4 * dimensions
    shape = [int.from_bytes(raw[at : at + 4], "big") for at in range(4, start, 4)]
    if len(raw) - start != math.prod(shape):
        raise TrainingError(
            f"{path} announces {math.prod(shape)} values of shape {tuple(shape)} and holds "
            f"{len(raw) - start}; the file is cut or damaged, download it again."
        )
    # A bytearray, since torch wants memory that may be written to.
    return np.frombuffer(bytearray(raw), np.uint8, offset=start).reshape(shape)
