"""The MATSim-like model: first-in-first-out links with flow capacity and storage.

Two node rules: "proportional", the paper's (in-links served exactly in proportion to capacity, one
vehicle at a time; the node waits as soon as the next vehicle's link is full), and "random", the
standard one (in-links drawn in proportion to capacity, each then emptied). Backward-moving holes
and inflow capacities are outside the theory and are not modelled.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from ._network import Network
from ._packets import Discrete, Loaded, Plan
from ._thin_flow import topological

NODES = ("proportional", "random")
_FREE = 1 << 60


@dataclass(frozen=True)
class LinkRules:
    """Switches of the MATSim-like model.

    Attributes:
        node: `"proportional"` or `"random"`.
        overfill: Grant space while used < storage, so that a part of a vehicle may stand over;
            False never lets a link hold more than its storage.
        node_step: Transit is rounded down to the step and a step is added for the node; else it is
            rounded up, as in the packet model.
        raise_storage: Storage is at least capacity times transit.
        stuck: Seconds after which a vehicle is pushed on into a full link; None never.
    """

    node: str = "proportional"
    overfill: bool = True
    node_step: bool = False
    raise_storage: bool = False
    stuck: Fraction | None = None

    def __post_init__(self) -> None:
        """Check the name of the node rule."""
        if self.node not in NODES:
            raise ValueError(f"node={self.node!r} is no node rule; choose {', '.join(NODES)}.")


def load_vehicles(
    network: Network,
    grid: Discrete,
    how: Plan,
    route_of: np.ndarray,
    release: np.ndarray,
    step: Fraction,
    packet: Fraction,
    rules: LinkRules,
    seed: int = 0,
) -> tuple[Loaded, np.ndarray]:
    """Load vehicles, given in order of release; also return how many a link held at most."""
    from ._matsim_kernels import PROPORTIONAL, RANDOM, matsim_kernel

    tau = grid.tau
    if rules.node_step:
        tau = np.array([math.floor(a.transit / step) + 1 for a in network.arcs], np.int64)
    store = np.array([_storage(a, packet, rules) for a in network.arcs], np.int64)
    counts = np.bincount(route_of, minlength=len(how.turn_of))
    per_arc = np.zeros(how.arcs, np.int64)
    for turns, count in zip(how.turn_of, counts, strict=True):
        per_arc[how.turns[turns]] += count
    off = np.concatenate([[0], np.cumsum(per_arc)]).astype(np.int64)
    in_start, in_arc, order = nodes_of(network)
    arrival, vehicle, entry, leave, most = matsim_kernel(
        tau, grid.p, grid.q, grid.p / grid.q, store, route_of.astype(np.int32),
        release.astype(np.int64), how.route_start, how.route_arcs, off, in_start, in_arc, order,
        PROPORTIONAL if rules.node == "proportional" else RANDOM,
        -1 if rules.stuck is None else math.ceil(rules.stuck / step), seed % 2**31,
    )  # fmt: skip
    return Loaded(arrival, off, vehicle, entry, leave), most


def nodes_of(network: Network) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return in-links by node, and the nodes with those nearer to sinks first."""
    where = {n: i for i, n in enumerate(network.nodes)}
    into: list[list[int]] = [[] for _ in network.nodes]
    pairs: list[tuple[int, int, None, bool]] = []
    for e, arc in enumerate(network.arcs):
        into[where[arc.head]].append(e)
        pairs.append((where[arc.tail], where[arc.head], None, False))
    order: Sequence[int] = topological(len(network.nodes), pairs)
    if len(order) < len(network.nodes):
        order = [*order, *(v for v in range(len(network.nodes)) if v not in set(order))]
    start = np.cumsum([0, *(len(i) for i in into)]).astype(np.int64)
    flat = np.array([e for i in into for e in i], np.int64)
    return start, flat, np.array(list(order)[::-1], np.int64)


def _storage(arc: object, packet: Fraction, rules: LinkRules) -> int:
    from ._network import Arc

    assert isinstance(arc, Arc)
    if arc.storage is None:
        return _FREE
    storage = arc.storage
    if rules.raise_storage:
        storage = max(storage, arc.capacity * arc.transit)
    held = storage / packet
    return max(1, math.ceil(held) if rules.overfill else math.floor(held))
