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

import hashlib
import heapq
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from extremal.lab import Part, Table, rational, write_certificate

from ._curves import Curve
from ._equilibrium import Event, decompose, phases_as_text
from ._errors import FlowsError
from ._inflow import Inflow
from ._network import Arc, Network, Number
from ._numbers import fraction, q, short
from ._packets import RouteInflow
from ._thin_flow import Problem, solve, topological

_ROOT = "\0origins"


@dataclass(frozen=True)
class ArrivalPhase:
    """Agents arriving in [start, end), whose routes have the same derivative.

    Attributes:
        start: Arrival of the first.
        end: Arrival of the last; None: for ever.
        labels: Latest time at each node from which the sink is reached by `start`.
        label_slopes: Derivatives of the labels in the arrival.
        flow: Static flow on each arc per unit of arrival time.
        supply: What each origin sends per unit of arrival time.
        resetting: Arcs with a queue.
        events: What ends it; `arc` is the origin where its inflow changes.
    """

    start: Fraction
    end: Fraction | None
    labels: dict[str, Fraction]
    label_slopes: dict[str, Fraction]
    flow: dict[str, Fraction]
    supply: dict[str, Fraction]
    resetting: frozenset[str]
    events: tuple[Event, ...]

    def label_at_end(self, node: str) -> Fraction:
        """Return the label of a node at the end of a phase that ends."""
        assert self.end is not None
        return self.labels[node] + (self.end - self.start) * self.label_slopes[node]


