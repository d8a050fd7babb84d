"""The verbs `formalise`, `repair` and `refine`: from a pattern to exact cells and polygons."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

from extremal.lab import (
    Run,
    Table,
    Text,
    command,
    rational,
    resolve,
    to_plain,
    write_certificate,
    write_figures,
    write_report,
)

from ._baselines import second_six_colouring
from ._certify import Certified, decide, parts_of, read, read_problem
from ._colouring import Colouring
from ._errors import ColoringError
from ._exact_repair import recolour
from ._exchange import exchangeable
from ._find import describe, picture_of
from ._network import Network
from ._patterns import search_patterns
from ._polygon_colouring import PolygonColouring
from ._polygon_nlp import optimise_finely
from ._problem import Problem, Rule
from ._search import Candidate, finish, fold, go_finer, soften
from ._settle import upright
from ._smooth import smooth
from ._straighten import straightened
from ._tabu import fill, tabu
from ._tiles import Tiles, tiles_of
from ._trace import trace


@dataclass(frozen=True, eq=False)
class Result:
    """A colouring with its exact verdict.

    Attributes:
        colouring: Cells or polygons.
        problem: What was asked.
        verdict: Whether it keeps every rule everywhere.
        path: The run folder, or None.
        certificate: The file, if it is valid and was saved.
    """

    colouring: Colouring | PolygonColouring
    problem: Problem
    verdict: Certified
    path: Path | None = None
    certificate: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 valid, 3 open."""
        return 0 if self.verdict.status == "valid" else 3

    def table(self) -> Table:
        """Return the verdict in one row."""
        table = self.verdict.table()
        return Table(
            table.columns, table.rows, "" if self.path is None else f"saved in {self.path}"
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            **self.verdict.as_json(),
            "certificate": None if self.certificate is None else str(self.certificate),
        }


@dataclass(frozen=True)
class FormaliseConfig:
    """How a pattern becomes cells."""

    grid: int = 48
    """Cells along each axis."""
    lattice: Literal["refine", "keep"] = "refine"
    """Whether the period may move a little."""
    cell: Literal["parallelogram", "hexagon"] = "parallelogram"
    """Kind of the cells: hexagons are the points nearest to those of the fine lattice."""
    permuted: bool = False
    """Fold a network onto a small cell that repeats with colours of equal rules exchanged."""
    free_price: float = 0.05
    """What free space costs, against the rate of conflicting pairs."""
    iterations: int = 60_000
    """Of the repair."""
    seed: int = 0
    """Of the repair."""


