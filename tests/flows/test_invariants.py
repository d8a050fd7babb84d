"""K6: what holds for every network without spillback, on random acyclic ones."""

import random
from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import flows, verify
from extremal.flows import _kernels as kernels
from extremal.flows._thin_flow import Problem, solve
from extremal.lab import write_certificate

from .conftest import ends, random_dag

seeds = st.integers(0, 10**9)
rates = st.fractions(F(1, 3), 12, max_denominator=3)


def check(seed, u, folder):
    net = random_dag(seed)
    where = ends(net)
    eq = flows.nash(net, **where, inflow=u)
    assert eq.status == "final"
    # conservation, thin-flow conditions and reloading: the independent checker does all of it
    part = eq.certificate
    found = verify.file(write_certificate(folder / "c.json", [part]))
    assert found.accepted, found.reason
    # the long run: the thin flow with all arcs active and no queue, and the minimum cut
    long_run = flows.steady_state(net, **where, inflow=u)
    last = eq.phases[-1]
    assert last.label_slopes == long_run.slopes
    assert last.label_slopes[where["sink"]] == max(1, u / long_run.cut) == long_run.sink_slope
    # labels are bounded, and the potential never falls
    least = min(a.capacity for a in eq.network.arcs)
    for p in eq.phases:
        assert all(0 <= s <= max(1, u / least) for s in p.label_slopes.values())
    marks = [p.start for p in eq.phases] + [last.start + 1]
    values = [flows.potential(eq, t) for t in marks]
    assert values == sorted(values)
    if u <= long_run.cut:
        assert values[-1] == long_run.potential
    # floats agree
    floats = flows.nash(net, **where, inflow=u, arithmetic="float")
    for t in marks:
        for node, label in eq.labels(t).items():
            assert floats.labels(t)[node] == pytest.approx(float(label), rel=1e-7, abs=1e-7)
    return eq


@given(seed=seeds, u=rates)
@settings(max_examples=40)
def test_invariants_of_random_networks(seed, u, tmp_path_factory):
    check(seed, u, tmp_path_factory.mktemp("k6"))


@pytest.mark.slow
def test_invariants_of_thousands_of_networks(tmp_path):
    for seed in range(3000):
        check(seed, F(1 + seed % 23, 1 + seed % 3), tmp_path)


@given(seed=seeds, u=rates, factor=st.fractions(F(1, 5), 5, max_denominator=7))
@settings(max_examples=25)
def test_units_of_time_and_volume_only_rescale(seed, u, factor):
    net = random_dag(seed)
    where = ends(net)
    labels = flows.nash(net, **where, inflow=u).labels(7)
    slower = flows.Network.from_arcs(
        [replace(a, transit=a.transit * factor) for a in net.arcs], nodes=net.nodes
    )
    later = flows.nash(slower, **where, inflow=u).labels(7 * factor)
    assert later == {n: v * factor for n, v in labels.items()}
    wider = flows.Network.from_arcs(
        [replace(a, capacity=a.capacity * factor) for a in net.arcs], nodes=net.nodes
    )
    assert flows.nash(wider, **where, inflow=u * factor).labels(7) == labels


@given(seed=seeds, u=rates)
@settings(max_examples=25)
def test_subdividing_an_arc_changes_nothing(seed, u):
    net = random_dag(seed)
    where = ends(net)
    labels = flows.nash(net, **where, inflow=u).labels(5)
    arc = net.arcs[seed % len(net.arcs)]
    rest = [a for a in net.arcs if a is not arc]
    halves = [
        replace(arc, head="half", transit=arc.transit / 3, name=""),
        replace(arc, tail="half", transit=arc.transit * 2 / 3, name="", capacity=F(10**6)),
    ]
    cut = flows.Network.from_arcs([*rest, *halves])
    found = flows.nash(cut, **where, inflow=u).labels(5)
    assert {n: found[n] for n in labels} == labels


def random_thin_flow(seed):
    draw = random.Random(seed)
    n = draw.randint(3, 9)
    arcs = [
        (draw.randrange(max(0, w - 6), w), w, F(draw.randint(1, 6)), draw.random() < 0.3)
        for w in range(1, n)
    ]
    for _ in range(n):
        v = draw.randrange(n - 1)
        w = draw.randrange(v + 1, n)
        arcs.append((v, w, F(draw.randint(1, 6)), draw.random() < 0.3))
    return Problem(n, 0, n - 1, F(draw.randint(1, 20)), tuple(arcs))


