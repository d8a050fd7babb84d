"""Folders that compressed-tensors wrote sparse, expanded to plain ones; its newer versions cannot.

    sparse-bitmask      NAME.weight.{shape, compressed, bitmask, row_offsets}: values row by row
    sparse-24-bitmask   NAME.{shape, compressed, bitmask}: two values of every four

Bit masks hold the first column in the lowest bit, rows padded to whole bytes, as ours do. The 2:4
form was written without a look at whether the weight was 2:4 at all; what it holds is expanded, and
a mask that does not keep two of every four is refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from extremal.lab import atomic_write

from ._bits import unpack_bits
from ._errors import LLMError
from ._folder import INDEX, NAME_OF, SINGLE, Stored
from ._writer import FolderWriter, copy_files

FORMATS = ("sparse-bitmask", "sparse-24-bitmask")
_PARTS = ("compressed", "bitmask", "shape", "row_offsets")
_ENTRIES = ("quantization_config", "compression_config", "sparsity_config")


@dataclass(frozen=True)
class Expanded:
    """What was expanded.

    Attributes:
        dense_bytes: Of the weight files now.
        packed_bytes: Of them before.
        tensors: How many were sparse.
    """

    dense_bytes: int
    packed_bytes: int
    tensors: int


def sparse_format(folder: Path) -> str | None:
    """Return the sparse format of a folder of compressed-tensors, or None where it has none.

    Raises:
        LLMError: It is quantised besides, or of a format that is not known.
    """
    try:
        config = json.loads((folder / "config.json").read_text())
    except (OSError, ValueError):
        return None
    outer: dict[str, Any] = next((config[e] for e in _ENTRIES[:2] if e in config), {})
    inner: dict[str, Any] = outer.get("sparsity_config") or config.get("sparsity_config") or {}
    if not inner:
        return None
    if outer.get("config_groups"):
        raise LLMError(
            f"{folder} is quantised besides being sparse, and quantised weights are not expanded; "
            "give the full-precision model."
        )
    if inner.get("format") not in FORMATS:
        raise LLMError(
            f"the sparse format {inner.get('format')!r} of {folder} is not known; there are "
            f"{', '.join(FORMATS)}."
        )
    return str(inner["format"])


def expand(folder: Path, out: Path, kind: str) -> Expanded:
    """Write the plain folder of a sparse one.

    Args:
        folder: Of compressed-tensors.
        out: An empty folder.
        kind: Of `FORMATS`.

    Raises:
        LLMError: Parts of a tensor are missing or do not fit.
    """
    if (folder / INDEX).is_file():
        table = json.loads((folder / INDEX).read_text())["weight_map"]
        files = list(dict.fromkeys(table.values()))
    else:
        files = [SINGLE]
    missing = [f for f in files if not (folder / f).is_file()]
    if missing:
        raise LLMError(f"{folder} lacks {missing[0]}.")
    place = {n: f for f in files for n in _names(folder / f)}
    sparse = {n.removesuffix(".bitmask") for n in place if n.endswith(".bitmask")}
    planned: dict[str, Stored] = {}
    for base in sorted(sparse):
        shape, dtype = _about(folder, place, base, kind)
        planned[_weight(base)] = Stored("", NAME_OF[dtype], shape)
    for name, file in sorted(place.items()):
        base, _, end = name.rpartition(".")
        if base in sparse and end in _PARTS:
            continue
        with safe_open(folder / file, framework="pt") as handle:
            piece = handle.get_slice(name)
            planned[name] = Stored("", piece.get_dtype(), tuple(piece.get_shape()))
    writer = FolderWriter(out, planned)
    writer.prepare()
    of = {_weight(base): base for base in sparse}
    for name in planned:
        if name in of:
            writer.write(name, _expanded(folder, place, of[name], planned[name].shape, kind))
        else:
            writer.write(name, _read(folder, place, name))
    writer.finish()
    skip = {*files, INDEX, "config.json"}
    others = [p.relative_to(folder) for p in sorted(folder.rglob("*")) if p.is_file()]
    copy_files(folder, [p for p in others if str(p) not in skip], out)
    config = json.loads((folder / "config.json").read_text())
    plain = {k: v for k, v in config.items() if k not in _ENTRIES}
    atomic_write(out / "config.json", json.dumps(plain, indent=2) + "\n")
    before = sum((folder / f).stat().st_size for f in files)
    after = sum((out / f).stat().st_size for f in writer.files)
    return Expanded(after, before, len(sparse))


def _names(file: Path) -> list[str]:
    with safe_open(file, framework="pt") as handle:
        return sorted(handle.keys())


def _weight(base: str) -> str:
    return base if base.endswith(".weight") else f"{base}.weight"


def _read(folder: Path, place: dict[str, str], name: str) -> Tensor:
    if name not in place:
        raise LLMError(f"{folder} lacks {name}, so its tensor cannot be expanded.")
    with safe_open(folder / place[name], framework="pt") as handle:
        return handle.get_tensor(name)


def _about(
    folder: Path, place: dict[str, str], base: str, kind: str
) -> tuple[tuple[int, ...], torch.dtype]:
    shape = tuple(int(s) for s in _read(folder, place, f"{base}.shape").flatten().tolist())
    bits = _read(folder, place, f"{base}.bitmask")
    values = _read(folder, place, f"{base}.compressed")
    if len(shape) != 2 or tuple(bits.shape) != (shape[0], -(-shape[1] // 8)):
        raise LLMError(f"the bitmask of {base}, {list(bits.shape)}, does not fit {list(shape)}.")
    kept = unpack_bits(bits, shape[1])
    if int(kept.sum()) != values.numel():
        raise LLMError(f"{base} has {values.numel()} values for {int(kept.sum())} places.")
    if kind == "sparse-24-bitmask" and (
        shape[1] % 4 or bool((kept.reshape(-1, 4).sum(1) != 2).any())
    ):
        raise LLMError(f"the mask of {base} does not keep two of every four weights.")
    return shape, values.dtype


def _expanded(
    folder: Path, place: dict[str, str], base: str, shape: tuple[int, ...], kind: str
) -> Tensor:
    values = _read(folder, place, f"{base}.compressed").flatten()
    kept = unpack_bits(_read(folder, place, f"{base}.bitmask"), shape[1])
    if kind == "sparse-bitmask" and f"{base}.row_offsets" in place:
        counts = kept.sum(1)
        if not torch.equal(
            _read(folder, place, f"{base}.row_offsets").flatten().long(), counts.cumsum(0) - counts
        ):
            raise LLMError(f"the row offsets of {base} do not fit its bitmask.")
    dense = torch.zeros(shape, dtype=values.dtype)
    dense[kept] = values
    return dense
