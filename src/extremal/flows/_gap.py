"""The verb `gap`: how far from equilibrium is somebody's run?

Relative gap = (sum of travel times - sum of best travel times) / sum of best travel times, where
the best is what one agent alone could have done. Of route inflows it is exact: they are loaded as
fluid, and travel times and shortest arrivals are piecewise linear. Of trajectories (ours, MATSim
events, UXsim tables) an arc entered at a is left at max(a + transit, exit of the last vehicle that
entered before).
"""

import csv
import gzip
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import numpy as np

from extremal.lab import Table, command, require, resolve

from ._curves import Curve
from ._errors import FlowsError
from ._loading import FluidLoading, load_fluid
from ._nash import load
from ._network import Network
from ._numbers import short
from ._packets import as_demand
from ._respond import graph_of, respond
from ._simulation import Simulation, read_demand

FORMS = ("auto", "matsim", "uxsim", "demand")


@dataclass(frozen=True)
class GapOptions:
    """What is read."""

    form: str = "auto"
    """matsim (events .xml or .xml.gz), uxsim (.csv of vehicles), demand (.json), or auto."""

    def __post_init__(self) -> None:
        """Check the form."""
        if self.form not in FORMS:
            raise ValueError(f"form={self.form!r} is unknown; choose {', '.join(FORMS)}.")


@dataclass(frozen=True)
class Trajectory:
    """One vehicle.

    Attributes:
        arcs: Names in order.
        times: Of entering each, and of arrival.
        name: Of the vehicle.
    """

    arcs: tuple[str, ...]
    times: tuple[float, ...]
    name: str = ""


@dataclass(frozen=True)
class Gap:
    """The distance of a run from equilibrium.

    Attributes:
        relative: (total - best) / best; exact for route inflows.
        total: Travel time of all.
        best: The same, had each agent alone chosen best.
        rows: Origin, destination, volume or vehicles, total and best of each pair.
        exact: Whether the numbers are rationals.
    """

    relative: Any
    total: Any
    best: Any
    rows: tuple[tuple[str, str, Any, Any, Any], ...]
    exact: bool

    def table(self) -> Table:
        """Return a row for each pair of origin and destination."""
        rows = [
            [a, b, short(n), short(t), short(s), short((t - s) / s if s else 0 * t)]
            for a, b, n, t, s in self.rows
        ]
        rows.append(["all", "", "", short(self.total), short(self.best), short(self.relative)])
        columns = ["from", "to", "agents", "travel time", "best", "relative gap"]
        title = "Equilibrium gap, " + ("exact" if self.exact else "from trajectories")
        return Table(columns, rows, title=title)

    def as_json(self) -> dict[str, Any]:
        """Return plain values; fractions as text."""

        def plain(v: Any) -> Any:
            return str(v) if isinstance(v, Fraction) else v

        return {
            "relative": plain(self.relative),
            "total": plain(self.total),
            "best": plain(self.best),
            "exact": self.exact,
            "pairs": [[a, b, plain(n), plain(t), plain(s)] for a, b, n, t, s in self.rows],
        }


@command(options=GapOptions, inputs=("network", "run"), flags=())
def gap(
    network: Network | Path | str,
    run: Any,
    *,
    config: GapOptions | None = None,
    **options: Any,
) -> Gap:
    """Measure how far a run is from equilibrium.

    Args:
        network: As for `nash`.
        run: A `Simulation`, `Trajectory`s, `RouteInflow`s or pairs (arcs, inflow), a
            `FluidLoading`; or a file: MATSim events, a UXsim table of vehicles, a demand in JSON.
        config: The options whole.
        **options: Fields of `GapOptions`.

    Returns:
        The gap, in all and for each pair of origin and destination.

    Raises:
        FlowsError: The file is malformed, or names arcs that the network does not have.

    Example:
        >>> from extremal.flows import nash, nash_demand
        >>> flow = nash("braess", horizon=100)
        >>> gap("braess", nash_demand(flow, 100)).relative
        Fraction(0, 1)
    """
    chosen = resolve(GapOptions, config, options)
    net = load(network)
    if isinstance(run, (str, Path)):
        run = _read(net, Path(run), chosen.form)
    if isinstance(run, Simulation):
        return _of_simulation(run)
    if isinstance(run, FluidLoading):
        return _of_fluid(run)
    items = list(run)
    if items and isinstance(items[0], Trajectory):
        return _of_trajectories(net, items)
    return _of_fluid(load_fluid(net, as_demand(items)))


def _read(net: Network, path: Path, form: str) -> Any:
    if form == "auto":
        form = {".json": "demand", ".csv": "uxsim"}.get(path.suffix, "matsim")
    if form == "demand":
        return read_demand(path)
    return read_uxsim(path, net) if form == "uxsim" else read_events(path, net)


