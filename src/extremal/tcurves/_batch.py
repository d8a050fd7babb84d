"""Many sign vectors of one triangulation at a time.

The compiled evaluator works on 128 vectors side by side (`_batch_kernels.py`); threads take blocks.
`brute_force` runs it over all sign vectors, which is what the census replaces.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np

from extremal.lab import require

from ._glued import glued
from ._lattice import Point
from ._notation import Scheme, from_code
from ._scheme import Signs, read_signs
from ._triangulation import Triangulation

_BATCH = 1 << 14
_MOST_DEGREE = 12


@dataclass(frozen=True)
class Batch:
    """The schemes of many sign vectors.

    Attributes:
        index: (N,) which of `types` each vector has.
        types: The schemes met, ascending.
    """

    index: np.ndarray
    types: tuple[Scheme, ...]

    def __len__(self) -> int:
        return len(self.index)

    def __getitem__(self, k: int) -> Scheme:
        return self.types[int(self.index[k])]

    def __iter__(self) -> Iterator[Scheme]:
        return (self.types[k] for k in self.index.tolist())

    def histogram(self) -> dict[Scheme, int]:
        """Return how often each scheme was met."""
        counts = np.bincount(self.index, minlength=len(self.types)).tolist()
        return dict(zip(self.types, counts, strict=True))

    def witnesses(self) -> dict[Scheme, int]:
        """Return the first vector of each scheme."""
        _, first = np.unique(self.index, return_index=True)
        return dict(zip(self.types, (int(k) for k in first), strict=True))


@dataclass(frozen=True)
class _Layout:
    points: np.ndarray
    differences: np.ndarray
    pulls: np.ndarray
    pull_start: np.ndarray
    twists: np.ndarray
    before: np.ndarray
    edges: np.ndarray
    label: type


@lru_cache(maxsize=32)
def _layout(t: Triangulation) -> _Layout:
    """Number the copies along sweeps of the plane, each beside a smaller one."""
    complex_ = glued(t)
    place: list[Point] = [(int(x), int(y)) for x, y in complex_.place]
    count = len(place)
    around: list[list[int]] = [[] for _ in range(count)]
    rows = complex_.edges.tolist()
    for u, v, _, _ in rows:
        around[u].append(v)
        around[v].append(u)
    start = min(range(count), key=place.__getitem__)
    order = [start]
    number = {start: 0}
    border = set(around[start])
    before = [0]
    while border:
        v = min(border, key=place.__getitem__)
        border.discard(v)
        before.append(min(number[u] for u in around[v] if u in number))
        number[v] = len(order)
        order.append(v)
        border.update(u for u in around[v] if u not in number)
    odd = t.degree % 2
    edges = [(number[u], number[v], twist) for u, v, twist, _ in rows]
    pulls: list[list[tuple[int, int, int]]] = [[] for _ in range(count)]
    for e, (u, v, twist) in enumerate(edges):
        pulls[u].append((v, e, 0 if odd else twist))
        pulls[v].append((u, e, 0 if odd else twist))
    points = complex_.point.tolist()
    label = np.uint8 if count < 128 else np.uint16
    return _Layout(
        np.array([(points[u], points[v]) for u, v, _, _ in rows], np.uint32),
        np.array([row[3] for row in rows], label),
        np.array([row[:2] for rows_ in pulls for row in rows_], np.uint32),
        np.cumsum([0, *(len(rows_) for rows_ in pulls)]).astype(np.uint32),
        np.array([row[2] for rows_ in pulls for row in rows_], label),
        np.array(before, np.int64),
        np.array(edges, np.uint32),
        label,
    )


def _check_degree(t: Triangulation) -> None:
    if t.degree > _MOST_DEGREE:
        raise ValueError(
            f"batches hold codes of 128 bits, enough to degree {_MOST_DEGREE}, got {t.degree}; "
            "call scheme for one vector at a time."
        )


def codes(t: Triangulation, signs: np.ndarray, threads: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Return both halves of each vector's tree code and nothing else; see `schemes`."""
    require("numba", "tcurves")
    from ._batch_kernels import LANES, evaluate

    _check_degree(t)
    layout = _layout(t)
    high, low = np.empty(len(signs), np.uint64), np.empty(len(signs), np.uint64)
    ovals = np.empty(len(signs), np.int64)
    kind = layout.label

    def part(a: int) -> None:
        b = min(a + _BATCH, len(signs))
        bad = evaluate(
            signs[a:b], layout.points, layout.differences, layout.pulls, layout.pull_start,
            layout.twists, layout.before, layout.edges,
            t.degree % 2,
            np.empty((len(layout.before), LANES), kind),
            np.empty((len(layout.edges), LANES), kind),
            high[a:b], low[a:b], ovals[a:b],
        )  # fmt: skip
        assert bad < 0, "a curve of degree at most 12 has at most 56 regions"

    starts = range(0, len(signs), _BATCH)
    if threads > 1 and len(signs) > _BATCH:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(part, starts))
    else:
        for a in starts:
            part(a)
    return high, low


