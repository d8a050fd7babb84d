"""One thin flow with resetting: the derivative of an equilibrium.

Notation: E' the active arcs, E* those with a queue (resetting), u the inflow rate, x the static
flow, l the slopes. Wanted: l_s = 1, l_w = least rho over active arcs into w, and x_e > 0 only where
rho_e = l_w; rho_e = x_e / nu_e on E*, else max(l_v, x_e / nu_e). Slopes are unique, x need not be.
Source: Koch, Skutella 2011; Cominetti, Correa, Larre 2015. The complementary pivoting and the exact
solution of a basis that floats have found are ours.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any

import numpy as np

from extremal.lab import rational

from ._errors import FlowsError
from ._jit import HAVE_NUMBA
from ._network import Network, journey
from ._numbers import fraction, q
from ._pivoting import pivot_exactly

_SEEDS = (1, 2, 3)
_SMALL = 16


@dataclass(frozen=True)
class ThinFlow:
    """A thin flow with resetting.

    Attributes:
        slopes: Of each node.
        flow: Of each arc of the journey's network, by name.
        pivots: How many exchanges of variables it took; 0 if an earlier basis fitted.
        method: What solved it.
    """

    slopes: dict[str, Fraction | float]
    flow: dict[str, Fraction | float]
    pivots: int
    method: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A thin flow to be found, with nodes as numbers; all arcs are active.

    Attributes:
        nodes: How many.
        source: Number of the source.
        sink: Number of the sink.
        inflow: Rate, a fast rational.
        arcs: (tail, head, capacity, whether it is resetting).
    """

    nodes: int
    source: int
    sink: int
    inflow: Any
    arcs: tuple[tuple[int, int, Any, bool], ...]


@dataclass(frozen=True, slots=True)
class Solution:
    """Slopes of nodes, flow of arcs and the states they were solved from."""

    slopes: list[Any]
    flow: list[Any]
    states: Any  # of arcs: kernels' OFF, EQUAL, FULL, or -1
    zeros: Any  # nodes with slope 0 in the basis
    pivots: int
    method: str


def thin_flow(
    network: Network,
    source: Any,
    sink: Any,
    inflow: int | str | Fraction | float,
    *,
    active: Iterable[str] | None = None,
    resetting: Iterable[str] = (),
    method: str = "auto",
    arithmetic: str = "exact",
) -> ThinFlow:
    """Solve one thin flow with resetting.

    Args:
        network: Its transit times play no role here.
        source: Where the flow comes from.
        sink: Where it goes.
        inflow: Its rate.
        active: Names of active arcs; by default all. They must form no cycle and reach all nodes.
        resetting: Names of the arcs among them that have a queue.
        method: `"floats"` (floats find the basis, rationals solve and check it), `"pivoting"` (all
            pivots in rationals), `"auto"` (the second for up to 16 arcs, else the first), or the
            baselines `"milp-1"`, `"milp-2"`, `"milp-3"`.
        arithmetic: `"exact"` or `"float"`.

    Raises:
        ValueError: An arc is unknown, an active cycle exists, or a node cannot be reached.
        FlowsError: The method found no solution.

    Example:
        >>> net = Network.from_arcs([("s", "t", 1, 1)])
        >>> thin_flow(net, "s", "t", 2).slopes["t"]
        Fraction(2, 1)
    """
    trip = journey(network, source, sink)
    net = trip.network
    names = [a.name for a in net.arcs]
    chosen = names if active is None else list(active)
    queued = set(resetting)
    known = {a.name for a in network.arcs}
    for name in (*chosen, *queued):
        if name not in known:
            raise ValueError(f"there is no arc {name!r}; names are like {names[0]!r}.")
    if not queued <= set(chosen):
        raise ValueError(f"resetting arcs must be active; {sorted(queued - set(chosen))} are not.")
    kept = [a for a in net.arcs if a.name in set(chosen)]
    where = {n: i for i, n in enumerate(net.nodes)}
    rate = rational(inflow)
    if rate < 0:
        raise ValueError(f"the inflow is {rate}; it must be 0 or more.")
    problem = Problem(
        len(net.nodes),
        where[trip.source],
        where[trip.sink],
        q(rate),
        tuple((where[a.tail], where[a.head], q(a.capacity), a.name in queued) for a in kept),
    )
    if len(topological(problem.nodes, problem.arcs)) < problem.nodes:
        raise ValueError("the active arcs form a cycle; an equilibrium never makes one active.")
    entered = {w for _, w, *_ in problem.arcs} | {problem.source}
    if len(entered) < problem.nodes:
        lost = next(n for i, n in enumerate(net.nodes) if i not in entered)
        raise ValueError(f"no active arc enters {lost!r}, so its slope is not determined.")
    found = solve(problem, method=method, exact=arithmetic == "exact")
    cast = fraction if arithmetic == "exact" else float
    return ThinFlow(
        {n: cast(found.slopes[i]) for n, i in where.items()},
        {a.name: cast(x) for a, x in zip(kept, found.flow, strict=True)},
        found.pivots,
        found.method,
    )


