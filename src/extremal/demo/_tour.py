"""Runs the stops of the tour, checks each answer, and writes one table and one report."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from extremal import verify
from extremal.lab import Run, Section, Table, Text, command, resolve, to_plain, write_report


@dataclass(frozen=True, slots=True)
class Options:
    """What the tour shows."""

    seed: int = 0
    """Of every run of the tour."""
    epochs: int = 12
    """Of the dense training; pruned networks are retrained for half as many."""


@dataclass(frozen=True, slots=True)
class Stop:
    """One answer of the tour.

    Attributes:
        area: Whose it is.
        question: What was asked.
        answer: In a few words.
        certificate: The file that `extremal verify` checks.
        seconds: How long the answer took.
        sections: What the report shows of it.
    """

    area: str
    question: str
    answer: str
    certificate: Path
    seconds: float
    sections: Sequence[Section]


@dataclass(frozen=True, slots=True)
class Demo:
    """The whole tour.

    Attributes:
        stops: Its answers, in order.
        verdicts: What the independent checkers say of each.
        path: The run folder; `report.html` lies in it.
        seconds: How long it took.
    """

    stops: tuple[Stop, ...]
    verdicts: tuple[verify.Verdict, ...]
    path: Path
    seconds: float

    @property
    def exit_code(self) -> int:
        """0 if every certificate was accepted, else 1."""
        return 0 if all(v.accepted for v in self.verdicts) else 1

    def table(self) -> Table:
        """Return a row for each answer."""
        rows = [
            [
                stop.area,
                stop.question,
                stop.answer,
                " + ".join(dict.fromkeys(part.strength for part in verdict.parts)),
                verdict.status,
                round(stop.seconds, 1),
            ]
            for stop, verdict in zip(self.stops, self.verdicts, strict=True)
        ]
        return Table(
            ["area", "question", "answer", "strength", "verified", "seconds"],
            rows,
            title=f"{self.seconds:.0f} s in all; pictures: {self.path / 'report.html'}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the table as plain values."""
        return {
            "seconds": self.seconds,
            "report": str(self.path / "report.html"),
            "stops": [
                {
                    "area": stop.area,
                    "question": stop.question,
                    "answer": stop.answer,
                    "certificate": str(stop.certificate),
                    "seconds": stop.seconds,
                    "verdict": verdict.as_json(),
                }
                for stop, verdict in zip(self.stops, self.verdicts, strict=True)
            ],
        }


@command(options=Options, flags=("out", "force"))
def demo(
    *,
    config: Options | None = None,
    out: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Demo:
    """Show the main job and one checkable answer from every area, on embedded data.

    Args:
        config: The options whole.
        out: The run folder; default `runs/demo`.
        force: Replace an earlier tour there.
        options: Fields of `Options`.

    Returns:
        The answers with the verdicts of the independent checkers.

    Raises:
        RunError: The folder exists and `force` was not given.

    Cost: about a minute on two cores.
    """
    from ._areas import other_areas
    from ._main_job import main_job

    chosen = resolve(Options, config, options)
    start = time.perf_counter()
    folder = Path(out or "runs/demo")
    with Run.create(folder, kind="demo", config=to_plain(chosen), force=force) as run:
        stops = (*main_job(run.path, chosen.seed, chosen.epochs), *other_areas(run.path))
        verdicts = tuple(verify.file(stop.certificate) for stop in stops)
        done = Demo(stops, verdicts, run.path, time.perf_counter() - start)
        run.write_json("answers.json", done.as_json())
        sections: list[Section] = [replace(done.table(), title=f"{done.seconds:.0f} s in all")]
        for stop in stops:
            sections += stop.sections
        sections.append(Text("What the checkers said", heading=True))
        sections += [Text(v.as_text()) for v in verdicts]
        write_report(
            run.path / "report.html",
            "extremal: a tour",
            sections,
            footer="Each certificate can be checked again with: extremal verify FILE",
        )
    return done
