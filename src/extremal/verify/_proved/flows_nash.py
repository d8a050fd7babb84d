"""Checker of `flows/nash`: a list of phases is a Nash flow over time, in rational numbers.

Proves: in every phase the label slopes and the static flow are a thin flow with resetting for the
arcs that are active and queued by the labels; no event lies inside a phase; the inflow rates that
follow, loaded into the queues again, give the outflow rates that follow.
Does not say: that the network describes any real roads, or that the flow on arcs is the only one
(the labels are).

Notation: an agent that departs at time d reaches node v at l_v(d); slopes are derivatives in d;
tau is an arc's transit time, nu its outflow capacity; x the static flow; rho as in the theory.
"""

import hashlib
import json
import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

KIND = "flows/nash"
VERSION = 1
STRENGTH = "proved"
CLAIM = (
    "nodes", "arcs", "source", "sink", "inflow", "instance_sha256", "status", "until", "phases",
    "sink_label", "total_travel_time",
)  # fmt: skip
WITNESS = ("phases",)

_FORM = re.compile(r"-?\d+(/\d+)?")
_MAX_DIGITS = 200_000
_PIECE = 4000  # digits that int() takes at once, below the interpreter's limit
_INSTANCE = ("nodes", "arcs", "source", "sink", "inflow", "until")
_PHASE = ("start", "end", "labels", "slopes", "flow")

Polyline = list[tuple[Fraction, Fraction]]  # (time, cumulative volume), both nondecreasing


@dataclass(frozen=True)
class Arc:
    """One arc, with nodes as numbers."""

    tail: int
    head: int
    tau: Fraction
    nu: Fraction


