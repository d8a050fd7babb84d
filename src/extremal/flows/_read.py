"""Readers: TNTP, MATSim network XML, GMNS, our JSON, networkx.

Every reader keeps decimals exact, and says in the network's notes how units became ours.
"""

import csv
import json
from collections.abc import Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

from extremal.lab import rational, require

from ._errors import FlowsError
from ._network import Arc, Network

_MAX_BYTES = 1 << 30


def read_network(path: Path | str) -> Network:
    """Read a network by the form of its file.

    Args:
        path: `*.tntp`, `*.xml` or `*.xml.gz` (MATSim), a folder or `link.csv` (GMNS), `*.json`, or
            the folder of a run, whose network it is.

    Raises:
        FlowsError: The form is unknown, or the file is malformed.
    """
    path = Path(path)
    if path.is_dir() and (path / "link.csv").exists():
        return read_gmns(path)
    if path.is_dir() and (path / "network.json").exists():
        return read_json(path / "network.json")
    if path.suffix == ".tntp":
        return read_tntp(path)
    if path.name.endswith((".xml", ".xml.gz")):
        return read_matsim(path)
    if path.suffix == ".csv":
        return read_gmns(path.parent)
    if path.suffix == ".json":
        return read_json(path)
    raise FlowsError(
        f"{path} is of no known form; networks are read from .tntp, .xml (MATSim), .json, GMNS "
        "folders with link.csv, and runs."
    )


def read_json(path: Path | str) -> Network:
    """Read what `write_json` wrote.

    Raises:
        FlowsError: The file is not such JSON.
    """
    try:
        return Network.from_json(json.loads(_text(path)))
    except (ValueError, KeyError, TypeError) as error:
        raise FlowsError(f"{path} is no network in JSON: {error}") from error


def read_tntp(path: Path | str, nodes: Path | str | None = None) -> Network:
    """Read a `_net.tntp` file of the Transportation Networks collection.

    The transit time is the free-flow time; the capacity, taken per hour, is divided by 60, so that
    with times in minutes rates are per minute. Zones below `FIRST THRU NODE` are terminals.

    Args:
        path: The network file.
        nodes: The node file with coordinates; default: `*_node.tntp` beside it, if there is one.

    Raises:
        FlowsError: A line or a number is malformed.
    """
    path = Path(path)
    meta: dict[str, str] = {}
    arcs: list[Arc] = []
    header = True
    for number, line in enumerate(_text(path).splitlines(), start=1):
        text = line.split("~")[0].strip() if not header else line.strip()
        if header:
            if text.startswith("<"):
                key, _, value = text[1:].partition(">")
                meta[key.strip().upper()] = value.strip()
                header = key.strip().upper() != "END OF METADATA"
            continue
        words = text.rstrip(";").split()
        if not words:
            continue
        if len(words) < 5:
            raise FlowsError(f"line {number} of {path} has {len(words)} columns, not 5 or more.")
        arcs.append(
            Arc(
                words[0],
                words[1],
                _number(words[4], path, number),
                _number(words[2], path, number) / 60,
            )
        )
    if header or not arcs:
        raise FlowsError(f"{path} is no TNTP network: it has no '<END OF METADATA>' or no links.")
    stated = meta.get("NUMBER OF LINKS", str(len(arcs)))
    if stated != str(len(arcs)):
        raise FlowsError(f"{path} states {stated} links and has {len(arcs)}; it is cut off.")
    names = dict.fromkeys(n for a in arcs for n in (a.tail, a.head))
    ordered = sorted(names, key=lambda n: (not n.isdigit(), int(n) if n.isdigit() else 0, n))
    first = int(meta.get("FIRST THRU NODE", "1"))
    terminals = frozenset(n for n in ordered if n.isdigit() and int(n) < first)
    notes = ("TNTP: transit time = free-flow time (minutes), capacity = capacity / 60 (a minute)",)
    return Network(tuple(ordered), tuple(arcs), _tntp_places(path, nodes), terminals, notes)


