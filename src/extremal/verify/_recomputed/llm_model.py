"""Checker of `llm/model`: a Hugging Face folder is the parent's, with zeros where the masks say so.

Establishes: the hashes of weights, masks, configuration and parent table; that every pruned weight
is zero, bit for bit (-0.0 counts as zero); the counts of every layer, by the layer's own rule; that
names, types and shapes of all tensors are the parent's, and every tensor that was not to be changed
has the parent's bytes; that no weight is NaN or infinite; that the configuration is the parent's.
Does not say: how the weights were chosen or trained, nor how well the model writes.

Tensors are read as raw integers, so that bfloat16 needs nothing beyond NumPy. Masks are packed
bits: the rows of a weight as stored, eight columns a byte, the first in the lowest bit.
"""

import hashlib
import json
import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._recomputed._tensor_file import Entry, array, header
from extremal.verify._rejected import Rejected

KIND = "llm/model"
STRENGTH = "recomputed"
CLAIM = (
    "weights_sha256", "masks_sha256", "config_sha256", "parent_sha256", "prunable", "pruned",
    "zeros", "unchanged", "untied", "layers",
)  # fmt: skip
WITNESS = ("weights", "masks", "config", "parent", "trained")
LAYER = {"name", "shape", "transposed", "rule", "pruned", "zeros"}

# Raw type, bits of the exponent: all ones there means NaN or infinity.
_FLOATS = {
    "F64": ("<u8", 0x7FF0_0000_0000_0000), "F32": ("<u4", 0x7F80_0000),
    "F16": ("<u2", 0x7C00), "BF16": ("<u2", 0x7F80),
}  # fmt: skip
_UNPLAIN = ("quantization_config", "compression_config", "sparsity_config")
_DECIMAL = r"(0|0?\.\d{1,60}|0\.\d{1,60})"


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    hashes = fields.items(claim, "weights_sha256")
    names = fields.items(witness, "weights")
    if len(hashes) != len(names) or len(set(names)) != len(names) or not names:
        raise Rejected(f"{len(hashes)} hashes are stated for the {len(names)} weight files.")
    where: dict[str, tuple[Path, Entry]] = {}
    for name, digest in zip(names, hashes, strict=True):
        file = _hashed(folder, {"a weight file": name}, "a weight file", {"x": digest}, "x")
        for tensor, entry in header(file).items():
            if tensor in where:
                raise Rejected(f"the tensor {tensor} stands in two weight files.")
            where[tensor] = (file, entry)
    masks_file = _hashed(folder, witness, "masks", claim, "masks_sha256")
    masks = header(masks_file)
    parent = json.loads(_hashed(folder, witness, "parent", claim, "parent_sha256").read_bytes())

    said, pruned_names = _layers(claim, where, masks_file, masks)
    if parent["masks_sha256"] is not None:
        if parent["masks_sha256"] != claim["masks_sha256"]:
            raise Rejected("the masks are not the parent's.")
        said.append("the masks are the parent's")
    said += _others(claim, witness, where, parent["tensors"], pruned_names)
    said += _config(claim, witness, folder, parent["config"])
    return said


