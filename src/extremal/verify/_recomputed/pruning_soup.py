"""Checker of `pruning/soup`: a network is the stated average of its members, which share one mask.

Establishes: the hashes of soup, masks and members; that the weights are fractions of sum 1; that
members and soup have the same tensors and the same masks, with exact zeros where these prune; that
every floating tensor is the members' average, bit for bit; that counters were copied.
Does not say: how members were trained, or where recalibrated statistics come from.

Notation: x_j tensors of the members with weight l_j > 0, in the order of their SHA-256.
"""

import re
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from . import _tensor_file as tensors

KIND = "pruning/soup"
STRENGTH = "recomputed"
CLAIM = (
    "soup_sha256", "masks_sha256", "merge", "members", "averaged", "pruned", "recalibrated",
)  # fmt: skip
WITNESS = ("soup", "masks", "members")
MEMBER = {"name", "sha256", "weight"}

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")
_PIECE = 1 << 20  # values at a time, so that memory does not grow with the tensors


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    soup_file = tensors.hashed(claim, witness, folder, "soup")
    masks_file = tensors.hashed(claim, witness, folder, "masks")
    soup, masks = tensors.header(soup_file), tensors.header(masks_file)
    used, all_members = _members(claim, witness, folder)

    pruned = 0
    for name in masks:
        if name not in soup:
            raise Rejected(f"the mask of {name} belongs to no tensor of the soup.")
        kept = tensors.mask(masks_file, masks, name)
        pruned += kept.size - int(kept.sum())
    for label, file, header in all_members:
        _same_tensors(label, header, soup)
        _same_masks(label, file, header, masks_file, masks)
    recalibrated = _recalibrated(claim, soup, masks)

    averaged = 0
    for name, (dtype, _, _) in soup.items():
        if name in recalibrated:
            continue
        if dtype in tensors.FLOATS:
            _is_average(name, soup_file, soup, masks_file, masks, used)
            averaged += tensors.array(soup_file, soup[name], tensors.FLOATS[dtype]).size
        else:
            _is_copied(name, soup_file, soup, used)
    for field, number in (("averaged", averaged), ("pruned", pruned)):
        if fields.natural(claim, field) != number:
            raise Rejected(f"{field} is stated as {claim[field]}, counted {number}.")
    said = [
        f"{averaged} values are the average of {len(used)} of {len(all_members)} members "
        f"({claim['merge']}), bit for bit",
        f"all members share the soup's masks: {pruned} weights are exactly zero in each",
    ]
    if recalibrated:
        said.append(f"{len(recalibrated)} tensors of norm statistics were measured anew")
    return said


Member = tuple[str, Path, dict[str, tensors.Entry]]


def _members(
    claim: dict[str, Any], witness: dict[str, Any], folder: Path
) -> tuple[list[tuple[float, Path, dict[str, tensors.Entry]]], list[Member]]:
    """Members with a weight above 0, by their hash, and all of them as they are claimed."""
    how = fields.text(claim, "merge")
    claimed, names = fields.items(claim, "members"), fields.items(witness, "members")
    if len(claimed) != len(names) or not claimed:
        raise Rejected(f"{len(claimed)} members are claimed and {len(names)} files named.")
    found: list[Member] = []
    weighted: list[tuple[str, Fraction, Path, dict[str, tensors.Entry]]] = []
    seen: set[str] = set()
    for value, file_name in zip(claimed, names, strict=True):
        member = fields.mapping({"a member": value}, "a member")
        if set(member) != MEMBER:
            raise Rejected(f"a member has the fields {sorted(member)}, not {sorted(MEMBER)}.")
        label = fields.text(member, "name")
        if label in seen:
            raise Rejected(f"the member {label} stands twice in the claim.")
        seen.add(label)
        stated = {"member_sha256": member["sha256"]}
        file = tensors.hashed(stated, {"member": file_name}, folder, "member")
        header = tensors.header(file)
        weight = _fraction(fields.text(member, "weight"))
        found.append((label, file, header))
        if weight > 0:
            weighted.append((fields.text(member, "sha256"), weight, file, header))
    weights = [weight for _, weight, _, _ in weighted]
    if sum(weights) != 1:
        raise Rejected(f"the weights add up to {sum(weights)}, not to 1.")
    if how not in ("uniform", "greedy", "weights"):
        raise Rejected(f"the merge {how!r} is none of uniform, greedy, weights.")
    if how != "weights" and len(set(weights)) != 1:
        raise Rejected(f"a {how} merge has the weights {', '.join(map(str, weights))}.")
    if how == "uniform" and len(weighted) != len(found):
        raise Rejected("a uniform merge leaves a member out.")
    ordered = sorted(weighted, key=lambda entry: entry[0])
    return [(float(w), file, header) for _, w, file, header in ordered], found


def _fraction(text: str) -> Fraction:
    if not re.fullmatch(r"\d{1,400}(/[1-9]\d{0,399})?", text) or Fraction(text) > 1:
        raise Rejected(f"the weight {text!r} is no fraction p/q from 0 to 1.")
    if str(Fraction(text)) != text:
        raise Rejected(f"the weight {text!r} is not in lowest terms.")
    return Fraction(text)


