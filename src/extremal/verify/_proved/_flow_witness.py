"""What the two checkers of flows over time share: reading a network and phases, and reloading."""

import re
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

_FORM = re.compile(r"-?\d+(/\d+)?")
_MAX_DIGITS = 200_000
_PIECE = 4000  # digits that int() takes at once, below the interpreter's limit
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


def network(claim: dict[str, Any]) -> tuple[list[str], list[Arc]]:
    """Return the names of the nodes and the arcs."""
    names = fields.items(claim, "nodes")
    if not all(isinstance(n, str) for n in names) or len(set(names)) != len(names):
        raise Rejected("nodes are not distinct names.")
    where = {name: i for i, name in enumerate(names)}
    arcs: list[Arc] = []
    for number, row in enumerate(fields.items(claim, "arcs")):
        if not isinstance(row, list) or len(row) != 4 or row[0] not in where or row[1] not in where:
            raise Rejected(f"arc {number} is not [tail, head, transit time, capacity].")
        tau, nu = rational(row[2], "a transit time"), rational(row[3], "a capacity")
        if tau < 0 or nu <= 0:
            raise Rejected(f"arc {number} has transit time {tau} < 0 or capacity {nu} <= 0.")
        arcs.append(Arc(where[row[0]], where[row[1]], tau, nu))
    _no_cycle_in_zero_time(arcs, len(names))
    return names, arcs


def _no_cycle_in_zero_time(arcs: list[Arc], nodes: int) -> None:
    left = [arc for arc in arcs if arc.tau == 0]
    open_ = set(range(nodes))
    while True:
        free = open_ - {arc.head for arc in left}
        if not free:
            break
        open_ -= free
        left = [arc for arc in left if arc.tail in open_]
    if open_:
        raise Rejected("arcs with transit time 0 form a cycle.")


def steps(rows: list[Any], name: str) -> list[tuple[Fraction, Fraction]]:
    """Return the starts and rates of an inflow."""
    found: list[tuple[Fraction, Fraction]] = []
    for row in rows:
        if not isinstance(row, list) or len(row) != 2:
            raise Rejected(f"{name} is not a list of [start, rate].")
        found.append((rational(row[0], "an inflow start"), rational(row[1], "an inflow rate")))
    if not found or found[0][0] != 0 or any(rate < 0 for _, rate in found):
        raise Rejected(f"{name} does not begin at 0 with rates of 0 or more.")
    if any(a[0] >= b[0] for a, b in pairwise(found)):
        raise Rejected(f"the starts of {name} do not increase.")
    return found


def phase_of(value: Any, nodes: int, arcs: int) -> Phase:
    """Return a phase with a label and slope a node and a flow an arc."""
    if not isinstance(value, dict) or sorted(value) != sorted(_PHASE):
        raise Rejected(f"a phase does not have the fields {', '.join(_PHASE)}.")
    lists = [[rational(v, name) for v in fields.items(value, name)] for name in _PHASE[2:]]
    if [len(v) for v in lists] != [nodes, nodes, arcs]:
        raise Rejected("a phase does not have a label and slope a node and a flow an arc.")
    end = None if value["end"] is None else rational(value["end"], "end")
    return Phase(rational(value["start"], "start"), end, *lists)


def reloads(phases: list[Phase], arcs: list[Arc], number: int) -> Polyline:
    """Send an arc's inflow through its queue, compare what comes out, return what went in.

    A phase without end counts for one unit.
    """
    arc = arcs[number]
    volume = Fraction(0)
    enters: Polyline = []
    leaves: Polyline = []
    for phase in phases:
        duration = Fraction(1) if phase.end is None else phase.end - phase.start
        labels = phase.after(duration)
        enters.append((phase.labels[arc.tail], volume))
        leaves.append((phase.labels[arc.head], volume))
        volume += duration * phase.flow[number]
        enters.append((labels[arc.tail], volume))
        leaves.append((labels[arc.head], volume))
    for line in (enters, leaves):
        if any(a[0] == b[0] and a[1] != b[1] for a, b in pairwise(line)):
            raise Rejected(f"arc {number} carries a volume in no time.")
    found = _queue(enters, arc)
    # Beyond its last point the arc's inflow is not known, and leaves ends there or before.
    for time, _ in (*leaves, *found):
        if time <= min(leaves[-1][0], found[-1][0]) and _at(found, time) != _at(leaves, time):
            raise Rejected(f"arc {number}: at {time} the reloaded outflow is not the stated one.")
    return enters


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


def rational(value: Any, name: str) -> Fraction:
    """Return a number written as a fraction."""
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


def short(value: Fraction) -> str:
    """Return a number for people."""
    exact = f"{value.numerator}/{value.denominator}" if value.denominator != 1 else None
    if exact is None:
        return str(value.numerator)
    return exact if len(exact) <= 24 else f"{float(value):.12g} (a fraction, exact in the file)"
