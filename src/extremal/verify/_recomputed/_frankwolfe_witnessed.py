"""Regions of `frankwolfe/optimum` whose membership or linear minimum needs a stored witness.

Birkhoff: dual potentials of the lines. Flow polytope: potentials of the nodes. Hull: the weights of
the listed points. Product: the witnesses of its factors, whose names begin with the factor's
number. Written from the definitions; shares no code with the solver.
"""

import math
from typing import Any, cast

import numpy as np

from extremal.verify._recomputed._frankwolfe_regions import Pair, Region, measure
from extremal.verify._rejected import Rejected

Tensors = dict[str, np.ndarray]
_OWN = {"Birkhoff": ("u", "v"), "FlowPolytope": ("potentials",), "Hull": ("weights",)}
_DEPTH = 8


def witnesses(region: Region, prefix: str = "") -> set[str]:
    """Return the names of the tensors that a region needs beside x."""
    if region.get("region") != "Product":
        return {prefix + name for name in _OWN.get(str(region.get("region")), ())}
    if prefix.count(".") >= _DEPTH:
        raise Rejected("products are nested too deeply.")
    found = set[str]()
    for i, (factor, _) in enumerate(_factors(region)):
        found |= witnesses(factor, f"{prefix}{i}.")
    return found


def bound(x: np.ndarray, g: np.ndarray, region: Region, given: Tensors, prefix: str = "") -> Pair:
    """Return how far x is outside, relative to the region's size, and a bound below <g, v>."""
    name = region.get("region")
    if name == "Product":
        return _product(x, g, region, given, prefix)
    if name == "Birkhoff":
        return _birkhoff(x, g, region, given[prefix + "u"], given[prefix + "v"])
    if name == "FlowPolytope":
        return _flow(x, g, region, given[prefix + "potentials"])
    if name == "Hull":
        return _hull(x, g, region, given[prefix + "weights"])
    return measure(x, g, region)


def _birkhoff(x: np.ndarray, g: np.ndarray, region: Region, u: np.ndarray, v: np.ndarray) -> Pair:
    n = x.shape[0]
    if set(region) != {"region"} or x.shape != (n, n) or u.shape != (n,) or v.shape != (n,):
        raise Rejected("the Birkhoff polytope has no options, square x, and one potential a line.")
    violation = max(
        float(np.abs(x.sum(0) - 1).max()), float(np.abs(x.sum(1) - 1).max()), -float(x.min())
    )
    excess = max(0.0, float((u[:, None] + v[None, :] - g).max()))
    return violation, float(u.sum() + v.sum()) - n * excess


def _flow(x: np.ndarray, g: np.ndarray, region: Region, p: np.ndarray) -> Pair:
    """With p_head - p_tail <= cost + e on every edge, a path costs p_sink - p_source - e length."""
    edges = np.array(region.get("edges"), dtype=object)
    source, sink = region.get("source"), region.get("sink")
    if set(region) != {"region", "edges", "source", "sink"} or edges.shape != (x.size, 2):
        raise Rejected("the flow polytope has one edge, a pair of nodes, for each entry of x.")
    nodes = p.size
    if p.shape != (nodes,) or not all(
        type(n) is int and 0 <= n < nodes for n in (source, sink, *edges.ravel())
    ):
        raise Rejected("the network's nodes are not whole numbers with one potential each.")
    tail, head = edges.astype(np.int64).T
    flat, cost = x.ravel(), g.ravel()
    balance = np.bincount(tail, flat, nodes) - np.bincount(head, flat, nodes)
    balance[source] -= 1.0
    balance[sink] += 1.0
    violation = max(float(np.abs(balance).max()), -float(flat.min()))
    if not _acyclic(tail, head, nodes):
        raise Rejected("the network has a cycle, so its flows are not bounded.")
    excess = max(0.0, float((p[head] - p[tail] - cost).max()))
    return violation, float(p[sink] - p[source]) - (nodes - 1) * excess


def _acyclic(tail: np.ndarray, head: np.ndarray, nodes: int) -> bool:
    """Whether taking away nodes without incoming edges, again and again, leaves none."""
    leaving: list[list[int]] = [[] for _ in range(nodes)]
    for a, b in zip(tail.tolist(), head.tolist(), strict=True):
        leaving[a].append(b)
    entering = np.bincount(head, minlength=nodes).tolist()
    free = [n for n in range(nodes) if entering[n] == 0]
    for n in free:  # grows while it is read
        for b in leaving[n]:
            entering[b] -= 1
            if entering[b] == 0:
                free.append(b)
    return len(free) == nodes


def _hull(x: np.ndarray, g: np.ndarray, region: Region, weights: np.ndarray) -> Pair:
    points = np.array(region.get("vertices"), dtype=np.float64)
    if set(region) != {"region", "vertices"} or points.ndim != 2 or points.shape[1] != x.size:
        raise Rejected("the hull's points do not have one entry for each of x.")
    if not np.isfinite(points).all() or weights.shape != (len(points),):
        raise Rejected("the hull's points are not finite, with one weight each.")
    size = max(1.0, float(np.abs(points).max()))
    violation = max(
        float(np.abs(weights @ points - x.ravel()).max()) / size,
        abs(float(weights.sum()) - 1),
        -float(weights.min()),
    )
    return violation, float((points @ g.ravel()).min())


def _product(x: np.ndarray, g: np.ndarray, region: Region, given: Tensors, prefix: str) -> Pair:
    factors = _factors(region)
    if sum(math.prod(shape) for _, shape in factors) != x.size:
        raise Rejected("the factors of the product do not fill x.")
    violation, least, start = -math.inf, 0.0, 0
    for i, (factor, shape) in enumerate(factors):
        stop = start + math.prod(shape)
        part, slope = x.ravel()[start:stop].reshape(shape), g.ravel()[start:stop].reshape(shape)
        outside, lowest = bound(part, slope, factor, given, f"{prefix}{i}.")
        violation, least, start = max(violation, outside), least + lowest, stop
    return violation, least


def _factors(region: Region) -> list[tuple[Region, tuple[int, ...]]]:
    regions, shapes = region.get("regions"), region.get("shapes")
    if set(region) != {"region", "regions", "shapes"}:
        raise Rejected("a product has regions and shapes.")
    if not isinstance(regions, list) or not isinstance(shapes, list) or not regions:
        raise Rejected("a product needs lists of regions and shapes.")
    found: list[tuple[Region, tuple[int, ...]]] = []
    for factor, shape in zip(cast("list[Any]", regions), cast("list[Any]", shapes), strict=False):
        fits = isinstance(shape, list) and bool(shape)
        if not fits or not all(type(n) is int and n > 0 for n in cast("list[Any]", shape)):
            raise Rejected(f"the shape {shape!r} of a factor is not a list of whole numbers.")
        if not isinstance(factor, dict):
            raise Rejected("a factor of a product is no region.")
        found.append((cast("Region", factor), tuple(cast("list[int]", shape))))
    if len(found) != len(cast("list[Any]", regions)) or len(found) != len(
        cast("list[Any]", shapes)
    ):
        raise Rejected("a product needs one shape for each region.")
    return found
