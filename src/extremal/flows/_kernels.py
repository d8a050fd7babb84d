"""Thin flows in floats: complementary pivoting on a dictionary, compiled.

Notation: nodes are numbers; nr the active arcs without a queue; states of an arc: OFF (no flow),
EQUAL (slopes of both ends agree, flow free in its bounds), FULL (flow = capacity * slope of head).
The LCP is that of `_pivoting.py`, with all flows divided by the inflow. The dictionary writes basic
variables as q + T * nonbasic ones; only nonzero rows and columns are touched, because most of T is
zero. Ties are broken by a perturbed second right-hand side; the final basis is solved anew without.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

import numpy as np

from ._jit import jit

OFF, EQUAL, FULL = 0, 1, 2
SOLVED, RAY, LIMIT, WRONG = 0, 1, 2, 3
_TINY = 1e-12


@jit
def _copied(values, n):
    """The first n values; loops compile much faster than array expressions."""
    found = np.empty(n, np.int64)
    for i in range(n):
        found[i] = values[i]
    return found


@jit
def _numbers(first, n):
    """The integers first … first + n - 1."""
    found = np.empty(n, np.int64)
    for i in range(n):
        found[i] = first + i
    return found


@jit
def _leaving(n, tail, head):
    """For every node what `head` says of its arcs: of v in out[start[v]:start[v + 1]]."""
    start = np.zeros(n + 1, np.int64)
    for e in range(len(tail)):
        start[tail[e] + 1] += 1
    for v in range(n):
        start[v + 1] += start[v]
    fill = _copied(start, n)
    out = np.empty(len(tail), np.int64)
    for e in range(len(tail)):
        out[fill[tail[e]]] = head[e]
        fill[tail[e]] += 1
    return start, out


@jit
def _order(n, tail, head):
    """A topological order of the nodes and how many it has: fewer than n where there is a cycle."""
    degree = np.zeros(n, np.int64)
    for e in range(len(head)):
        degree[head[e]] += 1
    start, out = _leaving(n, tail, head)
    order = np.empty(n, np.int64)
    count = 0
    for v in range(n):
        if degree[v] == 0:
            order[count] = v
            count += 1
    done = 0
    while done < count:
        v = order[done]
        done += 1
        for i in range(start[v], start[v + 1]):
            degree[out[i]] -= 1
            if degree[out[i]] == 0:
                order[count] = out[i]
                count += 1
    return order, count


@jit
def _alive(n, sink, tail, head):
    """Which nodes can pass flow on to the sink."""
    live = np.zeros(n, np.bool_)
    live[sink] = True
    order, count = _order(n, tail, head)
    start, out = _leaving(n, tail, head)
    for k in range(count - 1, -1, -1):
        v = order[k]
        if v == sink:
            continue
        for i in range(start[v], start[v + 1]):
            if live[out[i]]:
                live[v] = True
                break
    return live


@jit
def _dictionary(n, source, sink, tail, head, cap, reset, row_of, rows, free):
    """T and q of the LCP; the last column of T is the covering variable."""
    k = rows
    r = len(free)
    size = k + 2 * r
    t = np.zeros((size, size + 1))
    q = np.zeros(size)
    for e in range(len(tail)):
        v, w = row_of[tail[e]], row_of[head[e]]
        if reset[e]:
            t[w, w] += cap[e]
            if v >= 0:
                t[v, w] -= cap[e]
    for j in range(r):
        e = free[j]
        v, w = row_of[tail[e]], row_of[head[e]]
        x, a = k + j, k + r + j
        t[w, x] += 1.0
        if v >= 0:
            t[v, x] -= 1.0
            t[x, v] += 1.0
        else:
            q[x] += 1.0
        t[x, w] -= 1.0
        t[x, a] += 1.0
        t[a, w] += cap[e]
        t[a, x] -= 1.0
    q[row_of[sink]] = -1.0
    t[row_of[sink], size] = 1.0
    return t, q


@jit
def _exchange(t, q, p, r, c, columns, entries):
    """Swap the basic variable of row r with the nonbasic one of column c.

    `columns` and `entries` are scratch for the nonzeros of row r; unsigned numbers of columns spare
    numba the test for negative ones in the innermost loop.
    """
    rows, width = t.shape
    pivot = t[r, c]
    count = 0
    for j in range(width):
        if j != c and t[r, j] != 0.0:
            value = -t[r, j] / pivot
            if abs(value) < 1e-14:
                t[r, j] = 0.0
            else:
                t[r, j] = value
                columns[count] = j
                entries[count] = value
                count += 1
    t[r, c] = 1.0 / pivot
    q[r] = -q[r] / pivot
    p[r] = -p[r] / pivot
    for i in range(rows):
        f = t[i, c]
        if i == r or f == 0.0:
            continue
        if abs(f) < 1e-14:
            t[i, c] = 0.0
            continue
        t[i, c] = f / pivot
        row = t[i]
        for m in range(count):
            j = columns[m]
            value = row[j] + f * entries[m]
            row[j] = 0.0 if abs(value) < 1e-14 else value
        q[i] += f * q[r]
        p[i] += f * p[r]


@jit
def _lemke(t, q, p, sink_row, warm, hinted, limit):
    """Follow the path from z0 = 1 to z0 = 0; return status, basic variables and pivots.

    Variables: i is slack i, size + i its complement, 2 size the covering one. `warm` marks the
    complements that are tried as basic first.
    """
    size = len(q)
    basic = _numbers(0, size)
    nonbasic = _numbers(size, size + 1)
    columns = np.empty(size + 1, np.uintp)
    entries = np.empty(size + 1)
    pivots = 0
    started = False
    if hinted:
        # Bring the variables of the last basis in, each over an idle one. Backwards, because a
        # stands in one row only and x then leaves over its own bound: rows stay short for longest.
        fine = True
        for j in range(size - 1, -1, -1):
            if warm[j] == 0:
                continue
            best, row = 1e-7, -1
            for i in range(size - 1, -1, -1):
                if basic[i] < size and warm[basic[i]] == 1 and abs(t[i, j]) > best:
                    best, row = abs(t[i, j]), i
            if row < 0:
                fine = False
                break
            _exchange(t, q, p, row, j, columns, entries)
            basic[row], nonbasic[j] = nonbasic[j], basic[row]
        if not fine:
            return LIMIT, basic, 0  # the caller starts anew without the hint
        # The covering column is made anew: it lifts exactly the rows that are short.
        least, row = -1e-11, -1
        for i in range(size):
            t[i, size] = 1.0 if p[i] < 0.0 else 0.0
            if p[i] < least:
                least, row = p[i], i
        if row < 0:
            return SOLVED, basic, 0
        started = True
        started_leaving = basic[row]
        _exchange(t, q, p, row, size, columns, entries)
        basic[row], nonbasic[size] = 2 * size, started_leaving
        pivots = 1
    leaving = sink_row
    if started:
        leaving = nonbasic[size]
    else:
        _exchange(t, q, p, sink_row, size, columns, entries)
        basic[sink_row], nonbasic[size] = 2 * size, sink_row
        pivots = 1
    while pivots < limit:
        entering = leaving + size if leaving < size else leaving - size
        c = -1
        for j in range(size + 1):
            if nonbasic[j] == entering:
                c = j
                break
        best, row = np.inf, -1
        for i in range(size):
            if t[i, c] < -1e-11:
                ratio = max(p[i], 0.0) / -t[i, c]
                if ratio < best * (1 - 1e-12) or (
                    row >= 0 and ratio <= best and basic[i] == 2 * size
                ):
                    best, row = ratio, i
        if row < 0:
            return RAY, basic, pivots
        leaving = basic[row]
        _exchange(t, q, p, row, c, columns, entries)
        basic[row], nonbasic[c] = entering, leaving
        pivots += 1
        if leaving == 2 * size:
            return SOLVED, basic, pivots
    return LIMIT, basic, pivots


@jit
def crash(n, source, sink, inflow, tail, head, nu, reset):
    """Guess states to start from: all arcs full, less those that would then run downhill.

    Without EQUAL arcs the slopes follow node by node against the topological order. A third of the
    pivots of the path from inflow 0 is left, whose first basis is as degenerate as can be.
    """
    m = len(tail)
    live = _alive(n, sink, tail, head)
    order, count = _order(n, tail, head)
    state = np.full(m, -1)
    capacity = np.zeros(n)  # of full arcs into a node
    full = np.zeros(n, np.int64)
    for e in range(m):
        if live[tail[e]] and live[head[e]]:
            state[e] = FULL
            capacity[head[e]] += nu[e] / inflow
            full[head[e]] += 1
    start, out = _leaving(n, tail, _numbers(0, m))
    slopes = np.zeros(n)
    for _ in range(2):
        for k in range(count - 1, -1, -1):
            v = order[k]
            need = 1.0 if v == sink else 0.0
            for i in range(start[v], start[v + 1]):
                if state[out[i]] == FULL:
                    need += nu[out[i]] / inflow * slopes[head[out[i]]]
            slopes[v] = 1.0 if v == source or capacity[v] == 0.0 else need / capacity[v]
        fall = np.zeros(m)
        for e in range(m):
            if state[e] == FULL and not reset[e]:
                fall[e] = slopes[head[e]] - slopes[tail[e]]
        for e in np.argsort(fall):
            if fall[e] > -1e-9:
                break
            if full[head[e]] > 1:
                state[e] = OFF
                full[head[e]] -= 1
                capacity[head[e]] -= nu[e] / inflow
    return state


@jit
def _root(parent, v):
    while parent[v] != v:
        parent[v] = parent[parent[v]]
        v = parent[v]
    return v


@jit
def _from_states(n, source, sink, tail, head, cap, state, zero, live):
    """Slopes and flow that the states say, for inflow 1; `zero` nodes have slope 0."""
    parent = _numbers(0, n)
    for e in range(len(tail)):
        if state[e] == EQUAL:
            a, b = _root(parent, tail[e]), _root(parent, head[e])
            if a != b:
                parent[a] = b
    fixed = np.full(n, -1.0)
    for v in range(n):
        if zero[v]:
            fixed[_root(parent, v)] = 0.0
    fixed[_root(parent, source)] = 1.0
    number = np.full(n, -1)
    count = 0
    for v in range(n):
        if live[v] and _root(parent, v) == v and fixed[v] < 0:
            number[v] = count
            count += 1
    slopes = np.zeros(n)
    if count:
        a = np.zeros((count, count))
        b = np.zeros((count, 1))
        if number[_root(parent, sink)] >= 0:
            b[number[_root(parent, sink)], 0] += 1.0
        for e in range(len(tail)):
            if state[e] != FULL:
                continue
            i, j = _root(parent, tail[e]), _root(parent, head[e])
            if i == j:
                continue
            if number[j] >= 0:
                a[number[j], number[j]] += cap[e]
                if number[i] >= 0:
                    a[number[i], number[j]] -= cap[e]
            elif fixed[j] > 0 and number[i] >= 0:
                b[number[i], 0] += cap[e] * fixed[j]
        for i in range(count):
            empty = True
            for j in range(count):
                if a[i, j] != 0.0:
                    empty = False
            if empty:
                return False, slopes, np.zeros(len(tail))
        for i in range(count):  # elimination by columns: diagonally dominant, so no exchanges
            if abs(a[i, i]) < 1e-13:
                return False, slopes, np.zeros(len(tail))
            for r in range(i + 1, count):
                f = a[r, i] / a[i, i]
                if f != 0.0:
                    for c in range(i, count):
                        a[r, c] -= f * a[i, c]
                    b[r, 0] -= f * b[i, 0]
        for i in range(count - 1, -1, -1):
            total = b[i, 0]
            for c in range(i + 1, count):
                total -= a[i, c] * b[c, 0]
            b[i, 0] = total / a[i, i]
        for v in range(n):
            r = _root(parent, v)
            if live[v] and number[r] >= 0:
                slopes[v] = b[number[r], 0]
    for v in range(n):
        r = _root(parent, v)
        if fixed[r] > 0:
            slopes[v] = 1.0
    flow = np.zeros(len(tail))
    need = np.zeros(n)
    need[sink] = 1.0
    degree = np.zeros(n, np.int64)
    for e in range(len(tail)):
        if state[e] == FULL:
            flow[e] = cap[e] * slopes[head[e]]
            need[head[e]] -= flow[e]
            need[tail[e]] += flow[e]
        elif state[e] == EQUAL:
            degree[tail[e]] += 1
            degree[head[e]] += 1
    # Forests of EQUAL arcs: strip leaves, never the source, whose balance follows.
    left = 0
    done = np.zeros(len(tail), np.bool_)
    for e in range(len(tail)):
        if state[e] == EQUAL:
            left += 1
    while left:
        before = left
        for e in range(len(tail)):
            if state[e] != EQUAL or done[e]:
                continue
            v, w = tail[e], head[e]
            if degree[w] == 1 and w != source and not zero[w]:
                flow[e] = need[w]
            elif degree[v] == 1 and v != source and not zero[v]:
                flow[e] = -need[v]
            elif degree[w] == 1 or degree[v] == 1:
                if (degree[w] == 1 and (w == source or zero[w])) and degree[v] > 1:
                    continue
                if (degree[v] == 1 and (v == source or zero[v])) and degree[w] > 1:
                    continue
                flow[e] = need[w]
            else:
                continue
            need[w] -= flow[e]
            need[v] += flow[e]
            degree[v] -= 1
            degree[w] -= 1
            done[e] = True
            left -= 1
        if left == before:
            return False, slopes, flow
    return True, slopes, flow


@jit
def _relabel(n, source, tail, head, cap, reset, slopes, flow):
    """Set all slopes to the least rho in topological order; return the largest violation.

    The LCP leaves the slope of a node that no flow enters anywhere below its least rho.
    """
    order, count = _order(n, tail, head)
    least = np.full(n, np.inf)
    least[source] = 1.0
    start, out = _leaving(n, tail, _numbers(0, len(tail)))
    worst = 0.0
    for k in range(count):
        v = order[k]
        slopes[v] = least[v]
        for i in range(start[v], start[v + 1]):
            e = out[i]
            rho = flow[e] / cap[e]
            if not reset[e]:
                rho = max(rho, slopes[v])
            least[head[e]] = min(least[head[e]], rho)
    for e in range(len(tail)):
        if flow[e] < 0.0:
            worst = max(worst, -flow[e])
        rho = flow[e] / cap[e]
        if not reset[e]:
            rho = max(rho, slopes[tail[e]])
        if flow[e] > 1e-9:
            worst = max(worst, abs(rho - slopes[head[e]]))
    return worst


@jit
def thin_flow_kernel(
    n, source, sink, inflow, tail, head, nu, reset, warm_arc, warm_node, seed, limit
):
    """Solve one thin flow on active arcs.

    `warm_arc` holds states of an earlier thin flow (-1: none), `warm_node` its zero nodes.
    Returns status, slopes, flow, states, zero nodes, pivots and the largest violation.
    """
    m = len(tail)
    live = _alive(n, sink, tail, head)
    row_of = np.full(n, -1)
    rows = 0
    for v in range(n):
        if live[v] and v != source:
            row_of[v] = rows
            rows += 1
    count = 0
    r = 0
    for e in range(m):
        if live[tail[e]] and live[head[e]]:
            count += 1
            if not reset[e]:
                r += 1
    keep = np.empty(count, np.int64)
    lt = np.empty(count, np.int64)
    lh = np.empty(count, np.int64)
    lr = np.empty(count, np.bool_)
    cap = np.empty(count)
    free = np.empty(r, np.int64)
    scaled = np.empty(m)
    count = 0
    r = 0
    for e in range(m):
        scaled[e] = nu[e] / inflow
        if live[tail[e]] and live[head[e]]:
            keep[count] = e
            lt[count], lh[count], lr[count], cap[count] = tail[e], head[e], reset[e], scaled[e]
            if not reset[e]:
                free[r] = count
                r += 1
            count += 1
    t, q = _dictionary(n, source, sink, lt, lh, cap, lr, row_of, rows, free)
    size = len(q)
    p = np.empty(size)
    x = 12345 + seed
    for i in range(size):
        x = (x * 1103515245 + 12345) & 0x7FFFFFFF
        p[i] = q[i] + 1e-9 * (1.0 + x / 2147483648.0)
    warm = np.zeros(size, np.int64)
    hinted = False
    for j in range(r):
        s = warm_arc[keep[free[j]]]
        if s >= 0:
            hinted = True
        if s in (EQUAL, FULL):
            warm[rows + j] = 1
        if s == FULL:
            warm[rows + r + j] = 1
    if hinted:
        for v in range(n):
            if row_of[v] >= 0 and not warm_node[v]:
                warm[row_of[v]] = 1
    status, basic, pivots = _lemke(t, q, p, row_of[sink], warm, hinted, limit)
    state = np.full(m, -1)
    zero = np.zeros(n, np.bool_)
    slopes = np.zeros(n)
    flow = np.zeros(m)
    if status != SOLVED:
        return status, slopes, flow, state, zero, pivots, np.inf
    up = np.zeros(size, np.bool_)
    for i in range(size):
        if size <= basic[i] < 2 * size:
            up[basic[i] - size] = True
    local = np.full(count, FULL)
    for j in range(r):
        if not up[rows + j]:
            local[free[j]] = OFF
        elif not up[rows + r + j]:
            local[free[j]] = EQUAL
    for v in range(n):
        if row_of[v] >= 0 and not up[row_of[v]]:
            zero[v] = True
    for j in range(r):
        if up[rows + r + j] and not up[rows + j]:
            zero[lh[free[j]]] = True  # capacity * slope = flow = 0
    fine, slopes, lf = _from_states(n, source, sink, lt, lh, cap, local, zero, live)
    for i in range(count):
        state[keep[i]] = local[i]
    if not fine:
        return WRONG, slopes, flow, state, zero, pivots, np.inf
    for i in range(count):
        flow[keep[i]] = lf[i]
    worst = _relabel(n, source, tail, head, scaled, reset, slopes, flow)
    for e in range(m):
        flow[e] = max(flow[e], 0.0) * inflow
    status = SOLVED if worst < 1e-6 else WRONG
    return status, slopes, flow, state, zero, pivots, worst
