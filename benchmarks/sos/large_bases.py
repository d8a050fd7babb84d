"""How long do sums and diagonal consistency of a thousand monomials take?

Run:      python benchmarks/sos/large_bases.py
Expect:   under 1 s for 1,000 monomials, both together.
Fairness: random distinct monomials of degree at most 10 (mixed-radix keys in 4 and 8 variables,
          random 64-bit keys with an exact comparison in 100), support of their even products; one
          thread, three repeats, all kept. "Plain" is the definition in Python sets on 300 of them,
          extrapolated by the square.
"""

import statistics
import time
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from extremal import sos
from extremal.lab import Table, append_record
from extremal.sos._generate import random_basis
from extremal.sos._sumset import pairs

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """What is measured."""

    out: Path = HERE / "results" / "large_bases.jsonl"
    sizes: tuple[int, ...] = (300, 1000, 2000)
    variables: tuple[int, ...] = (4, 8, 100)
    repeats: int = 3


def plain(rows: np.ndarray) -> float:
    """Seconds of the sums in Python."""
    begun = time.perf_counter()
    found: dict[tuple[int, ...], int] = {}
    for a, b in combinations(map(tuple, rows.tolist()), 2):
        s = tuple(x + y for x, y in zip(a, b, strict=True))
        found[s] = found.get(s, 0) + 1
    return time.perf_counter() - begun


def main(options: Options) -> None:
    """Measure and append one record a case."""
    for n in options.variables:
        for size in options.sizes:
            rng = np.random.default_rng(0)
            degree = 14 if n == 4 else 10
            rows = random_basis(n, degree, size, rng)
            while len(rows) < size:
                rows = np.unique(np.vstack([rows, random_basis(n, degree, size, rng)]), axis=0)
            rows = rng.permutation(rows)[:size]
            support = 2 * rows[: size // 2]
            samples: dict[str, list[float]] = {"sums": [], "consistency": []}
            kept = 0
            for _ in range(options.repeats):
                begun = time.perf_counter()
                pairs(rows, [size])
                samples["sums"].append(time.perf_counter() - begun)
                begun = time.perf_counter()
                kept = len(sos.consistent(rows, support))
                samples["consistency"].append(time.perf_counter() - begun)
            guess = plain(rows[:300]) * (size / 300) ** 2
            append_record(
                options.out,
                question="How long do sums and consistency of a thousand monomials take?",
                configuration={"variables": n, "size": size},
                seed=0,
                samples={**samples, "kept": kept, "plain": guess},
            )
            print(n, size, samples, kept, guess)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a case."""
    last = {(r["configuration"]["variables"], r["configuration"]["size"]): r for r in records}
    return Table(
        ["variables", "monomials", "sums, median s", "consistency, median s", "left",
         "plain sums, s (extrapolated)"],
        [
            [n, size, statistics.median(r["samples"]["sums"]),
             statistics.median(r["samples"]["consistency"]), r["samples"]["kept"],
             r["samples"]["plain"]]
            for (n, size), r in sorted(last.items())
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
