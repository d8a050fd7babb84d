"""The verb `refine`: shrink step and packet, and measure the distance from the equilibrium.

Mode "evolve": agents learn their routes at every level and seed; compared with the Nash flow over
time. Mode "fixed": routes are given, nothing is random; compared with the exact fluid loading.
Every level and seed is one job; finished jobs are kept in the run folder, so a killed run resumes.
"""

import importlib.util
import time
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from extremal.lab import (
    Picture,
    Run,
    Section,
    Table,
    append_record,
    atomic_write,
    command,
    executor,
    progress,
    rational,
    resolve,
    seeds_part,
    to_plain,
    write_certificate,
    write_report,
)

from ._deviation import Reference, curve_gap, reference
from ._equilibrium import NashFlow, nash_part
from ._errors import PacketWarning
from ._evolve import evolve
from ._extension import distances
from ._inflow import Inflow
from ._loading import load_fluid
from ._nash import as_text, load, nash, situation
from ._network import Network, journey
from ._packets import RouteInflow, as_demand, spread
from ._simulation import read_demand, run_packets, stopped

KIND = "flows/refine"
MODES = ("evolve", "fixed")


@dataclass(frozen=True)
class RefineOptions:
    """The refinement study."""

    mode: str = "evolve"
    """evolve: agents learn routes; fixed: routes are given."""
    source: str | None = None
    """Of all agents; shipped networks know theirs."""
    sink: str | None = None
    """Of all agents."""
    inflow: str | None = None
    """Their rate."""
    until: str = "100"
    """Last departure."""
    levels: int = 5
    """Steps 1, 1/2, 1/4, …: so many."""
    seeds: int = 5
    """Runs of each level, for mode evolve."""
    iterations: int = 200
    """Of co-evolution."""
    mu: float = 5.0
    """Of the logit, per unit of time."""
    coupling: str = "square"
    """Volume of a packet: square (step * step) or linear (step)."""
    model: str = "auto"
    """packet, matsim, or auto: matsim where the network has storages."""
    overfill: bool = True
    """matsim: let part of a vehicle stand over the storage."""
    demand: str | None = None
    """Mode fixed: JSON file with routes and inflows."""
    gates: str | None = None
    """Mode fixed: nodes, "1, 7, 13"; all pairs travel on shortest routes at the rate."""
    rate: str = "1/5"
    """Mode fixed: inflow of each pair of gates."""
    time_unit: str = "1"
    """Divide the network's unit of time by this, for instance 60 for minutes to seconds."""
    capacity_factor: str = "1"
    """Multiply all capacities by this (MATSim's flow capacity factor), for instance 1/10."""
    executor: str = "serial"
    """serial, processes or ray."""
    workers: int | None = None
    """Jobs at a time."""

    def __post_init__(self) -> None:
        """Check names and counts."""
        for value, known, name in (
            (self.mode, MODES, "mode"),
            (self.coupling, ("square", "linear"), "coupling"),
            (self.model, ("auto", "packet", "matsim"), "model"),
            (self.executor, ("serial", "processes", "ray"), "executor"),
        ):
            if value not in known:
                raise ValueError(f"{name}={value!r} is not known; choose {', '.join(known)}.")
        for value, name in (
            (self.levels, "levels"), (self.seeds, "seeds"), (self.iterations, "iterations")
        ):  # fmt: skip
            if value < 1:
                raise ValueError(f"{name}={value} must be 1 or more.")


@dataclass(frozen=True)
class Level:
    """One refinement level.

    Attributes:
        step: alpha.
        packet: beta.
        volume: Mean deviation of cumulative departures, a seed each; empty for fixed routes.
        time: Mean deviation of travel times, a seed each.
        longest: Largest deviation of a travel time, a seed each.
        gap: Relative gap to the best response, a seed each; empty for fixed routes.
        averaged_volume: After averaging curves over seeds.
        averaged_time: After averaging each packet's travel time over seeds.
        seconds: Of each job.
        moves: Link moves of one loading.
    """

    step: Fraction
    packet: Fraction
    volume: tuple[float, ...]
    time: tuple[float, ...]
    longest: tuple[float, ...]
    gap: tuple[float, ...]
    averaged_volume: float | None
    averaged_time: float | None
    seconds: tuple[float, ...]
    moves: int