def solve(
    problem: Problem,
    *,
    method: str = "auto",
    exact: bool = True,
    hint: tuple[Any, Any] | None = None,
) -> Solution:
    """Solve a thin flow by the named method; `hint` holds states and zeros of an earlier one."""
    if problem.inflow == 0:
        return _without_inflow(problem)
    if method == "auto":
        # plain Python pivots faster in rationals than in arrays; small ones need no compiler
        if exact and (not HAVE_NUMBA or len(problem.arcs) <= _SMALL):
            return _pivoted(problem)
        method = "floats"
    if method == "floats":
        found = _by_floats(problem, exact, hint)
        if found is not None:
            return found
        method = "pivoting"
    if not exact:
        return _rounded(solve(_rational(problem), method=method))
    if method == "pivoting":
        return _pivoted(problem)
    if method.startswith("milp-"):
        from ._milp import solve_by_milp

        return solve_by_milp(problem, method)
    raise ValueError(
        f"there is no method {method!r}; there are auto, floats, pivoting, milp-1, milp-2 and "
        "milp-3."
    )


def _rational(problem: Problem) -> Problem:
    """Read floats as the rationals they are, since pivoting without tolerances needs those."""
    arcs = tuple((v, w, q(Fraction(nu)), queued) for v, w, nu, queued in problem.arcs)
    return replace(problem, inflow=q(Fraction(problem.inflow)), arcs=arcs)


def _rounded(found: Solution) -> Solution:
    slopes, flow = [float(v) for v in found.slopes], [float(x) for x in found.flow]
    return replace(found, slopes=slopes, flow=flow)


def topological(nodes: int, arcs: Sequence[tuple[int, int, Any, bool]]) -> list[int]:
    """Return the nodes in an order along the arcs; shorter where there is a cycle."""
    degree = [0] * nodes
    out: list[list[int]] = [[] for _ in range(nodes)]
    for v, w, *_ in arcs:
        degree[w] += 1
        out[v].append(w)
    order = [v for v in range(nodes) if degree[v] == 0]
    for v in order:
        for w in out[v]:
            degree[w] -= 1
            if degree[w] == 0:
                order.append(w)
    return order


def live_nodes(problem: Problem) -> list[bool]:
    """Return which nodes can pass flow on to the sink."""
    live = [False] * problem.nodes
    live[problem.sink] = True
    into: list[list[int]] = [[] for _ in range(problem.nodes)]
    for v, w, *_ in problem.arcs:
        into[w].append(v)
    stack = [problem.sink]
    while stack:
        for v in into[stack.pop()]:
            if not live[v]:
                live[v] = True
                stack.append(v)
    return live


def labelled(problem: Problem, flow: Sequence[Any]) -> list[Any]:
    """Return the slopes that a flow gives: the least rho of the arcs into a node."""
    into: list[list[tuple[int, Any, bool, Any]]] = [[] for _ in range(problem.nodes)]
    for (v, w, nu, queued), x in zip(problem.arcs, flow, strict=True):
        into[w].append((v, nu, queued, x))
    one = 1 + 0 * problem.inflow
    slopes: list[Any] = [None] * problem.nodes
    for w in topological(problem.nodes, problem.arcs):
        if w == problem.source:
            slopes[w] = one
            continue
        slopes[w] = min(
            x / nu if queued else max(slopes[v], x / nu) for v, nu, queued, x in into[w]
        )
    return slopes


