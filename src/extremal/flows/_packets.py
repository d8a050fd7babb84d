"""The packet model: discrete packets, discrete steps, first in first out (arXiv:2105.13202).

Notation: alpha the step, beta the volume of a packet; tau^ = ceil(tau / alpha) steps and
nu^ = nu alpha / beta packets a step. Packet i of a route is released at the first grid time by
which i beta have been supplied, or with `release="early"` one step before (as the published figure
does). In each step the first floor(nu^(t)) of a buffer leave; what is left of nu^ is saved only
while the buffer does not fit. At a node packets from several arcs are merged by a zipper.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import numpy as np

from ._errors import PacketWarning
from ._inflow import Inflow
from ._network import Network


@dataclass(frozen=True)
class RouteInflow:
    """A commodity on a fixed route.

    Attributes:
        arcs: Names in order.
        inflow: Rate at which volume enters the first arc.
        name: Of the commodity, for output.
    """

    arcs: tuple[str, ...]
    inflow: Inflow
    name: str = ""


@dataclass(frozen=True)
class Discrete:
    """A network in steps and packets.

    Attributes:
        tau: Transit in steps.
        p: Numerators of packets a step.
        q: Denominators.
    """

    tau: np.ndarray
    p: np.ndarray
    q: np.ndarray


def check_routes(network: Network, routes: Sequence[Sequence[str]]) -> list[list[int]]:
    """Return routes as places of arcs.

    Raises:
        ValueError: A route is empty, not connected, or meets a node twice; an arc is unknown.
    """
    place = {a.name: e for e, a in enumerate(network.arcs)}
    found: list[list[int]] = []
    for route in routes:
        if not route:
            raise ValueError("a route has no arc; every route needs at least one.")
        for name in route:
            if name not in place:
                raise ValueError(f"the route {tuple(route)!r} uses {name!r}, which is no arc.")
        arcs = [network.arcs[place[name]] for name in route]
        for a, b in pairwise(arcs):
            if a.head != b.tail:
                raise ValueError(
                    f"the route {tuple(route)!r} is not connected: {a.name} ends at {a.head}, "
                    f"{b.name} begins at {b.tail}."
                )
        met = [arcs[0].tail, *(a.head for a in arcs)]
        if len(set(met)) < len(met):
            raise ValueError(f"the route {tuple(route)!r} meets a node twice; routes are simple.")
        found.append([place[name] for name in route])
    return found


def discretise(network: Network, step: Fraction, packet: Fraction) -> Discrete:
    """Return transit times in steps and capacities in packets a step.

    Raises:
        ValueError: Step or packet is not above 0.
    """
    if step <= 0 or packet <= 0:
        raise ValueError(f"step={step} and packet={packet} must be above 0.")
    tau = np.array([math.ceil(a.transit / step) for a in network.arcs], np.int64)
    rates = [a.capacity * step / packet for a in network.arcs]
    # numerators of rates are added to remainders below q; both stay far inside 64 bits
    rates = [r if max(r.numerator, r.denominator) < 1 << 60 else r.limit_denominator(1 << 40)
             for r in rates]  # fmt: skip
    slow = [a.name for a, r in zip(network.arcs, rates, strict=True) if r < 1]
    if slow:
        warnings.warn(
            f"{len(slow)} arcs, such as {slow[0]}, serve less than one packet a step, so packets "
            "wait alone; choose a smaller packet or a larger step.",
            PacketWarning,
            stacklevel=3,
        )
    return Discrete(
        tau,
        np.array([r.numerator for r in rates], np.int64),
        np.array([r.denominator for r in rates], np.int64),
    )


def releases(
    inflow: Inflow, step: Fraction, packet: Fraction, until: Fraction | None, early: bool
) -> np.ndarray:
    """Return the step at which each packet of a supply is released.

    Args:
        inflow: The supply.
        step: alpha.
        packet: beta.
        until: Supply after this time is left out; needed where the last rate is above 0.
        early: Release one step before.
    """
    last, rate = inflow.steps[-1]
    end = until
    if end is None:
        if rate > 0:
            raise ValueError("an inflow does not stop, so say until when: until=.")
        end = last
    found: list[np.ndarray] = []
    before = Fraction(0)  # packets supplied before this piece, in packets
    for k, (start, rate) in enumerate(inflow.steps):
        stop = end if k + 1 == len(inflow.steps) else min(end, inflow.steps[k + 1][0])
        if stop <= start or rate == 0:
            continue
        after = before + rate * (stop - start) / packet
        first, final = math.floor(before) + 1, math.floor(after)
        # packet i is complete at start + (i - before) packet / rate; in steps of alpha:
        slope = packet / rate / step
        shift = start / step - before * slope
        common = math.lcm(slope.denominator, shift.denominator)
        a, b = int(slope * common), int(shift * common)
        if max(abs(a) * (final + 1), abs(b)) < 1 << 62:
            numbers = np.arange(first, final + 1, dtype=np.int64)
            found.append(-((-(a * numbers + b)) // common))
        else:
            found.append(
                np.array([math.ceil(slope * i + shift) for i in range(first, final + 1)], np.int64)
            )
        before = after
    steps = np.concatenate(found) if found else np.zeros(0, np.int64)
    return np.maximum(steps - 1, 0) if early else steps


@dataclass(frozen=True)
class Plan:
    """What the kernel needs to know about a set of routes; made once for many loadings.

    Attributes:
        arcs: Number of arcs.
        route_start: Where each route begins in `route_arcs`.
        route_arcs: Places of arcs, route after route.
        next_turn: Turn after an arc of a route, at route * arcs + arc; -1 where it ends.
        first_turn: Turn of releases into an arc.
        turns: Arcs that each turn leads to.
        in_start: Where the turns into an arc begin in `in_turn`.
        in_turn: Turns in the order of their first arc; releases last.
        order: Arcs in topological order; shorter if turns form a cycle.
        turn_of: For each route the turns it makes, its release first.
    """

    arcs: int
    route_start: np.ndarray
    route_arcs: np.ndarray
    next_turn: np.ndarray
    first_turn: np.ndarray
    turns: np.ndarray
    in_start: np.ndarray
    in_turn: np.ndarray
    order: np.ndarray
    turn_of: tuple[np.ndarray, ...]


def plan(arcs: int, routes: Sequence[Sequence[int]]) -> Plan:
    """Number the turns of routes given as places of arcs."""
    pairs: dict[tuple[int, int], int] = {}
    for route in routes:
        for a, b in zip([-1, *route], route, strict=False):
            pairs.setdefault((a, b), 0)
    # releases (-1) come last among the turns into an arc
    ordered = sorted(pairs, key=lambda ab: (ab[1], ab[0] if ab[0] >= 0 else arcs))
    pairs = {ab: u for u, ab in enumerate(ordered)}
    next_turn = np.full(len(routes) * arcs, -1, np.int32)
    first_turn = np.full(arcs, -1, np.int32)
    turn_of: list[np.ndarray] = []
    for r, route in enumerate(routes):
        first_turn[route[0]] = pairs[-1, route[0]]
        made = [pairs[-1, route[0]]]
        for a, b in pairwise(route):
            next_turn[r * arcs + a] = pairs[a, b]
            made.append(pairs[a, b])
        turn_of.append(np.array(made))
    turns = np.array([b for _, b in ordered], np.int64)
    in_start = np.searchsorted(turns, np.arange(arcs + 1)).astype(np.int64)
    degree = [0] * arcs
    out: list[list[int]] = [[] for _ in range(arcs)]
    used = {b for _, b in ordered}
    for a, b in ordered:
        if a >= 0:
            degree[b] += 1
            out[a].append(b)
    order = [e for e in sorted(used) if degree[e] == 0]
    for e in order:
        for b in out[e]:
            degree[b] -= 1
            if degree[b] == 0:
                order.append(b)
    whole = len(order) == len(used)
    starts = np.cumsum([0, *(len(r) for r in routes)])
    return Plan(
        arcs,
        starts.astype(np.int64),
        np.array([e for r in routes for e in r], np.int64),
        next_turn,
        first_turn,
        turns,
        in_start,
        np.arange(len(turns), dtype=np.int64),
        np.array(order if whole else [], np.int64),
        tuple(turn_of),
    )


@dataclass(frozen=True)
class Loaded:
    """What a loading gives, in steps.

    Attributes:
        arrival: Of each packet.
        offset: Where each arc's moves begin.
        packet: Packet of each move.
        entry: Step of entering.
        exit: Step of leaving.
    """

    arrival: np.ndarray
    offset: np.ndarray
    packet: np.ndarray
    entry: np.ndarray
    exit: np.ndarray


def load_packets(grid: Discrete, how: Plan, route_of: np.ndarray, release: np.ndarray) -> Loaded:
    """Load packets, given in order of release.

    Args:
        grid: The network in steps and packets.
        how: The routes.
        route_of: Route of each packet.
        release: Step of each packet's release, nondecreasing.
    """
    from ._packet_kernels import load_kernel

    counts = np.bincount(route_of, minlength=len(how.turn_of))
    turn_count = np.zeros(len(how.turns), np.int64)
    for made, count in zip(how.turn_of, counts, strict=True):
        turn_count[made] += count
    turn_off = np.concatenate([[0], np.cumsum(turn_count)]).astype(np.int64)
    per_arc = np.zeros(how.arcs, np.int64)
    np.add.at(per_arc, how.turns, turn_count)
    off = np.concatenate([[0], np.cumsum(per_arc)]).astype(np.int64)
    used = np.unique(how.turns)
    window = 0 if len(how.order) else int(max(1, grid.tau[used].min()))
    arrival, packet, entry, leave = load_kernel(
        grid.tau, grid.p, grid.q, route_of.astype(np.int32), release.astype(np.int32),
        how.route_start, how.route_arcs, how.next_turn, how.first_turn, off, turn_off,
        how.in_start, how.in_turn, how.order, window,
    )  # fmt: skip
    return Loaded(arrival, off, packet, entry, leave)


def spread(
    network: Network,
    demand: Sequence[RouteInflow],
    step: Fraction,
    packet: Fraction,
    until: Fraction | None,
    early: bool,
) -> tuple[list[list[int]], np.ndarray, np.ndarray]:
    """Return routes, and the route and release of each packet in order of release."""
    routes = check_routes(network, [d.arcs for d in demand])
    steps = [releases(d.inflow, step, packet, until, early) for d in demand]
    route_of = np.repeat(np.arange(len(demand)), [len(s) for s in steps])
    release = np.concatenate(steps) if steps else np.zeros(0, np.int64)
    order = np.argsort(release, kind="stable")
    return routes, route_of[order].astype(np.int32), release[order]


def as_demand(value: Any) -> list[RouteInflow]:
    """Read commodities: `RouteInflow`s, or pairs (arcs, inflow)."""
    found: list[RouteInflow] = []
    for item in value:
        if isinstance(item, RouteInflow):
            found.append(item)
        else:
            arcs, inflow = item
            found.append(RouteInflow(tuple(map(str, arcs)), Inflow.of(inflow)))
    if not found:
        raise ValueError("there is no demand; give at least one route with an inflow.")
    return found
