"""Checker of `pruning/model`: a weight file holds exact zeros where its masks say so.

Establishes: the hashes of weights, masks and parent; that every pruned weight is zero, bit for bit
(-0.0 counts as zero); the counts of every layer and their sums; the pattern; where a sparsity was
requested, that exactly round(s N) weights are pruned; that the parent has the same tensors.
Does not say: how the weights were chosen or trained, nor how accurate the network is.

Tensors are read as raw integers, so that bfloat16 needs nothing beyond NumPy.
"""

import hashlib
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

KIND = "pruning/model"
VERSION = 1
STRENGTH = "recomputed"
CLAIM = (
    "weights_sha256", "masks_sha256", "parent_sha256", "prunable", "pruned", "zeros",
    "parameters", "parameters_zero", "requested", "pattern", "layers",
)  # fmt: skip
WITNESS = ("weights", "masks", "parent", "uncounted")
LAYER = {"name", "shape", "size", "pruned", "zeros"}

_MAX_HEADER = 100_000_000
_FLOATS = {"F64": "<u8", "F32": "<u4", "F16": "<u2", "BF16": "<u2"}
_SIZES = {
    "F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1,
    "U64": 8, "U32": 4, "U16": 2, "U8": 1, "BOOL": 1,
}  # fmt: skip

Entry = tuple[str, tuple[int, ...], int]  # dtype, shape, first byte in the file


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    weights_file = _hashed(claim, witness, folder, "weights")
    masks_file = _hashed(claim, witness, folder, "masks")
    weights, masks = _header(weights_file), _header(masks_file)
    pattern = fields.text(claim, "pattern")

    layers = fields.items(claim, "layers")
    total = {"size": 0, "pruned": 0, "zeros": 0}
    seen: set[str] = set()
    fitting = 0
    for value in layers:
        layer = fields.mapping({"a layer": value}, "a layer")
        if set(layer) != LAYER:
            raise Rejected(f"a layer has the fields {sorted(layer)}, not {sorted(LAYER)}.")
        name = fields.text(layer, "name")
        if name in seen:
            raise Rejected(f"layer {name} stands twice in the claim.")
        seen.add(name)
        kept = _mask(masks_file, masks, name)
        zero = _zeros(weights_file, weights, name)
        if kept.shape != zero.shape or list(kept.shape) != fields.items(layer, "shape"):
            raise Rejected(
                f"layer {name}: weights of shape {list(zero.shape)}, mask of shape "
                f"{list(kept.shape)}, claimed {layer['shape']!r}."
            )
        alive = np.flatnonzero(~kept & ~zero)
        if alive.size:
            raise Rejected(
                f"layer {name}: {alive.size} pruned weights are not zero, the first at flat "
                f"index {int(alive[0])}."
            )
        counted = {
            "size": kept.size,
            "pruned": kept.size - int(kept.sum()),
            "zeros": int(zero.sum()),
        }
        for field, number in counted.items():
            if fields.natural(layer, field) != number:
                raise Rejected(f"layer {name}: {field} is {layer[field]}, counted {number}.")
            total[field] += number
        fitting += _follows(pattern, name, kept)
    if set(masks) != seen:
        odd = sorted(set(masks) ^ seen)
        raise Rejected(f"the claim and the mask file differ in the layers {', '.join(odd)}.")
    for field, number in (
        ("prunable", total["size"]),
        ("pruned", total["pruned"]),
        ("zeros", total["zeros"]),
    ):
        if fields.natural(claim, field) != number:
            raise Rejected(f"{field} is stated as {claim[field]}, counted {number}.")

    said = [
        f"{total['pruned']} of {total['size']} prunable weights are pruned and exactly zero "
        f"(sparsity {total['pruned'] / max(total['size'], 1):.6f}), in {len(seen)} layers"
    ]
    said += _over_all(claim, witness, weights_file, weights)
    said += _requested(claim, total["pruned"], total["size"])
    if pattern != "unstructured":
        said.append(f"the pattern {pattern} holds in {fitting} layers, the others are dense")
    said += _parent(claim, witness, folder, weights)
    return said


def _over_all(
    claim: dict[str, Any], witness: dict[str, Any], file: Path, header: dict[str, Entry]
) -> list[str]:
    """Count over all parameters: every tensor but the buffers and second names listed."""
    uncounted = fields.items(witness, "uncounted")
    strange = [name for name in uncounted if name not in header]
    if strange or len(set(uncounted)) != len(uncounted):
        raise Rejected(f"uncounted names {strange or uncounted!r} are not tensors of the weights.")
    size = zeros = 0
    for name in header:
        if name not in uncounted:
            zero = _zeros(file, header, name)
            size, zeros = size + zero.size, zeros + int(zero.sum())
    for field, number in (("parameters", size), ("parameters_zero", zeros)):
        if fields.natural(claim, field) != number:
            raise Rejected(f"{field} is stated as {claim[field]}, counted {number}.")
    return [f"{zeros} of all {size} parameters are zero"]


