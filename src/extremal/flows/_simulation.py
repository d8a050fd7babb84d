"""The verb `simulate`: fluid, packets or MATSim-like vehicles on given routes."""

import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from extremal.lab import Run, Table, command, rational, resolve, to_plain

from ._equilibrium import NashFlow
from ._errors import FlowsError
from ._inflow import Inflow
from ._loading import FluidLoading, load_fluid
from ._matsim import LinkRules, load_vehicles
from ._nash import as_text, load, nash
from ._network import Network
from ._packets import (
    Loaded,
    RouteInflow,
    as_demand,
    check_routes,
    discretise,
    load_packets,
    plan,
    releases,
    spread,
)

KIND = "flows/simulate"
MODELS = ("packet", "fluid", "matsim")


@dataclass(frozen=True)
class SimulateOptions:
    """What `simulate` loads, and how."""

    model: str = "packet"
    """packet (discrete steps and packets), fluid (exact), or matsim (storage and nodes)."""
    demand: str | None = None
    """JSON file with a list of {"route": [arc, …], "inflow": "0:2, 3:0"}; by default agents take
    the routes of the Nash flow over time."""
    source: str | None = None
    """Of the Nash flow; shipped networks know theirs."""
    sink: str | None = None
    """Of the Nash flow."""
    inflow: str | None = None
    """Of the Nash flow."""
    until: str = "100"
    """Departures after this time are left out."""
    step: str = "1/4"
    """Length alpha of a step."""
    packet: str | None = None
    """Volume beta of a packet; by default alpha squared."""
    release: str = "late"
    """late: a packet starts when it is complete; early: one step before."""
    node: str = "proportional"
    """Node rule of matsim: proportional or random."""
    overfill: bool = True
    """matsim: grant space while used < storage, so that part of a vehicle may stand over."""
    seed: int = 0
    """For the random node rule."""

    def __post_init__(self) -> None:
        """Check the names."""
        if self.model not in MODELS:
            raise ValueError(f"model={self.model!r} is no model; choose {', '.join(MODELS)}.")
        if self.release not in ("late", "early"):
            raise ValueError(f"release={self.release!r} is unknown; choose late or early.")


@dataclass(frozen=True)
class Simulation:
    """A loading of packets or vehicles; times are multiples of the step.

    Attributes:
        model: `"packet"` or `"matsim"`.
        network: It was loaded into.
        step: alpha.
        packet: beta.
        routes: Names of arcs.
        route_of: Route of each packet, in order of release.
        release: Step of each packet's release.
        loaded: Arrivals, and every move.
        held: Most vehicles a link held, for `"matsim"`.
        notes: For people.
        path: The run folder, if any.
        seconds: How long loading took.
    """

    model: str
    network: Network
    step: Fraction
    packet: Fraction
    routes: tuple[tuple[str, ...], ...]
    route_of: np.ndarray
    release: np.ndarray
    loaded: Loaded
    held: np.ndarray | None = None
    notes: tuple[str, ...] = ()
    path: Path | None = None
    seconds: float = 0.0

    @property
    def departures(self) -> np.ndarray:
        """When each packet was released."""
        return self.release * float(self.step)

    @property
    def arrivals(self) -> np.ndarray:
        """When each packet arrived."""
        return self.loaded.arrival * float(self.step)

    @property
    def travel_times(self) -> np.ndarray:
        """How long each packet was on its way."""
        return (self.loaded.arrival - self.release) * float(self.step)

    @property
    def link_moves(self) -> int:
        """How many arcs were left, over all packets."""
        return int(self.loaded.offset[-1])

    def entries(self, arc: str) -> np.ndarray:
        """Return when packets entered an arc, in order."""
        e = self.network.index(arc)
        return self.loaded.entry[self.loaded.offset[e] : self.loaded.offset[e + 1]] * float(
            self.step
        )

    def exits(self, arc: str) -> np.ndarray:
        """Return when packets left an arc, in order."""
        e = self.network.index(arc)
        return self.loaded.exit[self.loaded.offset[e] : self.loaded.offset[e + 1]] * float(
            self.step
        )

    def route_departures(self, times: np.ndarray) -> np.ndarray:
        """Return the volume released on each route by each time, routes x times."""
        steps = np.floor(times / float(self.step) + 1e-9)
        rows = [
            np.searchsorted(self.release[self.route_of == r], steps, side="right")
            for r in range(len(self.routes))
        ]
        return np.array(rows) * float(self.packet)

    def moves(self) -> Iterator[tuple[tuple[str, ...], list[float]]]:
        """Yield for each packet its arcs, and the times of entering them and of arrival."""
        n, done = len(self.route_of), self.loaded
        left = np.full((len(self.network.arcs), n), -1, np.int64)
        for e in range(len(self.network.arcs)):
            span = slice(done.offset[e], done.offset[e + 1])
            left[e, done.packet[span]] = done.exit[span]
        place = {a.name: e for e, a in enumerate(self.network.arcs)}
        step = float(self.step)
        for i in range(n):
            arcs = self.routes[self.route_of[i]]
            times = [self.release[i] * step, *(left[place[a], i] * step for a in arcs)]
            yield arcs, [float(t) for t in times]

    def table(self) -> Table:
        """Return a row for each route."""
        rows: list[list[str | float | int | None]] = []
        for r, arcs in enumerate(self.routes):
            mine = self.travel_times[self.route_of == r]
            if mine.size:
                cells = [int(mine.size), float(mine.mean()), float(mine.max())]
                rows.append([" ".join(arcs), *cells])
        title = (
            f"{self.model}: {len(self.route_of)} packets of {self.packet}, step {self.step}, "
            f"{self.link_moves:,} link moves in {self.seconds:.3g} s"
        )
        notes = "".join(f"\nnote: {n}" for n in self.notes)
        return Table(["route", "packets", "mean travel time", "longest"], rows, title=title + notes)

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "model": self.model,
            "step": str(self.step),
            "packet": str(self.packet),
            "packets": len(self.route_of),
            "link_moves": self.link_moves,
            "mean_travel_time": float(self.travel_times.mean()) if len(self.route_of) else None,
            "seconds": self.seconds,
            "routes": [list(r) for r in self.routes],
            "path": None if self.path is None else str(self.path),
        }


