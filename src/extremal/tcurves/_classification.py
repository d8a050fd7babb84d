"""What is known about real schemes: complete lists to degree 7, and restrictions for every degree.

Sources: the classical classifications to degree 5; Gudkov (degree 6); Viro (degree 7); Harnack,
Bezout, Petrovskii, Gudkov-Rokhlin, Gudkov-Krakhnov-Kharlamov (restrictions). Each list includes
what T-curves of unimodular triangulations reach; for even degree that is all but the empty scheme.
"""

from functools import cache
from itertools import combinations

from ._notation import Scheme, Tree, parse


@cache
def known_schemes(degree: int) -> frozenset[Scheme]:
    """Return every scheme of a smooth curve of that degree but the empty one.

    Args:
        degree: 1 to 7.

    Raises:
        ValueError: The classification of that degree is open, or there is no such degree.

    Example:
        >>> [len(known_schemes(d)) for d in range(1, 8)]
        [1, 1, 2, 5, 8, 55, 121]
    """
    if not 1 <= degree <= 7:
        raise ValueError(
            f"the real schemes are classified for degrees 1 to 7, got {degree}; restrictions() "
            "says what is known of a single scheme."
        )
    if degree <= 5:
        words = {
            1: ["<J>"],
            2: ["<1>"],
            3: ["<J>", "<J u 1>"],
            4: ["<1>", "<2>", "<3>", "<4>", "<1<1>>"],
            5: ["<J>", *(f"<J u {a}>" for a in range(1, 7)), "<J u 1<1>>"],
        }[degree]
    elif degree == 6:
        words = ["<1<1<1>>>"]
        for ovals in range(1, 12):
            for b in range(ovals):
                a = ovals - 1 - b  # a empty ovals beside a nest of b, or b = 0: all empty
                p, n = (ovals, 0) if b == 0 else (a + 1, b)
                if ovals <= 9 or (p - n) % 8 in ({0, 2} if ovals == 10 else {1}):
                    words.append(
                        f"<{_join(str(a) if a else '', f'1<{b}>')}>" if b else f"<{ovals}>"
                    )
    else:
        words = ["<J>", *(f"<J u {a}>" for a in range(1, 16)), "<J u 1<1<1>>>"]
        words += [
            f"<{_join('J', str(a) if a else '', f'1<{b}>')}>"
            for a in range(15)
            for b in range(1, 15)
            if a + b <= 14 and (a, b) != (0, 14)
        ]
    return frozenset(parse(w) for w in words)


def _join(*terms: str) -> str:
    return " u ".join(term for term in terms if term)


def restrictions(scheme: Scheme, degree: int) -> list[str]:
    """Return the theorems that a scheme would break as a smooth curve of that degree.

    Args:
        scheme: Any scheme.
        degree: At least 1.

    Returns:
        One sentence a theorem; none means that nothing listed here forbids it.
    """
    broken: list[str] = []
    if degree % 2 != scheme.odd:
        return [f"parity: a curve of degree {degree} has {degree % 2} one-sided components"]
    genus = (degree - 1) * (degree - 2) // 2
    if scheme.components > genus + 1:
        broken.append(f"Harnack: at most {genus + 1} components, not {scheme.components}")
    if scheme.depth > degree // 2:
        broken.append(f"Bezout: a line meets nests of at most {degree // 2} ovals")
    elif scheme.depth == degree // 2 and scheme.ovals > scheme.depth:
        broken.append(f"Bezout: a nest of {degree // 2} ovals is the whole curve")
    if _line(scheme.tree) > degree // 2:
        broken.append(f"Bezout: a line through two points meets at most {degree // 2} ovals twice")
    if _conic(scheme.tree) > degree:
        broken.append(f"Bezout: a conic through five points meets at most {degree} ovals twice")
    if degree % 2 == 0:
        k, difference = degree // 2, scheme.p - scheme.n
        if not -3 * k * (k - 1) // 2 <= difference <= 3 * k * (k - 1) // 2 + 1:
            broken.append(f"Petrovskii: p - n = {difference} is out of range")
        defect = scheme.defect(degree)
        if defect == 0 and (difference - k * k) % 8:
            broken.append(f"Gudkov-Rokhlin: an M-curve has p - n = {k * k % 8} mod 8")
        if defect == 1 and (difference - k * k) % 8 not in (1, 7):
            broken.append("Gudkov-Krakhnov-Kharlamov: p - n = k^2 +- 1 mod 8 for an (M-1)-curve")
    return broken


def _paths(tree: Tree) -> list[tuple[tuple[int, ...], int]]:
    """The path from the root to each region that is innermost, as child numbers, with its depth."""
    found: list[tuple[tuple[int, ...], int]] = []

    def walk(node: Tree, path: tuple[int, ...]) -> None:
        if not node:
            found.append((path, len(path)))
        for k, child in enumerate(node):
            walk(child, (*path, k))

    walk(tree, ())
    return found


def _line(tree: Tree) -> int:
    """The most ovals that enclose at least one of two points."""
    paths = _paths(tree)
    best = max((depth for _, depth in paths), default=0)
    for (one, a), (two, b) in combinations(paths, 2):
        best = max(best, a + b - _shared(one, two))
    return best


def _conic(tree: Tree) -> int:
    """The most ovals that enclose some but not all of five points.

    Innermost regions suffice: five of the deepest ends, chosen greedily by what each adds, are best
    because what a set of ends encloses is a union of paths; one further point outside everything
    replaces the weakest end where all five would share an oval.
    """
    paths = [path for path, _ in _paths(tree)]

    def enclosed(chosen: list[tuple[int, ...]]) -> int:
        ovals = {path[:k] for path in chosen for k in range(1, len(path) + 1)}
        if len(chosen) < 5:
            return len(ovals)  # the remaining points lie outside all ovals
        shared = min((_shared(chosen[0], path) for path in chosen[1:]), default=0)
        return len(ovals) - shared

    best = 0
    for most in (4, 5):
        chosen: list[tuple[int, ...]] = []
        left = list(paths)
        while left and len(chosen) < most:
            covered = {path[:k] for path in chosen for k in range(1, len(path) + 1)}
            gain = [sum(path[:k] not in covered for k in range(1, len(path) + 1)) for path in left]
            chosen.append(left.pop(gain.index(max(gain))))
        best = max(best, enclosed(chosen))
    return best


def _shared(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    count = 0
    for a, b in zip(one, two, strict=False):
        if a != b:
            break
        count += 1
    return count
