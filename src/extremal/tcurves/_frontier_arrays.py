"""The arrays of the frontier: shards of a layer, multisets of trees, and what expansions make.

All of them grow; the loops that fill them are in `_census_kernels.py`.
"""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from extremal.lab import require

TOGETHER = 16  # expansions in a batch
SHARD_BITS = 3
NONE = np.empty(0, np.int64)


@cache
def kernels() -> Any:
    """The compiled loops; numba is loaded when a census is first taken."""
    require("numba", "tcurves")
    from . import _census_kernels

    return _census_kernels


@dataclass
class Shard:
    """The states of one shard of a layer."""

    words: np.ndarray
    starts: np.ndarray
    hashes: np.ndarray
    low: np.ndarray
    high: np.ndarray
    first: np.ndarray
    second: np.ndarray
    memory: np.ndarray
    table: np.ndarray
    count: int = 0

    @classmethod
    def empty(cls, states: int, row: int, maxima: bool) -> "Shard":
        shard = cls(
            np.empty(states * row, np.uint64),
            np.empty(states + 1, np.int64),
            np.empty(states, np.uint64),
            np.empty(states, np.uint64),
            np.empty(states, np.uint64),
            np.empty(states, np.int64),
            np.empty(states if maxima else 0, np.int64),
            NONE,
            NONE,
        )
        shard.clear(states)
        return shard

    def clear(self, states: int) -> None:
        """Forget all states; expect so many."""
        self.count = 0
        self.starts[0] = 0
        self.clear_table(16, states)

    def clear_table(self, size: int, states: int) -> None:
        """Empty the hash table; its size doubles until it is twice the states."""
        while size < 2 * states:
            size *= 2
        if size > self.memory.size:
            self.memory = np.empty(size, np.int64)
        self.table = self.memory[:size]
        self.table.fill(0)

    def make_room(self, states: int, words: int) -> None:
        """Grow so that so many more states and words fit."""
        need = self.count + states
        if need > self.hashes.size:
            size = max(need, 2 * self.hashes.size)
            self.starts = _grown(self.starts, size + 1, self.count + 1)
            for name in ("hashes", "low", "high", "first"):
                setattr(self, name, _grown(getattr(self, name), size, self.count))
            if self.second.size:
                self.second = _grown(self.second, size, self.count)
        used = int(self.starts[self.count])
        if used + words > self.words.size:
            self.words = _grown(self.words, max(used + words, 2 * self.words.size), used)
        if 2 * need > self.table.size:
            self.clear_table(self.table.size, need)
            kernels().rebuild(self.table, self.hashes, self.count)

    @property
    def bytes(self) -> int:
        return sum(
            a.nbytes
            for a in (self.words, self.starts, self.hashes, self.low, self.high, self.first,
                      self.second, self.memory)
        )  # fmt: skip


Piece = tuple[Shard, int, int, int]  # a shard, from and to, the number of its first state


def _grown(array: np.ndarray, size: int, keep: int) -> np.ndarray:
    new = np.empty(size, array.dtype)
    new[:keep] = array[:keep]
    return new


@dataclass
class Multisets:
    """The multisets of trees; number 0 is the empty one."""

    sets: np.ndarray = field(default_factory=lambda: _first_sets())
    members: np.ndarray = field(default_factory=lambda: np.empty(1 << 14, np.int32))
    keys: np.ndarray = field(default_factory=lambda: np.zeros(1 << 15, np.uint64))
    values: np.ndarray = field(default_factory=lambda: np.full(1 << 15, -1, np.int32))

    def make_room(self, entries: int) -> None:
        """Make sure that so many transitions can make multisets; each makes a few."""
        used = int(np.count_nonzero(self.values >= 0))
        if 2 * (used + 40 * entries) > self.keys.size:
            keys, values = self.keys, self.values
            size = keys.size
            while 2 * (used + 40 * entries) > size:
                size *= 2
            self.keys, self.values = np.zeros(size, np.uint64), np.full(size, -1, np.int32)
            kernels().rehash(keys, values, self.keys, self.values)

    def grow(self) -> None:
        """Double the arrays of the multisets themselves, where they are nearly full."""
        count = int(self.sets[0])
        if count + 8 > self.sets.size:
            self.sets = _grown(self.sets, 2 * self.sets.size, self.sets.size)
        if int(self.sets[count + 1]) + 256 > self.members.size:
            self.members = _grown(self.members, 2 * self.members.size, self.members.size)

    def of(self, number: int) -> list[tuple[int, bool]]:
        """Return the trees of a multiset: the number of each one's own multiset, and its flag."""
        found = self.members[self.sets[number + 1] : self.sets[number + 2]].tolist()
        return [(value >> 1, bool(value & 1)) for value in found]


def _first_sets() -> np.ndarray:
    sets = np.zeros(1 << 12, np.int64)
    sets[0] = 1  # the empty multiset; sets[1] and sets[2] are its bounds
    return sets


class Buffers:
    """What expansions make side by side, a row of each array for one of them."""

    def __init__(self, most: int) -> None:
        shards = 1 << SHARD_BITS
        self.full = 0  # how many are in use
        self.bounds = np.zeros((most, shards + 1), np.int64)
        self.sizes = np.zeros((most, shards), np.int64)
        self.counters = np.zeros((most, 5), np.int64)
        self.words = np.empty((0, 0), np.uint64)
        self.start = self.source = self.delta = self.later = self.order = self.words
        self.hash = self.words

    def make_room(self, count: int, rows: int, words: int) -> None:
        """Have at least so many buffers of so many rows and words; what they hold is lost."""
        have = self.hash.shape
        if have[0] >= count and have[1] >= rows and self.words.shape[1] >= words:
            return
        count, rows = max(count, have[0]), max(rows, have[1])
        self.words = np.empty((count, max(words, self.words.shape[1])), np.uint64)
        self.start = np.zeros((count, rows + 1), np.int64)
        self.hash = np.empty((count, rows), np.uint64)
        self.source, self.delta, self.later, self.order = (
            np.empty((count, rows), np.int64) for _ in range(4)
        )

    def grow(self) -> None:
        """Double the words and rows of all; what they hold stays."""
        old = dict(vars(self))
        self.make_room(0, 2 * self.hash.shape[1], 2 * self.words.shape[1])
        for name in ("words", "start", "hash", "source", "delta", "later", "order"):
            getattr(self, name)[:, : old[name].shape[1]] = old[name]

    def split(self, k: int, bits: int) -> None:
        """Sort a buffer's rows by shard."""
        kernels().split(
            self.hash[k], self.start[k], int(self.counters[k, 0]), bits,
            self.order[k], self.bounds[k], self.sizes[k],
        )  # fmt: skip

    @property
    def bytes(self) -> int:
        return self.words.nbytes + 6 * self.hash.nbytes
