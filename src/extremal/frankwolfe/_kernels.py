"""Fused CPU steps of SFW over vector regions: two passes over memory, whatever the region.

Pass one updates the average m and sums what the step length needs; pass two moves the weights.
That is 24 bytes a parameter, 28 with gradient rescaling; SGD with momentum moves 32. Tensors are
cut into chunks, and sums are taken chunk by chunk in a fixed order, so that the number of threads
does not change a bit of the result.

For the k largest entries, a sample brackets the threshold before m is updated; the update lists
the few entries inside the bracket, among which the exact threshold is found, and sums those above.
Where the bracket missed, the tensor is searched whole. Absolute values are compared as integers,
which orders floats the same way and lets the compiler vectorise.
"""

import functools
import heapq
import importlib.util
import weakref
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import Parameter

from extremal.lab import require

from ._threads import one_threaded

KINDS = {"L2Ball": 0, "LinfBall": 1, "Sign": 1, "L1Ball": 2, "KSparse": 3, "KSupport": 4}
_CHUNK = 1 << 15
_BLOCK = 1024  # as in _loops
_SMALL = 4096
_LISTS: weakref.WeakKeyDictionary[Any, tuple[np.ndarray, np.ndarray]] = weakref.WeakKeyDictionary()


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


def fused_adaptive_step(
    optimizer: Any, group: dict[str, Any], places: list[int], grads: list[Tensor]
) -> bool:
    """Make the AdaSFW or AdamSFW step of one group; False if it needs the general code."""
    kind = KINDS.get(type(group["region"]).__name__, len(KINDS))
    if kind > 2 or not _available(False):
        return False
    params = [group["params"][i] for i in places]
    if not all(_plain(p, g) for p, g in zip(params, grads, strict=True)):
        return False
    states = [optimizer._memory(group, p) for p in params]
    held = [[s[name] for s in states] for name in ("momentum_buffer", "sum")]
    held.append([s.get("most", s["sum"]) for s in states])
    if any(t.stride() != p.stride() for row in held for t, p in zip(row, params, strict=True)):
        return False
    order, edges = _evenly([p.numel() for p in params])
    where = np.array([[row[i].data_ptr() for i in order] for row in (params, grads, *held)])
    sizes = np.array([params[i].numel() for i in order], dtype=np.int64)
    radii = np.array(
        [group["sized"][places[i]]._size(tuple(params[i].shape) or (1,)) for i in order]
    )
    totals = np.zeros(len(params))
    loops = _compiled()
    _spread(lambda low, high: loops.squares(low, high, where, sizes, totals), edges)
    if not np.isfinite(totals).all():
        own = np.empty_like(totals)
        own[order] = totals
        optimizer._refuse_not_finite(group, places, torch.from_numpy(own))
    clip = np.array(group["clip"] or (0.0, np.inf))
    betas = np.array(group["betas"] or (-1.0, -1.0))
    _spread(
        lambda low, high: loops.adaptive(
            low, high, where, sizes, radii, kind, int(group["inner_steps"]), float(group["lr"]),
            float(group["delta"]), clip, float(group["cap"]), betas,
        ),
        edges,
    )  # fmt: skip
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
    if type(p) not in (Parameter, Tensor) or p.numel() == 0 or p.stride() != g.stride():
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
        loops = _compiled()
        tensor, begin, end, ranges, rooms = self.chunks
        chunks, n = len(tensor), len(self.params)
        needs_x = self.group["rescale"] == "gradient"
        sizes = np.array([p.numel() for p in self.params], dtype=np.int64)
        counts = brackets = np.zeros((1, 2), dtype=np.int64)
        keys, xs = np.zeros(1, dtype=np.int32), np.zeros(1, dtype=np.float32)
        if self.kind >= 3:
            counts = np.array([r.k for r in self.regions], dtype=np.int64)
            brackets = np.zeros((n, 2), dtype=np.int64)
            keys, xs = _lists(self.optimizer, int(rooms[-1]))
            _spread(
                lambda low, high: loops.guess(
                    low, high, self.where, sizes, counts, self.keeps, self.takes, brackets
                ),
                _edges(np.cumsum(np.minimum(sizes, 1 << 20))),
            )
        else:
            brackets = np.zeros((n, 2), dtype=np.int64)
        sums = np.zeros((chunks, 5))
        tops = np.zeros((chunks, 2), dtype=np.int64)
        _spread(
            lambda low, high: loops.first(
                low, high, tensor, begin, end, self.where, self.keeps, self.takes, brackets,
                self.kind, needs_x, sums, tops, rooms, keys, xs,
            ),
            chunks,
        )  # fmt: skip
        total = np.add.reduceat(sums, ranges[:-1], axis=0)
        if not np.isfinite(total[:, 0]).all():
            for m in self.buffers:  # they have taken it in; a caller who goes on starts anew
                m.zero_()
            self.optimizer._refuse_not_finite(
                self.group, self.places, torch.from_numpy(total[:, 0].copy())
            )
        norm = np.sqrt(total[:, 0])
        inner = np.zeros(n)  # <v, x> / size
        length = np.ones(n)  # |v| / size
        factor = np.zeros(n)  # v = factor m, where it is a multiple
        levels, ties = np.zeros(n, dtype=np.int64), np.zeros((n, 2), dtype=np.int64)
        safe = np.where(norm > 0, norm, 1.0)
        corners: list[tuple[int, int, float]] = []
        if self.kind == 0:
            factor, inner = -1.0 / safe, -total[:, 2] / safe
        elif self.kind == 1:
            length, inner = np.sqrt(sizes), -total[:, 3]
        elif self.kind == 2:
            for j in range(n):
                best = ranges[j] + int(tops[ranges[j] : ranges[j + 1], 0].argmax())
                at = int(begin[best] + tops[best, 1])
                sign = -1.0 if float(_flat(self.buffers[j])[at]) >= 0 else 1.0
                inner[j] = sign * float(_flat(self.params[j])[at])
                corners.append((j, at, sign))
        else:
            _spread(
                lambda low, high: loops.select(
                    low, high, ranges, begin, self.where, sizes, counts, tops, rooms, keys, xs,
                    total, levels, ties,
                ),
                _edges(np.cumsum(sizes)),
            )  # fmt: skip
            if self.kind == 3:
                length, inner = np.sqrt(counts), -total[:, 3]
            else:
                root = np.sqrt(np.where(total[:, 4] > 0, total[:, 4], 1.0))
                factor, inner = -1.0 / root, -total[:, 2] / root
        steps = self._lengths(norm, self.size * length, self.size * inner, total[:, 1])
        keep = (1.0 - steps).astype(np.float32)
        move = (steps * self.size * (factor if self.kind in (0, 4) else 1.0)).astype(np.float32)
        _spread(
            lambda low, high: loops.second(
                low, high, tensor, begin, end, self.where, keep, move, levels, self.kind
            ),
            chunks,
        )
        for j, at, sign in corners:
            _flat(self.params[j])[at] += np.float32(move[j] * sign)
        for j in np.flatnonzero(ties[:, 0]):
            place, (many, start) = np.ascontiguousarray(self.where[:, j]), ties[j]
            loops.tied(place, start, sizes[j], levels[j] - 1, many, move[j], self.kind)

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


