"""The verb `find`: from a question to a colouring, a certificate and a picture, within a budget.

A search goes in rounds. Each round makes its own starts from its own seed, finishes the best of
them on the grid, and is saved before the next begins; a resumed search takes up the next round with
what is left of the budget. Without a free colour the first valid colouring ends it. With one, the
search goes on to the budget and keeps the least free density; the last third of the budget makes
the best colouring's grid finer.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from fractions import Fraction
from math import inf
from pathlib import Path
from typing import Any, Literal

from extremal.lab import (
    Picture,
    Run,
    Section,
    Table,
    Text,
    command,
    executor,
    progress,
    resolve,
    seconds_of,
    to_plain,
    write_certificate,
    write_figures,
    write_report,
)

from ._certify import parts_of, read, read_problem
from ._colouring import Colouring
from ._device import torch_on
from ._errors import ColoringError
from ._exchange import exchangeable
from ._plot import picture
from ._polygon_colouring import PolygonColouring
from ._problem import Problem
from ._rates import Spectrum, pair_rate, spectrum
from ._rounds import FindConfig, Job, grid_of, plain_of, round_of
from ._screen import conflict_pairs
from ._search import Candidate, go_finer
from ._sweep import broken_patterns
from ._widest import middle_of, range_of, widen

KIND = "coloring/find"


@dataclass(frozen=True, eq=False)
class Found:
    """What a search has found.

    Attributes:
        status: `"valid"`: every rule holds everywhere. `"open"`: the budget ended before that.
        problem: What was asked.
        colouring: The best one.
        residue: Conflicting ordered pairs of cells that it still has.
        seconds: How long was searched.
        rounds: How many rounds ended.
        certificate: The file, where the colouring is valid and was saved.
        path: The run folder.
    """

    status: Literal["valid", "open"]
    problem: Problem
    colouring: Colouring
    residue: int
    seconds: float
    rounds: int
    certificate: Path | None = None
    path: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 valid, 3 open."""
        return 0 if self.status == "valid" else 3

    @property
    def free_density(self) -> Fraction:
        """The exact density of the free colour; of no value while conflicts remain."""
        return self.colouring.free_density

    def spectrum(self, color: int) -> Spectrum:
        """Return the distances that a colour avoids."""
        return spectrum(self.colouring, color)

    def table(self) -> Table:
        """Return the result in one row, with the rate of conflicts where there are some."""
        valid = self.status == "valid"
        free = f"{float(self.free_density):.4%}" if self.problem.free_color and valid else None
        rate = None
        in_space = self.problem.dim == 3 and self.colouring.cell == "hexagon"
        if not valid and not self.problem.configurations and not in_space:
            rate = pair_rate(self.colouring, self.problem)
        return Table(
            ["status", "cells", "conflicting pairs", "pair rate", "free", "rounds", "seconds"],
            [["valid" if valid else "open: no valid colouring within the budget",
              " x ".join(map(str, self.colouring.grid)), self.residue, rate, free, self.rounds,
              round(self.seconds, 1)]],
            title="" if self.path is None else f"saved in {self.path}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "status": self.status,
            "grid": list(self.colouring.grid),
            "residue": self.residue,
            "free_density": str(self.free_density),
            "rounds": self.rounds,
            "seconds": self.seconds,
            "certificate": None if self.certificate is None else str(self.certificate),
        }


