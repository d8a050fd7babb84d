"""K7 and K8: spillback, with the very numbers."""

from fractions import Fraction as F
from itertools import pairwise

import pytest

from extremal import flows
from extremal.flows._spillback import agent_and_clock

pytest.importorskip("highspy")


def rates(phase):
    return tuple(phase.flow[a] for a in ("1-2", "1-3", "2-3", "2-4"))


def test_k7_braess_with_spillback():
    eq = flows.nash("braess-spillback", spillback=True)
    assert eq.status == "final"
    assert [p.start for p in eq.phases] == [0, 7, 13, 19]
    middle = {"s-1", "1-2", "2-3", "3-4", "4-t"}
    for p in eq.phases:
        assert p.label_slopes["t"] == 3
        assert {a for a, x in p.flow.items() if x} == middle
        assert all(p.flow[a] == 1 for a in middle)
    assert [p.factors["1"] for p in eq.phases] == [1, F(1, 2), F(1, 2), F(1, 3)]
    assert [p.factors["2"] for p in eq.phases] == [1, 1, F(2, 3), F(2, 3)]
    # agent view and clock view: 12 is full at clock time 12, 23 at 36
    assert (7, 12, "fills") in agent_and_clock(eq, "1-2")
    assert (13, 36, "fills") in agent_and_clock(eq, "2-3")


def test_k8_atmos_never_settles():
    eq = flows.nash("atmos", spillback=True, max_phases=30)
    assert (eq.status, eq.exit_code) == ("phase-limit", 3)
    starts = [p.start for p in eq.phases]
    assert starts[:9] == [0, 14, 19, 21, 50, 53, 54, 61, 68]
    for k in range(8, 26):
        assert starts[k + 4] - starts[k] == 18
    assert [b - a for a, b in pairwise(starts[8:13])] == [3, 1, 7, 7]
    by_start = {p.start: p for p in eq.phases}
    assert all(rates(by_start[t])[:2] == (6, 0) for t in (0, 14, 19))
    assert rates(by_start[21]) == (2, 4, 2, 0)
    assert rates(by_start[50]) == (4, 2, 2, 2)
    assert rates(by_start[53])[:2] == rates(by_start[54])[:2] == (6, 0)
    assert rates(by_start[61])[:2] == (2, 4)
    assert by_start[19].factors["1"] == F(1, 2)
    assert by_start[53].factors["1"] == by_start[54].factors["1"] == F(1, 3)  # a figure prints 1/2
    for t, c in ((14, F(2, 3)), (21, F(2, 3)), (50, 1), (53, 1), (54, F(2, 3)), (61, F(2, 3))):
        assert by_start[t].factors["2"] == c
    # 18 agents take 34 units of clock time past node 1
    later = eq.labels(86)["1"] - eq.labels(68)["1"]
    assert later == eq.labels(104)["1"] - eq.labels(86)["1"] == 34


def test_spillback_without_limits_is_the_ordinary_equilibrium():
    plain, spilled = flows.nash("braess"), flows.nash("braess", spillback=True)
    assert [p.labels for p in spilled.phases] == [p.labels for p in plain.phases]
    assert [p.label_slopes for p in spilled.phases] == [p.label_slopes for p in plain.phases]


def test_limits_are_ignored_without_spillback_and_the_output_says_so():
    eq = flows.nash("braess-spillback")
    assert any("ignored" in n for n in eq.notes)
    assert not eq.network.spills


def test_a_limited_first_arc_is_refused_and_a_super_source_mends_it():
    net = flows.Network.from_arcs([("s", "t", 1, 1, None, 5)])
    with pytest.raises(ValueError, match="with_super_source"):
        flows.nash(net, source="s", sink="t", inflow=2, spillback=True)
    wider = flows.with_super_source(net, "s", 10)
    eq = flows.nash(wider, source="origin", sink="t", inflow=2, spillback=True)
    # 1 unit of room is left free by the flow that moves; then the queue stands before the arc
    assert eq.status == "final"
    assert eq.phases[-1].factors["s"] < 1


def test_there_is_no_certificate_of_spillback():
    eq = flows.nash("braess-spillback", spillback=True)
    with pytest.raises(flows.FlowsError, match="no certificate"):
        _ = eq.certificate


def test_an_inflow_capacity_bounds_what_enters():
    net = flows.Network.from_arcs([("o", "s", 0, 9), ("s", "t", 1, 5, 1, 4), ("s", "t", 6, 5)])
    eq = flows.nash(net, source="o", sink="t", inflow=3, spillback=True)
    for p in eq.phases:
        if p.label_slopes["s"]:
            assert p.flow["s-t"] <= p.label_slopes["s"]