@dataclass(frozen=True)
class Refinement:
    """What `refine` found.

    Attributes:
        mode: `"evolve"` or `"fixed"`.
        levels: From coarse to fine.
        flow: The equilibrium, for mode evolve.
        path: The run folder, if any.
        seconds: Of all jobs together.
    """

    mode: str
    levels: tuple[Level, ...]
    flow: NashFlow | None
    path: Path | None
    seconds: float

    def table(self) -> Table:
        """Return a row for each level: medians over seeds, and after averaging."""
        rows: list[list[str | float | int | None]] = []
        for i, level in enumerate(self.levels):
            before = self.levels[i - 1] if i else None
            middle = float(np.median(level.time))
            rows.append(
                [
                    str(level.step),
                    str(level.packet),
                    len(level.time),
                    float(np.median(level.volume)) if level.volume else None,
                    level.averaged_volume if level.volume else None,
                    middle,
                    level.averaged_time if level.volume else None,
                    float(np.max(level.longest)),
                    float(np.median(before.time)) / middle if before and middle else None,
                    level.moves,
                ]
            )
        columns = ["step", "packet", "seeds", "volume", "volume, averaged", "time",
                   "time, averaged", "longest", "falls by", "link moves"]  # fmt: skip
        title = "Mean deviation from the Nash flow over time, median over seeds"
        if self.mode == "fixed":
            title = "Mean deviation from the exact fluid loading, routes fixed"
        return Table(columns, rows, title=f"{title}; {self.seconds:.3g} s of work")

    def as_json(self) -> dict[str, Any]:
        """Return plain values."""
        return {
            "mode": self.mode,
            "seconds": self.seconds,
            "path": None if self.path is None else str(self.path),
            "levels": [
                {
                    "step": str(v.step),
                    "packet": str(v.packet),
                    "volume": list(v.volume),
                    "time": list(v.time),
                    "longest": list(v.longest),
                    "gap": list(v.gap),
                    "averaged_volume": v.averaged_volume,
                    "averaged_time": v.averaged_time,
                    "seconds": list(v.seconds),
                    "link_moves": v.moves,
                }
                for v in self.levels
            ],
        }


@dataclass(frozen=True)
class _Job:
    """One level and seed; picklable."""

    network: Network
    source: str
    sink: str
    supply: Inflow
    demand: tuple[RouteInflow, ...]
    step: Fraction
    packet: Fraction
    seed: int
    iterations: int
    mu: float
    model: str
    overfill: bool
    about: Reference | None