@command(options=FindConfig, inputs=("problem?",))
def find(
    problem: "Problem | str | Path | None" = None,
    *,
    config: FindConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    show: Callable[[Candidate], None] | None = None,
    **options: Any,
) -> Found:
    """Look for a colouring that keeps every rule, certify it, draw it.

    Args:
        problem: What is asked, or its JSON file; or say it by the options type, colors, triangle.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for colouring, certificate, pictures and report.
        resume: Go on with the search in `out`.
        force: Replace the run in `out`.
        show: Called with every improvement, best last.
        **options: Fields of `FindConfig`; they replace those of `config`.

    Returns:
        The best colouring; its status says whether it is valid.

    Raises:
        ValueError: An option makes no sense.
        ColoringError: The cells are too large for a rule, no problem was given, or the device is
            not there.

    Cost: the budget; less where a valid colouring ends the search.
    """
    settings = resolve(FindConfig, config, options)
    asked = problem_of(problem, settings)
    budget = seconds_of(settings.budget)
    if min(settings.tries, settings.iterations) < 1:
        raise ValueError("tries and iterations are counts of at least 1.")
    if min(settings.starts, settings.keep, settings.workers) < 0:
        raise ValueError("starts, keep and workers are 0 or more.")
    if settings.period != (0.0, 0.0) and not 0 < settings.period[0] <= settings.period[1] < inf:
        raise ValueError(f"period is two volumes, 0 < least <= largest, got {settings.period}.")
    if settings.grid < 0 or settings.grid == 1:
        raise ValueError(f"grid is a number of cells of at least 2, or 0, got {settings.grid}.")
    if asked.objective == "max_interval":
        range_of(asked)  # refused here where it makes no sense
    elif asked.parameters:
        raise ValueError(
            f"the distance {asked.parameters[0]!r} is open; train on it with coloring.train, set "
            "it with problem.at(...), or ask for the objective max_interval."
        )
    if any(r.norm != 2.0 for r in asked.rules):
        raise ValueError("find is for the Euclidean norm; other norms can be trained only.")
    if asked.configurations and asked.dim != 2:
        raise ColoringError(
            "configurations are searched in the plane only; certify decides those of space."
        )
    if settings.permuted:
        exchangeable(asked)
    if settings.permuted and settings.device != "cpu" and settings.method == "spectral":
        raise ValueError("--permuted searches random starts on the CPU only; leave --device out.")
    if settings.cell == "hexagon" and asked.configurations:
        raise ValueError("configurations are searched on parallelograms; leave --cell out.")
    if settings.cell == "hexagon" and settings.device != "cpu" and settings.method == "spectral":
        raise ValueError(
            "--cell hexagon searches random starts on the CPU only; leave --device out."
        )
    if settings.device != "cpu":
        torch_on(settings.device)  # refused here, before a run folder is made
    search = _Search(asked, settings, budget, show)
    if asked.objective == "max_interval":
        search = _Search(middle_of(asked), settings, budget, show, asked)
    if out is None:
        return search.go(None)
    identity = {**to_plain(settings), "problem": asked.as_json()}
    for name in ("budget", "executor", "workers"):
        identity.pop(name)
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        return save(run, search.go(run), search.history)


def problem_of(problem: "Problem | str | Path | None", settings: FindConfig) -> Problem:
    """Return what is asked: a problem given, or said by the options.

    Raises:
        ValueError: Nothing, or more than one thing, was said.
    """
    said = [problem is not None, bool(settings.type), bool(settings.colors and not settings.type)]
    if sum(said) != 1:
        raise ValueError(
            "say what is asked in one way: a problem file, --type with a distance a colour, or "
            "--colors."
        )
    if problem is not None:
        return read_problem(problem)
    if settings.triangle:
        if len(settings.triangle) != 2 or settings.type:
            raise ValueError("--triangle takes the sides a and b, together with --colors.")
        return Problem.triangle(settings.colors, *settings.triangle)
    if settings.objective and not settings.type:
        raise ValueError("--objective goes with --type; a problem file says its objective itself.")
    if settings.type:
        distances = [tuple(t.split("..")) if ".." in t else t for t in settings.type]
        asked = Problem.type(*distances, dim=settings.dim, free_color=settings.free)
        return _with_range(asked) if settings.objective else asked
    return Problem.plane(settings.colors, settings.dim, settings.free)


def _with_range(asked: Problem) -> Problem:
    """Make the one interval of a type the range of an open distance."""
    wide = [r for r in asked.rules if r.spans[0][0] < r.spans[0][1]]
    if len(wide) != 1:
        raise ValueError(
            "max_interval needs exactly one range lo..hi among the distances of --type."
        )
    rules = tuple(replace(r, parameter="d") if r is wide[0] else r for r in asked.rules)
    return replace(asked, rules=rules, objective="max_interval")


