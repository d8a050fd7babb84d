"""Checker of `pruning/model`: a weight file holds exact zeros where its masks say so.

Establishes: the hashes of weights, masks and parent; that every pruned weight is zero, bit for bit
(-0.0 counts as zero); the counts of every layer and their sums; the pattern; where a sparsity was
requested, that exactly round(s N) weights are pruned; that the parent has the same tensors.
Does not say: how the weights were chosen or trained, nor how accurate the network is.

Tensors are read as raw integers, so that bfloat16 needs nothing beyond NumPy.
"""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from . import _tensor_file as tensors

KIND = "pruning/model"
STRENGTH = "recomputed"
CLAIM = (
    "weights_sha256", "masks_sha256", "parent_sha256", "prunable", "pruned", "zeros",
    "parameters", "parameters_zero", "requested", "pattern", "layers",
)  # fmt: skip
WITNESS = ("weights", "masks", "parent", "uncounted")
LAYER = {"name", "shape", "size", "pruned", "zeros"}


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    weights_file = tensors.hashed(claim, witness, folder, "weights")
    masks_file = tensors.hashed(claim, witness, folder, "masks")
    weights, masks = tensors.header(weights_file), tensors.header(masks_file)
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
        kept = tensors.mask(masks_file, masks, name)
        zero = tensors.zeros(weights_file, weights, name)
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
    claim: dict[str, Any], witness: dict[str, Any], file: Path, header: dict[str, tensors.Entry]
) -> list[str]:
    """Count over all parameters: every tensor but the buffers and second names listed."""
    uncounted = fields.items(witness, "uncounted")
    strange = [name for name in uncounted if name not in header]
    if strange or len(set(uncounted)) != len(uncounted):
        raise Rejected(f"uncounted names {strange or uncounted!r} are not tensors of the weights.")
    size = zeros = 0
    for name in header:
        if name not in uncounted:
            zero = tensors.zeros(file, header, name)
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
    claim: dict[str, Any], witness: dict[str, Any], folder: Path, weights: dict[str, tensors.Entry]
) -> list[str]:
    parent = tensors.header(tensors.hashed(claim, witness, folder, "parent"))
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
