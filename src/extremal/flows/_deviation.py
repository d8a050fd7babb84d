"""How far a simulation is from the equilibrium it should approach.

Two means per run: over grid times and routes of |cumulative departures - those of the Nash flow| in
volume, and over packets of |travel time - that of the Nash flow at the same departure| in time.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ._equilibrium import NashFlow
from ._packets import RouteInflow
from ._simulation import Simulation, _volumes, nash_demand


@dataclass(frozen=True)
class Deviation:
    """Distances of one run from the equilibrium.

    Attributes:
        volume: Mean over grid times and routes of the difference in cumulative departures.
        time: Mean over packets of the difference in travel time.
        longest: Largest difference in travel time.
    """

    volume: float
    time: float
    longest: float


@dataclass(frozen=True)
class Reference:
    """The equilibrium as a simulation is compared with it.

    Attributes:
        routes: Names of arcs.
        volumes: Cumulative departures, routes x grid times.
        times: The grid.
        marks: Departure times between which the travel time is linear.
        travel: Travel times there.
    """

    routes: tuple[tuple[str, ...], ...]
    volumes: np.ndarray
    times: np.ndarray
    marks: np.ndarray
    travel: np.ndarray

    def travel_time(self, departures: np.ndarray) -> np.ndarray:
        """Return the equilibrium's travel time at departures up to the horizon."""
        return np.interp(departures, self.marks, self.travel)


def reference(flow: NashFlow, until: Fraction, step: Fraction) -> Reference:
    """Put an equilibrium on the grid of a simulation.

    Args:
        flow: Known at least until then.
        until: Last departure.
        step: Of the grid.
    """
    demand: Sequence[RouteInflow] = nash_demand(flow, until)
    times = np.arange(int(until / step) + 1) * float(step)
    volumes = np.array([_volumes(d.inflow, times) for d in demand])
    ends = [p.start for p in flow.phases if p.start < until] + [until]
    marks = np.array([float(t) for t in ends])
    last = flow.label_curve(flow.sink)
    first = flow.label_curve(flow.source)
    if flow.network.spills:  # agents are held at the source: compare over the time they want to go
        travel = [float(last(t)) - float(t) for t in ends]
    else:
        travel = [float(last(t) - first(t)) for t in ends]
    return Reference(tuple(d.arcs for d in demand), volumes, times, marks, np.array(travel))


def deviation(simulation: Simulation, flow: NashFlow, until: Fraction | int) -> Deviation:
    """Measure a run against an equilibrium.

    Args:
        simulation: Of packets or vehicles from the same source.
        flow: The equilibrium.
        until: Last departure.
    """
    about = reference(flow, Fraction(until), simulation.step)
    return measured(simulation, about)


def measured(simulation: Simulation, about: Reference) -> Deviation:
    """Measure a run against an equilibrium on its grid."""
    curves = simulation.route_departures(about.times)
    gap = curve_gap(dict(zip(simulation.routes, curves, strict=True)), about)
    off = np.abs(simulation.travel_times - about.travel_time(simulation.departures))
    return Deviation(gap, float(off.mean()), float(off.max()))


def curve_gap(curves: dict[tuple[str, ...], np.ndarray], about: Reference) -> float:
    """Return the mean difference of cumulative departures over grid times and routes."""
    zero = np.zeros(len(about.times))
    wanted = dict(zip(about.routes, about.volumes, strict=True))
    routes = {**wanted, **curves}
    off = [np.abs(curves.get(r, zero) - wanted.get(r, zero)) for r in routes]
    return float(np.mean(off))
