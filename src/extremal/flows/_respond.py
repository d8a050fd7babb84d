"""Best responses to what a loading has experienced: shortest routes over exit times."""

from dataclasses import dataclass

import numpy as np

from ._network import Network
from ._thin_flow import topological


@dataclass(frozen=True)
class Graph:
    """A network as arrays.

    Attributes:
        network: It.
        where: Numbers of nodes.
        head: Of each arc.
        out_start: Where the arcs out of a node begin in `out_arc`.
        out_arc: Places of arcs, node after node.
        order: Nodes in topological order; empty if there is a cycle.
    """

    network: Network
    where: dict[str, int]
    head: np.ndarray
    out_start: np.ndarray
    out_arc: np.ndarray
    order: np.ndarray


def graph_of(network: Network) -> Graph:
    """Return a network as arrays."""
    where = {n: i for i, n in enumerate(network.nodes)}
    out: list[list[int]] = [[] for _ in network.nodes]
    for e, arc in enumerate(network.arcs):
        out[where[arc.tail]].append(e)
    pairs = [(where[a.tail], where[a.head], None, False) for a in network.arcs]
    order = topological(len(network.nodes), pairs)
    return Graph(
        network,
        where,
        np.array([where[a.head] for a in network.arcs], np.int64),
        np.cumsum([0, *(len(o) for o in out)]).astype(np.int64),
        np.array([e for o in out for e in o], np.int64),
        np.array(order if len(order) == len(network.nodes) else [], np.int64),
    )


def respond(
    graph: Graph,
    source: str,
    sink: str,
    starts: np.ndarray,
    delay: np.ndarray,
    off: np.ndarray,
    entry: np.ndarray,
    leave: np.ndarray,
) -> tuple[np.ndarray, np.ndarray]:
    """Return earliest arrivals, and the arc by which each node is reached, for each start.

    Args:
        graph: The network.
        source: Where the agents are.
        sink: Where they go.
        starts: When they start.
        delay: Free-flow time of each arc.
        off: Where each arc's moves begin.
        entry: Time of entering of each move, in order.
        leave: Time of leaving.
    """
    from ._packet_kernels import best_routes

    return best_routes(
        starts.astype(np.float64), graph.where[source], graph.where[sink],
        len(graph.network.nodes), graph.order, graph.head, delay.astype(np.float64), off,
        entry.astype(np.float64), leave.astype(np.float64), graph.out_start, graph.out_arc,
    )  # fmt: skip


def traced(graph: Graph, source: str, sink: str, via: np.ndarray) -> tuple[int, ...]:
    """Return the route that the arcs `via` of one agent lead back to its source."""
    tails = [graph.where[a.tail] for a in graph.network.arcs]
    route: list[int] = []
    at = graph.where[sink]
    while at != graph.where[source]:
        e = int(via[at])
        route.append(e)
        at = tails[e]
    return tuple(reversed(route))
