"""Compiled inner loops of the census: one layer of states into the next.

A state is a row of 64-bit words:

    word 0      bits 0-31 signs of the frontier points | 32-39 number of regions r
                | 40-47 root region + 1, or 0 | 48-49 where the root is known | 50-63 closed regions
    labels      one byte a frontier copy: region << 1 | parity
    contents    32 bits a region: the number of the multiset of trees hanging in it
    neighbours  one mask a region, of 8, 16, 32 or 64 bits by r

Over 600 lines in one file, because these loops inline each other and numba caches them together.

Regions are numbered by first appearance among the frontier copies; closed regions that still have
two or more neighbours follow, sorted. A multiset of trees is a sorted array of 2 * number + flag of
its members' own multisets, flag marking the root; equal multisets have equal numbers, so that a row
identifies its state. Multisets are only made between parallel phases: an expansion that needs a new
one is put off and repeated alone.

Modes: 0 all of it; 1 numbers of ovals only (no contents, neighbours, roots or parities); 2 the most
even ovals for even d (no contents or neighbours; the value is a maximum for each sign of the root).
"""

from typing import no_type_check

import numpy as np
from numba import njit

MAX_REGIONS = 64
MAX_POINTS = 32  # on the frontier
_COPIES = 4 * (MAX_POINTS + 1)

_ONE = np.uint64(1)


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _mix(h, x):
    h = (h ^ x) * np.uint64(0x9E3779B97F4A7C15)
    return h ^ (h >> np.uint64(29))


@njit(cache=True, nogil=True)
@no_type_check
def _recall(memo_keys, memo_values, key):
    """The number remembered for a key, or -1."""
    mask = np.uint64(memo_keys.size - 1)
    at = _mix(np.uint64(0), key) & mask
    while memo_values[at] >= 0:
        if memo_keys[at] == key:
            return np.int64(memo_values[at])
        at = (at + _ONE) & mask
    return np.int64(-1)


@njit(cache=True, nogil=True)
@no_type_check
def _remember(memo_keys, memo_values, key, value):
    mask = np.uint64(memo_keys.size - 1)
    at = _mix(np.uint64(0), key) & mask
    while memo_values[at] >= 0:
        at = (at + _ONE) & mask
    memo_keys[at] = key
    memo_values[at] = value


@njit(cache=True, nogil=True)
@no_type_check
def _make(sets, members, memo_keys, memo_values, first, second, added):
    """Intern the union of multiset `first` with `second`, or with the one tree `added`.

    `sets` holds the start of each multiset in `members`; sets[0] is how many there are. Returns the
    number, or -1 where an array must grow first.
    """
    count = sets[0]
    a, a_end = sets[first + 1], sets[first + 2]
    if added >= 0:
        b, b_end = np.int64(0), np.int64(1)
    else:
        b, b_end = sets[second + 1], sets[second + 2]
    size = (a_end - a) + (b_end - b)
    top = sets[count + 1]
    if count + 4 > sets.size or top + size > members.size:
        return np.int64(-1)
    h = np.uint64(size)
    for k in range(size):
        left = np.int64(members[a]) if a < a_end else np.int64(1) << 40
        right = np.int64(1) << 40
        if b < b_end:
            right = added if added >= 0 else np.int64(members[b])
        if left <= right:
            members[top + k] = left
            a += 1
        else:
            members[top + k] = right
            b += 1
        h = _mix(h, np.uint64(members[top + k]))
    # An index of all multisets by their members: keys with the top bit set.
    key = h | (_ONE << np.uint64(63))
    while True:
        found = _recall(memo_keys, memo_values, key)
        if found < 0:
            break
        start = sets[found + 1]
        if sets[found + 2] - start == size:
            same = True
            for k in range(size):
                if members[start + k] != members[top + k]:
                    same = False
                    break
            if same:
                return found
        key = (key + _ONE) | (_ONE << np.uint64(63))
    sets[count + 2] = top + size
    sets[0] = count + 1
    _remember(memo_keys, memo_values, key, count)
    return count