def _of_fluid(loading: FluidLoading) -> Gap:
    net = loading.network
    rows: dict[tuple[str, str], list[Any]] = {}
    best_of: dict[str, dict[str, Curve]] = {}
    for commodity in loading.demand:
        origin = net.arc(commodity.arcs[0]).tail
        target = net.arc(commodity.arcs[-1]).head
        end = commodity.inflow.steps[-1][0]
        if origin not in best_of:
            best_of[origin] = _earliest(net, loading.exits, origin)
        own: Curve = Curve((Fraction(0),), (Fraction(0),), 1)
        for name in commodity.arcs:
            own = _through(loading.exits[name], own)
        best = best_of[origin][target]
        total = ideal = Fraction(0)
        for (start, rate), (stop, _) in pairwise(commodity.inflow.steps):
            if rate:
                waited = (stop * stop - start * start) / 2
                total += rate * (own.integral(start, stop) - waited)
                ideal += rate * (best.integral(start, stop) - waited)
        row = rows.setdefault((origin, target), [Fraction(0)] * 3)
        row[0] += commodity.inflow.volume(end)
        row[1] += total
        row[2] += ideal
    return _summed(rows, exact=True)


def _earliest(net: Network, exits: dict[str, Curve], origin: str) -> dict[str, Curve]:
    """Earliest arrivals at all nodes over the departure, by relaxing arcs until stable."""
    known: dict[str, Curve] = {origin: Curve((Fraction(0),), (Fraction(0),), 1)}
    for _ in net.nodes:
        changed = False
        for arc in net.arcs:
            if arc.tail not in known or arc.head == origin:
                continue
            through = _through(exits[arc.name], known[arc.tail])
            if arc.head not in known:
                known[arc.head], changed = through, True
                continue
            least = _minimum(known[arc.head], through)
            if least != known[arc.head]:
                known[arc.head], changed = least, True
        if not changed:
            break
    return known


def _through(exits: Curve, label: Curve) -> Curve:
    """The label behind an arc: exit times after arrivals at its tail."""
    marks = set(label.times)
    for t in exits.times:
        if t > label.values[0]:
            at = label.inverse(t)
            if at is not None:
                marks.add(at)
    points = [(t, exits(label(t))) for t in sorted(marks)]
    return Curve.through(points, label.slope * exits.slope)


def _minimum(a: Curve, b: Curve) -> Curve:
    marks = sorted(set(a.times) | set(b.times))
    marks.append(marks[-1] + 1)
    found: list[tuple[Any, Any]] = []
    for t, u in pairwise(marks):
        found.append((t, min(a(t), b(t))))
        before, after = a(t) - b(t), a(u) - b(u)
        if before * after < 0:
            cross = t + (u - t) * before / (before - after)
            found.append((cross, a(cross)))
    last = marks[-1]
    found.append((last, min(a(last), b(last))))
    lower = a if (a(last), a.slope) <= (b(last), b.slope) else b
    other = b if lower is a else a
    if other.slope < lower.slope:  # they cross once more
        cross = last + (other(last) - lower(last)) / (lower.slope - other.slope)
        found.append((cross, lower(cross)))
        lower = other
    return Curve.through(found, lower.slope)


def _of_simulation(run: Simulation) -> Gap:
    step = float(run.step)
    delay = np.array([max(1.0, np.ceil(float(a.transit / run.step))) for a in run.network.arcs])
    ends = [(run.network.arc(r[0]).tail, run.network.arc(r[-1]).head) for r in run.routes]
    return _measured(
        run.network,
        np.array([ends[r] for r in run.route_of], dtype=object).reshape(-1, 2),
        run.release.astype(float) * step,
        run.loaded.arrival.astype(float) * step,
        delay * step,
        run.loaded.offset,
        run.loaded.entry.astype(float) * step,
        run.loaded.exit.astype(float) * step,
    )


def _of_trajectories(net: Network, runs: Sequence[Trajectory]) -> Gap:
    place = {a.name: e for e, a in enumerate(net.arcs)}
    moves: list[list[tuple[float, float]]] = [[] for _ in net.arcs]
    for run in runs:
        for k, name in enumerate(run.arcs):
            if name not in place:
                raise FlowsError(f"vehicle {run.name!r} uses {name!r}, which is no arc.")
            moves[place[name]].append((run.times[k], run.times[k + 1]))
    for rows in moves:
        rows.sort()
    off = np.cumsum([0, *(len(m) for m in moves)]).astype(np.int64)
    flat = np.array([m for rows in moves for m in rows], float).reshape(-1, 2)
    ends = [(net.arc(r.arcs[0]).tail, net.arc(r.arcs[-1]).head) for r in runs]
    return _measured(
        net,
        np.array(ends, dtype=object).reshape(-1, 2),
        np.array([r.times[0] for r in runs]),
        np.array([r.times[-1] for r in runs]),
        np.array([float(a.transit) for a in net.arcs]),
        off,
        flat[:, 0].copy(),
        flat[:, 1].copy(),
    )