@command(options=SimulateOptions, inputs=("network",), flags=("out", "force"))
def simulate(
    network: Network | Path | str,
    *,
    demand: Sequence[Any] | NashFlow | str | None = None,
    config: SimulateOptions | None = None,
    out: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Simulation | FluidLoading:
    """Load flow, packets or vehicles on fixed routes.

    Args:
        network: As for `nash`.
        demand: `RouteInflow`s or pairs (arcs, inflow); a `NashFlow`, whose routes are taken; or a
            JSON file. By default the Nash flow of the options is computed.
        config: The options whole.
        out: Folder for trajectories (MATSim events), network and a summary.
        force: Replace the run in `out`.
        **options: Fields of `SimulateOptions`.

    Returns:
        A `Simulation`, or for `model="fluid"` a `FluidLoading`.

    Raises:
        ValueError: A route is not connected, a step is not above 0, an inflow never stops.

    Example:
        >>> run = simulate("braess", step="1/4", until=20)
        >>> len(run.route_of), float(run.arrivals[0])
        (320, 25.25)
    """
    notes: list[str] = []
    if isinstance(demand, str):
        options["demand"] = demand
    if "until" in options:
        options["until"] = str(rational(options["until"], notes))
    chosen = resolve(SimulateOptions, config, as_text(options, notes))
    until, step = rational(chosen.until), rational(chosen.step)
    packet = step * step if chosen.packet is None else rational(chosen.packet)
    if step <= 0 or packet <= 0:
        raise ValueError(f"step={step} and packet={packet} must be above 0.")
    net = load(network)
    given: Any = demand
    if chosen.demand is not None:
        given = read_demand(chosen.demand)
    if given is None:
        given = nash(network, source=chosen.source, sink=chosen.sink, inflow=chosen.inflow,
                     horizon=until)  # fmt: skip
    if isinstance(given, NashFlow):
        notes += given.notes
        net = given.network if chosen.model != "matsim" else _like(net, given.network)
        shares = nash_demand(given, until)
    else:
        shares = [replace(d, inflow=stopped(d.inflow, until)) for d in as_demand(given)]
    if chosen.model == "fluid":
        found: Simulation | FluidLoading = load_fluid(net, shares)
    else:
        early = chosen.release == "early"
        if isinstance(given, NashFlow):
            supply = stopped(given.inflow, until)
            routes = check_routes(net, [d.arcs for d in shares])
            release = releases(supply, step, packet, None, early)
            route_of = shared(shares, supply, packet, len(release))
        else:
            routes, route_of, release = spread(net, shares, step, packet, None, early)
        names = tuple(d.arcs for d in shares)
        found = run_packets(
            net, routes, names, route_of, release, step, packet, chosen.model,
            LinkRules(node=chosen.node, overfill=chosen.overfill), chosen.seed, notes,
        )  # fmt: skip
    if out is None:
        return found
    with Run.create(out, kind=KIND, config=to_plain(chosen), force=force) as run:
        from ._write import write_events, write_json

        write_json(net, run.path / "network.json")
        if isinstance(found, Simulation):
            found = replace(found, path=run.path)
            write_events(found, run.path / "events.xml")
        run.write_json("result.json", found.as_json())
    return found


def run_packets(
    network: Network,
    routes: Sequence[Sequence[int]],
    names: tuple[tuple[str, ...], ...],
    route_of: np.ndarray,
    release: np.ndarray,
    step: Fraction,
    packet: Fraction,
    model: str,
    rules: LinkRules,
    seed: int,
    notes: Sequence[str] = (),
) -> Simulation:
    """Load packets on routes given as places of arcs."""
    grid, how = discretise(network, step, packet), plan(len(network.arcs), routes)
    held: np.ndarray | None = None
    begun = time.perf_counter()
    if model == "matsim":
        loaded, held = load_vehicles(
            network, grid, how, route_of, release, step, packet, rules, seed
        )
    else:
        loaded = load_packets(grid, how, route_of, release)
    seconds = time.perf_counter() - begun
    return Simulation(
        model, network, step, packet, names, route_of, release, loaded, held, tuple(notes), None,
        seconds,
    )  # fmt: skip


def nash_demand(flow: NashFlow, until: Fraction | int) -> list[RouteInflow]:
    """Return the routes of a Nash flow with their inflow up to a time.

    Routes are split off phase by phase, as `NashFlow.routes` does; where they are not unique this
    is one choice.
    """
    until = Fraction(until)
    exact = flow if flow.arithmetic == "exact" or flow.network.spills else flow.certified()
    if exact.until is not None and exact.until < until:
        raise ValueError(
            f"the Nash flow is known for departures up to {exact.until}, and {until} is asked for; "
            "raise its horizon or phase limit."
        )
    steps: dict[tuple[str, ...], list[tuple[Fraction, Fraction]]] = {}
    for phase in exact.phases:
        if phase.start >= until:
            break
        rates = {r.arcs: r.rate for r in exact.routes(phase.start)}
        for arcs in (*steps, *(a for a in rates if a not in steps)):
            steps.setdefault(arcs, []).append((phase.start, rates.get(arcs, Fraction(0))))
    found: list[RouteInflow] = []
    for arcs, rows in steps.items():
        thin = [r for k, r in enumerate(rows) if k == 0 or r[1] != rows[k - 1][1]]
        found.append(RouteInflow(arcs, stopped(Inflow(tuple(thin)), until)))
    return found


def stopped(inflow: Inflow, until: Fraction) -> Inflow:
    """Return the same inflow with nothing after a time."""
    if inflow.steps[-1][1] == 0 and inflow.steps[-1][0] <= until:
        return inflow
    steps = [s for s in inflow.steps if s[0] < until]
    return Inflow((*steps, (until, Fraction(0))))


def shared(
    shares: Sequence[RouteInflow], supply: Inflow, packet: Fraction, count: int
) -> np.ndarray:
    """Give packets of one supply to routes: each to the route furthest behind its share."""
    times = _supply_times(supply, packet, count)
    wanted = np.array([_volumes(d.inflow, times) for d in shares]) / float(packet)
    return _assign(wanted)


def _assign(wanted: np.ndarray) -> np.ndarray:
    got = np.zeros(len(wanted))
    route_of = np.empty(wanted.shape[1], np.int32)
    for i in range(wanted.shape[1]):
        r = int(np.argmax(wanted[:, i] - got))
        got[r] += 1
        route_of[i] = r
    return route_of


def _supply_times(supply: Inflow, packet: Fraction, count: int) -> np.ndarray:
    marks = [float(s) for s, _ in supply.steps]
    volumes = [float(supply.volume(s)) for s, _ in supply.steps]
    return np.interp(np.arange(1, count + 1) * float(packet), volumes, marks)


def _volumes(inflow: Inflow, times: np.ndarray) -> np.ndarray:
    """Volume supplied by each time; the inflow stops."""
    marks = [float(s) for s, _ in inflow.steps]
    volumes = [float(inflow.volume(s)) for s, _ in inflow.steps]
    return np.interp(times, marks, volumes)


def read_demand(path: Path | str) -> list[RouteInflow]:
    """Read a JSON list of {"route": [arc, …], "inflow": "0:2, 3:0", "name": …}.

    Raises:
        FlowsError: It is not such a list.
    """
    try:
        rows = json.loads(Path(path).read_text())
        return [
            RouteInflow(tuple(r["route"]), Inflow.of(str(r["inflow"])), str(r.get("name", "")))
            for r in rows
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise FlowsError(
            f'{path} is no demand: {error}; write a JSON list of {{"route": [arcs], "inflow": '
            '"0:2, 3:0"}}.'
        ) from error


def _like(whole: Network, cut: Network) -> Network:
    """The cut network with the storages that the whole one has."""
    known = {a.name: a for a in whole.arcs}
    return cut.with_arcs(known.get(a.name, a) for a in cut.arcs)
