"""Many origins to one destination: the reduction against fluid loading, which knows none of it."""

import random
from fractions import Fraction as F
from itertools import pairwise

import pytest

from extremal import cli, flows, verify
from extremal.flows._gap import _earliest

from .conftest import random_dag

END = F(1000)


def situation(seed):
    """A random network, some with cycles, and origins that open, stop, and open again."""
    draw = random.Random(seed)
    net = random_dag(seed)
    names = sorted(net.nodes, key=int)
    rows = [(a.tail, a.head, max(a.transit, F(1, 2)), a.capacity) for a in net.arcs]
    if seed % 3 == 0:
        back = draw.sample(rows, min(3, len(rows)))
        rows += [(w, v, draw.randint(1, 6), F(draw.randint(1, 8), 2)) for v, w, *_ in back]
    inflows = {}
    for origin in draw.sample(names[:-1], draw.randint(1, min(4, len(names) - 1))):
        starts = sorted(draw.sample(range(25), draw.randint(2, 6)))
        steps = [(0, F(0)), *((s, F(draw.randint(0, 12), draw.randint(1, 3))) for s in starts)]
        steps = sorted(dict(steps).items())
        steps[-1] = (steps[-1][0], F(0))
        inflows[origin] = steps if any(r for _, r in steps) else [(2, F(3)), (4, F(0))]
    return flows.Network.from_arcs(rows), names[-1], inflows


def check(seed, folder):
    net, sink, inflows = situation(seed)
    found = flows.nash_to(net, sink, inflows)
    assert found.status == "final"
    verdict = verify.file(found.save(folder))
    assert verdict.accepted, verdict.reason
    demand = found.demand()
    for origin, inflow in found.inflows.items():
        own = [d for d in demand if d.name == origin]
        for t in (*(s for s, _ in inflow.steps), F(7, 3), F(31, 4)):
            assert sum(d.inflow.volume(t) for d in own) == inflow.volume(t)
    loading = flows.load_fluid(net, demand)
    gap = flows.gap(net, loading)
    assert gap.relative == 0
    assert all(total == best for *_, total, best in gap.rows)
    assert gap.total == found.total_travel_time()
    # arrivals of everyone, also of those who do not travel, are the earliest in the loaded network
    for origin in inflows:
        best = _earliest(net, loading.exits, origin)[sink]
        for k in range(80):
            assert found.arrival(origin, F(k, 2)) == best(F(k, 2)), (origin, k)
    return found


@pytest.mark.parametrize("seed", range(24))
def test_nobody_could_arrive_earlier(seed, tmp_path):
    check(seed, tmp_path)


@pytest.mark.slow
def test_nobody_could_arrive_earlier_in_hundreds_of_networks(tmp_path):
    jumped = 0
    for seed in range(40, 440):
        found = check(seed, tmp_path)
        jumped += any(
            a.label_at_end(n) != b.labels[n] for a, b in pairwise(found.phases) for n in a.labels
        )
    assert jumped > 100  # queues that nobody joins any more are met often


def test_two_origins_behind_one_bottleneck():
    """By hand: a and b reach m from 3 and 1 on; m-t serves 1, and from clock 3 to 5 both come.

    b's agents arrive alone from 2 on at a rate of 1, together with a's from 4 at half a rate
    each, until b's last at 8; a's last two, who came to m from 5 to 7 in all, arrive until 10.
    """
    net = flows.Network.from_arcs([("a", "m", 3, 9), ("b", "m", 1, 9), ("m", "t", 1, 1)])
    found = flows.nash_to(net, "t", {"a": "0:1, 4:0", "b": "0:1, 4:0"})
    assert [(p.start, p.end) for p in found.phases] == [(2, 4), (4, 8), (8, 10)]
    assert [found.arrival("b", d) for d in (0, 2, 3, 4)] == [2, 4, 6, 8]
    assert [found.arrival("a", d) for d in (0, 1, 2, 4, 5, 6, 7)] == [4, 6, 8, 10, 10, 10, 11]
    assert found.phases[1].flow["m-t"] == 1
    assert found.total_travel_time() == 32


def test_a_plain_super_source_would_be_wrong():
    """Agents of a common source would all start from the nearer origin."""
    net = flows.Network.from_arcs([("a", "m", 3, 9), ("b", "m", 1, 9), ("m", "t", 1, 1)])
    joined = flows.Network.from_arcs([*net.arcs, ("S", "a", 0, 1), ("S", "b", 0, 1)])
    eq = flows.nash(joined, source="S", sink="t", inflow="0:2, 4:0")
    assert eq.status == "final"
    from_a = sum(r.rate for r in eq.routes(0) if r.arcs[0] == "S-a")
    assert from_a == 0  # but a's agents leave at a rate of 1 from time 0 on
    right = flows.nash_to(net, "t", {"a": "0:1, 4:0", "b": "0:1, 4:0"}).demand()
    assert sum(d.inflow.volume(F(1)) for d in right if d.name == "a") == 1


