"""Nash flows over time with spillback: full arcs hold back the nodes before them.

Notation: c_v in (0, 1] the spillback factor of node v; k_v = c_v l_v; b_e the bound on the inflow
of an arc: min(its outflow, nu+) if it is full, else nu+; labels and slopes as without spillback,
but l_s = 1 / c_s. Source: Sering, Vargas Koch 2019. Writing the thin flow in k instead of c makes
it a mixed-integer linear program; HiGHS names the state, rationals solve and check it.
Times are in agent view: of the agent that passes the tail of an arc, so that the order of agents is
not that of the clock. Infinitely many phases are possible.
"""

import time
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

from extremal.lab import progress

from ._equilibrium import Event, NashFlow, Phase
from ._errors import FlowsError
from ._extension import distances
from ._highs import Program
from ._inflow import Inflow
from ._network import Journey, Network
from ._thin_flow import topological

_DENOMINATORS = (10**3, 10**5, 10**7)


@dataclass(frozen=True)
class _Thin:
    """One thin flow with spillback to be found; arcs are all active."""

    nodes: int
    source: int
    sink: int
    inflow: Fraction
    arcs: tuple[tuple[int, int, Fraction, bool, Fraction | None], ...]  # …, queued, bound


@dataclass(frozen=True)
class _Solved:
    slopes: list[Fraction]
    factors: list[Fraction]
    flow: list[Fraction]


def spillback_flow(
    trip: Journey,
    inflow: Inflow,
    horizon: Fraction | None,
    max_phases: int,
    notes: Sequence[str],
) -> NashFlow:
    """Compute phases with spillback; status `"phase-limit"` where they do not end.

    Raises:
        ValueError: An arc out of the source has a storage or an inflow capacity.
        FlowsError: A thin flow was not found, or full arcs form a cycle.
    """
    net = trip.network
    for arc in net.arcs:
        if arc.tail == trip.source and (arc.storage is not None or arc.inflow_capacity is not None):
            raise ValueError(
                f"arc {arc.name} leaves the source and has a storage or inflow capacity, so agents "
                "could not enter the network; put an arc without limits before it: "
                "flows.with_super_source(network, source)."
            )
    begun = time.perf_counter()
    state = _State(trip)
    phases: list[Phase] = []
    status = "phase-limit"
    now = Fraction(0)
    with progress(max_phases, "phases") as bar:
        while len(phases) < max_phases:
            phase, ended = _next(trip, state, inflow, horizon, now)
            phases.append(phase)
            bar.advance()
            if ended is not None:
                status = ended
                break
            now = phase.end
    seconds = time.perf_counter() - begun
    return NashFlow(status, tuple(phases), trip, inflow, "exact", tuple(notes), None, (), seconds)


class _State:
    """Labels, and the cumulative flows at both ends of each arc over clock time."""

    def __init__(self, trip: Journey) -> None:
        net = trip.network
        self.where = {n: i for i, n in enumerate(net.nodes)}
        self.labels = [Fraction(str(v)) for v in distances(trip)]
        self.tail = [self.where[a.tail] for a in net.arcs]
        self.head = [self.where[a.head] for a in net.arcs]
        zero = Fraction(0)
        self.entered = [[(self.labels[v], zero)] for v in self.tail]
        self.left = [[(self.labels[w], zero)] for w in self.head]

    def slack(self, net: Network, e: int) -> Fraction:
        return self.labels[self.head[e]] - self.labels[self.tail[e]] - net.arcs[e].transit

    def load(self, e: int) -> Fraction:
        """Volume on an arc when the present agent is at its tail."""
        at = self.labels[self.tail[e]]
        return self.entered[e][-1][1] - _value(self.left[e], at)