def _layers(
    claim: dict[str, Any],
    where: dict[str, tuple[Path, Entry]],
    masks_file: Path,
    masks: dict[str, Entry],
) -> tuple[list[str], set[str]]:
    total = {"prunable": 0, "pruned": 0, "zeros": 0}
    rules: dict[str, int] = {}
    seen: set[str] = set()
    for value in fields.items(claim, "layers"):
        layer = fields.mapping({"a layer": value}, "a layer")
        if set(layer) != LAYER:
            raise Rejected(f"a layer has the fields {sorted(layer)}, not {sorted(LAYER)}.")
        name, rule = fields.text(layer, "name"), fields.text(layer, "rule")
        if name in seen:
            raise Rejected(f"layer {name} stands twice in the claim.")
        seen.add(name)
        if name not in where or name not in masks:
            raise Rejected(f"layer {name} has no weights or no mask.")
        zero = _zeros(*where[name], name)
        kept = _mask(masks_file, masks[name], zero.shape, name)
        if list(zero.shape) != fields.items(layer, "shape"):
            raise Rejected(f"layer {name} has shape {list(zero.shape)}, not {layer['shape']!r}.")
        alive = np.flatnonzero(~kept & ~zero)
        if alive.size:
            raise Rejected(
                f"layer {name}: {alive.size} pruned weights are not zero, the first at flat "
                f"index {int(alive[0])}."
            )
        counted = {"pruned": kept.size - int(kept.sum()), "zeros": int(zero.sum())}
        for field, number in counted.items():
            if fields.natural(layer, field) != number:
                raise Rejected(f"layer {name}: {field} is {layer[field]}, counted {number}.")
            total[field] += number
        total["prunable"] += kept.size
        if type(layer["transposed"]) is not bool:
            raise Rejected(f"layer {name}: transposed is {layer['transposed']!r}.")
        _follows(rule, name, kept.T if layer["transposed"] else kept)
        rules[rule] = rules.get(rule, 0) + 1
    if set(masks) != seen:
        odd = sorted(set(masks) ^ seen)
        raise Rejected(f"the claim and the mask file differ in the layers {', '.join(odd)}.")
    for field, number in total.items():
        if fields.natural(claim, field) != number:
            raise Rejected(f"{field} is stated as {claim[field]}, counted {number}.")
    said = [
        f"{total['pruned']} of {total['prunable']} weights of {len(seen)} layers are pruned and "
        f"exactly zero (sparsity {total['pruned'] / max(total['prunable'], 1):.6f})"
    ]
    said += [f"rule '{rule}' holds in {n} layers" for rule, n in rules.items() if rule != "none"]
    return said, seen


