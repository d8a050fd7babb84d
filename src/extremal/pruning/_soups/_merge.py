"""Merging: one network that is a convex combination of others with the same masks.

Notation: x_j a tensor of the j-th member, l_j its weight, in the order of the members' SHA-256, so
that the result does not depend on the order in which they are given.

    x_1 + (l_2 (x_2 - x_1) + l_3 (x_3 - x_1) + ...)     in float64, then the stored type

Equal members give the member back, bit for bit. Tensors are read a piece of one tensor at a time:
memory does not grow with the members, nor with the network. Integers and Booleans (counters) are
never averaged: they must be equal.
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import torch
from torch import Tensor, nn

from extremal import training
from extremal.lab import sha256_file
from extremal.pruning._errors import PruningError

PIECE = 1 << 17  # values that are averaged at a time: a few MB of float64


@dataclass(frozen=True)
class InMemory:
    """A state dict."""

    label: str
    tensors: Mapping[str, Tensor]
    digest: str

    @classmethod
    def of(cls, label: str, tensors: Mapping[str, Tensor]) -> "InMemory":
        """Hash names and values."""
        digest = hashlib.sha256()
        for name, tensor in tensors.items():
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            flat = tensor.detach().cpu().contiguous().flatten()
            digest.update(flat.view(torch.uint8).numpy().data)
        return cls(label, tensors, digest.hexdigest())

    def names(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of each tensor."""
        return {name: (t.dtype, tuple(t.shape)) for name, t in self.tensors.items()}

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """These entries of a tensor's flattening."""
        return self.tensors[name].detach().cpu().flatten()[start:stop]


class InFile:
    """A safetensors file, of which only the header and the pieces asked for are read.

    Args:
        path: The file.
        prefix: Of the tensors that count; the others are ignored.
        sha256: The hash that the file must have.
    """

    def __init__(self, path: str | Path, prefix: str = "", sha256: str | None = None) -> None:
        self.path, self.label = Path(path), Path(path).name
        self.digest = sha256_file(path)
        if sha256 is not None and self.digest != sha256:
            raise PruningError(
                f"{path} has changed: its SHA-256 is not the one on record. It was not merged; "
                "restore it, or remove it and run again to compute it anew."
            )
        self._names: dict[str, tuple[torch.dtype, tuple[int, ...]]] = {}
        self._at: dict[str, int] = {}
        for key, (dtype, shape, start) in training.tensor_table(self.path).items():
            if key.startswith(prefix):
                name = key.removeprefix(prefix)
                self._names[name] = (dtype, shape)
                self._at[name] = start

    def names(self) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Type and shape of each tensor."""
        return self._names

    def piece(self, name: str, start: int, stop: int) -> Tensor:
        """These entries of a tensor's flattening."""
        dtype, shape = self._names[name]
        stop = min(stop, math.prod(shape))
        size = dtype.itemsize
        with self.path.open("rb") as file:
            file.seek(self._at[name] + start * size)
            raw = bytearray(file.read((stop - start) * size))
        if not raw:
            return torch.empty(0, dtype=dtype)
        return torch.frombuffer(raw, dtype=dtype)


Member = InMemory | InFile


