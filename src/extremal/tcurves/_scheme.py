"""The verb `scheme`: what curve one sign vector patches together.

Union-find with parity over the glued complex. A monochromatic edge unites its ends; a component in
which two paths between the same vertices have different twist is one-sided. The components are the
regions of the projective plane without the curve. For even d the one-sided region is the root; for
odd d it is the region that a cut edge joins with itself, and that cut is the pseudo-line J. Each
further pair of neighbouring regions is separated by one oval.
Differs from the usual shortcut (looking for antipodal boundary points in one component of the
disc): that is wrong from degree 6 on, because the root may fall apart into several pieces of the
disc.
"""

from collections.abc import Sequence

from ._glued import Glued, glued
from ._notation import Scheme, Tree
from ._triangulation import Triangulation

Signs = str | Sequence[int] | Sequence[bool]


def read_signs(t: Triangulation, signs: "Signs") -> tuple[int, ...]:
    """Return n zeros and ones.

    Args:
        t: Whose points get signs.
        signs: A word of n digits 0 and 1, or n numbers 0 and 1, in the order of the points.

    Raises:
        ValueError: Their number or a value is wrong.
    """
    found: list[int] = []
    for value in "".join(signs.split()) if isinstance(signs, str) else signs:
        if value not in (0, 1, "0", "1"):
            raise ValueError(f"a sign is 0 or 1, got {value!r}; which one means + does not matter.")
        found.append(int(value))
    if len(found) != t.n:
        raise ValueError(
            f"degree {t.degree} has {t.n} points, so {t.n} signs are needed, got {len(found)}."
        )
    return tuple(found)


def word(signs: Sequence[int]) -> str:
    """Return signs as a word of digits."""
    return "".join(str(int(s)) for s in signs)


def scheme_of(t: Triangulation, signs: "Signs") -> Scheme:
    """Return the real scheme of one sign vector, in plain Python.

    Cost: O(d^2 a(d^2)), 1 ms at degree 7. Many vectors: `schemes`.
    """
    complex_ = glued(t)
    regions, root, beside = regions_of(complex_, read_signs(t, signs))
    del regions
    return Scheme(t.degree % 2 == 1, _tree(root, -1, beside))


def regions_of(complex_: Glued, signs: Sequence[int]) -> tuple[list[int], int, dict[int, set[int]]]:
    """Return each copy's region, the root region, and which regions touch."""
    count = len(complex_.point)
    leader = list(range(count))
    parity = [0] * count
    one_sided: set[int] = set()

    point: list[int] = complex_.point.tolist()
    edges: list[tuple[int, int, int, bool]] = []
    for u, v, twist, difference in complex_.edges.tolist():
        same = signs[point[u]] ^ signs[point[v]] == difference
        edges.append((u, v, twist, same))
        if same:
            a, b, x, y = u, v, 0, 0
            while leader[a] != a:
                x ^= parity[a]
                a = leader[a]
            while leader[b] != b:
                y ^= parity[b]
                b = leader[b]
            if a != b:
                leader[max(a, b)] = min(a, b)
                parity[max(a, b)] = x ^ y ^ twist
            elif x ^ y != twist:
                one_sided.add(u)
    regions = list(leader)
    for u in range(count):  # a leader is never larger, so one pass finds the last ones
        regions[u] = regions[leader[u]]
    beside: dict[int, set[int]] = {r: set() for r in set(regions)}
    loops: set[int] = set()
    for u, v, _, same in edges:
        if not same:
            a, b = regions[u], regions[v]
            if a == b:
                loops.add(a)
            else:
                beside[a].add(b)
                beside[b].add(a)
    roots = loops if complex_.degree % 2 else {regions[u] for u in one_sided}
    assert len(roots) == 1, "a patchworked curve has exactly one root region"
    assert sum(map(len, beside.values())) == 2 * (len(beside) - 1), "regions form a tree"
    return regions, roots.pop(), beside


def _tree(u: int, without: int, beside: dict[int, set[int]]) -> Tree:
    return tuple(sorted(_tree(v, u, beside) for v in beside[u] if v != without))
