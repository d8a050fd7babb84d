"""The verb `search`: walks over triangulations that look for schemes nobody has shown.

A walk flips edges. Each triangulation it stands on is judged by its whole census: the sum over the
target schemes it reaches of log((1 + triangulations seen) / (1 + how many of them reached it)), so
that what is rare counts most, and what is missing pulls through its rare neighbours. Steps are
accepted by Metropolis' rule at the walk's temperature; walks at neighbouring temperatures exchange
places; triangulations equal up to symmetry are not judged twice; each accepted triangulation is
regular, with heights checked exactly. A target "p" maximises the even ovals instead (even degree).

Walks run in slices over an executor. After each slice everything found and where each walk stands
goes into one SQLite file in one transaction, so an interrupted search goes on where it was.
"""

import contextlib
import math
import random
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from extremal.lab import (
    Executor,
    Picture,
    Run,
    RunError,
    Section,
    Table,
    Text,
    append_record,
    command,
    derive_seed,
    executor,
    figure_bytes,
    new_figure,
    progress,
    resolve,
    seconds_of,
    to_plain,
    write_certificate,
    write_report,
)

from ._catalogue import Database, Witness
from ._census import final_schemes, most_even_ovals, normalised
from ._certify import scheme_part
from ._classification import known_schemes
from ._draw import curve_sheet
from ._errors import TCurveError
from ._flips import Walker, random_triangulation
from ._frontier import sweep
from ._frontier_arrays import Multisets
from ._notation import Scheme, parse
from ._order import elimination_order
from ._regular import regular
from ._scheme import read_signs, scheme_of, word
from ._trees import Trees
from ._triangulation import Triangulation, canonical

KIND = "tcurves/search"
_COLDEST, _HOTTEST = 0.5, 6.0
_TABU = 2000  # triangulations a walk remembers


@dataclass(frozen=True)
class SearchConfig:
    """How a search goes."""

    degree: int = 6
    """Of the curves."""
    targets: str = "all"
    """"all" (every scheme, to degree 7 every classified one), "p" (the most even ovals), or schemes
    separated by semicolons."""
    budget: str = "10m"
    """Time for the whole search, such as 90s, 10m or 2h; a resumed search uses what is left."""
    seed: int = 0
    """Of the starts and moves."""
    walks: int = 4
    """Walks side by side, at temperatures from warm to cold."""
    slice: str = "15s"
    """After how long the walks are saved and exchange temperatures."""
    flips: int = 3
    """At most so many flips a move."""
    restart: int = 400
    """A walk begins anew after so many moves without anything new to the search."""
    executor: Literal["serial", "processes", "ray"] = "processes"
    """Where walks run."""
    workers: int = 0
    """Walks at a time; 0 means one a core."""


@dataclass(frozen=True)
class SearchResult:
    """What a search has found.

    Attributes:
        degree: Of the curves.
        witnesses: One a scheme found, ascending.
        missing: Targets not found; empty for open degrees.
        seconds: How long was searched, all sessions together.
        judged: How many censuses were taken.
        best_p: For the target "p": the most even ovals seen.
        path: The run folder.
        certificate: Of every witness, or None while the search is unfinished.
    """

    degree: int
    witnesses: tuple[Witness, ...]
    missing: tuple[Scheme, ...]
    seconds: float
    judged: int
    best_p: int | None
    path: Path | None
    certificate: Path | None

    @property
    def exit_code(self) -> int:
        """0 if every target was found, 3 if the budget ended first."""
        return 3 if self.missing else 0

    def table(self) -> Table:
        """Return the counts, and what is missing."""
        known = f" of {len(known_schemes(self.degree))}" if self.degree <= 7 else ""
        missing = ", ".join(map(str, self.missing[:6])) + (", ..." if len(self.missing) > 6 else "")
        rows = [[f"{len(self.witnesses)}{known}", self.judged, round(self.seconds, 1),
                 self.best_p, missing or "-"]]  # fmt: skip
        return Table(
            ["schemes", "triangulations", "seconds", "best p", "missing"],
            rows,
            title=f"search of degree {self.degree}"
            + (f", in {self.path}" if self.path is not None else ""),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "degree": self.degree,
            "schemes": [str(w.scheme) for w in self.witnesses],
            "missing": [str(s) for s in self.missing],
            "seconds": self.seconds,
            "judged": self.judged,
            "best_p": self.best_p,
        }