def _next(
    trip: Journey, state: _State, inflow: Inflow, horizon: Fraction | None, now: Fraction
) -> tuple[Phase, str | None]:
    net = trip.network
    arcs = range(len(net.arcs))
    slack = [state.slack(net, e) for e in arcs]
    active = [e for e in arcs if slack[e] >= 0]
    full = [e for e in arcs if (room := net.arcs[e].storage) is not None and state.load(e) >= room]
    _no_full_cycle(net, full)
    bound: dict[int, Fraction | None] = {}
    for e in arcs:
        limit = net.arcs[e].inflow_capacity
        if e in full:
            leaving = _slope(state.left[e], state.labels[state.tail[e]])
            limit = leaving if limit is None else min(limit, leaving)
        bound[e] = limit
    thin = _Thin(
        len(net.nodes),
        state.where[trip.source],
        state.where[trip.sink],
        inflow.rate(now),
        tuple(
            (state.tail[e], state.head[e], net.arcs[e].capacity, slack[e] > 0, bound[e])
            for e in active
        ),
    )
    solved = _solve(thin)
    flow = [Fraction(0)] * len(net.arcs)
    for e, x in zip(active, solved.flow, strict=True):
        flow[e] = x
    slopes = solved.slopes
    candidates: list[tuple[Fraction, str, int]] = []
    for e in arcs:
        v, w = state.tail[e], state.head[e]
        change = slopes[w] - slopes[v]
        if slack[e] > 0 > change:
            candidates.append((slack[e] / -change, "empties", e))
        elif slack[e] < 0 < change:
            candidates.append((-slack[e] / change, "activates", e))
        storage = net.arcs[e].storage
        if storage is None or slopes[v] == 0:
            continue
        rate = flow[e] / slopes[v]
        if e in full and bound[e] is not None and rate >= (bound[e] or 0):
            at = state.labels[v]
            beyond = flow[e] / slopes[w] if slopes[w] else Fraction(0)
            following = _changes(state.left[e], at, beyond)
            if following is not None:
                candidates.append(((following - at) / slopes[v], "bound changes", e))
            continue
        reached = _fills(state, e, storage, rate, flow[e], slopes[w])
        if reached is not None:
            candidates.append((reached / slopes[v], "fills", e))
    change = inflow.next_change(now)
    if change is not None:
        candidates.append((change - now, "inflow changes", -1))
    if horizon is not None:
        candidates.append((horizon - now, "horizon", -1))
    least = min((c[0] for c in candidates), default=None)
    events = tuple(
        Event(kind, "" if e < 0 else net.arcs[e].name) for at, kind, e in candidates if at == least
    )
    names, titles = net.nodes, [a.name for a in net.arcs]
    phase = Phase(
        now,
        None if least is None else now + least,
        dict(zip(names, state.labels, strict=True)),
        dict(zip(names, slopes, strict=True)),
        dict(zip(titles, flow, strict=True)),
        frozenset(titles[e] for e in active),
        frozenset(titles[e] for e in active if slack[e] > 0),
        events,
        dict(zip(names, solved.factors, strict=True)),
        frozenset(titles[e] for e in full),
    )
    if least is None:
        return phase, "final"
    assert least > 0
    state.labels = [v + least * s for v, s in zip(state.labels, slopes, strict=True)]
    for e in arcs:
        volume = state.entered[e][-1][1] + least * flow[e]
        _append(state.entered[e], (state.labels[state.tail[e]], volume))
        _append(state.left[e], (state.labels[state.head[e]], volume))
    return phase, "horizon" if now + least == horizon else None


def _changes(
    line: list[tuple[Fraction, Fraction]], at: Fraction, beyond: Fraction
) -> Fraction | None:
    """The first time after `at` when the rate of a line changes; `beyond` is that after its end."""
    rate = _slope(line, at)
    last = line[-1][0]
    for mark, _ in line:
        if mark > at and rate != (beyond if mark == last else _slope(line, mark)):
            return mark
    return None


def _fills(
    state: _State, e: int, storage: Fraction, rate: Fraction, x: Fraction, rise: Fraction
) -> Fraction | None:
    """Clock time from now until the load of an arc reaches its storage, growing; or None."""
    at = state.labels[state.tail[e]]
    points = [p for p in state.left[e] if p[0] > at]
    clock, load = at, state.load(e)
    beyond = x / rise if rise else Fraction(0)
    marks = [*(p[0] for p in points), None]
    for mark in marks:
        leaving = beyond if mark is None else _slope(state.left[e], clock)
        grows = rate - leaving
        if grows > 0:
            when = clock + (storage - load) / grows
            if (mark is None or when <= mark) and when > at:
                return when - at
        if mark is not None:
            load += grows * (mark - clock)
            clock = mark
    return None