def _measured(
    net: Network,
    ends: np.ndarray,
    starts: np.ndarray,
    arrivals: np.ndarray,
    delay: np.ndarray,
    off: np.ndarray,
    entry: np.ndarray,
    leave: np.ndarray,
) -> Gap:
    graph = graph_of(net)
    latest = leave.copy()
    for e in range(len(off) - 1):  # overtaking: the last exit of all that entered before
        latest[off[e] : off[e + 1]] = np.maximum.accumulate(leave[off[e] : off[e + 1]])
    rows: dict[tuple[str, str], list[Any]] = {}
    for origin, target in dict.fromkeys(map(tuple, ends.tolist())):
        mine = (ends[:, 0] == origin) & (ends[:, 1] == target)
        best, _ = respond(graph, origin, target, starts[mine], delay, off, entry, latest)
        own = arrivals[mine] - starts[mine]
        # another vehicle's place in a queue is not open to an agent, so its own time is a bound
        ideal = np.minimum(best - starts[mine], own)
        rows[str(origin), str(target)] = [int(mine.sum()), float(own.sum()), float(ideal.sum())]
    return _summed(rows, exact=False)


def _summed(rows: dict[tuple[str, str], list[Any]], *, exact: bool) -> Gap:
    total = sum(r[1] for r in rows.values())
    best = sum(r[2] for r in rows.values())
    found = tuple((a, b, *r) for (a, b), r in rows.items())
    relative = (total - best) / best if best else 0 * total
    return Gap(relative, total, best, cast("Any", found), exact)


def read_events(path: Path | str, network: Network) -> list[Trajectory]:
    """Read MATSim events: when vehicles enter and leave links.

    Raises:
        FlowsError: The file is no events file, or a link is no arc of the network.
    """
    etree = cast("Any", require("lxml.etree", "flows"))
    known = {a.name for a in network.arcs}
    arcs: dict[str, list[str]] = {}
    times: dict[str, list[float]] = {}
    path = Path(path)
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            for _, event in etree.iterparse(
                file, tag="event", resolve_entities=False, no_network=True, load_dtd=False
            ):
                kind = event.get("type")
                if kind in ("vehicle enters traffic", "entered link"):
                    vehicle, link = event.get("vehicle"), event.get("link")
                    if link not in known:
                        raise FlowsError(f"{path} names the link {link!r}, which is no arc.")
                    arcs.setdefault(vehicle, []).append(link)
                    times.setdefault(vehicle, []).append(float(event.get("time")))
                elif kind == "vehicle leaves traffic":
                    times.setdefault(event.get("vehicle"), []).append(float(event.get("time")))
                event.clear()
    except (etree.XMLSyntaxError, TypeError, ValueError) as error:
        raise FlowsError(f"{path} is no MATSim events file: {error}") from error
    return [
        Trajectory(tuple(arcs[v]), tuple(times[v]), v)
        for v in arcs
        if len(times[v]) == len(arcs[v]) + 1
    ]


def read_uxsim(path: Path | str, network: Network) -> list[Trajectory]:
    """Read the table that UXsim's `vehicles_to_pandas().to_csv()` writes.

    Vehicles wait outside the network at their origin; that waiting belongs to the trip and is
    counted from the first row. Links are matched by name.

    Raises:
        FlowsError: A column is missing, or a link is no arc of the network.
    """
    known = {a.name for a in network.arcs}
    rows: dict[str, list[tuple[float, str]]] = {}
    with Path(path).open(newline="") as file:
        reader = csv.DictReader(file)
        for column in ("name", "t", "link"):
            if column not in (reader.fieldnames or ()):
                raise FlowsError(f"{path} has no column {column!r}; write vehicles_to_pandas().")
        for row in reader:
            rows.setdefault(row["name"], []).append((float(row["t"]), row["link"]))
    found: list[Trajectory] = []
    for name, seen in rows.items():
        arcs: list[str] = []
        times: list[float] = []
        started: float | None = None
        done: float | None = None
        for t, link in seen:
            if link == "waiting_at_origin_node":
                started = t if started is None else started
            elif link == "trip_end":
                done = t if done is None else done
            elif link == "trip_aborted":
                break
            elif link not in known:
                raise FlowsError(f"{path} names the link {link!r}, which is no arc.")
            elif not arcs or arcs[-1] != link:
                arcs.append(link)
                times.append(t)
        if done is not None and arcs:
            if started is not None:
                times[0] = started
            found.append(Trajectory(tuple(arcs), (*times, done), name))
    return found
