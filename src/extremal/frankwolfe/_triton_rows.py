"""The Triton kernels of SFW over balls of groups: one program a group; see `_triton`.

Groups are slices along the first dimension, which lie together in memory, channels last or not.
Rows of `where` are the addresses of x, the gradient, the average m, and the counter of clips; rows
of `groups` the tensor of each group, its first entry and its length; of `sums` for a group |m|^2,
<m, x> and |x|^2.
"""
# pyright: basic, reportMissingImports=false

from typing import no_type_check

import triton
import triton.language as tl

from ._triton import _floats


@triton.jit
@no_type_check
def first(
    where, groups, sums, n, keep, take, NEEDS_X: tl.constexpr, BLOCK: tl.constexpr
):  # fmt: skip
    """Update the averages and sum over each group."""
    r = tl.program_id(0)
    j = tl.load(groups + 3 * r)
    begin, length = tl.load(groups + 3 * r + 1), tl.load(groups + 3 * r + 2)
    x_at, g_at = _floats(where, 0, n, j), _floats(where, 1, n, j)
    m_at = _floats(where, 2, n, j)
    mm = tl.zeros([BLOCK], tl.float32)
    mx = tl.zeros([BLOCK], tl.float32)
    xx = tl.zeros([BLOCK], tl.float32)
    for start in range(0, length, BLOCK):
        place = start + tl.arange(0, BLOCK)
        inside = place < length
        at = begin + place
        g = tl.load(g_at + at, mask=inside, other=0.0)
        m = keep * tl.load(m_at + at, mask=inside, other=0.0) + take * g
        tl.store(m_at + at, m, mask=inside)
        mm += m * m
        if NEEDS_X:
            x = tl.load(x_at + at, mask=inside, other=0.0)
            mx += m * x
            xx += x * x
    tl.store(sums + 3 * r, tl.sum(mm, 0))
    tl.store(sums + 3 * r + 1, tl.sum(mx, 0))
    tl.store(sums + 3 * r + 2, tl.sum(xx, 0))


@triton.jit
@no_type_check
def choose(
    where, ranges, sums, counts, about, keeps, factors, bad, n, lr,
    RESCALE: tl.constexpr, GROUPS: tl.constexpr,
):  # fmt: skip
    """Choose the k largest groups of each tensor and its step: one program a tensor.

    The k-th largest |m|^2 is found bit by bit, which compares integers; among equals the lowest
    group wins. `keeps` gets the factor of x, `factors` that of m for each group.
    """
    j = tl.program_id(0)
    low, high = tl.load(ranges + j), tl.load(ranges + j + 1)
    r = low + tl.arange(0, GROUPS)
    inside = r < high
    square = tl.load(sums + 3 * r, mask=inside, other=0.0)
    key = tl.where(inside, square.to(tl.int32, bitcast=True), -1)
    k = tl.load(counts + j)
    level = 0
    for i in range(31):
        candidate = level | (1 << (30 - i))
        enough = tl.sum((key >= candidate).to(tl.int32), 0) >= k
        level = tl.where(enough, candidate, level)
    above = key > level
    same = inside & (key == level)
    rest = k - tl.sum(above.to(tl.int32), 0)
    taken = above | (same & (tl.cumsum(same.to(tl.int32), 0) <= rest))
    wide = square.to(tl.float64)
    norm = tl.sqrt(tl.sum(wide, 0))
    chosen = tl.sqrt(tl.sum(tl.where(taken, wide, 0.0), 0))
    size, diameter = tl.load(about + 2 * j), tl.load(about + 2 * j + 1)
    scale = tl.where(chosen > 0, size / tl.where(chosen > 0, chosen, 1.0), 0.0)
    alive = norm > 0
    if RESCALE == 0:
        raw = tl.where(alive, lr, 0.0).to(tl.float64)
    elif RESCALE == 1:
        raw = tl.where(alive, lr / diameter, 0.0)
    elif RESCALE == 3:
        raw = 2.0 * lr * norm / diameter
    else:
        mx = tl.load(sums + 3 * r + 1, mask=inside & taken, other=0.0).to(tl.float64)
        xx = tl.load(sums + 3 * r + 2, mask=inside, other=0.0).to(tl.float64)
        away = size * size + 2.0 * scale * tl.sum(mx, 0) + tl.sum(xx, 0)
        away = tl.sqrt(tl.maximum(away, 0.0))
        raw = tl.where(alive & (away > 0), lr * norm / tl.where(away > 0, away, 1.0), 0.0)
    if RESCALE >= 2:
        clipped = _floats(where, 3, n, j)
        tl.store(clipped, tl.load(clipped) + tl.where(raw > 1.0, 1.0, 0.0))
    step = tl.minimum(raw, 1.0)
    tl.store(keeps + j, (1.0 - step).to(tl.float32))
    tl.store(factors + r, tl.where(taken, -step * scale, 0.0).to(tl.float32), mask=inside)
    tl.store(bad + j, (norm - norm != 0.0).to(tl.int8))  # NaN or infinity


@triton.jit
@no_type_check
def second(
    where, groups, keeps, factors, bad, n, BLOCK: tl.constexpr, TENSORS: tl.constexpr
):  # fmt: skip
    """Move x; nothing moves where any average of the list is not finite."""
    every = tl.arange(0, TENSORS)
    if tl.max(tl.load(bad + every, mask=every < n, other=0).to(tl.int32), 0) == 0:
        r = tl.program_id(0)
        j = tl.load(groups + 3 * r)
        begin, length = tl.load(groups + 3 * r + 1), tl.load(groups + 3 * r + 2)
        keep, factor = tl.load(keeps + j), tl.load(factors + r)
        x_at, m_at = _floats(where, 0, n, j), _floats(where, 2, n, j)
        for start in range(0, length, BLOCK):
            place = start + tl.arange(0, BLOCK)
            inside = place < length
            at = begin + place
            x = keep * tl.load(x_at + at, mask=inside, other=0.0)
            if factor != 0:
                x += factor * tl.load(m_at + at, mask=inside, other=0.0)
            tl.store(x_at + at, x, mask=inside)