def agree(seed, methods):
    problem = random_thin_flow(seed)
    wanted = solve(problem).slopes
    assert solve(problem, method="pivoting").slopes == wanted
    assert solve(problem, method="floats").slopes == wanted
    for method in methods:
        assert solve(problem, method=method).slopes == wanted, (seed, method)


def test_pivoting_agrees_with_the_second_program_on_a_hundred_networks():
    pytest.importorskip("highspy")
    for seed in range(100):
        agree(seed, ["milp-2"])


def test_a_guessed_basis_leads_to_the_same_slopes_in_fewer_pivots():
    pytest.importorskip("numba")
    saved = 0
    for seed in range(40):
        draw = random.Random(seed)
        n = 30
        rows = [(draw.randrange(max(0, w - 6), w), w) for w in range(1, n)]
        rows += [(v, draw.randrange(v + 1, n)) for v in (draw.randrange(n - 1) for _ in range(45))]
        tail, head = np.array(rows).T
        nu = np.array([float(draw.randint(1, 6)) for _ in rows])
        reset = np.array([draw.random() < 0.3 for _ in rows])
        guess = kernels.crash(n, 0, n - 1, 12.0, tail, head, nu, reset)
        found = [
            kernels.thin_flow_kernel(
                n, 0, n - 1, 12.0, tail, head, nu, reset, states, np.zeros(n, bool), 1, 10_000
            )
            for states in (guess, np.full(len(rows), -1))
        ]
        assert [status for status, *_ in found] == [kernels.SOLVED] * 2, seed
        np.testing.assert_allclose(found[0][1], found[1][1], atol=1e-8)
        saved += found[1][5] - found[0][5]
    assert saved > 40 * 20  # of about 80 pivots each


def test_all_three_programs_agree_on_small_networks():
    pytest.importorskip("highspy")
    for seed in range(200, 225):
        small = len(random_thin_flow(seed).arcs) <= 12
        agree(seed, ["milp-3", *(["milp-1"] if small else [])])


@pytest.mark.slow
def test_pivoting_agrees_with_the_second_program_on_thousands():
    pytest.importorskip("highspy")
    for seed in range(3000):
        agree(seed, ["milp-2"])


@pytest.mark.parametrize("method", ["milp-1", "milp-2", "milp-3"])
def test_k3_by_the_baselines(method):
    pytest.importorskip("highspy")
    net = flows.Network.from_arcs(
        [("s", "a", 1, 5), ("a", "b", 1, 2), ("a", "t", 1, 7), ("b", "t", 1, 5)]
    )
    found = flows.thin_flow(net, "s", "t", 10, resetting=["a-b"], method=method)
    assert found.slopes == {"s": 1, "a": 2, "b": 2, "t": 2}


def test_baselines_compute_whole_equilibria():
    pytest.importorskip("highspy")
    wanted = flows.nash("braess")
    for method in ("milp-2", "milp-3"):
        found = flows.nash("braess", method=method)
        assert [p.labels for p in found.phases] == [p.labels for p in wanted.phases]


@given(seed=st.integers(0, 10**6))
@settings(max_examples=60)
def test_series_parallel_networks_agree_with_their_oracle(seed):
    import random

    from extremal.flows._series_parallel import sink_slope

    draw = random.Random(seed)
    arcs, count = [], [2]

    def build(v, w, depth):
        kind = draw.random()
        if depth == 0 or kind < 0.2:
            arcs.append((v, w, F(draw.randint(1, 6)), draw.random() < 0.4))
        elif kind < 0.6:
            middle = count[0]
            count[0] += 1
            build(v, middle, depth - 1)
            build(middle, w, depth - 1)
        else:
            build(v, w, depth - 1)
            build(v, w, depth - 1)

    build(0, 1, 4)
    problem = Problem(count[0], 0, 1, F(draw.randint(1, 12), draw.randint(1, 5)), tuple(arcs))
    assert solve(problem, method="floats").slopes[1] == sink_slope(problem)


def test_the_oracle_refuses_what_is_not_series_parallel():
    from extremal.flows._series_parallel import sink_slope

    arcs = [(0, 1), (0, 2), (1, 2), (1, 3), (2, 3)]
    problem = Problem(4, 0, 3, F(1), tuple((v, w, F(1), False) for v, w in arcs))
    with pytest.raises(flows.FlowsError, match="not series-parallel"):
        sink_slope(problem)
