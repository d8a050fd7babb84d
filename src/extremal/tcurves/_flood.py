"""Tables of the flood fill that evaluates sign vectors on a GPU; the algorithm is in `_flood.cu`.

Notation: a copy has a new number here, 32 w + s for the bit 2^(31-s) of word w. Which edges of the
projective plane are twisted is a choice: turning one copy turns all its edges. Here the plane is
cut along a shortest one-sided closed path across the triangles, so that few copies have twisted
edges; they come first. For odd d a turned copy has the opposite sign.
"""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from ._glued import Glued, glued
from ._triangulation import Triangulation

CLUSTER = 4  # copies that a step takes together, as `_flood.cu` has it

Edge = tuple[int, int, int]


@dataclass(frozen=True)
class Flood:
    """What the kernels need of a triangulation.

    Attributes:
        degree: d.
        words: 32-bit words that hold a bit a copy.
        twisted_words: How many of them have copies with twisted edges.
        copies: Their number.
        rows: Neighbours of each subset of each cluster, as the kernels read them.
        closures: For each cluster, subset of it that may be taken, and subset of that to begin
            with: what is joined to the beginning.
        before: For each copy a neighbour with a smaller number.
        cycle: Copies of a one-sided cycle, times 2, plus the twist of the edge to the next.
        number: The new number of each copy of the glued complex.
        turned: (V,) whether a copy of the glued complex is turned.
    """

    degree: int
    words: int
    twisted_words: int
    copies: int
    rows: np.ndarray
    closures: np.ndarray
    before: np.ndarray
    cycle: np.ndarray
    number: np.ndarray
    turned: np.ndarray

    @property
    def regions(self) -> int:
        """The most regions that a curve of this degree leaves: one more than its ovals."""
        return (self.degree - 1) * (self.degree - 2) // 2 + 2


@lru_cache(maxsize=64)
def flood(t: Triangulation) -> Flood:
    """Return the tables of a triangulation."""
    complex_ = glued(t)
    count = len(complex_.point)
    edges = _cut(t, complex_)
    turned = _turned(complex_, edges)
    touched = {u for u, v, twist in edges if twist for u in (u, v)}
    around: list[list[int]] = [[] for _ in range(count)]
    for u, v, _ in edges:
        around[u].append(v)
        around[v].append(u)
    order = _order(complex_, around, touched)
    number = np.empty(count, np.int64)
    number[order] = np.arange(count)
    words = (count + 31) // 32
    twisted_words = (max((int(number[u]) for u in touched), default=0) + 32) // 32
    before = np.zeros(32 * words, np.uint16)
    for k, u in enumerate(order[1:], 1):
        before[k] = min(int(number[v]) for v in around[u])
        assert before[k] < k, "each copy but the first is joined to an earlier one"
    renumbered = [(int(number[u]), int(number[v]), twist) for u, v, twist in edges]
    return Flood(
        t.degree, words, twisted_words, count,
        _rows(renumbered, words, twisted_words),
        _closures(renumbered, words), before,
        _one_sided_cycle(renumbered, count), number, turned,
    )  # fmt: skip


