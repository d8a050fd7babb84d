"""The frontier dynamic programme: layer after layer of states, in bounded memory.

Points are visited in an elimination order. After a set of points, sign vectors that lead to the
same state have the same futures, so each state carries how many there are (two 64-bit limbs). The
kernels are in `_census_kernels.py`, their arrays in `_frontier_arrays.py`; this file prepares their
steps and runs them on threads: states are split over shards by their hash, chunks of source states
are expanded side by side, and shards are filled with a batch of them while the next batch is
expanded. The result does not depend on the number of threads. Arrays of a layer that is done serve
the layer after the next: fresh memory would cost page faults, which threads wait for in turn.
"""

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from ._errors import MemoryLimitError
from ._frontier_arrays import NONE, SHARD_BITS, TOGETHER, Buffers, Multisets, Piece, Shard, kernels
from ._gauge import Gauge, Gauges, replay
from ._glued import glued
from ._triangulation import Triangulation

ALL, OVALS, EVEN = 0, 1, 2
_CHUNK = 2048  # source states an expansion
_SHARDED = 6_000  # layers with more states are split into shards


@dataclass(frozen=True)
class Step:
    """What happens when a point is visited; see `_census_kernels.expand`."""

    point: int
    step: np.ndarray
    edges: np.ndarray
    offset: np.ndarray
    gauge: Gauge


def steps_of(
    t: Triangulation, order: Sequence[int], allowed: Mapping[int, int], gauged: bool
) -> list[Step]:
    """Prepare the steps of an order; `allowed` gives a mask of signs (1: 0, 2: 1, 3: both).

    If `gauged`, those with one allowed sign are three points that are independent mod 2.
    """
    complex_ = glued(t)
    gauges = Gauges(t, order, list(allowed) if gauged else [])
    first = complex_.first.tolist()
    between: dict[tuple[int, int], list[tuple[int, int, int, int]]] = {}
    point = complex_.point.tolist()
    for u, v, twist, difference in complex_.edges.tolist():
        a, b = point[u], point[v]
        between.setdefault((a, b), []).append((u, v, twist, difference))
        between.setdefault((b, a), []).append((v, u, twist, difference))
    offsets = complex_.offset.tolist()
    left = [len(row) for row in t.neighbours]
    frontier: list[int] = []
    steps: list[Step] = []
    for q in order:
        places: dict[int, int] = {}
        at = 0
        for p in frontier:
            places[p] = at
            at += first[p + 1] - first[p]
        before = at
        edges: list[tuple[int, int, int, int, int]] = []
        for index, p in enumerate(frontier):
            for u, v, twist, difference in between.get((q, p), ()):
                edges.append((u - first[q], places[p] + v - first[p], twist, index, difference))
        for p in t.neighbours[q]:
            left[p] -= 1
        combined = [*frontier, q]
        places[q] = before
        kept = [(index, p) for index, p in enumerate(combined) if left[p] > 0]
        # left[q] counts unvisited neighbours of q, as every visit lowers its neighbours' counts
        offset = [
            (offsets[first[p] + c], index)
            for index, p in enumerate(combined)
            for c in range(first[p + 1] - first[p])
        ]
        steps.append(
            Step(
                q,
                np.array(
                    [before, first[q + 1] - first[q], len(frontier), allowed.get(q, 3)], np.int64
                ),
                np.array(edges, np.int64).reshape(-1, 5),
                np.array(offset, np.int64).reshape(-1, 2),
                gauges.next(combined, [p for _, p in kept], places),
            )
        )
        frontier = [p for _, p in kept]
        most = kernels().MAX_POINTS
        if len(frontier) > most:
            raise MemoryLimitError(
                f"the frontier has {len(frontier)} points at once, more than {most}; "
                "a census with so many would never end. Choose a smaller degree."
            )
    return steps


