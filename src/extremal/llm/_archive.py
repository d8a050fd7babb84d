"""The verbs `pack` and `unpack`: a folder whose zeros take no room, and back, bit for bit.

Each floating tensor with enough zeros is stored as a bitmask (rows padded to whole bytes, the first
column in the lowest bit) and its other values in order; -0.0 counts as a value. A float16 weight at
50 % takes 1/16 + 1/2 = 56.25 % of its dense size. Everything else is stored as it is.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from extremal.lab import (
    RunError,
    Table,
    atomic_path,
    atomic_write,
    command,
    resolve,
    sha256_file,
)

from ._bits import pack_bits, unpack_bits
from ._compressed_tensors import expand, sparse_format
from ._errors import LLMError
from ._folder import INDEX, ModelFolder
from ._writer import copy_files

TABLE = "packed.json"
_FORMAT = "extremal/packed"
_INTEGER = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}


@dataclass(frozen=True)
class PackConfig:
    """What `llm.pack` stores."""

    threshold: float = 0.1
    """Tensors with a smaller share of zeros are stored as they are."""


@dataclass(frozen=True)
class UnpackConfig:
    """`llm.unpack` has no options."""


@dataclass(frozen=True)
class Packed:
    """What `pack` or `unpack` wrote.

    Attributes:
        path: The folder.
        dense_bytes: Of the weight files as a dense folder.
        packed_bytes: Of the weight files packed.
        tensors: How many tensors are stored by bitmask.
    """

    path: Path
    dense_bytes: int
    packed_bytes: int
    tensors: int

    def table(self) -> Table:
        """One row."""
        return Table(
            ["folder", "dense bytes", "packed bytes", "share", "tensors packed"],
            [[
                str(self.path), self.dense_bytes, self.packed_bytes,
                f"{self.packed_bytes / self.dense_bytes:.2%}", self.tensors,
            ]],
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "path": str(self.path),
            "dense_bytes": self.dense_bytes,
            "packed_bytes": self.packed_bytes,
            "tensors": self.tensors,
        }


@command(options=PackConfig, inputs=("model",), flags=("out", "force"))
def pack(
    model: str | Path,
    *,
    config: PackConfig | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Packed:
    """Write a pruned model folder without its zeros; `unpack` gives the same bytes back.

    Args:
        model: The folder.
        config: All options at once; or give any of its fields as keywords.
        out: The new folder; no tool but `unpack` reads it.
        force: Replace what an earlier `pack` wrote there.
        **options: Fields of `PackConfig`.

    Raises:
        LLMError: The folder cannot be read.
        RunError: `out` holds something else.

    Cost: memory for one weight file.
    """
    settings = resolve(PackConfig, config, options)
    out = _fresh(out, force, TABLE)
    folder = ModelFolder(model)
    files: dict[str, Any] = {}
    dense = packed = count = 0
    for file in folder.files:
        source = folder.path / file
        header = _header(source)
        dense += source.stat().st_size
        stored: dict[str, Tensor] = {}
        bits: list[str] = []
        with safe_open(source, framework="pt") as handle:
            for name in sorted(handle.keys()):  # their own order changes from process to process
                tensor = handle.get_tensor(name)
                alive = _bits_of(tensor) != 0
                sparse = tensor.dim() == 2 and tensor.is_floating_point()
                if sparse and float((~alive).float().mean()) >= settings.threshold:
                    stored[f"{name}.bitmask"] = pack_bits(alive)
                    stored[f"{name}.values"] = tensor[alive]
                    bits.append(name)
                else:
                    stored[name] = tensor
        count += len(bits)
        target = f"{file.removesuffix('.safetensors')}.packed.safetensors"
        from safetensors.torch import save_file

        with atomic_path(out / target) as temporary:
            save_file(stored, temporary)
        packed += (out / target).stat().st_size
        files[file] = {
            "packed": target,
            "packed_sha256": sha256_file(out / target),
            "sha256": sha256_file(source),
            "header": header.decode(),
            "bitmask": bits,
        }
    others = [p for p in folder.other_files() if p != Path(INDEX)]
    copy_files(folder.path, [*others, *([Path(INDEX)] if len(folder.files) > 1 else [])], out)
    table = {"format": _FORMAT, "version": 1, "files": files, "dense_bytes": dense}
    atomic_write(out / TABLE, json.dumps(table, indent=1) + "\n")
    return Packed(out, dense, packed, count)


@command(options=UnpackConfig, inputs=("archive",), flags=("out", "force"))
def unpack(
    archive: str | Path,
    *,
    config: UnpackConfig | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Packed:
    """Write a packed folder as the dense folder it came from, bit for bit.

    Args:
        archive: A folder of `pack`; or one that compressed-tensors stored as "sparse-bitmask" or
            "sparse-24-bitmask", which its newer versions no longer read.
        config: Unused.
        out: The new folder.
        force: Replace the model folder that an earlier `unpack` wrote there.
        **options: None.

    Raises:
        LLMError: The archive is damaged.
        RunError: `out` holds something else.
    """
    resolve(UnpackConfig, config, options)
    archive = Path(archive)
    if not (archive / TABLE).exists():
        kind = sparse_format(archive)
        if kind is not None:
            out = _fresh(out, force, ".unpacked")
            done = expand(archive, out, kind)
            atomic_write(out / ".unpacked", "")
            return Packed(out, done.dense_bytes, done.packed_bytes, done.tensors)
    try:
        table = json.loads((archive / TABLE).read_text())
        if (table["format"], table["version"]) != (_FORMAT, 1):
            raise ValueError(f"its form is {table['format']} {table['version']}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise LLMError(
            f"{archive} is no folder of llm pack, nor a sparse one of compressed-tensors ({error})."
        ) from error
    out = _fresh(out, force, ".unpacked")
    packed = count = 0
    for file, entry in table["files"].items():
        source = archive / entry["packed"]
        if not source.is_file() or sha256_file(source) != entry["packed_sha256"]:
            raise LLMError(f"{source} is missing or changed; pack the folder again.")
        packed += source.stat().st_size
        count += len(entry["bitmask"])
        header = entry["header"].encode()
        places = json.loads(header)
        with (
            atomic_path(out / file) as temporary,
            safe_open(source, framework="pt") as handle,
            temporary.open("r+b") as target,
        ):
            target.write(len(header).to_bytes(8, "little") + header)
            for name, place in places.items():
                if name == "__metadata__":
                    continue
                target.seek(8 + len(header) + place["data_offsets"][0])
                tensor = (
                    _expanded(handle, name, place["shape"])
                    if name in entry["bitmask"]
                    else handle.get_tensor(name)
                )
                flat = tensor.contiguous().reshape(-1).view(torch.uint8).numpy()
                target.write(np.ascontiguousarray(flat).data)
        if sha256_file(out / file) != entry["sha256"]:
            raise LLMError(f"{out / file} did not come out as it went in; the archive is damaged.")
    skip = {TABLE, *(e["packed"] for e in table["files"].values())}
    others = [
        p.relative_to(archive)
        for p in sorted(archive.rglob("*"))
        if p.is_file() and str(p.relative_to(archive)) not in skip
    ]
    copy_files(archive, others, out)
    atomic_write(out / ".unpacked", "")
    return Packed(out, table["dense_bytes"], packed, count)


def _bits_of(tensor: Tensor) -> Tensor:
    return tensor.contiguous().view(_INTEGER[tensor.dtype.itemsize])


def _expanded(handle: Any, name: str, shape: list[int]) -> Tensor:
    alive = unpack_bits(handle.get_tensor(f"{name}.bitmask"), shape[1])
    values = handle.get_tensor(f"{name}.values")
    tensor = torch.zeros(shape, dtype=values.dtype)
    tensor[alive] = values
    return tensor


def _header(file: Path) -> bytes:
    with file.open("rb") as handle:
        return handle.read(int.from_bytes(handle.read(8), "little"))


def _fresh(out: str | Path | None, force: bool, mark: str) -> Path:
    if out is None:
        raise ValueError("this writes a folder: give out, or --out FOLDER.")
    out = Path(out)
    if out.is_dir() and any(out.iterdir()):
        if not (force and (out / mark).exists()):
            raise RunError(
                f"{out} is not empty; choose another --out, or --force to replace what an earlier "
                "run of this verb wrote there."
            )
        import shutil

        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    return out
