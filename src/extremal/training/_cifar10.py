"""CIFAR-10 from a tar of images, a folder of images, or the python batches (folder or tar).

Images lie as `train/CLASS/NAME.jpg` and `test/CLASS/NAME.jpg` (or `.png`), at any depth. Decoding
60,000 small files takes many seconds and every command needs them, so the decoded bytes are kept
in the user's cache folder under the SHA-256 of what they were decoded from; a cache file is
written atomically and checked against its own hash when it is read.
"""

import hashlib
import io
import logging
import re
import tarfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, cast

import numpy as np
import platformdirs
import torch

from extremal.lab import progress, require

from ._data import Data, Split
from ._errors import TrainingError
from ._python_batches import read_python_batch
from ._tensors import load_file, save_tensors

CLASSES = ("airplane", "automobile", "bird", "cat", "deer",
           "dog", "frog", "horse", "ship", "truck")  # fmt: skip
MEAN = (0.4914, 0.4822, 0.4465)
STD = (0.2023, 0.1994, 0.2010)
_LAYOUTS = (
    "an image tar or folder with train/CLASS/NAME.jpg and test/CLASS/NAME.jpg, or the python "
    "batches data_batch_1..5 and test_batch (folder or tar)"
)
_BATCH = re.compile(r"(data_batch_\d+|test_batch)")
_IMAGE = (".jpg", ".jpeg", ".png")
_CACHE_VERSION = 1

File = tuple[str, bytes]  # name with forward slashes, content


def cifar10(path: Path) -> Data:
    """Read CIFAR-10 from `path`, through the cache."""
    if path.is_dir():
        files = sorted(_folder_files(path))
        digest = hashlib.sha256()
        for name, content in files:
            digest.update(f"{len(name)} {name} {len(content)} ".encode())
            digest.update(content)
        return _cached(digest.hexdigest(), lambda: _decoded(files, path))
    with path.open("rb") as file:
        key = hashlib.file_digest(file, "sha256").hexdigest()
    return _cached(key, lambda: _decoded(sorted(_tar_files(path)), path))


def _cached(key: str, decode: Callable[[], Data]) -> Data:
    file = Path(platformdirs.user_cache_dir("extremal")) / "cifar10" / f"{key}.safetensors"
    if file.exists():
        try:
            tensors, state = load_file(file)
            if state.get("version") == _CACHE_VERSION:
                return _data(tensors, str(state["note"]))
        except TrainingError:
            pass  # a damaged cache costs one more decoding, which gives the same bytes
    data = decode()
    tensors = {
        f"{part} {kind}": getattr(split, kind)
        for part, split in data.splits()
        for kind in ("images", "labels")
    }
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(file, tensors, state={"version": _CACHE_VERSION, "note": data.note})
    except OSError as error:
        logging.getLogger("extremal").warning(
            "The decoded images could not be kept in %s (%s); the next command decodes them again.",
            file.parent,
            error,
        )
    return data


def _data(tensors: dict[str, torch.Tensor], note: str) -> Data:
    return Data(
        name="cifar10",
        train=Split(tensors["training images"], tensors["training labels"]),
        test=Split(tensors["test images"], tensors["test labels"]),
        validation=None,
        classes=10,
        class_names=CLASSES,
        mean=MEAN,
        std=STD,
        augment="crop-flip",
        note=note,
    )


def _folder_files(folder: Path) -> Iterator[File]:
    for file in folder.rglob("*"):
        if file.suffix.lower() in _IMAGE or _BATCH.fullmatch(file.name):
            yield file.relative_to(folder).as_posix(), file.read_bytes()


def _tar_files(path: Path) -> Iterator[File]:
    """The images or batches of a tar, in one pass without seeking."""
    try:
        with tarfile.open(path, "r|*") as archive:
            for member in archive:
                name = PurePosixPath(member.name)
                if member.isfile() and (
                    name.suffix.lower() in _IMAGE or _BATCH.fullmatch(name.name)
                ):
                    content = archive.extractfile(member)
                    assert content is not None  # true of every regular file
                    yield member.name, content.read()
    except (tarfile.TarError, EOFError, OSError, ValueError) as error:
        raise _unreadable_tar(path, error) from error
    except Exception as error:  # lzma and zlib have errors of their own, of no common type
        if type(error).__module__ not in ("lzma", "_lzma", "zlib", "bz2"):
            raise
        raise _unreadable_tar(path, error) from error


def _unreadable_tar(path: Path, error: Exception) -> TrainingError:
    return TrainingError(
        f"{path} is not a readable tar file ({error}); it may be cut short. "
        f"CIFAR-10 is read from {_LAYOUTS}."
    )


