"""Compiled evaluator of many sign vectors: 128 of them side by side.

Each copy starts with the label 2 * number. Along monochromatic edges the least label spreads, its
last bit turned by the edge's twist for even d; sweeps forward and backward alternate until nothing
changes. A one-sided region reaches itself with both bits, so its labels all become even, and a
monochromatic twisted edge between two even labels gives it away. Copies are numbered so that each
but the first has a neighbour with a smaller number: the least copy of a region therefore lies
beside a region with a smaller least copy, and these pairs are all edges of the tree of regions.

The exact code of a tree (see `Scheme.code`) has up to 128 bits, which is enough for d <= 12.
"""

from typing import no_type_check

import numpy as np
from numba import njit

LANES = 128
_MAX = 64  # regions


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _append(high, low, word_high, word_low, size):
    """Shift a 128-bit word left by `size` and put another one behind it."""
    s = np.uint64(size)
    if size == 0:
        return high, low
    if size < 64:
        high = (high << s) | (low >> (np.uint64(64) - s))
        low = low << s
    elif size == 64:
        high = low
        low = np.uint64(0)
    else:
        high = low << (s - np.uint64(64))
        low = np.uint64(0)
    return high | word_high, low | word_low


@njit(cache=True, nogil=True)
@no_type_check
def evaluate(
    signs, points, differences, pulls, pull_start, twists, before, edges, odd, labels, mono, high,
    low, ovals
):  # fmt: skip
    """Write the code of the curve of each sign vector.

    Args:
        signs: (N, n) zeros and ones, uint8.
        points: (E, 2) the points of each edge's ends.
        differences: (E,) how their signs differ where it is monochromatic, of the type of `labels`.
        pulls, pull_start: For each copy its edges: rows other copy, edge.
        twists: (2E,) the twist of each row of `pulls` (0 for odd d), of the type of `labels`.
        before: For each copy one with a smaller number and an edge between them.
        edges: (E, 3) rows copy, copy, twist.
        odd: d mod 2.
        labels: (V, LANES) scratch, uint8 or uint16.
        mono: (E, LANES) scratch of the same type.
        high, low: (N,) the code.
        ovals: (N,) their number.

    Returns:
        -1, or the first vector with more than 64 regions.
    """
    count = signs.shape[0]
    copies = labels.shape[0]
    n_edges = edges.shape[0]
    zero = differences[0] ^ differences[0]
    full = np.array([-1]).astype(labels.dtype)[0]
    root = np.empty(LANES, labels.dtype)
    row = np.empty(LANES, labels.dtype)
    moved = np.empty(LANES, labels.dtype)
    region = np.empty(copies, np.int64)
    parent = np.empty(_MAX, np.int64)
    path = np.empty(_MAX, np.bool_)
    turn = np.empty(_MAX, np.int64)
    word_high = np.empty(_MAX, np.uint64)
    word_low = np.empty(_MAX, np.uint64)
    size = np.empty(_MAX, np.int64)
    leaves = np.empty(_MAX, np.int64)
    head = np.empty(_MAX, np.int64)  # first of a node's children that are no leaves, descending
    after = np.empty(_MAX, np.int64)
    column = np.empty((signs.shape[1], LANES), labels.dtype)
    for block in range(0, count, LANES):
        lanes = min(LANES, count - block)
        for k in range(lanes):
            for p in range(signs.shape[1]):
                column[p, k] = signs[block + k, p]
        for k in range(lanes, LANES):
            for p in range(signs.shape[1]):
                column[p, k] = signs[block, p]
        for e in range(n_edges):
            a, b = points[e, 0], points[e, 1]
            difference = differences[e]
            for k in range(LANES):  # 0 or -1, so that it can be or-ed into a label
                mono[e, k] = zero - (column[a, k] ^ column[b, k] ^ difference)
        for v in range(copies):
            for k in range(LANES):
                labels[v, k] = 2 * v
        changed = True
        forward = True
        while changed:
            for k in range(LANES):
                moved[k] = 0
            for index in range(copies):
                v = index if forward else copies - 1 - index
                for k in range(LANES):
                    row[k] = labels[v, k]
                for j in range(pull_start[v], pull_start[v + 1]):
                    u, e = pulls[j, 0], pulls[j, 1]
                    twist = twists[j]
                    for k in range(LANES):
                        new = (labels[u, k] ^ twist) | mono[e, k]
                        row[k] = min(row[k], new)
                for k in range(LANES):
                    moved[k] |= labels[v, k] ^ row[k]
                    labels[v, k] = row[k]
            changed = False
            for k in range(LANES):
                changed |= moved[k] != 0
            forward = not forward
        for e in range(n_edges):
            u, v, twist = edges[e, 0], edges[e, 1], edges[e, 2]
            if odd:
                for k in range(LANES):
                    both = (~mono[e, k] | (labels[u, k] ^ labels[v, k])) & full == zero
                    root[k] = labels[u, k] if both else root[k]
            elif twist:
                for k in range(LANES):
                    both = (mono[e, k] | ((labels[u, k] ^ labels[v, k]) & 1)) == zero
                    root[k] = labels[u, k] if both else root[k]
        for k in range(lanes):
            regions = 0
            for v in range(copies):
                if labels[v, k] == 2 * v:
                    if regions == _MAX:
                        return block + k
                    region[v] = regions
                    parent[regions] = region[labels[before[v], k] >> 1] if v else -1
                    regions += 1
            # turn the tree so that the root region comes out on top
            top = region[root[k] >> 1]
            for i in range(regions):
                path[i] = False
                leaves[i] = 0
                head[i] = -1
            i = top
            steps = 0
            while i >= 0:
                path[i] = True
                turn[steps] = i
                steps += 1
                i = parent[i]
            # children before parents: others from the last, then the path from region 0 upwards
            for index in range(regions + steps):
                if index < regions:
                    i = regions - 1 - index
                    if path[i]:
                        continue
                    above = parent[i]
                else:
                    i = turn[regions + steps - 1 - index]
                    above = turn[regions + steps - 2 - index] if index < regions + steps - 1 else -1
                if head[i] < 0 and leaves[i] == 0 and above >= 0:
                    leaves[above] += 1
                    continue
                w_high, w_low, bits = np.uint64(0), np.uint64(1), 1
                j = head[i]
                while j >= 0:
                    w_high, w_low = _append(w_high, w_low, word_high[j], word_low[j], size[j])
                    bits += size[j]
                    j = after[j]
                for _ in range(leaves[i]):
                    w_high, w_low = _append(w_high, w_low, np.uint64(0), np.uint64(2), 2)
                w_high, w_low = _append(w_high, w_low, np.uint64(0), np.uint64(0), 1)
                bits += 2 * leaves[i] + 1
                word_high[i], word_low[i], size[i] = w_high, w_low, bits
                if above >= 0:
                    last = -1
                    j = head[above]
                    while j >= 0 and (
                        word_high[j] > w_high or (word_high[j] == w_high and word_low[j] > w_low)
                    ):
                        last = j
                        j = after[j]
                    after[i] = j
                    if last < 0:
                        head[above] = i
                    else:
                        after[last] = i
            high[block + k], low[block + k] = word_high[top], word_low[top]
            ovals[block + k] = regions - 1
    return -1
