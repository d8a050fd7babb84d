"""Checker of `tcurves/census`: how many sign vectors give each scheme on one triangulation.

Recomputes, by what `check` says:

    brute       every sign vector, degree at most 5
    recurrence  a plain frontier recurrence on the sphere, in Python
    witnesses   one sign vector a scheme and the total; the single counts are then not repeated

The recurrence visits points in any order and keeps, for the copies on both sheets of the sphere,
the region of each, which regions touch, and the finished regions as trees. It knows neither
parities nor
roots: at the end the centre of the tree of all regions is the region outside the ovals (even
degree) or the pseudo-line (odd degree), because the antipodal map turns the tree into itself.
"""

from collections import defaultdict
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._proved import tcurves_scheme as curves
from extremal.verify._rejected import Rejected

STRENGTH = "recomputed"
CLAIM = ("degree", "total", "fixed", "schemes", "check", "algebraic", "triangulation_sha256")
WITNESS = ("triangles", "heights", "order", "signs")
THOROUGH = True  # this checker can be asked for more

_BRUTE_DEGREE, _BRUTE_THOROUGH = 4, 5
_MOST_SCHEMES = 200_000

Vertex = tuple[int, int, int]
Tree = tuple[Any, ...]


def check(
    claim: dict[str, Any], witness: dict[str, Any], folder: Path, thorough: bool = False
) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    d = fields.natural(claim, "degree")
    if not 1 <= d <= curves.MAX_DEGREE:
        raise Rejected(f"the degree {d} is not in 1..{curves.MAX_DEGREE}.")
    points = [(i, j) for i in range(d + 1) for j in range(d + 1 - i)]
    n = len(points)
    triangles = curves.checked_triangulation(d, points, fields.items(witness, "triangles"))
    heights = witness.get("heights")
    if heights is not None:
        curves.checked_heights(points, triangles, fields.items(witness, "heights"))
    if claim.get("algebraic") is not (heights is not None):
        raise Rejected("algebraic is claimed exactly where heights are given.")
    found = curves.curve_digest(d, triangles, heights, "")
    if fields.digest(claim, "triangulation_sha256") != found:
        raise Rejected(f"the triangulation has the SHA-256 {found}, not the claimed one.")

    fixed = _fixed(fields.mapping(claim, "fixed"), n)
    counts = _counts(fields.items(claim, "schemes"))
    total = fields.natural(claim, "total")
    if total != 1 << (n - len(fixed)) or sum(counts.values()) != total:
        raise Rejected(
            f"the counts sum to {sum(counts.values())} and {total} is claimed, but there are "
            f"{1 << (n - len(fixed))} sign vectors."
        )
    _witnesses(d, points, triangles, fixed, counts, fields.mapping(witness, "signs"))

    how = fields.text(claim, "check")
    if how not in ("brute", "recurrence", "witnesses"):
        raise Rejected(f"check is {how!r}, not brute, recurrence or witnesses.")
    if d <= _BRUTE_DEGREE or (thorough and d <= _BRUTE_THOROUGH):
        repeated = _brute(d, points, triangles, fixed)
        said = "every sign vector was tried again"
    elif how == "recurrence" or thorough:
        order = fields.items(witness, "order")
        if sorted(order) != list(range(n)):
            raise Rejected("the order is not a permutation of the points.")
        repeated = _recurrence(d, points, triangles, fixed, order)
        said = "every count was found again by a recurrence of the checker's own"
    elif how == "brute":
        raise Rejected(
            f"a census of degree {d} is only repeated by brute force with --thorough (degree "
            f"{_BRUTE_THOROUGH} at most)."
        )
    else:
        repeated = None
        said = (
            "each scheme has a witness and the counts sum to the total; the single counts were "
            "not repeated (ask for --thorough)"
        )
    if repeated is not None and repeated != counts:
        scheme = min(s for s in repeated.keys() | counts.keys() if repeated.get(s) != counts.get(s))
        raise Rejected(
            f"{scheme} has {repeated.get(scheme, 0)} sign vectors, not {counts.get(scheme, 0)}."
        )
    what = "schemes of smooth real curves" if heights is not None else "schemes of patchworks"
    return [
        f"{len(triangles)} triangles are a unimodular triangulation of {d} times the triangle",
        f"{len(counts)} {what} over {total} sign vectors, one witness each",
        said,
    ]


