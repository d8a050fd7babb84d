"""Thin flows in rationals: Lemke's method with the sink as covering row.

Notation (all of an active subnetwork without dead ends): l_w the slope of node w, x_e the flow and
a_e = max(0, l_w - l_v) of an arc e = (v, w) without queue, nu_e its capacity. The conditions of a
thin flow are the linear complementarity problem

    sum of x into w - sum of x out of w - b_w >= 0   complementary to  l_w >= 0   (w not the source)
    l_v - l_w + a_e >= 0                             complementary to  x_e >= 0
    nu_e l_w - x_e >= 0                              complementary to  a_e >= 0

with x_e = nu_e l_w written for arcs with a queue, l_source = 1 and b_sink = inflow. Only the row of
the sink starts below zero, so the path of the method is the thin flow as the inflow grows from 0.
Ties are broken lexicographically. Rows are dictionaries: most coefficients are zero.
"""

from collections.abc import Sequence
from typing import Any

from ._errors import FlowsError

Row = dict[tuple[str, int], Any]  # basic variable = row[ONE] + sum of row[j] * nonbasic j
ONE = ("one", 0)
COVER = ("cover", 0)
_PARTNER = {"w": "l", "l": "w", "y": "x", "x": "y", "c": "a", "a": "c"}


def pivot_exactly(
    nodes: int,
    source: int,
    sink: int,
    inflow: Any,
    arcs: Sequence[tuple[int, int, Any, bool]],
    live: Sequence[bool],
) -> tuple[list[Any], list[Any], int]:
    """Return slopes of live nodes, flow of arcs and the number of pivots.

    Args:
        nodes: How many.
        source: Number of the source.
        sink: Number of the sink.
        inflow: Rate above 0.
        arcs: Active arcs (tail, head, capacity, whether it has a queue) between live nodes.
        live: Which nodes can pass flow on to the sink.

    Raises:
        FlowsError: The method ended in a ray, which no instance is known to cause.
    """
    rows = _rows(nodes, source, sink, inflow, arcs, live)
    slacks = list(rows)
    limit = 500 * len(rows) + 1000
    leaving: tuple[str, int] = ("w", sink)
    _exchange(rows, leaving, COVER)
    pivots = 1
    while leaving != COVER:
        entering = (_PARTNER[leaving[0]], leaving[1])
        leaving = _leaving(rows, entering, slacks)
        _exchange(rows, leaving, entering)
        pivots += 1
        if pivots > limit:
            raise FlowsError(f"pivoting did not end after {pivots} steps; use method='milp'.")
    value = {name: row.get(ONE, 0) for name, row in rows.items()}
    slopes = [value.get(("l", v), 0) for v in range(nodes)]
    slopes[source] = 1 + 0 * inflow
    flow = [
        nu * slopes[w] if queued else value.get(("x", e), 0)
        for e, (_, w, nu, queued) in enumerate(arcs)
    ]
    return slopes, flow, pivots


def _rows(
    nodes: int,
    source: int,
    sink: int,
    inflow: Any,
    arcs: Sequence[tuple[int, int, Any, bool]],
    live: Sequence[bool],
) -> dict[tuple[str, int], Row]:
    one = 1 + 0 * inflow
    balance: dict[int, Row] = {v: {} for v in range(nodes) if live[v] and v != source}
    rows: dict[tuple[str, int], Row] = {}
    for e, (v, w, nu, queued) in enumerate(arcs):
        key = ("l", w) if queued else ("x", e)
        rate = nu if queued else one
        balance[w][key] = balance[w].get(key, 0) + rate
        if v != source:
            balance[v][key] = balance[v].get(key, 0) - rate
        if queued:
            continue
        first: Row = {("l", w): -one, ("a", e): one}
        first[ONE if v == source else ("l", v)] = one
        rows["y", e] = first
        rows["c", e] = {("l", w): nu, ("x", e): -one}
    for v, row in balance.items():
        rows["w", v] = {k: a for k, a in row.items() if a}
    rows["w", sink][ONE] = -inflow
    rows["w", sink][COVER] = one
    return rows


def _leaving(
    rows: dict[tuple[str, int], Row], entering: tuple[str, int], slacks: list[tuple[str, int]]
) -> tuple[str, int]:
    """The row that blocks the entering variable first; ties by the columns of the first slacks."""
    best: Any = None
    tied: list[tuple[str, int]] = []
    for name, row in rows.items():
        slope = row.get(entering)
        if slope is None or slope >= 0:
            continue
        ratio = row.get(ONE, 0) / -slope
        if best is None or ratio < best:
            best, tied = ratio, [name]
        elif ratio == best:
            tied.append(name)
    if not tied:
        raise FlowsError("pivoting ended in a ray; use method='milp' for this thin flow.")
    if COVER in tied:
        return COVER
    for slack in slacks:
        if len(tied) == 1:
            break
        scores: list[Any] = []
        for name in tied:
            row = rows[name]
            entry = 1 if name == slack else -row.get(slack, 0)
            scores.append(entry / -row[entering])
        least = min(scores)
        tied = [name for name, score in zip(tied, scores, strict=True) if score == least]
    return tied[0]


def _exchange(
    rows: dict[tuple[str, int], Row], leaving: tuple[str, int], entering: tuple[str, int]
) -> None:
    row = rows.pop(leaving)
    pivot = row.pop(entering)
    made: Row = {k: -a / pivot for k, a in row.items()}
    made[leaving] = 1 / pivot
    for other in rows.values():
        factor = other.pop(entering, None)
        if factor is None:
            continue
        for k, a in made.items():
            value = other.get(k, 0) + factor * a
            if value:
                other[k] = value
            else:
                other.pop(k, None)
    rows[entering] = made