def test_one_origin_is_nash():
    eq = flows.nash("braess", horizon=100)
    found = flows.nash_to("braess", "t", {"s": 1}, horizon=100)
    assert found.status == "horizon"
    assert found.known_until("s") == 100
    for d in (0, 7, 20, F(105, 4), 50, 90, 100):
        assert found.arrival("s", d) == eq.arrival(d)
    assert found.total_travel_time(100) == F(112375, 16)
    assert flows.gap("braess", found.demand(100)).relative == 0
    for_ever = flows.nash_to("braess", "t", {"s": 1})
    assert for_ever.status == "final"
    assert for_ever.arrival("s", 1000) == eq.arrival(100) + 900
    with pytest.raises(ValueError, match="never stops"):
        for_ever.demand()


def test_three_origins_in_sioux_falls(shared_data):
    net = flows.read_tntp(shared_data / "tntp" / "SiouxFalls_net.tntp")
    inflows = {"1": "0:400, 12:0", "13": "8:300, 20:0", "7": "14:200, 26:0"}
    found = flows.nash_to(net, "20", inflows)
    assert found.status == "final"
    assert any(len([r for r in p.supply.values() if r]) == 3 for p in found.phases)
    run = flows.simulate(net, demand=found.demand(), model="fluid")
    assert flows.gap(net, run).relative == 0


def test_the_phase_limit_returns_what_is_known():
    found = flows.nash_to("braess", "t", {"s": 1, "2": "1/3"}, max_phases=2)
    assert (found.status, found.exit_code, len(found.phases)) == ("phase-limit", 3, 2)
    known = found.known_until("s")
    assert found.arrival("s", known) == found.phases[-1].end
    with pytest.raises(ValueError, match="raise the horizon"):
        found.arrival("s", known + 1)
    with pytest.raises(ValueError, match="is asked for"):
        found.demand(END)
    assert found.as_json()["phases"][0]["end"] == str(found.phases[0].end)
    assert len(found.table().rows) == 2


@pytest.mark.parametrize(
    ("sink", "inflows", "options", "word"),
    [
        ("t", {}, {}, "no origin"),
        ("q", {"s": 1}, {}, "'q' is no node"),
        ("t", {"q": 1}, {}, "'q' is no node"),
        ("t", {"t": 1}, {}, "origin too"),
        ("t", {"s": 0}, {}, "always 0"),
        ("t", {"s": -1}, {}, "rate -1"),
        ("1", {"s": 1, "2": 1}, {}, "no route leads from '2'"),
        ("t", {"s": 1}, {"horizon": 0}, "horizon is 0"),
        ("t", {"s": 1}, {"max_phases": 0}, "max_phases=0"),
        ("t", {"s": 1}, {"method": "magic"}, "method='magic'"),
    ],
)
def test_what_does_not_reduce_is_refused(sink, inflows, options, word):
    with pytest.raises(ValueError, match=word):
        flows.nash_to("braess", sink, inflows, **options)


def test_spillback_is_refused():
    with pytest.raises(ValueError, match="without spillback only"):
        flows.nash_to("braess-spillback", "t", {"s": 1, "1": 1})


def test_the_shell_writes_a_run_that_is_verified(tmp_path, capsys, shared_data):
    out = tmp_path / "run"
    words = [
        "flows", "nash-to", str(shared_data / "tntp" / "SiouxFalls_net.tntp"), "--sink", "20",
        "--inflows", "1=0:400, 12:0", "13=8:300, 20:0", "7=14:200, 26:0", "--out", str(out),
    ]  # fmt: skip
    assert cli.main(words) == 0
    assert "from 3 origins" in capsys.readouterr().out
    verdict = verify.file(out)
    assert verdict.accepted, verdict.reason
    assert (out / "report.html").exists()
    assert cli.main([*words, "--resume"]) == 0
    capsys.readouterr()
    for wrong, text in (
        ("400", "no origin"),
        ("1=0:400", "two inflows"),
        ("q=1", "'q' is no node"),
    ):
        inflows = ["1=1", wrong]
        assert cli.main([*words[:5], "--inflows", *inflows]) == 2
        assert text in capsys.readouterr().err
    assert cli.main([*words[:3], *words[5:9]]) == 2
    assert "say the sink" in capsys.readouterr().err