@dataclass
class Frontier:
    """A finished sweep.

    Attributes:
        steps: What was visited.
        multisets: The trees met.
        first, second: For each layer after the first, where a state was first reached from: the
            source's number times 2 plus the sign. `second` is for maxima with root sign 1.
        following: If kept, for each layer the number that (source << 1 | sign) leads to, or -1.
        last: The final layer.
        states: How many states each layer has.
        transitions: How often a state got a sign.
        peak_bytes: The most memory its arrays took at a time.
    """

    mode: int
    steps: list[Step]
    multisets: Multisets
    first: list[np.ndarray]
    second: list[np.ndarray]
    following: list[np.ndarray]
    last: Any
    states: list[int]
    transitions: int
    peak_bytes: int

    def path(self, number: int, second: bool = False) -> list[int]:
        """Return the signs, by point, along the path by which a final state was first reached."""
        return self.paths([number], second)[0].tolist()

    def paths(self, numbers: Sequence[int], second: bool = False) -> np.ndarray:
        """Return the signs of many final states, a row each."""
        at = np.array(numbers, np.int64)
        given = np.zeros((len(at), len(self.steps)), np.int64)
        for layer in range(len(self.steps) - 1, -1, -1):
            source = (self.second if second else self.first)[layer][at]
            given[:, layer] = source & 1
            at = source >> 1
        return self.signs(given)

    def signs(self, given: np.ndarray) -> np.ndarray:
        """Return the signs by point that were given layer after layer, a row each."""
        return replay([step.point for step in self.steps], [s.gauge for s in self.steps], given)


def sweep(
    t: Triangulation,
    order: Sequence[int],
    allowed: Mapping[int, int],
    *,
    mode: int = ALL,
    threads: int = 1,
    memory: int | None = None,
    keep: bool = False,
    tell: Callable[[int, int], None] | None = None,
    multisets: Multisets | None = None,
    gauged: bool = False,
) -> Frontier:
    """Visit all points in order.

    Args:
        t: The triangulation.
        order: Of its points.
        allowed: For points with a prescribed sign, the mask of those allowed.
        mode: `ALL`, `OVALS` or `EVEN`.
        threads: How many to use; the result is the same.
        memory: Bytes that its arrays may take, or None.
        keep: Whether to keep where every state leads, for sampling.
        tell: Called after each step with its number and the states.
        multisets: Those of an earlier sweep, which spares making them again. They grow.
        gauged: The points in `allowed` are three that are independent mod 2, each with one sign,
            1: other points may take over their part, see `_gauge.py`. Not with mode `EVEN`.

    Raises:
        MemoryLimitError: More memory is needed.
    """
    if threads < 1:
        raise ValueError(f"threads is a count of at least 1, got {threads}.")
    steps = steps_of(t, order, allowed, gauged)
    # The calling thread works too.
    pool = ThreadPoolExecutor(threads - 1) if threads > 1 else None
    try:
        return _Sweep(t, steps, mode, pool, threads, memory, keep, tell, multisets).run()
    finally:
        if pool is not None:
            pool.shutdown()