@dataclass(frozen=True)
class Phase:
    """One phase; `end` is None for one that lasts for ever."""

    start: Fraction
    end: Fraction | None
    labels: list[Fraction]
    slopes: list[Fraction]
    flow: list[Fraction]

    def after(self, duration: Fraction) -> list[Fraction]:
        """Return the labels so long after the start."""
        pairs = zip(self.labels, self.slopes, strict=True)
        return [at + duration * slope for at, slope in pairs]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    del folder  # everything stands in the certificate
    stated = fields.digest(claim, "instance_sha256")
    text = json.dumps([claim[name] for name in _INSTANCE], separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != stated:
        raise Rejected("the instance has changed: its SHA-256 is not the stated one.")
    names, arcs, source, sink = _network(claim)
    inflow = _inflow(claim)
    until = None if claim["until"] is None else _rational(claim["until"], "until")
    phases = [_phase(p, len(names), len(arcs)) for p in fields.items(witness, "phases")]
    if not phases or len(phases) != fields.natural(claim, "phases"):
        raise Rejected(f"the witness has {len(phases)} phases, not the stated number.")

    _starts_without_queues(phases[0], arcs, source)
    for number, phase in enumerate(phases):
        where = f"phase {number}"
        last = number + 1 == len(phases)
        _joins(phase, None if last else phases[number + 1], until, where)
        rate = _rate_during(inflow, phase, where)
        _is_thin_flow(phase, arcs, source, sink, rate, where)
        _has_no_event_inside(phase, arcs, where)
    for number in range(len(arcs)):
        _reloads(phases, arcs, number)

    end = phases[-1]
    labels = end.labels if end.end is None else end.after(end.end - end.start)
    if labels[sink] != _rational(claim["sink_label"], "sink_label"):
        raise Rejected(f"sink_label is {claim['sink_label']}, the phases give {labels[sink]}.")
    total = sum((_travel_time(p, sink, inflow) for p in phases if p.end is not None), Fraction(0))
    if total != _rational(claim["total_travel_time"], "total_travel_time"):
        raise Rejected(f"total_travel_time is {claim['total_travel_time']}, found {total}.")
    status = fields.text(claim, "status")
    if status not in {"final", "horizon", "phase-limit"} or (status == "final") != (until is None):
        raise Rejected(f"status {status!r} does not fit a flow that is known until {until}.")
    known = "for ever" if until is None else f"for departures before {until}"
    when = f"{'the last phase starts at' if until is None else 'departing at'} "
    when += _short(end.start if until is None else until)
    return [
        f"a Nash flow over time from {names[source]} to {names[sink]} on {len(names)} nodes and "
        f"{len(arcs)} arcs, {known}",
        f"{len(phases)} phases; {when}, arriving at {_short(labels[sink])}",
        "the inflow rates, loaded into the queues again, give the outflow rates exactly",
    ]


def _network(claim: dict[str, Any]) -> tuple[list[str], list[Arc], int, int]:
    names = fields.items(claim, "nodes")
    if not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise Rejected("nodes are not distinct names.")
    where = {name: i for i, name in enumerate(names)}
    arcs: list[Arc] = []
    for number, row in enumerate(fields.items(claim, "arcs")):
        if not isinstance(row, list) or len(row) != 4 or row[0] not in where or row[1] not in where:
            raise Rejected(f"arc {number} is not [tail, head, transit time, capacity].")
        tau, nu = _rational(row[2], "a transit time"), _rational(row[3], "a capacity")
        if tau < 0 or nu <= 0:
            raise Rejected(f"arc {number} has transit time {tau} < 0 or capacity {nu} <= 0.")
        arcs.append(Arc(where[row[0]], where[row[1]], tau, nu))
    source, sink = fields.text(claim, "source"), fields.text(claim, "sink")
    if source not in where or sink not in where or source == sink:
        raise Rejected("source and sink are not two of the nodes.")
    _no_cycle_in_zero_time(arcs, len(names))
    return names, arcs, where[source], where[sink]


def _no_cycle_in_zero_time(arcs: list[Arc], nodes: int) -> None:
    left = [arc for arc in arcs if arc.tau == 0]
    open_ = set(range(nodes))
    while True:
        entered = {arc.head for arc in left}
        free = open_ - entered
        if not free:
            break
        open_ -= free
        left = [arc for arc in left if arc.tail in open_]
    if open_:
        raise Rejected("arcs with transit time 0 form a cycle.")


def _inflow(claim: dict[str, Any]) -> list[tuple[Fraction, Fraction]]:
    steps: list[tuple[Fraction, Fraction]] = []
    for row in fields.items(claim, "inflow"):
        if not isinstance(row, list) or len(row) != 2:
            raise Rejected("inflow is not a list of [start, rate].")
        steps.append((_rational(row[0], "an inflow start"), _rational(row[1], "an inflow rate")))
    if not steps or steps[0][0] != 0 or any(rate < 0 for _, rate in steps):
        raise Rejected("inflow does not begin at 0 with rates of 0 or more.")
    if any(a[0] >= b[0] for a, b in pairwise(steps)):
        raise Rejected("the starts of inflow do not increase.")
    return steps


def _phase(value: Any, nodes: int, arcs: int) -> Phase:
    if not isinstance(value, dict) or sorted(value) != sorted(_PHASE):
        raise Rejected(f"a phase does not have the fields {', '.join(_PHASE)}.")
    lists = [[_rational(v, name) for v in fields.items(value, name)] for name in _PHASE[2:]]
    if [len(v) for v in lists] != [nodes, nodes, arcs]:
        raise Rejected("a phase does not have a label and slope a node and a flow an arc.")
    end = None if value["end"] is None else _rational(value["end"], "end")
    return Phase(_rational(value["start"], "start"), end, *lists)


def _starts_without_queues(phase: Phase, arcs: list[Arc], source: int) -> None:
    """Check that the first labels are shortest distances: the equations have one solution."""
    least: dict[int, Fraction] = {source: Fraction(0)}
    for arc in arcs:
        through = phase.labels[arc.tail] + arc.tau
        if arc.head != source and (arc.head not in least or through < least[arc.head]):
            least[arc.head] = through
    if phase.start != 0 or any(least.get(v) != at for v, at in enumerate(phase.labels)):
        raise Rejected("the first phase does not start at 0 with the distances from the source.")


def _joins(phase: Phase, following: Phase | None, until: Fraction | None, where: str) -> None:
    if following is None:
        if phase.end != until:
            raise Rejected(f"{where} is the last and ends at {phase.end}, not at {until}.")
    elif phase.end is None or phase.end != following.start:
        raise Rejected(f"{where} ends at {phase.end}, the next starts at {following.start}.")
    elif phase.after(phase.end - phase.start) != following.labels:
        raise Rejected(f"{where} does not lead to the labels of the next phase.")
    if phase.end is not None and phase.end <= phase.start:
        raise Rejected(f"{where} ends at {phase.end}, not after its start {phase.start}.")


def _rate_during(inflow: list[tuple[Fraction, Fraction]], phase: Phase, where: str) -> Fraction:
    rate = Fraction(0)
    for start, value in inflow:
        if start <= phase.start:
            rate = value
        elif phase.end is None or start < phase.end:
            raise Rejected(f"the inflow changes at {start}, inside {where}.")
    return rate


def _is_thin_flow(
    phase: Phase, arcs: list[Arc], source: int, sink: int, rate: Fraction, where: str
) -> None:
    least: dict[int, Fraction] = {}
    used: list[tuple[int, Fraction]] = []
    balance = [Fraction(0)] * len(phase.labels)
    balance[source], balance[sink] = rate, -rate
    for number, arc in enumerate(arcs):
        x = phase.flow[number]
        waiting = phase.labels[arc.head] - phase.labels[arc.tail] - arc.tau
        if waiting < 0 and x != 0:
            raise Rejected(f"{where}: arc {number} carries flow and is on no shortest route.")
        if x < 0:
            raise Rejected(f"{where}: arc {number} carries the flow {x} < 0.")
        balance[arc.tail] -= x
        balance[arc.head] += x
        if waiting < 0 or arc.head == source:
            if x:
                raise Rejected(f"{where}: arc {number} carries flow into the source.")
            continue
        rho = x / arc.nu
        if waiting == 0:
            rho = max(rho, phase.slopes[arc.tail])
        least[arc.head] = min(rho, least.get(arc.head, rho))
        if x:
            used.append((arc.head, rho))
    if any(balance):
        raise Rejected(f"{where}: the flow on the arcs is not one of value {rate}.")
    least[source] = Fraction(1)
    for node, slope in enumerate(phase.slopes):
        if least.get(node) != slope:
            raise Rejected(f"{where}: node {node} has slope {slope}, not {least.get(node)}.")
    if any(rho != phase.slopes[head] for head, rho in used):
        raise Rejected(f"{where}: an arc with flow is later than the label of its head.")


def _has_no_event_inside(phase: Phase, arcs: list[Arc], where: str) -> None:
    for number, arc in enumerate(arcs):
        waiting = phase.labels[arc.head] - phase.labels[arc.tail] - arc.tau
        change = phase.slopes[arc.head] - phase.slopes[arc.tail]
        if waiting * change >= 0:
            continue  # zero, or moving away from zero
        if phase.end is None or abs(waiting) < (phase.end - phase.start) * abs(change):
            raise Rejected(f"{where}: arc {number} empties or becomes active inside it.")


def _reloads(phases: list[Phase], arcs: list[Arc], number: int) -> None:
    """Send the arc's inflow through its queue and compare what comes out."""
    arc = arcs[number]
    volume = Fraction(0)
    enters: Polyline = [(phases[0].labels[arc.tail], volume)]
    leaves: Polyline = [(phases[0].labels[arc.head], volume)]
    for phase in phases:
        duration = Fraction(1) if phase.end is None else phase.end - phase.start
        labels = phase.after(duration)
        volume += duration * phase.flow[number]
        enters.append((labels[arc.tail], volume))
        leaves.append((labels[arc.head], volume))
    if any(a[0] == b[0] and a[1] != b[1] for line in (enters, leaves) for a, b in pairwise(line)):
        raise Rejected(f"arc {number} carries a volume in no time.")
    found = _queue(enters, arc)
    # Beyond its last point the arc's inflow is not known, and leaves ends there or before.
    for time, _ in (*leaves, *found):
        if time <= min(leaves[-1][0], found[-1][0]) and _at(found, time) != _at(leaves, time):
            raise Rejected(f"arc {number}: at {time} the reloaded outflow is not the stated one.")


def _queue(enters: Polyline, arc: Arc) -> Polyline:
    """Return the cumulative outflow of a point queue at the end of the arc."""
    free = enters[0][0] + arc.tau  # when the queue is free again
    out: Polyline = [(free, Fraction(0))]
    for (begin, before), (end, after) in pairwise(enters):
        if begin == end:
            continue
        rate = (after - before) / (end - begin)
        start = max(free, begin + arc.tau)  # the first of this piece leaves the queue
        out.append((start, before))
        free = start + (after - before) / arc.nu
        if rate < arc.nu:
            empties = begin + (start - begin - arc.tau) / (1 - rate / arc.nu)
            if empties < end:
                out.append((empties + arc.tau, before + rate * (empties - begin)))
                free = end + arc.tau
        out.append((free, after))
    arrived = enters[-1][0] + arc.tau
    if arrived > free:
        out.append((arrived, out[-1][1]))
    return out


def _at(line: Polyline, time: Fraction) -> Fraction:
    if time <= line[0][0]:
        return line[0][1]
    for (t0, v0), (t1, v1) in pairwise(line):
        if t0 <= time <= t1 and t0 < t1:
            return v0 + (v1 - v0) * (time - t0) / (t1 - t0)
    return line[-1][1]


def _travel_time(phase: Phase, sink: int, inflow: list[tuple[Fraction, Fraction]]) -> Fraction:
    assert phase.end is not None
    rate = next(value for start, value in reversed(inflow) if start <= phase.start)
    duration = phase.end - phase.start
    first = phase.labels[sink] - phase.start
    return rate * duration * (first + (phase.slopes[sink] - 1) * duration / 2)


def _rational(value: Any, name: str) -> Fraction:
    if not isinstance(value, str) or len(value) > _MAX_DIGITS or not _FORM.fullmatch(value):
        raise Rejected(f"{name} is not a fraction written as text, such as '4/3'.")
    above, _, below = value.partition("/")
    denominator = _integer(below) if below else 1
    if denominator == 0:
        raise Rejected(f"{name} has the denominator 0.")
    return Fraction(_integer(above), denominator)


def _integer(digits: str) -> int:
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    value = 0
    for start in range(0, len(digits), _PIECE):
        piece = digits[start : start + _PIECE]
        value = value * 10 ** len(piece) + int(piece)
    return sign * value


def _short(value: Fraction) -> str:
    exact = f"{value.numerator}/{value.denominator}" if value.denominator != 1 else None
    if exact is None:
        return str(value.numerator)
    return exact if len(exact) <= 24 else f"{float(value):.12g} (a fraction, exact in the file)"