def schemes(
    t: Triangulation,
    signs: "np.ndarray | Sequence[Signs]",
    threads: int = 1,
    device: Literal["cpu", "cuda"] = "cpu",
) -> Batch:
    """Return the schemes of many sign vectors.

    Args:
        t: The triangulation, of degree at most 12.
        signs: (N, n) array of zeros and ones, or a list of words.
        threads: How many to use; the result is the same.
        device: `"cuda"` evaluates on a GPU; the result is the same.

    Raises:
        ValueError: The shape or a value is wrong, or the degree is too large.
        MissingExtra: `device` is `"cuda"` and cupy is not installed.
        TCurveError: There is no CUDA device.

    Example:
        >>> from extremal import tcurves
        >>> found = tcurves.schemes(tcurves.honeycomb(4), ["0" * 15, "010" * 5])
        >>> [str(s) for s in found]
        ['<1<1>>', '<2>']

    Cost: a microsecond a vector, core and degree 7.
    """
    if isinstance(signs, np.ndarray):
        if signs.ndim != 2 or signs.shape[1] != t.n:
            raise ValueError(
                f"signs have shape (N, {t.n}) for degree {t.degree}, got {signs.shape}."
            )
        there = device == "cuda" and signs.dtype == np.uint8  # a GPU looks while it reads them
        if signs.size and not there and (signs.min() < 0 or signs.max() > 1):
            raise ValueError("signs are 0 and 1, and this array has other values.")
        array = np.ascontiguousarray(signs, np.uint8)
    else:
        rows = [read_signs(t, word) for word in signs]
        array = np.array(rows, np.uint8).reshape(len(rows), t.n)
    if device == "cuda":
        from ._gpu import indices

        _check_degree(t)
        return Batch(*indices(t, array))
    high, low = codes(t, array, threads)
    return _grouped(t, high, low)


def _grouped(t: Triangulation, high: np.ndarray, low: np.ndarray) -> Batch:
    if not high.any():
        values, index = np.unique(low, return_inverse=True)
        trees = [int(v) for v in values]
    else:
        pairs = np.empty(len(high), [("high", np.uint64), ("low", np.uint64)])
        pairs["high"], pairs["low"] = high, low
        values, index = np.unique(pairs, return_inverse=True)
        trees = [(int(v["high"]) << 64) | int(v["low"]) for v in values]
    types = [from_code(2 * tree + t.degree % 2) for tree in trees]
    order = sorted(range(len(types)), key=types.__getitem__)
    new = np.empty(len(types), np.int32)
    new[order] = np.arange(len(types), dtype=np.int32)
    return Batch(new[index.reshape(-1)] if len(types) else np.empty(0, np.int32),
                 tuple(types[k] for k in order))  # fmt: skip
