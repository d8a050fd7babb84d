"""Thin flows by mixed-integer programs: the three baselines of the 2017 thesis.

Notation: E0 the arcs that may carry flow; M = max(1, inflow / least capacity) bounds all slopes.
"milp-1" guesses E0 and solves a feasibility program a guess; "milp-2" decides E0 by binaries in one
program; "milp-3" maximises the sum of slopes with E0 partly decided and branches on an arc into a
node whose conditions fail. Floats name the combinatorial state only: nodes with equal slopes are
joined, slopes are solved exactly, flow between equal slopes comes from an exact maximum flow.
"""

import itertools
from collections.abc import Iterable
from typing import Any

import numpy as np

from ._errors import FlowsError
from ._highs import Program
from ._long_run import max_flow
from ._thin_flow import Problem, Solution, _eliminate, labelled, live_nodes, violation

_NEAR = 1e-6
_MOST_GUESSES = 1 << 20


def solve_by_milp(problem: Problem, method: str, seconds: float = 600.0) -> Solution:
    """Solve a thin flow by one of the baselines.

    Args:
        problem: With an inflow above 0.
        method: `"milp-1"`, `"milp-2"` or `"milp-3"`.
        seconds: Limit for each program.

    Raises:
        FlowsError: It found nothing, or what it found does not hold exactly.
    """
    live = live_nodes(problem)
    kept = [e for e, (v, w, *_) in enumerate(problem.arcs) if live[v] and live[w]]
    solver = {"milp-1": _guessing, "milp-2": _one_program, "milp-3": _backtracking}.get(method)
    if solver is None:
        raise ValueError(f"{method!r} is no baseline; there are milp-1, milp-2 and milp-3.")
    slopes, flow, programs = solver(problem, kept, live, seconds)
    exact = _exactly(problem, kept, live, slopes, flow)
    if exact is None:
        raise FlowsError(f"the state that {method} found is no thin flow; use method='pivoting'.")
    states = np.full(len(problem.arcs), -1)
    return Solution(*exact, states, np.zeros(problem.nodes, bool), programs, method)


def _bound(problem: Problem) -> float:
    return max(1.0, float(problem.inflow) / min(float(a[2]) for a in problem.arcs))


class _Base:
    """A program with slopes, flow and conservation; flows are divided by the inflow."""

    def __init__(self, problem: Problem, kept: list[int], live: list[bool], seconds: float) -> None:
        self.seconds = seconds
        self.program = Program()
        self.top = _bound(problem)
        self.problem = problem
        self.slope = {v: self.program.variable(self.top, cost=1.0) for v in range(problem.nodes)
                      if live[v]}  # fmt: skip
        s = self.slope[problem.source]
        self.program.row({s: 1.0}, least=1.0, most=1.0)
        self.flow = {e: self.program.variable(1.0) for e in kept}
        for v in self.slope:
            terms: dict[int, float] = {}
            for e in kept:
                tail, head, *_ = problem.arcs[e]
                if head == v:
                    terms[self.flow[e]] = 1.0
                elif tail == v:
                    terms[self.flow[e]] = -1.0
            need = {problem.source: -1.0, problem.sink: 1.0}.get(v, 0.0)
            self.program.row(terms, least=need, most=need)

    def parts(self, e: int) -> tuple[int, int, int, float, bool]:
        """Variables of an arc: slopes of tail and head, flow; capacity over inflow; queued."""
        v, w, nu, queued = self.problem.arcs[e]
        return (
            self.slope[v], self.slope[w], self.flow[e], float(nu / self.problem.inflow), queued
        )  # fmt: skip

    def inside(self, e: int) -> None:
        """Arc e is in E0: its rho is the slope of its head."""
        v, w, x, nu, queued = self.parts(e)
        p = self.program
        if queued:
            p.row({w: nu, x: -1.0}, least=0.0, most=0.0)
            return
        z = p.binary()
        p.row({w: 1.0, v: -1.0}, least=0.0)
        p.row({w: nu, x: -1.0}, least=0.0)
        p.row({w: 1.0, v: -1.0, z: self.top}, most=self.top)
        p.row({w: nu, x: -1.0, z: -self.top * nu}, most=0.0)

    def outside(self, e: int) -> None:
        """Arc e is not in E0: no flow, and not earlier than the label."""
        v, w, x, _, queued = self.parts(e)
        self.program.row({x: 1.0}, most=0.0)
        if queued:
            self.program.row({w: 1.0}, most=0.0)
        else:
            self.program.row({w: 1.0, v: -1.0}, most=0.0)

    def solve(self, maximise: bool = False) -> tuple[dict[int, float], dict[int, float]] | None:
        """Return slopes by node and flow by arc."""
        if not maximise:
            self.program.cost = [0.0] * len(self.program.cost)
        found = self.program.solve(maximise=maximise, seconds=self.seconds)
        if found is None:
            return None
        rate = float(self.problem.inflow)
        return (
            {v: found[i] for v, i in self.slope.items()},
            {e: found[i] * rate for e, i in self.flow.items()},
        )