@command(options=FormaliseConfig, inputs=("source", "problem?"))
def formalise(
    source: "Colouring | Network | str | Path",
    problem: "Problem | str | Path | None" = None,
    *,
    config: FormaliseConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Result:
    """Turn a pattern into cells on a grid: fold, refine the lattice, anneal, repair, decide.

    Args:
        source: A trained network, a colouring (of another grid or a neighbouring problem), its
            file, or a run.
        problem: The rules; None: those of the run.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the result.
        resume: Return what is in `out` if it was made in the same way.
        force: Replace the run in `out`.
        **options: Fields of `FormaliseConfig`; they replace those of `config`.

    Returns:
        The best cells found, with their exact verdict.

    Raises:
        ColoringError: The network has no period in its box, or the cells are too large.
    """
    settings = resolve(FormaliseConfig, config, options)
    if settings.grid < 2:
        raise ValueError(f"grid is a number of cells of at least 2, got {settings.grid}.")
    asked = read_problem(problem, source)
    steps = 300 if settings.lattice == "refine" else 0
    if settings.cell == "hexagon" and asked.configurations:
        raise ColoringError("configurations are decided for parallelograms; leave --cell out.")
    if isinstance(source, Network):
        if settings.permuted:
            exchangeable(asked)
        softs = fold(source, asked, settings.grid, settings.permuted)
    elif settings.permuted:
        raise ColoringError(
            "only a network is folded; a colouring has its period. Leave --permuted out."
        )
    else:
        cells = _cells(read(source))
        softs = [soften(cells, 3.0, 1.5)]
    candidates = [
        finish(
            soft, asked, settings.grid, seed=settings.seed, iterations=settings.iterations,
            free_price=settings.free_price, refine_steps=steps, cell=settings.cell,
        )
        for soft in softs
    ]  # fmt: skip
    best = min(candidates, key=Candidate.key)
    return _result(best.colouring, asked, "coloring/formalise", settings, out, resume, force)


@dataclass(frozen=True)
class RepairConfig:
    """How conflicts are removed."""

    method: Literal["auto", "tabu", "fill", "exact", "finer"] = "auto"
    """"tabu" recolours, "fill" frees cells and colours again what it can, "exact" recolours a band
    by CP-SAT and gives a bound, "finer" halves the cells; "auto" takes fill with a free colour,
    else tabu."""
    iterations: int = 200_000
    """Of the local searches."""
    seconds: float = 60.0
    """Limit of "exact"."""
    band: int = 2
    """How many cells around conflicts and boundaries "exact" may recolour."""
    seed: int = 0
    """Of the local searches."""


@command(options=RepairConfig, inputs=("source", "problem?"))
def repair(
    source: "Colouring | str | Path",
    problem: "Problem | str | Path | None" = None,
    *,
    config: RepairConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Result:
    """Remove the conflicts of a cell colouring, or reduce its free cells.

    Args:
        source: A colouring, its file, or a run.
        problem: The rules; None: those of the run.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the result.
        resume: Return what is in `out` if it was made in the same way.
        force: Replace the run in `out`.
        **options: Fields of `RepairConfig`; they replace those of `config`.

    Returns:
        The best cells found, with their exact verdict.

    Raises:
        ColoringError: The cells are too large for a rule, or the method does not fit.
    """
    settings = resolve(RepairConfig, config, options)
    asked = read_problem(problem, source)
    before = _cells(read(source))
    method = settings.method
    if method == "auto":
        method = "fill" if before.free else "tabu"
    if asked.configurations:
        after, _ = search_patterns(before, asked, settings.iterations // 50, settings.seed)
    elif method == "tabu":
        after, _ = tabu(before, asked, settings.iterations, settings.seed)
    elif method == "fill":
        after = fill(before, asked, 10 * settings.iterations, settings.seed)
    elif method == "finer":
        after = go_finer(before, asked, iterations=settings.iterations).colouring
    else:
        after = recolour(before, asked, settings.band, settings.seconds).colouring
    return _result(after, asked, "coloring/repair", settings, out, resume, force)


@dataclass(frozen=True)
class RefineConfig:
    """How polygons are optimised."""

    objective: Literal["", "feasible", "min_free", "max_interval"] = ""
    """What is optimised; default: min_free with a free colour, else the common margin."""
    color: int = -1
    """Whose interval of avoided distances is set or widened; -1: none."""
    interval: tuple[str, ...] = ()
    """Low and high end of that interval."""
    margin: str = "1e-7"
    """By which every inequality holds before rounding."""
    rounds: int = 100
    """Linear programs at most."""
    trust: float = 0.03
    """How far a vertex may move in the first round."""
    tolerance: float = 1.5
    """In cells: how far traced boundaries may leave those of the cells."""
    smallest: float = 0.0004
    """Patches below this share of a period are given to their neighbours before tracing."""
    straighten: bool = False
    """Take the teeth that cells leave out of boundaries between coloured tiles first."""
    longest: float = 0.0
    """Sides are halved and the tiles optimised again until none is longer; 0 keeps the vertices."""


@command(options=RefineConfig, inputs=("source", "problem?"))
def refine(
    source: "Colouring | PolygonColouring | str | Path",
    problem: "Problem | str | Path | None" = None,
    *,
    config: RefineConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Result:
    """Trace cells as polygons, optimise vertices and lattice, round to rationals, decide.

    Args:
        source: Cells or polygons, their file, a run, or the name "second-six".
        problem: The rules; None: those of the run ("second-six" has its own).
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the result.
        resume: Return what is in `out` if it was made in the same way.
        force: Replace the run in `out`.
        **options: Fields of `RefineConfig`; they replace those of `config`.

    Returns:
        Polygons with exact vertices and their verdict.

    Raises:
        ColoringError: A patch of cells is no polygon.

    Cost: a second a round for 100 variables, growing with their cube.
    """
    settings = resolve(RefineConfig, config, options)
    margin = rational(settings.margin)
    if margin <= 0 or settings.rounds < 1 or settings.trust <= 0:
        raise ValueError("margin and trust are above 0 and rounds is at least 1.")
    asked = _asked(problem, source, settings)
    tiles, start = _tiles(source, asked, settings)
    if settings.straighten:
        tiles = straightened(tiles, asked, margin=float(margin))
    if asked.free_color:
        tiles = upright(tiles, asked)
    objective = settings.objective or ("min_free" if asked.free_color else "feasible")
    tiles, worst = optimise_finely(
        tiles, asked, settings.longest, margin=float(margin), rounds=settings.rounds,
        trust=settings.trust, objective=objective,
        widen=settings.color if settings.color >= 0 else None,
    )  # fmt: skip
    colouring = tiles.exact(start.colors, start.free)
    return _result(colouring, asked, "coloring/refine", settings, out, resume, force,
                   f"The vertex program ended with a worst violation of {worst:.3g}.")  # fmt: skip


def _asked(problem: Any, source: Any, settings: RefineConfig) -> Problem:
    if problem is None and source == "second-six":
        asked = Problem.type(1, 1, 1, 1, 1, ("0.418", "0.657"))
    else:
        asked = read_problem(problem, source)
    if settings.interval:
        if len(settings.interval) != 2 or not 0 <= settings.color < asked.colors:
            raise ValueError("--interval takes two ends, together with the --color it is for.")
        kept = [
            replace(r, colors=tuple(c for c in r.bound(asked.colors) if c != settings.color))
            for r in asked.rules
            if set(r.bound(asked.colors)) != {settings.color}
        ]
        added = Rule(distance=tuple(settings.interval), colors=(settings.color,))
        asked = Problem(2, asked.colors, (*kept, added), asked.free_color, asked.objective)
    return asked


def _tiles(
    source: Any, asked: Problem, settings: RefineConfig
) -> tuple[Tiles, Colouring | PolygonColouring]:
    found = second_six_colouring() if source == "second-six" else read(source)
    if isinstance(found, PolygonColouring):
        if found.rest:
            raise ColoringError(
                "tiles whose rest is free do not fit together, so refine cannot move them."
            )
        if found.axes or found.owners:
            raise ColoringError(
                "refine moves closed tiles with plain coordinates; these have other units or "
                "assigned boundaries."
            )
        return tiles_of(found), found
    if (found.cell, found.axes) != ("parallelogram", ()):
        raise ColoringError(
            "refine traces parallelograms with plain coordinates; formalise the colouring on such "
            "cells first."
        )
    if not asked.configurations:
        found = smooth(found, asked)  # fingers of two colours would be patches of their own
    return trace(found, settings.tolerance, settings.smallest), found


def _cells(found: Colouring | PolygonColouring) -> Colouring:
    if isinstance(found, PolygonColouring):
        raise ColoringError("this needs cells, but the source has polygons; use refine.")
    return found


def _result(
    colouring: Colouring | PolygonColouring, asked: Problem, kind: str, settings: Any,
    out: str | Path | None, resume: bool, force: bool, note: str = "",
) -> Result:  # fmt: skip
    verdict = decide(colouring, asked)
    found = Result(colouring, asked, verdict)
    if out is None:
        return found
    identity: Mapping[str, Any] = {**to_plain(settings), "problem": asked.as_json()}
    with Run.create(out, kind=kind, config=identity, resume=resume, force=force) as run:
        run.write_json("problem.json", asked.as_json())
        run.write_json("colouring.json", colouring.as_json())
        certificate = None
        if verdict.status == "valid":
            certificate = write_certificate(
                run.path / "certificate.json", parts_of(colouring, asked)
            )
        from extremal.lab import Picture

        figures = write_figures(run.path, {"colouring": Picture(*picture_of(colouring, asked))})
        footer = (
            f"Check it: extremal verify {certificate}"
            if certificate is not None
            else "Nothing is claimed: rules are broken, so there is no certificate."
        )
        sections = [
            Text(describe(asked)),
            *([Text(note)] if note else []),
            verdict.table(),
            *figures,
        ]
        write_report(run.path / "report.html", "A colouring made exact", sections, footer)
        return replace(found, path=run.path, certificate=certificate)


def free_table(rows: Mapping[int, Fraction]) -> Table:
    """Return certified free densities beside the published ones.

    The published values are those of arXiv 2501.18527 (table 1): the best known before, and what
    its own formalisation certified.
    """
    before = {1: 77.06, 2: 54.13, 3: 31.19, 4: 8.25, 5: 4.0060, 6: 0.0143}
    paper = {1: 77.13, 2: 54.29, 3: 31.51, 4: 8.52, 5: 3.7356, 6: 0.04}
    return Table(
        ["colours", "known before, %", "published, certified, %", "here, certified, %"],
        [[k, before[k], paper[k], round(100 * float(rows[k]), 4) if k in rows else None]
         for k in sorted(before)],
    )  # fmt: skip