def _same_tensors(
    label: str, member: dict[str, tensors.Entry], soup: dict[str, tensors.Entry]
) -> None:
    prefix = "model."
    one = {n.removeprefix(prefix): e[:2] for n, e in member.items() if n.startswith(prefix)}
    two = {name: entry[:2] for name, entry in soup.items()}
    if one != two:
        odd = sorted(n for n in one.keys() | two.keys() if one.get(n) != two.get(n))
        raise Rejected(
            f"member {label} and the soup differ in names, shapes or types: {', '.join(odd[:5])}."
        )


def _same_masks(
    label: str,
    file: Path,
    member: dict[str, tensors.Entry],
    masks_file: Path,
    masks: dict[str, tensors.Entry],
) -> None:
    theirs = {name.removeprefix("mask.") for name in member if name.startswith("mask.")}
    if theirs != set(masks):
        odd = sorted(theirs ^ set(masks))
        raise Rejected(f"member {label} has other masks than the soup: {', '.join(odd[:5])}.")
    for name in masks:
        kept = tensors.mask(masks_file, masks, name)
        own = tensors.mask(file, member, f"mask.{name}")
        if kept.shape != own.shape or not np.array_equal(kept, own):
            raise Rejected(f"member {label} has another mask of {name} than the soup.")
        zero = tensors.zeros(file, member, f"model.{name}")
        if kept.shape != zero.shape or (~kept & ~zero).any():
            raise Rejected(f"member {label} is not zero everywhere where {name} is pruned.")


def _recalibrated(
    claim: dict[str, Any], soup: dict[str, tensors.Entry], masks: dict[str, tensors.Entry]
) -> set[str]:
    names = fields.items(claim, "recalibrated")
    for name in names:
        if not isinstance(name, str) or name not in soup:
            raise Rejected(f"the recalibrated tensor {name!r} is not in the soup.")
        if not ("." + name).endswith(_STATISTICS) or name in masks:
            raise Rejected(f"{name} is no statistic of a normalisation; it cannot be exempt.")
    if len(set(names)) != len(names):
        raise Rejected("a recalibrated tensor stands twice in the claim.")
    return set(names)


def _is_average(
    name: str,
    soup_file: Path,
    soup: dict[str, tensors.Entry],
    masks_file: Path,
    masks: dict[str, tensors.Entry],
    used: list[tuple[float, Path, dict[str, tensors.Entry]]],
) -> None:
    dtype = soup[name][0]
    raw = [_flat(file, header[f"model.{name}"], dtype) for _, file, header in used]
    stored = _flat(soup_file, soup[name], dtype)
    pruned = ~tensors.mask(masks_file, masks, name).ravel() if name in masks else None
    for start in range(0, stored.size, _PIECE):
        piece = slice(start, start + _PIECE)
        first = _wide(raw[0][piece], dtype)
        shift = np.zeros_like(first)
        for (weight, _, _), other in zip(used[1:], raw[1:], strict=True):
            shift += weight * (_wide(other[piece], dtype) - first)
        total = np.where(shift == 0, first, first + shift)
        if not np.isfinite(total).all():
            raise Rejected(f"a member's {name} holds NaN or infinity.")
        expected = _narrow(total, dtype)
        if pruned is not None:
            expected[pruned[piece]] = 0
        wrong = np.flatnonzero(expected != stored[piece])
        if wrong.size:
            raise Rejected(
                f"{name} is not the average of the members at flat index {start + int(wrong[0])}."
            )


def _is_copied(
    name: str,
    soup_file: Path,
    soup: dict[str, tensors.Entry],
    used: list[tuple[float, Path, dict[str, tensors.Entry]]],
) -> None:
    form = f"<u{tensors.SIZES[soup[name][0]]}"
    own = tensors.array(soup_file, soup[name], form)
    for _, file, header in used:
        if not np.array_equal(own, tensors.array(file, header[f"model.{name}"], form)):
            raise Rejected(f"the integer tensor {name} of {file.name} is not the soup's.")


def _flat(file: Path, entry: tensors.Entry, dtype: str) -> np.ndarray:
    return tensors.array(file, entry, tensors.FLOATS[dtype]).ravel()


def _wide(raw: np.ndarray, dtype: str) -> np.ndarray:
    """Bits as float64."""
    if dtype == "BF16":
        return (raw.astype("<u4") << np.uint32(16)).view("<f4").astype(np.float64)
    return raw.view({"F64": "<f8", "F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float64)


def _narrow(values: np.ndarray, dtype: str) -> np.ndarray:
    """Float64 as bits of the stored type, to nearest, ties to even."""
    if dtype == "F64":
        return values.view("<u8").copy()
    with np.errstate(over="ignore"):
        single = values.astype("<f4")
        if dtype == "F32":
            return single.view("<u4").copy()
        if dtype == "F16":
            return single.astype("<f2").view("<u2").copy()
    bits = single.view("<u4")
    return ((bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> 16).astype(
        "<u2"
    )
