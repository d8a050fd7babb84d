"""Checker of `tcurves/scheme`: what curve a triangulation with signs patches together.

Proves: the triangles are a unimodular triangulation of d times the standard triangle; the heights,
where given, lift it to a convex surface; the curve of the signs has the claimed real scheme. With
heights, Viro's theorem then gives a smooth algebraic curve of degree d with that scheme.
Does not say: for which t the polynomial with terms sign * t^height * x^i * y^j has it.

The scheme is found on the sphere, the double cover of the projective plane: two copies of the
reflected triangulation glued along antipodal boundary points. Its regions form a tree that the
antipodal map carries to itself; for even d one region stays where it is, for odd d one edge does.
"""

from collections import Counter, defaultdict
from fractions import Fraction
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

STRENGTH = "proved"
CLAIM = ("degree", "scheme", "algebraic", "curve_sha256")
WITNESS = ("triangles", "heights", "signs")
MAX_DEGREE = 64

Point = tuple[int, int]
Tree = tuple[Any, ...]  # of one region: the sorted trees of the regions inside it


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    d = fields.natural(claim, "degree")
    if not 1 <= d <= MAX_DEGREE:
        raise Rejected(f"the degree {d} is not in 1..{MAX_DEGREE}.")
    points = [(i, j) for i in range(d + 1) for j in range(d + 1 - i)]
    triangles = checked_triangulation(d, points, fields.items(witness, "triangles"))
    signs = fields.text(witness, "signs")
    if len(signs) != len(points) or set(signs) - {"0", "1"}:
        raise Rejected(f"the signs are not {len(points)} digits 0 and 1.")

    heights = witness.get("heights")
    if heights is not None:
        checked_heights(points, triangles, fields.items(witness, "heights"))
    if claim.get("algebraic") is not (heights is not None):
        raise Rejected("algebraic is claimed exactly where heights are given.")
    found = curve_digest(d, triangles, heights, signs)
    if fields.digest(claim, "curve_sha256") != found:
        raise Rejected(f"the curve has the SHA-256 {found}, not the claimed one.")

    scheme = write(d % 2 == 1, real_scheme(d, points, triangles, signs))
    if fields.text(claim, "scheme") != scheme:
        raise Rejected(f"the curve has the real scheme {scheme}, not {claim['scheme']}.")
    what = f"a smooth real curve of degree {d} has the real scheme {scheme}"
    if heights is None:
        what = (
            f"the patchwork of degree {d} has the scheme {scheme}; no algebraic curve is "
            "guaranteed, because no heights are given"
        )
    return [
        f"{len(triangles)} triangles are a unimodular triangulation of {d} times the triangle",
        *(["the heights are strictly convex over it, exactly"] if heights is not None else []),
        what,
    ]


def checked_triangulation(d: int, points: list[Point], value: list[Any]) -> list[list[int]]:
    """Return the triangles if they are a unimodular triangulation."""
    triangles = _triangles(value, len(points))
    _triangulation(d, points, triangles)
    return triangles


def checked_heights(points: list[Point], triangles: list[list[int]], value: list[Any]) -> None:
    """Return if the heights are strictly convex over the triangulation."""
    _convex(points, triangles, _heights(value, len(points)))


def curve_digest(d: int, triangles: list[list[int]], heights: Any, signs: str) -> str:
    """Return the SHA-256 that binds degree, triangles, heights and signs together."""
    words = [
        str(d),
        ";".join(",".join(map(str, t)) for t in sorted(sorted(t) for t in triangles)),
        "none" if heights is None else ",".join(str(Fraction(h)) for h in heights),
        signs,
    ]
    return sha256("|".join(words).encode()).hexdigest()


def _triangles(value: list[Any], n: int) -> list[list[int]]:
    for t in value:
        ok = isinstance(t, list) and len(cast("list[Any]", t)) == 3
        if not ok or any(type(a) is not int or not 0 <= a < n for a in t) or len(set(t)) < 3:
            raise Rejected(f"{t!r} is not a triangle of three points numbered 0..{n - 1}.")
    return cast("list[list[int]]", value)


def _heights(value: list[Any], n: int) -> list[Fraction]:
    if len(value) != n or not all(isinstance(h, str) for h in value):
        raise Rejected(f"the heights are not {n} exact numbers as text.")
    return [Fraction(h) for h in cast("list[str]", value)]


def _det(a: Point, b: Point, c: Point) -> int:
    return (b[0] - a[0]) * (c[1] - a[1]) - (c[0] - a[0]) * (b[1] - a[1])


def _sides(d: int, a: Point, b: Point) -> bool:
    """Whether an edge lies on the boundary of the big triangle."""
    return a[0] == b[0] == 0 or a[1] == b[1] == 0 or sum(a) == sum(b) == d


def _triangulation(d: int, points: list[Point], triangles: list[list[int]]) -> None:
    """Unit triangles whose edges pair up inside and not on the boundary, and whose area is full.

    An edge inside belongs to two triangles on its two sides, so every point off the edges is
    covered equally often; the area says that this is once.
    """
    if len(triangles) != d * d:
        raise Rejected(f"there are {len(triangles)} triangles, not {d * d}.")
    opposite: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for t in triangles:
        if abs(_det(*(points[a] for a in t))) != 1:
            raise Rejected(f"the triangle {t} is not unimodular.")
        for a, b in combinations(sorted(t), 2):
            opposite[a, b] += [c for c in t if c not in (a, b)]
    if len({a for t in triangles for a in t}) != len(points):
        raise Rejected("a lattice point is in no triangle.")
    for (a, b), ends in opposite.items():
        outer = _sides(d, points[a], points[b])
        if len(ends) != (1 if outer else 2):
            raise Rejected(f"the edge {a}-{b} is in {len(ends)} triangles.")
        if not outer:
            c, e = (_det(points[a], points[b], points[x]) for x in ends)
            if c * e >= 0:
                raise Rejected(f"the triangles at the edge {a}-{b} overlap.")


