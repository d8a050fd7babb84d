"""One short, checkable answer from every area beside the main job."""

import time
from collections.abc import Callable, Iterator
from pathlib import Path

from extremal.lab import Picture, Text

from ._tour import Stop


def other_areas(folder: Path) -> Iterator[Stop]:
    """Yield an answer from each area, in the order of the table below."""
    for answer in _ANSWERS:
        yield answer(folder)


def _flows(folder: Path) -> Stop:
    """Selfish routing on Braess' network; all in rationals, so nothing is compiled."""
    from extremal import flows

    begun = time.perf_counter()
    flow = flows.nash("braess")
    best = flows.optimum("braess", volume=100, braess=True)
    certificate = flow.save(folder / "flows")
    drawn = flows.plot(flow, kind="phases", out=folder / "flows" / "phases.svg", force=True)
    return Stop(
        "flows",
        "When have 100 selfish drivers crossed Braess' network?",
        f"at {best.completion}, a plan needs {best.quickest}: price of anarchy "
        f"{best.price_of_anarchy}; without road {best.braess_arcs[0]} they are faster",
        certificate,
        time.perf_counter() - begun,
        [
            Text("Selfish traffic", heading=True),
            Picture(
                drawn.path.read_bytes(),
                "The four phases of the equilibrium: width says flow, orange roads have a queue.",
            ),
        ],
    )


def _tcurves(folder: Path) -> Stop:
    """Every sextic that one triangulation reaches, and one of them drawn."""
    from extremal import tcurves

    begun = time.perf_counter()
    found = tcurves.census("bat", out=folder / "tcurves")
    assert found.certificate is not None  # it was saved
    entry = found["<5 u 1<5>>"]
    drawn = tcurves.draw(found, scheme=str(entry.scheme))
    return Stop(
        "tcurves",
        "Which sextics does one triangulation reach?",
        f"{len(found)} of the 55, over {found.total:,} sign vectors; {entry.scheme} by "
        f"{entry.count} of them, <10> by none",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Real curves of degree six", heading=True),
            Picture(
                drawn.svg.encode(),
                f"One of the {entry.count} curves with scheme {entry.scheme}; opposite points of "
                "the square's boundary are the same point.",
            ),
        ],
    )


def _interpret(folder: Path) -> Stop:
    """Rules on robots under every Morgana, and what they are worth without one column."""
    from extremal import interpret

    begun = time.perf_counter()
    found = interpret.certify(data="monks", k=3, out=folder / "interpret")
    without = interpret.certify(data="monks", k=3, hide=("jacket",))
    assert found.certificate is not None  # it was saved
    return Stop(
        "interpret",
        "How far can rules on three columns of a table be trusted?",
        f"at least {100 * found.bound:.1f} % precise under every attack; without the jacket "
        f"{without.verdict}",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Explanations with a guarantee", heading=True),
            Text("\n".join(found.sentences())),
            Picture(
                (folder / "interpret" / "figures" / "rates.svg").read_bytes(),
                "How often Merlin, the explainer, convinces, and how often each attack fails.",
            ),
        ],
    )


_ANSWERS: tuple[Callable[[Path], Stop], ...] = (_flows, _tcurves, _interpret)