@dataclass(frozen=True)
class ArrivalFlow:
    """A Nash flow over time from many origins to one sink.

    Attributes:
        status: `"final"`: known for ever; `"horizon"`; or `"phase-limit"`: computing stopped there,
            and what is known is right.
        phases: In order of arrival. Between two of them labels of nodes without flow may jump.
        network: Arcs that lie on a route from an origin to the sink.
        sink: Where all agents go.
        inflows: Rate at each origin.
        notes: What was dropped or read in a certain way, for people.
        arrivals: Of each origin, the arrival of who departs then; `arrival` also knows the ends.
        seconds: Wall time of computing.
        path: The run folder, if there is one.
    """

    status: str
    phases: tuple[ArrivalPhase, ...]
    network: Network
    sink: str
    inflows: Mapping[str, Inflow]
    notes: tuple[str, ...] = ()
    arrivals: Mapping[str, Curve] = field(default_factory=dict, repr=False)
    seconds: float = 0.0
    path: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, or 3 if the phase limit was reached."""
        return 3 if self.status == "phase-limit" else 0

    def known_until(self, origin: str) -> Fraction | None:
        """Return the departure at an origin up to which the flow is known; None: for ever."""
        self._check(origin)
        return None if self.status == "final" else self.phases[-1].label_at_end(origin)

    def arrival(self, origin: str, departure: Number) -> Fraction:
        """Return when the agent leaving an origin then reaches the sink.

        Raises:
            ValueError: There is no such origin, or the departure is not known so far.
        """
        at, until = rational(departure), self.known_until(origin)
        if at < 0 or (until is not None and at > until):
            raise ValueError(
                f"the departure {departure} at {origin} is outside what is known, 0 to "
                f"{'for ever' if until is None else until}; raise the horizon or phase limit."
            )
        curve = self.arrivals[origin]
        first, value = curve.times[0], curve.values[0]
        return value + at - first if at < first else curve(at)  # before: an empty network

    def travel_time(self, origin: str, departure: Number) -> Fraction:
        """Return how long the agent leaving an origin then is on its way."""
        return self.arrival(origin, departure) - rational(departure)

    def total_travel_time(self, until: Number | None = None) -> Fraction:
        """Return the travel time of all that depart, or depart before a time."""
        total = Fraction(0)
        for origin, inflow in self.inflows.items():
            end = self._end(origin, until)
            marks = sorted(
                {Fraction(0), end}
                | {t for t, _ in inflow.steps if t < end}
                | {t for t in self.arrivals[origin].times if 0 < t < end}
            )
            for a, b in pairwise(marks):
                both = self.travel_time(origin, a) + self.travel_time(origin, b)
                total += inflow.rate(a) * (b - a) * both / 2
        return total

    def demand(self, until: Number | None = None) -> list[RouteInflow]:
        """Return routes with their inflows, for `gap`, `load_fluid` and `simulate`.

        Routes are not unique: in each phase the widest is peeled off, ties by the order of arcs.

        Args:
            until: Last departure; by default when the inflows have stopped.

        Raises:
            ValueError: An inflow does not stop and no end is given, or is not known so far.
        """
        ends = {origin: self._end(origin, until) for origin in self.inflows}
        net = _rooted(self.network, self.inflows)
        spans: dict[str, list[tuple[Fraction, Fraction]]] = {o: [] for o in self.inflows}
        rates: dict[tuple[str, ...], dict[Fraction, Fraction]] = {}
        for phase in self.phases:
            supply = {_ROOT + o: r for o, r in phase.supply.items() if r}
            for origin in phase.supply:
                begin, last = phase.labels[origin], ends[origin]
                if phase.end is not None:
                    last = min(last, phase.label_at_end(origin))
                if phase.supply[origin] and begin < last:
                    spans[origin].append((begin, last))
            for route in decompose(net, _ROOT, self.sink, {**phase.flow, **supply}):
                origin = route.arcs[0].removeprefix(_ROOT)
                rate = route.rate / phase.label_slopes[origin]
                rates.setdefault(route.arcs, {})[phase.labels[origin]] = rate
        found: list[RouteInflow] = []
        for way, known in rates.items():
            origin = way[0].removeprefix(_ROOT)
            rows: dict[Fraction, Fraction] = {}
            for begin, last in spans[origin]:
                rows |= {begin: known.get(begin, Fraction(0)), last: Fraction(0)}
            steps = [(a, r) for a, r in rows.items()]
            thin = [s for k, s in enumerate(steps) if k == 0 or s[1] != steps[k - 1][1]]
            if any(rate for _, rate in thin):
                found.append(RouteInflow(way[1:], Inflow(tuple(thin)), origin))
        return found

    @property
    def certificate(self) -> "Path | Part":
        """The file in the run folder; without a folder the claim itself with its witness."""
        if self.path is not None:
            return self.path / "certificate.json"
        return self._part()

    def save(self, folder: Path | str) -> Path:
        """Write `certificate.json`, of kind `flows/nash-to`, into a folder."""
        return write_certificate(Path(folder) / "certificate.json", [self._part()])

    def _part(self) -> Part:
        net, last = self.network, self.phases[-1]
        instance: dict[str, Any] = {
            "nodes": list(net.nodes),
            "arcs": [[a.tail, a.head, str(a.transit), str(a.capacity)] for a in net.arcs],
            "sink": self.sink,
            "origins": [
                [o, [[str(a), str(b)] for a, b in i.steps]] for o, i in self.inflows.items()
            ],
        }
        text = json.dumps(list(instance.values()), separators=(",", ":"))
        phases = list(self._without_gaps())
        ended = [p for p in self.phases if p.end is not None]
        total = sum((self._travel_time_in(p) for p in ended), Fraction(0))
        known = None if self.status == "final" else [str(self.known_until(o)) for o in self.inflows]
        claim = {
            **instance,
            "instance_sha256": hashlib.sha256(text.encode()).hexdigest(),
            "status": self.status,
            "known": known,
            "phases": len(phases),
            "last_arrival": str(last.start if last.end is None else last.end),
            "total_travel_time": str(total),
        }
        return Part("flows/nash-to", 1, claim, {"phases": phases_as_text(phases)})

    def _without_gaps(self) -> Iterator[ArrivalPhase]:
        """The phases, and those of an empty network between them, in which nobody arrives."""
        for phase, following in zip(self.phases, [*self.phases[1:], None], strict=True):
            yield phase
            if following is None or phase.end == following.start:
                continue
            assert phase.end is not None
            yield ArrivalPhase(
                phase.end,
                following.start,
                {v: at - (following.start - phase.end) for v, at in following.labels.items()},
                dict.fromkeys(following.labels, Fraction(1)),
                dict.fromkeys(phase.flow, Fraction(0)),
                dict.fromkeys(phase.supply, Fraction(0)),
                frozenset(),
                (),
            )

    def _travel_time_in(self, phase: ArrivalPhase) -> Fraction:
        """Of all that arrive in a phase with an end."""
        assert phase.end is not None
        length = phase.end - phase.start
        return sum(
            (
                rate
                * length
                * (phase.start - phase.labels[o] + (1 - phase.label_slopes[o]) * length / 2)
                for o, rate in phase.supply.items()
            ),
            Fraction(0),
        )

    def table(self) -> Table:
        """Return a row for each phase."""
        rows: list[list[str | float | int | None]] = [
            [
                number,
                short(p.start),
                short(p.end),
                " ".join(o for o, r in p.supply.items() if r),
                len(p.resetting),
                ", ".join(map(str, p.events)),
            ]
            for number, p in enumerate(self.phases)
        ]
        columns = ["phase", "arrivals from", "to", "origins", "queues", "ended by"]
        notes = "".join(f"\nnote: {n}" for n in self.notes)
        title = (
            f"Nash flow over time to {self.sink} from {len(self.inflows)} origins: "
            f"{len(self.phases)} phases, {self.status}, {self.seconds:.3g} s{notes}"
        )
        return Table(columns, rows, title=title)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; fractions as text."""

        def plain(values: Mapping[str, Fraction]) -> dict[str, str]:
            return {k: str(v) for k, v in values.items()}

        return {
            "status": self.status,
            "sink": self.sink,
            "inflows": {o: i.as_text() for o, i in self.inflows.items()},
            "notes": list(self.notes),
            "phases": [
                {
                    "start": str(p.start),
                    "end": None if p.end is None else str(p.end),
                    "labels": plain(p.labels),
                    "label_slopes": plain(p.label_slopes),
                    "flow": plain(p.flow),
                    "supply": plain(p.supply),
                    "resetting": sorted(p.resetting),
                    "events": [str(e) for e in p.events],
                }
                for p in self.phases
            ],
        }

    def _check(self, origin: str) -> None:
        if origin not in self.inflows:
            raise ValueError(f"{origin!r} is no origin; origins are {', '.join(self.inflows)}.")

    def _end(self, origin: str, until: Number | None) -> Fraction:
        start, rate = self.inflows[origin].steps[-1]
        end = start if until is None else rational(until)
        if until is None and rate:
            raise ValueError(f"the inflow at {origin} never stops; give the last departure.")
        known = self.known_until(origin)
        if known is not None and known < end:
            raise ValueError(
                f"departures at {origin} are known up to {known}, and {end} is asked for; raise "
                "the horizon or phase limit."
            )
        return end


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


def _rooted(net: Network, origins: Iterable[str]) -> Network:
    """Add a node with an arc to each origin, to split a flow into routes."""
    one = Fraction(1)
    more = tuple(Arc(_ROOT, o, one, one, name=_ROOT + o) for o in origins)
    return replace(net, nodes=(_ROOT, *net.nodes), arcs=(*more, *net.arcs))


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
