"""How many sign vectors a second does the batch evaluator name, beside one union-find per vector?

Run:      python benchmarks/tcurves/evaluator.py
Expect:   at least 500,000 a second and core on cen and 250,000 on honeycomb-7.
Fairness: the same random vectors for both, one thread, warmed up; the peer is a compiled union-find
          with parity that treats one vector after another (regions and their number only, less work
          than ours, which also names the scheme). Repeats alternate; the least time is used.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro
from numba import njit

from extremal import tcurves
from extremal.lab import Table, append_record
from extremal.tcurves._glued import glued

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "evaluator.jsonl"
    names: tuple[str, ...] = ("bat", "cen", "honeycomb-7", "honeycomb-8", "strip-fan-10")
    vectors: int = 1 << 17
    repeats: int = 7


@njit(cache=False)
def one_by_one(signs, points, edges, leader, regions):
    """Count the regions of each vector with a union-find, one vector after another."""
    for k in range(signs.shape[0]):
        for u in range(leader.size):
            leader[u] = u
        left = leader.size
        for e in range(edges.shape[0]):
            u, v = edges[e, 0], edges[e, 1]
            if signs[k, points[u]] ^ signs[k, points[v]] == edges[e, 3]:
                while leader[u] != u:
                    leader[u] = leader[leader[u]]
                    u = leader[u]
                while leader[v] != v:
                    leader[v] = leader[leader[v]]
                    v = leader[v]
                if u != v:
                    leader[u] = v
                    left -= 1
        regions[k] = left


def measure(name: str, options: Options) -> dict[str, Any]:
    """Return the samples of one triangulation."""
    t = tcurves.named(name)
    signs = np.random.default_rng(0).integers(0, 2, (options.vectors, t.n), dtype=np.uint8)
    complex_ = glued(t)
    leader = np.empty(len(complex_.point), np.int64)
    regions = np.empty(options.vectors, np.int64)
    points, edges = complex_.point.astype(np.int64), complex_.edges.astype(np.int64)
    tcurves.schemes(t, signs[:200])
    one_by_one(signs[:2], points, edges, leader, regions[:2])
    ours: list[float] = []
    peer: list[float] = []
    for _ in range(options.repeats):
        begun = time.perf_counter()
        batch = tcurves.schemes(t, signs)
        ours.append(time.perf_counter() - begun)
        begun = time.perf_counter()
        one_by_one(signs, points, edges, leader, regions)
        peer.append(time.perf_counter() - begun)
    ovals = np.array([s.ovals for s in batch.types])[batch.index]
    if not (ovals == regions - 1).all():
        raise AssertionError("the two evaluators disagree on the number of ovals")
    return {"ours": ours, "one_by_one": peer}


def main(options: Options) -> None:
    """Measure every triangulation and append a record for each."""
    for name in options.names:
        begun = time.perf_counter()
        samples = measure(name, options)
        append_record(
            options.out,
            question="How many sign vectors a second does the batch evaluator name?",
            configuration={"name": name, "vectors": options.vectors, "repeats": options.repeats},
            seed=0,
            samples=samples,
            wall_seconds=time.perf_counter() - begun,
        )
        print(name, options.vectors / min(samples["ours"]), "a second")


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a triangulation, from its last record."""
    last = {r["configuration"]["name"]: r for r in records}
    return Table(
        ["triangulation", "ours, vectors/s", "one by one, vectors/s", "times faster"],
        [
            [
                name,
                int(r["configuration"]["vectors"] / min(r["samples"]["ours"])),
                int(r["configuration"]["vectors"] / min(r["samples"]["one_by_one"])),
                min(r["samples"]["one_by_one"]) / min(r["samples"]["ours"]),
            ]
            for name, r in last.items()
        ],
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