class Average:
    """The combination of members, tensor by tensor.

    Args:
        members: One or more, with the same tensors.
        weights: From 0 to 1, of sum 1; members of weight 0 are only compared.

    Raises:
        PruningError: Names, shapes, types or integers differ, or a value is not finite.
    """

    def __init__(self, members: Sequence[Member], weights: Sequence[Fraction]) -> None:
        check_same_tensors(members)
        pairs = [(m, w) for m, w in zip(members, weights, strict=True) if w > 0]
        pairs.sort(key=lambda pair: pair[0].digest)
        self._members = [m for m, _ in pairs]
        self._factors = [float(w) for _, w in pairs]
        self.names = members[0].names()

    def pieces(self, name: str, mask: Tensor | None = None) -> Iterator[Tensor]:
        """The averaged tensor, piece by piece; +0.0 where the mask prunes."""
        dtype, shape = self.names[name]
        size = math.prod(shape)
        kept = None if mask is None else mask.detach().cpu().flatten()
        for start in range(0, size, PIECE):
            stop = min(start + PIECE, size)
            if not dtype.is_floating_point:
                yield self._copied(name, start, stop)
                continue
            first = self._members[0].piece(name, start, stop).double()
            shift = torch.zeros_like(first)
            for member, factor in zip(self._members[1:], self._factors[1:], strict=True):
                # Products and sums stay apart: a fused one would round differently elsewhere.
                shift += (member.piece(name, start, stop).double() - first) * factor
            total = torch.where(shift == 0, first, first + shift)
            if not bool(total.isfinite().all()):
                raise PruningError(
                    f"A member's {name} holds NaN or infinity, so its average is none. Leave that "
                    "member out, or retrain it with a smaller lr."
                )
            rounded = total if dtype == torch.float64 else total.float().to(dtype)
            yield rounded if kept is None else rounded.masked_fill_(~kept[start:stop], 0.0)

    def tensor(self, name: str, mask: Tensor | None = None) -> Tensor:
        """One averaged tensor."""
        dtype, shape = self.names[name]
        pieces = list(self.pieces(name, mask))
        return (torch.cat(pieces) if pieces else torch.empty(0, dtype=dtype)).reshape(shape)

    @torch.no_grad()
    def write_into(self, model: nn.Module, masks: Mapping[str, Tensor] | None = None) -> None:
        """Fill a network with the average, tensor by tensor."""
        for name, target in model.state_dict().items():
            target.copy_(self.tensor(name, None if masks is None else masks.get(name)))

    def _copied(self, name: str, start: int, stop: int) -> Tensor:
        first = self._members[0].piece(name, start, stop)
        for member in self._members[1:]:
            if not first.equal(member.piece(name, start, stop)):
                raise PruningError(
                    f"The integer tensor {name} differs between {self._members[0].label} and "
                    f"{member.label}. Integers are never averaged: recalibrate the members (which "
                    "counts batches anew), or train them equally long."
                )
        return first


def merge(
    members: Sequence[Mapping[str, Tensor] | str | Path],
    *,
    weights: Sequence[Fraction | float | int | str] | None = None,
    masks: Sequence[Mapping[str, Tensor]] | None = None,
    out: str | Path | None = None,
    prefix: str = "",
) -> dict[str, Tensor]:
    """Average networks that share one mask.

    Args:
        members: State dicts, or safetensors files; at least one.
        weights: Of the members, 0 or more and of sum 1; by default all equal.
        masks: Of each member, True = kept; they must be equal, and the result is 0 outside.
        out: A safetensors file to write, piece by piece; nothing is returned then.
        prefix: In files, of the names that count.

    Returns:
        The average; empty with `out`.

    Raises:
        ValueError: There is no member, or the weights are no convex combination.
        PruningError: Names, shapes, types, masks or integers differ, or a value is not finite.

    Example:
        >>> one, two = {"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([2.0, 0.0])}
        >>> merge([one, two], weights=["1/4", "3/4"])["w"].tolist()
        [1.75, 0.0]

    Cost: every member is read once; memory for a piece of one tensor a member, plus the result.
    """
    if not members:
        raise ValueError("merge has no member; give at least one.")
    shares = convex(weights, len(members))
    if masks is not None and len(masks) != len(members):
        raise ValueError(f"{len(members)} members have {len(masks)} masks; give one for each.")
    for number, mask in enumerate(masks or ()):
        check_same_masks(masks[0] if masks else {}, mask, f"member {number + 1}")
    found = [
        InFile(m, prefix) if isinstance(m, str | Path) else InMemory.of(f"member {i}", m)
        for i, m in enumerate(members, start=1)
    ]
    average = Average(found, shares)
    common = masks[0] if masks else {}
    if out is None:
        return {name: average.tensor(name, common.get(name)) for name in average.names}
    training.write_tensors(out, average.names, lambda name: average.pieces(name, common.get(name)))
    return {}