def _fixed(value: dict[str, Any], n: int) -> dict[int, int]:
    found: dict[int, int] = {}
    for key, sign in value.items():
        if not key.isdecimal() or int(key) >= n or type(sign) is not int or sign not in (0, 1):
            raise Rejected(f"the fixed sign {key!r}: {sign!r} is none.")
        found[int(key)] = sign
    return found


def _counts(value: list[Any]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for row in value:
        if not (isinstance(row, list) and len(row) == 2 and isinstance(row[0], str)):
            raise Rejected(f"{row!r} is not a scheme with its count.")
        if type(row[1]) is not int or row[1] < 1 or row[0] in counts:
            raise Rejected(f"the count of {row[0]} is {row[1]!r}, or it stands twice.")
        counts[row[0]] = row[1]
    if len(counts) > _MOST_SCHEMES:
        raise Rejected(f"there are more than {_MOST_SCHEMES} schemes.")
    return counts


def _witnesses(
    d: int,
    points: list[tuple[int, int]],
    triangles: list[list[int]],
    fixed: dict[int, int],
    counts: dict[str, int],
    signs: dict[str, Any],
) -> None:
    if signs.keys() != counts.keys():
        raise Rejected("the witnesses are not of the claimed schemes.")
    for scheme, word in signs.items():
        if not isinstance(word, str) or len(word) != len(points) or set(word) - {"0", "1"}:
            raise Rejected(f"the witness of {scheme} is not a word of {len(points)} signs.")
        if any(int(word[k]) != sign for k, sign in fixed.items()):
            raise Rejected(f"the witness of {scheme} has another sign at a fixed point.")
        found = curves.write(d % 2 == 1, curves.real_scheme(d, points, triangles, word))
        if found != scheme:
            raise Rejected(f"the witness of {scheme} gives {found}.")


class _Sphere:
    """Both sheets of the reflected triangulation, glued at opposite boundary points."""

    def __init__(self, d: int, points: list[tuple[int, int]], triangles: list[list[int]]) -> None:
        self.d, self.points = d, points
        number = {p: k for k, p in enumerate(points)}
        self.copies: list[list[Vertex]] = [[] for _ in points]
        self.edges: dict[tuple[int, int], set[tuple[Vertex, Vertex]]] = defaultdict(set)
        for t in triangles:
            for a, b in combinations(sorted(t), 2):
                for sheet in (0, 1):
                    for ex in (1, -1):
                        for ey in (1, -1):
                            u, v = (
                                self._place(ex * points[k][0], ey * points[k][1], sheet)
                                for k in (a, b)
                            )
                            self.edges[a, b].add((u, v))
        for u in {u for pairs in self.edges.values() for pair in pairs for u in pair}:
            self.copies[number[abs(u[0]), abs(u[1])]].append(u)
        for row in self.copies:
            row.sort()

    def _place(self, x: int, y: int, sheet: int) -> Vertex:
        return (-x, -y, 0) if sheet and abs(x) + abs(y) == self.d else (x, y, sheet)

    def turned(self, u: Vertex) -> int:
        """What is added to the sign of the point of a copy."""
        return ((u[0] < 0) * u[0] + (u[1] < 0) * u[1] + u[2] * self.d) % 2


def _brute(
    d: int, points: list[tuple[int, int]], triangles: list[list[int]], fixed: dict[int, int]
) -> dict[str, int]:
    """All sign vectors side by side: least labels spread over the sphere."""
    sphere = _Sphere(d, points, triangles)
    vertices = [u for row in sphere.copies for u in row]
    at = {u: k for k, u in enumerate(vertices)}
    edges = [(at[u], at[v]) for pairs in sphere.edges.values() for u, v in sorted(pairs)]
    point = [k for k, row in enumerate(sphere.copies) for _ in row]
    turned = np.array([sphere.turned(u) for u in vertices], np.uint8)
    free = [k for k in range(len(points)) if k not in fixed]
    counts: dict[str, int] = defaultdict(int)
    words: dict[bytes, str] = {}
    for start in range(0, 1 << len(free), 1 << 14):
        number = np.arange(start, min(start + (1 << 14), 1 << len(free)))
        signs = np.zeros((len(points), len(number)), np.uint8)
        for k, sign in fixed.items():
            signs[k] = sign
        for place, k in enumerate(free):
            signs[k] = number >> place & 1
        sign = signs[point] ^ turned[:, None]
        same = [sign[u] == sign[v] for u, v in edges]
        label = np.repeat(np.arange(len(vertices), dtype=np.int32)[:, None], len(number), axis=1)
        before = None
        while before is None or (before != label).any():
            before = label.copy()
            for (u, v), where in zip(edges, same, strict=True):
                least = np.minimum(label[u], label[v])
                label[u] = np.where(where, least, label[u])
                label[v] = np.where(where, least, label[v])
        columns, inverse, repeats = np.unique(
            label, axis=1, return_inverse=True, return_counts=True
        )
        del inverse
        for k in range(columns.shape[1]):
            column = columns[:, k].tolist()
            key = columns[:, k].tobytes()
            if key not in words:
                pairs = {(column[u], column[v]) for u, v in edges if column[u] != column[v]}
                words[key] = _named(d, pairs)
            counts[words[key]] += int(repeats[k])
    return dict(counts)


def _named(d: int, pairs: set[tuple[int, int]]) -> str:
    """The scheme of a tree of regions of the sphere, from its centre."""
    beside: dict[int, set[int]] = defaultdict(set)
    for a, b in pairs:
        beside[a].add(b)
        beside[b].add(a)
    left = {a: set(b) for a, b in beside.items()}
    while len(left) > 2:
        ends = [a for a, b in left.items() if len(b) == 1]
        if not ends:
            raise Rejected("the regions on the sphere do not form a tree.")
        for a in ends:
            (b,) = left.pop(a)
            left[b].discard(a)
    centre = sorted(left)
    if len(centre) != 1 + d % 2:
        raise Rejected("the tree of regions has the wrong kind of centre.")
    if d % 2:
        return curves.write(True, _grow(centre[0], centre[1], beside))
    inside = sorted(_grow(a, centre[0], beside) for a in beside[centre[0]])
    if inside[0::2] != inside[1::2]:
        raise Rejected("the ovals on the sphere do not come in opposite pairs.")
    return curves.write(False, tuple(inside[0::2]))


def _grow(a: int, without: int, beside: dict[int, set[int]]) -> Tree:
    return tuple(sorted(_grow(b, a, beside) for b in beside[a] if b != without))


def _recurrence(
    d: int,
    points: list[tuple[int, int]],
    triangles: list[list[int]],
    fixed: dict[int, int],
    order: list[int],
) -> dict[str, int]:
    """Count sign vectors by what they look like on the frontier of the points visited."""
    sphere = _Sphere(d, points, triangles)
    joined: dict[int, set[int]] = defaultdict(set)
    for a, b in sphere.edges:
        joined[a].add(b)
        joined[b].add(a)
    # A state: signs of the frontier's points; the region of each frontier copy, numbered by first
    # appearance; for each region the trees that hang in it and the regions that it touches.
    layer: dict[Any, int] = {((), (), ()): 1}
    frontier: list[int] = []
    seen: set[int] = set()
    for q in order:
        seen.add(q)
        old = {u: k for k, u in enumerate(u for p in frontier for u in sphere.copies[p])}
        new = {u: k for k, u in enumerate(sphere.copies[q])}
        edges: list[tuple[int, int, int, int]] = []
        for place, p in enumerate(frontier):
            for pair in sphere.edges.get((min(p, q), max(p, q)), ()):
                u, v = pair if pair[0] in new else (pair[1], pair[0])
                edges.append((new[u], old[v], place, sphere.turned(u) ^ sphere.turned(v)))
        combined = [*frontier, q]
        stays = [k for k, p in enumerate(combined) if joined[p] - seen]
        starts = np.cumsum([0, *(len(sphere.copies[p]) for p in combined)]).tolist()
        kept = [c for k in stays for c in range(starts[k], starts[k + 1])]
        following: dict[Any, int] = defaultdict(int)
        for (signs, labels, regions), count in layer.items():
            for sign in (0, 1) if q not in fixed else (fixed[q],):
                state = _step(signs, labels, regions, sign, edges, len(new), stays, kept)
                following[state] += count
        layer = following
        frontier = [combined[k] for k in stays]
    counts: dict[str, int] = defaultdict(int)
    for (_, _, regions), count in layer.items():
        ((trees, _),) = regions
        pairs: set[tuple[int, int]] = set()
        _number(trees, 0, [0], pairs)
        counts[_named(d, pairs)] += count
    return dict(counts)


def _number(trees: Tree, at: int, last: list[int], pairs: set[tuple[int, int]]) -> None:
    for tree in trees:
        last[0] += 1
        pairs.add((at, last[0]))
        _number(tree, last[0], last, pairs)


def _step(
    signs: tuple[int, ...],
    labels: tuple[int, ...],
    regions: tuple[Any, ...],
    sign: int,
    edges: list[tuple[int, int, int, int]],
    copies: int,
    stays: list[int],
    kept: list[int],
) -> Any:
    """The state after one more point has its sign."""
    count = len(regions) + copies
    leader = list(range(count))
    touching: list[tuple[int, int]] = []
    for u, v, place, turned in edges:
        a, b = len(regions) + u, labels[v]
        if sign ^ signs[place] == turned:
            while leader[a] != a:
                a = leader[a]
            while leader[b] != b:
                b = leader[b]
            leader[max(a, b)] = min(a, b)
        else:
            touching.append((a, b))
    for x in range(count):  # a leader is never larger, so one pass finds the last ones
        leader[x] = leader[leader[x]]
    trees: dict[int, list[Tree]] = {}
    beside: dict[int, set[int]] = {}
    for x in range(count):
        top = leader[x]
        hanging, near = regions[x] if x < len(regions) else ((), ())
        trees.setdefault(top, []).extend(hanging)
        beside.setdefault(top, set()).update(leader[y] for y in near)
    for a, b in touching:
        beside[leader[a]].add(leader[b])
        beside[leader[b]].add(leader[a])
    where = [leader[x] for x in (*labels, *range(len(regions), count))]
    names: dict[int, int] = {}
    new_labels = tuple(names.setdefault(where[c], len(names)) for c in kept)
    closed = [x for x in trees if x not in names]
    again = True
    while again:
        again = False
        for x in closed:
            if len(beside[x]) == 1 and len(trees) > 1:
                (y,) = beside[x]
                trees[y].append(tuple(sorted(trees.pop(x))))
                beside[y].discard(x)
                closed.remove(x)
                again = True
                break
    for x in sorted(
        closed,
        key=lambda x: (sorted(names.get(y, -1) for y in beside[x]), sorted(trees[x])),
    ):
        names[x] = len(names)
    listed = sorted(names, key=names.__getitem__)
    return (
        tuple((*signs, sign)[k] for k in stays),
        new_labels,
        tuple(
            (tuple(sorted(trees[x])), tuple(sorted(names[y] for y in beside[x]))) for x in listed
        ),
    )
