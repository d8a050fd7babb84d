"""CUDA kernels of the batch evaluator: one thread a sign vector.

A thread unites the copies of the glued complex with parities (`leader << 1 | parity` in one array
of its own), numbers the regions, joins touching ones in 64-bit masks, walks the tree from the root
region and hashes it from the leaves up. The hash of a region depends on the sum of its children's
hashes only, so their order does not matter. Which scheme a hash stands for is decided on the CPU,
by the exact evaluation of the first vector that has it.
"""

from functools import cache
from typing import Any, no_type_check

import numpy as np
from numba import cuda

THREADS = 128
_MAX = 64  # regions


@no_type_check
def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@cache
@no_type_check
def kernels(copies: int, points: int) -> Any:
    """Compile for complexes of so many copies and points; return (of a batch, of a range)."""
    mix = cuda.jit(device=True)(_mix)
    words = (points + 63) // 64

    @cuda.jit(device=True)
    @no_type_check
    def tree_hash(signs, edges, odd):
        leader = cuda.local.array(copies, np.uint16)
        name = cuda.local.array(copies, np.uint8)
        beside = cuda.local.array(_MAX, np.uint64)
        above = cuda.local.array(_MAX, np.int8)
        order = cuda.local.array(_MAX, np.int8)
        value = cuda.local.array(_MAX, np.uint64)
        one = np.uint64(1)
        root = -1
        for u in range(copies):
            leader[u] = u << 1
        for e in range(edges.shape[0]):
            p, q = edges[e, 4], edges[e, 5]
            differ = (
                (signs[p >> 6] >> np.uint64(p & 63)) ^ (signs[q >> 6] >> np.uint64(q & 63))
            ) & one
            if differ != np.uint64(edges[e, 3]):
                continue
            a, b, x, y = edges[e, 0], edges[e, 1], 0, 0
            while leader[a] >> 1 != a:
                x ^= leader[a] & 1
                a = leader[a] >> 1
            while leader[b] >> 1 != b:
                y ^= leader[b] & 1
                b = leader[b] >> 1
            turned = (x ^ y ^ edges[e, 2]) & 1
            if a == b:
                if turned and not odd:
                    root = a
            elif a < b:
                leader[b] = (a << 1) | turned
            else:
                leader[a] = (b << 1) | turned
        regions = 0
        for u in range(copies):  # leaders only get smaller, so theirs are named already
            a = leader[u] >> 1
            if a == u:
                if regions == _MAX:
                    return np.uint64(0), -1
                name[u] = regions
                beside[regions] = np.uint64(0)
                regions += 1
            else:
                name[u] = name[a]
        top = -1
        if root >= 0:
            top = name[root]
        for e in range(edges.shape[0]):
            p, q = edges[e, 4], edges[e, 5]
            differ = (
                (signs[p >> 6] >> np.uint64(p & 63)) ^ (signs[q >> 6] >> np.uint64(q & 63))
            ) & one
            if differ != np.uint64(edges[e, 3]):
                a, b = name[edges[e, 0]], name[edges[e, 1]]
                if a == b:
                    top = a
                else:
                    beside[a] |= one << np.uint64(b)
                    beside[b] |= one << np.uint64(a)
        order[0] = top
        above[top] = -1
        filled = 1
        for k in range(regions):
            a = order[k]
            value[a] = np.uint64(0)
            for b in range(regions):
                if (beside[a] >> np.uint64(b)) & one and b != above[a]:
                    above[b] = a
                    order[filled] = b
                    filled += 1
        for k in range(regions - 1, 0, -1):
            a = order[k]
            value[above[a]] += mix(value[a] + np.uint64(0x9E3779B97F4A7C15))
        return mix(value[top] + np.uint64(0x9E3779B97F4A7C15)), regions - 1

    @cuda.jit
    @no_type_check
    def of_batch(signs, edges, odd, hashes, ovals):
        k = cuda.grid(1)
        if k < hashes.size:
            own = cuda.local.array(words, np.uint64)
            for w in range(words):
                own[w] = signs[k, w]
            hashes[k], ovals[k] = tree_hash(own, edges, odd)

    @cuda.jit
    @no_type_check
    def of_range(first, last, fixed, free, edges, odd, keys, counts, witness, failed):
        """Histogram of all vectors first..last-1, whose bits are the signs of the free points."""
        k = first + cuda.grid(1)
        step = cuda.gridsize(1)
        while k < last:
            own = cuda.local.array(words, np.uint64)
            for w in range(words):
                own[w] = fixed[w]
            for j in range(free.size):
                bit = (np.uint64(k) >> np.uint64(j)) & np.uint64(1)
                own[free[j] >> 6] |= bit << np.uint64(free[j] & 63)
            h, ovals = tree_hash(own, edges, odd)
            if ovals < 0:
                failed[0] = 1
                return
            if h == np.uint64(0):
                h = np.uint64(1)  # 0 marks an empty place
            at = np.int64(h & np.uint64(keys.size - 1))
            tries = 0
            while True:
                old = cuda.atomic.cas(keys, at, np.uint64(0), h)
                if old == np.uint64(0) or old == h:
                    break
                at = (at + 1) & (keys.size - 1)
                tries += 1
                if tries == keys.size:
                    failed[0] = 2
                    return
            cuda.atomic.add(counts, at, np.uint64(1))
            cuda.atomic.min(witness, at, np.int64(k))
            k += step

    return of_batch, of_range