def _requested(claim: dict[str, Any], pruned: int, size: int) -> list[str]:
    if "requested" not in claim:
        raise Rejected("the field requested is missing.")
    if claim["requested"] is None:
        return []
    requested = fields.text(claim, "requested")
    if not re.fullmatch(r"0|0?\.\d{1,400}|0\.\d{1,400}", requested):
        raise Rejected(f"the requested sparsity {requested!r} is not a decimal in [0, 1).")
    count = round(Fraction(requested) * size)  # half to even
    if count != pruned:
        raise Rejected(f"sparsity {requested} of {size} is {count}, but {pruned} are pruned.")
    return [f"that is the requested sparsity {requested}, to the weight"]


def _parent(
    claim: dict[str, Any], witness: dict[str, Any], folder: Path, weights: dict[str, Entry]
) -> list[str]:
    parent = _header(_hashed(claim, witness, folder, "parent"))
    one = {name: entry[:2] for name, entry in weights.items()}
    two = {name: entry[:2] for name, entry in parent.items()}
    if one != two:
        odd = sorted(n for n in one.keys() | two.keys() if one.get(n) != two.get(n))
        raise Rejected(f"the parent differs in names, shapes or types: {', '.join(odd[:5])}.")
    return [f"the parent {claim['parent_sha256'][:12]} has the same tensors"]


def _follows(pattern: str, name: str, kept: np.ndarray) -> bool:
    """Whether the layer follows the pattern; a dense layer does not, and breaks nothing."""
    if pattern == "unstructured" or kept.all():
        return False
    rows = kept.reshape(kept.shape[0], -1)
    if pattern == "filter":
        if not ((rows.all(1)) | (~rows.any(1))).all():
            raise Rejected(f"layer {name}: a filter is pruned in part.")
        return True
    match = re.fullmatch(r"(\d{1,4}):(\d{1,4})", pattern)
    if match is None or not 0 < int(match[1]) < int(match[2]):
        raise Rejected(f"the pattern {pattern!r} is none of unstructured, filter, N:M.")
    n, m = int(match[1]), int(match[2])
    if rows.shape[1] % m:
        raise Rejected(f"layer {name}: {rows.shape[1]} inputs are no multiple of {m}.")
    if (rows.reshape(-1, m).sum(1) > n).any():
        raise Rejected(f"layer {name}: a group of {m} keeps more than {n} weights.")
    return True


def _mask(file: Path, header: dict[str, Entry], name: str) -> np.ndarray:
    if name not in header:
        raise Rejected(f"layer {name} has no mask.")
    if header[name][0] != "BOOL":
        raise Rejected(f"the mask of {name} is {header[name][0]}, not BOOL.")
    raw = _array(file, header[name], "u1")
    if (raw > 1).any():
        raise Rejected(f"the mask of {name} holds a byte other than 0 and 1.")
    return raw.astype(bool)


def _zeros(file: Path, header: dict[str, Entry], name: str) -> np.ndarray:
    if name not in header:
        raise Rejected(f"layer {name} has no weights.")
    dtype = header[name][0]
    if dtype not in _FLOATS:
        raise Rejected(f"tensor {name} is {dtype}, no floating type; list it as uncounted.")
    raw = _array(file, header[name], _FLOATS[dtype])
    return (raw << raw.dtype.type(1)) == 0  # the sign bit is shifted out


def _array(file: Path, entry: Entry, dtype: str) -> np.ndarray:
    _, shape, start = entry
    count = int(np.prod(shape, dtype=np.int64)) if shape else 1
    with file.open("rb") as handle:
        handle.seek(start)
        return np.frombuffer(
            handle.read(count * np.dtype(dtype).itemsize), dtype=dtype, count=count
        ).reshape(shape)


def _hashed(claim: dict[str, Any], witness: dict[str, Any], folder: Path, name: str) -> Path:
    file = fields.file(folder, fields.text(witness, name))
    stated = fields.digest(claim, f"{name}_sha256")
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        while piece := handle.read(1 << 20):
            digest.update(piece)
    if digest.hexdigest() != stated:
        raise Rejected(f"the file {witness[name]} has changed: its SHA-256 is not the stated one.")
    return file


def _header(file: Path) -> dict[str, Entry]:
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
        if dtype not in _SIZES or any(type(n) is not int or n < 0 for n in (*shape, begin, end)):
            raise Rejected(f"{file.name}: the entry of {name} is malformed.")
        count = 1
        for n in shape:
            count *= n
        if end - begin != count * _SIZES[dtype]:
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
