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


def _compression(folder: Path) -> Stop:
    """One small network over a region, cut to a third of its cost."""
    from extremal import compression, training

    begun = time.perf_counter()
    aware = training.fit(
        model="cnn", epochs=8, threads=1, optimizer="sfw", region="group-k-support",
        coupled=True, width=10.0, dampening=0.0, momentum_seed="gradient",
    )  # fmt: skip
    small = compression.compress(
        aware, kind="filters", target="3x macs", threads=1, out=folder / "compression"
    )
    assert small.certificate is not None  # it was written
    fewer = small.before["macs"] / small.after["macs"]
    return Stop(
        "compression",
        "How well does a third of a network read digits, without retraining?",
        f"{small.accuracy['recalibrated']:.1%} (whole {small.accuracy['dense']:.1%}) with "
        f"{fewer:.1f} times fewer multiply-accumulates, channels really gone",
        small.certificate,
        time.perf_counter() - begun,
        [
            Text("A smaller network", heading=True),
            small.table(),
            Picture(
                (folder / "compression" / "figures" / "layers.svg").read_bytes(),
                "Cost of each layer before and after its channels were cut out.",
            ),
        ],
    )


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


_ANSWERS: tuple[Callable[[Path], Stop], ...] = (_compression, _flows, _tcurves)