def _solve(thin: _Thin) -> _Solved:
    if thin.inflow == 0:
        return _labelled(thin, [Fraction(0)] * len(thin.arcs), {})
    live = _live(thin)
    kept = [i for i, (v, w, *_) in enumerate(thin.arcs) if live[v] and live[w]]
    rates = [float(thin.arcs[i][2]) for i in kept]
    rates += [float(b) for i in kept if (b := thin.arcs[i][4])]
    top = 2.0 * max(1.0, float(thin.inflow) / min(rates))
    program, names = _program(thin, kept, live, top)
    values = program.solve(maximise=True)
    if values is None:
        raise FlowsError("no thin flow with spillback was found in floats; please report the case.")
    for size in _DENOMINATORS:
        found = _exactly(thin, kept, live, values, names, size)
        if found is not None:
            return found
    raise FlowsError("the thin flow with spillback that floats found does not hold exactly.")


def _program(thin: _Thin, kept: list[int], live: list[bool], top: float) -> Any:
    p = Program()
    names: dict[tuple[str, int], int] = {}
    u = float(thin.inflow)
    nodes = [v for v in range(thin.nodes) if live[v]]
    for v in nodes:
        names["l", v], names["k", v] = p.variable(top), p.variable(top, cost=1.0)
        names["free", v] = p.binary()
        p.row({names["k", v]: 1.0, names["l", v]: -1.0}, most=0.0)
        p.row({names["l", v]: 1.0, names["k", v]: -1.0, names["free", v]: top}, most=top)
    p.row({names["k", thin.source]: 1.0}, least=1.0, most=1.0)
    into: dict[int, list[int]] = {}
    tight: dict[int, list[int]] = {v: [] for v in nodes}
    for i in kept:
        v, w, nu, queued, bound = thin.arcs[i]
        x, y = p.variable(1.0), p.binary()
        names["x", i], names["y", i] = x, y
        into.setdefault(w, []).append(y)
        k, lw, lv, n = names["k", w], names["l", w], names["l", v], float(nu) / u
        p.row({x: 1.0, y: -1.0}, most=0.0)
        p.row({k: n, x: -1.0, y: -n * top}, least=-n * top)
        if queued:
            p.row({k: n, x: -1.0}, most=0.0)
        else:
            side = p.binary()
            names["side", i] = side
            p.row({lw: 1.0, lv: -1.0, side: top}, most=top)
            p.row({k: n, x: -1.0, side: -n * top}, most=0.0)
            p.row({lw: 1.0, lv: -1.0, y: -top}, least=-top)
        if bound is not None:
            b, m = float(bound) / u, p.binary()
            names["m", i] = m
            tight[v].append(m)
            p.row({lv: b, x: -1.0}, least=0.0)
            p.row({lv: b, x: -1.0, m: b * top}, most=b * top)
    for v in nodes:
        if v != thin.source:
            p.row(dict.fromkeys(into[v], 1.0), least=1.0)
        p.row({**dict.fromkeys(tight[v], 1.0), names["free", v]: 1.0}, least=1.0)
        terms: dict[int, float] = {}
        for i in kept:
            if thin.arcs[i][1] == v:
                terms[names["x", i]] = 1.0
            elif thin.arcs[i][0] == v:
                terms[names["x", i]] = -1.0
        need = {thin.source: -1.0, thin.sink: 1.0}.get(v, 0.0)
        p.row(terms, least=need, most=need)
    return p, names


