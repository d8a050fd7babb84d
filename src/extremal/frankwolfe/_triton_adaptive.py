"""The Triton kernels of AdaSFW and AdamSFW over L2, maximum-norm and L1 balls; see `_triton`.

A pass applies the last inner step, whose vertex is recomputed from y, and sums what the next one
needs, so that K inner steps are K + 1 passes over each tensor. Rows of `where` are the addresses
of x, the gradient, the direction d, the sum of squares, its largest value so far, and y. Rows of
`sums` for a chunk: 0 <q, q>, 1 <q, y>, 2 <h y, y>, 3 <h y, q>, 4 <h q, q>, 5 <d, d>; for the
maximum norm 1 <q, y - v> and 2 <h (y - v), y - v>.
"""
# pyright: basic, reportMissingImports=false

from typing import no_type_check

import triton
import triton.language as tl

from ._triton import _at, _floats, _key, _places, _sign

_SUMS = tl.constexpr(8)


@triton.jit
@no_type_check
def adapt(
    where, chunks, sizes, corners, radii, sums, tops, moves, bad, n, inverse, delta, least, largest,
    one, two, ADAM: tl.constexpr, KIND: tl.constexpr, ROUND: tl.constexpr, LAST: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, TENSORS: tl.constexpr,
):  # fmt: skip
    """Make one pass; nothing happens where any gradient of the list is not finite."""
    every = tl.arange(0, TENSORS)
    if tl.max(tl.load(bad + every, mask=every < n, other=0).to(tl.int32), 0) == 0:
        c = tl.program_id(0)
        j = tl.load(chunks + 2 * c)
        if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
            _adapt(
                where, chunks, sizes, corners, radii, sums, tops, moves, n, inverse, delta, least,
                largest, one, two, ADAM, KIND, ROUND, LAST, CHUNK, BLOCK, True,
            )  # fmt: skip
        else:
            _adapt(
                where, chunks, sizes, corners, radii, sums, tops, moves, n, inverse, delta, least,
                largest, one, two, ADAM, KIND, ROUND, LAST, CHUNK, BLOCK, False,
            )  # fmt: skip


