"""The whole equilibrium: one thin flow after another, each as long as it stays one.

Notation: l_v(d) earliest arrival at v of the agent departing at d; d_e = l_w - l_v - tau the slack
of an arc (v, w): active from 0 on, with a queue above 0; alpha the length of a phase.
Source: Koch, Skutella 2011. In floats the slacks are carried along and set to exactly 0 where an
event happens; comparing labels anew would loop on events of length 0.
"""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from ._inflow import Inflow
from ._network import Journey
from ._numbers import q
from ._thin_flow import Problem, solve

_SNAP = 1e-10  # floats: slopes closer than this are equal, events closer than this coincide


@dataclass(frozen=True, slots=True)
class Stretch:
    """One phase in numbers: nodes and arcs by their place.

    Attributes:
        start: Departure time of its first agent.
        end: Of its last; None for ever.
        labels: Arrival at each node of the agent departing at `start`.
        slopes: Their derivatives.
        flow: Static flow of each arc.
        active: Places of active arcs.
        resetting: Places of arcs with a queue.
        events: What ends it: (kind, place of the arc or -1).
        states: States of all arcs in the basis, -1 where unknown.
        zeros: Nodes with slope 0 in the basis.
        pivots: Exchanges of variables.
        method: What solved it.
    """

    start: Any
    end: Any
    labels: list[Any]
    slopes: list[Any]
    flow: list[Any]
    active: tuple[int, ...]
    resetting: tuple[int, ...]
    events: tuple[tuple[str, int], ...]
    states: Any
    zeros: Any
    pivots: int
    method: str


def distances(trip: Journey) -> list[Any]:
    """Return the free-flow distance of each node from the source (Dijkstra, exact)."""
    net = trip.network
    where = {n: i for i, n in enumerate(net.nodes)}
    out: list[list[tuple[int, Any]]] = [[] for _ in net.nodes]
    for arc in net.arcs:
        out[where[arc.tail]].append((where[arc.head], q(arc.transit)))
    far: list[Any] = [None] * len(net.nodes)
    heap: list[tuple[Any, int]] = [(q(0), where[trip.source])]
    while heap:
        at, v = heapq.heappop(heap)
        if far[v] is not None:
            continue
        far[v] = at
        for w, transit in out[v]:
            if far[w] is None:
                heapq.heappush(heap, (at + transit, w))
    return far


def extend(
    trip: Journey,
    inflow: Inflow,
    *,
    horizon: Fraction | None,
    exact: bool,
    method: str,
    max_phases: int,
    hints: Sequence[tuple[Any, Any]] = (),
    on_phase: Callable[[int], None] | None = None,
) -> tuple[list[Stretch], str]:
    """Compute phases from departure 0 on.

    Args:
        trip: Network, source and sink.
        inflow: Rate at the source.
        horizon: Stop at this departure time; None goes on until nothing changes any more.
        exact: Rationals, else floats.
        method: As for `thin_flow`.
        max_phases: Stop after so many.
        hints: States and zeros of each phase from another run, tried first.
        on_phase: Called with the number of phases so far.

    Returns:
        The phases, and `"final"`, `"horizon"` or `"phase-limit"`.
    """
    net = trip.network
    where = {n: i for i, n in enumerate(net.nodes)}
    number: Callable[[Any], Any] = q if exact else float
    source, sink = where[trip.source], where[trip.sink]
    tail = [where[a.tail] for a in net.arcs]
    head = [where[a.head] for a in net.arcs]
    nu = [number(a.capacity) for a in net.arcs]
    transit = [number(a.transit) for a in net.arcs]
    places = range(len(net.arcs))
    far = distances(trip)
    slack = [number(far[head[e]] - far[tail[e]] - q(net.arcs[e].transit)) for e in places]
    labels: list[Any] = [number(v) for v in far]
    now = number(0)
    steps = [(number(a), number(b)) for a, b in inflow.steps]
    end_at = None if horizon is None else number(horizon)
    state = np.full(len(net.arcs), -1)
    zeros = np.zeros(len(net.nodes), bool)
    known = False
    found: list[Stretch] = []
    while True:
        rate = next(b for a, b in reversed(steps) if a <= now)
        change = next((a for a, _ in steps if a > now), None)
        active = [e for e in places if slack[e] >= 0]
        problem = Problem(
            len(net.nodes),
            source,
            sink,
            rate,
            tuple((tail[e], head[e], nu[e], bool(slack[e] > 0)) for e in active),
        )
        if len(found) < len(hints):
            hint: Any = (hints[len(found)][0][active], hints[len(found)][1])
        else:
            hint = (state[active], zeros) if known else None
        solution = solve(problem, method=method, exact=exact, hint=hint)
        slopes = solution.slopes
        flow = [0 * now] * len(net.arcs)
        for e, x in zip(active, solution.flow, strict=True):
            flow[e] = x
        if rate > 0:
            state = np.full(len(net.arcs), -1)
            state[active] = solution.states
            zeros, known = solution.zeros, True
        moving = [slopes[head[e]] - slopes[tail[e]] for e in places]
        if not exact:
            moving = [
                0.0 if abs(m) <= _SNAP * (1 + slopes[head[e]]) else m
                for e, m in zip(places, moving, strict=True)
            ]
        candidates: list[tuple[Any, str, int]] = []
        for e in places:
            if slack[e] > 0 and moving[e] < 0:
                candidates.append((slack[e] / -moving[e], "empties", e))
            elif slack[e] < 0 and moving[e] > 0:
                candidates.append((-slack[e] / moving[e], "activates", e))
        if change is not None:
            candidates.append((change - now, "inflow changes", -1))
        if end_at is not None:
            candidates.append((end_at - now, "horizon", -1))
        least = min((c[0] for c in candidates), default=None)
        near = None if least is None else (least if exact else least + _SNAP * (1 + least))
        events = tuple((kind, e) for at, kind, e in candidates if near is None or at <= near)
        if least is None:
            end = None
        elif ("horizon", -1) in events:
            end = end_at
        elif ("inflow changes", -1) in events:
            end = change
        else:
            end = now + least
        found.append(
            Stretch(
                now,
                end,
                labels,
                slopes,
                flow,
                tuple(active),
                tuple(e for e in active if slack[e] > 0),
                events,
                state,
                zeros,
                solution.pivots,
                solution.method,
            )
        )
        if on_phase is not None:
            on_phase(len(found))
        if end is None:
            return found, "final"
        if end == end_at:
            return found, "horizon"
        if len(found) >= max_phases:
            return found, "phase-limit"
        alpha = end - now
        labels = [v + alpha * s for v, s in zip(labels, slopes, strict=True)]
        if exact:
            slack = [labels[head[e]] - labels[tail[e]] - transit[e] for e in places]
        else:
            slack = [d + alpha * m for d, m in zip(slack, moving, strict=True)]
            for _, e in events:
                if e >= 0:
                    slack[e] = 0.0
        now = end
