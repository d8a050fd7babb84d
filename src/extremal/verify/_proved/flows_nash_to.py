"""Checker of `flows/nash-to`: phases in arrival time are a Nash flow from many origins to a sink.

Proves: the volumes that the phases send through the arcs, loaded into the queues again, come out as
the labels say; the labels are, for the travel times of these queues, the latest times from which
the sink is still reached, so nobody on the way could have arrived earlier; everybody who departs is
on the way.
Does not say: that the network describes any real roads, or that the flow on arcs is the only one.

Notation: agents are ordered by their arrival a at the sink; l_v(a) is the latest time at v from
which the sink is reached by a; T_e(t) when an agent entering arc e at time t leaves it; E_e its
inverse, the last entry that is out by a given time.
"""

import hashlib
import json
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._flow_witness import Arc, Phase, Polyline, network, phase_of, rational, reloads, short, steps

KIND = "flows/nash-to"
STRENGTH = "proved"
CLAIM = (
    "nodes", "arcs", "sink", "origins", "instance_sha256", "status", "known", "phases",
    "last_arrival", "total_travel_time",
)  # fmt: skip
WITNESS = ("phases",)

_INSTANCE = ("nodes", "arcs", "sink", "origins")

Inflows = dict[int, list[tuple[Fraction, Fraction]]]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    del folder  # everything stands in the certificate
    stated = fields.digest(claim, "instance_sha256")
    text = json.dumps([claim[name] for name in _INSTANCE], separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != stated:
        raise Rejected("the instance has changed: its SHA-256 is not the stated one.")
    names, arcs, sink, inflows = _instance(claim)
    phases = [phase_of(p, len(names), len(arcs)) for p in fields.items(witness, "phases")]
    if not phases or len(phases) != fields.natural(claim, "phases"):
        raise Rejected(f"the witness has {len(phases)} phases, not the stated number.")

    _starts_empty(phases[0], arcs, sink, inflows)
    for number, phase in enumerate(phases):
        where = f"phase {number}"
        following = phases[number + 1] if number + 1 < len(phases) else None
        _joins(phase, following, sink, inflows, where)
        _everybody_is_on_the_way(phase, arcs, sink, inflows, where)
    out: list[list[tuple[int, _Exits]]] = [[] for _ in names]
    for number, arc in enumerate(arcs):
        entries = reloads(phases, arcs, number)
        if arc.tail != sink:
            out[arc.tail].append((arc.head, _Exits.of(entries, arc, phases[-1], number)))
    for number, phase in enumerate(phases):
        for node, leaving in enumerate(out):
            if node != sink:
                _is_the_latest(phase, node, leaving, f"phase {number}: node {names[node]}")

    known = _known(claim, phases, inflows, names)
    end = phases[-1].start if phases[-1].end is None else phases[-1].end
    if end != rational(claim["last_arrival"], "last_arrival"):
        raise Rejected(f"last_arrival is {claim['last_arrival']}, the phases give {end}.")
    total = sum((_travel_time(p, inflows) for p in phases if p.end is not None), Fraction(0))
    if total != rational(claim["total_travel_time"], "total_travel_time"):
        raise Rejected(f"total_travel_time is {claim['total_travel_time']}, found {total}.")
    return [
        f"a Nash flow over time to {names[sink]} from {len(inflows)} origins on {len(names)} nodes "
        f"and {len(arcs)} arcs, {known}",
        f"{len(phases)} phases; arrivals up to {short(end)}",
        "the volumes, loaded into the queues again, leave them when the labels say; nobody could "
        "have arrived earlier",
    ]


def _instance(claim: dict[str, Any]) -> tuple[list[str], list[Arc], int, Inflows]:
    names, arcs = network(claim)
    sink = fields.text(claim, "sink")
    if sink not in names:
        raise Rejected("the sink is no node.")
    inflows: Inflows = {}
    for row in fields.items(claim, "origins"):
        if not isinstance(row, list) or len(row) != 2 or row[0] not in names or row[0] == sink:
            raise Rejected("an origin is not [node, inflow] with a node that is not the sink.")
        if not isinstance(row[1], list) or names.index(row[0]) in inflows:
            raise Rejected(f"the origin {row[0]} stands twice or has no list of rates.")
        inflows[names.index(row[0])] = steps(row[1], f"the inflow of {row[0]}")
    if not inflows:
        raise Rejected("there is no origin.")
    return names, arcs, names.index(sink), inflows


def _volume(inflow: list[tuple[Fraction, Fraction]], time: Fraction) -> Fraction:
    """What has departed by a time; nothing before 0."""
    total = Fraction(0)
    for (start, rate), following in zip(inflow, [*inflow[1:], None], strict=True):
        until = time if following is None else min(time, following[0])
        total += rate * max(until - start, Fraction(0))
    return total


def _starts_empty(phase: Phase, arcs: list[Arc], sink: int, inflows: Inflows) -> None:
    """Check that the first labels are those of an empty network and nobody has departed."""
    last: dict[int, Fraction] = {sink: phase.start}
    for arc in arcs:
        through = phase.labels[arc.head] - arc.tau
        if arc.tail != sink and (arc.tail not in last or through > last[arc.tail]):
            last[arc.tail] = through
    if any(last.get(v) != at for v, at in enumerate(phase.labels)):
        raise Rejected("the first labels are not the start less the distances to the sink.")
    if any(_volume(inflow, phase.labels[v]) for v, inflow in inflows.items()):
        raise Rejected("somebody departs before the first phase.")


def _joins(phase: Phase, following: Phase | None, sink: int, inflows: Inflows, where: str) -> None:
    if phase.labels[sink] != phase.start or phase.slopes[sink] != 1:
        raise Rejected(f"{where}: the sink's label is not the arrival.")
    if any(slope < 0 for slope in phase.slopes):
        raise Rejected(f"{where}: a label falls.")
    if phase.end is None:
        if following is not None:
            raise Rejected(f"{where} has no end and is not the last.")
        return
    if phase.end <= phase.start:
        raise Rejected(f"{where} ends at {phase.end}, not after its start {phase.start}.")
    if following is None:
        return
    labels = phase.after(phase.end - phase.start)
    if following.start != phase.end:
        raise Rejected(f"{where} ends at {phase.end}, the next starts at {following.start}.")
    if any(b < a for a, b in zip(labels, following.labels, strict=True)):
        raise Rejected(f"{where}: a label falls to that of the next phase.")
    for v, inflow in inflows.items():
        if _volume(inflow, labels[v]) != _volume(inflow, following.labels[v]):
            raise Rejected(f"{where}: somebody departs while labels jump after it.")


def _rate(
    phase: Phase, origin: int, inflow: list[tuple[Fraction, Fraction]], where: str
) -> Fraction:
    """The inflow at an origin's departures of a phase, which must not change inside it."""
    begin, slope = phase.labels[origin], phase.slopes[origin]
    end = None if phase.end is None else begin + slope * (phase.end - phase.start)
    rate = Fraction(0)
    for start, value in inflow:
        if start <= begin:
            rate = value
        elif slope and value != rate and (end is None or start < end):
            raise Rejected(f"{where}: the inflow at an origin changes inside it.")
    return rate * slope


def _everybody_is_on_the_way(
    phase: Phase, arcs: list[Arc], sink: int, inflows: Inflows, where: str
) -> None:
    balance = [Fraction(0)] * len(phase.labels)
    for v, inflow in inflows.items():
        balance[v] = _rate(phase, v, inflow, where)
    for number, arc in enumerate(arcs):
        x = phase.flow[number]
        if x < 0 or (x and arc.tail == sink):
            raise Rejected(f"{where}: arc {number} carries the flow {x}.")
        balance[arc.tail] -= x
        balance[arc.head] += x
    balance[sink] = Fraction(0)  # follows from the others
    if any(balance):
        raise Rejected(f"{where}: the flow on the arcs does not carry what departs.")


@dataclass(frozen=True)
class _Exits:
    """When entries of an arc leave it: a nondecreasing polyline, then a slope for ever.

    Before the first point the arc is empty. Behind the last known entry nobody enters in a flow
    that ends; later entries could only make others later.
    """

    entry: list[Fraction]
    exit: list[Fraction]
    onward: Fraction

    @classmethod
    def of(cls, entries: Polyline, arc: Arc, last: Phase, number: int) -> "_Exits":
        first = entries[0][0]
        points = [(first, first + arc.tau)]
        for (begin, before), (end, after) in pairwise(entries):
            if begin == end:
                continue
            out = points[-1][1]
            rate = (after - before) / (end - begin) / arc.nu
            if rate < 1 and out > begin + arc.tau:  # the queue falls, and may be gone at:
                gone = begin + (out - begin - arc.tau) / (1 - rate)
                if gone < end:
                    points += [(gone, gone + arc.tau), (end, end + arc.tau)]
                    continue
            elif rate < 1:
                points.append((end, end + arc.tau))
                continue
            points.append((end, out + rate * (end - begin)))
        entry, out = points[-1]
        onward = Fraction(1)
        if last.end is None and last.slopes[arc.tail]:
            onward = last.flow[number] / last.slopes[arc.tail] / arc.nu
            waits = out > entry + arc.tau
            if waits and onward < 1:
                raise Rejected(f"arc {number}: its queue empties in the phase without end.")
            onward = max(onward, Fraction(1))
        elif out > entry + arc.tau:
            points.append((out - arc.tau, out))
        return cls([p[0] for p in points], [p[1] for p in points], onward)

    def last_entry(self, out: Fraction) -> Fraction:
        """The last entry that is out by a time: E at it and just behind it."""
        k = bisect_right(self.exit, out)
        return self._between(k, out)

    def last_entry_before(self, out: Fraction) -> Fraction:
        """The limit of E from below."""
        return self._between(bisect_left(self.exit, out), out)

    def _between(self, k: int, out: Fraction) -> Fraction:
        if k == 0:
            return self.entry[0] - (self.exit[0] - out)
        if k == len(self.exit):
            return self.entry[-1] + (out - self.exit[-1]) / self.onward
        e0, e1, x0, x1 = self.entry[k - 1], self.entry[k], self.exit[k - 1], self.exit[k]
        return e0 + (e1 - e0) * (out - x0) / (x1 - x0)


def _is_the_latest(phase: Phase, node: int, leaving: list[tuple[int, _Exits]], where: str) -> None:
    """Check that a label is the greatest last entry over the arcs out of the node, all along."""
    if not leaving:
        raise Rejected(f"{where}: no arc leaves it.")
    marks = {Fraction(0)}
    horizon = None if phase.end is None else phase.end - phase.start
    for head, exits in leaving:
        at, slope = phase.labels[head], phase.slopes[head]
        if slope:
            inside = ((x - at) / slope for x in exits.exit)
            marks |= {t for t in inside if t > 0 and (horizon is None or t < horizon)}
    ends = sorted(marks | {max(marks) + 1 if horizon is None else horizon})
    gaps: list[tuple[Fraction, Fraction]] = []
    for begin, end in pairwise(ends):
        gaps = []
        own = (phase.labels[node] + t * phase.slopes[node] for t in (begin, end))
        left, right = own
        for head, exits in leaving:
            at, slope = phase.labels[head], phase.slopes[head]
            first = exits.last_entry(at + begin * slope)
            last = exits.last_entry_before(at + end * slope) if slope else first
            gaps.append((left - first, right - last))
        if any(a < 0 or b < 0 for a, b in gaps):
            raise Rejected(f"{where}: one could leave it later and still arrive.")
        if (0, 0) not in gaps:
            raise Rejected(f"{where}: its label is no time from which the sink is reached.")
    if horizon is None and not any(
        phase.slopes[node] == phase.slopes[head] / exits.onward
        for (head, exits), gap in zip(leaving, gaps, strict=True)
        if gap == (0, 0)
    ):
        raise Rejected(f"{where}: its label does not go on as it begins.")


def _known(claim: dict[str, Any], phases: list[Phase], inflows: Inflows, names: list[str]) -> str:
    """Check up to which departures the flow is known, and say it."""
    status, last = fields.text(claim, "status"), phases[-1]
    known = claim["known"]
    if status == "final":
        if known is not None:
            raise Rejected("a final flow is known for ever, and known is given.")
        if last.end is not None:
            labels = last.after(last.end - last.start)
            for v, inflow in inflows.items():
                if inflow[-1][1] or _volume(inflow, labels[v]) != _volume(inflow, inflow[-1][0]):
                    raise Rejected("the flow is called final, and somebody departs after it.")
        return "for ever"
    if status not in {"horizon", "phase-limit"} or last.end is None:
        raise Rejected(f"status {status!r} does not fit the last phase.")
    labels = last.after(last.end - last.start)
    stated = [rational(v, "known") for v in fields.items(claim, "known")]
    if stated != [labels[v] for v in inflows]:
        raise Rejected("known is not the last departure of each origin.")
    return "for departures up to " + ", ".join(
        f"{short(t)} at {names[v]}" for v, t in zip(inflows, stated, strict=True)
    )


def _travel_time(phase: Phase, inflows: Inflows) -> Fraction:
    assert phase.end is not None
    duration, total = phase.end - phase.start, Fraction(0)
    for v, inflow in inflows.items():
        first = phase.start - phase.labels[v]
        mean = first + (1 - phase.slopes[v]) * duration / 2
        total += _rate(phase, v, inflow, "a phase") * duration * mean
    return total
