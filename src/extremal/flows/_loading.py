"""Fluid loading of many commodities on fixed routes, exact: every arc a point queue.

Notation: F+_j, F-_j cumulative in- and outflow of commodity j, T(x) the exit time of what enters at
x. The queue serves first in first out, so F-_j(T(x)) = F+_j(x) for every commodity. Arcs are
extended in turn as far as the inflow of all their commodities is known; with positive transit
times around cycles this makes progress until everything has drained.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise
from typing import Any

from extremal.lab import Table

from ._curves import Curve
from ._network import Network
from ._numbers import short
from ._packets import RouteInflow, check_routes

_FOREVER = math.inf


@dataclass(frozen=True)
class FluidLoading:
    """What a loading gives.

    Attributes:
        network: It was loaded into.
        demand: The commodities.
        inflows: For each commodity and arc of its route, the cumulative inflow over clock time.
        outflows: Likewise the cumulative outflow.
        exits: For each arc the exit time over the entry time.
    """

    network: Network
    demand: tuple[RouteInflow, ...]
    inflows: tuple[dict[str, Curve], ...]
    outflows: tuple[dict[str, Curve], ...]
    exits: dict[str, Curve]

    def travel_time(self, commodity: int, departure: Any) -> Any:
        """Return how long an agent of a commodity that departs then is on its way."""
        at = departure
        for name in self.demand[commodity].arcs:
            at = self.exits[name](at)
        return at - departure

    def table(self) -> Table:
        """Return a row for each commodity."""
        rows: list[list[str | float | int | None]] = []
        for j, commodity in enumerate(self.demand):
            steps = commodity.inflow.steps
            first = next((s for s, rate in steps if rate > 0), steps[0][0])
            rows.append(
                [
                    commodity.name or " ".join(commodity.arcs),
                    short(commodity.inflow.volume(steps[-1][0])),
                    short(self.travel_time(j, first)),
                    short(self.travel_time(j, steps[-1][0])),
                ]
            )
        columns = ["commodity", "volume", "travel time of the first", "of the last"]
        return Table(columns, rows, title="fluid loading, exact")

    def as_json(self) -> dict[str, Any]:
        """Return plain values; fractions as text."""
        return {
            "model": "fluid",
            "commodities": [
                {
                    "route": list(d.arcs),
                    "name": d.name,
                    "inflow": d.inflow.as_text(),
                    "outflow": [[str(t), str(v)] for t, v in self.outflows[j][d.arcs[-1]].points],
                }
                for j, d in enumerate(self.demand)
            ],
        }


@dataclass
class _Stream:
    """A cumulative curve that grows; after `known` nothing is decided yet."""

    points: list[tuple[Any, Any]]
    known: Any = 0
    total: Any = 0  # volume that passes in the end
    read: int = 0  # points before this one have been consumed


@dataclass
class _Queue:
    """An arc that has been extended up to entry time `done`."""

    capacity: Any
    transit: Any
    streams: list[_Stream]
    outs: list[_Stream]
    done: Any = 0
    free: Any = 0  # exit time of what entered last
    exits: list[tuple[Any, Any]] = field(default_factory=list)


def load_fluid(
    network: Network, demand: Sequence[RouteInflow], *, arithmetic: str = "exact"
) -> FluidLoading:
    """Load commodities on fixed routes.

    Args:
        network: Arcs on routes need a transit time above 0 wherever routes form a cycle.
        demand: Routes with their inflow.
        arithmetic: `"exact"` or `"float"`.

    Raises:
        ValueError: A route is not connected or not simple, or a cycle has no transit time.
    """
    routes = check_routes(network, [d.arcs for d in demand])
    number: Any = Fraction if arithmetic == "exact" else float
    supply = [_supply(d, number) for d in demand]
    streams: dict[tuple[int, int], _Stream] = {}
    for j, route in enumerate(routes):
        streams[j, route[0]] = supply[j]
        for before, e in pairwise(route):  # nothing leaves an arc before its transit time
            first = number(network.arcs[before].transit)
            streams[j, e] = _Stream([(number(0), number(0))], first, supply[j].total)
    ends = [_Stream([(number(0), number(0))], number(0), s.total) for s in supply]
    queues: dict[int, _Queue] = {}
    users: dict[int, list[int]] = {}
    for e in dict.fromkeys(e for route in routes for e in route):
        mine = [j for j, route in enumerate(routes) if e in route]
        users[e] = mine
        outs = [
            ends[j] if routes[j][-1] == e else streams[j, routes[j][routes[j].index(e) + 1]]
            for j in mine
        ]
        arc = network.arcs[e]
        queue = _Queue(
            number(arc.capacity), number(arc.transit), [streams[j, e] for j in mine], outs
        )
        queue.done = queue.free = number(0)
        queue.free = queue.transit
        queue.exits = [(number(0), queue.transit)]
        queues[e] = queue
    while True:
        progress = False
        for queue in queues.values():
            progress |= _extend(queue)
        if all(queue.done == _FOREVER for queue in queues.values()):
            break
        if not progress:
            raise ValueError(
                "routes form a cycle of arcs without transit time, so nothing can be loaded; give "
                "one of them a positive transit time."
            )
    inflows = tuple(
        {network.arcs[e].name: _curve(streams[j, e]) for e in route}
        for j, route in enumerate(routes)
    )
    outflows = tuple(
        {
            network.arcs[e].name: _curve(
                ends[j] if k + 1 == len(route) else streams[j, route[k + 1]]
            )
            for k, e in enumerate(route)
        }
        for j, route in enumerate(routes)
    )
    exits = {
        a.name: Curve.through(queues[e].exits, 1)
        if e in queues
        else Curve((number(0),), (number(a.transit),), 1)
        for e, a in enumerate(network.arcs)
    }
    return FluidLoading(network, tuple(demand), inflows, outflows, exits)


def _supply(commodity: RouteInflow, number: Any) -> _Stream:
    steps = commodity.inflow.steps
    if steps[-1][1] > 0:
        raise ValueError(
            f"the inflow of {commodity.name or commodity.arcs!r} does not stop; end it with a "
            "rate 0."
        )
    points, volume = [(number(0), number(0))], Fraction(0)
    for (start, rate), (end, _) in pairwise(steps):
        volume += rate * (end - start)
        points.append((number(end), number(volume)))
    return _Stream(points, _FOREVER, points[-1][1])


def _curve(stream: _Stream) -> Curve:
    return Curve.through(stream.points)


def _extend(queue: _Queue) -> bool:
    """Send through the queue what is known to enter; whether that was anything."""
    until = min(s.known for s in queue.streams)
    if until <= queue.done:
        return False
    begin = queue.done
    finite = until if until != _FOREVER else max(s.points[-1][0] for s in queue.streams)
    marks = sorted(
        {t for s in queue.streams for t, _ in s.points[s.read :] if begin < t < finite}
        | ({finite} if finite > begin else set())
    )
    for end in marks:
        before = [_value(s, begin) for s in queue.streams]
        after = [_value(s, end) for s in queue.streams]
        _piece(queue, begin, end, before, after)
        begin = end
        for s in queue.streams:
            while s.read + 1 < len(s.points) and s.points[s.read + 1][0] <= begin:
                s.read += 1
    queue.done = until
    if until == _FOREVER:  # the rest drains; nothing enters any more
        if queue.free > begin + queue.transit:
            queue.exits.append((queue.free - queue.transit, queue.free))
        for out in queue.outs:
            out.known = _FOREVER
    else:
        for out in queue.outs:
            rest = out.total - out.points[-1][1]
            drained = rest <= (0 if isinstance(rest, Fraction) else 1e-9 * (1 + out.total))
            out.known = _FOREVER if drained else queue.free
    return True


def _piece(queue: _Queue, begin: Any, end: Any, before: list[Any], after: list[Any]) -> None:
    """One stretch of constant rates."""
    total = sum(after) - sum(before)
    rate = total / (end - begin)
    start = max(queue.free, begin + queue.transit)
    _put(queue, begin, start, before)
    waiting = start - begin - queue.transit
    if rate < queue.capacity and waiting > 0:
        empties = begin + waiting / (1 - rate / queue.capacity)
        if empties < end:
            share = (empties - begin) / (end - begin)
            between = [a + share * (b - a) for a, b in zip(before, after, strict=True)]
            _put(queue, empties, empties + queue.transit, between)
            queue.free = end + queue.transit
        else:
            queue.free = start + total / queue.capacity
    elif rate > queue.capacity or waiting > 0:
        queue.free = start + total / queue.capacity
    else:
        queue.free = end + queue.transit
    _put(queue, end, queue.free, after)


def _put(queue: _Queue, entry: Any, leave: Any, volumes: list[Any]) -> None:
    if queue.exits[-1] != (entry, leave):
        queue.exits.append((entry, leave))
    for out, volume in zip(queue.outs, volumes, strict=True):
        if out.points[-1] != (leave, volume):
            out.points.append((leave, volume))


def _value(stream: _Stream, time: Any) -> Any:
    """The volume at a time at or after the last one read."""
    points = stream.points
    i = stream.read
    while i + 1 < len(points) and points[i + 1][0] <= time:
        i += 1
    if i + 1 == len(points):
        return points[i][1]
    (t0, v0), (t1, v1) = points[i], points[i + 1]
    if time <= t0:
        return v0
    return v0 + (v1 - v0) * (time - t0) / (t1 - t0)
