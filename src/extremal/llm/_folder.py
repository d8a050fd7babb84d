"""A Hugging Face model folder, read tensor by tensor through its index.

Nothing is loaded until it is asked for. Only safetensors are read: the older `.bin` files are
pickles.
"""

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from extremal.lab import sha256_file
from extremal.training import tensor_table

from ._errors import LLMError

INDEX = "model.safetensors.index.json"
SINGLE = "model.safetensors"
RUN = "run"
"""Our own files inside an output folder: options, journal, masks, parent table."""
OURS = ("certificate.json", "report.html")

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16,
    "I64": torch.int64, "I32": torch.int32, "I16": torch.int16, "I8": torch.int8,
    "U8": torch.uint8, "BOOL": torch.bool,
}  # fmt: skip
_PIECE = 8 << 20
_T = TypeVar("_T")
_R = TypeVar("_R")
NAME_OF = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True, slots=True)
class Stored:
    """One tensor of the folder."""

    file: str
    dtype: str
    shape: tuple[int, ...]

    @property
    def torch_dtype(self) -> torch.dtype:
        """The type in torch."""
        return _DTYPES[self.dtype]

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        n = self.torch_dtype.itemsize
        for s in self.shape:
            n *= s
        return n


class ModelFolder:
    """An opened folder.

    Attributes:
        path: The folder.
        config: `config.json` as plain values.
        tensors: Every stored tensor by name, file by file.
        files: The weight files, in order.
    """

    def __init__(self, path: Path | str) -> None:
        """Read configuration and tables; no tensor is read.

        Raises:
            LLMError: It is no such folder, a shard is missing or cut short, the weights are
                quantised or pickles.
        """
        self.path = Path(path)
        self.config = self._config()
        self.files = self._files()
        self.tensors: dict[str, Stored] = {}
        self._first: dict[str, int] = {}  # byte of each tensor in its file
        for file in self.files:
            try:
                handle = safe_open(self.path / file, framework="pt")
            except (SafetensorError, OSError) as error:
                raise LLMError(
                    f"{self.path / file} cannot be read as safetensors ({error}); copy it again."
                ) from error
            for name in sorted(handle.keys()):  # their own order changes from process to process
                piece = handle.get_slice(name)
                if piece.get_dtype() not in _DTYPES:
                    raise LLMError(
                        f"{name} in {file} is stored as {piece.get_dtype()}: quantised weights "
                        "cannot be pruned. Give the folder with the full-precision weights."
                    )
                self.tensors[name] = Stored(file, piece.get_dtype(), tuple(piece.get_shape()))
            table = tensor_table(self.path / file)
            self._first |= {name: at for name, (_, _, at) in table.items()}

    def _config(self) -> dict[str, Any]:
        file = self.path / "config.json"
        if not file.is_file():
            raise LLMError(f"{self.path} has no config.json; give a Hugging Face model folder.")
        try:
            config = json.loads(file.read_text())
        except ValueError as error:
            raise LLMError(f"{file} is damaged ({error}); copy it again.") from error
        if not isinstance(config, dict) or "model_type" not in config:
            raise LLMError(f"{file} names no model_type; give a Hugging Face model folder.")
        for entry in ("quantization_config", "compression_config", "sparsity_config"):
            if entry in config:
                raise LLMError(
                    f"{file} has a {entry}: quantised or compressed weights cannot be pruned. "
                    "Give the folder with the plain weights (llm unpack makes one of a sparse "
                    "folder of compressed-tensors)."
                )
        return config

    def _files(self) -> list[str]:
        if (self.path / INDEX).is_file():
            table = json.loads((self.path / INDEX).read_text())["weight_map"]
            files = list(dict.fromkeys(table.values()))
        elif (self.path / SINGLE).is_file():
            files = [SINGLE]
        else:
            hint = (
                " Its .bin files are pickles, which are not read; save it as safetensors first."
                if list(self.path.glob("*.bin"))
                else ""
            )
            raise LLMError(f"{self.path} has neither {SINGLE} nor {INDEX}.{hint}")
        missing = [f for f in files if not (self.path / f).is_file()]
        if missing:
            raise LLMError(f"{self.path} lacks the shard {missing[0]} that its index names.")
        return files

    def read(self, name: str, *, pinned: bool = False) -> Tensor:
        """Return one tensor, read now; into pinned memory where it goes to a GPU."""
        # Read, not mapped: the pages of a mapped file stay resident and count as our memory.
        stored = self.tensors[name]
        raw = torch.empty(stored.bytes, dtype=torch.uint8, pin_memory=pinned)
        with (self.path / stored.file).open("rb", buffering=0) as file:
            file.seek(self._first[name])
            view = raw.numpy().data
            while view.nbytes:
                done = file.readinto(view[: 1 << 30])
                if not done:
                    raise LLMError(f"{self.path / stored.file} ends within {name}; copy it again.")
                view = view[done:]
        return raw.view(stored.torch_dtype).view(stored.shape)

    def pieces(self, name: str) -> Iterator[bytes]:
        """Yield a tensor's bytes, some megabytes at a time."""
        stored = self.tensors[name]
        with (self.path / stored.file).open("rb") as file:
            file.seek(self._first[name])
            left = stored.bytes
            while left:
                piece = file.read(min(left, _PIECE))
                if not piece:
                    raise LLMError(f"{self.path / stored.file} ends within {name}; copy it again.")
                left -= len(piece)
                yield piece

    def sha256(self, name: str) -> str:
        """Return the SHA-256 of a tensor's bytes."""
        digest = hashlib.sha256()
        for piece in self.pieces(name):
            digest.update(piece)
        return digest.hexdigest()

    def zeros(self, name: str) -> int:
        """Return how many entries of a tensor are zero, +0 or -0."""
        dtype = self.tensors[name].torch_dtype
        if not dtype.is_floating_point:
            return int((self.read(name) == 0).sum())
        whole = np.dtype(f"<u{dtype.itemsize}")
        unsigned = whole.type((1 << (8 * dtype.itemsize - 1)) - 1)
        kept = sum(
            np.count_nonzero(np.frombuffer(piece, whole) & unsigned) for piece in self.pieces(name)
        )
        return self.tensors[name].bytes // dtype.itemsize - int(kept)

    def file_hashes(self) -> dict[str, str]:
        """Return the SHA-256 of every weight file and of `config.json`."""
        names = (*self.files, "config.json")
        return dict(zip(names, hashes_of([self.path / f for f in names]), strict=True))

    def other_files(self) -> list[Path]:
        """Return what else lies in the folder and belongs to the model, relative to it."""
        skip = {*self.files, INDEX, *OURS}
        found: list[Path] = []
        for file in sorted(self.path.rglob("*")):
            relative = file.relative_to(self.path)
            hidden = any(part.startswith(".") for part in relative.parts)
            weights = file.suffix in {".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack"}
            other = str(relative) not in skip and relative.parts[0] != RUN
            if file.is_file() and other and not hidden and not weights:
                found.append(relative)
        return found

    @property
    def dtype(self) -> torch.dtype:
        """The type of most weights."""
        sizes: dict[torch.dtype, int] = {}
        for stored in self.tensors.values():
            if stored.torch_dtype.is_floating_point:
                sizes[stored.torch_dtype] = sizes.get(stored.torch_dtype, 0) + stored.bytes
        if not sizes:
            raise LLMError(f"{self.path} holds no floating-point weights.")
        return max(sizes, key=lambda d: sizes[d])


def side_by_side(work: Callable[[_T], _R], items: Iterable[_T]) -> list[_R]:
    """Apply a function that mostly reads and hashes to all items, a thread for each core."""
    with ThreadPoolExecutor(min(16, os.cpu_count() or 1)) as pool:
        return list(pool.map(work, items))


def hashes_of(files: Iterable[Path]) -> list[str]:
    """Return the SHA-256 of every file."""
    return side_by_side(sha256_file, files)
