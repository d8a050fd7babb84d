"""A Nash flow over time from many origins: what it consists of and what follows from it."""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from extremal.lab import Part, Table, rational, write_certificate

from ._curves import Curve
from ._equilibrium import Event, decompose, phases_as_text
from ._inflow import Inflow
from ._network import Arc, Network, Number
from ._numbers import short
from ._packets import RouteInflow

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


def _rooted(net: Network, origins: Iterable[str]) -> Network:
    """Add a node with an arc to each origin, to split a flow into routes."""
    one = Fraction(1)
    more = tuple(Arc(_ROOT, o, one, one, name=_ROOT + o) for o in origins)
    return replace(net, nodes=(_ROOT, *net.nodes), arcs=(*more, *net.arcs))
