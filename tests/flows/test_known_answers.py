"""K1-K5 of the specification, with the very numbers; arcs are (tail, head, transit, capacity)."""

from fractions import Fraction as F

import pytest

from extremal import flows

ARITHMETIC = ["exact", "float"]


def close(found, wanted, arithmetic):
    """Exact numbers are equal; floats agree to a few roundings."""
    if arithmetic == "exact":
        return found == wanted
    return found == pytest.approx(float(wanted), rel=1e-12, abs=1e-12)


def phases_of(flow, nodes):
    return [(p.start, *(p.label_slopes[n] for n in nodes)) for p in flow.phases]


def assert_phases(flow, nodes, wanted, arithmetic):
    found = phases_of(flow, nodes)
    assert len(found) == len(wanted)
    for row, expected in zip(found, wanted, strict=True):
        for a, b in zip(row, expected, strict=True):
            assert close(a, F(b), arithmetic), (row, expected)


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_k1_inflow_that_stops(arithmetic):
    net = flows.Network.from_arcs([("s", "t", 1, 1)])
    eq = flows.nash(net, source="s", sink="t", inflow=[(0, 2), (3, 0)], arithmetic=arithmetic)
    assert eq.status == "final"
    assert_phases(eq, "t", [(0, 2), (3, 0), (6, 1)], arithmetic)
    assert close(eq.arrival(3), 7, arithmetic)
    assert close(eq.arrival(6), 7, arithmetic)
    assert close(eq.completion(), 7, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
@pytest.mark.parametrize("method", ["auto", "floats", "pivoting"])
def test_k2_parallel_arcs(arithmetic, method):
    eq = flows.nash("two-routes", inflow=2, arithmetic=arithmetic, method=method)
    assert_phases(eq, "t", [(0, 2), (2, 1)], arithmetic)
    assert [close(eq.phases[0].flow[a], x, arithmetic) for a, x in (("short", 2), ("long", 0))]
    assert all(close(x, 1, arithmetic) for x in eq.phases[1].flow.values())
    assert close(eq.queue_curve("short")(100), 2, arithmetic)
    eq = flows.nash("two-routes", inflow=3, arithmetic=arithmetic, method=method)
    assert_phases(eq, "t", [(0, 3), (1, "3/2")], arithmetic)
    assert all(close(x, F(3, 2), arithmetic) for x in eq.phases[1].flow.values())


@pytest.mark.parametrize("method", ["auto", "floats", "pivoting"])
def test_k3_thin_flow_is_not_the_one_of_largest_label_sum(method):
    net = flows.Network.from_arcs(
        [("s", "a", 1, 5), ("a", "b", 1, 2), ("a", "t", 1, 7), ("b", "t", 1, 5)]
    )
    found = flows.thin_flow(net, "s", "t", 10, resetting=["a-b"], method=method)
    assert found.slopes == {"s": 1, "a": 2, "b": 2, "t": 2}
    assert found.flow == {"s-a": 10, "a-b": 4, "a-t": 6, "b-t": 4}


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
@pytest.mark.parametrize("method", ["auto", "floats", "pivoting"])
def test_k4_braess(arithmetic, method):
    eq = flows.nash("braess", arithmetic=arithmetic, method=method)
    wanted = [
        (0, 1, 2, 3, 3, 3),
        (15, 1, "2/3", 1, 2, 2),
        ("105/4", 1, "4/3", 1, "4/3", "4/3"),
        ("165/2", 1, 1, 1, 1, 1),
    ]
    assert_phases(eq, "1234t", wanted, arithmetic)
    middle = ("s-1", "1-2", "2-3", "3-4", "4-t")
    bottom = ("s-1", "1-3", "3-4", "4-t")
    top = ("s-1", "1-2", "2-4", "4-t")
    shares = [(1, 0, 0), ("1/3", "2/3", 0), ("1/3", "1/3", "1/3"), (0, "1/2", "1/2")]
    for phase, row in zip(eq.phases, shares, strict=True):
        found = {r.arcs: r.rate for r in eq.routes(phase.start)}
        for way, share in zip((middle, bottom, top), row, strict=True):
            assert close(found.get(way, 0), F(share), arithmetic)
    labels = eq.labels(F(165, 2))
    for node, label in zip("1234t", ("175/2", "245/2", "255/2", "325/2", "335/2"), strict=True):
        assert close(labels[node], F(label), arithmetic)
    events = [[(e.kind, e.arc) for e in p.events] for p in eq.phases]
    assert events == [[("activates", "1-3")], [("activates", "2-4")], [("empties", "2-3")], []]
    assert close(eq.total_travel_time(0, 100), F(112375, 16), arithmetic)
    assert close(eq.arrival(100), 185, arithmetic)
    volumes = dict.fromkeys((middle, bottom, top), 0)
    for p in eq.phases:
        for r in eq.routes(p.start):
            volumes[r.arcs] += r.rate * (min(100, p.end or 100) - p.start)
    for way, volume in ((middle, F(75, 2)), (bottom, 35), (top, F(55, 2))):
        assert close(volumes[way], volume, arithmetic)


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
@pytest.mark.parametrize("method", ["auto", "floats", "pivoting"])
def test_k5_parallel_arcs_in_series(arithmetic, method):
    net = flows.Network.from_arcs(
        [("s", "a", 1, 2), ("s", "a", 4, 3), ("a", "b", 2, 1), ("a", "t", 7, 2), ("b", "t", 1, 3),
         ("b", "t", 2, 1)]
    )  # fmt: skip
    eq = flows.nash(net, source="s", sink="t", inflow=6, arithmetic=arithmetic, method=method)
    wanted = [(0, 3, 6, 6), ("4/3", 3, 3, 3), ("3/2", "6/5", 2, 2)]
    assert_phases(eq, "abt", wanted, arithmetic)
    assert close(eq.arrival(F(4, 3)), 12, arithmetic)
    assert close(eq.arrival(F(3, 2)), F(25, 2), arithmetic)


def test_float_flow_is_certified_by_solving_its_bases_exactly():
    floats, exact = flows.nash("braess", arithmetic="float"), flows.nash("braess")
    assert floats.certified().phases == exact.phases
    assert floats.certified().arithmetic == "exact"


@pytest.mark.parametrize("arithmetic", ARITHMETIC)
def test_sioux_falls_has_sixteen_phases(shared_data, arithmetic):
    eq = flows.nash(
        shared_data / "tntp" / "SiouxFalls_net.tntp",
        source="1", sink="20", inflow=500, arithmetic=arithmetic,
    )  # fmt: skip
    assert (eq.status, len(eq.phases)) == ("final", 16)
    assert any("6 of 76 arcs were dropped" in note for note in eq.notes)
    assert any("free-flow time" in note for note in eq.notes)
    assert eq.labels(100)["1"] == 100
    # the last slope is inflow over the minimum cut of the whole network, by section 2.6
    assert float(eq.phases[-1].label_slopes["20"]) == pytest.approx(
        500 / float(flows.steady_state(eq.network, "1", "20", 500).cut), rel=1e-12
    )


def test_max_phases_returns_what_is_known():
    eq = flows.nash("braess", max_phases=2)
    assert (eq.status, eq.exit_code, len(eq.phases)) == ("phase-limit", 3, 2)
    assert eq.until == F(105, 4)
    assert eq.arrival(20) == 80
    with pytest.raises(ValueError, match="outside what is known"):
        eq.labels(27)


def test_horizon_ends_the_last_phase():
    eq = flows.nash("braess", horizon=20)
    assert (eq.status, eq.until, eq.exit_code) == ("horizon", 20, 0)
