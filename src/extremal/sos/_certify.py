"""The verb `certify`, for one polynomial or a file of many."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from pathlib import Path
from typing import Any, Literal, cast

from extremal.lab import (
    Picture,
    Run,
    Table,
    Text,
    command,
    executor,
    progress,
    resolve,
    to_plain,
    write_report,
)

from ._bases import Name
from ._hints import from_squares
from ._parse import is_file, parse, read, read_file
from ._parts import multiplier_part
from ._pictures import picture
from ._polynomial import Floats, Polynomial
from ._result import Certificate, Result, Verdict
from ._search import Limits, decide
from ._search import expansion_schedule as _schedule


@dataclass(frozen=True)
class CertifyConfig:
    """How a proof is looked for."""

    basis: Literal[
        "auto", "full", "newton", "diagonal", "tssos", "chordal", "correlative", "even-support",
        "lp-vertices",
    ] = "auto"  # fmt: skip
    """Monomials that squares may use; auto grows from a small set to all that can matter."""
    solver: Literal["auto", "kernel", "moment", "scs", "clarabel", "dsos", "sdsos"] = "auto"
    """Which solver finds the float Gram matrix; dsos and sdsos look in smaller cones only."""
    oracle: str = "even-support"
    """What auto begins with: even-support, lp-vertices, learned, or the folder of a trained one."""
    growth: float = 1.5
    """Factor between the sizes that auto tries."""
    multipliers: int = 0
    """If p is no sum of squares: try (x_1^2+...)^r p and (1+x_1^2+...)^r p for r up to this."""
    squares: tuple[str, ...] = ()
    """A hint: polynomials whose squares add up to p; they are checked, nothing is searched."""
    variables: str = ""
    """Names and order of the variables, separated by spaces; default: those that occur."""
    floats: Floats = "decimal"
    """How floats are read: their shortest decimal, or the binary number."""
    seconds: float | None = None
    """Time limit of a polynomial."""
    memory_mib: int = 2048
    """Memory that one step may take; more is refused before it is allocated."""
    lattice: int = 100_000
    """Lattice points of half the Newton polytope at most."""
    seed: int = 0
    """Of the search for points."""
    executor: Literal["serial", "processes", "ray"] = "serial"
    """Who works on a file of many polynomials."""
    workers: int | None = None
    """How many at a time."""


@dataclass(frozen=True)
class Batch:
    """Verdicts on many polynomials.

    Attributes:
        results: By name, in the order of the file: what `Result.as_json` says.
        path: The run folder, or None.
    """

    results: dict[str, dict[str, Any]]
    path: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 if all were proved, else 1 if some were refuted, else 3."""
        names = {r["verdict"] for r in self.results.values()}
        if names <= {"CERTIFIED_SOS"}:
            return 0
        return 1 if names & {"CERTIFIED_NOT_SOS", "NEGATIVE"} else 3

    def table(self) -> Table:
        """Return a row a polynomial."""
        return Table(
            ["name", "verdict", "seconds", "certificate"],
            [
                [n, r["verdict"], round(sum(r["seconds"].values()), 4), r["certificate"]]
                for n, r in self.results.items()
            ],
            title=f"{len(self.results)} polynomials",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {"results": self.results}


@command(options=CertifyConfig, inputs=("polynomial",))
def certify(
    polynomial: Any,
    *,
    config: CertifyConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> "Result | Batch":
    """Decide whether a polynomial is a sum of squares, with a proof either way.

    Args:
        polynomial: Text such as `"x^4 - 2*x^2 + 1"`, `{(4,): 1, (2,): -2, (0,): 1}`, a
            `Polynomial`, a sympy expression, or a file. A file of several (a line each, `name:
            polynomial` or plain) gives a `Batch`.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the certificate, a report and a picture.
        resume: Continue a file of several; of one polynomial, return it if it is done.
        force: Replace the run in `out`.
        **options: Fields of `CertifyConfig`; they replace those of `config`.

    Returns:
        The verdict with its certificate.

    Raises:
        ValueError: The input is no polynomial with exact real coefficients.

    Example:
        >>> r = certify("x^4*y^2 + x^2*y^4 + 1 - 3*x^2*y^2")  # Motzkin
        >>> r.verdict.name, r.certificate.kinds
        ('CERTIFIED_NOT_SOS', ('sos/refutation',))

    Cost: milliseconds for the classical examples; see the benchmarks.
    """
    settings = resolve(CertifyConfig, config, options)
    _check(settings)
    several = isinstance(polynomial, Path) or (isinstance(polynomial, str) and is_file(polynomial))
    if several:
        found = read_file(polynomial)
        if len(found) > 1 or Path(polynomial).suffix == ".jsonl":
            return _batch(found, settings, out, resume, force)
    p = _read(polynomial, settings)
    if out is None:
        return solve(p, settings)
    return _saved(p, settings, Path(out), resume, force)


def _check(settings: CertifyConfig) -> None:
    _schedule(1, 1, settings.growth)
    if not 0 <= settings.multipliers <= 20:
        raise ValueError(f"multipliers is a power of 0 to 20, got {settings.multipliers}.")
    if settings.memory_mib < 1 or settings.lattice < 1:
        raise ValueError("memory_mib and lattice are positive; their defaults are 2048 and 100000.")
    if settings.seconds is not None and not settings.seconds > 0:
        raise ValueError(f"seconds is a positive time, got {settings.seconds!r}.")


def _read(polynomial: Any, settings: CertifyConfig) -> Polynomial:
    names = settings.variables.replace(",", " ").split() or None
    if isinstance(polynomial, dict):
        from ._polynomial import from_terms

        return from_terms(polynomial, names, floats=settings.floats)
    return read(polynomial, names)


def solve(p: Polynomial, settings: CertifyConfig) -> Result:
    """Return the verdict on a polynomial, nothing written."""
    if settings.squares:
        names = list(p.variables)
        return from_squares(p, [parse(s, names) for s in settings.squares])
    limits = Limits(settings.seconds, settings.memory_mib << 20, settings.lattice)
    common: dict[str, Any] = {
        "backend": settings.solver,
        "growth": settings.growth,
        "limits": limits,
        "seed": settings.seed,
    }
    begun = time.perf_counter()
    if settings.basis != "auto":
        basis: Name = settings.basis
        result = decide(p, basis=basis, **common)
    elif settings.oracle in {"even-support", "lp-vertices"}:
        result = decide(p, seed_rule=cast("Name", settings.oracle), **common)
    else:
        from ._oracle import load_oracle

        oracle = load_oracle(settings.oracle)
        result = decide(p, seed_rule=oracle.seed, scores=oracle.scores, **common)
    if result.verdict is Verdict.CERTIFIED_NOT_SOS and settings.multipliers:
        left = None if settings.seconds is None else settings.seconds - time.perf_counter() + begun
        common["limits"] = dataclasses.replace(limits, seconds=left)
        result = _with_multiplier(p, result, settings.multipliers, common)
    return result


def _with_multiplier(p: Polynomial, result: Result, most: int, common: dict[str, Any]) -> Result:
    """Add a proof of p >= 0 by a multiplier, if there is one; the verdict stays."""
    n = len(p.variables)
    squares = {tuple(2 * (i == j) for i in range(n)): Fraction(1) for j in range(n)}
    degrees = {sum(m) for m in p.terms}
    forms = [("sum of squares", squares)]
    if len(degrees) > 1:  # for a form the second adds nothing
        forms.append(("1 + sum of squares", {**squares, (0,) * n: Fraction(1)}))
    for power in range(1, most + 1):
        for form, terms in forms:
            q = p * Polynomial(p.variables, terms) ** power
            found = decide(q, **common)
            if found.verdict is Verdict.CERTIFIED_SOS and result.certificate is not None:
                part = multiplier_part(p, form, power, found.blocks)
                base = "x_1^2 + ..." if form == "sum of squares" else "1 + x_1^2 + ..."
                return dataclasses.replace(
                    result,
                    reason=f"{result.reason}; still p >= 0, because ({base})^{power} p is a sum "
                    "of squares",
                    certificate=Certificate((*result.certificate.parts, part)),
                    nonnegative=True,
                )
    return dataclasses.replace(
        result, notes=(*result.notes, f"no multiplier up to the power {most} gave squares")
    )


def _saved(p: Polynomial, settings: CertifyConfig, out: Path, resume: bool, force: bool) -> Result:
    identity = {"polynomial": p.as_json(), "variables": list(p.variables), **to_plain(settings)}
    with Run.create(out, kind="sos/certify", config=identity, resume=resume, force=force) as run:
        result = solve(p, settings)
        if result.certificate is not None:
            path = result.certificate.write(run.path / "certificate.json")
            result = dataclasses.replace(result, path=path)
        run.write_json("result.json", result.as_json())
        shown = picture(result)
        if shown is not None:
            run.write(f"figures/basis.{shown.kind}", shown.data)
        _report(run, result, shown)
    return result


def _report(run: Run, result: Result, shown: Picture | None) -> None:
    text = str(result.polynomial)
    sections: list[Any] = [
        Text(f"p = {text if len(text) < 2000 else text[:2000] + ' …'}"),
        Text(f"{result.verdict.name}: {result.reason}"),
    ]
    if result.verdict is Verdict.CERTIFIED_SOS:
        squares = result.as_text()
        if len(squares) < 20_000:
            run.write("squares.txt", squares + "\n")
            run.write("squares.tex", result.as_latex() + "\n")
            run.write("squares.lean", result.as_lean())
            sections += [Text("The squares", heading=True), Text(squares[:4000])]
    if shown is not None:
        sections.append(shown)
    sections.append(dataclasses.replace(result.table(), title="Attempts"))
    how = "" if result.path is None else f"Check it: extremal verify {result.path}"
    write_report(run.path / "report.html", "Sum of squares", sections, how)


def certify_all(
    polynomials: Sequence[tuple[str, Polynomial]],
    *,
    config: CertifyConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Batch:
    """Decide many polynomials, in parallel if asked; a failure of one stops no other.

    Args:
        polynomials: Names and polynomials, as `read_file` gives them.
        config: All options at once.
        out: Folder; each polynomial has a file in `results`, and its certificate beside it.
        resume: Leave out what `out` holds already.
        force: Replace the run in `out`.
        **options: Fields of `CertifyConfig`.

    Returns:
        The verdicts by name.
    """
    settings = resolve(CertifyConfig, config, options)
    _check(settings)
    return _batch(list(polynomials), settings, out, resume, force)


@dataclass(frozen=True)
class _Job:
    name: str
    polynomial: Polynomial
    settings: CertifyConfig
    folder: str | None


def _work(job: _Job) -> dict[str, Any]:
    result = solve(job.polynomial, job.settings)
    if job.folder is not None and result.certificate is not None:
        path = result.certificate.write(Path(job.folder) / f"{_file(job.name)}.json")
        result = dataclasses.replace(result, path=path)
    return result.as_json()


def _file(name: str) -> str:
    kept = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
    return kept if kept == name else f"{kept}-{sum(map(ord, name))}"


def _batch(
    found: list[tuple[str, Polynomial]],
    settings: CertifyConfig,
    out: str | Path | None,
    resume: bool,
    force: bool,
) -> Batch:
    if settings.squares:
        raise ValueError("squares are a hint for one polynomial; a file has several.")
    if out is None:
        return Batch(_run_all(found, settings, None))
    plain = {k: v for k, v in to_plain(settings).items() if k not in {"executor", "workers"}}
    identity = {"polynomials": {name: p.as_json() for name, p in found}, **plain}
    with Run.create(out, kind="sos/batch", config=identity, resume=resume, force=force) as run:
        results = _run_all(found, settings, run)
        batch = Batch(results, run.path)
        write_report(run.path / "report.html", "Sums of squares", [batch.table()])
        run.write_json("result.json", batch.as_json())
    return batch


def _run_all(
    found: list[tuple[str, Polynomial]], settings: CertifyConfig, run: Run | None
) -> dict[str, dict[str, Any]]:
    done: dict[str, dict[str, Any]] = {}
    if run is not None:
        done = {r["name"]: r["result"] for r in run.records()}
    folder = None if run is None else str(run.path / "certificates")
    jobs = [_Job(name, p, settings, folder) for name, p in found if name not in done]
    runner = executor(settings.executor, workers=settings.workers)
    with progress(len(jobs), "polynomials") as bar:
        for outcome in runner.outcomes(partial(_work), jobs):
            name = jobs[outcome.index].name
            if outcome.value is not None:
                answer = outcome.value
            else:
                answer = {
                    "verdict": Verdict.UNKNOWN.name,
                    "reason": f"{type(outcome.error).__name__}: {outcome.error}",
                    "certificate": None,
                    "seconds": {},
                }
            done[name] = answer
            if run is not None:
                run.log(name=name, result=answer)
            bar.advance(text=name)
    return {name: done[name] for name, _ in found}
