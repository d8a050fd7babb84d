"""How many variables may a bound on a box have, with all monomials and with cliques of variables?

Run:      python benchmarks/sos/sparse_bounds.py
Expect:   the same bounds; 20 variables are refused dense; 40 in cliques take under a minute.
Fairness: sum of x_i x_j + x_i^2 x_j^2 - x_i over neighbours on the box from -1 to 1, order 2; both
          forms in the same run, one BLAS thread, one repeat each after a small unmeasured one; the
          time is that of the whole answer, proof and point included. `--seconds` limits the solve
          and every proof; a form that is refused or runs out of it is not tried on more variables.
"""

import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # read when NumPy is loaded, below

import tyro

from extremal import sos
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "sparse_bounds.jsonl"
    variables: tuple[int, ...] = (4, 6, 8, 10, 20, 40)
    seconds: float = 60.0
    """Limit of the solve and of each proof."""


def chain(n: int) -> str:
    """A polynomial in which only neighbours meet."""
    return " + ".join(f"x{i}*x{i + 1} + x{i}^2*x{i + 1}^2 - x{i}" for i in range(1, n))


def measured(n: int, sparsity: Any, seconds: float) -> dict[str, Any]:
    """Return one answer and its times."""
    start, spent = time.perf_counter(), time.process_time()
    out: dict[str, Any] = {"variables": n, "sparsity": sparsity}
    try:
        found = sos.bound(chain(n), box="-1 1", order=2, sparsity=sparsity, seconds=seconds)
    except sos.MemoryLimitError as error:
        return {**out, "verdict": "refused", "reason": str(error)}
    out["seconds"] = time.perf_counter() - start
    out["cpu_seconds"] = time.process_time() - spent
    out["verdict"], out["reason"] = found.verdict.name, found.reason
    if found.certificate is not None and found.value is not None:
        out["value"] = float(found.value)
        out["upper"] = None if found.upper is None else float(found.upper)
        out["accepted"] = found.certificate.check().accepted
    return out


def main(options: Options) -> None:
    """Measure both forms and append one record."""
    begun = time.perf_counter()
    samples: list[dict[str, Any]] = []
    for sparsity in ("none", "correlative"):
        measured(2, sparsity, options.seconds)
        for n in options.variables:
            samples.append(measured(n, sparsity, options.seconds))
            print(samples[-1])
            if samples[-1]["verdict"] != "CERTIFIED_SOS":
                break
    append_record(
        options.out,
        question="How many variables may a bound on a box have?",
        configuration={
            "variables": list(options.variables),
            "seconds": options.seconds,
            "threads": os.environ["OMP_NUM_THREADS"],
        },
        seed=0,
        samples={"answers": samples},
        wall_seconds=time.perf_counter() - begun,
    )


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return the last record, a row an answer."""
    rows: list[list[Any]] = [
        [
            s["variables"], {"none": "all monomials"}.get(s["sparsity"], "cliques"), s["verdict"],
            s.get("value"), s.get("upper"),
            {True: "accepted", False: "REJECTED", None: None}[s.get("accepted")],
            s.get("seconds"), s.get("cpu_seconds"),
        ]
        for s in records[-1]["samples"]["answers"]
    ]  # fmt: skip
    return [
        Table(
            [
                "variables",
                "squares in",
                "verdict",
                "bound",
                "p at a point",
                "checker",
                "s",
                "CPU s",
            ],
            rows,
        )
    ]


if __name__ == "__main__":
    main(tyro.cli(Options))
