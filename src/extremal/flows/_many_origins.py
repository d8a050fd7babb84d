"""Equilibria from many origins to one destination, by reduction to thin flows in arrival time.

Agents are ordered by their arrival a at the sink t instead of a departure: agents of different
origins that arrive together are at the same place of every queue that they share.

Notation: l_v(a) the latest time at v from which t is reached by a; primes are derivatives in a, so
l'_t = 1; d_e = l_w - l_v - tau the slack of an arc (v, w): tight from 0 on, with a queue above 0;
r_i the inflow at origin i. In a phase the volume x_e of agents arriving before a grows at a rate
x'_e that is a static flow with supply r_i l'_i at origin i. That is what an arc from a new source
to i with a queue and capacity r_i carries. So a phase is a thin flow with resetting in the
network of tight arcs with these arcs added, divided by its slope at the sink.
Nodes without flow take their labels backwards: l_v = max of l_w - tau over arcs out of v.
Where an origin stops, queues that nobody joins any more drain; their arrival does not move
meanwhile, so the labels before them jump, at most to where agents of other origins come by or a
closed origin opens.

The idea that common destinations reduce to one commodity: Sering, arXiv:2010.02184. The reduction
by permanently queued arcs and the jumps are ours; tests compare with fluid loading.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from fractions import Fraction
from typing import Any

from ._arrival_flow import ArrivalFlow, ArrivalPhase
from ._curves import Curve
from ._equilibrium import Event
from ._errors import FlowsError
from ._inflow import Inflow
from ._network import Network
from ._numbers import fraction, q
from ._thin_flow import Problem, solve, topological


def arrival_flow(
    network: Network,
    sink: str,
    inflows: Mapping[str, Inflow],
    horizon: Fraction | None,
    method: str,
    max_phases: int,
    notes: list[str],
    on_phase: Callable[[], None],
) -> ArrivalFlow:
    """Compute phases in arrival time; see `nash_to` for arguments and errors."""
    if network.spills:
        raise ValueError(
            "the network has storages or inflow capacities, and many origins are solved without "
            "spillback only; use network.without_limits() to ignore them."
        )
    net = _on_routes(network, sink, inflows, notes)
    extension = _Extension(net, sink, inflows, method)
    phases, status = extension.run(horizon, max_phases, on_phase)
    arrivals = {o: _arrivals(phases, o, extension.rests) for o in inflows}
    return ArrivalFlow(
        status, tuple(phases), net, sink, inflows, (*net.notes, *notes), arrivals=arrivals
    )


def _on_routes(net: Network, sink: str, inflows: Mapping[str, Inflow], notes: list[str]) -> Network:
    """Keep arcs on routes from an origin to the sink; refuse origins that have none."""
    if not inflows:
        raise ValueError("there is no origin; give at least one with its inflow.")
    for name, what in ((sink, "sink"), *((o, "origin") for o in inflows)):
        if name not in net.nodes:
            raise ValueError(f"the {what} {name!r} is no node of the network.")
    if sink in inflows:
        raise ValueError(f"the sink {sink!r} is an origin too; its agents have arrived.")
    for origin, inflow in inflows.items():
        if not any(rate for _, rate in inflow.steps):
            raise ValueError(f"the inflow at {origin!r} is always 0; leave that origin out.")
    barred_tail, barred_head = net.terminals - set(inflows), net.terminals - {sink}
    kept = [
        a
        for a in net.arcs
        if sink != a.tail != a.head and a.tail not in barred_tail and a.head not in barred_head
    ]
    back = _reached({sink}, [(a.head, a.tail) for a in kept])
    lost = next((o for o in inflows if o not in back), None)
    if lost is not None:
        raise ValueError(f"no route leads from {lost!r} to {sink!r}; check the arcs' directions.")
    both = back & _reached(inflows, [(a.tail, a.head) for a in kept])
    kept = [a for a in kept if a.tail in both and a.head in both]
    if len(kept) < len(net.arcs):
        notes.append(
            f"{len(net.arcs) - len(kept)} of {len(net.arcs)} arcs were dropped: they are on no "
            f"route from an origin to {sink}"
        )
    places = {n: p for n, p in net.positions.items() if n in both}
    nodes = tuple(n for n in net.nodes if n in both)
    return replace(net, nodes=nodes, arcs=tuple(kept), positions=places, terminals=frozenset[str]())


def _reached(start: Iterable[Any], pairs: Iterable[tuple[Any, Any]]) -> set[Any]:
    after: dict[Any, list[Any]] = {}
    for v, w in pairs:
        after.setdefault(v, []).append(w)
    seen, stack = set(start), list(start)
    while stack:
        for w in after.get(stack.pop(), ()):
            if w not in seen:
                seen.add(w)
                stack.append(w)
    return seen


def _arrivals(
    phases: list[ArrivalPhase], origin: str, rests: Mapping[Fraction, Mapping[str, Fraction]]
) -> Curve:
    points: list[tuple[Fraction, Fraction]] = []
    for phase in phases:
        points.append((phase.labels[origin], phase.start))
        if phase.end is not None:
            points.append((phase.label_at_end(origin), phase.end))
            if phase.end in rests:
                points.append((rests[phase.end][origin], phase.end))
    last = phases[-1]
    ahead = Fraction(1) if last.end is not None else 1 / last.label_slopes[origin]
    return Curve.through(points, ahead)


class _Extension:
    """One phase after another; nodes and arcs by their place, numbers rational."""

    def __init__(self, net: Network, sink: str, inflows: Mapping[str, Inflow], method: str) -> None:
        where = {n: i for i, n in enumerate(net.nodes)}
        self.net, self.method = net, method
        self.sink = where[sink]
        self.inflows = {where[o]: i for o, i in inflows.items()}
        self.tail = [where[a.tail] for a in net.arcs]
        self.head = [where[a.head] for a in net.arcs]
        self.tau = [q(a.transit) for a in net.arcs]
        self.nu = [q(a.capacity) for a in net.arcs]
        self.places = range(len(net.arcs))
        self.out: list[list[int]] = [[] for _ in net.nodes]
        self.into: list[list[int]] = [[] for _ in net.nodes]
        for e in self.places:
            self.out[self.tail[e]].append(e)
            self.into[self.head[e]].append(e)
        opens = {i: q(_opening(f, Fraction(0))) for i, f in self.inflows.items()}
        far = self._backwards({self.sink: q(0)}, {})
        first = min(at - far[i] for i, at in opens.items())
        self.rests: dict[Fraction, dict[str, Fraction]] = {}
        self.labels: list[Any] = [first + far[v] for v in range(len(net.nodes))]

    def run(
        self, horizon: Fraction | None, max_phases: int, on_phase: Callable[[], None]
    ) -> tuple[list[ArrivalPhase], str]:
        """Return the phases and how they ended."""
        found: list[ArrivalPhase] = []
        while True:
            slack = self._slack()
            rates = {i: self._rate(i) for i in self.inflows}
            tight = [e for e in self.places if slack[e] >= 0]
            reached = _reached(
                [i for i, r in rates.items() if r], [(self.tail[e], self.head[e]) for e in tight]
            )
            abandoned = any(slack[e] > 0 and self.tail[e] not in reached for e in tight)
            if self.sink not in reached or abandoned:
                if self.sink not in reached:
                    self._rest()
                if self._jump(slack, reached):
                    continue
                return found, "final"
            phase, slopes = self._phase(slack, rates, tight, reached, horizon)
            found.append(phase)
            on_phase()
            if phase.end is None:
                return found, "final"
            self.labels = [
                v + q(phase.end - phase.start) * s for v, s in zip(self.labels, slopes, strict=True)
            ]
            if horizon is not None and all(self.labels[i] >= horizon for i in self.inflows):
                return found, "horizon"
            if len(found) >= max_phases:
                return found, "phase-limit"

    def _rest(self) -> None:
        """Note the last departures that arrive by now when nobody is on the way any more."""
        now = self.labels[self.sink]
        end = self._backwards({self.sink: now}, {})
        self.rests[fraction(now)] = {
            n: fraction(v) for n, v in zip(self.net.nodes, end, strict=True)
        }

    def _slack(self) -> list[Any]:
        at = self.labels
        return [at[self.head[e]] - at[self.tail[e]] - self.tau[e] for e in self.places]

    def _rate(self, origin: int) -> Any:
        at = self.labels[origin]
        return q(0) if at < 0 else q(self.inflows[origin].rate(fraction(at)))

    def _phase(
        self,
        slack: list[Any],
        rates: dict[int, Any],
        tight: list[int],
        reached: set[int],
        horizon: Fraction | None,
    ) -> tuple[ArrivalPhase, list[Any]]:
        slopes, flow = self._thin_flow(slack, rates, tight, reached)
        candidates: list[tuple[Any, Event]] = []
        for e in self.places:
            moving, name = slopes[self.head[e]] - slopes[self.tail[e]], self.net.arcs[e].name
            if slack[e] > 0 > moving:
                candidates.append((slack[e] / -moving, Event("empties", name)))
            elif slack[e] < 0 < moving:
                candidates.append((-slack[e] / moving, Event("activates", name)))
        for i, inflow in self.inflows.items():
            change = inflow.next_change(fraction(self.labels[i]))
            if change is not None:
                event = Event("inflow changes", self.net.nodes[i])
                candidates.append(((q(change) - self.labels[i]) / slopes[i], event))
        if horizon is not None:
            left = max((q(horizon) - self.labels[i]) / slopes[i] for i in self.inflows)
            candidates.append((left, Event("horizon")))
        least = min((at for at, _ in candidates), default=None)
        start = fraction(self.labels[self.sink])
        nodes, arcs = self.net.nodes, self.net.arcs

        def named(values: list[Any]) -> dict[str, Fraction]:
            return {n: fraction(v) for n, v in zip(nodes, values, strict=True)}

        phase = ArrivalPhase(
            start,
            None if least is None else start + fraction(least),
            named(self.labels),
            named(slopes),
            {a.name: fraction(x) for a, x in zip(arcs, flow, strict=True)},
            {nodes[i]: fraction(r * slopes[i]) for i, r in rates.items()},
            frozenset(arcs[e].name for e in tight if slack[e] > 0),
            tuple(event for at, event in candidates if at == least),
        )
        return phase, slopes

    def _thin_flow(
        self, slack: list[Any], rates: dict[int, Any], tight: list[int], reached: set[int]
    ) -> tuple[list[Any], list[Any]]:
        """Solve the thin flow from a new source whose arcs always have a queue."""
        order = sorted(reached)
        small = {v: k for k, v in enumerate(order)}
        root = len(order)
        opened = [(i, r) for i, r in rates.items() if r]
        inside = [e for e in tight if self.tail[e] in reached]
        problem = Problem(
            root + 1,
            root,
            small[self.sink],
            sum((r for _, r in opened), q(0)),
            (
                *((root, small[i], r, True) for i, r in opened),
                *(
                    (small[self.tail[e]], small[self.head[e]], self.nu[e], bool(slack[e] > 0))
                    for e in inside
                ),
            ),
        )
        solution = solve(problem, method=self.method)
        unit = solution.slopes[small[self.sink]]
        slopes: list[Any] = [None] * len(self.net.nodes)
        flow: list[Any] = [q(0)] * len(self.net.arcs)
        for e, x in zip(inside, solution.flow[len(opened) :], strict=True):
            flow[e] = x / unit
        for v in topological(
            len(slopes), [(self.head[e], self.tail[e], None, False) for e in tight]
        ):
            used = rates.get(v) or any(flow[e] for e in self.into[v])
            if v == self.sink or used:
                slopes[v] = solution.slopes[small[v]] / unit
            else:
                slopes[v] = max(slopes[self.head[e]] for e in self.out[v] if slack[e] >= 0)
        self._check(slack, rates, tight, slopes, flow)
        return slopes, flow

    def _check(
        self,
        slack: list[Any],
        rates: dict[int, Any],
        tight: list[int],
        slopes: list[Any],
        flow: list[Any],
    ) -> None:
        """Check the conditions of an equilibrium in arrival time, apart from the solver."""
        for e in tight:
            here, there, x = slopes[self.tail[e]], slopes[self.head[e]], flow[e]
            full = x == self.nu[e] * there
            if slack[e] > 0 or there > here:
                good = full
            elif there < here:
                good = x == 0
            else:
                good = 0 <= x <= self.nu[e] * there
            if not good:
                raise FlowsError(f"arc {self.net.arcs[e].name} breaks its condition; report this.")
        for v, node in enumerate(self.net.nodes):
            gain = sum((flow[e] for e in self.into[v]), q(0)) + rates.get(v, 0) * slopes[v]
            if v != self.sink and gain != sum((flow[e] for e in self.out[v]), q(0)):
                raise FlowsError(f"flow is not conserved at {node}; report this.")

    def _jump(self, slack: list[Any], reached: set[int]) -> bool:
        """Move labels of nodes without flow over queues that drain; False if nothing follows.

        A label stays at or below the first arrival there of agents that still come.
        """
        opens = {
            i: q(at)
            for i, f in self.inflows.items()
            if i not in reached and (at := _opening(f, self.labels[i])) is not None
        }
        if self.sink not in reached and not opens:
            return False
        caps: dict[int, Any] = {}
        heap = [(at, i) for i, at in opens.items()] + [(self.labels[v], v) for v in reached]
        heapq.heapify(heap)
        while heap:
            at, v = heapq.heappop(heap)
            if v in caps:
                continue
            caps[v] = at
            for e in self.out[v]:
                there = at + self.tau[e]
                if slack[e] > 0:
                    there = max(there, self.labels[self.head[e]])
                heapq.heappush(heap, (there, self.head[e]))
        known = {v: self.labels[v] for v in reached}
        if self.sink not in reached:
            known = {self.sink: caps[self.sink]}
        moved = self._backwards(known, caps)
        if moved == self.labels:
            raise FlowsError("queues drain and no label moves; report this.")
        self.labels = moved
        return True

    def _backwards(self, known: dict[int, Any], caps: dict[int, Any]) -> list[Any]:
        """Return the latest times at all nodes, none above its cap, from those of some."""
        found: dict[int, Any] = {}
        heap = [(-at, v) for v, at in known.items()]
        heapq.heapify(heap)
        while heap:
            late, v = heapq.heappop(heap)
            if v in found:
                continue
            at = found[v] = known[v] if v in known else min(-late, caps.get(v, -late))
            for e in self.into[v]:
                if self.tail[e] not in found:
                    heapq.heappush(heap, (self.tau[e] - at, self.tail[e]))
        return [found[v] for v in range(len(self.net.nodes))]


def _opening(inflow: Inflow, after: Any) -> Fraction | None:
    """Return the first time from a given one on at which the rate is positive."""
    for number, (start, rate) in enumerate(inflow.steps):
        last = number + 1 == len(inflow.steps)
        if rate and (last or inflow.steps[number + 1][0] > after):
            return fraction(max(q(start), q(after)))
    return None
