"""Packet loading, compiled: each arc is a one-pass scan over its entries in order.

Notation: steps are integers; tau the transit of an arc in steps, p/q packets it may serve a step;
a turn is a pair (arc, next arc), or a release into a first arc. An arc's exits before step T + W
depend on entries before T + W - tau only, so arcs are independent inside a window of W = least tau;
without cycles of turns one window holds the whole run and arcs go in topological order.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

import numpy as np

from ._jit import jit

NEVER = 1 << 30


@jit
def _scan(e, limit, head, tail, state, tau, p, q, entry_id, entry_step, exit_step, off, route_of,
          next_turn, arcs, turn_tail, turn_id, turn_step, arrival):  # fmt: skip
    """Let packets leave arc e before step `limit`; hand each to its turn."""
    at, rest, left = state[e, 0], state[e, 1], state[e, 2]
    delay = max(1, tau[e])  # arcs come before nodes in a step: an entry is seen a step later
    qe = q[e]
    whole, part = p[e] // qe, p[e] % qe  # divided once: the loop only adds and compares
    k, end, base = head[e], tail[e], off[e]
    while k < end:
        ready = entry_step[base + k] + delay
        if ready > at:
            t, f, c = ready, part, whole
        else:
            t, f, c = at, rest, left
        while c == 0:
            t += 1
            c = whole
            f += part
            if f >= qe:
                f -= qe
                c += 1
        if t >= limit:
            break
        at, rest, left = t, f, c - 1
        exit_step[base + k] = t
        i = entry_id[base + k]
        turn = next_turn[route_of[i] * arcs + e]
        if turn < 0:
            arrival[i] = t
        else:
            m = turn_tail[turn]
            turn_id[m] = i
            turn_step[m] = t
            turn_tail[turn] = m + 1
        k += 1
    head[e] = k
    state[e, 0], state[e, 1], state[e, 2] = at, rest, left


@jit
def _merge(e, limit, tail, entry_id, entry_step, off, in_start, in_turn, turn_head, turn_tail,
           turn_id, turn_step, share):  # fmt: skip
    """Append what the turns into arc e bring before step `limit`: a zipper in every step."""
    first, last = in_start[e], in_start[e + 1]
    m = off[e] + tail[e]
    if last - first == 1:
        u = in_turn[first]
        k, end = turn_head[u], turn_tail[u]
        while k < end and turn_step[k] < limit:
            entry_id[m] = turn_id[k]
            entry_step[m] = turn_step[k]
            m += 1
            k += 1
        turn_head[u] = k
        tail[e] = m - off[e]
        return
    while True:
        step = limit
        single = -1
        for j in range(first, last):
            u = in_turn[j]
            if turn_head[u] < turn_tail[u]:
                s = turn_step[turn_head[u]]
                if s < step:
                    step, single = s, j
                elif s == step:
                    single = -1
        if step >= limit:
            break
        if single >= 0:
            u = in_turn[single]
            k, end = turn_head[u], turn_tail[u]
            while k < end and turn_step[k] == step:
                entry_id[m] = turn_id[k]
                entry_step[m] = step
                m += 1
                k += 1
            turn_head[u] = k
            continue
        for j in range(first, last):
            u = in_turn[j]
            k, end = turn_head[u], turn_tail[u]
            count = 0
            while k < end and turn_step[k] == step:
                count += 1
                k += 1
            share[j - first, 0] = 1  # next number
            share[j - first, 1] = count
        while True:
            best = -1
            for j in range(last - first):
                if share[j, 0] > share[j, 1]:
                    continue
                if best < 0 or share[j, 0] * share[best, 1] < share[best, 0] * share[j, 1]:
                    best = j
            if best < 0:
                break
            u = in_turn[first + best]
            entry_id[m] = turn_id[turn_head[u]]
            entry_step[m] = step
            m += 1
            turn_head[u] += 1
            share[best, 0] += 1
    tail[e] = m - off[e]


@jit
def load_kernel(tau, p, q, route_of, release, route_start, route_arcs, next_turn, first_turn,
                off, turn_off, in_start, in_turn, order, window):  # fmt: skip
    """Load all packets; `release` is nondecreasing.

    Returns arrivals (a packet each), and for each arc, from `off` on, packets, entries and exits.
    """
    arcs = len(tau)
    n = len(route_of)
    moves = off[arcs]
    entry_id = np.empty(moves, np.int32)
    entry_step = np.empty(moves, np.int32)
    exit_step = np.empty(moves, np.int32)
    turns = turn_off[len(turn_off) - 1]
    turn_id = np.empty(turns, np.int32)
    turn_step = np.empty(turns, np.int32)
    turn_head = turn_off[:-1].copy()
    turn_tail = turn_off[:-1].copy()
    head = np.zeros(arcs, np.int64)
    tail = np.zeros(arcs, np.int64)
    state = np.zeros((arcs, 3), np.int64)
    state[:, 0] = -1
    arrival = np.full(n, -1, np.int32)
    widest = 1
    for e in range(arcs):
        widest = max(widest, in_start[e + 1] - in_start[e])
    share = np.empty((widest, 2), np.int64)
    for i in range(n):
        u = first_turn[route_arcs[route_start[route_of[i]]]]
        m = turn_tail[u]
        turn_id[m] = i
        turn_step[m] = release[i]
        turn_tail[u] = m + 1
    if window == 0:
        for k in range(len(order)):
            e = order[k]
            _merge(e, NEVER, tail, entry_id, entry_step, off, in_start, in_turn, turn_head,
                   turn_tail, turn_id, turn_step, share)  # fmt: skip
            _scan(e, NEVER, head, tail, state, tau, p, q, entry_id, entry_step, exit_step, off,
                  route_of, next_turn, arcs, turn_tail, turn_id, turn_step, arrival)  # fmt: skip
        return arrival, entry_id, entry_step, exit_step
    now = release[0] if n else 0
    while True:
        left = False
        for e in range(arcs):
            if head[e] < tail[e]:
                _scan(e, now + window, head, tail, state, tau, p, q, entry_id, entry_step,
                      exit_step, off, route_of, next_turn, arcs, turn_tail, turn_id, turn_step,
                      arrival)  # fmt: skip
        for e in range(arcs):
            if in_start[e + 1] > in_start[e]:
                _merge(e, now + window, tail, entry_id, entry_step, off, in_start, in_turn,
                       turn_head, turn_tail, turn_id, turn_step, share)  # fmt: skip
        for e in range(arcs):
            if off[e] + tail[e] < off[e + 1] or head[e] < tail[e]:
                left = True
        if not left:
            return arrival, entry_id, entry_step, exit_step
        now += window


@jit
def best_routes(starts, source, sink, nodes, order, head, delay, off, entry, leave, out_start,
                out_arc):  # fmt: skip
    """Earliest arrivals and last arcs of agents that alone change their route.

    Entering arc e at time a, an agent leaves at max(a + delay, exit of the last that entered
    before). `order` holds nodes in topological order, or is empty: then labels are corrected until
    they are stable. Times are floats.
    """
    n = len(starts)
    via = np.full((n, nodes), -1, np.int32)
    arrive = np.empty(n, np.float64)
    label = np.empty(nodes, np.float64)
    for k in range(n):
        label[:] = np.inf
        label[source] = starts[k]
        rounds = 0
        while True:
            changed = False
            count = nodes
            for i in range(count):
                v = order[i] if len(order) else i
                a = label[v]
                if a == np.inf or v == sink:
                    continue
                for j in range(out_start[v], out_start[v + 1]):
                    e = out_arc[j]
                    lo, hi = off[e], off[e + 1]
                    while lo < hi:
                        mid = (lo + hi) // 2
                        if entry[mid] < a:
                            lo = mid + 1
                        else:
                            hi = mid
                    t = a + delay[e]
                    if lo > off[e] and leave[lo - 1] > t:
                        t = leave[lo - 1]
                    w = head[e]
                    if t < label[w]:
                        label[w] = t
                        via[k, w] = e
                        changed = True
            rounds += 1
            if len(order) or not changed or rounds > nodes:
                break
        arrive[k] = label[sink]
    return arrive, via