def _tntp_places(path: Path, nodes: Path | str | None) -> dict[str, tuple[float, float]]:
    beside = path.with_name(path.name.replace("_net.tntp", "_node.tntp"))
    file = Path(nodes) if nodes is not None else beside
    if file == path or not file.exists():
        return {}
    places: dict[str, tuple[float, float]] = {}
    for line in _text(file).splitlines()[1:]:
        words = line.replace(";", " ").split()
        if len(words) >= 3:
            places[words[0]] = (float(words[1]), float(words[2]))
    return places


def read_matsim(path: Path | str) -> Network:
    """Read a MATSim network: transit = length / freespeed, capacity = capacity / capperiod.

    The capacity is that of the whole link, not of a lane; the storage is length * permlanes /
    effectivecellsize. Times are seconds.

    Raises:
        FlowsError: The file is malformed, or a period is in an unknown form.
    """
    etree = cast("Any", require("lxml.etree", "flows"))
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False)
    try:
        root = etree.parse(str(path), parser).getroot()
    except (etree.XMLSyntaxError, OSError) as error:
        raise FlowsError(f"{path} is no XML that can be read: {error}") from error
    links = root.find("links")
    if root.tag != "network" or links is None:
        raise FlowsError(f"{path} is no MATSim network: its root is <{root.tag}>.")
    period = _seconds(links.get("capperiod", "01:00:00"), path)
    cell = rational(links.get("effectivecellsize", "7.5"))
    places = {
        n.get("id"): (float(n.get("x")), float(n.get("y"))) for n in root.iterfind("nodes/node")
    }
    arcs: list[Arc] = []
    for link in links.iterfind("link"):
        try:
            length, speed = rational(link.get("length")), rational(link.get("freespeed"))
            arcs.append(
                Arc(
                    link.get("from"),
                    link.get("to"),
                    length / speed,
                    rational(link.get("capacity")) / period,
                    None,
                    length * rational(link.get("permlanes", "1")) / cell,
                    link.get("id"),
                )
            )
        except (ValueError, TypeError, ZeroDivisionError) as error:
            raise FlowsError(f"link {link.get('id')!r} of {path} is malformed: {error}") from error
    notes = (
        "MATSim: transit = length / freespeed (s), capacity = capacity / capperiod (a second), "
        "storage = length * permlanes / effectivecellsize",
    )
    return Network(tuple(places), tuple(arcs), places, notes=notes)


_SPEED = {"mph": Fraction(1609344, 1000), "kmh": Fraction(1000), "kph": Fraction(1000)}
_LENGTH = {
    "mi": Fraction(1609344, 1000), "mile": Fraction(1609344, 1000),
    "miles": Fraction(1609344, 1000),
    "km": Fraction(1000), "m": Fraction(1), "meter": Fraction(1), "meters": Fraction(1),
    "ft": Fraction(3048, 10000), "feet": Fraction(3048, 10000),
}  # fmt: skip


