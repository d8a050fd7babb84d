"""Which triangles (1, a, b) do k colours avoid that k plain stripes do not?

Run:      python benchmarks/coloring/triangles.py
Expect:   at least three certified points of the map beyond stripes.
Fairness: stripes by the exact criterion for half-open stripes, which is necessary and sufficient. A
          colouring whose every colour avoids one of the three sides avoids the triangle, so with
          six colours those of type (1, 1, 1, 1, 1, a) are tried. With fewer colours the triangle
          itself is searched from random starts, for the stated seconds on one core. The
          certificate is for the triangle, every position and reflection.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import coloring, verify
from extremal.coloring import Problem
from extremal.coloring._certify import parts_of
from extremal.lab import Table, append_record, write_certificate

HERE = Path(__file__).resolve().parent
FEWER = ((2, "0.95", "0.8"), (3, "0.8", "0.75"), (5, "0.65", "0.4"))


@dataclass(frozen=True)
class Options:
    """Which triangles."""

    out: Path = HERE / "results" / "triangles.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    triangles: tuple[tuple[str, str], ...] = (("0.5", "0.51"), ("0.55", "0.46"), ("0.46", "0.56"),
                                              ("0.52", "0.5"))  # fmt: skip
    fewer: tuple[tuple[int, str, str], ...] = FEWER
    """Colours and sides that are searched as triangles."""
    seconds: float = 60.0
    """For each of `fewer`."""
    seed: int = 0


def main(options: Options) -> None:
    """Colour, certify and append a record for each triangle."""
    for a, b in options.triangles:
        begun = time.perf_counter()
        found = coloring.find(
            Problem.type(1, 1, 1, 1, 1, a), budget="60s", seed=options.seed, grid=48
        )
        record(options, 6, a, b, "by type", found.colouring, begun)
    for k, a, b in options.fewer:
        begun = time.perf_counter()
        found = coloring.find(
            Problem.triangle(k, a, b), budget=f"{options.seconds:.0f}s", seed=options.seed, grid=32
        )
        record(options, k, a, b, "as triangles", found.colouring, begun)


def record(
    options: Options, k: int, a: str, b: str, way: str, colouring: Any, begun: float
) -> None:
    """Certify one colouring and append its record."""
    problem = Problem.triangle(k, a, b)
    good = False
    verdict = coloring.certify(colouring, problem)
    if verdict.status == "valid":
        name = f"triangle-{a}-{b}.json" if k == 6 else f"triangle-{k}-{a}-{b}.json"
        path = write_certificate(options.certificates / name, parts_of(colouring, problem))
        good = verify.file(path).accepted
    seconds = time.perf_counter() - begun
    stripes = coloring.stripe_count(a, b)
    append_record(
        options.out,
        question="Which triangles do k colours avoid that stripes do not?",
        configuration={"a": a, "b": b, "colors": k, "stripes": stripes, "way": way},
        seed=options.seed,
        samples={"verified": good, "seconds": seconds, "residue": verdict.residue},
        status="done" if good else "negative",
        wall_seconds=seconds,
    )
    print(k, a, b, stripes, way, good, verdict.residue, round(seconds, 1), flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a triangle and number of colours, from its last record."""
    last: dict[tuple[Any, ...], dict[str, Any]] = {}
    for r in records:
        c = r["configuration"]
        last[c["colors"], c["a"], c["b"], c.get("way", "by type")] = r
    return Table(
        ["triangle", "colours here", "searched", "verified", "seconds", "stripes need"],
        [
            [f"(1, {a}, {b})", k, way, "yes" if r["samples"]["verified"] else "no",
             round(r["samples"]["seconds"], 1), r["configuration"]["stripes"]]
            for (k, a, b, way), r in sorted(last.items())
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