def violation(problem: Problem, slopes: Sequence[Any], flow: Sequence[Any]) -> str:
    """Return the first condition of a thin flow that does not hold exactly, or ""."""
    if any(x < 0 for x in flow):
        return "a flow is below 0"
    balance: list[Any] = [0] * problem.nodes
    balance[problem.source], balance[problem.sink] = problem.inflow, -problem.inflow
    for (v, w, nu, queued), x in zip(problem.arcs, flow, strict=True):
        balance[v] -= x
        balance[w] += x
        if x and (x / nu if queued else max(slopes[v], x / nu)) != slopes[w]:
            return f"the arc {v} - {w} carries flow and is late"
    if any(balance):
        return "flow is not conserved"
    if labelled(problem, flow) != list(slopes):
        return "a slope is not the least rho"
    return ""


def _without_inflow(problem: Problem) -> Solution:
    flow = [0 * problem.inflow] * len(problem.arcs)
    states = np.full(len(problem.arcs), -1)
    zeros = np.zeros(problem.nodes, bool)
    return Solution(labelled(problem, flow), flow, states, zeros, 0, "no inflow")


def _pivoted(problem: Problem) -> Solution:
    live = live_nodes(problem)
    inside = [i for i, (v, w, *_) in enumerate(problem.arcs) if live[v] and live[w]]
    _, found, pivots = pivot_exactly(
        problem.nodes,
        problem.source,
        problem.sink,
        problem.inflow,
        [problem.arcs[i] for i in inside],
        live,
    )
    flow: list[Any] = [0 * problem.inflow] * len(problem.arcs)
    for i, x in zip(inside, found, strict=True):
        flow[i] = x
    slopes = labelled(problem, flow)
    wrong = violation(problem, slopes, flow)
    if wrong:
        raise FlowsError(f"pivoting ended in no thin flow ({wrong}); use method='milp-2'.")
    states = np.full(len(problem.arcs), -1)
    return Solution(slopes, flow, states, np.zeros(problem.nodes, bool), pivots, "pivoting")


def _by_floats(problem: Problem, exact: bool, hint: tuple[Any, Any] | None) -> Solution | None:
    from ._kernels import SOLVED, crash, thin_flow_kernel

    tail = np.array([a[0] for a in problem.arcs])
    head = np.array([a[1] for a in problem.arcs])
    nu = np.array([float(a[2]) for a in problem.arcs])
    reset = np.array([a[3] for a in problem.arcs], bool)
    none = (np.full(len(tail), -1), np.zeros(problem.nodes, bool))
    limit = 50 * (len(tail) + problem.nodes) + 100
    if hint is None:
        inflow = float(problem.inflow)
        guess = crash(problem.nodes, problem.source, problem.sink, inflow, tail, head, nu, reset)
        hint = (guess, none[1])
    tries = [(hint, _SEEDS[0]), *((none, seed) for seed in _SEEDS)]
    for (arcs, nodes), seed in tries:
        status, slopes, flow, states, zeros, pivots, _ = thin_flow_kernel(
            problem.nodes, problem.source, problem.sink, float(problem.inflow), tail, head, nu,
            reset, arcs, nodes, seed, limit,
        )  # fmt: skip
        if status != SOLVED:
            continue
        if not exact:
            return Solution(slopes.tolist(), flow.tolist(), states, zeros, int(pivots), "floats")
        solved = from_states(problem, states, zeros)
        if solved is not None:
            return Solution(*solved, states, zeros, int(pivots), "floats, solved exactly")
    return None


