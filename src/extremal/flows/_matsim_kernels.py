"""The queue model of MATSim with the changes of the paper, compiled: a loop over steps.

In each step every link first says how many may leave (as in the packet model), then nodes serve
their in-links. A vehicle moves if its next link has space; links whose storage is not given have
always space. Vehicles that leave make space at once; nodes nearer to the sinks go first.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

import numpy as np

from ._jit import jit

PROPORTIONAL, RANDOM = 0, 1


@jit
def matsim_kernel(tau, p, q, weight, store, route_of, release, route_start, route_arcs, off,
                  in_start, in_arc, node_order, mode, stuck, seed):  # fmt: skip
    """Load vehicles; same results as the packet kernel, and the greatest number a link held."""
    arcs = len(tau)
    n = len(route_of)
    moves = off[arcs]
    entry_id = np.empty(moves, np.int32)
    entry_step = np.empty(moves, np.int32)
    exit_step = np.full(moves, -1, np.int32)
    head = np.zeros(arcs, np.int64)
    tail = np.zeros(arcs, np.int64)
    ready = np.zeros(arcs, np.int64)
    rest = np.zeros(arcs, np.int64)
    may = np.zeros(arcs, np.int64)
    clock = np.zeros(arcs, np.float64)  # served vehicles over capacity, for exact proportions
    waited = np.zeros(arcs, np.int64)
    most = np.zeros(arcs, np.int64)
    at = np.zeros(n, np.int32)
    arrival = np.full(n, -1, np.int32)
    np.random.seed(seed)  # noqa: NPY002 - the compiled generator, this kernel's own
    done = 0
    next_release = 0
    t = release[0] if n else 0
    while done < n:
        for e in range(arcs):
            k, end, base = ready[e], tail[e], off[e]
            while k < end and entry_step[base + k] + max(1, tau[e]) <= t:
                k += 1
            ready[e] = k
            waiting = k - head[e]
            total = p[e] + rest[e]
            c = total // q[e]
            if waiting <= c:
                may[e] = waiting
                rest[e] = 0
            else:
                may[e] = c
                rest[e] = total - c * q[e]
        while next_release < n and release[next_release] <= t:
            i = next_release
            e = route_arcs[route_start[route_of[i]]]
            m = off[e] + tail[e]
            entry_id[m] = i
            entry_step[m] = t
            tail[e] += 1
            next_release += 1
        for order in range(len(node_order)):
            v = node_order[order]
            low = np.inf
            for j in range(in_start[v], in_start[v + 1]):
                e = in_arc[j]
                if may[e] > 0 and clock[e] < low:
                    low = clock[e]
            while True:
                best = -1
                if mode == PROPORTIONAL:
                    key = np.inf
                    for j in range(in_start[v], in_start[v + 1]):
                        e = in_arc[j]
                        if may[e] > 0 and clock[e] + 1.0 / weight[e] < key - 1e-12:
                            key, best = clock[e] + 1.0 / weight[e], e
                else:
                    total_weight = 0.0
                    for j in range(in_start[v], in_start[v + 1]):
                        if may[in_arc[j]] > 0:
                            total_weight += weight[in_arc[j]]
                    if total_weight > 0:
                        x = np.random.random() * total_weight  # noqa: NPY002
                        for j in range(in_start[v], in_start[v + 1]):
                            e = in_arc[j]
                            if may[e] > 0:
                                best = e
                                x -= weight[e]
                                if x < 0:
                                    break
                if best < 0:
                    break
                e = best
                blocked = False
                while may[e] > 0:
                    k = head[e]
                    i = entry_id[off[e] + k]
                    place = route_start[route_of[i]] + at[i] + 1
                    last = place >= route_start[route_of[i] + 1]
                    if not last:
                        o = route_arcs[place]
                        if tail[o] - head[o] >= store[o] and (stuck < 0 or waited[e] < stuck):
                            blocked = True
                            break
                        m = off[o] + tail[o]
                        entry_id[m] = i
                        entry_step[m] = t
                        tail[o] += 1
                        most[o] = max(most[o], tail[o] - head[o])
                        at[i] += 1
                    else:
                        arrival[i] = t
                        done += 1
                    exit_step[off[e] + k] = t
                    head[e] = k + 1
                    may[e] -= 1
                    waited[e] = 0
                    if mode == PROPORTIONAL:
                        clock[e] = max(clock[e], low) + 1.0 / weight[e]
                        break
                if blocked:
                    waited[e] += 1
                    if mode == PROPORTIONAL:
                        break  # the whole node waits for the next vehicle's link
                    may[e] = 0
        for v in range(len(node_order)):  # links that had nothing to send keep no credit
            top = 0.0
            for j in range(in_start[v], in_start[v + 1]):
                top = max(top, clock[in_arc[j]])
            for j in range(in_start[v], in_start[v + 1]):
                e = in_arc[j]
                if head[e] == ready[e]:
                    clock[e] = top
        t += 1
    return arrival, entry_id, entry_step, exit_step, most
