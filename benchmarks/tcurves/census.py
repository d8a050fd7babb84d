"""How long does the census take beside brute force over the same sign vectors?

Run:      python benchmarks/tcurves/census.py
Expect:   cen, spl, fra at most 60 ms; honeycomb-7 at most 1 s; a random regular triangulation of
          degree 8 at most 1.5 s in the median; strip-fan-10 (2^63 vectors) at most 0.5 s;
          honeycomb-8 at most 20 s and 1.5 GB; two threads nearly twice as fast on the large ones.
Fairness: both warmed up in this process; the census is timed whole, from the triangulation to named
          schemes with witnesses; brute force is our own batch evaluator on one core, timed on 2^17
          random vectors and extrapolated to all of them (it visits each once at the same speed).
          Each census is repeated and the least time and the median are kept. Two threads stand
          beside what the machine gives two cores at best: two processes that take the same census
          at the same time, each on one thread, without anything in common.
"""

import multiprocessing
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import tcurves
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent
RANDOM = tuple(f"random-8-{seed}" for seed in range(9))


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "census.jsonl"
    names: tuple[str, ...] = (
        "bat", "moth", "honeycomb-6", "cen", "spl", "fra", "honeycomb-7", "strip-fan-8",
        "strip-fan-10", *RANDOM, "honeycomb-8",
    )  # fmt: skip
    repeats: int = 7
    threads: tuple[int, ...] = (1, 2)
    """1 alone where only one core is free."""
    vectors: int = 1 << 17
    alone: str = ""
    """Set by the script: measure this one's memory in a fresh process."""


def brute_force_rate(t: tcurves.Triangulation, vectors: int) -> float:
    """Return vectors a second and core of the batch evaluator."""
    signs = np.random.default_rng(0).integers(0, 2, (vectors, t.n), dtype=np.uint8)
    best = float("inf")
    for _ in range(3):
        begun = time.perf_counter()
        tcurves.schemes(t, signs)
        best = min(best, time.perf_counter() - begun)
    return vectors / best


def peak_bytes(name: str) -> int:
    """Return the peak memory of one census in a process of its own, imports included."""
    out = subprocess.run(
        [sys.executable, __file__, "--alone", name], capture_output=True, text=True, check=True
    )
    return int(out.stdout.split()[-1])


def _taken(name: str, repeats: int, start: Any, out: Any) -> None:
    t = tcurves.named(name)
    tcurves.census(t, threads=1)
    seconds: list[float] = []
    start.wait()
    for _ in range(repeats):
        begun = time.perf_counter()
        tcurves.census(t, threads=1)
        seconds.append(time.perf_counter() - begun)
    out.put(seconds)


def side_by_side(name: str, repeats: int) -> list[float]:
    """Return seconds of censuses on one thread while another process takes the same ones."""
    context = multiprocessing.get_context("spawn")
    start, out = context.Barrier(2), context.Queue()
    both = [context.Process(target=_taken, args=(name, repeats, start, out)) for _ in range(2)]
    for one in both:
        one.start()
    seconds = [s for _ in both for s in out.get()]
    for one in both:
        one.join()
    return seconds


def measure(name: str, options: Options) -> dict[str, Any]:
    """Return the samples of one triangulation."""
    t = tcurves.named(name)
    seconds: dict[str, list[float]] = {str(threads): [] for threads in options.threads}
    repeats = options.repeats if t.degree < 8 or len(options.names) < 4 else 3
    for _ in range(repeats):
        for threads in options.threads:
            begun = time.perf_counter()
            found = tcurves.census(t, threads=threads)
            seconds[str(threads)].append(time.perf_counter() - begun)
    rate = brute_force_rate(t, options.vectors if t.degree < 9 else options.vectors // 8)
    return {
        "seconds": seconds,
        "side_by_side_seconds": side_by_side(name, repeats) if 2 in options.threads else [],
        "schemes": len(found),
        "states": found.states,
        "total": str(found.total),
        "brute_rate": rate,
        "peak_bytes": peak_bytes(name),
    }


def main(options: Options) -> None:
    """Measure every triangulation and append a record for each."""
    if options.alone:
        tcurves.census(options.alone, threads=1)
        print(1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
        return
    tcurves.census("honeycomb-2")
    for name in options.names:
        begun = time.perf_counter()
        samples = measure(name, options)
        append_record(
            options.out,
            question="How long does the census take beside brute force?",
            configuration={"name": name, "repeats": options.repeats, "vectors": options.vectors},
            seed=0,
            samples=samples,
            wall_seconds=time.perf_counter() - begun,
        )
        print(name, {k: min(v) for k, v in samples["seconds"].items()}, flush=True)


def table(records: list[dict[str, Any]]) -> list[Table]:
    """Return a row a triangulation, from its last record."""
    last = {r["configuration"]["name"]: r["samples"] for r in records}
    rows: list[list[Any]] = []
    for name, s in last.items():
        one, two, apart = s["seconds"]["1"], s["seconds"].get("2"), s.get("side_by_side_seconds")
        brute = int(s["total"]) / s["brute_rate"]
        rows.append([
            name, f"2^{int(s['total']).bit_length() - 1}", s["schemes"], s["states"],
            1000 * min(one), 1000 * statistics.median(one), 1000 * min(two) if two else "",
            round(min(one) / min(two), 2) if two else "",
            round(2 * min(one) / min(apart), 2) if apart else "",
            f"{brute:.2g}", f"{brute / min(one):.1g}", s["peak_bytes"] / 2**20,
        ])  # fmt: skip
    eights = [min(last[n]["seconds"]["1"]) for n in RANDOM if n in last]
    tables = [
        Table(
            ["triangulation", "sign vectors", "schemes", "states", "least ms, 1 thread",
             "median ms", "least ms, 2 threads", "times as fast",
             "two processes: together times as fast", "brute force, s (extrapolated)",
             "times faster", "peak MiB of the process"],
            rows,
        )
    ]  # fmt: skip
    if eights:
        tables.append(
            Table(
                ["random regular, degree 8", "median s", "max s"],
                [[len(eights), statistics.median(eights), max(eights)]],
            )
        )
    return tables


if __name__ == "__main__":
    main(tyro.cli(Options))
