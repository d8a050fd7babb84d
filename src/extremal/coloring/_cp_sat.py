"""Largest sets of 0/1 variables by CP-SAT, in a process of its own.

ortools and highspy bring different builds of one shared library of the same name, so a process that
has loaded either cannot load the other. The solver therefore runs in a child that loads ortools
alone; the problem and the answer pass as JSON. `python _cp_sat.py` is that child.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

_ROOM = 30.0  # seconds that starting and building may take beside solving


@dataclass(frozen=True)
class Solution:
    """What the solver found.

    Attributes:
        values: Of each variable; empty if it found nothing in its time.
        bound: No choice has more ones.
        optimal: Whether the values reach the bound.
    """

    values: tuple[bool, ...]
    bound: int
    optimal: bool


def largest(
    count: int,
    *,
    pairs: Sequence[tuple[int, int]],
    groups: Sequence[Sequence[int]] = (),
    chosen: Sequence[int] = (),
    hint: Sequence[bool] = (),
    seconds: float,
) -> Solution:
    """Choose as many variables as possible.

    Args:
        count: How many variables there are.
        pairs: Of which at most one may be chosen.
        groups: Of each at most one may be chosen.
        chosen: These are chosen.
        hint: A start, a value a variable, or nothing.
        seconds: Limit of the solver.

    Raises:
        MissingExtra: ortools is not installed.
        RuntimeError: The child ended without an answer.
    """
    import importlib.util

    from extremal.lab import require

    if importlib.util.find_spec("ortools") is None:
        require("ortools", "coloring")  # says what to install
    problem = {
        "count": count,
        "pairs": [list(p) for p in pairs],
        "groups": [list(g) for g in groups],
        "chosen": list(chosen),
        "hint": [bool(h) for h in hint],
        "seconds": seconds,
    }
    ended = subprocess.run(
        [sys.executable, __file__],
        input=json.dumps(problem),
        capture_output=True,
        text=True,
        check=False,
        timeout=4 * seconds + _ROOM + count / 100,
    )
    if ended.returncode:
        last = (ended.stderr.strip().splitlines() or ["no message"])[-1]
        raise RuntimeError(f"CP-SAT ended with code {ended.returncode} ({last}); try fewer cells.")
    answer = json.loads(ended.stdout)
    return Solution(tuple(answer["values"]), int(answer["bound"]), bool(answer["optimal"]))


def _solve(problem: dict[str, Any]) -> dict[str, Any]:
    from ortools.sat.python import cp_model

    cp: Any = cp_model
    model = cp.CpModel()
    x = [model.new_bool_var(f"x{k}") for k in range(problem["count"])]
    for group in problem["groups"]:
        model.add_at_most_one(x[k] for k in group)
    for u, v in problem["pairs"]:
        model.add_bool_or([x[u].negated(), x[v].negated()])
    for k in problem["chosen"]:
        model.add(x[k] == 1)
    for variable, value in zip(x, problem["hint"], strict=False):
        model.add_hint(variable, value)
    model.maximize(sum(x))
    solver = cp.CpSolver()
    solver.parameters.max_time_in_seconds = problem["seconds"]
    solver.parameters.num_workers = 1
    status = solver.solve(model)
    found = status in (cp.OPTIMAL, cp.FEASIBLE)
    return {
        "values": [bool(solver.value(v)) for v in x] if found else [],
        "bound": int(solver.best_objective_bound + 1e-6) if found else problem["count"],
        "optimal": status == cp.OPTIMAL,
    }


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_solve(json.load(sys.stdin))))