@njit(cache=True, nogil=True)
@no_type_check
def _union(sets, members, memo_keys, memo_values, first, second, may_make):
    """The number of the union of two multisets; -1 where it is unknown, -2 to grow."""
    if first == 0:
        return second
    if second == 0:
        return first
    if first > second:
        first, second = second, first
    key = (np.uint64(first) << np.uint64(31)) | np.uint64(second)
    found = _recall(memo_keys, memo_values, key)
    if found >= 0 or not may_make:
        return found
    found = _make(sets, members, memo_keys, memo_values, first, second, np.int64(-1))
    if found < 0:
        return np.int64(-2)
    _remember(memo_keys, memo_values, key, found)
    return found


@njit(cache=True, nogil=True)
@no_type_check
def _hang(sets, members, memo_keys, memo_values, into, tree, may_make):
    """The number of a multiset with one more tree (2 * number + flag)."""
    key = (_ONE << np.uint64(62)) | (np.uint64(into) << np.uint64(31)) | np.uint64(tree)
    found = _recall(memo_keys, memo_values, key)
    if found >= 0 or not may_make:
        return found
    found = _make(sets, members, memo_keys, memo_values, into, np.int64(0), tree)
    if found < 0:
        return np.int64(-2)
    _remember(memo_keys, memo_values, key, found)
    return found


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _find(up, up_parity, x):
    """The leader of region x and the parity of x relative to it."""
    flips = np.int64(0)
    while up[x] != x:
        flips ^= up_parity[x]
        x = up[x]
    return x, flips


@njit(cache=True, nogil=True, inline="always")
@no_type_check
def _renamed(mask, names):
    """The mask of the regions' names."""
    found = np.uint64(0)
    y = 0
    while mask:
        if mask & np.uint64(0xFF) == 0:
            mask >>= np.uint64(8)
            y += 8
            continue
        if mask & np.uint64(1):
            found |= np.uint64(1) << np.uint64(names[y])
        mask >>= np.uint64(1)
        y += 1
    return found


