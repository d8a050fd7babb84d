"""K9-K11: packets, fluid loading of many commodities, and how packets become fluid."""

import json
from fractions import Fraction as F
from itertools import pairwise

import numpy as np
import pytest

from extremal import flows
from extremal.flows import _packet_kernels as kernels

pytestmark = pytest.mark.filterwarnings("ignore::extremal.flows.PacketWarning")

K9 = [("o", "w", 2, 1), ("o", "v", 1, 1), ("v", "w", "1/2", 1), ("w", "d", 1, "1/2")]
GREEN, BLUE = ("o-v", "v-w", "w-d"), ("o-w", "w-d")


def grid(*values):
    return [float(F(v)) for v in values]


def quarters(start, stop):
    return [k / 4 for k in range(round(4 * start), round(4 * stop) + 1)]


ARRIVALS = {
    ("1", "1"): ([7], [5]),
    ("1/2", "1/4"): ([3, 3.5, 4.5, 5.5], [4, 5, 6, 6.5]),
    ("1/4", "1/16"): (
        [2.75, 2.75, 3, 3, 3.25, 3.25, 3.5, 3.5, *quarters(3.75, 5.5)],
        [*quarters(3.75, 5.5), 5.75, 5.75, 6, 6, 6.25, 6.25, 6.5, 6.5],
    ),
}


@pytest.mark.parametrize(("step", "packet"), ARRIVALS)
def test_k9_arrivals_of_packets(step, packet):
    net = flows.Network.from_arcs(K9)
    demand = [(GREEN, "0:1, 1:0"), (BLUE, "0:1, 1:0")]
    for release, shift in (("late", F(0)), ("early", F(step))):
        run = flows.simulate(net, demand=demand, step=step, packet=packet, release=release)
        for route, wanted in enumerate(ARRIVALS[step, packet]):
            found = run.arrivals[run.route_of == route].tolist()
            assert found == [w - float(shift) for w in wanted]


def test_k9_continuous_limit():
    net = flows.Network.from_arcs(K9)
    run = flows.simulate(net, demand=[(GREEN, "0:1, 1:0"), (BLUE, "0:1, 1:0")], model="fluid")
    for p in (F(0), F(1, 4), F(1, 2), F(3, 4), F(1)):
        green = F(5, 2) + 2 * p if p <= F(1, 2) else F(7, 2) + 4 * (p - F(1, 2))
        blue = F(7, 2) + 4 * p if p <= F(1, 2) else F(11, 2) + 2 * (p - F(1, 2))
        assert p + run.travel_time(0, p) == green
        assert p + run.travel_time(1, p) == blue


def test_k10_fluid_loading_of_two_commodities():
    net = flows.Network.from_arcs(
        [("s", "1", 1, 2), ("0", "1", 1, 1), ("1", "2", 1, 2), ("2", "t", 1, 3), ("2", "3", 1, 3)]
    )
    run = flows.load_fluid(
        net,
        [
            flows.RouteInflow(("0-1", "1-2", "2-3"), flows.Inflow.of("1:2, 10:0"), "A"),
            flows.RouteInflow(("s-1", "1-2", "2-t"), flows.Inflow.of("4:4, 20:0"), "B"),
        ],
    )
    for t, total in ((2, 0), (5, 3), (20, 48), (37, 82)):
        assert sum(c["1-2"](F(t)) for c in run.inflows) == total
    for t, volume in ((3, 0), (6, 3), (F(57, 2), 18)):
        assert run.inflows[0]["2-3"](F(t)) == volume
    for t, volume in ((6, 0), (F(57, 2), 30), (F(91, 2), 64)):
        assert run.inflows[1]["2-t"](F(t)) == volume
    for t, longest in ((1, 3), (F(5, 2), F(9, 2)), (10, F(39, 2))):
        assert run.travel_time(0, F(t)) == longest
    for t, longest in ((4, 3), (F(23, 2), 18), (20, F(53, 2))):
        assert run.travel_time(1, F(t)) == longest


