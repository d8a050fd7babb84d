"""Which triangles (1, a, b) do six colours avoid that six plain stripes do not?

Run:      python benchmarks/coloring/triangles.py
Expect:   at least three certified points of the map beyond stripes.
Fairness: stripes by the exact criterion for half-open stripes, which is necessary and sufficient. A
          colouring whose every colour avoids one of the three sides avoids the triangle, so
          six-colourings of type (1, 1, 1, 1, 1, a) are tried; the certificate is for the triangle
          itself, every position and reflection.
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


@dataclass(frozen=True)
class Options:
    """Which triangles."""

    out: Path = HERE / "results" / "triangles.jsonl"
    certificates: Path = HERE / "results" / "certificates"
    triangles: tuple[tuple[str, str], ...] = (("0.5", "0.51"), ("0.55", "0.46"), ("0.46", "0.56"),
                                              ("0.52", "0.5"))  # fmt: skip
    seed: int = 0


def main(options: Options) -> None:
    """Colour, certify and append a record for each triangle."""
    for a, b in options.triangles:
        begun = time.perf_counter()
        found = coloring.find(
            Problem.type(1, 1, 1, 1, 1, a), budget="60s", seed=options.seed, grid=48
        )
        problem = Problem.triangle(6, a, b)
        good = False
        if coloring.certify(found.colouring, problem).status == "valid":
            path = options.certificates / f"triangle-{a}-{b}.json"
            write_certificate(path, parts_of(found.colouring, problem))
            good = verify.file(path).accepted
        seconds = time.perf_counter() - begun
        append_record(
            options.out,
            question="Which triangles do six colours avoid that stripes do not?",
            configuration={"a": a, "b": b, "colors": 6, "stripes": coloring.stripe_count(a, b)},
            seed=options.seed,
            samples={"verified": good, "seconds": seconds},
            status="done" if good else "negative",
            wall_seconds=seconds,
        )
        print(a, b, coloring.stripe_count(a, b), good, round(seconds, 1), flush=True)


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a triangle, from its last record."""
    last = {(r["configuration"]["a"], r["configuration"]["b"]): r for r in records}
    return Table(
        ["triangle", "colours here", "verified", "stripes need"],
        [
            [f"(1, {a}, {b})", r["configuration"]["colors"],
             "yes" if r["samples"]["verified"] else "no", r["configuration"]["stripes"]]
            for (a, b), r in last.items()
        ],
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
