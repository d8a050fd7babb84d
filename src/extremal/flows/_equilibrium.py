"""What `nash` returns: phases, and everything that follows from them."""

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

from extremal.lab import Part, Table, rational, write_certificate

from ._curves import Curve
from ._errors import FlowsError
from ._extension import Stretch, extend
from ._inflow import Inflow
from ._network import Journey, Network, Number
from ._numbers import fraction, short


@dataclass(frozen=True)
class Event:
    """What ends a phase.

    Attributes:
        kind: `"activates"`, `"empties"`, `"inflow changes"`, `"horizon"`; with spillback also
            `"fills"` and `"bound changes"`.
        arc: Name of the arc, or "".
    """

    kind: str
    arc: str = ""

    def __str__(self) -> str:
        return f"{self.arc} {self.kind}" if self.arc else self.kind


@dataclass(frozen=True)
class Phase:
    """Agents departing in [start, end) whose routes have the same derivative.

    Attributes:
        start: Departure of the first.
        end: Departure of the last; None: for ever.
        labels: Arrival of the first at each node.
        label_slopes: Derivatives of the arrivals in the departure time.
        flow: Static flow on each arc.
        active: Arcs on shortest routes.
        resetting: Arcs with a queue.
        events: What ends it.
        factors: With spillback, the factor c of each node (1: nothing is throttled).
        full: With spillback, the arcs whose inflow is bounded by what leaves them.
    """

    start: Any
    end: Any
    labels: dict[str, Any]
    label_slopes: dict[str, Any]
    flow: dict[str, Any]
    active: frozenset[str]
    resetting: frozenset[str]
    events: tuple[Event, ...]
    factors: dict[str, Any] = field(default_factory=dict)
    full: frozenset[str] = frozenset()

    @property
    def duration(self) -> Any:
        """How long it lasts, or None."""
        return None if self.end is None else self.end - self.start


@dataclass(frozen=True)
class Route:
    """A route and the rate at which agents take it.

    Attributes:
        arcs: Names in order.
        rate: Volume per unit of departure time.
    """

    arcs: tuple[str, ...]
    rate: Any