def _decoded(files: list[File], path: Path) -> Data:
    batches = [file for file in files if _BATCH.fullmatch(PurePosixPath(file[0]).name)]
    if batches:
        return _from_batches(batches, path)
    images = [(_place(name), name, content) for name, content in files]
    parts = {part for (part, _), _, _ in images}
    if parts != {"train", "test"} or {label for (_, label), _, _ in images} != set(CLASSES):
        labels = sorted({label for (_, label), _, _ in images})
        raise TrainingError(
            f"{path} holds {len(images)} images in the parts {sorted(parts)} and the classes "
            f"{labels}; expected train and test with {', '.join(CLASSES)}. "
            f"CIFAR-10 is read from {_LAYOUTS}."
        )
    jpeg = any(name.lower().endswith((".jpg", ".jpeg")) for _, name, _ in images)
    note = "images as found in lossless files"
    if jpeg:
        chroma = _subsampling(next(content for _, name, content in images if name[-1] in "gG"))
        note = (
            f"JPEG-recompressed images{chroma}, not the original CIFAR-10: compare only with runs "
            "on the same files"
        )
    image = require("PIL.Image", "training")
    image.init()  # loads the decoders now, once, rather than in two threads at the same time
    pixels: dict[str, np.ndarray] = {}
    with (
        progress(len(images), "decoding images") as bar,
        ThreadPoolExecutor() as pool,
    ):
        for part in ("train", "test"):
            members = [(name, content) for (p, _), name, content in images if p == part]
            block = np.empty((len(members), 3, 32, 32), np.uint8)

            def fill(start: int, members: list[File] = members, block: np.ndarray = block) -> int:
                for i, (name, content) in enumerate(members[start : start + 500], start):
                    block[i] = _pixels(image, name, content, path)
                return min(500, len(members) - start)

            for n in pool.map(fill, range(0, len(members), 500)):
                bar.advance(n)
            pixels[part] = block
    tensors: dict[str, torch.Tensor] = {}
    for part, title in (("train", "training"), ("test", "test")):
        labels = [CLASSES.index(label) for (p, label), _, _ in images if p == part]
        tensors[f"{title} images"] = torch.from_numpy(pixels[part])
        tensors[f"{title} labels"] = torch.tensor(labels)
    return _data(tensors, note)


def _place(name: str) -> tuple[str, str]:
    """Part and class of an image, from the last folders of its name."""
    parts = ("", "", *PurePosixPath(name).parts)
    return parts[-3], parts[-2]


def _pixels(image: Any, name: str, content: bytes, path: Path) -> np.ndarray:
    try:
        picture = image.open(io.BytesIO(content))  # reads the size only
        if picture.size != (32, 32):
            width, height = picture.size
            raise TrainingError(
                f"{path}: {name} is {width}x{height}; every image of CIFAR-10 is 32x32."
            )
        return np.asarray(picture.convert("RGB")).transpose(2, 0, 1)
    except (OSError, ValueError, SyntaxError, image.DecompressionBombError) as error:
        raise TrainingError(
            f"{path}: {name} is not a readable image ({error}); replace the file."
        ) from error


def _subsampling(content: bytes) -> str:
    jpeg = require("PIL.JpegImagePlugin", "training")
    try:
        with jpeg.JpegImageFile(io.BytesIO(content)) as picture:
            return " (4:2:0 chroma)" if jpeg.get_sampling(picture) == 2 else ""
    except (OSError, SyntaxError):
        return ""  # a damaged image is reported, with its name, where it is decoded


def _from_batches(batches: list[File], path: Path) -> Data:
    images: dict[str, list[np.ndarray]] = {"training": [], "test": []}
    labels: dict[str, list[int]] = {"training": [], "test": []}
    for name, content in sorted(batches):
        batch = read_python_batch(content, name)
        part = "test" if PurePosixPath(name).name == "test_batch" else "training"
        rows, classes = batch.get("data"), batch.get("labels")
        if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape[1:] != (3072,):
            raise TrainingError(
                f"{path}: {name} has no array 'data' of n x 3072 bytes; "
                "use the files of the original distribution."
            )
        if (
            not isinstance(classes, list)
            or len(cast("list[object]", classes)) != len(rows)
            or not all(isinstance(label, int) for label in cast("list[object]", classes))
        ):
            raise TrainingError(
                f"{path}: {name} has no list 'labels' of {len(rows)} whole numbers; "
                "use the files of the original distribution."
            )
        images[part].append(rows.reshape(-1, 3, 32, 32))
        labels[part] += cast("list[int]", classes)
    if not (images["training"] and images["test"]):
        raise TrainingError(
            f"{path} holds {', '.join(name for name, _ in batches)}; "
            "expected data_batch_1..5 and test_batch."
        )
    tensors: dict[str, torch.Tensor] = {}
    for part in ("training", "test"):
        tensors[f"{part} images"] = torch.from_numpy(np.concatenate(images[part]))
        tensors[f"{part} labels"] = torch.tensor(labels[part])
    return _data(tensors, "the original images")
