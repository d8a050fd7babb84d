"""The Triton kernels around Newton-Schulz steps on stacks of matrices; see `_triton`.

Rows of `where` are the addresses of x, the gradient, the average m, the matrix's place in the
stack, and the counter of clips.
"""
# pyright: basic, reportMissingImports=false

from typing import no_type_check

import triton
import triton.language as tl

from ._triton import _at, _floats, _places


@triton.jit
@no_type_check
def gather(
    where, chunks, sizes, sums, n, keep, take, ahead, W: tl.constexpr, NESTEROV: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update the averages, write them (with Nesterov, g + ahead (m - g)) into the stacks."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _gather(where, chunks, sizes, sums, n, keep, take, ahead, W, NESTEROV, CHUNK, BLOCK, True)
    else:
        _gather(where, chunks, sizes, sums, n, keep, take, ahead, W, NESTEROV, CHUNK, BLOCK, False)


@triton.jit
@no_type_check
def _gather(
    where, chunks, sizes, sums, n, keep, take, ahead, W: tl.constexpr, NESTEROV: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    g_at, m_at = _floats(where, 1, n, j), _floats(where, 2, n, j)
    w_at = tl.load(where + 3 * n + j).to(tl.pointer_type(W))
    squares = tl.zeros([BLOCK], tl.float32)
    for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
        at, inside = _places(begin, start, size, FULL, BLOCK)
        g = tl.load(_at(g_at, at, FULL), mask=inside, other=0.0)
        m = keep * tl.load(_at(m_at, at, FULL), mask=inside, other=0.0) + take * g
        tl.store(_at(m_at, at, FULL), m, mask=inside)
        if NESTEROV:
            m = g + ahead * (m - g)
        squares += m * m
        tl.store(_at(w_at, at, FULL), m.to(W), mask=inside)
    tl.store(sums + c, tl.sum(squares, 0))


@triton.jit
@no_type_check
def normalise(
    where, chunks, sizes, ranges, sums, inverse, steps, bad, n, lr, factor, eps,
    W: tl.constexpr, RESCALE: tl.constexpr, CLIP: tl.constexpr, WIDE: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, MANY: tl.constexpr,
):  # fmt: skip
    """Divide every matrix by `factor` times its Frobenius norm plus eps, and choose its step."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _normalise(
            where, chunks, sizes, ranges, sums, inverse, steps, bad, n, lr, factor, eps, W,
            RESCALE, CLIP, CHUNK, BLOCK, MANY, True,
        )  # fmt: skip
    else:
        _normalise(
            where, chunks, sizes, ranges, sums, inverse, steps, bad, n, lr, factor, eps, W,
            RESCALE, CLIP, CHUNK, BLOCK, MANY, False,
        )  # fmt: skip


@triton.jit
@no_type_check
def _normalise(
    where, chunks, sizes, ranges, sums, inverse, steps, bad, n, lr, factor, eps,
    W: tl.constexpr, RESCALE: tl.constexpr, CLIP: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK: tl.constexpr, MANY: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    w_at = tl.load(where + 3 * n + j).to(tl.pointer_type(W))
    total = tl.zeros([MANY], tl.float64)
    low, high = tl.load(ranges + j), tl.load(ranges + j + 1)
    for one in range(low, high, MANY):
        part = one + tl.arange(0, MANY)
        total += tl.load(sums + part, mask=part < high, other=0.0).to(tl.float64)
    norm = tl.sqrt(tl.sum(total, 0)).to(tl.float32)
    alive = norm > 0
    scale = tl.where(alive, 1.0 / (factor * norm + eps), 0.0)
    for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
        at, inside = _places(begin, start, size, FULL, BLOCK)
        w = tl.load(_at(w_at, at, FULL), mask=inside, other=0.0).to(tl.float32)
        tl.store(_at(w_at, at, FULL), (w * scale).to(W), mask=inside)
    if begin == 0:
        raw = tl.where(alive, lr, 0.0)
        if RESCALE == 1:
            raw *= tl.load(inverse + j)
        if RESCALE == 3:
            raw = 2.0 * lr * norm * tl.load(inverse + j)
            clipped = _floats(where, 4, n, j)
            tl.store(clipped, tl.load(clipped) + tl.where(raw > 1.0, 1.0, 0.0))
        tl.store(steps + j, tl.minimum(raw, 1.0) if CLIP else raw)
        tl.store(bad + j, (norm - norm != 0.0).to(tl.int8))  # NaN or infinity
