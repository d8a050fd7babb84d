"""Writes a model folder whose tensors come in any order, one at a time.

The names, types and shapes are known before the first weight is, so each shard's table is written
at once and each tensor goes to its place. Writing a tensor twice is harmless, which is what makes a
killed run easy to continue. A shard is called `….part` until the whole folder is done.
"""

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from extremal.lab import atomic_write, full_disk_said

from ._folder import INDEX, SINGLE, Stored

_PART = ".part"


@dataclass(frozen=True)
class _Shard:
    file: str
    header: bytes
    places: dict[str, int]  # first byte of each tensor in the file
    size: int


class FolderWriter:
    """The weight files of an output folder."""

    def __init__(
        self, out: Path, tensors: Mapping[str, Stored], *, shard_bytes: int = 5_000_000_000
    ) -> None:
        """Plan the shards.

        Args:
            out: The folder.
            tensors: What will be written; the `file` of each is ignored.
            shard_bytes: A shard is closed before it would exceed this.
        """
        self.out = out
        self.tensors = dict(tensors)
        groups: list[list[str]] = [[]]
        filled = 0
        for name, stored in self.tensors.items():
            if groups[-1] and filled + stored.bytes > shard_bytes:
                groups.append([])
                filled = 0
            groups[-1].append(name)
            filled += stored.bytes
        n = len(groups)
        self.shards = [
            self._plan(SINGLE if n == 1 else f"model-{i + 1:05}-of-{n:05}.safetensors", group)
            for i, group in enumerate(groups)
        ]
        self._of = {name: shard for shard in self.shards for name in shard.places}
        self._handles: dict[str, int] = {}

    def _plan(self, file: str, names: list[str]) -> _Shard:
        # Wide types first, so that every tensor is aligned.
        names = sorted(names, key=lambda n: -self.tensors[n].torch_dtype.itemsize)
        table: dict[str, object] = {"__metadata__": {"format": "pt"}}
        at = 0
        for name in names:
            stored = self.tensors[name]
            table[name] = {
                "dtype": stored.dtype,
                "shape": list(stored.shape),
                "data_offsets": [at, at + stored.bytes],
            }
            at += stored.bytes
        text = json.dumps(table, separators=(",", ":")).encode()
        text += b" " * (-len(text) % 8)
        header = len(text).to_bytes(8, "little") + text
        places: dict[str, int] = {}
        position = len(header)
        for name in names:
            places[name] = position
            position += self.tensors[name].bytes
        return _Shard(file, header, places, position)

    @property
    def files(self) -> list[str]:
        """Names of the weight files."""
        return [shard.file for shard in self.shards]

    def prepare(self) -> None:
        """Create the shards at their full size; those that are there stay as they are."""
        self.out.mkdir(parents=True, exist_ok=True)
        for shard in self.shards:
            if (self.out / shard.file).exists():
                continue
            path = self.out / (shard.file + _PART)
            with full_disk_said(path):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
                os.ftruncate(handle, shard.size)
                os.pwrite(handle, shard.header, 0)
            self._handles[shard.file] = handle

    def write(self, name: str, tensor: Tensor) -> None:
        """Put one tensor into its place."""
        stored = self.tensors[name]
        if tuple(tensor.shape) != stored.shape or tensor.dtype != stored.torch_dtype:
            raise AssertionError(f"{name}: {tensor.shape} {tensor.dtype} is not {stored}.")
        shard = self._of[name]
        data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data
        at = shard.places[name]
        with full_disk_said(self.out / shard.file):
            while data.nbytes:
                written = os.pwrite(self._handles[shard.file], data[: 1 << 30], at)
                data, at = data[written:], at + written

    def read(self, name: str) -> Tensor:
        """Return a tensor that was written, from its place."""
        stored, shard = self.tensors[name], self._of[name]
        raw = bytearray(stored.bytes)
        view, at = memoryview(raw), shard.places[name]
        while view.nbytes:
            done = os.preadv(self._handles[shard.file], [view[: 1 << 30]], at)
            view, at = view[done:], at + done
        return torch.frombuffer(raw, dtype=stored.torch_dtype).view(stored.shape)

    def sync(self) -> None:
        """Wait until everything written is on the disk."""
        for handle in self._handles.values():
            os.fsync(handle)

    def finish(self) -> None:
        """Give the shards their names and write the index; safe to repeat."""
        self.sync()
        for handle in self._handles.values():
            os.close(handle)
        self._handles.clear()
        for shard in self.shards:
            part = self.out / (shard.file + _PART)
            if part.exists():
                part.replace(self.out / shard.file)
        if len(self.shards) > 1:
            index = {
                "metadata": {"total_size": sum(t.bytes for t in self.tensors.values())},
                "weight_map": {name: self._of[name].file for name in sorted(self.tensors)},
            }
            atomic_write(self.out / INDEX, json.dumps(index, indent=2) + "\n")


def copy_files(source: Path, names: list[Path], out: Path) -> None:
    """Copy files that are no weights, keeping their folders."""
    for name in names:
        with full_disk_said(out / name):
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(source / name, out / name)
