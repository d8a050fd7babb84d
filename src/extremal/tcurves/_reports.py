"""Run folders of this area: tables, certificates, pictures, reports."""

from dataclasses import replace

import numpy as np

from extremal.lab import (
    Picture,
    Run,
    Section,
    Text,
    append_record,
    figure_bytes,
    new_figure,
    write_certificate,
    write_report,
)

from ._census import Census
from ._certify import census_part
from ._draw import draw
from ._polynomial import polynomial
from ._shipped import as_plain


def save_census(run: Run, found: Census) -> Census:
    """Write a census into its run folder and return it with the paths."""
    certificate = write_certificate(run.path / "certificate.json", [census_part(found)])
    run.write_json("triangulation.json", as_plain(found.triangulation))
    curve = run.write("figures/most-ovals.svg", _most_ovals(found))
    histogram = run.write("figures/counts.svg", _histogram(found))
    append_record(
        run.path / "records.jsonl",
        question="How many sign vectors give each scheme?",
        configuration=run.config,
        seed=None,
        samples={"seconds": found.seconds, "states": found.states, "schemes": len(found)},
        wall_seconds=found.seconds,
    )
    t = found.triangulation
    last = found.entries[-1]
    sections: list[Section] = [
        Text(
            f"Every one of the {found.total:,} sign vectors was counted, in {found.states:,} "
            f"states of the frontier. A scheme that is not listed is reached by no signs on this "
            "triangulation."
            + (
                ""
                if t.heights is not None
                else " No heights are known, so no algebraic curve is guaranteed."
            )
        ),
        Picture(histogram.read_bytes(), "Sign vectors by scheme, in the order of the table."),
        Picture(
            curve.read_bytes(),
            f"A curve with the most ovals, {last.scheme}. Opposite points of the square's boundary "
            "are the same point. Filled points have sign 1; ovals are coloured and regions tinted "
            "by depth, and the pseudo-line of an odd degree is dashed.",
        ),
    ]
    if t.heights is not None:
        sections.append(Text(f"Its polynomial, for small t > 0: {polynomial(t, last.witness)}"))
    write_report(
        run.path / "report.html",
        f"Census of {t.name or 'a triangulation'} (degree {t.degree})",
        [*sections, found.table()],
        f"Check it: extremal verify {run.path / 'certificate.json'}",
    )
    # Written last: a run with this file is finished.
    run.write_json("census.json", found.as_json())
    return replace(found, path=run.path, certificate=certificate)


def _most_ovals(found: Census) -> str:
    best = found.entries[-1]
    return draw(found.triangulation, signs=best.witness).svg


def _histogram(found: Census) -> bytes:
    figure, axes = new_figure(7.0, 3.2)
    counts = np.array([e.count for e in found.entries], float)
    # A bar a scheme; many of them make a step curve.
    axes.bar(np.arange(len(counts)), counts, width=0.9, log=True)
    axes.set_xlabel("scheme, by number of ovals")
    axes.set_ylabel("sign vectors")
    ovals = [e.scheme.ovals for e in found.entries]
    starts = [k for k in range(len(ovals)) if k == 0 or ovals[k] != ovals[k - 1]]
    step = max(1, len(starts) // 12)
    axes.set_xticks(starts[::step], [str(ovals[k]) for k in starts[::step]])
    axes.margins(x=0.01)
    return figure_bytes(figure)
