"""Writers: our JSON, TNTP, MATSim network XML and events, GMNS, networkx.

A number without a finite decimal is rounded to 15 digits in the formats that have only decimals;
JSON keeps every fraction.
"""

import csv
import io
import json
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast
from xml.sax.saxutils import quoteattr

from extremal.lab import atomic_write, require

from ._network import Network

if TYPE_CHECKING:
    import networkx as nx

    from ._simulation import Simulation


def write_json(network: Network, path: Path | str) -> Path:
    """Write a network with all fractions as text."""
    return atomic_write(path, json.dumps(network.as_json(), indent=1) + "\n")


def write_tntp(network: Network, path: Path | str) -> Path:
    """Write a `_net.tntp` file: free-flow time = transit, capacity = 60 times ours.

    Raises:
        ValueError: A node's name is no positive integer, which the format needs.
    """
    if not all(n.isdigit() for n in network.nodes):
        raise ValueError("TNTP numbers its nodes; rename them to 1, 2, … or write JSON.")
    numbers = [int(n) for n in network.nodes]
    first = 1 + max((int(n) for n in network.terminals), default=0)
    lines = [
        f"<NUMBER OF ZONES> {max(numbers) if first == 1 else first - 1}",
        f"<NUMBER OF NODES> {len(numbers)}",
        f"<FIRST THRU NODE> {first}",
        f"<NUMBER OF LINKS> {len(network.arcs)}",
        "<END OF METADATA>",
        "",
        "~\tinit_node\tterm_node\tcapacity\tlength\tfree_flow_time\tb\tpower\tspeed\ttoll\ttype\t;",
    ]
    for arc in network.arcs:
        row = [arc.tail, arc.head, _decimal(60 * arc.capacity), _decimal(arc.transit),
               _decimal(arc.transit), "0.15", "4", "0", "0", "1", ";"]  # fmt: skip
        lines.append("\t" + "\t".join(row))
    return atomic_write(path, "\n".join(lines) + "\n")


def write_matsim(network: Network, path: Path | str) -> Path:
    """Write a MATSim network (version 2): a link of length = transit at 1 m/s, capacity an hour."""
    out = [
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!DOCTYPE network SYSTEM "http://www.matsim.org/files/dtd/network_v2.dtd">',
        "<network>",
        " <nodes>",
    ]
    for i, node in enumerate(network.nodes):
        x, y = network.positions.get(node, (float(i), 0.0))
        out.append(f"  <node id={quoteattr(node)} x={quoteattr(str(x))} y={quoteattr(str(y))} />")
    out += [" </nodes>", ' <links capperiod="01:00:00" effectivecellsize="7.5">']
    for arc in network.arcs:
        # MATSim has no link without storage: an hour of capacity stands for no limit.
        storage = 3600 * arc.capacity if arc.storage is None else arc.storage
        length = arc.transit or Fraction(1, 1000)
        speed = Fraction(1) if arc.transit else Fraction(1000)
        lanes = storage * Fraction(15, 2) / length
        fields = {
            "id": arc.name,
            "from": arc.tail,
            "to": arc.head,
            "length": _decimal(length),
            "freespeed": _decimal(speed),
            "capacity": _decimal(3600 * arc.capacity),
            "permlanes": _decimal(lanes),
            "oneway": "1",
            "modes": "car",
        }
        out.append("  <link " + " ".join(f"{k}={quoteattr(v)}" for k, v in fields.items()) + " />")
    out += [" </links>", "</network>"]
    return atomic_write(path, "\n".join(out) + "\n")


def write_gmns(network: Network, folder: Path | str) -> Path:
    """Write a GMNS folder: speeds of 60 km/h, so that a kilometre is a minute of transit."""
    folder = Path(folder)
    nodes = [
        [n, *(str(c) for c in network.positions.get(n, (float(i), 0.0)))]
        for i, n in enumerate(network.nodes)
    ]
    links = [
        [a.name, a.tail, a.head, "1", _decimal(a.transit), "60", _decimal(60 * a.capacity), "1"]
        for a in network.arcs
    ]
    head = ["link_id", "from_node_id", "to_node_id", "directed", "length", "free_speed",
            "capacity", "lanes"]  # fmt: skip
    atomic_write(folder / "config.csv", _csv(["length", "speed"], [["km", "kmh"]]))
    atomic_write(folder / "node.csv", _csv(["node_id", "x_coord", "y_coord"], nodes))
    atomic_write(folder / "link.csv", _csv(head, links))
    return folder


def to_networkx(network: Network) -> "nx.MultiDiGraph[str]":
    """Return a networkx multigraph whose edges are keyed by arc names, with fractions."""
    nx = cast("Any", require("networkx", "flows"))
    graph = nx.MultiDiGraph()
    for node in network.nodes:
        place = network.positions.get(node)
        graph.add_node(node, **({} if place is None else {"pos": place}))
    for arc in network.arcs:
        extra = {
            k: v
            for k, v in (("inflow_capacity", arc.inflow_capacity), ("storage", arc.storage))
            if v is not None
        }
        graph.add_edge(
            arc.tail, arc.head, key=arc.name, name=arc.name, transit=arc.transit,
            capacity=arc.capacity, **extra,
        )  # fmt: skip
    return graph


def write_events(simulation: "Simulation", path: Path | str) -> Path:
    """Write the moves of a simulation as MATSim events, sorted by time."""
    events: list[tuple[float, int, str]] = []
    for number, (arcs, times) in enumerate(simulation.moves()):
        agent = quoteattr(f"p{number}")
        first = f'type="departure" person={agent} link={quoteattr(arcs[0])} legMode="car"'
        events.append((times[0], 0, first))
        for k, (arc, entered) in enumerate(zip(arcs, times, strict=False)):
            link = quoteattr(arc)
            word = "vehicle enters traffic" if k == 0 else "entered link"
            events.append((entered, 2, f'type="{word}" vehicle={agent} link={link}'))
            left = times[k + 1]
            last = k + 1 == len(arcs)
            word = "vehicle leaves traffic" if last else "left link"
            events.append((left, 1, f'type="{word}" vehicle={agent} link={link}'))
            if last:
                done = f'type="arrival" person={agent} link={link} legMode="car"'
                events.append((left, 3, done))
    events.sort(key=lambda e: (e[0], e[1]))
    lines = [f'  <event time="{time:g}" {text} />' for time, _, text in events]
    body = ['<?xml version="1.0" encoding="utf-8"?>', '<events version="1.0">', *lines, "</events>"]
    return atomic_write(path, "\n".join(body) + "\n")


def _decimal(value: Fraction) -> str:
    denominator = value.denominator
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    if denominator != 1:
        return f"{float(value):.15g}"
    digits = 0
    while (value * 10**digits).denominator != 1:
        digits += 1
    whole = abs(int(value * 10**digits))
    text = str(whole).rjust(digits + 1, "0")
    sign = "-" if value < 0 else ""
    return sign + (f"{text[:-digits]}.{text[-digits:]}" if digits else text)


def _csv(head: list[str], rows: list[Any]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(head)
    writer.writerows(rows)
    return buffer.getvalue()
