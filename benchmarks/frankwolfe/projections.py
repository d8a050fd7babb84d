"""How long are projections of a million entries, of 1000 x 1000 matrices, on Birkhoff's polytope?

Run:      python benchmarks/frankwolfe/projections.py
Expect:   under 2 s each; Birkhoff 300 x 300 to 1e-6.
Fairness: standard normal float64 data, a radius that puts the point well outside, one thread; the
          least of the repeats. Every result is judged by the region's own oracle: the largest
          <y - p, v - p> over the region, which is 0 at the projection p of y, relative to |y - p|
          times the diameter. The peer, where there is one, is the textbook method in NumPy: for
          the simplex and the L1 ball sort and cumulative sum, for matrices a full SVD alone.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import frankwolfe as fw
from extremal.lab import Table, append_record, read_records, to_plain

HERE = Path(__file__).resolve().parent
QUESTION = "How long are projections?"
N = 1_000_000


@dataclass(frozen=True)
class Options:
    """What is timed."""

    repeats: int = 3
    out: Path = HERE / "results" / "projections.jsonl"


def simplex_by_sorting(y: np.ndarray) -> np.ndarray:
    """Held, Wolfe, Crowder."""
    u = np.sort(y)[::-1]
    sums = (np.cumsum(u) - 1) / np.arange(1, y.size + 1)
    return np.maximum(y - sums[np.flatnonzero(u > sums)[-1]], 0)


def svd_alone(y: np.ndarray) -> np.ndarray:
    """The part that no projection of singular values can leave out."""
    u, s, vt = np.linalg.svd(y, full_matrices=False)
    return (u * s) @ vt


CASES: dict[str, tuple[Callable[[], fw.Region], tuple[int, ...], Any]] = {
    "L2Ball": (lambda: fw.L2Ball(1.0), (N,), None),
    "LinfBall": (lambda: fw.LinfBall(0.1), (N,), None),
    "L1Ball": (lambda: fw.L1Ball(1000.0), (N,), simplex_by_sorting),
    "LpBall, p = 1.5": (lambda: fw.LpBall(100.0, p=1.5), (N,), None),
    "LpBall, p = 3": (lambda: fw.LpBall(10.0, p=3.0), (N,), None),
    "KSparse, 10 %": (lambda: fw.KSparse(0.1, fraction=0.1), (N,), None),
    "KNorm, 10 %": (lambda: fw.KNorm(1000.0, fraction=0.1), (N,), None),
    "KSupport, 10 %": (lambda: fw.KSupport(100.0, fraction=0.1), (N,), None),
    "OWLBall": (lambda: fw.OWLBall(1000.0, weights=np.linspace(1, 0, N)), (N,), None),
    "Simplex": (lambda: fw.Simplex(1.0), (N,), simplex_by_sorting),
    "UnitSimplex": (lambda: fw.UnitSimplex(1.0), (N,), simplex_by_sorting),
    "Hypersimplex, 10 %": (lambda: fw.Hypersimplex(1.0, fraction=0.1), (N,), None),
    "Permutahedron": (lambda: fw.Permutahedron(), (N,), None),
    "NuclearBall": (lambda: fw.NuclearBall(1000.0), (1000, 1000), svd_alone),
    "SpectralBall": (lambda: fw.SpectralBall(10.0), (1000, 1000), svd_alone),
    "Birkhoff": (lambda: fw.Birkhoff(), (300, 300), None),
}


def gauged(region: fw.Region, y: np.ndarray, p: np.ndarray) -> float:
    """The certificate of a projection, relative."""
    toward = p - y
    scale = float(np.linalg.norm(toward)) * region.diameter(y.shape)
    return float(region.gap(toward, p)) / scale if scale > 0 else 0.0


def measure(name: str, options: Options) -> None:
    """Time one region and append a record."""
    make, shape, peer = CASES[name]
    region = make().sized(shape)
    y = np.random.default_rng(0).standard_normal(shape)
    begun = time.perf_counter()
    samples: dict[str, list[float]] = {"ours": [], "peer": []}
    p = y
    for _ in range(options.repeats):
        start = time.perf_counter()
        p = region.project(y)
        samples["ours"].append(time.perf_counter() - start)
        if peer is not None:
            start = time.perf_counter()
            peer(y)
            samples["peer"].append(time.perf_counter() - start)
    found: dict[str, Any] = {**samples, "optimality": gauged(region, y, p)}
    if name == "Birkhoff":
        sums = np.concatenate([p.sum(0), p.sum(1)])
        found["error"] = float(max(np.abs(sums - 1).max(), -min(0.0, float(p.min()))))
    plain = to_plain(options)
    del plain["out"]
    append_record(
        options.out,
        question=QUESTION,
        configuration={**plain, "region": name, "shape": list(shape)},
        seed=0,
        samples=found,
        wall_seconds=time.perf_counter() - begun,
    )
    print(name, min(samples["ours"]), found["optimality"], found.get("error"), flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Least times of the last record of each region."""
    last = {r["configuration"]["region"]: r for r in records}
    rows: list[list[str | float | int | None]] = []
    for name, record in last.items():
        s = record["samples"]
        rows.append(
            [
                name,
                " x ".join(f"{n:,}" for n in record["configuration"]["shape"]),
                round(min(s["ours"]), 3),
                round(min(s["peer"]), 3) if s["peer"] else None,
                f"{max(s['optimality'], 0.0):.1e}",
                None if "error" not in s else f"{s['error']:.1e}",
            ]
        )
    columns = ["region", "entries", "s", "textbook, s", "optimality", "row and column sums"]
    return Table(columns, rows)


def main() -> None:
    """Time every region and print the table."""
    options = tyro.cli(Options)
    for name in CASES:
        measure(name, options)
    print(table(read_records(options.out)).as_text())


if __name__ == "__main__":
    main()
