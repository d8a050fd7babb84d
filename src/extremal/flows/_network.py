"""The network: a directed multigraph with exact transit times and capacities.

One immutable object feeds every engine: exact equilibria, spillback, fluid and packet loading.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import Any, cast

from extremal.lab import rational

Number = int | str | float | Fraction


@dataclass(frozen=True, slots=True)
class Arc:
    """One arc.

    Attributes:
        tail: Node it leaves.
        head: Node it enters; its queue stands there.
        transit: Time to cross it without waiting, at least 0.
        capacity: Rate at which its queue is served, above 0.
        inflow_capacity: Largest rate of entering, with spillback; None is no limit.
        storage: Largest volume on it, with spillback; None is no limit.
        name: Unique; by default `tail-head`, and `tail-head#2` for the second such arc.
    """

    tail: str
    head: str
    transit: Fraction
    capacity: Fraction
    inflow_capacity: Fraction | None = None
    storage: Fraction | None = None
    name: str = ""


@dataclass(frozen=True)
class Network:
    """A directed multigraph.

    Attributes:
        nodes: Names, in the order in which results list them.
        arcs: Parallel arcs are fine; their names differ.
        positions: Where nodes are drawn; nodes without one are laid out.
        terminals: Nodes that a route may start or end at, but not pass.
        notes: What a reader of a file decided, for the output to say.
    """

    nodes: tuple[str, ...]
    arcs: tuple[Arc, ...]
    positions: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    terminals: frozenset[str] = frozenset()
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Check what every engine relies on."""
        if len(set(self.nodes)) != len(self.nodes):
            twice = next(n for n, k in Counter(self.nodes).items() if k > 1)
            raise ValueError(f"the node {twice!r} is listed twice; node names must differ.")
        named = tuple(_named(self.arcs))
        object.__setattr__(self, "arcs", named)
        known = set(self.nodes)
        for arc in named:
            for end in (arc.tail, arc.head):
                if end not in known:
                    raise ValueError(f"arc {arc.name} has the end {end!r}, which is no node.")
            _check_numbers(arc)
        _no_zero_cycle(named, self.nodes)

    @classmethod
    def from_arcs(
        cls,
        rows: Iterable[Sequence[Any] | Arc],
        *,
        nodes: Iterable[Any] = (),
        positions: Mapping[Any, tuple[float, float]] | None = None,
    ) -> "Network":
        """Build a network from rows.

        Args:
            rows: `(tail, head, transit, capacity)`, optionally followed by inflow capacity and
                storage (None is no limit) and a name. Numbers are ints, text such as "4/3" or
                "0.25", or Fractions; a float is read as its shortest decimal.
            nodes: Names that come first, in this order; others follow as they are met.
            positions: Where to draw nodes.

        Returns:
            The network. Node names become text.

        Raises:
            ValueError: A number is missing, not finite or out of range; a name stands twice; or
                arcs without transit time form a cycle.

        Example:
            >>> net = Network.from_arcs([("s", "a", 1, "4/3"), ("a", "t", 2, 1)])
            >>> net.nodes, net.arcs[0].capacity
            (('s', 'a', 't'), Fraction(4, 3))
        """
        notes: list[str] = []
        arcs: list[Arc] = []
        names = dict.fromkeys(str(n) for n in nodes)
        for row in rows:
            arc = row if isinstance(row, Arc) else _arc(row, notes)
            arcs.append(arc)
            names |= {arc.tail: None, arc.head: None}
        placed = {str(k): v for k, v in (positions or {}).items()}
        return cls(tuple(names), tuple(arcs), placed, notes=tuple(dict.fromkeys(notes)))

    @property
    def spills(self) -> bool:
        """Whether any arc has a storage or an inflow capacity."""
        return any(a.storage is not None or a.inflow_capacity is not None for a in self.arcs)

    def arc(self, name: str) -> Arc:
        """Return the arc of that name.

        Raises:
            ValueError: There is none.
        """
        for arc in self.arcs:
            if arc.name == name:
                return arc
        raise ValueError(f"there is no arc {name!r}; names are like {self.arcs[0].name!r}.")

    def index(self, name: str) -> int:
        """Return the place of the arc of that name in `arcs`."""
        return self.arcs.index(self.arc(name))

    def without_limits(self) -> "Network":
        """Return the same network without storages and inflow capacities."""
        arcs = tuple(replace(a, inflow_capacity=None, storage=None) for a in self.arcs)
        return replace(self, arcs=arcs)

    def scaled(self, time: Number) -> "Network":
        """Return the same network with times in a unit that is `time` times smaller.

        Example:
            >>> Network.from_arcs([("s", "t", 6, 120)]).scaled(60).arcs[0].transit
            Fraction(360, 1)
        """
        k = rational(time)
        if k <= 0:
            raise ValueError(f"the factor is {k}; it must be above 0.")
        arcs = tuple(
            replace(
                a,
                transit=a.transit * k,
                capacity=a.capacity / k,
                inflow_capacity=None if a.inflow_capacity is None else a.inflow_capacity / k,
            )
            for a in self.arcs
        )
        return replace(self, arcs=arcs)

    def with_arcs(self, arcs: Iterable[Arc]) -> "Network":
        """Return a network on the same nodes with other arcs."""
        return replace(self, arcs=tuple(arcs))

    def as_json(self) -> dict[str, Any]:
        """Return plain values, fractions as text; `Network.from_json` reads them."""
        arcs: list[dict[str, Any]] = []
        for arc in self.arcs:
            row: dict[str, Any] = {
                "name": arc.name,
                "tail": arc.tail,
                "head": arc.head,
                "transit": str(arc.transit),
                "capacity": str(arc.capacity),
            }
            if arc.inflow_capacity is not None:
                row["inflow_capacity"] = str(arc.inflow_capacity)
            if arc.storage is not None:
                row["storage"] = str(arc.storage)
            arcs.append(row)
        return {
            "format": "extremal/network",
            "version": 1,
            "nodes": [
                {
                    "name": n,
                    **({"position": list(self.positions[n])} if n in self.positions else {}),
                }
                for n in self.nodes
            ],
            "arcs": arcs,
            "terminals": sorted(self.terminals),
            "notes": list(self.notes),
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Network":
        """Build a network from what `as_json` returns.

        Raises:
            ValueError: A field is missing, unknown or of the wrong type.
        """
        if value.get("format") != "extremal/network" or value.get("version") != 1:
            raise ValueError(
                "this JSON is not a network of format 'extremal/network' version 1; it has "
                f"format {value.get('format')!r} version {value.get('version')!r}."
            )
        unknown = set(value) - {"format", "version", "nodes", "arcs", "terminals", "notes"}
        if unknown:
            raise ValueError(f"the network has the unknown fields {', '.join(sorted(unknown))}.")
        keys = {"name", "tail", "head", "transit", "capacity", "inflow_capacity", "storage"}
        arcs: list[Arc] = []
        for number, row in enumerate(value["arcs"]):
            if set(row) - keys or not {"tail", "head", "transit", "capacity"} <= set(row):
                raise ValueError(f"arc {number} has the fields {sorted(row)}, not {sorted(keys)}.")
            arcs.append(
                Arc(
                    str(row["tail"]),
                    str(row["head"]),
                    rational(row["transit"]),
                    rational(row["capacity"]),
                    _optional(row.get("inflow_capacity")),
                    _optional(row.get("storage")),
                    str(row.get("name", "")),
                )
            )
        positions = {
            n["name"]: (float(n["position"][0]), float(n["position"][1]))
            for n in value["nodes"]
            if "position" in n
        }
        return cls(
            tuple(n["name"] for n in value["nodes"]),
            tuple(arcs),
            positions,
            frozenset(value.get("terminals", ())),
            tuple(value.get("notes", ())),
        )


@dataclass(frozen=True)
class Journey:
    """A network cut down to the routes from one source to one sink.

    Attributes:
        network: Nodes that the source reaches; arcs into the source, out of the sink and through
            other terminals are gone.
        source: Its name.
        sink: Its name.
        notes: What was dropped, in sentences.
    """

    network: Network
    source: str
    sink: str
    notes: tuple[str, ...]


def journey(network: Network, source: Any, sink: Any) -> Journey:
    """Cut a network down to one source and one sink.

    Raises:
        ValueError: One of them is no node, they are equal, or no route joins them.
    """
    source, sink = str(source), str(sink)
    for name, what in ((source, "source"), (sink, "sink")):
        if name not in network.nodes:
            some = ", ".join(network.nodes[:8])
            raise ValueError(f"the {what} {name!r} is no node of the network; nodes are {some} …")
    if source == sink:
        raise ValueError(f"source and sink are both {source!r}; choose two nodes.")
    barred_tail, barred_head = network.terminals - {source}, network.terminals - {sink}
    kept = [
        a
        for a in network.arcs
        if a.head != source
        and a.tail != sink
        and a.tail != a.head
        and a.tail not in barred_tail
        and a.head not in barred_head
    ]
    after: dict[str, list[str]] = {}
    for arc in kept:
        after.setdefault(arc.tail, []).append(arc.head)
    reached, stack = {source}, [source]
    while stack:
        for node in after.get(stack.pop(), ()):
            if node not in reached:
                reached.add(node)
                stack.append(node)
    if sink not in reached:
        raise ValueError(
            f"no route leads from {source!r} to {sink!r}; check the directions of the arcs."
        )
    kept = [a for a in kept if a.tail in reached]
    notes: list[str] = []
    if len(kept) < len(network.arcs):
        notes.append(
            f"{len(network.arcs) - len(kept)} of {len(network.arcs)} arcs were dropped: they lead "
            f"into the source {source}, out of the sink {sink}, or are on no route from the source"
        )
    nodes = tuple(n for n in network.nodes if n in reached)
    places = {n: p for n, p in network.positions.items() if n in reached}
    cut = replace(
        network, nodes=nodes, arcs=tuple(kept), positions=places, terminals=frozenset[str]()
    )
    return Journey(cut, source, sink, tuple(notes))


def _named(arcs: Sequence[Arc]) -> Iterable[Arc]:
    given = Counter(a.name for a in arcs if a.name)
    twice = [name for name, count in given.items() if count > 1]
    if twice:
        raise ValueError(f"the arc name {twice[0]!r} stands twice; parallel arcs need two names.")
    taken = set(given)
    for arc in arcs:
        if arc.name:
            yield arc
            continue
        name, copy = f"{arc.tail}-{arc.head}", 1
        while name in taken:
            copy += 1
            name = f"{arc.tail}-{arc.head}#{copy}"
        taken.add(name)
        yield replace(arc, name=name)


def _arc(row: Sequence[Any], notes: list[str]) -> Arc:
    if not 4 <= len(row) <= 7:
        raise ValueError(
            f"the row {tuple(row)!r} is no arc; write (tail, head, transit, capacity) and, if "
            "wanted, inflow capacity, storage and name."
        )
    tail, head, transit, capacity, *rest = row
    rest = [*rest, None, None, None][:3]
    bounds = [None if v is None else rational(v, notes) for v in rest[:2]]
    return Arc(
        str(tail),
        str(head),
        rational(transit, notes),
        rational(capacity, notes),
        bounds[0],
        bounds[1],
        str(rest[2] or ""),
    )


def _optional(value: Any) -> Fraction | None:
    return None if value is None else rational(cast("Number", value))


def _check_numbers(arc: Arc) -> None:
    if arc.capacity <= 0:
        raise ValueError(f"arc {arc.name} has capacity {arc.capacity}; it must be above 0.")
    if arc.transit < 0:
        raise ValueError(f"arc {arc.name} has transit time {arc.transit}; it must be 0 or more.")
    if arc.inflow_capacity is not None and arc.inflow_capacity <= 0:
        raise ValueError(
            f"arc {arc.name} has inflow capacity {arc.inflow_capacity}; it must be above 0."
        )
    if arc.storage is None:
        return
    if arc.storage <= 0:
        raise ValueError(f"arc {arc.name} has storage {arc.storage}; it must be above 0.")
    moving = (arc.inflow_capacity or arc.capacity) * arc.transit
    if arc.inflow_capacity is not None and arc.storage <= moving:
        raise ValueError(
            f"arc {arc.name} has storage {arc.storage}, but {moving} (inflow capacity times "
            "transit time) can be moving on it alone; give it more storage or less inflow capacity."
        )


def _no_zero_cycle(arcs: Sequence[Arc], nodes: Sequence[str]) -> None:
    left = [a for a in arcs if a.transit == 0]
    open_ = set(nodes)
    while left:
        entered = {a.head for a in left}
        if open_ <= entered:
            some = next(a for a in left if a.tail in open_)
            raise ValueError(
                f"arcs with transit time 0 form a cycle (arc {some.name} is on or behind it); an "
                "agent could go round in no time. Give one of them a positive transit time."
            )
        open_ &= entered
        left = [a for a in left if a.tail in open_]