@dataclass
class _Search:
    problem: Problem
    settings: FindConfig
    budget: float
    show: Callable[[Candidate], None] | None
    whole: Problem | None = None
    """With an open distance, of which `problem` is the middle of its range."""
    best: Candidate | None = None
    rounds: int = 0
    history: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])

    def go(self, run: Run | None) -> Found:
        """Run rounds until a valid colouring, or the budget."""
        begun = time.monotonic()
        spent = 0.0
        if run is not None:
            run.write_json("problem.json", (self.whole or self.problem).as_json())
            for line in run.records():
                spent = max(spent, line["seconds"])
                self.rounds = max(self.rounds, line["round"])
                self.history.append(line)
            if (run.path / "colouring.json").is_file():
                kept = read(run.path)
                assert isinstance(kept, Colouring)  # a search writes cells only
                broken = conflict_pairs(kept, self.problem) + broken_patterns(kept, self.problem)
                self.best = Candidate(kept, broken, 0.0)
        end = begun + self.budget - spent
        rough = begun + (self.budget - spent) * (0.66 if self._goes_finer() else 1.0)

        def passed() -> float:
            return spent + time.monotonic() - begun

        with (
            progress(int(self.budget), "seconds of the budget") as bar,
            executor(self.settings.executor, workers=self.settings.workers or None) as runner,
        ):
            while not self._done() and time.monotonic() < rough:
                jobs = [
                    Job(self.problem.as_json(), self.settings, self.rounds + k,
                         rough - time.monotonic())
                    for k in range(runner.workers)
                ]  # fmt: skip
                for plain in runner.map(round_of, jobs):
                    self.rounds += 1
                    self._take(run, plain, passed())
                bar.advance(max(0, int(passed()) - bar.count), self._words())
        while self._goes_finer() and self._finer() and time.monotonic() < end:
            assert self.best is not None
            grid = self.best.colouring.grid[0]
            candidate = go_finer(
                self.best.colouring, self.problem, 2, seed=self.settings.seed,
                free_price=self.settings.free_price, iterations=self.settings.iterations,
                device=self.settings.device,
            )  # fmt: skip
            self._take(run, plain_of(candidate), passed(), finer=True)
            if self.best.colouring.grid[0] == grid:
                break
        if self.best is None:
            raise ColoringError(
                "no round ended within the budget; give more time, a smaller --grid or fewer "
                "--steps."
            )
        status = "valid" if self.best.residue == 0 else "open"
        answered = self.problem
        if self.whole is not None and status == "valid":
            answered = self._widen(run, self.whole, passed, end)
        return Found(
            status, answered, self.best.colouring, self.best.residue, passed(), self.rounds,
            path=None if run is None else run.path,
        )  # fmt: skip

    def _widen(
        self, run: Run | None, whole: Problem, passed: Callable[[], float], end: float
    ) -> Problem:
        """Push the ends of the avoided interval out until the budget; return what was reached."""
        assert self.best is not None
        name, *_ = range_of(whole)
        reached = self.problem
        finest = self.settings.finest or 4 * grid_of(self.settings, whole)
        for wider in widen(
            self.best.colouring, whole, finest=finest, seed=self.settings.seed,
            iterations=self.settings.iterations,
        ):  # fmt: skip
            reached = whole.at(**{name: (wider.low, wider.high)})
            note = f"avoids {float(wider.low):.6g} to {float(wider.high):.6g}"
            self._take(run, plain_of(wider.candidate), passed(), finer=True, note=note)
            if time.monotonic() > end:
                break
        if run is not None:
            run.write_json("problem.json", reached.as_json())
        return reached

    def _done(self) -> bool:
        return self.best is not None and self.best.residue == 0 and not self.problem.free_color

    def _goes_finer(self) -> bool:
        """Whether the last third of the budget goes to finer cells; they are for pair rules."""
        return self.problem.free_color and not self.problem.configurations

    def _finer(self) -> bool:
        finest = self.settings.finest or 4 * grid_of(self.settings, self.problem)
        return self.best is not None and 2 * self.best.colouring.grid[0] <= finest

    def _words(self) -> str:
        if self.best is None:
            return ""
        free = self.best.colouring.free_density
        return f"best: {self.best.residue} pairs" + (f", free {float(free):.3%}" if free else "")

    def _take(
        self, run: Run | None, plain: dict[str, Any], seconds: float, finer: bool = False,
        note: str = "",
    ) -> None:  # fmt: skip
        line: dict[str, Any] = {
            "round": self.rounds,
            "seconds": seconds,
            "residue": plain.get("residue"),
            "free": plain.get("free"),
            "grid": plain.get("grid"),
            "note": note or plain.get("note", ""),
        }
        if "colouring" in plain:
            candidate = Candidate(
                Colouring.from_json(plain["colouring"]), plain["residue"], plain["loss"]
            )
            if run is not None and not finer:
                self._keep(run, candidate, plain["colouring"])
            better = self.best is None or candidate.key() < self.best.key() or finer
            if better:
                self.best = candidate
                if run is not None:
                    run.write_json("colouring.json", plain["colouring"])
                if self.show is not None:
                    self.show(candidate)
        self.history.append(line)
        if run is not None:
            run.log(**line)

    def _keep(self, run: Run, candidate: Candidate, plain: dict[str, Any]) -> None:
        """Keep the best colourings of single rounds as files whose names sort by worth."""
        if not self.settings.keep:
            return
        folder = run.path / "candidates"
        folder.mkdir(exist_ok=True)
        free = round(10**6 * float(candidate.colouring.free_density))
        name = f"{candidate.residue:07d}-{free:06d}-{self.rounds:05d}.json"
        run.write_json(f"candidates/{name}", plain)
        for worse in sorted(folder.iterdir())[self.settings.keep :]:
            worse.unlink()


