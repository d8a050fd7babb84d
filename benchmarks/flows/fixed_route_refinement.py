"""How fast does packet loading approach fluid loading when routes are fixed (Sioux Falls)?

Run:      python benchmarks/flows/fixed_route_refinement.py --data ../shared/data/tntp
Expect:   the mean error halves with the step once packets are small (on Cottbus the paper has
          4.25, 1.25, 0.55, 0.2, 0.1, 0.06, 0.04 s).
Fairness: 5 gates, 20 commodities of rate 1/5 a second for 1000 s on free-flow shortest routes,
          packets of step squared, compared packet by packet with the fluid loading. At the
          network's own capacities no choice of 5 gates makes a queue at this rate, so errors vanish
          at step 1/4; the study proper therefore has a tenth of the capacities. Nothing is random.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import flows
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """How to measure."""

    data: Path = Path("../shared/data/tntp")
    out: Path = HERE / "results" / "fixed_route_refinement.jsonl"
    levels: int = 7
    gates: str = "1, 7, 13, 20, 24"


def table(records: list[dict[str, Any]]) -> list[Table]:
    """The last record, a table for each capacity."""
    tables: list[Table] = []
    for factor, found in records[-1]["samples"].items():
        rows: list[list[str | float | int | None]] = []
        before: float | None = None
        for level in found["levels"]:
            mean = level["time"][0]
            falls = before / mean if before and mean else None
            rows.append([level["step"], level["link_moves"], mean, level["longest"][0], falls])
            before = mean
        columns = ["step", "link moves", "mean error (s)", "largest (s)", "falls by"]
        tables.append(Table(columns, rows, title=f"Capacities times {factor}"))
    return tables


def main(options: Options) -> None:
    """Measure and append a record."""
    begun = time.perf_counter()
    samples: dict[str, Any] = {}
    for factor, levels in (("1/10", options.levels), ("1", 4)):
        found = flows.refine(
            options.data / "SiouxFalls_net.tntp", mode="fixed", gates=options.gates, time_unit=60,
            until=1000, levels=levels, capacity_factor=factor,
        )  # fmt: skip
        print(found.table().as_text())
        samples[factor] = {**found.as_json(), "path": None}
    append_record(
        options.out,
        question=(__doc__ or "").splitlines()[0],
        configuration={k: str(v) for k, v in vars(options).items() if k not in ("out", "data")},
        seed=None,
        samples=samples,
        wall_seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