def _convex(points: list[Point], triangles: list[list[int]], w: list[Fraction]) -> None:
    """Across every inner edge the far corner lies above the plane of the triangle."""
    opposite: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    for t in triangles:
        for a, b in combinations(sorted(t), 2):
            opposite[a, b] += [c for c in t if c not in (a, b)]
    for (a, b), ends in opposite.items():
        if len(ends) == 2:
            c, e = ends
            # e = (1 - s - u) a + s b + u c with integers s and u, since abc is a unit triangle
            unit = _det(points[a], points[b], points[c])
            s = _det(points[a], points[e], points[c]) * unit
            u = _det(points[a], points[b], points[e]) * unit
            if w[e] <= (1 - s - u) * w[a] + s * w[b] + u * w[c]:
                raise Rejected(f"the heights are not strictly convex across the edge {a}-{b}.")


def real_scheme(d: int, points: list[Point], triangles: list[list[int]], signs: str) -> Tree:
    """Return the tree of regions of a curve, rooted at the region outside all ovals."""
    number = {p: k for k, p in enumerate(points)}
    odd = d % 2

    def place(x: int, y: int, sheet: int) -> tuple[int, int, int]:
        """A point of the sphere; on the boundary both sheets meet, at opposite points."""
        if abs(x) + abs(y) == d and sheet:
            return -x, -y, 0
        return x, y, sheet

    def sign(x: int, y: int, sheet: int) -> int:
        flips = (x < 0) * x + (y < 0) * y + sheet * odd
        return (int(signs[number[abs(x), abs(y)]]) + flips) % 2

    edges: set[tuple[tuple[int, int, int], tuple[int, int, int]]] = set()
    for t in triangles:
        for a, b in combinations(t, 2):
            for sheet in (0, 1):
                for ex in (1, -1):
                    for ey in (1, -1):
                        u, v = (place(ex * points[p][0], ey * points[p][1], sheet) for p in (a, b))
                        edges.add((min(u, v), max(u, v)))
    leader = {u: u for e in edges for u in e}

    def find(u: tuple[int, int, int]) -> tuple[int, int, int]:
        while leader[u] != u:
            leader[u] = leader[leader[u]]
            u = leader[u]
        return u

    for u, v in edges:
        if sign(*u) == sign(*v):
            leader[find(u)] = find(v)
    beside: defaultdict[tuple[int, int, int], set[tuple[int, int, int]]] = defaultdict(set)
    regions = {find(u) for u in leader}
    for u, v in edges:
        if sign(*u) != sign(*v):
            beside[find(u)].add(find(v))
            beside[find(v)].add(find(u))
    if sum(map(len, beside.values())) != 2 * (len(regions) - 1):
        raise Rejected("the regions on the sphere do not form a tree.")

    def opposite(u: tuple[int, int, int]) -> tuple[int, int, int]:
        return find(place(u[0], u[1], 1 - u[2]) if abs(u[0]) + abs(u[1]) < d else (-u[0], -u[1], 0))

    if odd:  # the edge between a region and its opposite is the pseudo-line
        ends = [u for u in regions if opposite(u) in beside[u]]
        if len(ends) != 2:
            raise Rejected("there is not exactly one pseudo-line.")
        return _tree(ends[0], opposite(ends[0]), beside)
    fixed = [u for u in regions if opposite(u) == u]
    if len(fixed) != 1:
        raise Rejected("there is not exactly one region that is its own opposite.")
    inside = Counter(_tree(u, fixed[0], beside) for u in beside[fixed[0]])
    if any(count % 2 for count in inside.values()):
        raise Rejected("the ovals on the sphere do not come in opposite pairs.")
    return tuple(sorted(t for t, count in inside.items() for _ in range(count // 2)))


def _tree(u: Any, without: Any, beside: dict[Any, set[Any]]) -> Tree:
    return tuple(sorted(_tree(v, u, beside) for v in beside[u] if v != without))


def write(odd: bool, tree: Tree) -> str:
    """Return a real scheme in Viro's notation, in ASCII; nests ascend by ovals, then by shape."""
    inner = _forest(tree)
    if not odd:
        return f"<{inner or '0'}>"
    return f"<J u {inner}>" if inner else "<J>"


def _forest(forest: Tree) -> str:
    empty = sum(not t for t in forest)
    terms = [str(empty)] if empty else []
    nests = Counter(t for t in forest if t)
    terms += [
        f"{nests[t]}<{_forest(t)}>" for t in sorted(nests, key=lambda t: (_size(t), _word(t)))
    ]
    return " u ".join(terms)


def _size(t: Tree) -> int:
    return 1 + sum(_size(x) for x in t)


def _word(t: Tree) -> int:
    """The balanced parentheses of a tree as a number, children in descending order."""
    return int(_parentheses(t), 2)


def _parentheses(t: Tree) -> str:
    return "1" + "".join(sorted((_parentheses(x) for x in t), key=lambda s: -int(s, 2))) + "0"
