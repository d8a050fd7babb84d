"""The peer of `gpu.py`: a union-find with parity in each thread's own memory, by numba's CUDA.

The plain way to put the algorithm of `scheme` on a GPU; the tree is hashed like ours.
"""

from functools import cache
from typing import Any

import numpy as np
from numba import cuda

THREADS = 128
_MAX = 64  # regions


def _mix(x):
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


@cache
def kernel(copies: int, points: int) -> Any:
    """Compile for complexes of so many copies and points: a histogram over a range of vectors."""
    mix = cuda.jit(device=True)(_mix)
    words = (points + 63) // 64

    @cuda.jit(device=True)
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
        return mix(value[top] + np.uint64(0x9E3779B97F4A7C15))

    @cuda.jit
    def of_range(first, last, fixed, free, edges, odd, keys, counts, witness):
        k = first + cuda.grid(1)
        step = cuda.gridsize(1)
        while k < last:
            own = cuda.local.array(words, np.uint64)
            for w in range(words):
                own[w] = fixed[w]
            for j in range(free.size):
                bit = (np.uint64(k) >> np.uint64(j)) & np.uint64(1)
                own[free[j] >> 6] |= bit << np.uint64(free[j] & 63)
            h = tree_hash(own, edges, odd)
            at = np.int64(h & np.uint64(keys.size - 1))
            while True:
                old = cuda.atomic.cas(keys, at, np.uint64(0), h)
                if old == np.uint64(0) or old == h:
                    break
                at = (at + 1) & (keys.size - 1)
            cuda.atomic.add(counts, at, np.uint64(1))
            if k < witness[at]:
                cuda.atomic.min(witness, at, np.int64(k))
            k += step

    return of_range