def _exactly(
    thin: _Thin,
    kept: list[int],
    live: list[bool],
    values: list[float],
    names: dict[tuple[str, int], int],
    size: int,
) -> _Solved | None:
    """Solve the equations that hold in floats; unknowns that they leave free are rounded."""
    u = thin.inflow

    def at(kind: str, i: int) -> float:
        return values[names[kind, i]]

    def on(kind: str, i: int) -> bool:
        return (kind, i) in names and at(kind, i) > 0.5

    rows: list[tuple[dict[tuple[str, int], Fraction], Fraction]] = []
    one = Fraction(1)
    rows.append(({("k", thin.source): one}, one))
    for v in range(thin.nodes):
        if not live[v]:
            continue
        if on("free", v):
            rows.append(({("l", v): one, ("k", v): -one}, Fraction(0)))
        balance: dict[tuple[str, int], Fraction] = {}
        for i in kept:
            if thin.arcs[i][1] == v:
                balance["x", i] = one
            elif thin.arcs[i][0] == v:
                balance["x", i] = -one
        rows.append((balance, {thin.source: -u, thin.sink: u}.get(v, Fraction(0))))
    for i in kept:
        v, w, nu, queued, bound = thin.arcs[i]
        if not on("y", i):
            rows.append(({("x", i): one}, Fraction(0)))
        elif queued or not on("side", i):
            rows.append(({("k", w): nu, ("x", i): -one}, Fraction(0)))
        else:
            rows.append(({("l", w): one, ("l", v): -one}, Fraction(0)))
        if bound is not None and on("m", i):
            rows.append(({("l", v): bound, ("x", i): -one}, Fraction(0)))
    rough = {
        key: Fraction(values[n] * (float(u) if key[0] == "x" else 1.0)).limit_denominator(size)
        for key, n in names.items()
        if key[0] in "lkx"
    }
    known = _eliminated(rows, rough)
    if known is None:
        return None
    flow = [known.get(("x", i), Fraction(0)) for i in range(len(thin.arcs))]
    throttle = {
        v: known["k", v] / known["l", v] for v in range(thin.nodes) if live[v] and known["l", v]
    }
    found = _labelled(thin, flow, throttle)
    return found if not _violated(thin, found, live) else None


def _eliminated(
    rows: list[tuple[dict[tuple[str, int], Fraction], Fraction]],
    rough: dict[tuple[str, int], Fraction],
) -> dict[tuple[str, int], Fraction] | None:
    """Solve linear equations exactly; variables they do not fix take their rough values."""
    done: list[tuple[tuple[str, int], dict[tuple[str, int], Fraction], Fraction]] = []
    for coefficients, right in rows:
        row, value = dict(coefficients), right
        for pivot, other, other_value in done:
            f = row.pop(pivot, None)
            if f:
                for key, a in other.items():
                    row[key] = row.get(key, Fraction(0)) - f * a
                value -= f * other_value
        row = {key: a for key, a in row.items() if a}
        if not row:
            if value:
                return None
            continue
        # labels before flows, so that free unknowns are flows where possible
        pivot = min(row, key=lambda key: ("klx".index(key[0]), key[1]))
        f = row.pop(pivot)
        done.append((pivot, {key: a / f for key, a in row.items()}, value / f))
    known: dict[tuple[str, int], Fraction] = {}
    fixed = {pivot for pivot, *_ in done}
    known |= {key: v for key, v in rough.items() if key not in fixed}
    for pivot, row, value in reversed(done):
        known[pivot] = value - sum((a * known[key] for key, a in row.items()), Fraction(0))
    return known


def _labelled(thin: _Thin, flow: list[Fraction], factors: dict[int, Fraction]) -> _Solved:
    """Slopes from flow and factors, in topological order: least rho, at least what bounds ask."""
    c = [factors.get(v, Fraction(1)) for v in range(thin.nodes)]
    into: list[list[tuple[int, Fraction, bool, Fraction]]] = [[] for _ in range(thin.nodes)]
    for (v, w, nu, queued, _), x in zip(thin.arcs, flow, strict=True):
        into[w].append((v, nu, queued, x))
    slopes = [Fraction(0)] * thin.nodes
    for w in topological(thin.nodes, [(a[0], a[1], None, False) for a in thin.arcs]):
        if w == thin.source:
            slopes[w] = 1 / c[w]
        elif into[w]:
            slopes[w] = min(
                x / (c[w] * nu) if queued else max(slopes[v], x / (c[w] * nu))
                for v, nu, queued, x in into[w]
            )
    return _Solved(slopes, c, flow)