@triton.jit
@no_type_check
def _adapt(
    where, chunks, sizes, corners, radii, sums, tops, moves, n, inverse, delta, least, largest,
    one, two, ADAM: tl.constexpr, KIND: tl.constexpr, ROUND: tl.constexpr, LAST: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    x_at, g_at = _floats(where, 0, n, j), _floats(where, 1, n, j)
    d_at, s_at = _floats(where, 2, n, j), _floats(where, 3, n, j)
    p_at, y_at = _floats(where, 4, n, j), _floats(where, 5, n, j)
    radius = tl.load(radii + j)
    qq = tl.zeros([BLOCK], tl.float32)
    qy = tl.zeros([BLOCK], tl.float32)
    yy = tl.zeros([BLOCK], tl.float32)
    yq = tl.zeros([BLOCK], tl.float32)
    hq = tl.zeros([BLOCK], tl.float32)
    dd = tl.zeros([BLOCK], tl.float32)
    best = tl.full([BLOCK], -1, tl.int32)
    best_at = tl.zeros([BLOCK], tl.int64)
    if ROUND > 0:
        step, scale = tl.load(moves + 4 * j), tl.load(moves + 4 * j + 1)
        if KIND == 2:
            corner = tl.load(corners + j)
    for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
        at, inside = _places(begin, start, size, FULL, BLOCK)
        x = tl.load(_at(x_at, at, FULL), mask=inside, other=0.0)
        s = tl.load(_at(s_at, at, FULL), mask=inside, other=0.0)
        if ROUND == 0:
            g = tl.load(_at(g_at, at, FULL), mask=inside, other=0.0)
            if ADAM:
                d = tl.load(_at(d_at, at, FULL), mask=inside, other=0.0)
                d += (1.0 - one) * (g - d)
                s = two * s + (1.0 - two) * g * g
            else:
                d = g
                s += g * g
            tl.store(_at(d_at, at, FULL), d, mask=inside)
            tl.store(_at(s_at, at, FULL), s, mask=inside)
            dd += d * d
            if ADAM:
                s = tl.maximum(s, tl.load(_at(p_at, at, FULL), mask=inside, other=0.0))
                tl.store(_at(p_at, at, FULL), s, mask=inside)
            y = x
        else:
            d = tl.load(_at(d_at, at, FULL), mask=inside, other=0.0)
            if ADAM:
                s = tl.load(_at(p_at, at, FULL), mask=inside, other=0.0)
            y = x if ROUND == 1 else tl.load(_at(y_at, at, FULL), mask=inside, other=0.0)
        h = tl.minimum(tl.maximum(tl.sqrt(s) + delta, least), largest)
        if ROUND > 0:
            if KIND == 0:
                y = (1.0 - step) * y + step * scale * (d + h * (y - x) * inverse)
            elif KIND == 1:
                y = (1.0 - step) * y - step * radius * _sign(d + h * (y - x) * inverse)
            else:
                y = (1.0 - step) * y + tl.where(at == corner, step * scale, 0.0)
            if LAST:
                tl.store(_at(x_at, at, FULL), y, mask=inside)
            else:
                tl.store(_at(y_at, at, FULL), y, mask=inside)
        if not LAST:
            q = d + h * (y - x) * inverse
            if KIND == 1:
                away = tl.where(inside, y + radius * _sign(q), 0.0)
                qy += q * away
                yy += tl.where(inside, h * away * away, 0.0)
            else:
                qy += q * y
                yy += h * y * y
            if KIND == 0:
                qq += q * q
                yq += h * y * q
                hq += h * q * q
            if KIND == 2:
                key = tl.where(inside, _key(q), -1)
                better = key > best
                best = tl.where(better, key, best)
                best_at = tl.where(better, at, best_at)
    if not LAST:
        row = sums + c * _SUMS
        tl.store(row, tl.sum(qq, 0))
        tl.store(row + 1, tl.sum(qy, 0))
        tl.store(row + 2, tl.sum(yy, 0))
        tl.store(row + 3, tl.sum(yq, 0))
        tl.store(row + 4, tl.sum(hq, 0))
        if ROUND == 0:
            tl.store(row + 5, tl.sum(dd, 0))
        if KIND == 2:
            top = tl.max(best, 0)
            tl.store(tops + 2 * c, top.to(tl.int64))
            tl.store(tops + 2 * c + 1, tl.min(tl.where(best == top, best_at, 1 << 62), 0))


@triton.jit
@no_type_check
def pace(
    where, ranges, corners, radii, sums, tops, moves, n, eta, inverse, delta, least, largest, cap,
    KIND: tl.constexpr, ROUND: tl.constexpr, MANY: tl.constexpr, ADAM: tl.constexpr,
):  # fmt: skip
    """Choose the next inner step of each tensor: one program a tensor.

    `moves` gets the step, the factor of v, and whether d is not zero.
    """
    j = tl.program_id(0)
    low, high = tl.load(ranges + j), tl.load(ranges + j + 1)
    radius = tl.load(radii + j).to(tl.float64)
    qq = tl.zeros([MANY], tl.float64)
    qy = tl.zeros([MANY], tl.float64)
    yy = tl.zeros([MANY], tl.float64)
    yq = tl.zeros([MANY], tl.float64)
    hq = tl.zeros([MANY], tl.float64)
    dd = tl.zeros([MANY], tl.float64)
    best = tl.full([MANY], -1, tl.int64)
    best_at = tl.zeros([MANY], tl.int64)
    for start in range(low, high, MANY):
        c = start + tl.arange(0, MANY)
        inside = c < high
        row = sums + c * _SUMS
        qy += tl.load(row + 1, mask=inside, other=0.0).to(tl.float64)
        yy += tl.load(row + 2, mask=inside, other=0.0).to(tl.float64)
        if ROUND == 0:
            dd += tl.load(row + 5, mask=inside, other=0.0).to(tl.float64)
        if KIND == 0:
            qq += tl.load(row, mask=inside, other=0.0).to(tl.float64)
            yq += tl.load(row + 3, mask=inside, other=0.0).to(tl.float64)
            hq += tl.load(row + 4, mask=inside, other=0.0).to(tl.float64)
        if KIND == 2:
            key = tl.load(tops + 2 * c, mask=inside, other=-1)
            place = tl.load(tops + 2 * c + 1, mask=inside, other=0)
            better = key > best
            best = tl.where(better, key, best)
            best_at = tl.where(better, place, best_at)
    gain, below = tl.sum(qy, 0), tl.sum(yy, 0)
    scale = radius * 0.0
    fine = below > 0
    if KIND == 0:
        square = tl.sum(qq, 0)
        ratio = tl.where(square > 0, radius / tl.sqrt(tl.where(square > 0, square, 1.0)), 0.0)
        scale = -ratio
        gain += ratio * square
        below += 2.0 * ratio * tl.sum(yq, 0) + ratio * ratio * tl.sum(hq, 0)
        fine = (below > 0) & (square > 0)
    if KIND == 2:
        top = tl.max(best, 0)
        corner = tl.min(tl.where(best == top, best_at, 1 << 62), 0)
        tl.store(corners + j, corner)
        x = tl.load(_floats(where, 0, n, j) + corner).to(tl.float64)
        d = tl.load(_floats(where, 2, n, j) + corner).to(tl.float64)
        s = tl.load(_floats(where, 4 if ADAM else 3, n, j) + corner).to(tl.float64)
        y = x if ROUND == 0 else tl.load(_floats(where, 5, n, j) + corner).to(tl.float64)
        h = tl.minimum(tl.maximum(tl.sqrt(s) + delta, least), largest)
        q = d + h * (y - x) * inverse
        scale = tl.where(q < 0, radius, -radius)
        gain -= q * scale
        below += h * scale * (scale - 2.0 * y)
        fine = below > 0
    alive = tl.sum(dd, 0) > 0 if ROUND == 0 else tl.load(moves + 4 * j + 2) > 0
    step = tl.where(fine & alive, eta * gain / tl.where(below > 0, below, 1.0), 0.0)
    step = tl.minimum(tl.maximum(step, 0.0), cap)
    tl.store(moves + 4 * j, step.to(tl.float32))
    tl.store(moves + 4 * j + 1, scale.to(tl.float32))
    if ROUND == 0:
        tl.store(moves + 4 * j + 2, tl.where(alive, 1.0, 0.0))
