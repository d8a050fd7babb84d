"""Tensors of safetensors files, read as raw integers, so that bfloat16 needs only NumPy."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

_MAX_HEADER = 100_000_000
FLOATS = {"F64": "<u8", "F32": "<u4", "F16": "<u2", "BF16": "<u2"}
SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

Entry = tuple[str, tuple[int, ...], int]  # dtype, shape, first byte in the file


def mask(file: Path, header: dict[str, Entry], name: str) -> np.ndarray:
    """Return a mask, True = kept; its bytes must be 0 and 1."""
    if name not in header:
        raise Rejected(f"layer {name} has no mask.")
    if header[name][0] != "BOOL":
        raise Rejected(f"the mask of {name} is {header[name][0]}, not BOOL.")
    raw = array(file, header[name], "u1")
    if (raw > 1).any():
        raise Rejected(f"the mask of {name} holds a byte other than 0 and 1.")
    return raw.astype(bool)


def zeros(file: Path, header: dict[str, Entry], name: str) -> np.ndarray:
    """Return where a floating tensor is zero; -0.0 counts as zero."""
    if name not in header:
        raise Rejected(f"layer {name} has no weights.")
    dtype = header[name][0]
    if dtype not in FLOATS:
        raise Rejected(f"tensor {name} is {dtype}, no floating type; list it as uncounted.")
    raw = array(file, header[name], FLOATS[dtype])
    return (raw << raw.dtype.type(1)) == 0  # the sign bit is shifted out


def array(file: Path, entry: Entry, dtype: str) -> np.ndarray:
    """Return a tensor's bytes read as `dtype`, in its shape."""
    _, shape, start = entry
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    with file.open("rb") as handle:
        handle.seek(start)
        return np.frombuffer(
            handle.read(count * np.dtype(dtype).itemsize), dtype=dtype, count=count
        ).reshape(shape)


def hashed(claim: dict[str, Any], witness: dict[str, Any], folder: Path, name: str) -> Path:
    """Return a witness file whose SHA-256 is the one that the claim states."""
    file = fields.file(folder, fields.text(witness, name))
    stated = fields.digest(claim, f"{name}_sha256")
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != stated:
        raise Rejected(f"the file {witness[name]} has changed: its SHA-256 is not the stated one.")
    return file


def header(file: Path) -> dict[str, Entry]:
    """Read the table of a safetensors file; its tensors must fill the rest without gap."""
    size = file.stat().st_size
    with file.open("rb") as handle:
        length = int.from_bytes(handle.read(8), "little")
        if not 2 <= length <= min(_MAX_HEADER, size - 8):
            raise Rejected(f"{file.name} is no safetensors file: its header has no end.")
        table = json.loads(handle.read(length))
    table.pop("__metadata__", None)
    entries: dict[str, Entry] = {}
    spans: list[tuple[int, int]] = []
    for name, value in table.items():
        dtype, shape = value["dtype"], tuple(value["shape"])
        begin, end = value["data_offsets"]
        if dtype not in SIZES or any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
            raise Rejected(f"{file.name}: the entry of {name} is malformed.")
        count = 1
        for n in shape:
            count *= n
        if end - begin != count * SIZES[dtype]:
            raise Rejected(f"{file.name}: {name} has {end - begin} bytes, its shape needs others.")
        entries[name] = (dtype, shape, 8 + length + begin)
        spans.append((begin, end))
    position = 0
    for begin, end in sorted(spans):
        if begin != position:
            raise Rejected(f"{file.name}: its tensors overlap or leave a gap.")
        position = end
    if 8 + length + position != size:
        raise Rejected(f"{file.name} is longer or shorter than its tensors.")
    return entries
