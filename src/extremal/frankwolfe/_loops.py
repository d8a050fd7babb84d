"""The numba loops behind `_kernels`; imported only where numba is installed.

Tensors come as addresses, so that one call serves a whole list. Sums run over blocks in float32
and are added in float64. `no_type_check` keeps the tests' runtime checks out of compiled code.
`kind` is 0 L2, 1 maximum norm, 2 L1, 3 k-sparse, 4 k-support.
"""
# pyright: basic, reportPrivateImportUsage=false

import math
from typing import no_type_check

import numpy as np
from llvmlite import ir
from numba import carray, njit, types
from numba.extending import intrinsic

_BLOCK = 1024
SMALL = 4096  # tensors of at most so many entries are searched whole
_ABS = 0x7FFFFFFF
_BINS = 8192  # of a sample's histogram: 32 octaves,
_SHIFT = 15  # 256 bins each
_NEVER = 0x7FFFFFFF  # above every finite float's bits
_FAST = {"reassoc", "contract", "nsz", "arcp"}  # not "nnan": a NaN must survive to be named


@intrinsic
@no_type_check
def _floats(context, address):
    def build(ctx, builder, signature, values):
        return builder.inttoptr(values[0], ctx.get_value_type(signature.return_type))

    return types.CPointer(types.float32)(types.int64), build


@intrinsic
@no_type_check
def _integers(context, address):
    def build(ctx, builder, signature, values):
        return builder.inttoptr(values[0], ctx.get_value_type(signature.return_type))

    return types.CPointer(types.int32)(types.int64), build


@intrinsic
@no_type_check
def _trailing_zeros(context, word):
    def build(ctx, builder, signature, values):
        return builder.cttz(values[0], ir.Constant(ir.IntType(1), 0))

    return types.int64(types.uint64), build


