"""Readers and writers, and what they refuse."""

from fractions import Fraction as F

import pytest

from extremal import flows

pytestmark = pytest.mark.filterwarnings("ignore::extremal.flows.PacketWarning")

NET = flows.Network.from_arcs(
    [("1", "2", "4/3", "1/3"), ("1", "2", 2, 7), ("2", "3", "0.25", 1, 3, 5)],
    positions={"1": (0.0, 0.0), "2": (1.0, 0.5)},
)


def test_json_keeps_every_fraction(tmp_path):
    flows.write_json(NET, tmp_path / "n.json")
    assert flows.read_network(tmp_path / "n.json") == NET


def test_tntp_of_sioux_falls(shared_data):
    net = flows.read_tntp(shared_data / "tntp" / "SiouxFalls_net.tntp")
    assert (len(net.nodes), len(net.arcs)) == (24, 76)
    first = net.arcs[0]
    assert (first.tail, first.head, first.transit) == ("1", "2", 6)
    assert first.capacity == F("25900.20064") / 60
    assert net.positions["1"] == (-96.77041974, 43.61282792)
    assert not net.terminals


def test_tntp_zones_are_terminals(shared_data):
    net = flows.read_tntp(shared_data / "tntp" / "Anaheim_net.tntp")
    assert len(net.arcs) == 914
    assert net.terminals == {str(k) for k in range(1, 39)}
    eq = flows.nash(net, source=1, sink=20, inflow=150, horizon=20)
    assert not {str(k) for k in range(2, 39) if k != 20} & {a.tail for a in eq.network.arcs}
    assert eq.status == "horizon"


def test_tntp_round_trip(tmp_path, shared_data):
    net = flows.read_tntp(shared_data / "tntp" / "SiouxFalls_net.tntp")
    again = flows.read_tntp(flows.write_tntp(net, tmp_path / "x_net.tntp"))
    assert [(a.tail, a.head, a.transit, a.capacity) for a in again.arcs] == [
        (a.tail, a.head, a.transit, a.capacity) for a in net.arcs
    ]


def test_matsim_round_trip(tmp_path):
    pytest.importorskip("lxml")
    net = flows.Network.from_arcs([("a", "b", 5, "1/2", None, 6), ("b", "c", "2.5", 1, None, 30)])
    again = flows.read_matsim(flows.write_matsim(net, tmp_path / "network.xml"))
    assert [(a.transit, a.capacity, a.storage) for a in again.arcs] == [
        (a.transit, a.capacity, a.storage) for a in net.arcs
    ]


def test_matsim_units(tmp_path):
    pytest.importorskip("lxml")
    text = """<network><nodes><node id="1" x="0" y="0"/><node id="2" x="9" y="0"/></nodes>
    <links capperiod="{}" effectivecellsize="7.5"><link id="l" from="1" to="2" length="150"
    freespeed="10" capacity="1800" permlanes="2.0"/></links></network>"""
    file = tmp_path / "n.xml"
    file.write_text(text.format("01:00:00"))
    arc = flows.read_network(file).arcs[0]
    assert (arc.name, arc.transit, arc.capacity, arc.storage) == ("l", 15, F(1, 2), 40)
    file.write_text(text.format("1 hour"))
    with pytest.raises(flows.FlowsError, match="'1 hour'"):
        flows.read_network(file)
    file.write_text("<network>")
    with pytest.raises(flows.FlowsError, match="no XML"):
        flows.read_network(file)


def test_gmns_round_trip_and_units(tmp_path):
    net = flows.Network.from_arcs([("a", "b", 5, "1/2"), ("b", "c", "2.5", 1)])
    again = flows.read_network(flows.write_gmns(net, tmp_path / "g"))
    assert [(a.transit, a.capacity) for a in again.arcs] == [(5, F(1, 2)), (F(5, 2), 1)]
    links = tmp_path / "g" / "link.csv"
    links.write_text(links.read_text().replace(",30,1", ",30,3"))
    assert flows.read_gmns(tmp_path / "g").arcs[0].capacity == F(3, 2)  # per lane
    (tmp_path / "g" / "config.csv").write_text("length,speed\nfurlong,kmh\n")
    with pytest.raises(flows.FlowsError, match="'furlong'"):
        flows.read_gmns(tmp_path / "g")
    (tmp_path / "g" / "config.csv").write_text("length,speed\nmi,knots\n")
    with pytest.raises(flows.FlowsError, match="'knots'"):
        flows.read_gmns(tmp_path / "g")


def test_networkx_round_trip():
    nx = pytest.importorskip("networkx")
    graph = flows.to_networkx(NET)
    assert isinstance(graph, nx.MultiDiGraph)
    again = flows.from_networkx(graph)
    assert again.arcs == NET.arcs
    assert again.nodes == NET.nodes
    with pytest.raises(ValueError, match="undirected"):
        flows.from_networkx(nx.Graph())


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("<NUMBER OF LINKS> 1\n", "END OF METADATA"),
        ("<NUMBER OF LINKS> 2\n<END OF METADATA>\n1 2 5 1 1 ;\n", "states 2 links and has 1"),
        ("<END OF METADATA>\n1 2 x 1 1 ;\n", "line 2"),
        ("<END OF METADATA>\n1 2 ;\n", "columns"),
    ],
)
def test_damaged_tntp_is_named(tmp_path, text, word):
    file = tmp_path / "n.tntp"
    file.write_text(text)
    with pytest.raises(flows.FlowsError, match=word):
        flows.read_network(file)


def test_other_files_are_refused_by_name(tmp_path):
    (tmp_path / "n.txt").write_text("")
    with pytest.raises(flows.FlowsError, match="no known form"):
        flows.read_network(tmp_path / "n.txt")
    (tmp_path / "n.json").write_text("{}")
    with pytest.raises(flows.FlowsError, match="no network in JSON"):
        flows.read_network(tmp_path / "n.json")


def test_events_are_read_back(tmp_path):
    pytest.importorskip("lxml")
    run = flows.simulate("braess", step="1/2", until=30)
    file = flows.write_events(run, tmp_path / "events.xml")
    read = flows.read_events(file, run.network)
    wanted = list(run.moves())
    assert [(t.arcs, list(t.times)) for t in read] == wanted
    assert flows.gap("braess", file).relative == pytest.approx(flows.gap("braess", run).relative)
    with pytest.raises(flows.FlowsError, match="no arc"):
        flows.read_events(file, NET)


def test_uxsim_tables_are_read(tmp_path):
    file = tmp_path / "vehicles.csv"
    rows = ["name,dn,orig,dest,t,link,x,s,v"]
    for name, start in (("0", 0), ("1", 5)):
        rows.append(f"{name},5,s,t,{start},waiting_at_origin_node,0,0,0")
        rows += [f"{name},5,s,t,{start + k},s-a,{k},-1,1" for k in (5, 10)]
        rows.append(f"{name},5,s,t,{start + 15},a-t,0,-1,1")
        rows.append(f"{name},5,s,t,{start + 25},trip_end,-1,-1,-1")
    file.write_text("\n".join(rows))
    net = flows.Network.from_arcs([("s", "a", 5, 1), ("a", "t", 10, 1)])
    found = flows.read_uxsim(file, net)
    assert [t.times for t in found] == [(0.0, 15.0, 25.0), (5.0, 20.0, 30.0)]
    measured = flows.gap(net, file)
    assert (measured.total, measured.rows[0][2]) == (50.0, 2)
    file.write_text("name,t\n0,1\n")
    with pytest.raises(flows.FlowsError, match="'link'"):
        flows.read_uxsim(file, net)
