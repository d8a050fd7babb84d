"""How long does one thin flow with resetting take, beside the MILP baseline?

Run:      python benchmarks/flows/thin_flow.py
Expect:   at most 5 ms in floats at 80 nodes and 200 arcs (inflow 12, cold); programs over 20 ms.
Fairness: the networks below, by seed: a random acyclic network in which arcs reach at most 12 nodes
          ahead, capacities 1 to 6, three tenths of the arcs with a queue, inflow 12. One thread,
          one process, warmed up. Floats solve the final basis anew and check it to 1e-6; "exact"
          solves it in rationals and checks it without tolerance. milp-2 is stopped after 20 s.
"""

import random
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal.flows import FlowsError
from extremal.flows._milp import solve_by_milp
from extremal.flows._numbers import q
from extremal.flows._thin_flow import Problem, solve
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
INFLOW = 12
SIZES = ((10, 25), (30, 75), (80, 200))


@dataclass(frozen=True)
class Options:
    """How to measure."""

    out: Path = HERE / "results" / "thin_flow.jsonl"
    seeds: int = 20
    repeats: int = 5
    programs: int = 3
    """Seeds for which milp-2 runs; none at 80 nodes."""


def generate(nodes: int, arcs: int, seed: int) -> Problem:
    """Return the benchmark's network of that size and seed."""
    draw = random.Random(seed)
    found = [
        (draw.randrange(max(0, w - 6), w), w, q(draw.randint(1, 6)), draw.random() < 0.3)
        for w in range(1, nodes)
    ]
    while len(found) < arcs:
        v = draw.randrange(nodes - 1)
        w = draw.randrange(v + 1, min(nodes, v + 12))
        found.append((v, w, q(draw.randint(1, 6)), draw.random() < 0.3))
    return Problem(nodes, 0, nodes - 1, q(INFLOW), tuple(found))


def table(records: list[dict[str, Any]]) -> Table:
    """The last record, a row for each size."""
    rows: list[list[str | float | int | None]] = []
    for size, s in records[-1]["samples"].items():
        programs = [20.0 if v is None else v for v in s["milp_seconds"]]
        rows.append(
            [
                size,
                len(s["pivots"]),
                int(statistics.median(s["pivots"])),
                max(s["pivots"]),
                1e3 * statistics.median(s["float_cpu_seconds"]),
                1e3 * max(s["float_cpu_seconds"]),
                1e3 * statistics.median(s["float_seconds"]),
                1e3 * statistics.median(s["exact_seconds"]),
                1e3 * statistics.median(s["warm_seconds"]),
                _stopped(programs),
            ]
        )
    columns = ["nodes/arcs", "networks", "pivots, median", "most", "float CPU (ms)", "worst (ms)",
               "float (ms)", "exact (ms)", "float, warm (ms)", "milp-2 (ms)"]  # fmt: skip
    return Table(columns, rows, title="Medians over networks; a network's time: least of repeats")


def _stopped(seconds: list[float]) -> str | float | None:
    if not seconds:
        return None
    middle = statistics.median(seconds)
    return "over 20,000" if middle >= 20 else 1e3 * middle


def main(options: Options) -> None:
    """Measure and append a record."""
    samples: dict[str, dict[str, list[Any]]] = {}
    begun = time.perf_counter()
    solve(generate(10, 25, 0), method="floats", exact=False)
    for nodes, arcs in SIZES:
        s: dict[str, list[Any]] = {
            name: [] for name in ("pivots", "float_seconds", "float_cpu_seconds", "exact_seconds",
                                  "warm_seconds", "milp_seconds")
        }  # fmt: skip
        for seed in range(options.seeds):
            problem = generate(nodes, arcs, seed)
            cold = solve(problem, method="floats", exact=False)
            hint = (cold.states, cold.zeros)
            s["pivots"].append(cold.pivots)
            wall, cpu = least(lambda p=problem: solve(p, method="floats", exact=False), options)
            s["float_seconds"].append(wall)
            s["float_cpu_seconds"].append(cpu)
            s["exact_seconds"].append(
                least(lambda p=problem: solve(p, method="floats"), options)[0]
            )
            again = least(
                lambda p=problem, h=hint: solve(p, method="floats", exact=False, hint=h), options
            )
            s["warm_seconds"].append(again[0])
            if seed < options.programs and nodes <= 30:
                s["milp_seconds"].append(program(problem))
        samples[f"{nodes}/{arcs}"] = s
    print(table([{"samples": samples}]).as_text())
    reached = statistics.median(samples["80/200"]["float_cpu_seconds"]) <= 0.005
    append_record(
        options.out,
        question=(__doc__ or "").splitlines()[0],
        configuration={"seeds": options.seeds, "repeats": options.repeats, "inflow": INFLOW},
        seed=list(range(options.seeds)),
        samples=samples,
        status="done" if reached else "negative",
        wall_seconds=time.perf_counter() - begun,
    )


def least(work: Any, options: Options) -> tuple[float, float]:
    """The least wall and CPU seconds of a few repeats."""
    walls: list[float] = []
    cpus: list[float] = []
    for _ in range(options.repeats):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return min(walls), min(cpus)


def program(problem: Problem) -> float | None:
    """Seconds of milp-2, or None if it was stopped or failed."""
    wall = time.perf_counter()
    try:
        solve_by_milp(problem, "milp-2", seconds=20)
    except FlowsError:
        return None
    return time.perf_counter() - wall


if __name__ == "__main__":
    main(tyro.cli(Options))
