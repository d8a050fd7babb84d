"""Thin flows of series-parallel networks, for all inflows at once (Kaiser, arXiv:2002.11428).

Notation: a component is described by the slope l of its end as a function of the slope a of its
start and the flow x through it. An arc: max(a, x / nu); with a queue x / nu. In series these are
composed; in parallel their inverses x(l) are added, where an arc's inverse is 0 below a, anything
in [0, nu a] at a, and nu l above. Everything is a nondecreasing piecewise-linear relation, kept
as the corners (l, x) of its graph.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from ._errors import FlowsError
from ._thin_flow import Problem

Corners = list[tuple[Any, Any]]  # (l, x), both nondecreasing; beyond the last a ray with `slope`


@dataclass(frozen=True)
class _Arc:
    nu: Any
    queued: bool


@dataclass(frozen=True)
class _Series:
    parts: tuple[Any, ...]


@dataclass(frozen=True)
class _Parallel:
    parts: tuple[Any, ...]


def sink_slope(problem: Problem) -> Any:
    """Return the slope of the sink of a series-parallel thin flow.

    Raises:
        FlowsError: The active arcs are not series-parallel.
    """
    corners, slope = _graph(reduce(problem), 1 + 0 * problem.inflow)
    return _label_of(corners, slope, problem.inflow)


def reduce(problem: Problem) -> Any:
    """Return the series-parallel tree of the active arcs.

    Raises:
        FlowsError: There is none.
    """
    edges: list[tuple[int, int, Any]] = [
        (v, w, _Arc(nu, queued)) for v, w, nu, queued in problem.arcs
    ]
    while len(edges) > 1:
        together: dict[tuple[int, int], list[Any]] = {}
        for v, w, part in edges:
            together.setdefault((v, w), []).append(part)
        edges = [
            (v, w, parts[0] if len(parts) == 1 else _Parallel(tuple(parts)))
            for (v, w), parts in together.items()
        ]
        if len(edges) == 1:
            break
        for node in range(problem.nodes):
            before = [e for e in edges if e[1] == node]
            after = [e for e in edges if e[0] == node]
            if node in (problem.source, problem.sink) or len(before) != 1 or len(after) != 1:
                continue
            edges.remove(before[0])
            edges.remove(after[0])
            edges.append((before[0][0], after[0][1], _Series((before[0][2], after[0][2]))))
            break
        else:
            raise FlowsError("the active arcs are not series-parallel; use method='pivoting'.")
    if edges[0][:2] != (problem.source, problem.sink):
        raise FlowsError("the active arcs are not series-parallel; use method='pivoting'.")
    return edges[0][2]


def _graph(part: Any, a: Any) -> tuple[Corners, Any]:
    """The corners of l over x for a start slope a, and dx/dl beyond the last."""
    zero = 0 * a
    if isinstance(part, _Arc):
        if part.queued:
            return [(zero, zero)], part.nu
        return [(a, zero), (a, part.nu * a)], part.nu
    if isinstance(part, _Parallel):
        graphs = [_graph(p, a) for p in part.parts]
        return _added(graphs)
    first, second = part.parts
    corners, slope = _graph(first, a)
    return _composed(corners, slope, second)


def _added(graphs: Sequence[tuple[Corners, Any]]) -> tuple[Corners, Any]:
    marks = sorted({at for corners, _ in graphs for at, _ in corners})
    found: Corners = []
    for mark in marks:
        least = sum((_range(c, s, mark)[0] for c, s in graphs), 0 * mark)
        most = sum((_range(c, s, mark)[1] for c, s in graphs), 0 * mark)
        found.append((mark, least))
        if most != least:
            found.append((mark, most))
    return found, sum(s for _, s in graphs)


def _range(corners: Corners, slope: Any, at: Any) -> tuple[Any, Any]:
    """Least and most x with l = at."""
    if at < corners[0][0]:
        return 0 * at, 0 * at
    same = [x for mark, x in corners if mark == at]
    if same:
        return same[0], same[-1]
    if at > corners[-1][0]:
        x = corners[-1][1] + slope * (at - corners[-1][0])
        return x, x
    for (l0, x0), (l1, x1) in pairwise(corners):
        if l0 < at < l1:
            x = x0 + (x1 - x0) * (at - l0) / (l1 - l0)
            return x, x
    raise AssertionError("corners are sorted")


def _label_of(corners: Corners, slope: Any, x: Any) -> Any:
    """The least l at which x is passed."""
    if x <= corners[0][1]:
        return corners[0][0]
    for (l0, x0), (l1, x1) in pairwise(corners):
        if x0 <= x <= x1:
            return l0 if x1 == x0 else l0 + (l1 - l0) * (x - x0) / (x1 - x0)
    return corners[-1][0] + (x - corners[-1][1]) / slope


def _composed(corners: Corners, slope: Any, second: Any) -> tuple[Corners, Any]:
    """Label of the second component when its start slope and flow run along the first's graph.

    Both grow along the graph, so the second's label grows; its corners are found where a piece of
    the first passes a corner of the second, which moves linearly with the start slope: the relation
    is homogeneous, so corners of the second scale with its start slope.
    """
    base, rise = _graph(second, 1 + 0 * slope)  # for start slope 1; corners scale with it
    points = [(x, a) for a, x in corners]
    far = 2 * (abs(corners[-1][0]) + 1)
    for label, x in base:
        far = max(far, 2 * (abs(label) + abs(x) + 1) * (1 + slope) * (1 + abs(corners[-1][1])))
    last = (corners[-1][1] + slope * far, corners[-1][0] + far)
    found: Corners = []
    for (x0, a0), (x1, a1) in zip(points, [*points[1:], last], strict=True):
        shares = {0 * a0, 1 + 0 * a0}
        for _, q in base:  # where the flow equals a corner's: x = a q
            top, bottom = a0 * q - x0, (x1 - x0) - (a1 - a0) * q
            if bottom and 0 < top / bottom < 1:
                shares.add(top / bottom)
        for share in sorted(shares):
            x, a = x0 + share * (x1 - x0), a0 + share * (a1 - a0)
            label = _label_at(base, rise, a, x)
            if not found or found[-1] != (label, x):
                found.append((label, x))
    (l0, x0), (l1, x1) = found[-2], found[-1]
    return found[:-1], (x1 - x0) / (l1 - l0)


def _label_at(base: Corners, rise: Any, a: Any, x: Any) -> Any:
    """The label of a component with start slope a and flow x, from its corners at 1."""
    if a == 0:
        return x / rise
    return _label_of([(label * a, q * a) for label, q in base], rise, x)