def _flat(t: Tensor) -> np.ndarray:
    """The entries in the order of memory, without a copy."""
    return t.detach().as_strided((t.numel(),), (1,)).numpy()


def _lists(optimizer: Any, room: int) -> tuple[np.ndarray, np.ndarray]:
    """Room for the entries near the threshold, kept from step to step.

    Fresh memory is zeroed page by page when it is touched: for GPT-2's 280 MB that took up to
    0.8 s of a step on a machine short of memory, where the step itself takes 0.3.
    """
    keys, xs = _LISTS.get(optimizer, (None, None))
    if keys is None or xs is None or len(keys) < room:
        keys, xs = np.empty(room, np.int32), np.empty(room, np.float32)
        _LISTS[optimizer] = (keys, xs)
    return keys, xs


@functools.lru_cache(maxsize=64)
def _cut(sizes: tuple[int, ...]) -> tuple[np.ndarray, ...]:
    """Cut tensors into chunks.

    Returns:
        Of each chunk the number of its tensor, its first entry, one past the last; of each tensor
        its first chunk; of each chunk where its list of entries near the threshold begins. The
        last two have one number more, the end.
    """
    rows = [
        (j, start, min(start + _CHUNK, n), (n if n <= _SMALL else min(_CHUNK, n - start) // 4))
        for j, n in enumerate(sizes)
        for start in range(0, n, _CHUNK)
    ]
    table = np.array(rows, dtype=np.int64)
    tensor, begin, end, room = (np.ascontiguousarray(table[:, i]) for i in range(4))
    ranges = np.searchsorted(tensor, np.arange(len(sizes) + 1))
    rooms = np.concatenate([[0], np.cumsum(room + _BLOCK)])
    return tensor, begin, end, ranges, rooms


def _evenly(sizes: Sequence[int]) -> tuple[list[int], list[int]]:
    """Share out tensors that cannot be split: an order, and where a thread's part of it begins.

    The largest first, each to the thread with the least.
    """
    threads = max(1, min(torch.get_num_threads(), len(sizes)))
    parts: list[list[int]] = [[] for _ in range(threads)]
    load = [(0, t) for t in range(threads)]
    for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
        held, least = heapq.heappop(load)
        parts[least].append(i)
        heapq.heappush(load, (held + sizes[i], least))
    edges = [0, *accumulate(len(part) for part in parts)]
    return [i for part in parts for i in part], edges


def _edges(work: np.ndarray) -> list[int]:
    """Share out tensors in their order, by the running sum of the work that each makes."""
    threads = max(1, min(torch.get_num_threads(), len(work)))
    inner = [int(np.searchsorted(work, work[-1] * t / threads)) for t in range(1, threads)]
    return [0, *inner, len(work)]


def _spread(work: Callable[[int, int], Any], parts: int | Sequence[int]) -> None:
    """Do work(low, high) on torch's number of threads, for equal parts or between given edges."""
    if isinstance(parts, int):
        threads = max(1, min(torch.get_num_threads(), parts))
        parts = [parts * i // threads for i in range(threads + 1)]
    edges, threads = parts, len(parts) - 1
    if threads <= 1:
        work(edges[0], edges[-1])
        return
    waiting = [one_threaded(threads).submit(work, a, b) for a, b in pairwise(edges[1:])]
    work(edges[0], edges[1])
    for future in waiting:
        future.result()


@functools.cache
def _compiled() -> Any:
    """The module of kernels, which are compiled once and kept on disk."""
    from . import _loops

    return _loops