def sign_table(
    t: Triangulation, tables: Flood, bits: Sequence[int], fixed: Mapping[int, int]
) -> np.ndarray:
    """Return what each four bits of an index turn, then the signs of index 0.

    Args:
        t: The triangulation.
        tables: Its tables.
        bits: The point that each bit of an index gives its sign to.
        fixed: Signs of further points.
    """
    complex_ = glued(t)
    masks = np.zeros((t.n, tables.words), np.uint32)
    base = np.zeros(tables.words, np.uint32)
    for u, p in enumerate(complex_.point.tolist()):
        at = int(tables.number[u])
        bit = np.uint32(1 << (31 - at % 32))
        masks[p, at // 32] |= bit
        odd_turn = int(tables.turned[u]) * (t.degree % 2)
        if int(complex_.offset[u]) ^ odd_turn ^ fixed.get(p, 0):
            base[at // 32] |= bit
    fours = (len(bits) + 3) // 4
    table = np.zeros((fours * 16 + 1, tables.words), np.uint32)
    for k in range(fours):
        for value in range(16):
            for j in range(4):
                if value >> j & 1 and 4 * k + j < len(bits):
                    table[16 * k + value] ^= masks[bits[4 * k + j]]
    table[-1] = base
    return table


def _cut(t: Triangulation, complex_: Glued) -> list[Edge]:
    """Return the edges with their new twists: 1 where a shortest one-sided path crosses them.

    The path goes from triangle to triangle; on the sphere that covers the plane twice it leads from
    a triangle to its antipode. It crosses the line at infinity, so one of the triangles there is a
    start.
    """
    flips: dict[tuple[int, int], tuple[int, int]] = {}
    d = t.degree
    for u, (x, y) in enumerate(complex_.place.tolist()):
        flips[x, y] = (u, 0)
        if abs(x) + abs(y) == d:
            flips[-x, -y] = (u, 1)
    faces: list[list[Edge]] = []
    beside: dict[Edge, list[tuple[int, int]]] = {}  # edge -> face, and the flip of the edge's first
    starts: list[int] = []
    for triangle in t.triangles:
        corners = [t.points[k] for k in triangle]
        for ex, ey in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            ends = [flips[ex * x, ey * y] for x, y in corners]
            rows: list[Edge] = []
            for a, b in ((0, 1), (0, 2), (1, 2)):
                (u, f), (v, g) = sorted((ends[a], ends[b]))
                rows.append((u, v, f ^ g))
                beside.setdefault((u, v, f ^ g), []).append((len(faces), f))
            if sum(x + y == d for x, y in corners) == 2:
                starts.append(len(faces))
            faces.append(rows)
    best: list[Edge] = []
    for start in starts:
        came: dict[tuple[int, int], tuple[tuple[int, int], Edge] | None] = {(start, 0): None}
        queue = deque([(start, 0, 0)])
        while queue and (start, 1) not in came:
            face, sheet, length = queue.popleft()
            if best and length + 1 >= len(best):
                break
            for edge in faces[face]:
                (one, f), (two, g) = beside[edge]
                other = two if one == face else one
                there = (other, sheet ^ f ^ g)
                if there not in came:
                    came[there] = ((face, sheet), edge)
                    queue.append((*there, length + 1))
        if (start, 1) in came:
            path: list[Edge] = []
            step = came[start, 1]
            while step is not None:
                path.append(step[1])
                step = came[step[0]]
            best = path
    crossed: dict[Edge, int] = {}
    for edge in best:
        crossed[edge] = crossed.get(edge, 0) ^ 1
    # the old twist stays the key of an edge in `crossed`; the new one is whether it is crossed
    return [
        (u, v, crossed.get((min(u, v), max(u, v), twist), 0))
        for u, v, twist, _ in complex_.edges.tolist()
    ]


def _turned(complex_: Glued, edges: Sequence[Edge]) -> np.ndarray:
    """Return which copies are turned: old and new twists differ by the turns of the ends."""
    count = len(complex_.point)
    around: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    rows = [
        (u, v, old ^ new)
        for (u, v, old, _), (_, _, new) in zip(complex_.edges.tolist(), edges, strict=True)
    ]
    for u, v, turn in rows:
        around[u].append((v, turn))
        around[v].append((u, turn))
    turned = np.full(count, -1, np.int64)
    turned[0] = 0
    todo = [0]
    while todo:
        u = todo.pop()
        for v, turn in around[u]:
            if turned[v] < 0:
                turned[v] = turned[u] ^ turn
                todo.append(v)
    assert all(turned[u] ^ turned[v] == turn for u, v, turn in rows), "the new cut is one-sided"
    return turned


def _order(complex_: Glued, around: Sequence[Sequence[int]], touched: set[int]) -> list[int]:
    """Return the copies: those with twisted edges first, each next to an earlier one.

    Clusters are filled with copies that have most neighbours in them, because copies that a region
    reaches at the same time are then taken in one step.
    """
    place: list[tuple[int, int]] = [(int(x), int(y)) for x, y in complex_.place]
    order: list[int] = []
    seen: set[int] = set()
    border: set[int] = set()
    for group in (touched, set(range(len(place))) - touched):
        left = set(group)
        while left:
            choice = (border & left) or (left if not order else set[int]())
            assert choice, "copies with twisted edges are joined to each other"
            inside = set(order[len(order) - len(order) % CLUSTER :])

            def key(v: int, inside: set[int] = inside) -> tuple[int, int, tuple[int, int]]:
                within = sum(u in inside for u in around[v])
                return (-within, -sum(u in seen for u in around[v]), place[v])

            v = min(choice, key=key)
            order.append(v)
            seen.add(v)
            left.discard(v)
            border.discard(v)
            border.update(u for u in around[v] if u not in seen)
    return order


def _rows(edges: Sequence[Edge], words: int, twisted_words: int) -> np.ndarray:
    """Return neighbours by untwisted, then by twisted edges, of each subset of each cluster."""
    width = words + twisted_words
    alone = np.zeros((32 * words, width), np.uint32)
    for u, v, twist in edges:
        for a, b in ((u, v), (v, u)):
            alone[a, (words if twist else 0) + b // 32] |= np.uint32(1 << (31 - b % 32))
    table = np.zeros((32 * words // CLUSTER, 1 << CLUSTER, width), np.uint32)
    for subset in range(1 << CLUSTER):
        for j in range(CLUSTER):
            if subset >> (CLUSTER - 1 - j) & 1:
                table[:, subset] |= alone[j::CLUSTER]
    flat = table.reshape(-1, width)
    rest = (0, 1, 2, 4)[width % 4]
    parts = [flat[:, k : k + 4] for k in range(0, width - width % 4, 4)]
    last = np.zeros((len(flat), rest), np.uint32)
    last[:, : width % 4] = flat[:, width - width % 4 :]
    return np.concatenate([part.reshape(-1) for part in [*parts, last]])


def _closures(edges: Sequence[Edge], words: int) -> np.ndarray:
    """Return what is joined to a subset of a cluster, by untwisted edges within a larger one."""
    clusters, subsets = 32 * words // CLUSTER, 1 << CLUSTER
    joined = np.zeros((clusters, CLUSTER), np.uint8)
    for u, v, twist in edges:
        if u // CLUSTER == v // CLUSTER and not twist:
            joined[u // CLUSTER, u % CLUSTER] |= 1 << (CLUSTER - 1 - v % CLUSTER)
            joined[u // CLUSTER, v % CLUSTER] |= 1 << (CLUSTER - 1 - u % CLUSTER)
    many = np.arange(subsets, dtype=np.uint8)
    may, found = np.broadcast_arrays(many[None, :, None], many[None, None, :] & many[None, :, None])
    found = np.repeat(found, clusters, 0)
    for _ in range(CLUSTER):
        for j in range(CLUSTER):
            inside = found >> (CLUSTER - 1 - j) & 1
            found = found | (inside * joined[:, j, None, None] & may)
    return np.ascontiguousarray(found.astype(np.uint8)).reshape(-1).view(np.uint32)


def _one_sided_cycle(edges: Sequence[Edge], count: int) -> np.ndarray:
    """Return a shortest cycle with an odd number of twisted edges."""
    around: list[list[tuple[int, int]]] = [[] for _ in range(count)]
    for u, v, twist in edges:
        around[u].append((v, twist))
        around[v].append((u, twist))
    best: list[int] = []
    for start in sorted({u for u, _, twist in edges if twist}):
        came: dict[tuple[int, int], tuple[int, int]] = {}
        queue = deque([(start, 0)])
        while queue and (start, 1) not in came:
            u, side = queue.popleft()
            for v, twist in around[u]:
                there = (v, side ^ twist)
                if there not in came and there != (start, 0):
                    came[there] = (u, side)
                    queue.append(there)
        path: list[int] = []
        at = (start, 1)
        while at != (start, 0):
            earlier = came[at]
            path.append(2 * earlier[0] + (earlier[1] ^ at[1]))
            at = earlier
        path.reverse()
        if not best or len(path) < len(best):
            best = path
    return np.array(best, np.uint32)
