"""Where does a learned scorer beat the even-support rule, and where not?

Run:      python benchmarks/sos/oracle_effect.py --scorer FOLDER --support-only FOLDER
Expect:   on the published distribution nothing to gain; a smaller first basis, or one that suffices
          more often, on dense polynomials in few variables.
Fairness: the same exact instances for all, drawn with another seed than training; every first
          basis is repaired by the same code, inside K(p) where that is known; sufficiency is
          decided by the same solver on that basis alone. FOLDERs are runs of `extremal sos train`
          with the same options but for --support-only. "Whole" times the default cascade from each
          first basis to its verdict; even support skips the first basis where K(p) has at most 40
          monomials and solves that at once.
"""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from extremal import sos
from extremal.lab import Table, append_record
from extremal.sos._bench import seed_rows

HERE = Path(__file__).resolve().parent
CELLS = (
    ("dense", 2, 8, 8), ("dense", 2, 12, 12), ("dense", 3, 6, 8), ("dense", 3, 10, 20),
    ("dense", 4, 6, 20), ("sparse", 3, 10, 20), ("low-rank", 3, 10, 20), ("block", 3, 10, 20),
    ("dense", 6, 12, 30), ("sparse", 8, 20, 30),
)  # fmt: skip


@dataclass(frozen=True)
class Options:
    """What is measured."""

    scorer: str = ""
    """Trained with coefficients."""
    support_only: str = ""
    """Trained on the support alone."""
    out: Path = HERE / "results" / "oracle_effect.jsonl"
    structures: tuple[str, ...] = ()
    """Only cells of these; default: all."""
    variables: int | None = None
    degree: int | None = None
    basis: int | None = None
    count: int = 20
    seed: int = 1


def one(p: sos.Polynomial, planted: int, oracle: str) -> dict[str, Any]:
    """Return size and sufficiency of the first basis, and the time of the whole decision."""
    begun = time.perf_counter()
    raw = seed_rows(p, oracle)
    seconds = time.perf_counter() - begun
    bases = sos.Bases(p)
    small = bases.full_size <= 600 and len(p.variables) <= 8
    first, _ = sos.repair(raw, p.support, bases.consistent if small else None)
    problem = sos.gram_problem(p, sos.sign_blocks(first, p.support))
    margin, _ = sos.solve_margin(problem, lambda low, up: low > 1e-6 or up - low < 1e-9)
    feasible = margin is not None and not len(problem.uncovered) and margin.upper > -1e-7
    begun = time.perf_counter()
    config = sos.CertifyConfig(oracle=oracle)
    verdict = sos.certify(p, config=config).verdict.name
    whole = time.perf_counter() - begun
    return {
        "raw": len(raw), "raw_covers": len(sos.uncovered(raw, p.support)) == 0,
        "first": len(first), "over_planted": len(first) / planted, "feasible": bool(feasible),
        "oracle_seconds": seconds, "whole_seconds": whole, "verdict": verdict,
        "k": len(bases.consistent) if small else None,
    }  # fmt: skip


def main(options: Options) -> None:
    """Measure every cell with every oracle and append a record for each."""
    oracles = {"even support": "even-support"}
    if options.scorer:
        oracles["scorer"] = options.scorer
    if options.support_only:
        oracles["scorer, support only"] = options.support_only
    wanted = (options.variables, options.degree, options.basis)
    for structure, n, degree, m in CELLS:
        if options.structures and structure not in options.structures:
            continue
        if any(w not in {None, v} for w, v in zip(wanted, (n, degree, m), strict=True)):
            continue
        found: dict[str, list[Any]] = {name: [] for name in oracles}
        for i in range(options.count):
            example = sos.planted(structure, n, degree, m, options.seed, i)
            for name, oracle in oracles.items():
                found[name].append(one(example.p, len(example.basis), oracle))
        append_record(
            options.out,
            question="Where does a learned scorer beat the even-support rule?",
            configuration={
                "structure": structure, "variables": n, "degree": degree, "basis": m,
                "count": options.count,
            },
            seed=options.seed,
            samples=found,
        )  # fmt: skip
        for name, rows in found.items():
            print(structure, n, degree, m, name, statistics.fmean(r["over_planted"] for r in rows),
                  sum(r["feasible"] for r in rows))  # fmt: skip


def table(records: list[dict[str, Any]]) -> Table:
    """Return a row a cell and oracle."""
    last = {tuple(r["configuration"].values()): r for r in records}
    rows: list[list[Any]] = []
    for r in last.values():
        c = r["configuration"]
        for name, found in r["samples"].items():
            sizes = [f["k"] for f in found if f["k"]]
            rows.append([
                f"{c['structure']} {c['variables']}/{c['degree']}/{c['basis']}", name,
                f"{sum(f['raw_covers'] for f in found)}/{len(found)}",
                statistics.fmean(f["over_planted"] for f in found),
                statistics.fmean(f["first"] for f in found),
                statistics.fmean(sizes) if sizes else None,
                f"{sum(f['feasible'] for f in found)}/{len(found)}",
                1000 * statistics.median(f["oracle_seconds"] for f in found),
                1000 * statistics.median(f["whole_seconds"] for f in found),
                sum(f["verdict"] in {"CERTIFIED_NOT_SOS", "NEGATIVE"} for f in found),
            ])  # fmt: skip
    return Table(
        ["structure n/degree/m", "first basis by", "covers unrepaired", "size / planted", "size",
         "|K|", "suffices", "oracle, median ms", "whole, median ms", "wrong"],
        rows,
    )  # fmt: skip


if __name__ == "__main__":
    main(tyro.cli(Options))