def test_fluid_loading_of_routes_that_cross_in_a_circle():
    net = flows.Network.from_arcs([("a", "b", 1, 1), ("b", "c", 1, 1), ("c", "a", 1, 1)])
    routes = [("a-b", "b-c"), ("b-c", "c-a"), ("c-a", "a-b")]
    run = flows.load_fluid(net, [flows.RouteInflow(r, flows.Inflow.of("0:2, 3:0")) for r in routes])
    for j, route in enumerate(routes):
        assert run.outflows[j][route[-1]].values[-1] == 6
    assert len({run.travel_time(j, F(1)) for j in range(3)}) == 1  # by symmetry
    floats = flows.load_fluid(net, run.demand, arithmetic="float")
    assert floats.travel_time(0, 2.0) == pytest.approx(float(run.travel_time(0, F(2))))


def test_k11_fixed_nash_routes_halve_the_error_each_level():
    eq = flows.nash("braess", horizon=100)
    means = []
    for k in range(1, 6):
        step = F(1, 2**k)
        run = flows.simulate("braess", demand=eq, step=step, release="early")
        found = flows.deviation(run, eq, 100)
        assert found.longest <= 3 * step
        means.append(found.time)
    for before, after in pairwise(means):
        assert 1.6 <= before / after <= 2.8


def test_k11_holds_with_spillback_too():
    pytest.importorskip("highspy")
    eq = flows.nash("atmos", spillback=True, horizon=100)
    means = []
    for k in range(1, 5):
        run = flows.simulate("atmos", demand=eq, step=F(1, 2**k), model="matsim")
        means.append(flows.deviation(run, eq, 100).time)
    assert means[-1] < means[0] / 3, means


def brute_force(grid_, routes, route_of, release):
    """The model of the paper, step by step, with lists."""
    arcs = len(grid_.tau)
    queue = [[] for _ in range(arcs)]
    rest = [F(0)] * arcs
    rate = [F(int(p), int(q)) for p, q in zip(grid_.p, grid_.q, strict=True)]
    place = [0] * len(route_of)
    arrival = [None] * len(route_of)
    t = 0
    while any(a is None for a in arrival):
        leaving = [[] for _ in range(arcs + 1)]
        for e in range(arcs):
            ready = [x for x in queue[e] if x[1] <= t - max(1, int(grid_.tau[e]))]
            can = rate[e] + rest[e]
            if len(ready) <= can:
                go, rest[e] = ready, F(0)
            else:
                go, rest[e] = ready[: int(can)], can - int(can)
            queue[e] = queue[e][len(go) :]
            leaving[e] = [i for i, _ in go]
        leaving[arcs] = [i for i in range(len(route_of)) if release[i] == t]
        for e in range(arcs):
            for i in leaving[e]:
                place[i] += 1
                if place[i] == len(routes[route_of[i]]):
                    arrival[i] = t
        for o in range(arcs):
            merged = []
            for order, e in enumerate(range(arcs + 1)):
                mine = [
                    i
                    for i in leaving[e]
                    if arrival[i] is None and routes[route_of[i]][place[i]] == o
                ]
                merged += [(F(j + 1, len(mine)), order, i) for j, i in enumerate(mine)]
            queue[o] += [(i, t) for *_, i in sorted(merged)]
        t += 1
    return arrival


@pytest.mark.parametrize("seed", range(12))
def test_packets_as_the_paper_says_step_by_step(seed):
    from extremal.flows._packets import Discrete, load_packets, plan

    draw = np.random.default_rng(seed)
    cyclic = seed % 2 == 1
    routes = (
        [[0, 1], [1, 2], [2, 0], [0, 1, 3], [2, 3]]
        if cyclic
        else [[0, 2, 4], [1, 2], [1, 3], [2, 4]]
    )
    arcs = 5
    tau = draw.integers(0, 4, arcs)
    p, q = draw.integers(1, 6, arcs), draw.integers(1, 4, arcs)
    grid_ = Discrete(tau, p.astype(np.int64), q.astype(np.int64))
    n = 60
    release = np.sort(draw.integers(0, 12, n))
    route_of = draw.integers(0, len(routes), n).astype(np.int32)
    found = load_packets(grid_, plan(arcs, routes), route_of, release)
    assert found.arrival.tolist() == brute_force(grid_, routes, route_of, release)


