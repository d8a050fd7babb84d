"""The verb `bench`: how well proofs are found on sums of squares with a known basis."""

import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from extremal.lab import Run, Table, Text, command, progress, resolve, to_plain, write_report

from ._bases import Bases
from ._certify import CertifyConfig, solve
from ._consistency import repair, uncovered
from ._generate import Planted, planted
from ._result import Verdict
from ._sumset import Rows, find


@dataclass(frozen=True)
class BenchConfig:
    """Which polynomials, and how proofs are looked for."""

    structure: Literal["dense", "sparse", "low-rank", "block"] = "sparse"
    """Of the Gram matrix that is drawn."""
    variables: int = 8
    """Of each polynomial."""
    degree: int = 20
    """Of each polynomial; twice that of its monomials."""
    basis: int = 30
    """About how many monomials its squares have."""
    count: int = 20
    """How many polynomials."""
    seed: int = 0
    """Of the draws."""
    oracle: str = "even-support"
    """What the cascade begins with: even-support, lp-vertices, learned, or a trained folder."""
    method: Literal["auto", "newton", "diagonal", "tssos", "chordal", "full"] = "auto"
    """The basis; auto is the cascade."""
    solver: Literal["auto", "kernel", "moment", "scs", "clarabel"] = "auto"
    """Which solver finds the float Gram matrix."""
    seconds: float | None = 60.0
    """Time limit of a polynomial."""
    check: bool = True
    """Whether every certificate goes through the independent checker (not timed)."""


@dataclass(frozen=True)
class Bench:
    """What happened with each polynomial.

    Attributes:
        config: What was asked.
        rows: Of each polynomial: sizes, verdict, stages, seconds.
        path: The run folder, or None.
    """

    config: BenchConfig
    rows: tuple[dict[str, Any], ...]
    path: Path | None = None

    @property
    def certified(self) -> int:
        """How many have an exact proof that the checker accepts."""
        return sum(r["verdict"] == "CERTIFIED_SOS" and r["accepted"] for r in self.rows)

    @property
    def wrong(self) -> int:
        """How many verdicts contradict the construction, or certificates are rejected."""
        bad = {"CERTIFIED_NOT_SOS", "NEGATIVE"}
        return sum(r["verdict"] in bad or r["accepted"] is False for r in self.rows)

    @property
    def median_seconds(self) -> float:
        """The median time to a verdict, without generation and checking."""
        return statistics.median(r["seconds"] for r in self.rows)

    def table(self) -> Table:
        """Return one row with the summary."""
        n = len(self.rows)
        mean = {
            k: statistics.fmean(r[k] for r in self.rows)
            for k in ("planted", "first", "proved_size")
        }
        kinds = [r["beside_planted"] for r in self.rows]
        c = self.config
        return Table(
            [
                "structure", "n", "degree", "m", "certified", "wrong", "median s", "max s",
                "planted", "first basis", "proved in", "equal", "superset", "insufficient",
                "raw covers",
            ],
            [
                [
                    c.structure, c.variables, c.degree, c.basis, f"{self.certified}/{n}",
                    self.wrong, self.median_seconds, max(r["seconds"] for r in self.rows),
                    mean["planted"], mean["first"], mean["proved_size"], kinds.count("equal"),
                    kinds.count("superset"), kinds.count("insufficient"),
                    sum(r["raw_covers"] for r in self.rows),
                ]
            ],
            title=f"{n} exact sums of squares, {c.method} with {c.oracle}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "config": to_plain(self.config),
            "certified": self.certified,
            "wrong": self.wrong,
            "median_seconds": self.median_seconds,
            "rows": list(self.rows),
        }


@command(options=BenchConfig)
def bench(
    *,
    config: BenchConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Bench:
    """Draw sums of squares with a known basis and measure how proofs are found.

    Args:
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the records and a report.
        resume: Continue the run in `out`.
        force: Replace the run in `out`.
        **options: Fields of `BenchConfig`; they replace those of `config`.

    Returns:
        Sizes, verdicts and times.

    Example:
        >>> found = bench(structure="sparse", variables=3, degree=4, basis=4, count=2)
        >>> found.certified, found.wrong
        (2, 0)
    """
    settings = resolve(BenchConfig, config, options)
    if settings.count < 1:
        raise ValueError(f"count is at least 1, got {settings.count}.")
    how = CertifyConfig(
        basis=settings.method,
        solver=settings.solver,
        oracle=settings.oracle,
        seconds=settings.seconds,
        seed=settings.seed,
    )
    solve(_draw(settings, 0).p, how)  # imports and caches are not what is measured
    if out is None:
        return Bench(settings, tuple(_one(settings, how, i) for i in range(settings.count)))
    identity = to_plain(settings)
    with Run.create(out, kind="sos/bench", config=identity, resume=resume, force=force) as run:
        done = {r["number"]: r for r in run.records()}
        with progress(settings.count, "polynomials") as bar:
            for i in range(settings.count):
                if i not in done:
                    done[i] = _one(settings, how, i)
                    run.log(**done[i])
                bar.advance()
        found = Bench(settings, tuple(done[i] for i in range(settings.count)), run.path)
        run.write_json("result.json", found.as_json())
        write_report(
            run.path / "report.html",
            "Planted sums of squares",
            [Text("Every polynomial is F F' with decimal F, so it is a sum of squares exactly."),
             found.table()],
        )  # fmt: skip
    return found


def _draw(settings: BenchConfig, number: int) -> Planted:
    return planted(
        settings.structure,
        settings.variables,
        settings.degree,
        settings.basis,
        settings.seed,
        number,
    )


def _one(settings: BenchConfig, how: CertifyConfig, number: int) -> dict[str, Any]:
    example = _draw(settings, number)
    p = example.p
    begun, spent = time.perf_counter(), time.process_time()
    result = solve(p, how)
    seconds, cpu = time.perf_counter() - begun, time.process_time() - spent
    accepted: bool | None = None
    if settings.check and result.certificate is not None:
        accepted = result.certificate.check().accepted
    raw = seed_rows(p, settings.oracle)
    first = repair(raw, p.support)[0] if len(raw) or len(p.support) else raw
    stages = result.stages
    return {
        "number": number,
        "terms": len(p.terms),
        "planted": len(example.basis),
        "raw": len(raw),
        "raw_covers": len(uncovered(raw, p.support)) == 0,
        "first": len(first),
        "beside_planted": compared(first, example.basis),
        "verdict": result.verdict.name,
        "accepted": accepted if settings.check else result.verdict is Verdict.CERTIFIED_SOS,
        "stage": stages[-1].basis if stages else "",
        "attempts": len(stages),
        "proved_size": stages[-1].size if stages else 0,
        "freedom": stages[-1].freedom if stages else 0,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "split": dict(result.seconds),
        "reason": result.reason,
    }


def seed_rows(p: Any, oracle: str) -> Rows:
    """Return the first basis of a rule or oracle, not repaired."""
    bases = Bases(p)
    if oracle == "even-support":
        return bases.even_support
    if oracle == "lp-vertices":
        return bases.lp_vertices
    from ._oracle import load_oracle

    return load_oracle(oracle).seed(p)


def compared(rows: Rows, basis: Rows) -> str:
    """Return how a basis lies beside the planted one: equal, superset or insufficient.

    Insufficient says that a planted monomial is missing; another Gram matrix may do without it.
    """
    if (np.asarray(find(basis, rows)) < 0).any():
        return "insufficient"
    return "equal" if len(rows) == len(basis) else "superset"
