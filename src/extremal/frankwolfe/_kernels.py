"""Fused CPU steps of SFW over vector regions: two passes over memory, whatever the region.

Pass one updates the average m and sums what the step length needs; pass two moves the weights.
That is 24 bytes a parameter, 28 with gradient rescaling; SGD with momentum moves 32. Tensors are
cut into chunks, and sums are taken chunk by chunk in a fixed order, so that the number of threads
does not change a bit of the result.

For the k largest entries, a bracket around the last threshold is counted while m is updated; the
exact threshold is found among the few entries inside it, or among all where it has left the
bracket. Absolute values are compared as integers, which orders floats the same way and lets the
compiler vectorise.
"""

import functools
import importlib.util
import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extremal.lab import require

KINDS = {"L2Ball": 0, "LinfBall": 1, "Sign": 1, "L1Ball": 2, "KSparse": 3, "KSupport": 4}
_CHUNK = 1 << 15
_NEVER = 0x7FFFFFFF  # above every finite float's bits


def fused_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the step of one group; False if these tensors need the general code."""
    kind = KINDS.get(type(group["region"]).__name__)
    if kind is None or not _available(group["fused"] is True):
        return False
    params = [group["params"][i] for i in places]
    if not all(_plain(p, g) for p, g in zip(params, grads, strict=True)):
        return False
    buffers, keeps, takes = _buffers(optimizer, group, params, grads)
    if not all(m.stride() == p.stride() for m, p in zip(buffers, params, strict=True)):
        return False
    _Step(optimizer, group, kind, places, params, grads, buffers, keeps, takes).run()
    return True


@functools.cache
def _available(demanded: bool) -> bool:
    if demanded:
        require("numba", "frankwolfe")
    return importlib.util.find_spec("numba") is not None


def _plain(p: Tensor, g: Tensor) -> bool:
    """Whether both are float32 on the CPU and filled without gaps in the same order."""
    if p.dtype != torch.float32 or g.dtype != torch.float32 or p.device.type != "cpu":
        return False
    if type(p.data) is not Tensor or p.numel() == 0 or p.stride() != g.stride():
        return False
    return p.is_contiguous() or (p.ndim == 4 and p.is_contiguous(memory_format=torch.channels_last))


def _buffers(
    optimizer: Any, group: dict[str, Any], params: list[Tensor], grads: list[Tensor]
) -> tuple[list[Tensor], np.ndarray, np.ndarray]:
    keeps = np.full(len(params), float(group["momentum"]), dtype=np.float32)
    takes = np.full(len(params), 1.0 - float(group["dampening"]), dtype=np.float32)
    buffers: list[Tensor] = []
    for j, (p, g) in enumerate(zip(params, grads, strict=True)):
        state = optimizer.state[p]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(p, memory_format=torch.preserve_format)
            if group["momentum_seed"] == "gradient":
                state["momentum_buffer"].copy_(g)
                keeps[j], takes[j] = 1.0, 0.0
        buffers.append(state["momentum_buffer"])
    return buffers, keeps, takes


class _Step:
    """One step over one group."""

    def __init__(
        self,
        optimizer: Any,
        group: dict[str, Any],
        kind: int,
        places: list[int],
        params: list[Tensor],
        grads: list[Tensor],
        buffers: list[Tensor],
        keeps: np.ndarray,
        takes: np.ndarray,
    ) -> None:
        """Take the tensors of a group."""
        self.optimizer, self.group, self.kind = optimizer, group, kind
        self.places, self.params, self.buffers = places, params, buffers
        self.grads, self.keeps, self.takes = grads, keeps, takes
        self.regions = [group["sized"][i] for i in places]
        self.size = np.array(
            [r._size(tuple(p.shape) or (1,)) for r, p in zip(self.regions, params, strict=True)]
        )
        self.where = np.array(
            [[t.data_ptr() for t in row] for row in (params, grads, buffers)], dtype=np.int64
        )
        self.chunks = _cut(tuple(p.numel() for p in params))

    def run(self) -> None:
        """Update averages, choose lengths, move."""
        first, second, gather, weigh = _compiled()
        tensor, begin, end = self.chunks
        needs_x = self.group["rescale"] == "gradient"
        guesses = self._guesses()
        sums = np.zeros((len(tensor), 4))
        tops = np.zeros((len(tensor), 2), dtype=np.int64)
        _spread(
            lambda low, high: first(
                low, high, tensor, begin, end, self.where, self.keeps, self.takes, guesses,
                self.kind, needs_x, sums, tops,
            ),
            len(tensor),
        )  # fmt: skip
        total = np.zeros((len(self.params), 4))
        np.add.at(total, tensor, sums)
        if not np.isfinite(total[:, 0]).all():
            self.optimizer._refuse_not_finite(
                self.group, self.places, torch.from_numpy(total[:, 0].copy())
            )
        n = len(self.params)
        norm = np.sqrt(total[:, 0])
        inner = np.zeros(n)  # <v, x> / size
        length = np.ones(n)  # |v| / size
        factor = np.zeros(n)  # v = factor m, where it is a multiple
        threshold = np.zeros(n, dtype=np.int64)
        extra: list[tuple[int, Any]] = []
        safe = np.where(norm > 0, norm, 1.0)
        if self.kind == 0:
            factor, inner = -1.0 / safe, -total[:, 2] / safe
        elif self.kind == 1:
            counts = np.array([p.numel() for p in self.params], dtype=np.float64)
            length, inner = np.sqrt(counts), -total[:, 3]
        elif self.kind == 2:
            for j in range(n):
                mine = np.flatnonzero(tensor == j)
                best = mine[int(tops[mine, 0].argmax())]
                at = begin[best] + int(tops[best, 1])
                sign = -1.0 if float(_flat(self.buffers[j])[at]) >= 0 else 1.0
                inner[j] = sign * float(_flat(self.params[j])[at])
                extra.append((j, (np.array([at]), np.array([sign]))))
        else:
            counts = np.zeros((n, 2), dtype=np.int64)
            np.add.at(counts, tensor, tops)
            found = _mapped(lambda j: self._top(j, counts[j], guesses[j], gather, weigh), n)
            for j, (level, ties, square, product) in enumerate(found):
                threshold[j] = level
                if ties is not None:
                    extra.append((j, ties))
                if self.kind == 3:
                    length[j], inner[j] = math.sqrt(self.regions[j].k), product
                else:
                    root = math.sqrt(square) if square > 0 else 1.0
                    factor[j], inner[j] = -1.0 / root, product / root
        steps = self._lengths(norm, self.size * length, self.size * inner, total[:, 1])
        keep = (1.0 - steps).astype(np.float32)
        move = (steps * self.size * (factor if self.kind in (0, 4) else 1.0)).astype(np.float32)
        _spread(
            lambda low, high: second(
                low, high, tensor, begin, end, self.where, keep, move, threshold, self.kind
            ),
            len(tensor),
        )
        for j, (at, values) in extra:
            x = _flat(self.params[j])
            m = _flat(self.buffers[j])
            if self.kind == 4:
                x[at] += move[j] * m[at]
            else:
                x[at] += (move[j] * values).astype(np.float32)

    def _lengths(
        self, norm: np.ndarray, v: np.ndarray, vx: np.ndarray, xx: np.ndarray
    ) -> np.ndarray:
        """Step lengths, clipped at 1; clips are counted."""
        group = self.group
        lr, rescale = float(group["lr"]) * float(group["lr_factor"]), group["rescale"]
        alive = norm > 0
        if rescale == "none":
            return alive * min(lr, 1.0)
        if rescale == "gradient":
            apart = np.sqrt(np.maximum(v * v - 2 * vx + xx, 0.0))
            raw = np.where(apart > 0, lr * norm / np.where(apart > 0, apart, 1.0), 0.0)
        else:
            across = np.array(
                self.optimizer._diameters(group, self.params, self.regions), dtype=np.float64
            )
            safe = np.where(across > 0, across, np.inf)
            raw = alive * lr / safe if rescale == "diameter" else 2 * lr * norm / safe
        if rescale != "diameter":
            for p, cut in zip(self.params, raw > 1, strict=True):
                state = self.optimizer.state[p]
                if "clipped" not in state:
                    state["clipped"] = torch.zeros((), dtype=torch.float32)
                if cut:
                    state["clipped"] += 1.0
        return np.minimum(raw, 1.0)

    def _guesses(self) -> np.ndarray:
        guesses = np.zeros((len(self.params), 2), dtype=np.int64)
        guesses[:, 1] = _NEVER
        if self.kind >= 3:
            for j, p in enumerate(self.params):
                known = self.optimizer.state[p].get("threshold")
                if known is not None:
                    for side, factor in enumerate((0.97, 1.03)):
                        guesses[j, side] = int(np.float32(factor * float(known)).view(np.int32))
        return guesses

    def _top(
        self, j: int, counts: np.ndarray, guesses: np.ndarray, gather: Any, weigh: Any
    ) -> tuple[int, Any, float, float]:
        """Threshold of the k largest, ties to add by hand, sum of squares, <v, x> over them."""
        k, n = self.regions[j].k, self.params[j].numel()
        guess, beyond = int(guesses[0]), int(guesses[1])
        count, over = int(counts[0]), int(counts[1])
        if not over < k <= count:  # the threshold has left the bracket
            guess, beyond, count, over = 0, _NEVER, n, 0
        keys = np.empty(count - over, dtype=np.int32)
        got = gather(self.where[2, j], n, guess, beyond, keys)
        assert got == len(keys)
        level = int(np.partition(keys, count - k)[count - k])  # (k - over)-th largest of the keys
        value = float(np.int32(level).view(np.float32))
        self.optimizer.state[self.params[j]]["threshold"] = torch.tensor(value)
        place, kept = self.where[:, j], level
        chosen = over + int((keys >= level).sum())
        ties = None
        if chosen > k:  # among equals the lowest indices, moved one by one
            kept = level + 1
        square, product, signed = weigh(place[0], place[2], n, kept)
        if chosen > k:
            m, x = _flat(self.buffers[j]), _flat(self.params[j])
            bits = m.view(np.int32) & 0x7FFFFFFF
            at = np.flatnonzero(bits == level)[: k - over - int((keys > level).sum())]
            sign = np.where(m[at] < 0, -1.0, 1.0)
            ties = (at, -sign)
            square += float(m[at].astype(np.float64) @ m[at])
            product += float(m[at].astype(np.float64) @ x[at])
            signed += float(sign @ x[at])
        if self.kind == 3:
            return kept, ties, float(k), -signed
        return kept, ties, square, -product


def _flat(t: Tensor) -> np.ndarray:
    """The entries in the order of memory, without a copy."""
    return t.detach().as_strided((t.numel(),), (1,)).numpy()


@functools.lru_cache(maxsize=64)
def _cut(sizes: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cut tensors into chunks: tensor number, first entry, one past the last."""
    rows = [
        (j, start, min(start + _CHUNK, n))
        for j, n in enumerate(sizes)
        for start in range(0, n, _CHUNK)
    ]
    table = np.array(rows, dtype=np.int64)
    return tuple(np.ascontiguousarray(table[:, i]) for i in range(3))  # type: ignore[return-value]


@functools.cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, thread_name_prefix="frankwolfe")


def _spread(work: Callable[[int, int], Any], count: int) -> None:
    """Do work(low, high) for parts of range(count), on torch's number of threads."""
    threads = min(torch.get_num_threads(), count)
    if threads <= 1:
        work(0, count)
        return
    edges = [count * i // threads for i in range(threads + 1)]
    waiting = [_pool(threads).submit(work, a, b) for a, b in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for future in waiting:
        future.result()


def _mapped(work: Callable[[int], Any], count: int) -> list[Any]:
    threads = torch.get_num_threads()
    if threads <= 1 or count <= 1:
        return [work(j) for j in range(count)]
    return list(_pool(threads).map(work, range(count)))


@functools.cache
def _compiled() -> tuple[Any, Any, Any, Any]:
    """The kernels; compiled once and kept on disk."""
    from . import _loops

    return _loops.first, _loops.second, _loops.gather, _loops.weigh