@dataclass(frozen=True)
class NashFlow:
    """A Nash flow over time.

    Attributes:
        status: `"final"`: the last phase lasts for ever; `"horizon"`; or `"phase-limit"`: computing
            stopped there, and what is known is right.
        phases: In order of departure.
        journey: Network, source and sink that were solved.
        inflow: Rate at the source.
        arithmetic: `"exact"` or `"float"`.
        notes: What was dropped or read in a certain way, for people.
        path: The run folder, if any.
        pivots: Of each phase.
        seconds: How long the phases took.
    """

    status: str
    phases: tuple[Phase, ...]
    journey: Journey
    inflow: Inflow
    arithmetic: str
    notes: tuple[str, ...] = ()
    path: Path | None = None
    pivots: tuple[int, ...] = ()
    seconds: float = 0.0
    stretches: tuple[Stretch, ...] = field(default=(), repr=False)

    @property
    def network(self) -> Network:
        """The network that was solved, after dropping what is on no route."""
        return self.journey.network

    @property
    def source(self) -> str:
        """Where agents depart."""
        return self.journey.source

    @property
    def sink(self) -> str:
        """Where agents arrive."""
        return self.journey.sink

    @property
    def exit_code(self) -> int:
        """0, or 3 if the phase limit was reached."""
        return 3 if self.status == "phase-limit" else 0

    @property
    def until(self) -> Any:
        """Departure time up to which the flow is known; None: for ever."""
        return self.phases[-1].end

    @property
    def breakpoints(self) -> tuple[Any, ...]:
        """Starts of the phases after the first."""
        return tuple(p.start for p in self.phases[1:])

    def phase_at(self, departure: Any) -> Phase:
        """Return the phase of a departure time.

        Raises:
            ValueError: The time is below 0 or after what is known.
        """
        at = self._time(departure)
        if at < 0 or (self.until is not None and at > self.until):
            raise ValueError(
                f"departure {departure} is outside what is known, 0 to "
                f"{'for ever' if self.until is None else self.until}; raise the horizon."
            )
        return next(p for p in reversed(self.phases) if p.start <= at)

    def labels(self, departure: Number) -> dict[str, Any]:
        """Return the earliest arrival at each node of the agent departing then."""
        at = self._time(departure)
        phase = self.phase_at(at)
        ahead = at - phase.start
        return {n: v + ahead * phase.label_slopes[n] for n, v in phase.labels.items()}

    def arrival(self, departure: Number) -> Any:
        """Return when the agent departing then reaches the sink."""
        return self.labels(departure)[self.sink]

    def travel_time(self, departure: Number) -> Any:
        """Return how long the agent departing then is on its way."""
        return self.arrival(departure) - self._time(departure)

    def total_travel_time(self, start: Number = 0, end: Number | None = None) -> Any:
        """Return the integral of inflow times travel time over departures from `start` to `end`.

        Args:
            start: First departure.
            end: Last; by default when the inflow stops.

        Raises:
            ValueError: The inflow does not stop and no end is given, or it is not known so far.
        """
        a, b = self._time(start), self._last_departure() if end is None else self._time(end)
        if b < a or a < 0:
            raise ValueError(f"departures from {start} to {end} are no interval in time.")
        self.phase_at(b)
        total = 0 * a
        for phase in self.phases:
            marks = [phase.start, *(s for s, _ in self.inflow.steps if s > phase.start)]
            rate = self._number(self.inflow.rate(_floor(phase.start)))
            lo = max(a, phase.start)
            hi = b if phase.end is None else min(b, phase.end)
            if hi > lo and marks:
                slope = phase.label_slopes[self.sink]
                first = phase.labels[self.sink] + (lo - phase.start) * slope - lo
                total += rate * (hi - lo) * (first + (slope - 1) * (hi - lo) / 2)
        return total

    def completion(self, volume: Number | None = None) -> Any:
        """Return when the last agent arrives, of a volume or of all that ever depart.

        Raises:
            ValueError: The inflow never ends, or never brings so much.
        """
        if volume is None:
            return self.arrival(self._last_departure())
        last = self.inflow.time_of(rational(volume))
        if last is None:
            raise ValueError(f"the inflow never brings the volume {volume}.")
        return self.arrival(last)

    def queue(self, arc: str, departure: Number) -> Any:
        """Return the waiting time on an arc that the agent departing then would meet there."""
        edge = self.network.arc(arc)
        labels = self.labels(departure)
        slack = labels[edge.head] - labels[edge.tail] - self._number(edge.transit)
        return max(slack, 0 * slack)

    def inflow_curve(self, arc: str) -> Curve:
        """Return the cumulative inflow of an arc over clock time."""
        return self._curve(arc, self.network.arc(arc).tail)

    def outflow_curve(self, arc: str) -> Curve:
        """Return the cumulative outflow of an arc over clock time."""
        return self._curve(arc, self.network.arc(arc).head)

    def queue_curve(self, arc: str) -> Curve:
        """Return the volume waiting at the end of an arc over clock time."""
        edge = self.network.arc(arc)
        shift = self._number(edge.transit)
        a, b = self.inflow_curve(arc), self.outflow_curve(arc)
        times = sorted({t + shift for t in a.times} | set(b.times))
        points = [(t, a(t - shift) - b(t)) for t in times]
        return Curve.through(points, a.slope - b.slope)

    def label_curve(self, node: str) -> Curve:
        """Return the arrival at a node over the departure time."""
        points = [(p.start, p.labels[node]) for p in self.phases]
        last = self.phases[-1]
        slope = last.label_slopes[node]
        if last.end is not None:
            points.append((last.end, last.labels[node] + last.duration * slope))
        return Curve.through(points, slope)

    def routes(self, departure: Number) -> tuple[Route, ...]:
        """Split the flow of a phase into routes.

        Not unique: the route of largest bottleneck is peeled off, ties by the order of arcs, until
        nothing is left.
        """
        phase = self.phase_at(departure)
        return decompose(self.network, self.source, self.sink, phase.flow)

    def certified(self) -> "NashFlow":
        """Return the exact flow that the bases of a float flow give.

        Each basis is solved and checked in rationals; one that does not hold exactly (where floats
        met a tie) is found anew.
        """
        if self.arithmetic == "exact":
            return self
        until = None if self.until is None else rational(float(self.until))
        horizon = until if self.status == "horizon" else None
        hints = [(s.states, s.zeros) for s in self.stretches]
        raw, status = extend(
            self.journey,
            self.inflow,
            horizon=horizon,
            exact=True,
            method="auto",
            max_phases=len(self.phases) if self.status == "phase-limit" else 100_000,
            hints=hints,
        )
        return replace(assemble(self.journey, self.inflow, raw, status, "exact", self.notes),
                       path=self.path)  # fmt: skip

    @cached_property
    def certificate(self) -> "Path | Part":
        """The file in the run folder; without a folder the claim itself with its witness."""
        if self.path is not None:
            return self.path / "certificate.json"
        return nash_part(self)

    def save(self, folder: Path | str) -> Path:
        """Write `certificate.json` into a folder; floats are solved exactly first."""
        return write_certificate(Path(folder) / "certificate.json", [nash_part(self)])

    def table(self) -> Table:
        """Return a row for each phase."""
        rows = [
            [
                str(i),
                short(p.start),
                short(p.end),
                short(p.label_slopes[self.sink]),
                short(p.labels[self.sink] - p.start),
                len(p.resetting),
                ", ".join(map(str, p.events[:3])) + (" …" if len(p.events) > 3 else ""),
            ]
            for i, p in enumerate(self.phases)
        ]
        notes = "".join(f"\nnote: {n}" for n in self.notes)
        return Table(
            ["phase", "from", "to", f"slope at {self.sink}", "travel time", "queues", "ends when"],
            rows,
            title=f"Nash flow over time {self.source} -> {self.sink}, inflow "
            f"{self.inflow.as_text()}: {len(self.phases)} phases, {self.status}, "
            f"{self.arithmetic}, {self.seconds:.3g} s{notes}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return plain values; fractions as text."""

        def plain(v: Any) -> Any:
            return str(v) if isinstance(v, Fraction) else v

        return {
            "status": self.status,
            "arithmetic": self.arithmetic,
            "source": self.source,
            "sink": self.sink,
            "inflow": self.inflow.as_text(),
            "notes": list(self.notes),
            "seconds": self.seconds,
            "path": None if self.path is None else str(self.path),
            "phases": [
                {
                    "start": plain(p.start),
                    "end": plain(p.end),
                    "labels": {n: plain(v) for n, v in p.labels.items()},
                    "label_slopes": {n: plain(v) for n, v in p.label_slopes.items()},
                    "flow": {n: plain(v) for n, v in p.flow.items() if v},
                    "resetting": sorted(p.resetting),
                    "events": [str(e) for e in p.events],
                }
                for p in self.phases
            ],
        }

    def _curve(self, arc: str, node: str) -> Curve:
        volume = self._number(Fraction(0))
        points = [(self.phases[0].labels[node], volume)]
        slope: Any = 0 * volume
        for phase in self.phases:
            rise = phase.label_slopes[node]
            slope = phase.flow[arc] / rise if rise else 0 * volume
            if phase.end is not None:
                volume += phase.duration * phase.flow[arc]
                points.append((phase.labels[node] + phase.duration * rise, volume))
        return Curve.through(points, slope)

    def _number(self, value: Fraction) -> Any:
        return value if self.arithmetic == "exact" else float(value)

    def _time(self, value: Any) -> Any:
        return self._number(rational(value))

    def _last_departure(self) -> Any:
        start, rate = self.inflow.steps[-1]
        if rate > 0:
            raise ValueError("the inflow does not stop, so say until when: end=, or a volume.")
        return self._number(start)


def decompose(network: Network, source: str, sink: str, flow: dict[str, Any]) -> tuple[Route, ...]:
    """Peel routes of largest bottleneck off an acyclic flow, ties by the order of arcs."""
    left = {a.name: flow.get(a.name, 0) for a in network.arcs}
    routes: list[Route] = []
    while True:
        # Widest route by relaxation along the arcs with flow; the flow is acyclic.
        best: dict[str, tuple[Any, tuple[str, ...]]] = {source: (None, ())}
        changed = True
        while changed:
            changed = False
            for arc in network.arcs:
                if arc.tail not in best or left[arc.name] <= 0:
                    continue
                width, way = best[arc.tail]
                wide = left[arc.name] if width is None else min(width, left[arc.name])
                better = arc.head not in best or (best[arc.head][0] or 0) < wide
                if better and arc.head != source:
                    best[arc.head] = (wide, (*way, arc.name))
                    changed = True
        if sink not in best or best[sink][0] is None:
            return tuple(routes)
        width, way = best[sink]
        if isinstance(width, float) and width < 1e-9:
            return tuple(routes)
        routes.append(Route(way, width))
        for name in way:
            left[name] -= width


def assemble(
    trip: Journey,
    inflow: Inflow,
    raw: Sequence[Stretch],
    status: str,
    arithmetic: str,
    notes: Sequence[str],
    seconds: float = 0.0,
) -> NashFlow:
    """Give numbers their names."""
    nodes, arcs = trip.network.nodes, [a.name for a in trip.network.arcs]
    value = fraction if arithmetic == "exact" else float

    def named(names: Sequence[str], values: Sequence[Any]) -> dict[str, Any]:
        return {n: value(v) for n, v in zip(names, values, strict=True)}

    phases = tuple(
        Phase(
            value(s.start),
            None if s.end is None else value(s.end),
            named(nodes, s.labels),
            named(nodes, s.slopes),
            named(arcs, s.flow),
            frozenset(arcs[e] for e in s.active),
            frozenset(arcs[e] for e in s.resetting),
            tuple(Event(kind, "" if e < 0 else arcs[e]) for kind, e in s.events),
        )
        for s in raw
    )
    return NashFlow(
        status, phases, trip, inflow, arithmetic, tuple(notes), None,
        tuple(s.pivots for s in raw), seconds, tuple(raw),
    )  # fmt: skip


def nash_part(flow: NashFlow) -> Part:
    """Return the claim `flows/nash` with its witness.

    Raises:
        FlowsError: The flow is one with spillback, which has no certificate.
    """
    if flow.network.spills:
        raise FlowsError(
            "an equilibrium with spillback has no certificate: its theory gives no uniqueness to "
            "state; its conditions are checked exactly while it is computed."
        )
    exact = flow.certified()
    net, last = exact.network, exact.phases[-1]
    instance: dict[str, Any] = {
        "nodes": list(net.nodes),
        "arcs": [[a.tail, a.head, str(a.transit), str(a.capacity)] for a in net.arcs],
        "source": exact.source,
        "sink": exact.sink,
        "inflow": [[str(a), str(b)] for a, b in exact.inflow.steps],
        "until": None if exact.until is None else str(exact.until),
    }
    text = json.dumps(list(instance.values()), separators=(",", ":"))
    end = last.start if exact.until is None else exact.until
    claim = {
        **instance,
        "instance_sha256": hashlib.sha256(text.encode()).hexdigest(),
        "status": exact.status,
        "phases": len(exact.phases),
        "sink_label": str(exact.arrival(end)),
        "total_travel_time": str(exact.total_travel_time(0, end)),
    }
    return Part("flows/nash", 1, claim, {"phases": phases_as_text(exact.phases)})


def phases_as_text(phases: Iterable[Any]) -> list[dict[str, Any]]:
    """Return the witness of a list of phases: fractions as text, nodes and arcs in order."""
    return [
        {
            "start": str(p.start),
            "end": None if p.end is None else str(p.end),
            "labels": [str(v) for v in p.labels.values()],
            "slopes": [str(v) for v in p.label_slopes.values()],
            "flow": [str(v) for v in p.flow.values()],
        }
        for p in phases
    ]


def _floor(time: Any) -> Fraction:
    """A phase start as a fraction; in floats a hair later, so that its own rate is meant."""
    return time if isinstance(time, Fraction) else Fraction(time) + Fraction(1, 10**9)