class _Sweep:
    def __init__(
        self,
        t: Triangulation,
        steps: list[Step],
        mode: int,
        pool: ThreadPoolExecutor | None,
        threads: int,
        memory: int | None,
        keep: bool,
        tell: Callable[[int, int], None] | None,
        multisets: Multisets | None,
    ) -> None:
        self.odd = t.degree % 2
        self.steps, self.mode, self.pool, self.threads = steps, mode, pool, threads
        self.memory, self.keep, self.tell = memory, keep, tell
        self.multisets = multisets or Multisets()
        self.first: list[np.ndarray] = []
        self.second: list[np.ndarray] = []
        self.following: list[np.ndarray] = []
        self.kept_bytes = self.peak = self.transitions = 0
        self.buffers = (Buffers(TOGETHER), Buffers(TOGETHER))
        self.lates = Buffers(1)
        self.spare: list[Shard] = []

    def each(self, function: Callable[[int], None], count: int) -> None:
        """Call the function with 0 to count - 1, on all threads, each taking the next number."""
        if self.pool is None or count < 2:
            for k in range(count):
                function(k)
            return
        numbers = iter(range(count))
        helpers = [
            self.pool.submit(_call_each, function, numbers)
            for _ in range(min(self.threads, count) - 1)
        ]
        try:
            _call_each(function, numbers)
        finally:
            wait(helpers)
        for helper in helpers:
            helper.result()

    def run(self) -> Frontier:
        start = Shard.empty(1, 1, self.mode == EVEN)
        start.words[0] = 0
        start.starts[1] = 1
        start.low[0] = 1
        start.high[0] = 1 if self.mode == EVEN else 0
        start.count = 1
        layer = [start]
        states: list[int] = []
        for number, step in enumerate(self.steps):
            old, layer = layer, self.visit(step, layer)
            self.spare += old
            states.append(sum(s.count for s in layer))
            if self.tell is not None:
                self.tell(number + 1, states[-1])
        return Frontier(
            self.mode, self.steps, self.multisets, self.first, self.second, self.following, layer,
            states, self.transitions, self.peak,
        )  # fmt: skip

    def visit(self, step: Step, layer: list[Shard]) -> list[Shard]:
        """Give one point its sign in all states of a layer."""
        sources = sum(s.count for s in layer)
        low = _joined([s.low[: s.count] for s in layer])
        high = _joined([s.high[: s.count] for s in layer])
        bits = SHARD_BITS if sources > _SHARDED else 0
        row = max(4, int(layer[0].starts[layer[0].count]) // max(1, layer[0].count) + 2)
        guess = max(min(2 * sources, _CHUNK), sources >> bits) + 16
        new = [self.shard(guess, row) for _ in range(1 << bits)]
        following = np.full(2 * sources, -1, np.int64) if self.keep else NONE
        pieces: list[Piece] = []
        base = 0
        for shard in layer:
            pieces += [
                (shard, a, min(a + _CHUNK, shard.count), base)
                for a in range(0, shard.count, _CHUNK)
            ]
            base += shard.count
        together = TOGETHER if bits else 1
        batches = [pieces[a : a + together] for a in range(0, len(pieces), together)]
        rows = 2 * min(sources, _CHUNK) + 16
        for buffers in self.buffers[: len(batches)]:
            buffers.make_room(min(together, len(pieces)), rows, rows * row)
        fill, count = partial(self.fill, new, self.buffers[1], low, high, following), 0
        for n, batch in enumerate(batches):
            out = self.buffers[n % 2]
            self.expand(step, batch, out, bits, fill, count)
            self.late(step, batch, out, bits)
            self.transitions += int(out.counters[: out.full, 0].sum() + self.lates.counters[0, 0])
            if n:
                self.watch(layer, new, low, high, following)
            fill, count = partial(self.fill, new, out, low, high, following), len(new)
        self.each(fill, count)
        self.watch(layer, new, low, high, following)
        self.first.append(_numbers([s.first[: s.count] for s in new]))
        if self.mode == EVEN:
            self.second.append(_numbers([s.second[: s.count] for s in new]))
        self.kept_bytes += self.first[-1].nbytes + (self.second[-1].nbytes if self.second else 0)
        if self.keep:
            bases = np.cumsum([0, *(s.count for s in new)])
            shard_of = following >> 48
            place = following & ((1 << 48) - 1)
            self.following.append(np.where(following >= 0, place + bases[shard_of], -1))
            self.kept_bytes += self.following[-1].nbytes
        return new

    def shard(self, states: int, row: int) -> Shard:
        """An empty shard, with the arrays of one that is done where there is one."""
        if not self.spare:
            return Shard.empty(states, row, self.mode == EVEN)
        shard = self.spare.pop()
        shard.clear(states)
        return shard

    def expand(
        self, step: Step, batch: list[Piece], out: Buffers, bits: int,
        fill: Callable[[int], None], fills: int,
    ) -> None:  # fmt: skip
        """Expand every piece into a buffer of its own, and fill shards beside it."""
        out.full = len(batch)
        todo = list(range(len(batch)))
        expand = partial(self.expand_one, step, batch, out, bits, fill)
        self.each(partial(expand, todo), len(todo) + fills)
        while todo := [k for k in todo if out.counters[k, 4]]:  # those that were too small
            self.refuse(out, todo)
            out.grow()
            self.each(partial(expand, todo), len(todo))

    def expand_one(
        self, step: Step, batch: list[Piece], out: Buffers, bits: int,
        fill: Callable[[int], None], todo: list[int], k: int,
    ) -> None:  # fmt: skip
        if k >= len(todo):
            fill(k - len(todo))
            return
        shard, a, b, base = batch[todo[k]]
        out.counters[todo[k]] = 0
        self.call(step, shard, base, out, todo[k], NONE, a, b, False)
        out.split(todo[k], bits)

    def late(self, step: Step, batch: list[Piece], out: Buffers, bits: int) -> None:
        """Expand alone, and in order, what needs new multisets, so that runs repeat."""
        into = self.lates
        into.full = int(out.counters[: out.full, 2].any())
        into.counters[:] = 0
        if not into.full:
            return
        into.make_room(1, 512, 4096)
        for k, (shard, _, _, base) in enumerate(batch):
            order = out.later[k, : int(out.counters[k, 2])]
            at = 0
            while at < len(order):
                stop = min(at + 512, len(order))
                self.multisets.make_room(512)
                into.counters[0, 4] = 0
                self.call(step, shard, base, into, 0, order, at, stop, True)
                at = int(into.counters[0, 3])
                if into.counters[0, 4]:
                    self.refuse(into, [0])
                    into.grow()
                    self.multisets.grow()
        into.split(0, bits)

    def call(
        self, step: Step, shard: Shard, base: int, out: Buffers, into: int, order: np.ndarray,
        a: int, b: int, may_make: bool,
    ) -> None:  # fmt: skip
        m = self.multisets
        kernels().expand(
            self.mode, self.odd, step.step, step.edges, step.offset,
            step.gauge.anchors, step.gauge.copies, step.gauge.flips, step.gauge.kept,
            step.gauge.turns,
            shard.words, shard.starts, order, a, b, base,
            m.sets, m.members, m.keys, m.values, may_make,
            out.words[into], out.start[into], out.hash[into], out.source[into], out.delta[into],
            out.later[into], out.counters[into],
        )  # fmt: skip

    def refuse(self, out: Buffers, buffers: list[int]) -> None:
        if (out.counters[buffers, 4] == 2).any():
            raise MemoryLimitError(
                f"a state has more than {kernels().MAX_REGIONS} regions on its frontier, far more "
                "than any census that would end; choose a smaller degree or mode='ovals'."
            )

    def fill(
        self, new: list[Shard], done: Buffers, low: np.ndarray, high: np.ndarray,
        following: np.ndarray, k: int,
    ) -> None:  # fmt: skip
        shard = new[k]
        for b in (done, self.lates):
            if not b.full:
                continue
            rows = b.bounds[: b.full, k + 1] - b.bounds[: b.full, k]
            shard.make_room(int(rows.sum()), int(b.sizes[: b.full, k].sum()))
            shard.count = int(
                kernels().insert(
                    self.mode, k, b.full, b.order, b.bounds,
                    b.words, b.start, b.hash, b.source, b.delta,
                    low, high,
                    shard.words, shard.starts, shard.hashes, shard.low, shard.high, shard.first,
                    shard.second, shard.table, shard.count, following, k << 48,
                )
            )  # fmt: skip

    def watch(
        self, old: list[Shard], new: list[Shard], low: np.ndarray, high: np.ndarray,
        following: np.ndarray,
    ) -> None:  # fmt: skip
        now = sum(s.bytes for s in [*old, *new, *self.spare]) + low.nbytes + high.nbytes
        now += following.nbytes + self.kept_bytes
        now += sum(b.bytes for b in (*self.buffers, self.lates))
        self.peak = max(self.peak, now)
        if self.memory is not None and now > self.memory:
            raise MemoryLimitError(
                f"the census has come to need {now / 2**20:,.0f} MiB with "
                f"{sum(s.count for s in new):,} states in a layer, over the limit of "
                f"{self.memory / 2**20:,.0f} MiB; raise the limit, fix some signs, or ask for "
                "less with mode='ovals'."
            )


def _call_each(function: Callable[[int], None], numbers: Iterator[int]) -> None:
    for k in numbers:
        function(k)


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return arrays[0] if len(arrays) == 1 else np.concatenate(arrays)


def _numbers(arrays: list[np.ndarray]) -> np.ndarray:
    """Sources in as few bytes as hold them; they are kept for every layer."""
    joined = _joined(arrays)
    small = joined.size == 0 or int(joined.max()) < 2**31
    return joined.astype(np.int32 if small else np.int64)


def default_threads() -> int:
    """Return how many threads a census uses unless told: all cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 1