def test_the_matsim_model_never_overfills_and_loses_nobody():
    eq = flows.nash("braess", horizon=100)
    run = flows.simulate("braess-spillback", demand=eq, model="matsim", step="1/2", overfill=False)
    assert (run.loaded.arrival >= 0).all()
    net = run.network
    for e, arc in enumerate(net.arcs):
        if arc.storage is not None:
            assert run.held[e] * run.packet <= arc.storage
    for node in ("proportional", "random"):
        again = [
            flows.simulate(
                "braess-spillback", demand=eq, model="matsim", step="1/2", node=node, seed=3
            ).arrivals.tolist()
            for _ in range(2)
        ]
        assert again[0] == again[1]


def test_a_loader_that_never_overfills_sends_everyone_on_the_middle_route():
    pytest.importorskip("highspy")
    found = flows.refine("braess-spillback", levels=1, seeds=2, overfill=False)
    assert found.levels[0].volume == (0.0, 0.0)


def test_isolated_packets_warn():
    net = flows.Network.from_arcs([("s", "t", 1, 1)])
    with pytest.warns(flows.PacketWarning, match="less than one packet a step"):
        flows.simulate(net, demand=[(("s-t",), "0:1, 3:0")], step="1/2", packet=1)


def test_compiled_and_plain_loading_agree():
    eq = flows.nash("braess", horizon=20)
    run = flows.simulate("braess", demand=eq, step="1/2", until=20)
    assert hasattr(kernels, "load_kernel")
    moves = list(run.moves())
    for (arcs, times), arrival in zip(moves, run.arrivals, strict=True):
        assert times[-1] == arrival
        assert times == sorted(times)
        assert len(times) == len(arcs) + 1
    total = sum(len(run.entries(a.name)) for a in run.network.arcs)
    assert total == run.link_moves == sum(len(a) for a, _ in moves)


def test_runs_of_the_study_resume_to_the_same_numbers(tmp_path):
    options = {"levels": 2, "seeds": 2, "iterations": 10}
    whole = flows.refine("braess", out=tmp_path / "a", **options)
    for file in sorted((tmp_path / "a" / "checkpoints").iterdir())[::2]:
        file.unlink()
    again = flows.refine("braess", out=tmp_path / "a", resume=True, **options)
    strip = [(v.volume, v.time, v.gap, v.averaged_time) for v in whole.levels]
    assert [(v.volume, v.time, v.gap, v.averaged_time) for v in again.levels] == strip
    assert json.loads((tmp_path / "a" / "result.json").read_text())["mode"] == "evolve"


def test_fixed_routes_on_a_real_network(shared_data):
    found = flows.refine(
        shared_data / "tntp" / "SiouxFalls_net.tntp",
        mode="fixed", gates="1 7 13 20 24", time_unit=60, capacity_factor="1/10", until=1000,
        levels=4,
    )  # fmt: skip
    means = [v.time[0] for v in found.levels]
    assert all(a > 1.6 * b for a, b in pairwise(means)), means


def test_at_the_full_capacities_of_sioux_falls_nothing_waits(shared_data):
    """At rate 1/5 a second no arc is full, so the error is gone as soon as packets are small."""
    found = flows.refine(
        shared_data / "tntp" / "SiouxFalls_net.tntp",
        mode="fixed", gates="1 7 13 20 24", time_unit=60, until=1000, levels=3,
    )  # fmt: skip
    means = [v.time[0] for v in found.levels]
    assert means[0] > means[1] > means[2] == 0


def test_atmos_scheme_settles_near_the_equilibrium():
    eq = flows.nash("braess", horizon=40)
    ways = [d.arcs for d in flows.nash_demand(eq, F(40))]
    found = flows.evolve(
        flows.instance("braess").network, "s", "t", flows.Inflow.of("0:1, 40:0"), F(1, 2), F(1, 4),
        iterations=60, scheme="atmos", routes=ways,
    )  # fmt: skip
    assert found.relative_gap < 0.25
    assert found.mean_travel_time[-1] < found.mean_travel_time[0]