@command(options=SearchConfig, inputs=())
def search(
    *,
    config: SearchConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> SearchResult:
    """Look for triangulations that reach schemes, from random starts.

    Args:
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the database, certificate, pictures and report. Needed.
        resume: Go on with the search in `out`; its budget counts the time already spent.
        force: Replace the run in `out`.
        **options: Fields of `SearchConfig`; they replace those of `config`.

    Returns:
        What was found.

    Raises:
        ValueError: An option makes no sense.
        TCurveError: `out` is missing or its database is damaged.

    Cost: a census a move: 15 ms at degree 6, 40 ms at 7, a second at 8.
    """
    settings = resolve(SearchConfig, config, options)
    _check(settings)
    if out is None:
        raise TCurveError("a search keeps what it finds in a database, so give out=, a folder.")
    identity = to_plain(settings)
    for name in ("budget", "executor", "workers", "slice"):
        identity.pop(name)  # a search may go on longer, or elsewhere
    with Run.create(out, kind=KIND, config=identity, resume=resume, force=force) as run:
        return _Search(settings, run).go()


def _check(settings: SearchConfig) -> None:
    if settings.degree < 2:
        raise ValueError(f"a search needs degree 2 or more, got {settings.degree}.")
    for name in ("walks", "flips", "restart"):
        if getattr(settings, name) < 1:
            raise ValueError(f"{name} is a count of at least 1, got {getattr(settings, name)}.")
    if settings.workers < 0:
        raise ValueError(f"workers is a count, or 0 for one a core, got {settings.workers}.")
    seconds_of(settings.budget)
    seconds_of(settings.slice)
    targets_of(settings)


def targets_of(settings: SearchConfig) -> frozenset[Scheme] | None:
    """Return the schemes to be found; None means whatever there is.

    Raises:
        ValueError: A scheme is unreadable or of the wrong parity, or "p" is asked for an odd
        degree.
    """
    if settings.targets == "p":
        if settings.degree % 2:
            raise ValueError(f"p counts even ovals of even degrees, got degree {settings.degree}.")
        return None
    if settings.targets == "all":
        return known_schemes(settings.degree) if settings.degree <= 7 else None
    found = frozenset(parse(s) for s in settings.targets.split(";") if s.strip())
    wrong = [s for s in found if s.odd != (settings.degree % 2 == 1)]
    if wrong or not found:
        raise ValueError(
            f"the targets {settings.targets!r} are no schemes of degree {settings.degree}; write "
            'for instance "<10>; <9 u 1<1>>".'
        )
    return found


@dataclass(frozen=True)
class _Job:
    """One slice of one walk, as plain values."""

    degree: int
    number: int
    part: int
    seed: int
    temperature: float
    triangles: list[list[int]] | None
    stale: int
    flips: int
    restart: int
    seconds: float
    steps: int
    maximise: bool
    seen: dict[str, int]
    judged: int
    targets: list[str] | None
    known: list[str]
    best_p: int


def _walk(job: _Job) -> dict[str, Any]:
    """Walk for one slice; a module-level function, because it runs in other processes."""
    begun = time.monotonic()
    rng = random.Random(derive_seed(job.seed, "walk", job.number, job.part))
    targets = None if job.targets is None else set(job.targets)
    known = set(job.known)
    seen = dict(job.seen)
    judged, stale, best_p = job.judged, job.stale, job.best_p
    found: list[dict[str, Any]] = []
    tabu: dict[Any, float] = {}
    multisets = Multisets()  # shared by all censuses of the walk: most trees come again
    trees = Trees(multisets)
    odd = job.degree % 2 == 1

    def begin() -> Triangulation:
        while True:
            t = random_triangulation(job.degree, rng.randrange(1 << 60))
            answer = regular(t)
            if answer.regular:
                return Triangulation(t.degree, t.triangles, answer.heights)

    def judge(t: Triangulation) -> tuple[float, bool]:
        """The worth of a triangulation, and whether it brought anything new."""
        nonlocal judged, best_p
        judged += 1
        if job.maximise:
            top = most_even_ovals(t, threads=1)
            new = top.value > best_p
            if new:
                best_p = top.value
                found.append(_plain(t, top.scheme, top.witness, 0, time.monotonic() - begun))
            return float(top.value), new
        order, _ = elimination_order(t, 40, 800, rng.randrange(1 << 30))
        fixed = _first_three(t, order)
        frontier = sweep(t, order, dict.fromkeys(fixed, 2), multisets=multisets, gauged=True)
        counts: dict[Scheme, list[int]] = {}
        for number, (scheme, count) in enumerate(final_schemes(frontier, odd, trees)):
            counts.setdefault(scheme, [0, number])[0] += count
        worth, new = 0.0, False
        for scheme, (count, number) in counts.items():
            name = str(scheme)
            if targets is not None and name not in targets:
                continue
            worth += math.log((1 + judged) / (1 + seen.get(name, 0)))
            seen[name] = seen.get(name, 0) + 1
            if name not in known:
                known.add(name)
                new = True
                signs = normalised(t, frontier.paths([number])[0]).tolist()
                found.append(_plain(t, scheme, word(signs), count, time.monotonic() - begun))
        return worth, new

    if job.triangles is None:
        current = begin()
        stale = 0
    else:
        current = Triangulation(job.degree, tuple((t[0], t[1], t[2]) for t in job.triangles))
        current = Triangulation(current.degree, current.triangles, regular(current).heights)
    worth, _ = judge(current)
    moves = 0
    while time.monotonic() - begun < job.seconds and (not job.steps or moves < job.steps):
        if targets is not None and targets <= known:
            break
        moves += 1
        stale += 1
        if stale > job.restart:
            current, stale = begin(), 0
            worth, _ = judge(current)
            continue
        walker = Walker(current, rng.randrange(1 << 60))
        wanted = rng.randint(1, job.flips)
        while wanted:
            wanted -= walker.attempt()
        step = walker.triangulation()
        if step == current:
            continue
        key = canonical(step)
        if key in tabu:
            continue
        answer = regular(step)
        if not answer.regular:
            continue
        step = Triangulation(step.degree, step.triangles, answer.heights)
        if len(tabu) >= _TABU:
            tabu.pop(next(iter(tabu)))
        new_worth, new = judge(step)
        tabu[key] = new_worth
        if new:
            stale = 0
        if new_worth >= worth or rng.random() < math.exp((new_worth - worth) / job.temperature):
            current, worth = step, new_worth
    return {
        "triangles": [list(x) for x in current.triangles],
        "stale": stale,
        "worth": worth,
        "judged": judged - job.judged,
        "seen": {k: v - job.seen.get(k, 0) for k, v in seen.items() if v != job.seen.get(k, 0)},
        "found": found,
        "best_p": best_p,
    }


def _plain(
    t: Triangulation, scheme: Scheme, signs: str, count: int, second: float
) -> dict[str, Any]:
    assert t.heights is not None  # walks stand on regular triangulations only
    return {
        "triangles": [list(x) for x in t.triangles],
        "heights": [str(h) for h in t.heights],
        "scheme": str(scheme),
        "signs": signs,
        "count": count,
        "second": second,
    }


def _first_three(t: Triangulation, order: Sequence[int]) -> list[int]:
    found: dict[tuple[int, int], int] = {}
    for k in order:
        i, j = t.points[k]
        if len(found) < 3:
            found.setdefault((i % 2, j % 2), k)
    return list(found.values())


class _Search:
    def __init__(self, settings: SearchConfig, run: Run) -> None:
        self.settings, self.run = settings, run
        self.database = Database(run.path / "catalogue.sqlite", settings.degree)
        self.targets = targets_of(settings)
        state = self.database.state("search") or {}
        walks = settings.walks
        ratio = (_HOTTEST / _COLDEST) ** (1 / max(1, walks - 1))
        self.temperatures = state.get("temperatures") or [_COLDEST * ratio**k for k in range(walks)]
        if settings.targets == "p":
            self.temperatures = state.get("temperatures") or [0.15 * 1.8**k for k in range(walks)]
        self.walks: list[Any] = state.get("walks") or [None] * walks
        self.seen: dict[str, int] = state.get("seen") or {}
        self.judged: int = state.get("judged", 0)
        self.seconds: float = state.get("seconds", 0.0)
        self.part: int = state.get("part", 0)
        self.best_p: int = state.get("best_p", -1)

    def missing(self, found: "set[str] | dict[str, float]") -> list[Scheme]:
        return sorted(s for s in self.targets or () if str(s) not in found)

    def go(self) -> SearchResult:
        settings = self.settings
        budget = seconds_of(settings.budget)
        length = min(seconds_of(settings.slice), budget / 2)
        pool = executor(settings.executor, workers=settings.workers or None, threads=1)
        turns = -(-settings.walks // (pool.workers if settings.executor != "serial" else 1))
        shown = (
            progress(int(budget), "search") if sys.stderr.isatty() else contextlib.nullcontext(None)
        )
        with pool, shown as bar:  # the workers stay from slice to slice
            while self.seconds < budget:
                found = self.database.schemes()
                if self.targets is not None and not self.missing(found):
                    break
                self.slice(pool, min(length, (budget - self.seconds) / turns), found)
                if bar is not None:
                    bar.advance(
                        int(self.seconds) - bar.count, f"{len(self.database.schemes())} schemes"
                    )
        return self.finish()

    def slice(self, pool: Executor, seconds: float, found: dict[str, float]) -> None:
        """Let every walk go on for so long; then exchange places and save everything."""
        begun = time.monotonic()
        jobs = [self.job(k, seconds, found) for k in range(self.settings.walks)]
        new: list[tuple[Witness, float]] = []
        for outcome in pool.outcomes(_walk, jobs):
            if outcome.error is not None or outcome.value is None:
                raise TCurveError(
                    f"walk {outcome.index} failed ({outcome.error}); what was found before is "
                    "kept, go on with --resume."
                ) from outcome.error
            new += self.take(outcome.index, outcome.value, self.seconds)
        self.seconds += time.monotonic() - begun
        self.exchange()
        self.part += 1
        self.save(new)

    def job(self, k: int, seconds: float, found: dict[str, float]) -> _Job:
        s, walk = self.settings, self.walks[k]
        return _Job(
            s.degree, k, self.part, s.seed, self.temperatures[k],
            None if walk is None else walk["triangles"],
            0 if walk is None else walk["stale"],
            s.flips, s.restart, seconds, 0, s.targets == "p", self.seen, self.judged,
            None if self.targets is None else sorted(map(str, self.targets)),
            sorted(found), self.best_p,
        )  # fmt: skip

    def take(self, k: int, value: dict[str, Any], before: float) -> list[tuple[Witness, float]]:
        self.walks[k] = {name: value[name] for name in ("triangles", "stale", "worth")}
        self.judged += value["judged"]
        self.best_p = max(self.best_p, value["best_p"])
        for name, count in value["seen"].items():
            self.seen[name] = self.seen.get(name, 0) + count
        found: list[tuple[Witness, float]] = []
        for row in value["found"]:
            made = Triangulation(
                self.settings.degree, tuple((t[0], t[1], t[2]) for t in row["triangles"])
            ).with_heights(row["heights"])
            scheme = scheme_of(made, read_signs(made, row["signs"]))
            if str(scheme) != row["scheme"]:
                raise TCurveError(
                    f"a walk reported {row['scheme']} for signs that give {scheme}; its worker is "
                    "not to be trusted, and nothing of this slice was kept."
                )
            found.append(
                (Witness(scheme, made, row["signs"], row["count"]), before + row["second"])
            )
        return found

    def exchange(self) -> None:
        """Let walks at neighbouring temperatures change places, by Metropolis' rule."""
        rng = random.Random(derive_seed(self.settings.seed, "exchange", self.part))
        for a in range(len(self.walks) - 1):
            one, two = self.walks[a], self.walks[a + 1]
            colder, warmer = self.temperatures[a], self.temperatures[a + 1]
            gain = (two["worth"] - one["worth"]) * (1 / colder - 1 / warmer)
            if gain >= 0 or rng.random() < math.exp(gain):
                self.walks[a], self.walks[a + 1] = two, one

    def save(self, new: list[tuple[Witness, float]]) -> None:
        self.database.add(
            new,
            search={
                "temperatures": self.temperatures,
                "walks": self.walks,
                "seen": self.seen,
                "judged": self.judged,
                "seconds": self.seconds,
                "part": self.part,
                "best_p": self.best_p,
            },
        )

    def finish(self) -> SearchResult:
        run, s = self.run, self.settings
        witnesses = self.database.witnesses()
        times = self.database.schemes()
        missing = self.missing(times)
        self.database.close()
        if not witnesses:
            raise RunError("the search ended before its first census; give it a longer budget.")
        parts = [
            scheme_part(w.triangulation, read_signs(w.triangulation, w.signs), w.scheme)
            for w in witnesses
        ]
        certificate = write_certificate(run.path / "certificate.json", parts)
        progress_svg = run.write("figures/progress.svg", _progress(sorted(times.values()), s))
        sheet = run.write(
            "figures/sheet.svg",
            curve_sheet([(w.triangulation, w.signs, w.scheme) for w in witnesses[-330:]]),
        )
        result = SearchResult(
            s.degree, tuple(witnesses), tuple(missing), self.seconds, self.judged,
            self.best_p if s.targets == "p" else None, run.path, certificate,
        )  # fmt: skip
        append_record(
            run.path / "records.jsonl",
            question=f"Which schemes of degree {s.degree} do random starts and flips reach?",
            configuration=to_plain(s),
            seed=s.seed,
            samples={
                "found": len(witnesses),
                "missing": [str(m) for m in missing],
                "seconds_of_finding": sorted(times.values()),
                "judged": self.judged,
                "best_p": result.best_p,
            },
            wall_seconds=self.seconds,
        )
        sections: list[Section] = [
            result.table(),
            Picture(progress_svg.read_bytes(), "Schemes found over the time searched."),
            Picture(sheet.read_bytes(), "One curve a scheme (the last 330), coloured by depth."),
            Text("Missing: " + (", ".join(map(str, missing)) or "none of the targets")),
        ]
        write_report(
            run.path / "report.html",
            f"Search of degree {s.degree}",
            sections,
            f"Check it: extremal verify {certificate}",
        )
        run.write_json("result.json", result.as_json())
        return result


def _progress(seconds: list[float], settings: SearchConfig) -> bytes:
    figure, axes = new_figure(6.0, 3.2)
    axes.step([max(0.5, x) for x in seconds], range(1, len(seconds) + 1), where="post")
    if settings.degree <= 7 and settings.targets == "all":
        axes.axhline(
            len(known_schemes(settings.degree)), color="#888888", linestyle="--", linewidth=1
        )
    axes.set_xscale("log")
    axes.set_xlabel("seconds")
    axes.set_ylabel("schemes found")
    return figure_bytes(figure)