def _guessing(problem: Problem, kept: list[int], live: list[bool], seconds: float) -> Any:
    into: dict[int, list[int]] = {}
    for e in kept:
        into.setdefault(problem.arcs[e][1], []).append(e)
    count = 0
    choices = [list(_nonempty(arcs)) for arcs in into.values()]
    for guess in itertools.product(*choices):
        count += 1
        if count > _MOST_GUESSES:
            break
        chosen = {e for part in guess for e in part}
        base = _Base(problem, kept, live, seconds)
        for e in kept:
            (base.inside if e in chosen else base.outside)(e)
        found = base.solve()
        if found is not None:
            return *found, count
    raise FlowsError(f"no guess of milp-1 was feasible within {count}; use method='auto'.")


def _nonempty(arcs: list[int]) -> Iterable[tuple[int, ...]]:
    for size in range(len(arcs), 0, -1):
        yield from itertools.combinations(arcs, size)


def _one_program(problem: Problem, kept: list[int], live: list[bool], seconds: float) -> Any:
    base = _Base(problem, kept, live, seconds)
    p, top = base.program, base.top
    member: dict[int, list[int]] = {}
    for e in kept:
        v, w, x, nu, queued = base.parts(e)
        a = p.binary()
        member.setdefault(problem.arcs[e][1], []).append(a)
        p.row({x: 1.0, a: -1.0}, most=0.0)
        if queued:
            # rho = x / nu is at least the label always, and equal to it inside E0
            p.row({w: nu, x: -1.0}, most=0.0)
            p.row({w: nu, x: -1.0, a: -top * nu}, least=-top * nu)
            continue
        z = p.binary()
        p.row({w: 1.0, v: -1.0, a: -top}, least=-top)
        p.row({w: nu, x: -1.0, a: -top * nu}, least=-top * nu)
        p.row({w: 1.0, v: -1.0, z: top, a: top}, most=2 * top)
        p.row({w: nu, x: -1.0, z: -top * nu, a: top * nu}, most=top * nu)
        p.row({w: 1.0, v: -1.0, a: -top}, most=0.0)
    for choices in member.values():
        p.row(dict.fromkeys(choices, 1.0), least=1.0)
    found = base.solve()
    if found is None:
        raise FlowsError("milp-2 is infeasible in floats; use method='pivoting'.")
    return *found, 1


def _backtracking(problem: Problem, kept: list[int], live: list[bool], seconds: float) -> Any:
    queued = {e for e in kept if problem.arcs[e][3]}
    into: dict[int, list[int]] = {}
    for e in kept:
        into.setdefault(problem.arcs[e][1], []).append(e)
    count = 0
    stack: list[tuple[set[int], set[int]]] = [(set(queued), set())]
    while stack:
        inside, outside = stack.pop()
        base = _Base(problem, kept, live, seconds)
        for e in kept:
            _, w, x, nu, _ = base.parts(e)
            if e in inside:
                base.inside(e)
            elif e in outside:
                base.outside(e)
            else:
                base.program.row({w: nu, x: -1.0}, least=0.0)
        for w, arcs in into.items():  # at least one arc attains the least rho
            if w != problem.source and all(e in outside for e in arcs):
                base.program.row({base.slope[w]: 1.0}, most=-1.0)
        count += 1
        found = base.solve(maximise=True)
        if found is None:
            continue
        e = _violated(problem, into, *found, inside | outside)
        if e is None:
            return *found, count
        stack.append((inside, outside | {e}))
        stack.append((inside | {e}, outside))
    raise FlowsError("milp-3 found no thin flow; use method='pivoting'.")


