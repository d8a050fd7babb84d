"""The Triton kernels behind `_cuda`; imported only where there is a GPU and Triton.

Whole lists of tensors are treated by one launch: tensors come as addresses, cut into chunks, one
program a chunk. Sums are kept chunk by chunk and added in a fixed order, so that runs repeat.

The k largest |m| of every tensor are found by four histograms of the bits of |m|, which are
ordered as |m| is: of the upper 8 bits, then of the next 8 among those that share the bits so far,
8 more, and the last 7. (Triton counts with votes and population counts, whose cost grows with the
number of bins: three histograms of 2048 and 1024 bins read less and would take longer.) No pass
waits for the host, whatever the values. Among equals the lowest place wins.

`kind` is 0 L2, 1 maximum norm, 2 L1, 3 k-sparse, 4 k-support, as in `_loops`. Rows of `where` are
the addresses of x, the gradient, the average m, and the counter of clips.
Rows of `sums` for a chunk: 0 |m|^2, 1 |x|^2, 2 <m, x>, 3 <sgn m, x>; over the entries above the
threshold 4 |m|^2, 5 <m, x>, 6 <sgn m, x>; over those equal to it 7 <sgn m, x>.
"""
# pyright: basic, reportMissingImports=false

from typing import no_type_check

import torch
import triton
import triton.language as tl

TYPES = {torch.float32: tl.float32, torch.bfloat16: tl.bfloat16, torch.float16: tl.float16}
_BINS = tl.constexpr(256)
_ROW = tl.constexpr(4 * 256)
_FOUND = tl.constexpr(8)  # prefix and how many are wanted, after each digit
_FEW = tl.constexpr(64)  # entries of a block that are counted one by one
_SUMS = tl.constexpr(8)
_ABS = tl.constexpr(0x7FFFFFFF)


@triton.jit
@no_type_check
def _floats(where, row: tl.constexpr, n, j):
    return tl.load(where + row * n + j).to(tl.pointer_type(tl.float32))


@triton.jit
@no_type_check
def _at(base, at, FULL: tl.constexpr):
    """The addresses of some entries; those of whole chunks are multiples of 16 bytes."""
    return tl.multiple_of(base + at, 16) if FULL else base + at


@triton.jit
@no_type_check
def _places(begin, start, size, FULL: tl.constexpr, BLOCK: tl.constexpr):
    at = begin + start + tl.arange(0, BLOCK)
    if FULL:  # without a mask four entries go in one load
        return tl.max_contiguous(tl.multiple_of(at, BLOCK), BLOCK), tl.full([BLOCK], True, tl.int1)
    return at, at < size


@triton.jit
@no_type_check
def _key(m):
    return m.to(tl.int32, bitcast=True) & _ABS


@triton.jit
@no_type_check
def _sign(m):
    return tl.where(m < 0, -1.0, 1.0)


@triton.jit
@no_type_check
def _digit(row, want):
    """The bin of the want-th largest, how many to take from it, and how many lie in it."""
    at = tl.arange(0, _BINS)
    count = tl.load(row + at)
    above = tl.sum(count, 0) - tl.cumsum(count, 0)
    here = (above < want) & (above + count >= want)
    return (
        tl.sum(tl.where(here, at, 0), 0),
        want - tl.sum(tl.where(here, above, 0), 0),
        tl.sum(tl.where(here, count, 0), 0),
    )


@triton.jit
@no_type_check
def _threshold(row, found):
    """The key of the k-th largest, how many keys equal to it to take, and how many there are."""
    digit, want, equal = _digit(row + 3 * _BINS, tl.load(found + 5))
    return (tl.load(found + 4) << 7) | digit, want, equal