def _follows(rule: str, name: str, kept: np.ndarray) -> None:
    """Check the count of pruned weights in the (outputs, inputs) view, group by group."""
    pruned = ~kept
    rows, columns = kept.shape
    if rule == "none":
        return
    if match := re.fullmatch(r"(\d{1,4}):(\d{1,4})", rule):
        n, m = int(match[1]), int(match[2])
        if not 0 < n <= m or columns % m:
            raise Rejected(f"layer {name}: {rule} does not fit {columns} inputs.")
        groups = kept.reshape(rows, columns // m, m).sum(2)
        if (groups != n).any():
            raise Rejected(f"layer {name}: a group of {m} keeps another number than {n}.")
        return
    if match := re.fullmatch(r"row " + _DECIMAL, rule):
        want = int(Fraction(match[1]) * columns)
        if (pruned.sum(1) != want).any():
            raise Rejected(f"layer {name}: a row does not prune exactly {want} weights.")
        return
    if match := re.fullmatch(r"tensor " + _DECIMAL, rule):
        want = int(Fraction(match[1]) * kept.size)
        if int(pruned.sum()) != want:
            raise Rejected(f"layer {name}: not exactly {want} weights are pruned.")
        return
    if match := re.fullmatch(r"slab ([1-9]\d{0,5}) " + _DECIMAL, rule):
        width = int(match[1])
        for start in range(0, columns, width):
            slab = pruned[:, start : start + width]
            want = int(Fraction(match[2]) * slab.size)
            if int(slab.sum()) != want:
                raise Rejected(f"layer {name}: columns from {start} do not prune exactly {want}.")
        return
    raise Rejected(f"layer {name}: there is no rule {rule!r}.")


def _others(
    claim: dict[str, Any],
    witness: dict[str, Any],
    where: dict[str, tuple[Path, Entry]],
    parent: dict[str, Any],
    pruned: set[str],
) -> list[str]:
    """Every tensor is the parent's in name, type and shape, and unless changed in its bytes."""
    trained = fields.items(witness, "trained")
    if len(set(trained)) != len(trained) or not set(trained) <= where.keys() - pruned:
        raise Rejected("trained names a tensor twice, a pruned layer or none of the weights.")
    untied = claim.get("untied")
    if untied is not None and (untied not in where or untied in parent or untied not in trained):
        raise Rejected(f"the untied tensor {untied!r} is not new, or not among the trained ones.")
    expected = parent.keys() | ({untied} if untied is not None else set[str]())
    if where.keys() != expected:
        odd = sorted(where.keys() ^ expected)
        raise Rejected(f"the tensors differ from the parent's: {', '.join(odd[:5])}.")
    same = 0
    for name, (file, entry) in where.items():
        dtype, shape, start = entry
        if name != untied and (parent[name]["dtype"], parent[name]["shape"]) != (
            dtype,
            list(shape),
        ):
            raise Rejected(f"the tensor {name} differs from the parent's in type or shape.")
        if name not in pruned and dtype in _FLOATS:
            _zeros(file, entry, name)  # refuses NaN and infinity
        if name in pruned or name in trained:
            continue
        size = int(np.prod(shape, dtype=np.int64)) * _width(dtype)
        if _digest(file, start, size) != fields.digest(parent[name], "sha256"):
            raise Rejected(f"the tensor {name} is not the parent's, and not among the trained.")
        same += 1
    if fields.natural(claim, "unchanged") != same:
        raise Rejected(f"unchanged is stated as {claim['unchanged']}, counted {same}.")
    return [
        f"{len(where)} tensors with the parent's names, types and shapes, all finite; {same} have "
        f"its bytes, {len(pruned)} are pruned layers, {len(trained)} others were trained"
        + (f"; {untied} was untied" if untied is not None else "")
    ]


def _config(
    claim: dict[str, Any], witness: dict[str, Any], folder: Path, parent: dict[str, Any]
) -> list[str]:
    config = json.loads(_hashed(folder, witness, "config", claim, "config_sha256").read_bytes())
    unplain = [key for key in _UNPLAIN if key in config]
    if unplain:
        raise Rejected(f"config.json has the entry {unplain[0]}; the weights are plain and dense.")
    expected = dict(parent)
    if claim.get("untied") is not None:
        expected["tie_word_embeddings"] = False
    if config != expected:
        odd = sorted(k for k in config.keys() | expected.keys() if config.get(k) != expected.get(k))
        raise Rejected(f"config.json differs from the parent's in {', '.join(odd)}.")
    return ["the configuration is the parent's" + (", untied" if expected != parent else "")]


def _zeros(file: Path, entry: Entry, name: str) -> np.ndarray:
    dtype, shape, _ = entry
    if dtype not in _FLOATS or len(shape) < 1:
        raise Rejected(f"tensor {name} is {dtype} of shape {list(shape)}, no array of floats.")
    kind, exponent = _FLOATS[dtype]
    raw = array(file, entry, kind)
    if ((raw & raw.dtype.type(exponent)) == exponent).any():
        raise Rejected(f"tensor {name} holds NaN or infinity.")
    return (raw << raw.dtype.type(1)) == 0  # the sign bit is shifted out


def _mask(file: Path, entry: Entry, shape: tuple[int, ...], name: str) -> np.ndarray:
    dtype, packed, _ = entry
    if len(shape) != 2 or dtype != "U8" or packed != (shape[0], -(-shape[1] // 8)):
        raise Rejected(f"the mask of {name} is {dtype} {list(packed)}, not packed {list(shape)}.")
    bits = np.unpackbits(array(file, entry, "u1"), axis=1, bitorder="little")
    if bits[:, shape[1] :].any():
        raise Rejected(f"the mask of {name} has bits beyond its columns.")
    return bits[:, : shape[1]].astype(bool)


def _width(dtype: str) -> int:
    sizes = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4}
    return sizes.get(dtype, 2 if dtype in {"F16", "BF16", "I16", "U16"} else 1)


def _hashed(
    folder: Path, names: dict[str, Any], name: str, hashes: dict[str, Any], field: str
) -> Path:
    file = fields.file(folder, fields.text(names, name))
    if _digest(file, 0, file.stat().st_size) != fields.digest(hashes, field):
        raise Rejected(f"the file {names[name]} has changed: its SHA-256 is not the stated one.")
    return file


def _digest(file: Path, start: int, size: int) -> str:
    digest = hashlib.sha256()
    with file.open("rb") as handle:
        handle.seek(start)
        while size > 0 and (piece := handle.read(min(size, 1 << 20))):
            digest.update(piece)
            size -= len(piece)
    return digest.hexdigest()