@njit(cache=True, nogil=True)
@no_type_check
def expand(
    mode, odd, step, edges, offset, anchors, copies, flips, kept, turns,
    words, starts, order, low, high, base,
    sets, members, memo_keys, memo_values, may_make,
    out_words, out_start, out_hash, out_source, out_delta, put_off, counters,
):  # fmt: skip
    """Give the next point each allowed sign in each of the states low..high-1.

    Args:
        mode: 0, 1 or 2.
        odd: d mod 2.
        step: [copies before, copies of the point, points before, allowed signs as a mask].
        edges: Rows new copy, old copy, twist, old point's place, difference.
        offset: Of each copy, old and new: added to the point's sign.
        anchors, copies, flips, kept, turns: The change of signs after the step; see `_gauge.Gauge`.
        words, starts: The source layer's rows.
        order: Which (state << 1 | sign) to expand if `may_make`; else empty, meaning all.
        low, high: The range of states, or of `order`.
        base: Added to a state's place to get its number.
        sets, members, memo_keys, memo_values: The multisets.
        may_make: Whether new multisets may be made.
        out_words, out_start, out_hash, out_source, out_delta: The rows made.
        put_off: Gets (state << 1 | sign) that needs a new multiset.
        counters: [rows made, words used, put off, next entry of `order`, status]; status 1 asks for
            larger arrays, 2 says that there are too many regions.
    """
    c_prev, kq, points_prev, allowed = step[0], step[1], step[2], step[3]
    lab0 = np.empty(_COPIES, np.int64)
    par0 = np.empty(_COPIES, np.int64)
    lab = np.empty(_COPIES, np.int64)
    par = np.empty(_COPIES, np.int64)
    cont0 = np.empty(MAX_REGIONS + 4, np.int64)
    cont = np.empty(MAX_REGIONS + 4, np.int64)
    adj0 = np.empty(MAX_REGIONS + 4, np.uint64)
    adj = np.empty(MAX_REGIONS + 4, np.uint64)
    up = np.empty(MAX_REGIONS + 4, np.int64)
    up_parity = np.empty(MAX_REGIONS + 4, np.int64)
    leader = np.empty(MAX_REGIONS + 4, np.int64)
    number = np.empty(MAX_REGIONS + 4, np.int64)
    turn = np.empty(MAX_REGIONS + 4, np.int64)
    closed = np.empty(MAX_REGIONS + 4, np.int64)
    inverse = np.empty(MAX_REGIONS + 4, np.int64)
    rows, used, later = counters[0], counters[1], counters[2]
    n_keep = copies.shape[1]
    n_edges = edges.shape[0]
    label_words = (c_prev + 7) // 8
    listed = order.size > 0
    one = np.uint64(1)
    for at in range(low, high):
        if listed:
            state = order[at] >> 1
            first_sign = order[at] & 1
            last_sign = first_sign + 1
            counters[3] = at
        else:
            state = np.int64(at)
            first_sign, last_sign = 0, 2
        p = starts[state]
        head = words[p]
        bits = head & np.uint64(0xFFFFFFFF)
        r = np.int64((head >> np.uint64(32)) & np.uint64(0xFF))
        root0 = np.int64((head >> np.uint64(40)) & np.uint64(0xFF)) - 1
        known0 = np.int64((head >> np.uint64(48)) & np.uint64(3))
        ended0 = np.int64(head >> np.uint64(50))
        for k in range(c_prev):
            value = np.int64((words[p + 1 + (k >> 3)] >> np.uint64(8 * (k & 7))) & np.uint64(0xFF))
            lab0[k] = value >> 1
            par0[k] = value & 1
        if mode == 0:
            q = p + 1 + label_words
            for x in range(r):
                cont0[x] = np.int64(
                    (words[q + (x >> 1)] >> np.uint64(32 * (x & 1))) & np.uint64(0xFFFFFFFF)
                )
            q += (r + 1) >> 1
            wide = 8 if r <= 8 else (16 if r <= 16 else (32 if r <= 32 else 64))
            each = 64 // wide
            full = ~np.uint64(0) if wide == 64 else (one << np.uint64(wide)) - one
            for x in range(r):
                adj0[x] = (words[q + x // each] >> np.uint64(wide * (x % each))) & full
        for sign in range(first_sign, last_sign):
            if not (allowed >> sign) & 1:
                continue
            if later >= put_off.size:
                counters[4] = 1
                counters[0], counters[1], counters[2] = rows, used, later
                return
            total = r + kq
            if total > MAX_REGIONS:
                counters[4] = 2
                return
            for x in range(total):
                up[x] = x
                up_parity[x] = 0
            for x in range(r):
                cont[x] = cont0[x]
                adj[x] = adj0[x]
            for x in range(r, total):
                cont[x] = 0
                adj[x] = np.uint64(0)
            root = root0
            known = known0
            missing = False
            grow = False
            for e in range(n_edges):
                differ = sign ^ np.int64((bits >> np.uint64(edges[e, 3])) & one)
                if differ != edges[e, 4]:
                    continue
                b = edges[e, 1]
                x, fx = _find(up, up_parity, r + edges[e, 0])
                y, fy = _find(up, up_parity, lab0[b])
                turned = fx ^ fy ^ par0[b] ^ edges[e, 2]
                if x == y:
                    if turned and not odd and mode != 1 and known == 0:
                        root = x
                        known = 1
                else:
                    if y > x:
                        x, y = y, x
                    up[x] = y
                    up_parity[x] = turned
                    if mode == 0 and cont[x] != 0:
                        joined = _union(
                            sets, members, memo_keys, memo_values, cont[y], cont[x], may_make
                        )
                        if joined < 0:
                            missing = True
                            grow = joined == -2
                            break
                        cont[y] = joined
                    adj[y] |= adj[x]
            if missing:
                if grow:
                    counters[4] = 1
                    counters[0], counters[1], counters[2] = rows, used, later
                    return
                put_off[later] = (state << 1) | sign
                later += 1
                continue
            for x in range(total):
                leader[x], turn[x] = _find(up, up_parity, x)
            if root >= 0:
                root = leader[root]
            if mode == 0:
                for e in range(n_edges):
                    differ = sign ^ np.int64((bits >> np.uint64(edges[e, 3])) & one)
                    if differ == edges[e, 4]:
                        continue
                    x = leader[r + edges[e, 0]]
                    y = leader[lab0[edges[e, 1]]]
                    if x == y:
                        root = x
                        known = 1
                    else:
                        adj[x] |= one << np.uint64(y)
                        adj[y] |= one << np.uint64(x)
                for x in range(total):
                    if leader[x] == x:
                        res = _renamed(adj[x], leader)
                        if res & (one << np.uint64(x)):
                            root = x  # odd d: the region meets itself across the pseudo-line
                            known = 1
                            res ^= one << np.uint64(x)
                        adj[x] = res
            all_bits = bits | (np.uint64(sign) << np.uint64(points_prev))
            change = 0
            for k in range(anchors.size):
                if anchors[k] >= 0 and not (all_bits >> np.uint64(anchors[k])) & one:
                    change |= 1 << k
            # which regions stay on the frontier
            for x in range(total):
                number[x] = -1
            live = 0
            for k in range(n_keep):
                c = copies[change, k]
                f = turns[change, k]
                if c < c_prev:
                    x = leader[lab0[c]]
                    f ^= par0[c] ^ turn[lab0[c]]
                else:
                    x = leader[r + c - c_prev]
                    f ^= turn[r + c - c_prev]
                if number[x] < 0:
                    number[x] = live
                    inverse[live] = x
                    closed[live] = f
                    live += 1
                lab[k] = number[x]
                par[k] = f ^ closed[number[x]]
            regions = live
            ended = ended0
            delta = 0
            if mode == 0:
                # fold closed regions with one neighbour, until none is left
                count = 0
                for x in range(total):
                    if leader[x] == x and number[x] < 0:
                        closed[count] = x
                        count += 1
                again = count > 0
                left = live + count
                while again:
                    again = False
                    k = 0
                    while k < count:
                        x = closed[k]
                        m = adj[x]
                        if left > 1 and m != 0 and m & (m - one) == 0:
                            y = 0
                            while not (m >> np.uint64(y)) & one:
                                y += 1
                            tree = 2 * cont[x] + (1 if root == x else 0)
                            joined = _hang(
                                sets, members, memo_keys, memo_values, cont[y], tree, may_make
                            )
                            if joined < 0:
                                missing = True
                                grow = joined == -2
                                break
                            cont[y] = joined
                            if root == x:
                                root = -1
                            adj[y] &= ~(one << np.uint64(x))
                            count -= 1
                            closed[k] = closed[count]
                            left -= 1
                            again = True
                        else:
                            k += 1
                    if missing:
                        break
                if missing:
                    if grow:
                        counters[4] = 1
                        counters[0], counters[1], counters[2] = rows, used, later
                        return
                    put_off[later] = (state << 1) | sign
                    later += 1
                    continue
                # closed regions that stay: sorted by live neighbours, contents, root
                for k in range(count):
                    x = closed[k]
                    mask = np.uint64(0)
                    for j in range(live):
                        if (adj[x] >> np.uint64(inverse[j])) & one:
                            mask |= one << np.uint64(j)
                    j = k
                    while j > 0:
                        y = closed[j - 1]
                        other = np.uint64(turn[y])
                        if other < mask:
                            break
                        if other == mask and (
                            cont[y] < cont[x] or (cont[y] == cont[x] and x != root)
                        ):
                            break
                        closed[j] = y
                        j -= 1
                    closed[j] = x
                    turn[x] = np.int64(mask)
                for k in range(count):
                    number[closed[k]] = live + k
                    inverse[live + k] = closed[k]
                regions = live + count
            else:
                for x in range(total):
                    if leader[x] == x and number[x] < 0:
                        ended += 1
                        if mode == 2:
                            # the sign of a closing region: that of any copy in it
                            value = -1
                            for c in range(c_prev + kq):
                                y = lab0[c] if c < c_prev else r + c - c_prev
                                if leader[y] == x:
                                    if c < c_prev:
                                        value = np.int64((bits >> np.uint64(offset[c, 1])) & one)
                                    else:
                                        value = sign
                                    value ^= offset[c, 0]
                                    break
                            delta += 1 if value == 0 else 256
                            if root == x:
                                root = -1
                                known = 2 + value
                if mode == 2:
                    ended = 0
            for k in range(n_keep):
                if odd or mode == 1 or known != 0:
                    par[k] = 0  # no further region can become one-sided
            # write the row
            need = 1 + (n_keep + 7) // 8
            wide = 8 if regions <= 8 else (16 if regions <= 16 else (32 if regions <= 32 else 64))
            each = 64 // wide
            if mode == 0:
                need += ((regions + 1) >> 1) + (regions + each - 1) // each
            if rows + 1 >= out_start.size or used + need > out_words.size:
                counters[4] = 1
                counters[0], counters[1], counters[2] = rows, used, later
                return
            new_bits = flips[change]
            for k in range(kept.size):
                new_bits ^= ((all_bits >> np.uint64(kept[k])) & one) << np.uint64(k)
            head_out = new_bits | (np.uint64(regions) << np.uint64(32))
            if mode != 1:
                if root >= 0:
                    head_out |= np.uint64(number[root] + 1) << np.uint64(40)
                head_out |= np.uint64(known) << np.uint64(48)
            head_out |= np.uint64(ended) << np.uint64(50)
            w = used
            out_words[w] = head_out
            h = _mix(np.uint64(need), head_out)
            w += 1
            k = 0
            while k < n_keep:
                value_out = np.uint64(0)
                for j in range(min(8, n_keep - k)):
                    value_out |= np.uint64((lab[k + j] << 1) | par[k + j]) << np.uint64(8 * j)
                out_words[w] = value_out
                h = _mix(h, value_out)
                w += 1
                k += 8
            if mode == 0:
                k = 0
                while k < regions:
                    value_out = np.uint64(cont[inverse[k]])
                    if k + 1 < regions:
                        value_out |= np.uint64(cont[inverse[k + 1]]) << np.uint64(32)
                    out_words[w] = value_out
                    h = _mix(h, value_out)
                    w += 1
                    k += 2
                k = 0
                while k < regions:
                    value_out = np.uint64(0)
                    for j in range(min(each, regions - k)):
                        res = _renamed(adj[inverse[k + j]], number)
                        value_out |= res << np.uint64(wide * j)
                    out_words[w] = value_out
                    h = _mix(h, value_out)
                    w += 1
                    k += each
            out_start[rows] = used
            out_start[rows + 1] = w
            out_hash[rows] = _mix(h, np.uint64(0x2545F4914F6CDD1D))
            out_source[rows] = ((base + state) << 1) | sign
            out_delta[rows] = delta
            rows += 1
            used = w
    counters[0], counters[1], counters[2] = rows, used, later
    counters[3] = high


@njit(cache=True, nogil=True)
@no_type_check
def split(hashes, starts, rows, bits, order, bounds, words):
    """Sort rows by shard, the top bits of their hashes, keeping their order in each.

    Args:
        hashes, starts, rows: What `expand` made.
        bits: There are 2**bits shards.
        order: Gets the rows.
        bounds: Gets where each shard begins in `order`, and where the last one ends.
        words: Gets how many words the rows of each shard have.
    """
    shards = 1 << bits
    away = np.uint64(64 - bits)
    for k in range(shards + 1):
        bounds[k] = 0
    for k in range(shards):
        words[k] = 0
    for k in range(rows):
        shard = np.int64(hashes[k] >> away) if bits else 0
        bounds[shard + 1] += 1
        words[shard] += starts[k + 1] - starts[k]
    for k in range(shards):
        bounds[k + 1] += bounds[k]
    for k in range(rows):
        shard = np.int64(hashes[k] >> away) if bits else 0
        order[bounds[shard]] = k
        bounds[shard] += 1
    for k in range(shards, 0, -1):
        bounds[k] = bounds[k - 1]
    bounds[0] = 0


@njit(cache=True, nogil=True)
@no_type_check
def insert(
    mode, shard, buffers, order, bounds,
    in_words, in_start, in_hash, in_source, in_delta,
    low, high,
    words, starts, hashes, out_low, out_high, first, second, table, count, next_of, next_base,
):  # fmt: skip
    """Add rows to one shard of the next layer; return how many states it has then.

    Args:
        mode: As in `expand`.
        shard: Its number.
        buffers: How many there are; the arrays that follow have a row for each.
        order, bounds: The rows of each shard, as `split` sorts them.
        in_words, in_start, in_hash, in_source, in_delta: What `expand` made.
        low, high: Values of the source states: two halves of a count, or two maxima plus 1.
        words, starts, hashes, out_low, out_high: The shard's states; large enough for all rows.
        first, second: From where a state was first (mode 2: best, for either sign) reached.
        table: Open addressing, state + 1 or 0; a power of two at least twice the states.
        count: States in the shard so far.
        next_of, next_base: If not empty: gets the new state's place for each (state << 1 | sign).
    """
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for buffer in range(buffers):
        for place in range(bounds[buffer, shard], bounds[buffer, shard + 1]):
            k = order[buffer, place]
            h = in_hash[buffer, k]
            begin = in_start[buffer, k]
            size = in_start[buffer, k + 1] - begin
            at = h & mask
            found = np.int64(-1)
            while True:
                entry = table[at]
                if entry == 0:
                    break
                s = np.int64(entry) - 1
                if hashes[s] == h and starts[s + 1] - starts[s] == size:
                    same = True
                    b = starts[s]
                    for j in range(size):
                        if words[b + j] != in_words[buffer, begin + j]:
                            same = False
                            break
                    if same:
                        found = s
                        break
                at = (at + one) & mask
            source = in_source[buffer, k] >> 1
            a, b2 = low[source], high[source]
            if mode == 2:
                if a:
                    a += np.uint64(in_delta[buffer, k] >> 8)
                if b2:
                    b2 += np.uint64(in_delta[buffer, k] & 255)
                known = np.int64((in_words[buffer, begin] >> np.uint64(48)) & np.uint64(3))
                if known == 2:
                    b2 = np.uint64(0)
                elif known == 3:
                    a = np.uint64(0)
            if found < 0:
                found = count
                table[at] = found + 1
                b = starts[found]
                for j in range(size):
                    words[b + j] = in_words[buffer, begin + j]
                starts[found + 1] = b + size
                hashes[found] = h
                out_low[found] = a
                out_high[found] = b2
                first[found] = in_source[buffer, k]
                if mode == 2:
                    second[found] = in_source[buffer, k]
                count += 1
            elif mode == 2:
                if a > out_low[found]:
                    out_low[found] = a
                    first[found] = in_source[buffer, k]
                if b2 > out_high[found]:
                    out_high[found] = b2
                    second[found] = in_source[buffer, k]
            else:
                new = out_low[found] + a
                if new < a:
                    b2 += one
                out_low[found] = new
                out_high[found] += b2
            if next_of.size:
                next_of[in_source[buffer, k]] = next_base + found
    return count


@njit(cache=True, nogil=True)
@no_type_check
def rebuild(table, hashes, count):
    """Fill an empty hash table with the states of a shard."""
    mask = np.uint64(table.size - 1)
    one = np.uint64(1)
    for s in range(count):
        at = hashes[s] & mask
        while table[at] != 0:
            at = (at + one) & mask
        table[at] = s + 1


@njit(cache=True, nogil=True)
@no_type_check
def rehash(keys, values, new_keys, new_values):
    """Fill an empty, larger memory with what another one holds."""
    for k in range(keys.size):
        if values[k] >= 0:
            _remember(new_keys, new_values, keys[k], values[k])
