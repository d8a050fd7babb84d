"""Pictures that traffic scientists expect, drawn from an equilibrium or a simulation.

Colours: grey an arc on no shortest route, blue an active arc without a queue, orange one with a
queue, red one that is full (spillback). Widths say the static flow of the phase.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import TYPE_CHECKING, Any

from extremal.lab import PALETTE, figure_bytes, new_figure

from ._arrival_flow import ArrivalFlow
from ._equilibrium import NashFlow, Phase
from ._network import Network

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from ._simulation import Simulation

IDLE, ACTIVE, QUEUED, FULL = "#c9c9c9", PALETTE[0], PALETTE[4], PALETTE[1]
_MOST_PANELS = 20
_MOST_ARCS = 8


def pictures_of(flow: NashFlow) -> Iterator[tuple[str, str, bytes]]:
    """Yield name, caption and SVG of every picture of an equilibrium."""
    yield (
        "phases",
        "Thin flow of each phase: width says flow, orange arcs have a queue.",
        phases(flow),
    )
    yield (
        "travel_time",
        "Travel time over departure; dotted lines separate phases.",
        travel_time(flow),
    )
    yield "queues", "Volume waiting at the end of the arcs with the longest queues.", queues(flow)
    yield (
        "cumulative",
        "Volume that entered (line) and left (dashed) the busiest arcs.",
        cumulative(flow),
    )


def picture(flow: NashFlow, kind: str, arcs: Sequence[str] = (), form: str = "svg") -> bytes:
    """Return one picture: phases, travel-time, queues or cumulative."""
    if kind == "phases":
        return phases(flow, form)
    if kind == "travel-time":
        return travel_time(flow, form)
    if kind == "queues":
        return queues(flow, arcs, form)
    return cumulative(flow, arcs, form)


def places(network: Network, source: str | None = None) -> dict[str, tuple[float, float]]:
    """Return where to draw nodes: their positions, else layers by distance from the source."""
    known = dict(network.positions)
    missing = [n for n in network.nodes if n not in known]
    if not missing:
        return known
    depth = dict.fromkeys(network.nodes, 0.0)
    for _ in network.nodes:
        for arc in network.arcs:
            if arc.head != source and depth[arc.head] < depth[arc.tail] + 1 <= len(network.nodes):
                depth[arc.head] = depth[arc.tail] + 1
    layers: dict[float, list[str]] = {}
    for node in network.nodes:
        layers.setdefault(depth[node], []).append(node)
    found: dict[str, tuple[float, float]] = {}
    for number, at in enumerate(sorted(layers)):
        row = layers[at]
        for i, node in enumerate(row):
            # a slight tilt keeps long arcs off the nodes of the layers between
            found[node] = (1.6 * number, (i - (len(row) - 1) / 2) + 0.15 * (-1) ** number)
    return found


def bends(network: Network) -> dict[str, float]:
    """Return how far each arc bows, so that parallel and opposite arcs do not cover each other."""
    between: dict[frozenset[str], list[str]] = {}
    for arc in network.arcs:
        between.setdefault(frozenset((arc.tail, arc.head)), []).append(arc.name)
    found: dict[str, float] = {}
    tails = {a.name: a.tail for a in network.arcs}
    for names in between.values():
        first = tails[names[0]]
        for i, name in enumerate(names):
            bow = 0.0 if len(names) == 1 else 0.18 * (i - (len(names) - 1) / 2) * 2
            found[name] = bow if tails[name] == first else -bow
    return found


def phases(flow: NashFlow, form: str = "svg") -> bytes:
    """Draw the thin flow of each phase beside its interval."""
    shown = list(flow.phases[:_MOST_PANELS])
    spots = places(flow.network, flow.source)
    xs, ys = [p[0] for p in spots.values()], [p[1] for p in spots.values()]
    wide = (max(xs) - min(xs) or 1) > 1.3 * (max(ys) - min(ys) or 1)
    columns = min(len(shown), 2 if wide else 4)
    rows = math.ceil(len(shown) / columns)
    width = 5.2 if wide else 3.1
    figure, axes = new_figure(width * columns, (2.5 if wide else 3.2) * rows + 0.3)
    figure.delaxes(axes)
    grid = figure.subplots(rows, columns, squeeze=False)
    top = max((float(x) for p in flow.phases for x in p.flow.values()), default=1.0) or 1.0
    for number, axis in enumerate(grid.flat):
        axis.axis("off")
        if number < len(shown):
            _panel(axis, flow, shown[number], spots, top, small=len(flow.network.nodes) > 12)
    if len(flow.phases) > len(shown):
        figure.text(0.5, 0.0, f"the first {len(shown)} of {len(flow.phases)} phases", ha="center")
    return figure_bytes(figure, form)


def _panel(
    axis: "Axes",
    flow: NashFlow,
    phase: Phase,
    spots: Mapping[str, tuple[float, float]],
    top: float,
    small: bool,
) -> None:
    from matplotlib.patches import FancyArrowPatch

    bow = bends(flow.network)
    for arc in flow.network.arcs:
        x = float(phase.flow[arc.name])
        color = IDLE
        if arc.name in phase.active:
            color = QUEUED if arc.name in phase.resetting else ACTIVE
        if arc.name in phase.full:
            color = FULL
        axis.add_patch(
            FancyArrowPatch(
                spots[arc.tail],
                spots[arc.head],
                arrowstyle="-|>",
                connectionstyle=f"arc3,rad={bow[arc.name]}",
                mutation_scale=5 if small else 9,
                shrinkA=5 if small else 9,
                shrinkB=5 if small else 9,
                linewidth=0.7 + 4.0 * x / top,
                color=color,
                zorder=1 + (x > 0) + (color != IDLE),
                alpha=1.0 if x > 0 or color == FULL else 0.7,
            )
        )
        if x > 0 and not small:
            _tag(
                axis, spots[arc.tail], spots[arc.head], bow[arc.name], _number(phase.flow[arc.name])
            )
    for node, (x, y) in spots.items():
        if node not in flow.network.nodes:
            continue
        end = node in {flow.source, flow.sink}
        axis.plot(
            [x], [y], "o", ms=8 if small else 15, mec="black", mew=0.8, zorder=5,
            mfc="#222222" if end else "white",
        )  # fmt: skip
        axis.text(
            x, y, node, ha="center", va="center", zorder=6, fontsize=5 if small else 8,
            color="white" if end else "black",
        )  # fmt: skip
    end = "for ever" if phase.end is None else f"to {_number(phase.end)}"
    slope = _number(phase.label_slopes[flow.sink])
    axis.set_title(
        f"from {_number(phase.start)} {end}, slope {slope}", fontsize=8 if small else 10, loc="left"
    )
    axis.margins(0.12)


def _tag(
    axis: "Axes", a: tuple[float, float], b: tuple[float, float], bow: float, text: str
) -> None:
    # the middle of the bowed arc, in data coordinates
    mx, my = (a[0] + b[0]) / 2, (a[1] + b[1]) / 2
    mx, my = mx + bow / 2 * (b[1] - a[1]), my - bow / 2 * (b[0] - a[0])
    axis.text(
        mx, my, text, fontsize=7, ha="center", va="center", zorder=4,
        bbox={"boxstyle": "round,pad=0.12", "fc": "white", "ec": "none", "alpha": 0.85},
    )  # fmt: skip


def travel_time(flow: NashFlow, form: str = "svg") -> bytes:
    """Draw the travel time of agents over their departure."""
    figure, axis = new_figure()
    last = _last_departure(flow)
    curve = flow.label_curve(flow.sink)
    marks = sorted({float(p.start) for p in flow.phases} | {last})
    marks = [m for m in marks if m <= last]
    start = flow.label_curve(flow.source)
    axis.plot(marks, [float(curve(m) - start(m)) for m in _near(flow, marks)])
    for mark in marks[1:-1] if len(marks) <= 40 else []:
        axis.axvline(mark, color="#aaaaaa", linewidth=0.7, linestyle=":")
    axis.set_xlabel("departure")
    axis.set_ylabel(f"travel time to {flow.sink}")
    axis.set_ylim(bottom=0)
    return figure_bytes(figure, form)


def travel_times_of(flow: ArrivalFlow, form: str = "svg") -> bytes:
    """Draw the travel time from each origin over the departure, while its inflow lasts."""
    figure, axis = new_figure()
    for i, (origin, inflow) in enumerate(flow.inflows.items()):
        stops = max((t for t, rate in inflow.steps if rate == 0), default=None)
        if inflow.steps[-1][1]:
            stops = None
        known = flow.known_until(origin)
        curve = flow.arrivals[origin]
        first = next(t for t, rate in inflow.steps if rate)
        last = stops if stops is not None else known
        if last is None:  # for ever: a little beyond the last change
            last = curve.times[-1] + max(curve.times[-1] / 4, Fraction(1))
        marks = sorted({first, last} | {t for t in curve.times if first < t < last})
        axis.plot(
            [float(m) for m in marks],
            [float(flow.travel_time(origin, m)) for m in marks],
            label=origin,
            color=PALETTE[i % len(PALETTE)],
        )
    axis.set_xlabel("departure")
    axis.set_ylabel(f"travel time to {flow.sink}")
    axis.set_ylim(bottom=0)
    axis.legend(title="from")
    return figure_bytes(figure, form)


def queues(flow: NashFlow, arcs: Sequence[str] = (), form: str = "svg") -> bytes:
    """Draw the volumes waiting over clock time; by default of the longest queues."""
    figure, axis = new_figure()
    end = _last_clock(flow)
    curves = {a.name: flow.queue_curve(a.name) for a in flow.network.arcs}
    peak = {n: max((float(c(t)) for t in [*c.times, end]), default=0.0) for n, c in curves.items()}
    chosen = list(arcs) or [n for n in sorted(peak, key=lambda n: -peak[n]) if peak[n] > 1e-9]
    for i, name in enumerate(chosen[:_MOST_ARCS]):
        arc = flow.network.arc(name)
        last = min(end, _known(flow, arc.tail) + float(arc.transit), _known(flow, arc.head))
        times = sorted({float(t) for t in curves[name].times if float(t) < last} | {0.0, last})
        axis.plot(times, [float(curves[name](_as(flow, t))) for t in times], label=name,
                  color=PALETTE[i % len(PALETTE)])  # fmt: skip
    axis.set_xlabel("clock time")
    axis.set_ylabel("volume in the queue")
    axis.set_ylim(bottom=0)
    if chosen:
        axis.legend(ncols=1 + len(chosen[:_MOST_ARCS]) // 5, title="arc")
    else:
        axis.text(0.5, 0.5, "no queue ever forms", transform=axis.transAxes, ha="center")
    return figure_bytes(figure, form)


def cumulative(flow: NashFlow, arcs: Sequence[str] = (), form: str = "svg") -> bytes:
    """Draw the cumulative volumes at both ends of arcs; by default of the busiest."""
    figure, axis = new_figure()
    end = _last_clock(flow)
    entered = {
        a.name: float(flow.inflow_curve(a.name)(_as(flow, min(end, _known(flow, a.tail)))))
        for a in flow.network.arcs
    }
    chosen = list(arcs) or [n for n in sorted(entered, key=lambda n: -entered[n]) if entered[n] > 0]
    for i, name in enumerate(chosen[: len(PALETTE) - 2]):
        arc = flow.network.arc(name)
        for curve, style, node in (
            (flow.inflow_curve(name), "-", arc.tail),
            (flow.outflow_curve(name), "--", arc.head),
        ):
            last = min(end, _known(flow, node))
            times = sorted({float(t) for t in curve.times if float(t) < last} | {0.0, last})
            axis.plot(
                times, [float(curve(_as(flow, t))) for t in times], style, color=PALETTE[i],
                label=name if style == "-" else None, linewidth=1.3,
            )  # fmt: skip
    axis.set_xlabel("clock time")
    axis.set_ylabel("cumulative volume")
    if chosen:
        axis.legend(title="arc (line: in, dashed: out)", ncols=2)
    return figure_bytes(figure, form)


def trajectories(simulation: "Simulation", route: int = 0, form: str = "svg") -> bytes:
    """Draw where the packets of one route are over time, a line each."""
    figure, axis = new_figure(6.4, 4.4)
    names = simulation.routes[route]
    far = [0.0]
    for name in names:
        far.append(far[-1] + max(float(simulation.network.arc(name).transit), 1e-9))
    mine = [m for k, m in enumerate(simulation.moves()) if simulation.route_of[k] == route]
    step = max(1, len(mine) // 120)
    waits: list[list[float]] = []
    for _, times in mine[::step]:
        xs, ys = [times[0]], [0.0]
        for k, arc in enumerate(names):
            free = times[k] + float(simulation.network.arc(arc).transit)
            xs += [min(free, times[k + 1]), times[k + 1]]
            ys += [far[k + 1], far[k + 1]]
        waits.append(xs)
        axis.plot(xs, ys, color=PALETTE[0], linewidth=0.6, alpha=0.8)
    ends = [simulation.network.arc(names[0]).tail, *(simulation.network.arc(n).head for n in names)]
    axis.set_yticks(far, ends)
    axis.set_xlabel("time")
    axis.set_ylabel("node on the route (spaced by transit time)")
    axis.set_title(f"{len(waits)} of {len(mine)} packets; level stretches are waiting", fontsize=9)
    return figure_bytes(figure, form)


def deviations(
    levels: Sequence[str],
    samples: Sequence[Sequence[float]],
    averaged: Sequence[float | None],
    label: str,
    form: str = "svg",
) -> bytes:
    """Draw a box for each level over its seeds, and the value after averaging over seeds."""
    figure, axis = new_figure()
    at = list(range(1, len(levels) + 1))
    axis.boxplot(
        [list(s) for s in samples], positions=at, widths=0.5, showfliers=True,
        medianprops={"color": PALETTE[1], "linewidth": 1.8}, flierprops={"markersize": 3},
    )  # fmt: skip
    known = [v for v in averaged if v is not None]
    if len(known) == len(at):
        axis.plot(at, known, "D", color=PALETTE[0], label="curves averaged over seeds")
        axis.legend()
    axis.set_xticks(at, list(levels))
    axis.set_xlabel("time step")
    axis.set_ylabel(label)
    axis.set_ylim(bottom=0)
    return figure_bytes(figure, form)


def _last_departure(flow: NashFlow) -> float:
    last = flow.phases[-1]
    if last.end is not None:
        return float(last.end)
    return max(1.15 * float(last.start), float(last.start) + 1, 1.0)


def _last_clock(flow: NashFlow) -> float:
    curve = flow.label_curve(flow.sink)
    return float(curve(_as(flow, _last_departure(flow))))


def _known(flow: NashFlow, node: str) -> float:
    """Return the clock time up to which what passes a node is known."""
    return math.inf if flow.until is None else float(flow.labels(flow.until)[node])


def _as(flow: NashFlow, time: float) -> Any:
    return Fraction(time) if flow.arithmetic == "exact" else time


def _near(flow: NashFlow, marks: Sequence[float]) -> list[Any]:
    return [_as(flow, m) for m in marks]


def _number(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 7 and "." not in text else f"{float(value):.4g}"


def falling(
    steps: Sequence[float], means: Sequence[float], longest: Sequence[float], form: str = "svg"
) -> bytes:
    """Draw how deviations fall with the step, on logarithmic axes."""
    figure, axis = new_figure()
    axis.loglog(steps, means, "o-", label="mean", color=PALETTE[0])
    axis.loglog(steps, longest, "s-", label="largest", color=PALETTE[1])
    halving = [means[0] * s / steps[0] for s in steps]
    axis.loglog(steps, halving, ":", color="#777777", label="proportional to the step")
    axis.set_xticks(steps, [str(Fraction(s).limit_denominator(1 << 20)) for s in steps])
    axis.minorticks_off()
    axis.invert_xaxis()
    axis.set_xlabel("time step")
    axis.set_ylabel("difference in travel time")
    axis.legend()
    return figure_bytes(figure, form)
