"""The numba loops behind `_kernels`; imported only where numba is installed.

Tensors come as addresses, so that one call serves a whole list. Sums run over blocks in float32
and are added in float64. `no_type_check` keeps the tests' runtime checks out of compiled code.
`kind` is 0 L2, 1 maximum norm, 2 L1, 3 k-sparse, 4 k-support.
"""
# pyright: basic, reportPrivateImportUsage=false

from typing import no_type_check

import numpy as np
from numba import carray, njit, types
from numba.extending import intrinsic

_BLOCK = 1024
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


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def first(low, high, tensor, begin, end, where, keeps, takes, guesses, kind, needs_x, sums, tops):
    """Update m on chunks low..high; store sums of m^2, x^2, m x, sgn(m) x, and what tops need."""
    for c in range(low, high):
        j = tensor[c]
        n = end[c] - begin[c]
        offset = 4 * begin[c]
        x = carray(_floats(where[0, j] + offset), (n,))
        g = carray(_floats(where[1, j] + offset), (n,))
        m = carray(_floats(where[2, j] + offset), (n,))
        bits = carray(_integers(where[2, j] + offset), (n,))
        keep, take = keeps[j], takes[j]
        guess, beyond = np.int32(guesses[j, 0]), np.int32(guesses[j, 1])
        mm = xx = mx = sx = 0.0
        count = over = 0
        most = np.int32(-1)
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
                    top = max(top, np.int32(bb[i] & 0x7FFFFFFF))
                if top > most:
                    most = top
                    count = start
            elif kind >= 3:
                many = np.int32(0)
                most_many = np.int32(0)
                for i in range(mb.size):
                    key = np.int32(bb[i] & 0x7FFFFFFF)
                    many += np.int32(key >= guess)
                    most_many += np.int32(key >= beyond)
                count += many
                over += most_many
        sums[c, 0], sums[c, 1], sums[c, 2], sums[c, 3] = mm, xx, mx, sx
        if kind == 2:
            for i in range(count, n):
                if np.int32(bits[i] & 0x7FFFFFFF) == most:
                    count = i
                    break
            tops[c, 0], tops[c, 1] = most, count
        else:
            tops[c, 0], tops[c, 1] = count, over


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
def gather(address, n, guess, beyond, keys):
    """Collect absolute values, as integers, from the guess up to below `beyond`."""
    bits = carray(_integers(address), (n,))
    room = keys.size
    found = 0
    for i in range(n):
        key = np.int32(bits[i] & 0x7FFFFFFF)
        if found < room:  # written always, kept by the count: no branch to mispredict
            keys[found] = key
        found += (key >= guess) & (key < beyond)
    return found


@njit(cache=True, nogil=True, fastmath=_FAST, error_model="numpy")
@no_type_check
def weigh(x_address, m_address, n, level):
    """Sum m^2, m x and sgn(m) x over the entries of m at or above a level."""
    x = carray(_floats(x_address), (n,))
    m = carray(_floats(m_address), (n,))
    bits = carray(_integers(m_address), (n,))
    threshold = np.int32(level)
    zero = np.float32(0)
    mm = mx = sx = 0.0
    for start in range(0, n, _BLOCK):
        stop = min(start + _BLOCK, n)
        a = np.float32(0)
        b = np.float32(0)
        c = np.float32(0)
        xb, mb, bb = x[start:stop], m[start:stop], bits[start:stop]
        for i in range(mb.size):
            inside = np.int32(bb[i] & 0x7FFFFFFF) >= threshold
            value = mb[i] if inside else zero
            a += value * value
            b += value * xb[i]
            c += (-xb[i] if mb[i] < 0 else xb[i]) if inside else zero
        mm += a
        mx += b
        sx += c
    return mm, mx, sx