@command(options=RefineOptions, inputs=("network",))
def refine(
    network: Network | Path | str,
    *,
    demand: Sequence[Any] | None = None,
    config: RefineOptions | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Refinement:
    """Measure how far packet simulation is from the equilibrium as steps and packets shrink.

    Args:
        network: As for `nash`; "braess" and "braess-spillback" reproduce the published study.
        demand: For fixed routes: `RouteInflow`s or pairs (arcs, inflow).
        config: The options whole.
        out: Folder for the run: every job, records, certificate, box plots, report.
        resume: Continue an interrupted run; finished jobs are read, not repeated.
        force: Replace the run in `out`.
        **options: Fields of `RefineOptions`.

    Returns:
        A row for each level.

    Example:
        >>> found = refine("braess", levels=2, seeds=2, iterations=20)
        >>> [str(level.step) for level in found.levels]
        ['1', '1/2']
    """
    plain = as_text(options, [])
    for name in ("until", "rate", "time_unit", "capacity_factor"):
        if name in plain:
            plain[name] = str(rational(plain[name]))
    chosen = resolve(RefineOptions, config, plain)
    jobs, flow = _jobs(network, demand, chosen)
    run: Run | None = None
    if out is not None:
        identity = {**to_plain(replace(chosen, executor="serial", workers=None))}
        run = Run.create(out, kind=KIND, config=identity, resume=resume, force=force)
    try:
        done = _work(jobs, run, chosen)
        found = _gathered(jobs, done, flow, chosen, run)
        if run is not None:
            _finish(run, found, network)
        return found
    finally:
        if run is not None:
            run.release()


def _jobs(
    network: Network | Path | str, demand: Sequence[Any] | None, chosen: RefineOptions
) -> tuple[list[_Job], NashFlow | None]:
    until = rational(chosen.until)
    steps = [Fraction(1, 2**k) for k in range(chosen.levels)]
    packets = [s * s if chosen.coupling == "square" else s for s in steps]
    if chosen.mode == "fixed":
        net = _in_units(load(network), chosen)
        fixed = tuple(replace(d, inflow=stopped(d.inflow, until))
                      for d in _fixed(net, demand, chosen))  # fmt: skip
        model = "packet" if chosen.model == "auto" else chosen.model
        none = Inflow.of(0)
        return [
            _Job(net, "", "", none, fixed, s, p, 0, 0, 0.0, model, chosen.overfill, None)
            for s, p in zip(steps, packets, strict=True)
        ], None
    trip, inflow = situation(network, chosen.source, chosen.sink, chosen.inflow, [])
    net = _in_units(trip.network, chosen)
    flow = nash(net, source=trip.source, sink=trip.sink, inflow=inflow, horizon=until,
                spillback=net.spills)  # fmt: skip
    model = chosen.model
    if model == "auto":
        model = "matsim" if net.spills else "packet"
    supply = stopped(inflow, until)
    jobs: list[_Job] = []
    for s, p in zip(steps, packets, strict=True):
        about = reference(flow, until, s)
        jobs += [
            _Job(net, trip.source, trip.sink, supply, (), s, p, seed, chosen.iterations, chosen.mu,
                 model, chosen.overfill, about)
            for seed in range(chosen.seeds)
        ]  # fmt: skip
    return jobs, flow


def _in_units(net: Network, chosen: RefineOptions) -> Network:
    factor = rational(chosen.capacity_factor)
    if factor <= 0:
        raise ValueError(f"capacity_factor={factor} must be above 0.")
    net = net.scaled(rational(chosen.time_unit))
    return net.with_arcs(replace(a, capacity=a.capacity * factor) for a in net.arcs)


def _fixed(net: Network, demand: Sequence[Any] | None, chosen: RefineOptions) -> list[RouteInflow]:
    if demand is not None:
        return as_demand(demand)
    if chosen.demand is not None:
        return read_demand(chosen.demand)
    if chosen.gates is None:
        raise ValueError("mode='fixed' needs routes: give demand=, a --demand file, or --gates.")
    gates = chosen.gates.replace(",", " ").split()
    return shortest_routes(net, gates, rational(chosen.rate))


def shortest_routes(network: Network, gates: Sequence[str], rate: Fraction) -> list[RouteInflow]:
    """Return an inflow on a free-flow shortest route for every ordered pair of gates."""
    found: list[RouteInflow] = []
    for a in gates:
        for b in gates:
            if a == b:
                continue
            trip = journey(network, a, b)
            far = dict(zip(trip.network.nodes, distances(trip), strict=True))
            route: list[str] = []
            at = str(b)
            while at != str(a):
                arc = next(
                    e for e in trip.network.arcs
                    if e.head == at and far[e.tail] + e.transit == far[at]
                )  # fmt: skip
                route.append(arc.name)
                at = arc.tail
            found.append(RouteInflow(tuple(reversed(route)), Inflow.of(rate), f"{a} -> {b}"))
    return found


def _name(job: _Job) -> str:
    return f"checkpoints/step-{job.step.numerator}-{job.step.denominator}-seed-{job.seed}.json"


def _work(jobs: list[_Job], run: Run | None, chosen: RefineOptions) -> list[dict[str, Any]]:
    done: dict[int, dict[str, Any]] = {}
    if run is not None:
        for i, job in enumerate(jobs):
            if (run.path / _name(job)).exists():
                done[i] = run.read_json(_name(job))
    left = [i for i in range(len(jobs)) if i not in done]
    pool = executor(chosen.executor, workers=chosen.workers)  # type: ignore[arg-type]
    with progress(len(jobs), "levels and seeds") as bar:
        bar.advance(len(done))
        for outcome in pool.outcomes(_do, [jobs[i] for i in left]):
            if outcome.error is not None:
                raise outcome.error
            assert outcome.value is not None
            i = left[outcome.index]
            done[i] = outcome.value
            if run is not None:
                run.write_json(_name(jobs[i]), outcome.value)
            bar.advance(text=f"step {jobs[i].step}")
    return [done[i] for i in range(len(jobs))]


def _do(job: _Job) -> dict[str, Any]:
    """Do one job: plain values, so that it can be kept in a file."""
    from ._matsim import LinkRules

    begun = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", PacketWarning)  # coarse levels isolate packets on purpose
        if job.about is None:
            return _do_fixed(job, begun)
        ended = evolve(
            job.network, job.source, job.sink, job.supply, job.step, job.packet, seed=job.seed,
            iterations=job.iterations, mu=job.mu, model=job.model,
            rules=LinkRules(overfill=job.overfill),
        )  # fmt: skip
    sim = ended.simulation
    curves = sim.route_departures(job.about.times)
    counts = np.rint(curves / float(sim.packet)).astype(int)
    return {
        "curves": {" ".join(r): c.tolist() for r, c in zip(sim.routes, counts, strict=True)},
        "travel_steps": (sim.loaded.arrival - sim.release).tolist(),
        "release_steps": sim.release.tolist(),
        "gap": ended.relative_gap,
        "course": list(ended.mean_travel_time),
        "moves": sim.link_moves,
        "seconds": time.perf_counter() - begun,
    }


def _do_fixed(job: _Job, begun: float) -> dict[str, Any]:
    routes, route_of, release = spread(job.network, job.demand, job.step, job.packet, None, False)
    names = tuple(d.arcs for d in job.demand)
    sim = run_packets(job.network, routes, names, route_of, release, job.step, job.packet,
                      job.model, _rules(job), 0)  # fmt: skip
    fluid = load_fluid(job.network, job.demand, arithmetic="float")
    off = np.zeros(len(route_of))
    for j, commodity in enumerate(job.demand):
        mine = route_of == j
        at = sim.departures[mine].astype(float)
        for name in commodity.arcs:
            curve = fluid.exits[name]
            times, values = np.array(curve.times, float), np.array(curve.values, float)
            after = at > times[-1]
            at = np.where(
                after, values[-1] + (at - times[-1]) * float(curve.slope),
                np.interp(at, times, values),
            )  # fmt: skip
        off[mine] = np.abs(sim.arrivals[mine] - at)
    return {
        "time": float(off.mean()),
        "longest": float(off.max()),
        "moves": sim.link_moves,
        "loading_seconds": sim.seconds,
        "seconds": time.perf_counter() - begun,
    }


def _rules(job: _Job) -> Any:
    from ._matsim import LinkRules

    return LinkRules(overfill=job.overfill)


def _gathered(
    jobs: list[_Job],
    done: list[dict[str, Any]],
    flow: NashFlow | None,
    chosen: RefineOptions,
    run: Run | None,
) -> Refinement:
    levels: list[Level] = []
    for step in dict.fromkeys(job.step for job in jobs):
        mine = [i for i, job in enumerate(jobs) if job.step == step]
        results, first = [done[i] for i in mine], jobs[mine[0]]
        seconds = tuple(float(r["seconds"]) for r in results)
        if first.about is None:
            levels.append(
                Level(step, first.packet, (), tuple(r["time"] for r in results),
                      tuple(r["longest"] for r in results), (), None, None, seconds,
                      results[0]["moves"])
            )  # fmt: skip
            continue
        levels.append(_level(first, results, seconds))
    total = sum(sum(v.seconds) for v in levels)
    return Refinement(chosen.mode, tuple(levels), flow, None if run is None else run.path, total)


def _level(first: _Job, results: list[dict[str, Any]], seconds: tuple[float, ...]) -> Level:
    about = first.about
    assert about is not None
    packet, step = float(first.packet), float(first.step)
    curves = [
        {tuple(k.split(" ")): np.array(c) * packet for k, c in r["curves"].items()} for r in results
    ]
    release = np.array(results[0]["release_steps"]) * step
    travel = np.array([r["travel_steps"] for r in results]) * step
    wanted = about.travel_time(release)
    routes = list(dict.fromkeys(k for c in curves for k in c))
    zero = np.zeros(len(about.times))
    mean = {k: np.mean([c.get(k, zero) for c in curves], axis=0) for k in routes}
    off = np.abs(travel - wanted)
    return Level(
        first.step,
        first.packet,
        tuple(curve_gap(c, about) for c in curves),
        tuple(off.mean(axis=1).tolist()),
        tuple(off.max(axis=1).tolist()),
        tuple(float(r["gap"]) for r in results),
        curve_gap(mean, about),
        float(np.abs(travel.mean(axis=0) - wanted).mean()),
        seconds,
        int(results[0]["moves"]),
    )


def _finish(run: Run, found: Refinement, network: Any) -> None:
    run.write_json("result.json", found.as_json())
    parts: list[Any] = []
    if found.flow is not None and not found.flow.network.spills:
        parts.append(nash_part(found.flow))
    for level in found.levels:
        if len(level.time) >= 2:
            what = f"mean |travel time - Nash| at step {level.step}"
            values = dict(enumerate(level.time))
            parts.append(seeds_part(what, values, data=str(network)))
    if parts:
        write_certificate(run.path / "certificate.json", parts)
    if not run.records():
        append_record(
            run.path / "records.jsonl",
            question="How far is packet simulation from the equilibrium, level by level?",
            configuration=run.config,
            seed=list(range(max(1, *(len(v.time) for v in found.levels)))),
            samples=found.as_json(),
            wall_seconds=found.seconds,
        )
    if importlib.util.find_spec("matplotlib") and importlib.util.find_spec("jinja2"):
        sections: list[Section] = [found.table()]
        for name, caption, data in refinement_pictures(found):
            atomic_write(run.path / "figures" / f"{name}.svg", data)
            sections.append(Picture(data, caption))
        footer = f"Check it: extremal verify {run.path.name}/certificate.json"
        if not parts:
            footer = (
                "One run a level, nothing random: every number is repeated by the same options."
            )
        write_report(run.path / "report.html", "Refinement study", sections, footer)


def refinement_pictures(found: Refinement, form: str = "svg") -> list[tuple[str, str, bytes]]:
    """Return name, caption and picture: box plots over seeds, or the course over levels."""
    from ._pictures import deviations, falling

    levels = [str(v.step) for v in found.levels]
    if found.mode == "fixed":
        picture = falling(
            [float(v.step) for v in found.levels], [v.time[0] for v in found.levels],
            [v.longest[0] for v in found.levels], form,
        )  # fmt: skip
        return [("deviation", "Deviation of travel times over the step; dotted: halving.", picture)]
    volume = deviations(
        levels,
        [v.volume for v in found.levels],
        [v.averaged_volume for v in found.levels],
        "mean difference in volume",
        form,
    )
    late = deviations(
        levels,
        [v.time for v in found.levels],
        [v.averaged_time for v in found.levels],
        "mean difference in time",
        form,
    )
    return [
        ("volume", "Deviation of cumulative departures, a box over seeds for each step.", volume),
        ("time", "Deviation of travel times, a box over seeds for each step.", late),
    ]


def ratios(found: Refinement) -> list[float]:
    """Return by which factor the mean deviation in time falls from level to level."""
    middle = [float(np.median(v.time)) for v in found.levels]
    return [a / b for a, b in pairwise(middle)]
