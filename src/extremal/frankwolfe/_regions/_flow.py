"""The flow polytope: unit flows from a source to a sink of an acyclic network.

Its vertices are the paths, so the LMO is a shortest path, found in topological order (CPU).
"""

import math
from collections.abc import Sequence

import numpy as np

from extremal.frankwolfe._arrays import Array, like, on_cpu
from extremal.frankwolfe._nearest import nearest_point
from extremal.frankwolfe._region import Region, Shape
from extremal.frankwolfe._thresholds import rowwise


class FlowPolytope(Region):
    """Unit flows along the edges (tail, head) of an acyclic network; an entry for each edge.

    Nodes are numbered from 0. `diameter` is an upper bound: sqrt(2) times the root of the longest
    path's number of edges.

    Example:
        >>> import numpy as np
        >>> diamond = FlowPolytope([[0, 1], [0, 2], [1, 3], [2, 3]], source=0, sink=3)
        >>> diamond.lmo(np.array([1.0, 2.0, 1.5, 0.1]))
        array([0., 1., 0., 1.])
    """

    _names = ("edges", "source", "sink")
    _edges: np.ndarray
    _source: int
    _sink: int
    _order: list[int]
    _longest: int

    def __init__(
        self, edges: Sequence[Sequence[int]] | np.ndarray, *, source: int, sink: int
    ) -> None:
        """Make the polytope.

        Raises:
            ValueError: The network has a cycle, or no path from source to sink.
        """
        pairs = np.array(edges, dtype=np.int64)
        if pairs.ndim != 2 or pairs.shape[1] != 2 or pairs.size == 0 or (pairs < 0).any():
            raise ValueError("FlowPolytope needs edges as pairs (tail, head) of node numbers.")
        self._set(_edges=pairs, _source=source, _sink=sink)
        # Edges sorted so that those into a node come before those out of it.
        nodes = int(max(pairs.max(), source, sink)) + 1
        depth = np.zeros(nodes, dtype=np.int64)
        for round_ in range(nodes + 1):
            deeper = depth.copy()
            np.maximum.at(deeper, pairs[:, 1], depth[pairs[:, 0]] + 1)
            if np.array_equal(deeper, depth):
                break
            if round_ == nodes:
                raise ValueError("FlowPolytope needs a network without cycles; this one has one.")
            depth = deeper
        order = np.argsort(depth[pairs[:, 0]], kind="stable").tolist()
        self._set(_order=order, _longest=0)
        longest, _ = self._path(-np.ones(len(pairs)))
        if not math.isfinite(longest):
            raise ValueError(f"FlowPolytope: there is no path from node {source} to node {sink}.")
        self._set(_longest=round(-longest))

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if math.prod(shape) != len(self._edges):
            raise ValueError(f"FlowPolytope of {len(self._edges)} edges cannot hold {shape}.")

    def sized(self, shape: Shape, init_norm: float | None = None) -> "FlowPolytope":
        """See `Region.sized`."""
        self._check_shape(tuple(shape))
        return self

    def _path(self, cost: np.ndarray) -> tuple[float, list[int]]:
        """The least cost of a path, and its edges."""
        nodes = int(max(self._edges.max(), self._source, self._sink)) + 1
        distance = [math.inf] * nodes
        distance[self._source] = 0.0
        by: list[int] = [-1] * nodes
        edges, costs = self._edges.tolist(), cost.tolist()
        for e in self._order:
            tail, head = edges[e]
            if distance[tail] + costs[e] < distance[head]:
                distance[head], by[head] = distance[tail] + costs[e], e
        path: list[int] = []
        node = self._sink
        while node != self._source and by[node] >= 0:
            path.append(by[node])
            node = edges[by[node]][0]
        return distance[self._sink], path

    def potentials(self, cost: np.ndarray) -> np.ndarray:
        """Return p with p_head - p_tail <= cost of each edge, and p_sink - p_source the least.

        They are the distances from the source; a node out of its reach gets what the edges that
        leave it ask for.
        """
        nodes = int(max(self._edges.max(), self._source, self._sink)) + 1
        p = np.full(nodes, math.inf)
        p[self._source] = 0.0
        for e in self._order:
            tail, head = self._edges[e]
            p[head] = min(p[head], p[tail] + cost[e])
        reached = np.isfinite(p)
        p[~reached] = -math.inf
        for e in reversed(self._order):
            tail, head = self._edges[e]
            if not reached[tail]:
                p[tail] = max(p[tail], p[head] - cost[e])
        p[np.isinf(p)] = 0.0
        return p

    def _lmo(self, g: Array) -> Array:
        cost = on_cpu(g)
        out = np.zeros_like(cost)
        for row, c in zip(out, cost, strict=True):
            row[self._path(c)[1]] = 1.0
        return like(out, g)

    def _violation(self, x: Array) -> Array:
        flows = on_cpu(x)
        nodes = int(max(self._edges.max(), self._source, self._sink)) + 1
        worst: list[float] = []
        for flow in flows:
            balance = np.bincount(self._edges[:, 0], flow, nodes)
            balance -= np.bincount(self._edges[:, 1], flow, nodes)
            balance[self._source] -= 1.0
            balance[self._sink] += 1.0
            worst.append(max(float(np.abs(balance).max()), float(-flow.min())))
        return like(np.array(worst), x)

    def _project(self, y: Array) -> Array:
        return rowwise(lambda row: nearest_point(lambda g: self._lmo(g[None])[0], row), y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return math.sqrt(2.0 * self._longest)
