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
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._flow_witness import Arc, Phase, network, phase_of, rational, reloads, short, steps

KIND = "flows/nash"
STRENGTH = "proved"
CLAIM = (
    "nodes", "arcs", "source", "sink", "inflow", "instance_sha256", "status", "until", "phases",
    "sink_label", "total_travel_time",
)  # fmt: skip
WITNESS = ("phases",)

_INSTANCE = ("nodes", "arcs", "source", "sink", "inflow", "until")


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    del folder  # everything stands in the certificate
    stated = fields.digest(claim, "instance_sha256")
    text = json.dumps([claim[name] for name in _INSTANCE], separators=(",", ":"))
    if hashlib.sha256(text.encode()).hexdigest() != stated:
        raise Rejected("the instance has changed: its SHA-256 is not the stated one.")
    names, arcs, source, sink = _network(claim)
    inflow = steps(fields.items(claim, "inflow"), "inflow")
    until = None if claim["until"] is None else rational(claim["until"], "until")
    phases = [phase_of(p, len(names), len(arcs)) for p in fields.items(witness, "phases")]
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
        reloads(phases, arcs, number)

    end = phases[-1]
    labels = end.labels if end.end is None else end.after(end.end - end.start)
    if labels[sink] != rational(claim["sink_label"], "sink_label"):
        raise Rejected(f"sink_label is {claim['sink_label']}, the phases give {labels[sink]}.")
    total = sum((_travel_time(p, sink, inflow) for p in phases if p.end is not None), Fraction(0))
    if total != rational(claim["total_travel_time"], "total_travel_time"):
        raise Rejected(f"total_travel_time is {claim['total_travel_time']}, found {total}.")
    status = fields.text(claim, "status")
    if status not in {"final", "horizon", "phase-limit"} or (status == "final") != (until is None):
        raise Rejected(f"status {status!r} does not fit a flow that is known until {until}.")
    known = "for ever" if until is None else f"for departures before {until}"
    when = f"{'the last phase starts at' if until is None else 'departing at'} "
    when += short(end.start if until is None else until)
    return [
        f"a Nash flow over time from {names[source]} to {names[sink]} on {len(names)} nodes and "
        f"{len(arcs)} arcs, {known}",
        f"{len(phases)} phases; {when}, arriving at {short(labels[sink])}",
        "the inflow rates, loaded into the queues again, give the outflow rates exactly",
    ]


def _network(claim: dict[str, Any]) -> tuple[list[str], list[Arc], int, int]:
    names, arcs = network(claim)
    source, sink = fields.text(claim, "source"), fields.text(claim, "sink")
    if source not in names or sink not in names or source == sink:
        raise Rejected("source and sink are not two of the nodes.")
    return names, arcs, names.index(source), names.index(sink)


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


def _travel_time(phase: Phase, sink: int, inflow: list[tuple[Fraction, Fraction]]) -> Fraction:
    assert phase.end is not None
    rate = next(value for start, value in reversed(inflow) if start <= phase.start)
    duration = phase.end - phase.start
    first = phase.labels[sink] - phase.start
    return rate * duration * (first + (phase.slopes[sink] - 1) * duration / 2)
