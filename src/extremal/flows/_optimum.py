"""The verb `optimum`: the quickest flow, and what selfish routing costs beside it.

The largest amount that can arrive by time T is that of a temporally repeated flow, max over static
flows x of T |x| - sum of transit * x (Ford, Fulkerson 1962); it is piecewise linear in T with the
distances of successive shortest paths as breakpoints.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.lab import Run, Table, command, rational, resolve, to_plain

from ._equilibrium import NashFlow
from ._inflow import Inflow
from ._long_run import cost_slopes
from ._nash import as_text, nash, situation
from ._network import Journey, Network
from ._numbers import short

KIND = "flows/optimum"


@dataclass(frozen=True)
class OptimumOptions:
    """What `optimum` compares."""

    source: str | None = None
    """Where agents depart; shipped networks know theirs."""
    sink: str | None = None
    """Where they want to go."""
    inflow: str | None = None
    """Rate at the source, for the equilibrium."""
    volume: str | None = None
    """How much has to arrive; by default all that ever departs."""
    braess: bool = False
    """Also close each arc in turn and look whether the equilibrium completes earlier."""


@dataclass(frozen=True)
class Closure:
    """The equilibrium without an arc.

    Attributes:
        arc: Its name.
        completion: When the last agent arrives; None if the sink is out of reach.
    """

    arc: str
    completion: Fraction | None


@dataclass(frozen=True)
class Optimum:
    """The quickest flow beside the equilibrium.

    Attributes:
        volume: How much has to arrive.
        quickest: The earliest time by which it can.
        completion: When the equilibrium has brought it.
        price_of_anarchy: completion / quickest.
        closures: The equilibrium without each arc, where asked for.
        flow: The equilibrium.
        path: The run folder, if any.
    """

    volume: Fraction
    quickest: Fraction
    completion: Fraction
    price_of_anarchy: Fraction
    closures: tuple[Closure, ...]
    flow: NashFlow
    path: Path | None = None

    @property
    def braess_arcs(self) -> tuple[str, ...]:
        """Arcs without which everyone has arrived earlier, the best closure first."""
        better = [c for c in self.closures if c.completion is not None
                  and c.completion < self.completion]  # fmt: skip
        return tuple(c.arc for c in sorted(better, key=lambda c: c.completion or 0))

    def table(self) -> Table:
        """Return the comparison, a closure a line."""
        rows: list[list[str | float | None]] = [
            ["quickest flow", short(self.quickest), None],
            ["equilibrium", short(self.completion), short(self.price_of_anarchy)],
        ]
        for c in self.closures:
            late = c.completion
            cells = [None, None] if late is None else [short(late), short(late / self.quickest)]
            rows.append([f"equilibrium without {c.arc}", *cells])
        title = f"{short(self.volume)} units {self.flow.source} -> {self.flow.sink}"
        return Table(["flow", "completed", "price of anarchy"], rows, title=title)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; fractions as text."""
        return {
            "volume": str(self.volume),
            "quickest": str(self.quickest),
            "completion": str(self.completion),
            "price_of_anarchy": str(self.price_of_anarchy),
            "braess_arcs": list(self.braess_arcs),
            "closures": {
                c.arc: None if c.completion is None else str(c.completion) for c in self.closures
            },
            "path": None if self.path is None else str(self.path),
        }


@command(options=OptimumOptions, inputs=("network",), flags=("out", "force"))
def optimum(
    network: Network | Path | str,
    *,
    config: OptimumOptions | None = None,
    out: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Optimum:
    """Compare the equilibrium with the quickest flow: price of anarchy, arcs better closed.

    Args:
        network: As for `nash`.
        config: The options whole.
        out: Folder for the answer and the certificate of the equilibrium.
        force: Replace the run in `out`.
        **options: Fields of `OptimumOptions`.

    Returns:
        Completion times, exact.

    Raises:
        ValueError: No volume is given and the inflow does not stop.

    Example:
        >>> found = optimum("braess", volume=100)
        >>> found.quickest, found.price_of_anarchy
        (Fraction(155, 1), Fraction(37, 31))
    """
    notes: list[str] = []
    chosen = resolve(OptimumOptions, config, as_text(options, notes))
    trip, inflow = situation(network, chosen.source, chosen.sink, chosen.inflow, notes)
    trip = replace(trip, network=trip.network.without_limits())
    volume = _volume(chosen.volume, inflow)
    last = inflow.time_of(volume)
    if last is None:
        raise ValueError(f"the inflow never brings the volume {volume}; give a smaller one.")
    flow = nash(trip.network, source=trip.source, sink=trip.sink, inflow=inflow, horizon=last)
    quickest = quickest_time(trip, volume)
    completion = flow.arrival(last)
    closures = _closures(trip, inflow, last) if chosen.braess else ()
    found = Optimum(volume, quickest, completion, completion / quickest, closures, flow)
    if out is None:
        return found
    with Run.create(out, kind=KIND, config=to_plain(chosen), force=force) as run:
        flow.save(run.path)
        found = replace(found, path=run.path)
        run.write_json("result.json", found.as_json())
    return found


def quickest_time(trip: Journey, volume: Fraction) -> Fraction:
    """Return the least time by which a volume, all at the source at 0, can have arrived."""
    net = trip.network
    where = {n: i for i, n in enumerate(net.nodes)}
    arcs = [(where[a.tail], where[a.head], a.capacity, a.transit) for a in net.arcs]
    steps = cost_slopes(len(net.nodes), where[trip.source], where[trip.sink], arcs)
    return _quickest(steps, volume)


def _quickest(steps: Sequence[tuple[Fraction, Fraction]], volume: Fraction) -> Fraction:
    """Solve sum of width * max(0, T - distance) = volume for T."""
    width, weighted = Fraction(0), Fraction(0)
    for i, (more, distance) in enumerate(steps):
        width += more
        weighted += more * distance
        time = (volume + weighted) / width
        if i + 1 == len(steps) or time <= steps[i + 1][1]:
            return time
    raise AssertionError("a journey has a route")


def _volume(text: str | None, inflow: Inflow) -> Fraction:
    if text is not None:
        volume = rational(text)
        if volume <= 0:
            raise ValueError(f"the volume is {volume}; it must be above 0.")
        return volume
    start, rate = inflow.steps[-1]
    if rate > 0:
        raise ValueError("the inflow does not stop, so say how much has to arrive: volume=.")
    return inflow.volume(start)


def _closures(trip: Journey, inflow: Inflow, last: Fraction) -> tuple[Closure, ...]:
    found: list[Closure] = []
    for arc in trip.network.arcs:
        rest = trip.network.with_arcs(a for a in trip.network.arcs if a.name != arc.name)
        try:
            flow = nash(rest, source=trip.source, sink=trip.sink, inflow=inflow, horizon=last)
        except ValueError:  # the only route led over it
            found.append(Closure(arc.name, None))
            continue
        found.append(Closure(arc.name, flow.arrival(last)))
    return tuple(found)
