"""Assignments whose costs change a little from one to the next.

Dual potentials v of the last assignment stay: with u_i = min_j (cost_ij - v_j) they are feasible
for any costs, and what is still tight is kept. Rows that lost their column take their best one and
lower its potential by the lead over the second best (twice over all such rows); those that remain
go along shortest augmenting paths. Few rows change between Frank-Wolfe steps, and only those cost
anything: a step takes a quarter to a half of the time of an assignment from scratch.

Source: Jonker and Volgenant 1987 (its reductions and paths; the warm start is ours).
"""
# pyright: basic

from typing import no_type_check

import numpy as np
from numba import njit


@njit(cache=True, error_model="numpy")
@no_type_check
def assign(cost, v, column):
    """Move `column` (n,) to the least assignment of finite costs (n, n), and potentials `v` (n,).

    On entry `v` is any finite vector and `column` an assignment, in part (-1 elsewhere). On return
    u_i + v_j <= cost_ij with u_i = min_j (cost_ij - v_j), and equality along the assignment (of
    costs divided by the largest, where that is over 1e150).

    The best potentials differ by no more than costs do. Larger ones, of costs on another scale,
    would round these away, and so would a part common to all: the first start anew, the second is
    taken out.
    """
    n = len(cost)
    low, high = cost.min(), cost.max()
    if max(-low, high) > 1e150:
        size = max(-low, high)
        cost, low, high = cost / size, low / size, high / size
    v -= v.max()
    if -v.min() > 2 * (high - low):
        v[:] = 0.0
    row = np.full(n, -1)
    best = np.empty(n, np.int64)
    for i in range(n):
        least, at = np.inf, 0
        for j in range(n):
            d = cost[i, j] - v[j]
            if d < least:
                least, at = d, j
        best[i] = at
        j = column[i]
        if j >= 0 and row[j] < 0 and cost[i, j] - v[j] <= least:
            row[j] = i
        else:
            column[i] = -1
    free = np.empty(n, np.int64)
    count = 0
    for i in range(n):
        if column[i] < 0:
            if row[best[i]] < 0:
                row[best[i]], column[i] = i, best[i]
            else:
                free[count] = i
                count += 1
    for _ in range(2):
        count = _reduce(cost, v, column, row, free, count)
    for k in range(count):
        _augment(cost, v, column, row, free[k])


@njit(cache=True, error_model="numpy")
@no_type_check
def _reduce(cost, v, column, row, free, count):
    """Give free rows their best columns, whose potentials fall; return how many rows are free."""
    n, place, left, tries = len(cost), 0, 0, 4 * len(cost)
    while place < count:
        i = free[place]
        place += 1
        first, second, j, other = np.inf, np.inf, -1, -1
        for k in range(n):
            d = cost[i, k] - v[k]
            if d < first:
                first, second, j, other = d, first, k, j
            elif d < second:
                second, other = d, k
        if n == 1:
            second = first
        if first < second:
            v[j] -= second - first
        elif row[j] >= 0 and other >= 0:
            j = other
        out = row[j]
        row[j], column[i] = i, j
        if out >= 0:
            column[out] = -1
            tries -= 1
            if first < second and tries > 0:  # the row that lost its column is next
                place -= 1
                free[place] = out
            else:
                free[left] = out
                left += 1
    return left


@njit(cache=True, error_model="numpy")
@no_type_check
def _augment(cost, v, column, row, start):
    """Assign the row `start` along the shortest path to a free column."""
    n = len(cost)
    distance, via, order = cost[start] - v, np.full(n, start), np.arange(n)
    # order[:scanned] are done, order[scanned:near] at the distance `least`, the others further.
    scanned, near, done, least, end = 0, 0, 0, 0.0, -1
    while end < 0:
        if scanned == near:
            done, least = scanned, np.inf
            for k in range(scanned, n):
                least = min(least, distance[order[k]])
            for k in range(scanned, n):
                j = order[k]
                if distance[j] <= least:
                    order[k], order[near] = order[near], j
                    near += 1
                    if row[j] < 0:
                        end = j
            if end >= 0:
                break
        i = row[order[scanned]]
        base = cost[i, order[scanned]] - v[order[scanned]] - least
        scanned += 1
        for k in range(near, n):
            j = order[k]
            d = cost[i, j] - v[j] - base
            if d < distance[j]:
                distance[j], via[j] = d, i
                if d <= least:
                    if row[j] < 0:
                        end = j
                        break
                    order[k], order[near] = order[near], j
                    near += 1
    for k in range(done):
        v[order[k]] += distance[order[k]] - least
    j = end
    while True:
        i = via[j]
        row[j] = i
        j, column[i] = column[i], j
        if i == start:
            break
