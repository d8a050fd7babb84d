"""The long run of a constant inflow: where queues go, without computing a single phase.

Without spillback a last phase is always reached. In an acyclic network its slopes are those of the
thin flow in which all arcs are active and none has a queue; at the sink max(1, inflow / minimum
cut). Where the inflow passes the minimum cut, labels and queues end as an optimal dual of the
minimum-cost flow, and the potential rises to its optimum.
Source: Cominetti, Correa, Larre 2015; Olver, Sering, Vargas Koch 2021.
"""

from collections import deque
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from extremal.lab import rational

from ._equilibrium import NashFlow
from ._network import Network, Number, journey
from ._numbers import fraction, q
from ._thin_flow import Problem, solve, topological


@dataclass(frozen=True)
class SteadyState:
    """What happens in the long run.

    Attributes:
        cut: Capacity of a minimum cut between source and sink.
        sink_slope: Final slope of the sink's label: 1 if queues stop growing.
        slopes: Final slopes of all nodes, where the network is acyclic; else None.
        potential: Final value of the potential, where the inflow passes the minimum cut.
    """

    cut: Fraction
    sink_slope: Fraction
    slopes: dict[str, Fraction] | None
    potential: Fraction | None


def steady_state(network: Network, source: Any, sink: Any, inflow: Number) -> SteadyState:
    """Predict the last phase of a constant inflow without simulating.

    Args:
        network: Without spillback.
        source: Where agents depart.
        sink: Where they go.
        inflow: The constant rate, above 0.

    Example:
        >>> from extremal.flows import instance
        >>> found = steady_state(instance("braess").network, "s", "t", 1)
        >>> found.sink_slope, found.potential
        (Fraction(1, 1), Fraction(55, 1))
    """
    trip = journey(network, source, sink)
    net = trip.network
    rate = rational(inflow)
    if rate <= 0:
        raise ValueError(f"the inflow is {rate}; a steady state needs one above 0.")
    where = {n: i for i, n in enumerate(net.nodes)}
    s, t = where[trip.source], where[trip.sink]
    arcs = [(where[a.tail], where[a.head], a.capacity, a.transit) for a in net.arcs]
    cut, _ = max_flow(len(net.nodes), s, t, arcs)
    slopes: dict[str, Fraction] | None = None
    problem = Problem(
        len(net.nodes), s, t, q(rate), tuple((v, w, q(nu), False) for v, w, nu, _ in arcs)
    )
    if len(topological(problem.nodes, problem.arcs)) == problem.nodes:
        found = solve(problem)
        slopes = {n: fraction(found.slopes[i]) for n, i in where.items()}
    potential = None
    if rate <= cut:
        potential = min_cost(len(net.nodes), s, t, arcs, rate)
    return SteadyState(cut, max(Fraction(1), rate / cut), slopes, potential)


def potential(flow: NashFlow, departure: Number) -> Any:
    """Return inflow * (l_sink - l_source) - sum of capacity * waiting time at a departure.

    With a constant inflow it never falls.
    """
    rate = flow.inflow.rate(Fraction(rational(departure)))
    labels = flow.labels(departure)
    waiting = sum((a.capacity * flow.queue(a.name, departure) for a in flow.network.arcs), 0 * rate)
    return rate * (labels[flow.sink] - labels[flow.source]) - waiting


Numbered = tuple[int, int, Fraction, Fraction]  # tail, head, capacity, cost


def max_flow(nodes: int, source: int, sink: int, arcs: list[Any]) -> tuple[Any, list[Any]]:
    """Return value and arcs of a maximum flow: shortest augmenting paths, exact."""
    left = [a[2] for a in arcs] + [0 * a[2] for a in arcs]
    m = len(arcs)
    out: list[list[tuple[int, int]]] = [[] for _ in range(nodes)]
    for e, (v, w, *_) in enumerate(arcs):
        out[v].append((w, e))
        out[w].append((v, m + e))
    total: Any = 0
    while True:
        into: dict[int, tuple[int, int]] = {source: (-1, -1)}
        todo = deque([source])
        while todo and sink not in into:
            v = todo.popleft()
            for w, e in out[v]:
                if left[e] > 0 and w not in into:
                    into[w] = (v, e)
                    todo.append(w)
        if sink not in into:
            return total, left[m:]
        path: list[int] = []
        at = sink
        while at != source:
            at, e = into[at]
            path.append(e)
        width = min(left[e] for e in path)
        for e in path:
            left[e] -= width
            left[e + m if e < m else e - m] += width
        total += width


def cost_slopes(
    nodes: int, source: int, sink: int, arcs: list[Numbered]
) -> list[tuple[Fraction, Fraction]]:
    """Return (amount, distance) of the successive shortest paths up to the maximum flow.

    The cheapest flow of value v costs the integral of the distances up to v.
    """
    left = [a[2] for a in arcs] + [Fraction(0)] * len(arcs)
    m = len(arcs)
    ends = [(v, w, c) for v, w, _, c in arcs] + [(w, v, -c) for v, w, _, c in arcs]
    found: list[tuple[Fraction, Fraction]] = []
    while True:
        far: dict[int, Fraction] = {source: Fraction(0)}
        into: dict[int, int] = {}
        for _ in range(nodes):  # Bellman-Ford: backward arcs have negative costs
            changed = False
            for e, (v, w, c) in enumerate(ends):
                if left[e] > 0 and v in far and (w not in far or far[v] + c < far[w]):
                    far[w], into[w] = far[v] + c, e
                    changed = True
            if not changed:
                break
        if sink not in far:
            return found
        path: list[int] = []
        at = sink
        while at != source:
            path.append(into[at])
            at = ends[into[at]][0]
        width = min(left[e] for e in path)
        for e in path:
            left[e] -= width
            left[e + m if e < m else e - m] += width
        found.append((width, far[sink]))


def min_cost(nodes: int, source: int, sink: int, arcs: list[Numbered], value: Fraction) -> Fraction:
    """Return the least cost of a flow of a value that the network can carry."""
    total, rest = Fraction(0), value
    for width, distance in cost_slopes(nodes, source, sink, arcs):
        used = min(width, rest)
        total += used * distance
        rest -= used
    assert rest <= 0
    return total