@triton.jit
@no_type_check
def first(
    where, chunks, sizes, sums, tops, histogram, n, keep, take, KIND: tl.constexpr,
    NEEDS_X: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Update the averages m <- keep m + take g, and sum what the step length needs."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _first(
            where, chunks, sizes, sums, tops, histogram, n, keep, take, KIND, NEEDS_X, CHUNK,
            BLOCK, True,
        )  # fmt: skip
    else:
        _first(
            where, chunks, sizes, sums, tops, histogram, n, keep, take, KIND, NEEDS_X, CHUNK,
            BLOCK, False,
        )  # fmt: skip


@triton.jit
@no_type_check
def _first(
    where, chunks, sizes, sums, tops, histogram, n, keep, take, KIND: tl.constexpr,
    NEEDS_X: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    x_at = _floats(where, 0, n, j)
    g_at = _floats(where, 1, n, j)
    m_at = _floats(where, 2, n, j)
    mm = tl.zeros([BLOCK], tl.float32)
    xx = tl.zeros([BLOCK], tl.float32)
    mx = tl.zeros([BLOCK], tl.float32)
    sx = tl.zeros([BLOCK], tl.float32)
    best = tl.full([BLOCK], -1, tl.int32)
    best_at = tl.zeros([BLOCK], tl.int64)
    found = tl.zeros([_BINS], tl.int32)
    for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
        at, inside = _places(begin, start, size, FULL, BLOCK)
        g = tl.load(_at(g_at, at, FULL), mask=inside, other=0.0)
        m = keep * tl.load(_at(m_at, at, FULL), mask=inside, other=0.0) + take * g
        tl.store(_at(m_at, at, FULL), m, mask=inside)
        mm += m * m
        if NEEDS_X and KIND < 3:  # where k are chosen, a later pass reads x anyway
            x = tl.load(_at(x_at, at, FULL), mask=inside, other=0.0)
            xx += x * x
            if KIND == 0:
                mx += m * x
            if KIND == 1:
                sx += _sign(m) * x
        if KIND == 2:
            key = tl.where(inside, _key(m), -1)
            better = key > best
            best = tl.where(better, key, best)
            best_at = tl.where(better, at, best_at)
        if KIND >= 3:
            found += tl.histogram(_key(m) >> 23, _BINS, mask=inside)
    row = sums + c * _SUMS
    tl.store(row, tl.sum(mm, 0))
    if NEEDS_X and KIND < 3:
        tl.store(row + 1, tl.sum(xx, 0))
        tl.store(row + 2, tl.sum(mx, 0))
        tl.store(row + 3, tl.sum(sx, 0))
    if KIND == 2:
        top = tl.max(best, 0)
        tl.store(tops + 2 * c, top.to(tl.int64))
        tl.store(tops + 2 * c + 1, tl.min(tl.where(best == top, best_at, 1 << 62), 0))
    if KIND >= 3:
        bins = tl.arange(0, _BINS)
        tl.atomic_add(histogram + j * _ROW + bins, found, mask=found > 0, sem="relaxed")


@triton.jit
@no_type_check
def refine(
    where, chunks, sizes, counts, histogram, found, n, LEVEL: tl.constexpr, WIDE: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the next digit of the entries that share the digits of the threshold found so far."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _refine(
            where, chunks, sizes, counts, histogram, found, n, LEVEL, CHUNK, BLOCK, True,
        )  # fmt: skip
    else:
        _refine(
            where, chunks, sizes, counts, histogram, found, n, LEVEL, CHUNK, BLOCK, False,
        )  # fmt: skip


@triton.jit
@no_type_check
def _refine(
    where, chunks, sizes, counts, histogram, found, n, LEVEL: tl.constexpr, CHUNK: tl.constexpr,
    BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    m_at = _floats(where, 2, n, j)
    row = histogram + j * _ROW
    found_at = found + j * _FOUND + 2 * (LEVEL - 1)
    if LEVEL == 1:
        prefix, want, _ = _digit(row, tl.load(counts + j))
    else:  # what the pass before has found
        digit, want, _ = _digit(row + (LEVEL - 1) * _BINS, tl.load(found_at - 1))
        prefix = (tl.load(found_at - 2) << 8) | digit
    if begin == 0:
        tl.store(found_at, prefix)
        tl.store(found_at + 1, want)
    high: tl.constexpr = 23 if LEVEL == 1 else 15 if LEVEL == 2 else 7
    low: tl.constexpr = 15 if LEVEL == 1 else 7 if LEVEL == 2 else 0
    row += LEVEL * _BINS
    counted = tl.zeros([_BINS], tl.int32)
    for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
        at, inside = _places(begin, start, size, FULL, BLOCK)
        key = _key(tl.load(_at(m_at, at, FULL), mask=inside, other=0.0))
        alike = inside & ((key >> high) == prefix)
        bits = (key >> low) & ((1 << (high - low)) - 1)
        if tl.sum(alike.to(tl.int32), 0) <= _FEW:
            tl.atomic_add(row + bits, 1, mask=alike, sem="relaxed")
        else:
            counted += tl.histogram(bits, _BINS, mask=alike)
    bins = tl.arange(0, _BINS)
    tl.atomic_add(row + bins, counted, mask=counted > 0, sem="relaxed")


@triton.jit
@no_type_check
def tally(
    where, chunks, sizes, histogram, found, sums, ties, n, KIND: tl.constexpr,
    NEEDS_X: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Sum over the k largest, and count the entries equal to the threshold."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _tally(
            where, chunks, sizes, histogram, found, sums, ties, n, KIND, NEEDS_X, CHUNK, BLOCK,
            True,
        )  # fmt: skip
    else:
        _tally(
            where, chunks, sizes, histogram, found, sums, ties, n, KIND, NEEDS_X, CHUNK, BLOCK,
            False,
        )  # fmt: skip


@triton.jit
@no_type_check
def _tally(
    where, chunks, sizes, histogram, found, sums, ties, n, KIND: tl.constexpr,
    NEEDS_X: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    begin = tl.load(chunks + 2 * c + 1)
    size = tl.load(sizes + j)
    x_at = _floats(where, 0, n, j)
    m_at = _floats(where, 2, n, j)
    level, take, equal = _threshold(histogram + j * _ROW, found + j * _FOUND)
    if NEEDS_X or KIND == 4 or take < equal:
        mm = tl.zeros([BLOCK], tl.float32)
        mx = tl.zeros([BLOCK], tl.float32)
        sx = tl.zeros([BLOCK], tl.float32)
        tx = tl.zeros([BLOCK], tl.float32)
        xx = tl.zeros([BLOCK], tl.float32)
        tied = tl.zeros([BLOCK], tl.int32)
        for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
            at, inside = _places(begin, start, size, FULL, BLOCK)
            m = tl.load(_at(m_at, at, FULL), mask=inside, other=0.0)
            above = inside & (_key(m) > level)
            same = inside & (_key(m) == level)
            tied += same.to(tl.int32)
            if KIND == 4:
                mm += tl.where(above, m * m, 0.0)
            if NEEDS_X:
                x = tl.load(_at(x_at, at, FULL), mask=inside, other=0.0)
                xx += x * x
                if KIND == 4:
                    mx += tl.where(above, m * x, 0.0)
                else:
                    sx += tl.where(above, _sign(m) * x, 0.0)
                tx += tl.where(same, _sign(m) * x, 0.0)
        row = sums + c * _SUMS
        tl.store(row + 1, tl.sum(xx, 0))
        tl.store(row + 4, tl.sum(mm, 0))
        tl.store(row + 5, tl.sum(mx, 0))
        tl.store(row + 6, tl.sum(sx, 0))
        tl.store(row + 7, tl.sum(tx, 0))
        tl.store(ties + c, tl.sum(tied, 0))


@triton.jit
@no_type_check
def lengths(
    where, chunks, sizes, ranges, histogram, found, sums, tops, ties, about, moves, quotas, bad,
    n, lr,
    KIND: tl.constexpr, RESCALE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    MANY: tl.constexpr,
):  # fmt: skip
    """Choose the step length of each tensor: one program a tensor.

    `about` holds for each tensor the size of the region, its diameter, and |v| for size 1.
    `moves` gets the factor of x, that of v, the threshold, and the corner of the L1 ball.
    """
    j = tl.program_id(0)
    low, high = tl.load(ranges + j), tl.load(ranges + j + 1)
    size = tl.load(sizes + j)
    x_at = _floats(where, 0, n, j)
    m_at = _floats(where, 2, n, j)
    radius, diameter = tl.load(about + 3 * j), tl.load(about + 3 * j + 1)
    long = tl.load(about + 3 * j + 2)
    mm = tl.zeros([MANY], tl.float64)
    xx = tl.zeros([MANY], tl.float64)
    inner = tl.zeros([MANY], tl.float64)
    square = tl.zeros([MANY], tl.float64)
    best = tl.full([MANY], -1, tl.int64)
    best_at = tl.zeros([MANY], tl.int64)
    for start in range(low, high, MANY):
        c = start + tl.arange(0, MANY)
        inside = c < high
        mm += tl.load(sums + c * _SUMS, mask=inside, other=0.0).to(tl.float64)
        if RESCALE == 2:
            xx += tl.load(sums + c * _SUMS + 1, mask=inside, other=0.0).to(tl.float64)
            which: tl.constexpr = 2 if KIND == 0 else 3 if KIND == 1 else 6 if KIND == 3 else 5
            if KIND != 2:
                inner += tl.load(sums + c * _SUMS + which, mask=inside, other=0.0).to(tl.float64)
        if KIND == 4:
            square += tl.load(sums + c * _SUMS + 4, mask=inside, other=0.0).to(tl.float64)
        if KIND == 2:
            key = tl.load(tops + 2 * c, mask=inside, other=-1)
            place = tl.load(tops + 2 * c + 1, mask=inside, other=0)
            better = key > best
            best = tl.where(better, key, best)
            best_at = tl.where(better, place, best_at)
    norm = tl.sqrt(tl.sum(mm, 0))
    vx = -tl.sum(inner, 0)
    factor = norm * 0.0 + 1.0
    level = 0
    corner = size * 0
    if KIND == 0:
        factor = -1.0 / tl.where(norm > 0, norm, 1.0)
        vx = -vx * factor
    if KIND == 2:
        top = tl.max(best, 0)
        corner = tl.min(tl.where(best == top, best_at, 1 << 62), 0)
        factor = tl.where(tl.load(m_at + corner) < 0, 1.0, -1.0).to(tl.float64)
        vx = factor * tl.load(x_at + corner).to(tl.float64)
    if KIND >= 3:
        level, take, equal = _threshold(histogram + j * _ROW, found + j * _FOUND)
        value = level.to(tl.float32, bitcast=True).to(tl.float64)
        some = take < equal
        tied_x = tl.zeros([MANY], tl.float64)
        seen = 0
        edge, rest = low, 0  # the chunk of which not all equal entries are taken
        for start in range(low, high, MANY):
            c = start + tl.arange(0, MANY)
            inside = c < high
            tie = tl.load(ties + c, mask=inside & some, other=0)
            before = seen + tl.cumsum(tie, 0) - tie
            quota = tl.minimum(tl.maximum(take - before, 0), tie)
            whole = (quota == tie) | (take >= equal)
            tl.store(quotas + c, tl.where(whole, -1, quota), mask=inside)  # -1 takes all
            if RESCALE == 2:
                part = tl.load(sums + c * _SUMS + 7, mask=inside, other=0.0).to(tl.float64)
                tied_x += tl.where(whole, part, 0.0)
            cut = (quota > 0) & (quota < tie)
            edge = tl.maximum(edge, tl.max(tl.where(cut, c, 0), 0))
            rest = tl.maximum(rest, tl.max(tl.where(cut, quota, 0), 0))
            seen += tl.sum(tie, 0)
        extra = tl.sum(tied_x, 0)
        if RESCALE == 2 and rest > 0:
            begin = tl.load(chunks + 2 * edge + 1)
            part = tl.zeros([BLOCK], tl.float32)
            passed = 0
            for offset in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
                at, inside = _places(begin, offset, size, False, BLOCK)
                m = tl.load(m_at + at, mask=inside, other=0.0)
                x = tl.load(x_at + at, mask=inside, other=0.0)
                same = (inside & (_key(m) == level)).to(tl.int32)
                rank = passed + tl.cumsum(same, 0)
                part += tl.where((same > 0) & (rank <= rest), _sign(m) * x, 0.0)
                passed += tl.sum(same, 0)
            extra += tl.sum(part, 0).to(tl.float64)
        if KIND == 3:
            vx -= extra
        else:
            root = tl.sqrt(tl.sum(square, 0) + take.to(tl.float64) * value * value)
            factor = -1.0 / tl.where(root > 0, root, 1.0)
            vx = (-vx + value * extra) * factor
    alive = norm > 0
    if RESCALE == 0:
        raw = tl.where(alive, lr, 0.0).to(tl.float64)
    elif RESCALE == 1:
        raw = tl.where(alive & (diameter > 0), lr / tl.where(diameter > 0, diameter, 1.0), 0.0)
    elif RESCALE == 3:
        raw = tl.where(diameter > 0, 2.0 * lr * norm / tl.where(diameter > 0, diameter, 1.0), 0.0)
    else:
        away = long * long * radius * radius - 2.0 * radius * vx + tl.sum(xx, 0)
        away = tl.sqrt(tl.maximum(away, 0.0))
        raw = tl.where(away > 0, lr * norm / tl.where(away > 0, away, 1.0), 0.0)
    if RESCALE >= 2:
        clipped = _floats(where, 3, n, j)
        tl.store(clipped, tl.load(clipped) + tl.where(raw > 1.0, 1.0, 0.0))
    step = tl.minimum(raw, 1.0)
    # NaN and infinity: norm - norm is 0 for nothing else.
    tl.store(bad + j, (norm - norm != 0.0).to(tl.int8))
    tl.store(moves + 4 * j, (1.0 - step).to(tl.float32))
    tl.store(moves + 4 * j + 1, (step * radius * factor).to(tl.float32))
    tl.store(moves + 4 * j + 2, (level + 0).to(tl.int32).to(tl.float32, bitcast=True))
    if KIND == 2:
        tl.store(tops + 2 * low + 1, corner)


@triton.jit
@no_type_check
def second(
    where, chunks, sizes, ranges, moves, tops, quotas, bad, n, KIND: tl.constexpr,
    WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr, TENSORS: tl.constexpr,
):  # fmt: skip
    """Move x; nothing moves where any average of the list is not finite."""
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
        _second(
            where, chunks, sizes, ranges, moves, tops, quotas, bad, n, KIND, CHUNK, BLOCK,
            TENSORS, True,
        )  # fmt: skip
    else:
        _second(
            where, chunks, sizes, ranges, moves, tops, quotas, bad, n, KIND, CHUNK, BLOCK,
            TENSORS, False,
        )  # fmt: skip


@triton.jit
@no_type_check
def _second(
    where, chunks, sizes, ranges, moves, tops, quotas, bad, n, KIND: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, TENSORS: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    all_ = tl.arange(0, TENSORS)
    if tl.max(tl.load(bad + all_, mask=all_ < n, other=0).to(tl.int32), 0) == 0:
        c = tl.program_id(0)
        j = tl.load(chunks + 2 * c)
        begin = tl.load(chunks + 2 * c + 1)
        size = tl.load(sizes + j)
        x_at = _floats(where, 0, n, j)
        m_at = _floats(where, 2, n, j)
        keep, move = tl.load(moves + 4 * j), tl.load(moves + 4 * j + 1)
        level = tl.load(moves + 4 * j + 2).to(tl.int32, bitcast=True)
        if KIND == 2:
            corner = tl.load(tops + 2 * tl.load(ranges + j) + 1)
        if KIND >= 3:
            quota = tl.load(quotas + c)
            passed = 0
        for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
            at, inside = _places(begin, start, size, FULL, BLOCK)
            x = keep * tl.load(_at(x_at, at, FULL), mask=inside, other=0.0)
            if KIND == 2:
                x += tl.where(at == corner, move, 0.0)
            else:
                m = tl.load(_at(m_at, at, FULL), mask=inside, other=0.0)
                if KIND == 0:
                    x += move * m
                if KIND == 1:
                    x -= move * _sign(m)
                if KIND >= 3:
                    key = _key(m)
                    if quota < 0:
                        taken = key >= level
                    else:
                        same = (inside & (key == level)).to(tl.int32)
                        rank = passed + tl.cumsum(same, 0)
                        taken = (key > level) | ((same > 0) & (rank <= quota))
                        passed += tl.sum(same, 0)
                    if KIND == 3:
                        x -= tl.where(taken, move * _sign(m), 0.0)
                    else:
                        x += tl.where(taken, move * m, 0.0)
            tl.store(_at(x_at, at, FULL), x, mask=inside)


@triton.jit
@no_type_check
def blend(
    where, chunks, sizes, steps, factors, bad, n, X: tl.constexpr, V: tl.constexpr,
    ADD: tl.constexpr, WIDE: tl.constexpr, CHUNK: tl.constexpr, BLOCK: tl.constexpr,
    TENSORS: tl.constexpr,
):  # fmt: skip
    """Move x towards factor v by its step, or with ADD by step factor v; step 0 reads nothing."""
    every = tl.arange(0, TENSORS)
    if tl.max(tl.load(bad + every, mask=every < n, other=0).to(tl.int32), 0) == 0:
        c = tl.program_id(0)
        j = tl.load(chunks + 2 * c)
        if WIDE and tl.load(sizes + j) - tl.load(chunks + 2 * c + 1) >= CHUNK:
            _blend(where, chunks, sizes, steps, factors, n, X, V, ADD, CHUNK, BLOCK, True)
        else:
            _blend(where, chunks, sizes, steps, factors, n, X, V, ADD, CHUNK, BLOCK, False)


@triton.jit
@no_type_check
def _blend(
    where, chunks, sizes, steps, factors, n, X: tl.constexpr, V: tl.constexpr, ADD: tl.constexpr,
    CHUNK: tl.constexpr, BLOCK: tl.constexpr, FULL: tl.constexpr,
):  # fmt: skip
    c = tl.program_id(0)
    j = tl.load(chunks + 2 * c)
    step = tl.load(steps + j)
    if step != 0:
        begin = tl.load(chunks + 2 * c + 1)
        size = tl.load(sizes + j)
        move = step * tl.load(factors + j)
        keep = 1.0 if ADD else 1.0 - step
        x_at, v_at = tl.load(where + j), tl.load(where + n + j)
        x_at, v_at = x_at.to(tl.pointer_type(X)), v_at.to(tl.pointer_type(V))
        for start in range(0, tl.minimum(size - begin, CHUNK), BLOCK):
            at, inside = _places(begin, start, size, FULL, BLOCK)
            x = tl.load(_at(x_at, at, FULL), mask=inside, other=0.0).to(tl.float32)
            v = tl.load(_at(v_at, at, FULL), mask=inside, other=0.0).to(tl.float32)
            tl.store(_at(x_at, at, FULL), (keep * x + move * v).to(X), mask=inside)
