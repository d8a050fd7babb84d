"""The batch evaluator on a GPU, and histograms over whole ranges of sign vectors.

The GPU names curves by a hash of their tree; the CPU evaluates the first vector of every hash
exactly, so that what comes back is the same as from the CPU.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from extremal.lab import require

from ._errors import TCurveError
from ._glued import Glued, glued
from ._lattice import point_index
from ._notation import Scheme
from ._scheme import scheme_of, word
from ._triangulation import Triangulation

_TABLE = 1 << 16
_CHUNK = 1 << 26


@dataclass(frozen=True)
class Histogram:
    """Schemes of a range of sign vectors.

    Attributes:
        counts: How many vectors have each scheme.
        witnesses: The first vector of each, as a word.
    """

    counts: dict[Scheme, int]
    witnesses: dict[Scheme, str]


def _cuda() -> Any:
    require("numba", "tcurves")
    from numba import cuda

    if not cuda.is_available():
        raise TCurveError(
            "there is no CUDA device that numba can use, so device='cuda' cannot run; leave the "
            "device out for the CPU, which gives the same."
        )
    return cuda


def _edges(complex_: Glued) -> np.ndarray:
    points = complex_.point[complex_.edges[:, :2]]
    return np.concatenate([complex_.edges, points], axis=1).astype(np.int32)


def packed(signs: np.ndarray) -> np.ndarray:
    """Return rows of zeros and ones as 64-bit words, the first sign in the lowest bit."""
    count, n = signs.shape
    words = (n + 63) // 64
    found = np.zeros((count, words), np.uint64)
    for k in range(n):
        found[:, k // 64] |= signs[:, k].astype(np.uint64) << np.uint64(k % 64)
    return found


def hashes(t: Triangulation, signs: np.ndarray) -> np.ndarray:
    """Return a hash of each vector's tree, computed on the GPU."""
    cuda = _cuda()
    from ._gpu_kernels import THREADS, kernels

    complex_ = glued(t)
    of_batch, _ = kernels(len(complex_.point), t.n)
    found = cuda.device_array(len(signs), np.uint64)
    ovals = cuda.device_array(len(signs), np.int32)
    blocks = -(-len(signs) // THREADS)
    if blocks:
        of_batch[blocks, THREADS](
            cuda.to_device(packed(signs)), cuda.to_device(_edges(complex_)), t.degree % 2,
            found, ovals,
        )  # fmt: skip
    if len(signs) and int(ovals.copy_to_host().min()) < 0:
        raise TCurveError(f"a curve of degree {t.degree} has more than 64 regions; use the CPU.")
    return found.copy_to_host()


def exhaust(
    t: Triangulation, fixed: dict[int, int] | None = None, count: int | None = None
) -> Histogram:
    """Evaluate every sign vector on the GPU, one after another: what the census replaces.

    Args:
        t: The triangulation.
        fixed: Prescribed signs; three points by default.
        count: Only so many vectors, from the first.

    Returns:
        Counts and first witnesses.

    Raises:
        TCurveError: There is no CUDA device.
    """
    cuda = _cuda()
    from ._gpu_kernels import THREADS, kernels

    if fixed is None:
        index = point_index(t.degree)
        fixed = {index[p]: 1 for p in ((0, 0), (0, 1), (1, 0))}
    free = [k for k in range(t.n) if k not in fixed]
    total = 1 << len(free) if count is None else min(count, 1 << len(free))
    base = np.zeros((t.n + 63) // 64, np.uint64)
    for k, sign in fixed.items():
        base[k // 64] |= np.uint64(sign) << np.uint64(k % 64)
    complex_ = glued(t)
    _, of_range = kernels(len(complex_.point), t.n)
    keys = cuda.to_device(np.zeros(_TABLE, np.uint64))
    counts = cuda.to_device(np.zeros(_TABLE, np.uint64))
    witness = cuda.to_device(np.full(_TABLE, np.iinfo(np.int64).max))
    failed = cuda.to_device(np.zeros(1, np.int32))
    rest = (
        cuda.to_device(base), cuda.to_device(np.array(free, np.int32)),
        cuda.to_device(_edges(complex_)), t.degree % 2, keys, counts, witness, failed,
    )  # fmt: skip
    for first in range(0, total, _CHUNK):
        last = min(first + _CHUNK, total)
        blocks = min(-(-(last - first) // THREADS), 1 << 14)
        of_range[blocks, THREADS](first, last, *rest)
    if failed.copy_to_host()[0]:
        raise TCurveError("the table of schemes overflowed or a curve has over 64 regions.")
    found: dict[Scheme, int] = {}
    words: dict[Scheme, str] = {}
    where = np.flatnonzero(keys.copy_to_host())
    number, first_of = counts.copy_to_host(), witness.copy_to_host()
    for at in sorted(where.tolist(), key=lambda k: int(first_of[k])):
        signs = [fixed.get(k, 0) for k in range(t.n)]
        for j, k in enumerate(free):
            signs[k] = int(first_of[at]) >> j & 1
        scheme = scheme_of(t, signs)
        found[scheme] = found.get(scheme, 0) + int(number[at])
        words.setdefault(scheme, word(signs))
    return Histogram(dict(sorted(found.items())), words)