@njit(cache=True, nogil=True)
@no_type_check
def _ranked(bits, want):
    """The `want`-th largest absolute value's bits; 1024 bins at a time, until one bin is left."""
    least, most = np.int32(_ABS), np.int32(0)
    for i in range(bits.size):
        key = np.int32(bits[i] & _ABS)
        least, most = min(least, key), max(most, key)
    low, high = np.int64(least), np.int64(most)
    bins = np.zeros(1024, dtype=np.int64)
    while low < high:
        shift = 0
        while (high - low) >> shift >= 1024:
            shift += 1
        bins[:] = 0
        for i in range(bits.size):
            key = np.int64(bits[i] & _ABS)
            if (key >= low) & (key <= high):
                bins[(key - low) >> shift] += 1
        i = ((high - low) >> shift) + 1
        while want > 0:
            i -= 1
            want -= bins[i]
        want += bins[i]
        low, high = low + (i << shift), min(high, low + ((i + 1) << shift) - 1)
    return low


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def guess(low, high, where, sizes, counts, keeps, takes, brackets):
    """Bracket the k-th largest |m| of tensors low..high, after the update to come, by a sample.

    The sample is of runs of 16 entries, one in each of equal parts at a hashed place, because
    regular places could fall on the same column of every row. Runs may be alike inside, so the
    width of the bracket follows from how much runs differ: four standard deviations of the rank.
    """
    for j in range(low, high):
        n, k = sizes[j], counts[j]
        brackets[j, 0], brackets[j, 1] = 0, _NEVER
        if n <= SMALL:
            continue
        g = carray(_floats(where[1, j]), (n,))
        m = carray(_floats(where[2, j]), (n,))
        runs = min(max(64, n // 1024), 1024)
        stride = n // runs
        size = 16 * runs
        sample = np.empty(size, dtype=np.float32)
        keys = sample.view(np.int32)
        hashed = np.uint64(j + 1)
        for r in range(runs):
            hashed = hashed * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
            at = r * stride + np.int64(hashed >> np.uint64(33)) % (stride - 15)
            for i in range(16):
                sample[16 * r + i] = abs(keeps[j] * m[at + i] + takes[j] * g[at + i])
        top = np.int32(0)
        for i in range(size):
            top = max(top, keys[i])
        base = (top >> _SHIFT) - (_BINS - 1)
        bins = np.zeros(_BINS, dtype=np.int64)
        for i in range(size):
            bins[max(0, (keys[i] >> _SHIFT) - base)] += 1
        share = k / n
        middle = _edge(bins, base, share * size)
        total = square = 0.0
        for r in range(runs):
            inside = 0
            for i in range(16):
                inside += keys[16 * r + i] >= middle
            total += inside
            square += inside * inside
        spread = max(square / runs - (total / runs) ** 2, 16 * share * (1 - share)) * runs
        reach = 4.0 * math.sqrt(spread) + 2.0
        brackets[j, 0] = _edge(bins, base, share * size + reach)
        brackets[j, 1] = _edge(bins, base, share * size - reach) + (1 << _SHIFT)


@njit(cache=True, nogil=True)
@no_type_check
def _edge(bins, base, rank):
    """The least key of the bin that holds the sample's entry of a rank, counted from above."""
    if rank <= 0:
        return _NEVER - (1 << _SHIFT)
    seen = 0
    for i in range(bins.size - 1, 0, -1):
        seen += bins[i]
        if seen >= rank:
            return max(0, (base + i) << _SHIFT)
    return 0


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def first(
    low, high, tensor, begin, end, where, keeps, takes, brackets, kind, needs_x, sums, tops,
    rooms, keys, xs,
):  # fmt: skip
    """Update m on chunks low..high; store sums of m^2, x^2, m x, sgn(m) x, and what tops need.

    For the k largest entries those above the bracket are summed, and those inside it are listed
    from rooms[c] on: the bits of m in `keys`, x in `xs`.
    """
    flags = np.zeros(_BLOCK, dtype=np.uint8)
    eights = flags.view(np.uint64)
    busy = np.zeros(_BLOCK // 8 + 1, dtype=np.int64)
    for c in range(low, high):
        j = tensor[c]
        n = end[c] - begin[c]
        offset = 4 * begin[c]
        x = carray(_floats(where[0, j] + offset), (n,))
        g = carray(_floats(where[1, j] + offset), (n,))
        m = carray(_floats(where[2, j] + offset), (n,))
        bits = carray(_integers(where[2, j] + offset), (n,))
        keep, take = keeps[j], takes[j]
        below, beyond = np.int32(brackets[j, 0]), np.int32(brackets[j, 1])
        span = np.uint32(beyond - below)
        room = rooms[c]
        stop_room = rooms[c + 1] - _BLOCK
        mm = xx = mx = sx = ss = 0.0
        over = 0
        most = np.int32(-1)
        where_most = 0
        for start in range(0, n, _BLOCK):
            stop = min(start + _BLOCK, n)
            # Slices, so that the loops run from 0: the compiler then vectorises them.
            xb, gb = x[start:stop], g[start:stop]
            mb, bb = m[start:stop], bits[start:stop]
            part = np.float32(0)
            for i in range(mb.size):
                value = keep * mb[i] + take * gb[i]
                mb[i] = value
                part += value * value
            mm += part
            if needs_x:
                a = np.float32(0)
                for i in range(mb.size):
                    a += xb[i] * xb[i]
                xx += a
                if kind == 0:
                    a = np.float32(0)
                    for i in range(mb.size):
                        a += mb[i] * xb[i]
                    mx += a
                elif kind == 1:
                    a = np.float32(0)
                    for i in range(mb.size):
                        a += -xb[i] if mb[i] < 0 else xb[i]
                    sx += a
            if kind == 2:
                top = np.int32(-1)
                for i in range(mb.size):
                    top = max(top, np.int32(bb[i] & _ABS))
                if top > most:
                    most = top
                    where_most = start
            elif kind >= 3:
                zero, one = np.float32(0), np.float32(1)
                many = zero  # whole numbers add up in 64 bits, half as many at once
                for i in range(mb.size):
                    many += one if np.int32(bb[i] & _ABS) > beyond else zero
                over += np.int64(many)
                if kind == 3 and needs_x:
                    a = np.float32(0)
                    for i in range(mb.size):
                        s = -xb[i] if mb[i] < 0 else xb[i]
                        a += s if np.int32(bb[i] & _ABS) > beyond else zero
                    sx += a
                elif kind == 4:
                    a = np.float32(0)
                    for i in range(mb.size):
                        value = mb[i] if np.int32(bb[i] & _ABS) > beyond else zero
                        a += value * value
                    ss += a
                    if needs_x:
                        a = np.float32(0)
                        for i in range(mb.size):
                            value = mb[i] if np.int32(bb[i] & _ABS) > beyond else zero
                            a += value * xb[i]
                        mx += a
                if room <= stop_room:
                    for i in range(mb.size):
                        key = np.int32(bb[i] & _ABS)
                        flags[i] = np.uint32(key - below) <= span
                    for i in range(mb.size, _BLOCK):
                        flags[i] = 0
                    used = 0
                    for w in range(_BLOCK // 8):  # eight flags at once; most are 0
                        busy[used] = w
                        used += eights[w] != 0
                    for u in range(used):
                        w = busy[u]
                        word = eights[w]
                        while word != 0:
                            i = 8 * w + (_trailing_zeros(word) >> 3)
                            keys[room] = bb[i]
                            xs[room] = xb[i] if needs_x else np.float32(0)
                            room += 1
                            word &= word - np.uint64(1)
                else:
                    over = -(1 << 40)  # too many to list; the tensor is searched whole
        sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3], sums[c, 4] = mm, xx, mx, sx, ss
        if kind == 2:
            for i in range(where_most, n):
                if np.int32(bits[i] & _ABS) == most:
                    where_most = i
                    break
            tops[c, 0], tops[c, 1] = most, where_most
        else:
            tops[c, 0], tops[c, 1] = room - rooms[c], over


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def select(
    low, high, ranges, begin, where, sizes, counts, tops, rooms, keys, xs, total, levels, ties,
):  # fmt: skip
    """Find the k largest |m| of tensors low..high among the listed entries.

    Completes `total`; stores in `levels` the least key of which all are taken, in `ties` how many
    of the next lower key are taken besides, and from which entry on they are to be looked for. A
    tensor whose list does not reach is searched whole.
    """
    for j in range(low, high):
        n, k = sizes[j], counts[j]
        listed = over = 0
        for c in range(ranges[j], ranges[j + 1]):
            listed += tops[c, 0]
            over += tops[c, 1]
        want = k - over
        if over >= 0 and 0 < want <= listed:
            at = rooms[ranges[j]]  # the lists of a tensor close up, in place: no fresh memory
            size = tops[ranges[j], 0]
            for c in range(ranges[j] + 1, ranges[j + 1]):
                shift = rooms[c] - at - size
                for i in range(at + size, at + size + tops[c, 0]):
                    keys[i], xs[i] = keys[i + shift], xs[i + shift]
                size += tops[c, 0]
            bits, x = keys[at : at + listed], xs[at : at + listed]
        else:
            want, listed = k, n
            total[j, 2], total[j, 3], total[j, 4] = 0.0, 0.0, 0.0
            bits, x = carray(_integers(where[2, j]), (n,)), carray(_floats(where[0, j]), (n,))
        m = bits.view(np.float32)
        level = _ranked(bits, want)
        above = equal = 0
        product = signed = square = 0.0
        for i in range(listed):
            key = np.int32(bits[i] & _ABS)
            inside = key > level
            above += inside
            equal += key == level
            value = np.float64(m[i]) if inside else 0.0
            weight = np.float64(x[i]) if inside else 0.0
            square += value * value
            product += value * weight
            signed += -weight if value < 0 else weight
        rest = want - above
        levels[j] = level if rest == equal else level + 1
        ties[j, 0] = 0 if rest == equal else rest
        i = 0
        while bits[i] & _ABS != level:
            i += 1
        if listed == n:
            ties[j, 1] = i
        else:
            c, behind = ranges[j], i
            while behind >= tops[c, 0]:
                behind -= tops[c, 0]
                c += 1
            ties[j, 1] = begin[c]
        while rest > 0:
            if bits[i] & _ABS == level:
                rest -= 1
                value, weight = np.float64(m[i]), np.float64(x[i])
                square += value * value
                product += value * weight
                signed += -weight if value < 0 else weight
            i += 1
        total[j, 2] += product
        total[j, 3] += signed
        total[j, 4] += square


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def second(low, high, tensor, begin, end, where, keeps, moves, threshold, kind):
    """Move x on chunks low..high towards the vertex."""
    for c in range(low, high):
        j = tensor[c]
        n = end[c] - begin[c]
        offset = 4 * begin[c]
        x = carray(_floats(where[0, j] + offset), (n,))
        m = carray(_floats(where[2, j] + offset), (n,))
        bits = carray(_integers(where[2, j] + offset), (n,))
        keep, move = keeps[j], moves[j]
        level = np.int32(threshold[j])
        if keep == 1.0 and move == 0.0:
            continue
        if kind == 0:
            for i in range(n):
                x[i] = keep * x[i] + move * m[i]
        elif kind == 1:
            for i in range(n):
                x[i] = keep * x[i] + (move if m[i] < 0 else -move)
        elif kind == 2:
            for i in range(n):
                x[i] = keep * x[i]
        elif kind == 3:
            zero = np.float32(0)
            for i in range(n):
                v = move if m[i] < 0 else -move
                x[i] = keep * x[i] + (v if np.int32(bits[i] & 0x7FFFFFFF) >= level else zero)
        else:
            zero = np.float32(0)
            for i in range(n):
                v = move * m[i]
                x[i] = keep * x[i] + (v if np.int32(bits[i] & 0x7FFFFFFF) >= level else zero)


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def tied(where, start, n, key, many, move, kind):
    """Move the first `many` entries from `start` on whose |m| is exactly a key.

    `second` left them out.
    """
    x = carray(_floats(where[0]), (n,))
    m = carray(_floats(where[2]), (n,))
    bits = carray(_integers(where[2]), (n,))
    for i in range(start, n):
        if many == 0:
            return
        if np.int32(bits[i] & _ABS) == key:
            if kind == 4:
                x[i] += move * m[i]
            else:
                x[i] += move if m[i] < 0 else -move
            many -= 1


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def squares(low, high, where, sizes, totals):
    """Store the sum of g^2 of tensors low..high."""
    for j in range(low, high):
        g = carray(_floats(where[1, j]), (sizes[j],))
        total = 0.0
        for start in range(0, g.size, _BLOCK):
            gb = g[start : min(start + _BLOCK, g.size)]
            part = np.float32(0)
            for i in range(gb.size):
                part += gb[i] * gb[i]
            total += part
        totals[j] = total


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def adaptive(
    low, high, where, sizes, radii, kind, inner_steps, eta, delta, clip, cap, betas
):  # fmt: skip
    """Make the whole AdaSFW (betas[0] < 0) or AdamSFW step of tensors low..high, one at a time.

    `where` holds the addresses of x, g, a buffer, the sum of squares and its largest value so far.
    The buffer is the direction d of AdamSFW; AdaSFW's is g, and the metric over eta, h, lies in
    the buffer.
    A pass reads x, d and h, makes y from x anew, a block at a time, by the inner steps taken so
    far, and sums what the next one needs: K + 1 passes, of which only the last writes, since most
    tensors do not fit in the cache and fresh memory costs more than arithmetic.
    """
    adam = betas[0] >= 0
    most = 0
    if adam:
        for j in range(low, high):
            most = max(most, sizes[j])
    metric = np.empty(most, dtype=np.float32)
    row, point = np.empty(_BLOCK, dtype=np.float32), np.empty(_BLOCK, dtype=np.float32)
    row_bits = row.view(np.int32)
    backs, moves = np.empty(inner_steps + 4, np.float32), np.empty(inner_steps + 4, np.float32)
    corners, pushes = np.empty(inner_steps, np.int64), np.empty(inner_steps, np.float32)
    one, two = np.float32(betas[0]), np.float32(betas[1])
    small, least, largest = np.float32(delta), np.float32(clip[0]), np.float32(clip[1])
    inverse = np.float32(1.0 / eta)
    unit = np.float32(1.0)
    for j in range(low, high):
        n = sizes[j]
        x = carray(_floats(where[0, j]), (n,))
        g = carray(_floats(where[1, j]), (n,))
        buffer = carray(_floats(where[2, j]), (n,))
        s = carray(_floats(where[3, j]), (n,))
        peak = carray(_floats(where[4, j]), (n,))
        d = buffer if adam else g
        h = metric if adam else buffer
        r = np.float32(radii[j])
        whole = unit  # of L1: y is so much of x, but at the corners
        backs[:], moves[:] = unit, 0  # steps not taken yet leave y where it is
        alive = False
        for round_ in range(inner_steps + 1):
            qq = qy = yy = yq = hq = dd = 0.0
            top, where_top = np.int32(-1), 0
            for start in range(0, n, _BLOCK):
                stop = min(start + _BLOCK, n)
                xb, db, hb = x[start:stop], d[start:stop], h[start:stop]
                yb = point[: stop - start]
                if round_ == 0:
                    gb, sb, pb = g[start:stop], s[start:stop], peak[start:stop]
                    part = np.float32(0)
                    if adam:
                        for i in range(xb.size):
                            db[i] += (unit - one) * (gb[i] - db[i])
                            sb[i] = two * sb[i] + (unit - two) * gb[i] * gb[i]
                            pb[i] = max(pb[i], sb[i])
                            hb[i] = min(max(math.sqrt(pb[i]) + small, least), largest) * inverse
                            part += db[i] * db[i]
                    else:
                        for i in range(xb.size):
                            sb[i] += gb[i] * gb[i]
                            hb[i] = min(max(math.sqrt(sb[i]) + small, least), largest) * inverse
                            part += gb[i] * gb[i]
                    dd += part
                t = 1
                if round_ == 0 or kind == 2:
                    for i in range(xb.size):
                        yb[i] = whole * xb[i]
                elif kind == 0:
                    back, move = backs[0], moves[0]
                    for i in range(xb.size):
                        yb[i] = back * xb[i] + move * db[i]
                    while t < round_:  # two inner steps a loop, y between them in registers
                        back, move = backs[t], moves[t]
                        again, more = backs[t + 1], moves[t + 1]
                        for i in range(xb.size):
                            q = db[i] + hb[i] * (yb[i] - xb[i])
                            y = back * yb[i] + move * q
                            q = db[i] + hb[i] * (y - xb[i])
                            yb[i] = again * y + more * q
                        t += 2
                elif round_ == 1:
                    back, move = backs[0], moves[0]
                    for i in range(xb.size):
                        yb[i] = back * xb[i] + (move if db[i] < 0 else -move)
                else:  # three or five inner steps with y in registers, then two a loop
                    b0, b1, b2 = backs[0], backs[1], backs[2]
                    m0, m1, m2 = moves[0], moves[1], moves[2]
                    if round_ <= 3:
                        for i in range(xb.size):
                            y = b0 * xb[i] + (m0 if db[i] < 0 else -m0)
                            y = b1 * y + (m1 if db[i] + hb[i] * (y - xb[i]) < 0 else -m1)
                            yb[i] = b2 * y + (m2 if db[i] + hb[i] * (y - xb[i]) < 0 else -m2)
                        t = 3
                    else:
                        b3, b4, m3, m4 = backs[3], backs[4], moves[3], moves[4]
                        for i in range(xb.size):
                            y = b0 * xb[i] + (m0 if db[i] < 0 else -m0)
                            y = b1 * y + (m1 if db[i] + hb[i] * (y - xb[i]) < 0 else -m1)
                            y = b2 * y + (m2 if db[i] + hb[i] * (y - xb[i]) < 0 else -m2)
                            y = b3 * y + (m3 if db[i] + hb[i] * (y - xb[i]) < 0 else -m3)
                            yb[i] = b4 * y + (m4 if db[i] + hb[i] * (y - xb[i]) < 0 else -m4)
                        t = 5
                    while t < round_:
                        back, move = backs[t], moves[t]
                        again, more = backs[t + 1], moves[t + 1]
                        for i in range(xb.size):
                            q = db[i] + hb[i] * (yb[i] - xb[i])
                            y = back * yb[i] + (move if q < 0 else -move)
                            q = db[i] + hb[i] * (y - xb[i])
                            yb[i] = again * y + (more if q < 0 else -more)
                        t += 2
                if kind == 2:
                    for t in range(round_):
                        if start <= corners[t] < stop:
                            yb[corners[t] - start] += pushes[t]
                if round_ == inner_steps:
                    for i in range(xb.size):
                        xb[i] = yb[i]
                    continue
                a = b = c = e = f = np.float32(0)
                if kind == 0:
                    for i in range(xb.size):
                        q = db[i] + hb[i] * (yb[i] - xb[i])
                        hy = hb[i] * yb[i]
                        a += q * q
                        b += q * yb[i]
                        c += hy * yb[i]
                        e += hy * q
                        f += hb[i] * q * q
                elif kind == 1:
                    for i in range(xb.size):
                        q = db[i] + hb[i] * (yb[i] - xb[i])
                        away = yb[i] - (r if q < 0 else -r)
                        b += q * away
                        c += hb[i] * away * away
                else:
                    best = np.int32(-1)
                    for i in range(xb.size):
                        q = db[i] + hb[i] * (yb[i] - xb[i])
                        row[i] = q
                        b += q * yb[i]
                        c += hb[i] * yb[i] * yb[i]
                    for i in range(xb.size):
                        best = max(best, np.int32(row_bits[i] & _ABS))
                    if best > top:
                        top, where_top = best, start
                qq += a
                qy += b
                yy += c
                yq += e
                hq += f
            if round_ == inner_steps:
                break
            if round_ == 0:
                alive = dd > 0
            gain, below = qy, yy
            scale = np.float32(0)
            if kind == 0:
                ratio = r / math.sqrt(qq) if qq > 0 else 0.0
                scale = np.float32(-ratio)
                gain += ratio * qq
                below += 2 * ratio * yq + ratio * ratio * hq
            elif kind == 2:
                corner, value, there = where_top, np.float32(0), np.float32(0)
                for i in range(where_top, min(where_top + _BLOCK, n)):
                    y = whole * x[i]
                    for t in range(round_):
                        if corners[t] == i:
                            y += pushes[t]
                    q = d[i] + h[i] * (y - x[i])
                    if abs(q) > abs(value) or i == where_top:
                        corner, value, there = i, q, y
                v = r if value < 0 else -r
                gain -= value * v
                below += h[corner] * v * (v - 2 * there)
            step = np.float32(0)
            if alive and below > 0 and not (kind == 0 and qq == 0):
                step = np.float32(min(max(0.0, gain / below), cap))
            backs[round_] = unit - step
            if kind == 2:
                whole *= unit - step
                for t in range(round_):
                    pushes[t] *= unit - step
                corners[round_], pushes[round_] = corner, step * np.float32(v)
            else:
                moves[round_] = step * (scale if kind == 0 else r)