def read_gmns(folder: Path | str) -> Network:
    """Read a GMNS folder: `node.csv`, `link.csv` and, if there is one, `config.csv`.

    The capacity of a link is per lane and hour, and times become minutes. Units are read from
    `config.csv` (`long_length` or `length` with mi, km, m, ft; `speed` with mph or kmh); without
    the file, meters and km/h.

    Raises:
        FlowsError: A column is missing, or a unit is unknown; it is named.
    """
    folder = Path(folder)
    config: Mapping[str, str] = {}
    if (folder / "config.csv").exists():
        config = next(iter(_rows(folder / "config.csv", ())), {})
    length_unit = (config.get("long_length") or config.get("length") or "m").lower()
    speed_unit = (config.get("speed") or "kmh").lower()
    if length_unit not in _LENGTH:
        raise FlowsError(f"{folder}/config.csv has the unknown length unit {length_unit!r}.")
    if speed_unit not in _SPEED:
        raise FlowsError(f"{folder}/config.csv has the unknown speed unit {speed_unit!r}.")
    meters, meters_an_hour = _LENGTH[length_unit], _SPEED[speed_unit]
    places: dict[str, tuple[float, float]] = {}
    names: dict[str, None] = {}
    terminals: set[str] = set()
    for row in _rows(folder / "node.csv", ("node_id",)):
        names[row["node_id"]] = None
        if row.get("x_coord") and row.get("y_coord"):
            places[row["node_id"]] = (float(row["x_coord"]), float(row["y_coord"]))
    arcs: list[Arc] = []
    file = folder / "link.csv"
    columns = ("from_node_id", "to_node_id", "length", "free_speed", "capacity")
    for number, row in enumerate(_rows(file, columns), start=2):
        lanes = rational(row.get("lanes") or 1)
        length = _number(row["length"], file, number) * meters
        speed = _number(row["free_speed"], file, number) * meters_an_hour
        if speed <= 0:
            raise FlowsError(f"line {number} of {file} has the free speed {row['free_speed']}.")
        capacity = _number(row["capacity"], file, number) * lanes / 60
        ends = (row["from_node_id"], row["to_node_id"])
        time = 60 * length / speed
        name = row.get("link_id") or ""
        arcs.append(Arc(ends[0], ends[1], time, capacity, name=name))
        if (row.get("directed") or "1").strip().lower() in {"0", "false"}:
            arcs.append(Arc(ends[1], ends[0], time, capacity, name=f"{name}-back" if name else ""))
    notes = (
        f"GMNS: length in {length_unit}, speed in {speed_unit}; transit in minutes, capacity = "
        "capacity * lanes / 60 (a minute)",
    )
    return Network(tuple(names), tuple(arcs), places, frozenset(terminals), notes)


def from_networkx(graph: Any, transit: str = "transit", capacity: str = "capacity") -> Network:
    """Read a networkx directed graph or multigraph.

    Args:
        graph: Edges carry the two attributes; `inflow_capacity`, `storage` and `name` are read
            where they stand, as is a node's `pos`.
        transit: Name of the transit time's attribute.
        capacity: Name of the capacity's.

    Raises:
        ValueError: The graph is undirected, or an attribute is missing.
    """
    if not graph.is_directed():
        raise ValueError("the graph is undirected; use graph.to_directed().")
    rows: list[Any] = []
    for tail, head, data in graph.edges(data=True):
        missing = [k for k in (transit, capacity) if k not in data]
        if missing:
            raise ValueError(f"the edge {tail!r} -> {head!r} has no attribute {missing[0]!r}.")
        rows.append(
            (tail, head, data[transit], data[capacity], data.get("inflow_capacity"),
             data.get("storage"), data.get("name"))
        )  # fmt: skip
    places = {n: tuple(p) for n, p in graph.nodes(data="pos") if p is not None}
    return Network.from_arcs(rows, nodes=graph.nodes, positions=cast("Any", places))


def _rows(file: Path, needed: tuple[str, ...]) -> list[dict[str, str]]:
    reader = csv.DictReader(_text(file).splitlines())
    missing = [c for c in needed if c not in (reader.fieldnames or ())]
    if missing:
        raise FlowsError(f"{file} has no column {missing[0]!r}.")
    return list(reader)


def _text(path: Path | str) -> str:
    path = Path(path)
    if path.stat().st_size > _MAX_BYTES:
        raise FlowsError(f"{path} is larger than {_MAX_BYTES:,} bytes.")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise FlowsError(f"{path} is not text: {error}") from error


def _number(text: str, path: Path, line: int) -> Fraction:
    try:
        return rational(text.strip())
    except ValueError as error:
        raise FlowsError(f"line {line} of {path}: {error}") from error


def _seconds(text: str, path: Path | str) -> Fraction:
    parts = text.split(":")
    if len(parts) == 3 and all(p.isdigit() for p in parts):
        hours, minutes, seconds = map(int, parts)
        found = Fraction(3600 * hours + 60 * minutes + seconds)
        if found > 0:
            return found
    raise FlowsError(f"{path} has the capacity period {text!r}; it is read as hh:mm:ss above 0.")
