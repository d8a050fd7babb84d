"""Co-evolution: agents keep plans, try the best response, and drift to better plans.

One agent a packet. A plan is a route with the travel time it gave last; score = -travel time. In
each iteration a share of the agents best-responds to the last iteration's link times (a new plan);
the others pick another remembered plan at random and switch with probability
0.01 exp(mu/2 (score new - score old)). A fresh logit draw an iteration would oscillate.
Scheme "paper": shares 1/10 up to iteration 100, then 1/(iteration - 90).
Scheme "atmos": all given routes are remembered from the start; a third takes the best score, a
third keeps, a third drifts for the first four fifths; then half best, half keep, with averaged
scores.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from extremal.lab import generator

from ._inflow import Inflow
from ._matsim import LinkRules, load_vehicles
from ._network import Network, journey
from ._packets import Loaded, discretise, load_packets, plan, releases
from ._respond import graph_of, respond, traced
from ._simulation import Simulation

SCHEMES = ("paper", "atmos")
_BEST_UNTIL = 100


@dataclass(frozen=True)
class Evolution:
    """What co-evolution ends with.

    Attributes:
        simulation: The last iteration.
        mean_travel_time: Of each iteration.
        relative_gap: (travel time - best response) / best response, over all agents of the last.
    """

    simulation: Simulation
    mean_travel_time: tuple[float, ...]
    relative_gap: float


def evolve(
    network: Network,
    source: str,
    sink: str,
    supply: Inflow,
    step: Fraction,
    packet: Fraction,
    *,
    seed: int = 0,
    iterations: int = 200,
    mu: float = 5.0,
    model: str = "packet",
    rules: LinkRules | None = None,
    early: bool = False,
    scheme: str = "paper",
    routes: Sequence[Sequence[str]] = (),
) -> Evolution:
    """Let agents learn their routes.

    Args:
        network: With storages for `model="matsim"`.
        source: Where all depart.
        sink: Where all go.
        supply: Their inflow; it has to stop.
        step: alpha.
        packet: beta.
        seed: Of the one generator that makes every random choice.
        iterations: Loadings.
        mu: Of the logit, per unit of time.
        model: `"packet"` or `"matsim"`.
        rules: Switches of matsim.
        early: Release packets one step before they are complete.
        scheme: `"paper"` or `"atmos"`.
        routes: Remembered from the start; needed by `"atmos"`.

    Returns:
        The last iteration and the course.
    """
    if iterations < 1:
        raise ValueError(f"iterations={iterations} must be 1 or more.")
    if scheme not in SCHEMES:
        raise ValueError(f"scheme={scheme!r} is no scheme; choose {', '.join(SCHEMES)}.")
    if scheme == "atmos" and not routes:
        raise ValueError("scheme='atmos' starts with given routes; give routes=.")
    net = journey(network, source, sink).network
    draw = generator(seed, "co-evolution", str(step), str(packet))
    switches = rules or LinkRules()
    graph = graph_of(net)
    grid = discretise(net, step, packet)
    release = releases(supply, step, packet, None, early)
    n = len(release)
    place = {a.name: e for e, a in enumerate(net.arcs)}
    known: list[tuple[int, ...]] = [tuple(place[a] for a in r) for r in routes]
    delay = np.maximum(grid.tau, 1)
    none = np.zeros(len(net.arcs) + 1, np.int64)
    _, via = respond(graph, source, sink, np.zeros(1), delay, none, none[:0], none[:0])
    shortest = traced(graph, source, sink, via[0])
    if shortest not in known:
        known.append(shortest)
    score = np.full((n, len(known)), np.nan)
    if scheme == "atmos":
        score[:] = 0.0  # untried plans look best, so that each is tried
    route_of = np.full(n, known.index(shortest), np.int32)
    tried = np.zeros((n, len(known)), np.int32)
    course: list[float] = []
    loaded: Loaded | None = None
    seconds = float(step)
    everyone = np.arange(n)
    for iteration in range(1, iterations + 1):
        loaded = _load(net, grid, known, route_of, release, step, packet, model, switches,
                       int(draw.integers(1 << 31)))  # fmt: skip
        travel = (loaded.arrival - release) * seconds
        course.append(float(travel.mean()))
        _experience(score, tried, everyone, route_of, -travel, scheme == "atmos"
                    and iteration > 0.8 * iterations)  # fmt: skip
        if iteration == iterations:
            break
        if scheme == "atmos":
            route_of = _atmos(score, route_of, draw, mu, iteration > 0.8 * iterations)
            continue
        share = 0.1 if iteration <= _BEST_UNTIL else 1 / (iteration + 1 - 90)
        chosen = np.nonzero(draw.random(n) < share)[0]
        _, via = respond(graph, source, sink, release[chosen], delay, loaded.offset, loaded.entry,
                         loaded.exit)  # fmt: skip
        new = _numbered(graph, source, sink, via, known)
        if len(known) > score.shape[1]:
            more = len(known) - score.shape[1]
            score = np.hstack([score, np.full((n, more), np.nan)])
            tried = np.hstack([tried, np.zeros((n, more), np.int32)])
        drift = _drift(score, route_of, draw, mu)
        drift[chosen] = new
        route_of = drift
    assert loaded is not None
    best, _ = respond(graph, source, sink, release, delay, loaded.offset, loaded.entry, loaded.exit)
    ideal = best - release
    gap = float(((loaded.arrival - release) - ideal).sum() / ideal.sum()) if n else 0.0
    names = tuple(tuple(net.arcs[e].name for e in r) for r in known)
    last = Simulation(model, net, step, packet, names, route_of, release, loaded)
    return Evolution(last, tuple(course), gap)


def _load(
    net: Network,
    grid: object,
    known: Sequence[Sequence[int]],
    route_of: np.ndarray,
    release: np.ndarray,
    step: Fraction,
    packet: Fraction,
    model: str,
    rules: LinkRules,
    seed: int,
) -> Loaded:
    from ._packets import Discrete

    assert isinstance(grid, Discrete)
    how = plan(len(net.arcs), known)
    if model == "matsim":
        return load_vehicles(net, grid, how, route_of, release, step, packet, rules, seed)[0]
    return load_packets(grid, how, route_of, release)


def _experience(
    score: np.ndarray,
    tried: np.ndarray,
    everyone: np.ndarray,
    route_of: np.ndarray,
    got: np.ndarray,
    averaged: bool,
) -> None:
    """Remember what the plans of this iteration gave."""
    before = score[everyone, route_of]
    tried[everyone, route_of] += 1
    if averaged:
        got = before + (got - before) / tried[everyone, route_of]
    score[everyone, route_of] = got


def _drift(
    score: np.ndarray, route_of: np.ndarray, draw: np.random.Generator, mu: float
) -> np.ndarray:
    """Pick another remembered plan at random and switch with a small, score-driven probability."""
    n, routes = score.shape
    if routes == 1:
        return route_of.copy()
    everyone = np.arange(n)
    key = draw.random((n, routes))
    key[np.isnan(score)] = -1.0
    key[everyone, route_of] = -1.0
    other = key.argmax(axis=1)
    able = key[everyone, other] >= 0
    difference = np.where(able, score[everyone, other] - score[everyone, route_of], -np.inf)
    chance = 0.01 * np.exp(np.minimum(0.5 * mu * difference, 50.0))
    return np.where(draw.random(n) < chance, other, route_of).astype(np.int32)


def _atmos(
    score: np.ndarray, route_of: np.ndarray, draw: np.random.Generator, mu: float, late: bool
) -> np.ndarray:
    x = draw.random(len(route_of))
    best = score.argmax(axis=1).astype(np.int32)
    if late:
        return np.where(x < 0.5, best, route_of).astype(np.int32)
    drift = _drift(score, route_of, draw, mu)
    return np.where(x < 1 / 3, best, np.where(x < 2 / 3, route_of, drift)).astype(np.int32)


def _numbered(
    graph: object, source: str, sink: str, via: np.ndarray, known: list[tuple[int, ...]]
) -> np.ndarray:
    """Return the number of each agent's route; new routes are appended to `known`."""
    from ._respond import Graph

    assert isinstance(graph, Graph)
    if not len(via):
        return np.zeros(0, np.int32)
    rows, back = np.unique(via, axis=0, return_inverse=True)
    numbers: list[int] = []
    for row in rows:
        route = traced(graph, source, sink, row)
        if route not in known:
            known.append(route)
        numbers.append(known.index(route))
    return np.array(numbers, np.int32)[back.ravel()]