def _violated(
    problem: Problem,
    into: dict[int, list[int]],
    slopes: dict[int, float],
    flow: dict[int, float],
    decided: set[int],
) -> int | None:
    for w, arcs in into.items():
        rho: dict[int, float] = {}
        for e in arcs:
            v, _, nu, queued = problem.arcs[e]
            rho[e] = flow[e] / float(nu)
            if not queued:
                rho[e] = max(rho[e], slopes[v])
        wrong = abs(min(rho.values()) - slopes[w]) > _NEAR or any(
            flow[e] > _NEAR and abs(rho[e] - slopes[w]) > _NEAR for e in arcs
        )
        if wrong:
            free = [e for e in arcs if e not in decided]
            if free:
                return max(free, key=lambda e: flow[e])
    left = [e for arcs in into.values() for e in arcs if e not in decided]
    wrong_anywhere = any(
        abs(_rho(problem, e, slopes, flow) - slopes[problem.arcs[e][1]]) > _NEAR
        for arcs in into.values() for e in arcs if flow[e] > _NEAR
    )  # fmt: skip
    return left[0] if wrong_anywhere and left else None


def _rho(problem: Problem, e: int, slopes: dict[int, float], flow: dict[int, float]) -> float:
    v, _, nu, queued = problem.arcs[e]
    return flow[e] / float(nu) if queued else max(slopes[v], flow[e] / float(nu))


def _exactly(
    problem: Problem,
    kept: list[int],
    live: list[bool],
    near: dict[int, float],
    used: dict[int, float],
) -> tuple[list[Any], list[Any]] | None:
    """Solve the state of a float solution in rationals, or return None."""
    n, zero = problem.nodes, 0 * problem.inflow
    # a node that no flow enters may have any small slope; its label follows from the others
    entered = {problem.source} | {problem.arcs[e][1] for e in kept if used[e] > _NEAR}
    parent = list(range(n))

    def root(v: int) -> int:
        while parent[v] != v:
            v = parent[v]
        return v

    equal: list[int] = []
    full: list[int] = []
    for e in kept:
        v, w, _, queued = problem.arcs[e]
        if w not in entered or v not in entered:
            continue
        if queued or near[w] > near[v] + _NEAR:
            full.append(e)
        elif abs(near[w] - near[v]) <= _NEAR:
            equal.append(e)
            parent[root(v)] = root(w)
    value: dict[int, Any] = {root(problem.source): 1 + zero}
    for v in range(n):
        if live[v] and v in entered and near[v] <= _NEAR and root(v) not in value:
            value[root(v)] = zero
    rows: dict[int, dict[int, Any]] = {
        root(v): {} for v in range(n) if v in entered and root(v) not in value
    }
    right: dict[int, Any] = dict.fromkeys(rows, zero)
    if root(problem.sink) in rows:
        right[root(problem.sink)] += problem.inflow
    for e in full:
        v, w, nu, _ = problem.arcs[e]
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
    slope = {v: value[root(v)] for v in entered}
    flow: list[Any] = [zero] * len(problem.arcs)
    need = [zero] * n
    need[problem.source], need[problem.sink] = -problem.inflow, problem.inflow
    for e in full:
        v, w, nu, _ = problem.arcs[e]
        flow[e] = nu * slope[w]
        need[w] -= flow[e]
        need[v] += flow[e]
    if not _fill(problem, equal, slope, need, flow):
        return None
    labels = labelled(problem, flow)
    return None if violation(problem, labels, flow) else (labels, flow)


def _fill(
    problem: Problem, equal: list[int], slope: dict[int, Any], need: list[Any], flow: list[Any]
) -> bool:
    """Send between nodes of equal slope what balances them, by a maximum flow."""
    n = problem.nodes
    arcs = [(problem.arcs[e][0], problem.arcs[e][1], problem.arcs[e][2] * slope[problem.arcs[e][1]],
             problem.inflow) for e in equal]  # fmt: skip
    wanted = 0 * problem.inflow
    for v in range(n):
        if need[v] < 0:
            arcs.append((n, v, -need[v], problem.inflow))
        elif need[v] > 0:
            arcs.append((v, n + 1, need[v], problem.inflow))
            wanted += need[v]
    value, amounts = max_flow(n + 2, n, n + 1, arcs)
    for e, amount in zip(equal, amounts, strict=False):
        flow[e] = amount
    return value == wanted
