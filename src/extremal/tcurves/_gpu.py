"""The batch evaluator on a GPU, and histograms over whole ranges of sign vectors.

The kernels (`_flood.cu`, CUDA C++ compiled at run time) name curves by a hash of their tree; the
CPU evaluates the first vector of every hash exactly, so that what comes back is the same as from
the CPU. Two trees with one hash would be taken for one: among 10^4 schemes that has a chance of
10^-12.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np

from extremal.lab import require

from ._errors import TCurveError
from ._flood import flood, sign_table
from ._lattice import point_index
from ._notation import Scheme
from ._scheme import word
from ._triangulation import Triangulation

PLACES = 512
_TABLE = 1 << 18
_VECTORS = 1 << 31  # a launch
_ROWS = 1 << 22  # of a batch, a launch
_NONE = np.iinfo(np.uint64).max


@runtime_checkable
class Device(Protocol):
    """What runs the kernels: a GPU, or a CPU in the tests."""

    def put(self, array: np.ndarray) -> Any:
        """Return a copy of an array there."""
        ...

    def empty(self, count: int, dtype: Any) -> Any:
        """Return a new array there."""
        ...

    def get(self, array: Any) -> np.ndarray:
        """Return a copy of an array from there."""
        ...

    def threads(self, tables: int, own: int) -> int:
        """Return the threads of a block, from the bytes of its tables and of each thread."""
        ...

    def compiled(self, constants: tuple[tuple[str, int], ...]) -> Any:
        """Return the kernels for given constants."""
        ...

    def launch(
        self,
        kernels: Any,
        name: str,
        items: int,
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        """Run a kernel on so many items with so many bytes of shared memory a block."""
        ...


def source(constants: Sequence[tuple[str, int]]) -> str:
    """Return the text of the kernels for given constants."""
    lines = [f"#define {name} {value}\n" for name, value in constants]
    return "".join(lines) + Path(__file__).with_name("_flood.cu").read_text(encoding="utf-8")


class _Gpu:
    """A CUDA device."""

    def __init__(self) -> None:
        self.cupy: Any = require("cupy", "tcurves-cuda")
        if not self.cupy.cuda.is_available():
            raise TCurveError(
                "there is no CUDA device that cupy can use, so device='cuda' cannot run; leave "
                "the device out for the CPU, which gives the same."
            )
        limits = self.cupy.cuda.Device().attributes
        self.processors = int(limits["MultiProcessorCount"])
        self.shared = int(limits["MaxSharedMemoryPerMultiprocessor"])
        self.built: dict[tuple[tuple[str, int], ...], Any] = {}
        self.shared_of_block = int(limits["MaxSharedMemoryPerBlockOptin"])

    def put(self, array: np.ndarray) -> Any:
        return self.cupy.asarray(array)

    def empty(self, count: int, dtype: Any) -> Any:
        return self.cupy.empty(count, dtype)

    def get(self, array: Any) -> np.ndarray:
        return array.get()

    def threads(self, tables: int, own: int) -> int:
        # As many at a time as the shared memory holds: 8 % more with 256 than with 128 at degree 7.
        def at_a_time(threads: int) -> int:
            return threads * self.blocks(tables + own * threads)

        best = max((256, 128, 64), key=at_a_time)
        if at_a_time(best) == 0:
            raise TCurveError(
                f"the tables need {tables + 64 * own:,} bytes of shared memory, more than this "
                f"GPU's {self.shared_of_block:,}; leave the device out for the CPU."
            )
        return best

    def blocks(self, shared: int) -> int:
        return self.shared // (shared + 1024) if shared <= self.shared_of_block else 0

    def compiled(self, constants: tuple[tuple[str, int], ...]) -> Any:
        if constants not in self.built:
            self.built[constants] = self.cupy.RawModule(
                code=source(constants), options=("--std=c++17",)
            )
        return self.built[constants]

    def launch(
        self,
        kernels: Any,
        name: str,
        items: int,
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        kernel = kernels.get_function(name)
        if shared > 48 << 10:  # the limit without asking
            kernel.max_dynamic_shared_size_bytes = shared
        # as many blocks as run at a time: they take vectors in turn and copy their tables once
        registers = -(-kernel.num_regs // 8) * 8 * threads
        at_a_time = min(2048 // threads, self.blocks(shared), 65536 // registers)
        blocks = min(-(-items // threads), self.processors * at_a_time)
        kernel((blocks,), (threads,), tuple(arguments), shared_mem=shared)


@cache
def gpu() -> Device:
    """Return the CUDA device.

    Raises:
        MissingExtra: cupy is not installed.
        TCurveError: There is no CUDA device.
    """
    return _Gpu()


class Evaluator:
    """One triangulation on a device.

    Args:
        t: The triangulation.
        bits: The point that each bit of an index gives its sign to.
        fixed: Signs of the other points.
        device: What runs the kernels.
    """

    def __init__(
        self,
        t: Triangulation,
        bits: Sequence[int],
        fixed: Mapping[int, int],
        device: Device,
    ) -> None:
        self.device = device
        tables = flood(t)
        signs = sign_table(t, tables, bits, fixed)
        self.inputs = max(1, -(-len(bits) // 64))
        work = max(8 * tables.words, 2 * tables.regions) + (tables.regions + 1) // 2
        parts = (
            tables.rows.size, signs.size, 16 * tables.words, tables.closures.size, len(tables.cycle)
        )  # fmt: skip
        shared = 4 * (sum(-(-k // 4) * 4 for k in parts) + 5 * PLACES)
        self.threads = device.threads(shared, 4 * work)
        self.shared = shared + 4 * work * self.threads
        constants = {
            "W": tables.words,
            "TW": tables.twisted_words,
            "COPIES": tables.copies,
            "ODD": t.degree % 2,
            "REGIONS": tables.regions,
            "THREADS": self.threads,
            "BITS": len(bits),
            "INPUTS": self.inputs,
            "PLACES": PLACES,
        }
        self.kernels = device.compiled(tuple(constants.items()))
        self.tables = (
            *(
                device.put(array)
                for array in (
                    tables.rows, signs, tables.before.view(np.uint32), tables.closures, tables.cycle
                )
            ),
            np.int32(len(tables.cycle)),
        )  # fmt: skip
        self.hashes = device.put(np.zeros(_TABLE, np.uint64))
        self.counts = device.put(np.zeros(_TABLE, np.uint64))
        self.first = device.put(np.full(_TABLE, _NONE))
        self.failed = device.put(np.zeros(1, np.uint32))
        self.results = (self.hashes, self.counts, self.first, self.failed, np.uint32(_TABLE - 1))

    def add_range(self, first: int, last: int) -> None:
        """Count the vectors with the indices first .. last-1."""
        self.device.launch(
            self.kernels, "of_range", last - first, self.threads, self.shared,
            (*self.tables, np.uint64(first), np.uint64(last), *self.results),
        )  # fmt: skip

    def add_batch(self, packed: Any, names: Any, count: int, offset: int = 0) -> None:
        """Count packed vectors and write their hashes; the first has number `offset`."""
        self.device.launch(
            self.kernels, "of_batch", count, self.threads, self.shared,
            (*self.tables, packed, names, np.uint64(count), np.uint64(offset), *self.results),
        )  # fmt: skip

    def pack(self, signs: Any, packed: Any, count: int) -> None:
        """Pack rows of zeros and ones."""
        self.device.launch(
            self.kernels,
            "pack",
            count,
            self.threads,
            0,
            (signs, packed, np.uint64(count), self.failed),
        )

    def number(self, names: Any, count: int, number: Any, out: Any) -> None:
        """Write the number that each hash's place in the table has."""
        arguments = (names, np.uint64(count), self.hashes, np.uint32(_TABLE - 1), number, out)
        self.device.launch(self.kernels, "numbers", count, self.threads, 0, arguments)

    def found(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return places in the table, counts and first indices of all hashes, by first index.

        Raises:
            ValueError: A sign is not 0 or 1.
            TCurveError: There are more schemes than the table can hold.
        """
        failed = int(self.device.get(self.failed)[0])
        assert failed != 1, "no curve has more regions, or deeper nests, than its degree allows"
        if failed == 3:
            raise ValueError("signs are 0 and 1, and this array has other values.")
        if failed:
            raise TCurveError(
                f"there are more than {_TABLE} schemes, too many for a table on the GPU; leave "
                "the device out for the CPU, or evaluate fewer vectors at a time."
            )
        places = np.flatnonzero(self.device.get(self.hashes))
        first = self.device.get(self.first)[places]
        order = np.argsort(first)
        places = places[order]
        return places, self.device.get(self.counts)[places], first[order]


def indices(
    t: Triangulation, signs: np.ndarray, device: Device | None = None
) -> tuple[np.ndarray, tuple[Scheme, ...]]:
    """Return the number of each vector's scheme, and the schemes, ascending.

    Args:
        t: The triangulation.
        signs: (N, n) zeros and ones, uint8.
        device: A GPU by default.
    """
    device = device or gpu()
    count = len(signs)
    if not count:
        return np.empty(0, np.int32), ()
    on = Evaluator(t, range(t.n), {}, device)
    names = device.empty(count, np.uint64)
    packed = device.empty(min(count, _ROWS) * on.inputs, np.uint64)
    for a in range(0, count, _ROWS):
        rows = signs[a : a + _ROWS]
        on.pack(device.put(rows), packed, len(rows))
        on.add_batch(packed, names[a : a + len(rows)], len(rows), a)
    places, _, first = on.found()
    schemes = _exact(t, signs[first.astype(np.int64)])
    types = tuple(sorted(set(schemes)))
    order = {scheme: k for k, scheme in enumerate(types)}
    number = np.zeros(_TABLE, np.int32)
    number[places] = [order[scheme] for scheme in schemes]
    out = device.empty(count, np.int32)
    on.number(names, count, device.put(number), out)
    return device.get(out), types


@dataclass(frozen=True)
class Histogram:
    """Schemes of a range of sign vectors.

    Attributes:
        counts: How many vectors have each scheme.
        witnesses: The first vector of each, as a word.
    """

    counts: dict[Scheme, int]
    witnesses: dict[Scheme, str]


def free_points(
    t: Triangulation, fixed: Mapping[int, int] | None = None
) -> tuple[list[int], dict[int, int]]:
    """Return the points without a prescribed sign, and the prescribed signs: three by default."""
    if fixed is None:
        index = point_index(t.degree)
        fixed = {index[p]: 1 for p in ((0, 0), (0, 1), (1, 0))}
    return [k for k in range(t.n) if k not in fixed], dict(fixed)


def exhaust(
    t: Triangulation,
    fixed: Mapping[int, int] | None = None,
    count: int | None = None,
    device: Device | None = None,
) -> Histogram:
    """Evaluate every sign vector on the GPU, one after another: what the census replaces.

    Args:
        t: The triangulation.
        fixed: Prescribed signs; three points by default.
        count: Only so many vectors, from the first.
        device: A GPU by default.

    Returns:
        Counts and first witnesses.

    Raises:
        MissingExtra: cupy is not installed.
        TCurveError: There is no CUDA device.
    """
    free, fixed = free_points(t, fixed)
    if len(free) > 62:
        raise TCurveError(f"2^{len(free)} vectors are too many to visit; take the census.")
    total = 1 << len(free) if count is None else min(count, 1 << len(free))
    on = Evaluator(t, free, fixed, device or gpu())
    for first in range(0, total, _VECTORS):
        on.add_range(first, min(first + _VECTORS, total))
    _, counts, first_of = on.found()
    signs = np.array([[fixed.get(k, 0) for k in range(t.n)]], np.uint8).repeat(len(first_of), 0)
    for j, k in enumerate(free):
        signs[:, k] = (first_of >> np.uint64(j)) & np.uint64(1)
    found: dict[Scheme, int] = {}
    words: dict[Scheme, str] = {}
    for scheme, number, row in zip(_exact(t, signs), counts.tolist(), signs, strict=True):
        found[scheme] = found.get(scheme, 0) + number
        words.setdefault(scheme, word(row.tolist()))
    return Histogram(dict(sorted(found.items())), words)


def _exact(t: Triangulation, signs: np.ndarray) -> list[Scheme]:
    """Return the schemes of rows of signs, from the CPU."""
    from ._batch import schemes

    return list(schemes(t, signs))