def _violated(thin: _Thin, found: _Solved, live: list[bool]) -> str:
    """Return the first condition that does not hold exactly, or ""."""
    slopes, c, flow = found.slopes, found.factors, found.flow
    if any(x < 0 for x in flow) or any(not 0 < f <= 1 for f in c):
        return "a flow or factor is out of range"
    balance = [Fraction(0)] * thin.nodes
    balance[thin.source], balance[thin.sink] = thin.inflow, -thin.inflow
    bounded: dict[int, bool] = {}
    for (v, w, nu, queued, bound), x in zip(thin.arcs, flow, strict=True):
        balance[v] -= x
        balance[w] += x
        rho = x / (c[w] * nu) if queued else max(slopes[v], x / (c[w] * nu))
        if x and rho != slopes[w]:
            return "an arc with flow is late"
        if bound is not None:
            if x > bound * slopes[v]:
                return "an arc takes more than its bound"
            bounded[v] = bounded.get(v, False) or x == bound * slopes[v]
    if any(balance):
        return "flow is not conserved"
    if any(c[v] < 1 and not bounded.get(v, False) for v in range(thin.nodes) if live[v]):
        return "a node is throttled although no arc out of it is at its bound"
    return ""


def _live(thin: _Thin) -> list[bool]:
    live = [False] * thin.nodes
    live[thin.sink] = True
    changed = True
    while changed:
        changed = False
        for v, w, *_ in thin.arcs:
            if live[w] and not live[v]:
                live[v] = changed = True
    return live


def _no_full_cycle(net: Network, full: Sequence[int]) -> None:
    left = [net.arcs[e] for e in full]
    while left:
        tails = {a.tail for a in left}
        keep = [a for a in left if a.head in tails]
        if len(keep) == len(left):
            raise FlowsError(
                f"full arcs form a cycle (arc {left[0].name} is on or before it): traffic has "
                "locked, and no equilibrium is known beyond this point."
            )
        left = keep


def _append(line: list[tuple[Fraction, Fraction]], point: tuple[Fraction, Fraction]) -> None:
    if point[0] == line[-1][0]:
        return
    if len(line) >= 2:
        (t0, v0), (t1, v1) = line[-2], line[-1]
        if (v1 - v0) * (point[0] - t1) == (point[1] - v1) * (t1 - t0):
            line.pop()
    line.append(point)


def _value(line: list[tuple[Fraction, Fraction]], at: Fraction) -> Fraction:
    if at <= line[0][0]:
        return line[0][1]
    if at >= line[-1][0]:
        return line[-1][1]
    i = bisect_right([t for t, _ in line], at)
    (t0, v0), (t1, v1) = line[i - 1], line[i]
    return v0 + (v1 - v0) * (at - t0) / (t1 - t0)


def _slope(line: list[tuple[Fraction, Fraction]], at: Fraction) -> Fraction:
    """Rate right after a time; 0 before the first and after the last point."""
    if at < line[0][0] or at >= line[-1][0]:
        return Fraction(0)
    i = bisect_right([t for t, _ in line], at)
    (t0, v0), (t1, v1) = line[i - 1], line[i]
    return (v1 - v0) / (t1 - t0)


def with_super_source(
    network: Network, source: str, capacity: Fraction | int | str, name: str = "origin"
) -> Network:
    """Return the network with a node before the source, joined by an arc without limits.

    Args:
        network: Whose first arcs have limits.
        source: Where agents depart so far; afterwards they depart at `name`.
        capacity: Of the new arc, at least the inflow.
        name: Of the new node.
    """
    from ._network import Arc

    arc = Arc(name, source, Fraction(0), Fraction(capacity), name=f"{name}-{source}")
    return replace(network, nodes=(name, *network.nodes), arcs=(arc, *network.arcs))


def agent_and_clock(flow: NashFlow, arc: str) -> list[tuple[Any, Any, str]]:
    """Return (departure, clock time at the arc's tail, event) of what happens at an arc."""
    tail = flow.network.arc(arc).tail
    return [
        (phase.end, flow.labels(phase.end)[tail], event.kind)
        for phase in flow.phases
        for event in phase.events
        if event.arc == arc and phase.end is not None
    ]