def convex(
    weights: Sequence[Fraction | float | int | str] | None, members: int
) -> tuple[Fraction, ...]:
    """Weights as exact fractions of sum 1; a float is read as its shortest decimal.

    Raises:
        ValueError: Their number is wrong, one is negative, or they do not add up to 1.
    """
    if weights is None:
        return (Fraction(1, members),) * members
    if len(weights) != members:
        raise ValueError(f"{members} members have {len(weights)} weights; give one for each.")
    shares = [w if isinstance(w, Fraction) else Fraction(str(w)) for w in weights]
    total = sum(shares, Fraction(0))
    # Decimals such as 0.333 need not add up to 1 exactly; a per mille is a slip of the pen.
    if min(shares) < 0 or abs(total - 1) > Fraction(1, 1000):
        raise ValueError(
            f"The weights {', '.join(map(str, weights))} are no convex combination: each must be "
            f"0 or more and their sum 1 (it is {float(total):g})."
        )
    return tuple(share / total for share in shares)


def greedy(
    accuracies: Sequence[float],
    accuracy_of: Callable[[tuple[int, ...]], float],
    tie: str = "accept",
) -> tuple[tuple[int, ...], float]:
    """Choose members one by one: keep the next best where the average does not get worse.

    Source: Wortsman et al., arXiv:2203.05482. They keep only what is better (tie="reject").

    Args:
        accuracies: Of each member, on validation data.
        accuracy_of: The accuracy of the average of these members, on the same data.
        tie: Keep a member that changes nothing: accept or reject.

    Returns:
        The kept members in the order in which they came, and the accuracy of their average.

    Example:
        >>> values = (0.3, 0.8, 0.1, 0.9)
        >>> closeness = lambda x: 1 - abs(x - 0.5)
        >>> kept, best = greedy(
        ...     [closeness(v) for v in values],
        ...     lambda chosen: closeness(sum(values[i] for i in chosen) / len(chosen)),
        ... )
        >>> kept, round(best, 12)
        ((0, 1), 0.95)
    """
    if tie not in ("accept", "reject"):
        raise ValueError(f"tie={tie!r} is unknown; choose 'accept' or 'reject'.")
    if not accuracies:
        raise ValueError("greedy has no member; give at least one.")
    order = sorted(range(len(accuracies)), key=lambda i: (-accuracies[i], i))
    kept: tuple[int, ...] = (order[0],)
    best = accuracies[order[0]]
    for candidate in order[1:]:
        found = accuracy_of((*kept, candidate))
        if found > best or (tie == "accept" and found == best):
            kept, best = (*kept, candidate), found
    return kept, best


def check_same_tensors(members: Sequence[Member]) -> None:
    """Refuse members whose names, shapes or types differ."""
    if not members:
        raise ValueError("There is no member to merge; give at least one.")
    first = members[0].names()
    for member in members[1:]:
        names = member.names()
        odd = sorted(n for n in first.keys() | names.keys() if first.get(n) != names.get(n))
        if odd:
            raise PruningError(
                f"{members[0].label} and {member.label} differ in {', '.join(odd[:5])}: "
                f"{_told(first.get(odd[0]))} against {_told(names.get(odd[0]))}. Only networks of "
                "one architecture and one type can be averaged."
            )


def check_same_masks(one: Mapping[str, Tensor], two: Mapping[str, Tensor], label: str) -> None:
    """Refuse masks that are not equal: their average would be less sparse than each."""
    odd = sorted(
        n
        for n in one.keys() | two.keys()
        if n not in one or n not in two or not one[n].cpu().equal(two[n].cpu())
    )
    if odd:
        raise PruningError(
            f"The masks of {label} differ from those of the first member in {', '.join(odd[:5])}. "
            "An average of different masks loses sparsity; retrain all members from one pruned "
            "network, or merge without masks and prune again."
        )


def _told(entry: tuple[torch.dtype, tuple[int, ...]] | None) -> str:
    return "absent" if entry is None else f"{entry[0]} {list(entry[1])}"