def from_states(problem: Problem, states: Any, zeros: Any) -> tuple[list[Any], list[Any]] | None:
    """Solve a basis exactly: its states say which arcs are full and which ends have equal slopes.

    Returns:
        Slopes and flow, or None where they are no thin flow.
    """
    from ._kernels import EQUAL, FULL

    n, arcs = problem.nodes, problem.arcs
    live = live_nodes(problem)
    parent = list(range(n))

    def root(v: int) -> int:
        while parent[v] != v:
            parent[v] = parent[parent[v]]
            v = parent[v]
        return v

    equal = [e for e in range(len(arcs)) if states[e] == EQUAL]
    full = [e for e in range(len(arcs)) if states[e] == FULL]
    for e in equal:
        parent[root(arcs[e][0])] = root(arcs[e][1])
    zero, one = 0 * problem.inflow, 1 + 0 * problem.inflow
    value: dict[int, Any] = {root(v): zero for v in range(n) if zeros[v]}
    value[root(problem.source)] = one
    rows: dict[int, dict[int, Any]] = {
        r: {} for r in {root(v) for v in range(n) if live[v]} if r not in value
    }
    right: dict[int, Any] = dict.fromkeys(rows, zero)
    if root(problem.sink) in rows:
        right[root(problem.sink)] += problem.inflow
    for e in full:
        v, w, nu, _ = arcs[e]
        i, j = root(v), root(w)
        if i == j:
            continue
        if j in rows:
            rows[j][j] = rows[j].get(j, zero) + nu
            if i in rows:
                rows[i][j] = rows[i].get(j, zero) - nu
        elif i in rows:
            right[i] += nu * value[j]
    if not _eliminate(rows, right, value):
        return None
    slopes = [value[root(v)] if live[v] else zero for v in range(n)]
    flow: list[Any] = [zero] * len(arcs)
    need: list[Any] = [zero] * n
    need[problem.sink] += problem.inflow
    for e in full:
        v, w, nu, _ = arcs[e]
        flow[e] = nu * slopes[w]
        need[w] -= flow[e]
        need[v] += flow[e]
    if not _forest(problem, equal, zeros, need, flow):
        return None
    labels = labelled(problem, flow)
    return None if violation(problem, labels, flow) else (labels, flow)


def _eliminate(
    rows: dict[int, dict[int, Any]], right: dict[int, Any], value: dict[int, Any]
) -> bool:
    """Solve the sparse system; the row with the fewest entries goes first. False if singular."""
    users: dict[int, set[int]] = {i: set() for i in rows}
    for i, row in rows.items():
        for j in row:
            users[j].add(i)
    left, done = set(rows), list[tuple[int, dict[int, Any], Any]]()
    while left:
        i = min(left, key=lambda r: (len(rows[r]) * len(users[r]), r))
        row = rows[i]
        pivot = row.get(i)
        if not pivot:
            return False
        left.remove(i)
        del row[i]
        for j in row:
            users[j].discard(i)
        for r in users[i] - {i}:
            other = rows[r]
            f = other.pop(i) / pivot
            for j, a in row.items():
                new = other.get(j)
                new = -f * a if new is None else new - f * a
                if new:
                    other[j] = new
                    users[j].add(r)
                else:
                    other.pop(j, None)
                    users[j].discard(r)
            right[r] -= f * right[i]
        done.append((i, row, pivot))
    for i, row, pivot in reversed(done):
        value[i] = (right[i] - sum((a * value[j] for j, a in row.items()), 0 * pivot)) / pivot
    return True


def _forest(
    problem: Problem, equal: Sequence[int], zeros: Any, need: list[Any], flow: list[Any]
) -> bool:
    """Give arcs with equal slopes their flow: leaves first; the source balances itself."""
    touching: dict[int, set[int]] = {}
    for e in equal:
        for v in problem.arcs[e][:2]:
            touching.setdefault(v, set()).add(e)
    anchored = {problem.source} | {v for v in range(problem.nodes) if zeros[v]}
    leaves = [v for v, arcs in touching.items() if len(arcs) == 1 and v not in anchored]
    count = 0
    while leaves:
        v = leaves.pop()
        if len(touching[v]) != 1:
            continue
        (e,) = touching[v]
        tail, head, *_ = problem.arcs[e]
        flow[e] = need[v] if v == head else -need[v]
        need[head] -= flow[e]
        need[tail] += flow[e]
        count += 1
        for end in (tail, head):
            touching[end].remove(e)
            if len(touching[end]) == 1 and end not in anchored:
                leaves.append(end)
    return count == len(equal)