def save(run: Run, found: "Found", history: list[dict[str, Any]]) -> "Found":
    """Write certificate, pictures and report of a search."""
    run.write_json("colouring.json", found.colouring.as_json())
    certificate = None
    if found.status == "valid":
        certificate = write_certificate(
            run.path / "certificate.json", parts_of(found.colouring, found.problem)
        )
    figures = write_figures(
        run.path, {"colouring": Picture(*picture_of(found.colouring, found.problem))}
    )
    sections: list[Section] = [Text(describe(found.problem)), found.table(), *figures]
    rows = [
        [h["round"], h["grid"], h["residue"], h["free"], round(h["seconds"], 1), h["note"] or "-"]
        for h in history
    ]
    sections.append(Table(["round", "grid", "conflicting pairs", "free", "seconds", "note"], rows))
    footer = (
        f"Check it: extremal verify {certificate}"
        if certificate is not None
        else "Nothing is claimed: conflicts remain, so there is no certificate."
    )
    write_report(run.path / "report.html", "A colouring of space", sections, footer)
    return replace(found, certificate=certificate, path=run.path)


def picture_of(colouring: Colouring | PolygonColouring, problem: Problem) -> tuple[bytes, str]:
    """Return a PNG of some periods and its caption."""
    data = picture(colouring, problem)
    return data, "Some periods; the circle has the radius of the first rule, conflicts are black."


def describe(problem: Problem) -> str:
    """Return the problem in words."""
    lines = [f"Colour R^{problem.dim} with {problem.colors} colours"
             + (" and a free one." if problem.free_color else ".")]  # fmt: skip
    for spans, colors in problem.classes():
        where = ", ".join(
            f"{float(a) ** 0.5:.6g}"
            if a == b
            else f"[{float(a) ** 0.5:.6g}, {float(b) ** 0.5:.6g}]"
            for a, b in spans
        )
        lines.append(f"Colours {', '.join(map(str, colors))} avoid distance {where}.")
    for rule in problem.configurations:
        points = ", ".join("(" + ", ".join(map(str, q)) + ")" for q in rule.points)
        scaled = f", scaled by {rule.scales[0]} to {rule.scales[1]}," if rule.scales else ""
        lines.append(
            f"No {rule.motions} copy of 0, {points}{scaled} has one of "
            f"{len(rule.patterns(problem.colors))} forbidden patterns of colours."
        )
    return " ".join(lines)


__all__ = ["FindConfig", "Found", "find"]
