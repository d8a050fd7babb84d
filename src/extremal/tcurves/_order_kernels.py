"""Compiled search for a cheap order of the points; see `_order.py`."""

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, nogil=True)
@no_type_check
def _cost(order, neighbours, degree, copies, place, leave, points, powers, behind):
    """Sum over all steps of predicted states; `place`, `leave` and `points` are scratch."""
    n = order.size
    for k in range(n):
        place[order[k]] = k
        leave[k] = 0
        points[k] = 0
    for k in range(n):  # a point leaves the frontier when its last neighbour, or itself, comes
        last = place[k]
        for j in range(degree[k]):
            last = max(last, place[neighbours[k, j]])
        leave[last] += copies[k]
        points[last] += 1
    width = 0
    count = 0
    gone = 0
    total = 0.0
    for k in range(n):
        width += copies[order[k]] - leave[k]
        count += 1 - points[k]
        gone += leave[k]
        total += powers[0, width] * powers[1, count] * behind[gone]
    return total


@njit(cache=True, nogil=True)
@no_type_check
def search(neighbours, degree, copies, powers, behind, restarts, tries, seed):
    np.random.seed(seed)
    n = copies.size
    best = np.arange(n)
    place = np.empty(n, np.int64)
    leave = np.empty(n, np.int64)
    points = np.empty(n, np.int64)
    best_cost = _cost(best, neighbours, degree, copies, place, leave, points, powers, behind)
    order = np.empty(n, np.int64)
    trial = np.empty(n, np.int64)
    left = np.empty(n, np.int64)
    seen = np.empty(n, np.bool_)
    for _ in range(restarts):
        for k in range(n):
            left[k] = degree[k]
            seen[k] = False
        for step in range(n):
            chosen, value, ties = -1, 1 << 30, 0
            if step == 0:
                chosen = np.random.randint(n)
            else:
                for q in range(n):
                    if seen[q] or left[q] == degree[q]:
                        continue
                    gain = copies[q] if left[q] > 0 else 0
                    for j in range(degree[q]):
                        other = neighbours[q, j]
                        if seen[other] and left[other] == 1:
                            gain -= copies[other]
                    if gain < value:
                        chosen, value, ties = q, gain, 1
                    elif gain == value:
                        ties += 1
                        if np.random.randint(ties) == 0:
                            chosen = q
            order[step] = chosen
            seen[chosen] = True
            for j in range(degree[chosen]):
                left[neighbours[chosen, j]] -= 1
        cost = _cost(order, neighbours, degree, copies, place, leave, points, powers, behind)
        if cost < best_cost:
            best_cost = cost
            best[:] = order
    for _ in range(tries):
        source = np.random.randint(n)
        target = np.random.randint(n)
        if source == target:
            continue
        trial[:] = best
        point = trial[source]
        if source < target:
            for k in range(source, target):
                trial[k] = trial[k + 1]
        else:
            for k in range(source, target, -1):
                trial[k] = trial[k - 1]
        trial[target] = point
        cost = _cost(trial, neighbours, degree, copies, place, leave, points, powers, behind)
        if cost <= best_cost:
            best_cost = cost
            best[:] = trial
    return best, best_cost
