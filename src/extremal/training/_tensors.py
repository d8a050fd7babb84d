"""Named tensors in one file that knows its own hash.

The file is ordinary safetensors. Its metadata holds one entry, `extremal`: JSON with the SHA-256
of the file (computed with zeros in the place of the hash) and, where wanted, a `state` of plain
values. One file, so that tensors and state cannot come apart; one metadata entry, since the order
of several is not fixed and equal content shall give equal bytes.
"""

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
import torch
from safetensors import SafetensorError
from torch import Tensor

from extremal.lab import atomic_path, atomic_write, sha256_file

from ._errors import TrainingError

DTYPES = {
    "BOOL": torch.bool, "U8": torch.uint8, "I8": torch.int8, "I16": torch.int16,
    "F16": torch.float16, "BF16": torch.bfloat16, "I32": torch.int32, "F32": torch.float32,
    "F64": torch.float64, "I64": torch.int64,
}  # fmt: skip
_CODES = {dtype: code for code, dtype in DTYPES.items()}
_RANK = {dtype: rank for rank, dtype in enumerate(DTYPES.values())}  # safetensors' order in a file
_ENTRY = "extremal"
_MARK = b'{\\"sha256\\": \\"'  # as it stands in the header: JSON inside a JSON string
_BLANK = b"0" * 64
_SMALL = 1 << 20  # numbers of a tensor that is not copied alone


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    state: Mapping[str, Any] | None = None,
) -> str:
    """Write named tensors to a safetensors file, whole or not at all.

    Args:
        path: The file; its folder must exist.
        tensors: Any names and dtypes; tensors that share memory are written twice.
        state: Plain JSON values to keep in the same file.

    Returns:
        SHA-256 of the file's bytes, for a certificate. Equal content gives equal bytes.

    Raises:
        OSError: The file cannot be written; what was there before is untouched.
    """
    plain = {name: t.contiguous().clone() for name, t in on_cpu(tensors).items()}
    note = json.dumps({"sha256": _BLANK.decode(), "state": dict(state or {})})
    raw = bytearray(safetensors.torch.save(plain, metadata={_ENTRY: note}))
    at = raw.index(_MARK) + len(_MARK)
    raw[at : at + 64] = hashlib.sha256(raw).hexdigest().encode()
    atomic_write(path, bytes(raw))
    return hashlib.sha256(raw).hexdigest()


def on_cpu(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors, detached, on the CPU; small ones of a GPU come in one copy a type.

    A copy waits for the GPU, and for its turn where other processes use it too; a checkpoint of
    ResNet-20 holds 200 tensors.
    """
    found = {name: tensor.detach() for name, tensor in tensors.items()}
    groups: dict[tuple[torch.device, torch.dtype], list[str]] = {}
    for name, tensor in found.items():
        if tensor.is_cuda and tensor.numel() <= _SMALL:
            groups.setdefault((tensor.device, tensor.dtype), []).append(name)
    for names in groups.values():
        together = torch.cat([found[name].flatten() for name in names]).cpu()
        parts = together.split([found[name].numel() for name in names])
        for name, part in zip(names, parts, strict=True):
            found[name] = part.reshape(found[name].shape)
    return {name: tensor.cpu() for name, tensor in found.items()}


def write_tensors(
    path: str | Path,
    names: Mapping[str, tuple[torch.dtype, tuple[int, ...]]],
    pieces: Callable[[str], Iterable[Tensor]],
    *,
    state: Mapping[str, Any] | None = None,
) -> str:
    """As `save_tensors`, with tensors that are made piece by piece and never held together.

    Args:
        path: The file; its folder must exist.
        names: Type and shape of every tensor.
        pieces: Of a name; the values of its tensor in their flat order.
        state: Plain JSON values to keep in the same file.

    Returns:
        SHA-256 of the file's bytes; they are those that `save_tensors` writes.
    """
    order = sorted(names, key=lambda n: (-_RANK[names[n][0]], n))
    note = json.dumps({"sha256": _BLANK.decode(), "state": dict(state or {})})
    table: dict[str, Any] = {"__metadata__": {_ENTRY: note}}
    end = 0
    for name in order:
        dtype, shape = names[name]
        start, end = end, end + math.prod(shape) * dtype.itemsize
        table[name] = {"dtype": _CODES[dtype], "shape": shape, "data_offsets": (start, end)}
    header = json.dumps(table, separators=(",", ":"), ensure_ascii=False).encode()
    header += b" " * (-len(header) % 8)
    head = len(header).to_bytes(8, "little") + header
    digest = hashlib.sha256(head)
    with atomic_path(path) as temporary, temporary.open("r+b") as file:
        file.write(head)
        for name in order:
            for piece in pieces(name):
                raw = piece.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data
                digest.update(raw)
                file.write(raw)
        if file.tell() != len(head) + end:
            raise ValueError(f"{path}: the pieces do not have the sizes of their tensors.")
        file.seek(head.index(_MARK) + len(_MARK))
        file.write(digest.hexdigest().encode())
    return sha256_file(path)


def tensor_table(path: str | Path) -> dict[str, tuple[torch.dtype, tuple[int, ...], int]]:
    """Return type, shape and first byte of every tensor of a safetensors file.

    Raises:
        TrainingError: It is no such file.
    """
    with Path(path).open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= size - 8:
            raise _damaged(path, "it is not a safetensors file (its header has no end)")
        try:
            table = cast("dict[str, Any]", json.loads(file.read(length)))
            table.pop("__metadata__", None)
            return {
                name: (DTYPES[e["dtype"]], tuple(e["shape"]), 8 + length + e["data_offsets"][0])
                for name, e in table.items()
            }
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise _damaged(path, f"it is not a safetensors file ({error})") from error


def load_tensors(
    path: str | Path, *, sha256: str | None = None, foreign: bool = False
) -> dict[str, Tensor]:
    """Read a file of `save_tensors` back, after checking that no bit of it changed.

    Args:
        path: The file.
        sha256: The hash of the whole file, where it is known from elsewhere; checked too.
        foreign: Accept a safetensors file that another program wrote, which has no hash inside.

    Raises:
        TrainingError: The file is cut short, changed, or not of this form.
        OSError: There is no such file.
    """
    return load_file(path, sha256=sha256, foreign=foreign)[0]


def load_file(
    path: str | Path, *, sha256: str | None = None, foreign: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_tensors`, with the state that was kept beside the tensors."""
    raw = bytearray(Path(path).read_bytes())
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise _damaged(path, f"its SHA-256 is not {sha256}")
    header = bytes(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    at = 8 + header.find(_MARK) + len(_MARK)
    state: dict[str, Any] = {}
    if _MARK in header:
        written = bytes(raw[at : at + 64])
        raw[at : at + 64] = _BLANK
        if hashlib.sha256(raw).hexdigest().encode() != written:
            raise _damaged(path, "its content does not have the SHA-256 written in it")
        note = json.loads(header)["__metadata__"][_ENTRY]
        state = cast("dict[str, Any]", json.loads(note)["state"])
    elif not foreign:
        raise _damaged(path, "it carries no SHA-256 of its own")
    try:
        return safetensors.torch.load(bytes(raw)), state
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, f"it is not a safetensors file ({error})") from error


def _damaged(path: str | Path, why: str) -> TrainingError:
    return TrainingError(
        f"{path} is cut short or changed: {why}. It was not used; restore it from a copy, or "
        "remove it to compute it again."
    )
