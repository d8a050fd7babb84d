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


def _coloring(folder: Path) -> Stop:
    """Seven colours for the plane, from nothing."""
    from extremal import coloring

    begun = time.perf_counter()
    found = coloring.find(coloring.Problem.plane(7), budget="60s", grid=24, out=folder / "coloring")
    assert found.certificate is not None  # the search is deterministic and succeeds
    low, high = next((a, b) for a, b in found.spectrum(0).intervals if a <= 1 <= b)
    return Stop(
        "coloring",
        "Do seven colours suffice for the plane?",
        f"yes: {found.colouring.cells.size} cells, repeated, have no two points of one colour at "
        f"distance 1; colour 0 avoids all of [{low:.3f}, {high:.3f}]",
        found.certificate,
        time.perf_counter() - begun,
        [
            Text("Colours of the plane", heading=True),
            Picture(
                (folder / "coloring" / "figures" / "colouring.png").read_bytes(),
                "Three periods; points on the circle are at distance 1 from its centre.",
            ),
        ],
    )


_ANSWERS: tuple[Callable[[Path], Stop], ...] = (_flows, _tcurves, _coloring)
