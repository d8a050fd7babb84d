"""Half the Newton polytope, exactly: the only monomials that squares in p can use (Reznick 1978).

H(p) are the lattice points m with 2m in the convex hull of the support. It is found from outside: a
half-space w.x <= max of w over the support is exact whatever w is, so a lattice point is dropped
only with an integer w that separates it, and none is ever dropped by a tolerance. The half-spaces
are kept: with them a stranger can list H(p) again.

Facets give the w where they are few (Qhull on the affine hull, each normal recomputed in integers);
else linear programs do, one for each point that nothing yet excludes or includes.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from extremal.lab import require

from ._deadline import check_time
from ._errors import MemoryLimitError
from ._sumset import Rows, find, keys

Normals = Int[np.ndarray, "_ n"]
_FACET_DIMENSION = 6  # beyond it Qhull's facets explode
_MAX_ENTRY = 1 << 40  # of a normal; products with exponents then stay in 64 bits


@dataclass(frozen=True, slots=True)
class HalfNewton:
    """The lattice points of half a Newton polytope, and the half-spaces that cut them out.

    Attributes:
        points: H(p) in graded lexicographic order. A point whose separation failed numerically
            stays, which loses nothing.
        normals: Each w gives the half-space w.2m <= max of w over the support.
    """

    points: Rows
    normals: Normals


def half_newton(support: Rows, limit: int = 200_000) -> HalfNewton:
    """Return H(p).

    Args:
        support: The monomials of p, at least one.
        limit: How many lattice points are listed at most before the exact cut.

    Returns:
        The points and the half-spaces.

    Raises:
        MemoryLimitError: More lattice points lie in the box and degrees than `limit`.

    Example:
        >>> motzkin = np.array([[4, 2], [2, 4], [0, 0], [2, 2]])
        >>> half_newton(motzkin).points.tolist()
        [[0, 0], [1, 1], [1, 2], [2, 1]]

    Cost: the enumeration, and facets (to dimension 6) or a linear program a doubtful point.
    """
    n = support.shape[1]
    simple = _simple_normals(support)
    corners = _corners(support)
    inner = _facets(corners) if n else np.zeros((0, 0), dtype=np.int64)
    normals = np.unique(np.vstack([simple, inner]), axis=0) if len(inner) else simple
    points = _lattice_points(support, normals, limit)
    if len(inner):
        return HalfNewton(points, normals)
    return _cut(support, corners, points, normals)


def _simple_normals(support: Rows) -> Normals:
    """Box, degree and partial degrees: exact half-spaces that cost nothing."""
    n = support.shape[1]
    eye = np.eye(n, dtype=np.int64)
    rows = [eye, -eye, np.ones((1, n), np.int64), -np.ones((1, n), np.int64)]
    if 2 <= n <= 12:
        i, j = np.triu_indices(n, 1)
        rows += [eye[i] + eye[j], -eye[i] - eye[j], eye[i] - eye[j], eye[j] - eye[i]]
    return np.unique(np.vstack(rows), axis=0)


def _corners(support: Rows) -> Rows:
    """Drop points that are midpoints of two others: they are no vertices."""
    if len(support) > 3000:
        return support
    inside = np.zeros(len(support), dtype=bool)
    key = keys(support, 2 * support.max(axis=0, initial=0), 0)
    order = np.argsort(key, kind="stable")
    ordered = key[order]
    for i, a in enumerate(support):
        wanted = key[i] + key[i] - key  # modulo 2^64; of 2 a - s for every other s
        place = np.minimum(np.searchsorted(ordered, wanted), len(ordered) - 1)
        hit = np.flatnonzero(ordered[place] == wanted)
        hit = hit[hit != i]
        # The exponents decide; a key that hides a midpoint only leaves a corner too many.
        inside[i] = (2 * a - support[hit] == support[order[place[hit]]]).all(axis=1).any()
    return support[~inside]


def limits(support: Rows, normals: Normals) -> Int[np.ndarray, " _"]:
    """Return the maximum of each w over the support."""
    return (support @ normals.T).max(axis=0)


def _lattice_points(support: Rows, normals: Normals, limit: int) -> Rows:
    """All m with w.2m <= max w over the support; a coordinate at a time, for all prefixes."""
    n = support.shape[1]
    low = -(-support.min(axis=0) // 2)
    high = support.max(axis=0) // 2
    order = np.argsort(high - low, kind="stable")  # narrowest first
    top = limits(support, normals)
    w = 2 * normals[:, order]
    lo, hi = low[order], high[order]
    # what the later coordinates can still contribute at least
    least = np.minimum(w * lo, w * hi)
    tail = np.zeros((n + 1, len(normals)), dtype=np.int64)
    tail[:n] = np.cumsum(least.T[::-1], axis=0)[::-1]
    prefixes = np.zeros((1, 0), dtype=np.int64)
    sums = np.zeros((1, len(normals)), dtype=np.int64)
    for i in range(n):
        grown: list[np.ndarray] = []
        grown_sums: list[np.ndarray] = []
        count = 0
        for e in range(int(lo[i]), int(hi[i]) + 1):
            check_time()
            new = sums + w[:, i] * e
            keep = (new + tail[i + 1] <= top).all(axis=1)
            if keep.any():
                kept = prefixes[keep]
                column = np.full((len(kept), 1), e, dtype=np.int64)
                grown.append(np.hstack([kept, column]))
                grown_sums.append(new[keep])
                count += len(kept)
            if count > limit:
                raise MemoryLimitError(
                    f"over {limit:,} monomials lie in half the box and degrees of the polynomial; "
                    "raise the limit on lattice points, or choose a smaller basis such as "
                    "'even-support'."
                )
        prefixes = np.vstack(grown) if grown else np.zeros((0, i + 1), dtype=np.int64)
        sums = np.vstack(grown_sums) if grown else np.zeros((0, len(normals)), dtype=np.int64)
    points = np.empty_like(prefixes)
    points[:, order] = prefixes
    at = np.lexsort((*points.T[::-1], points.sum(axis=1)))
    return points[at]


def _facets(corners: Rows) -> Normals:
    """Integer normals of the facets and of the affine hull, or none where they are too many."""
    flint = require("flint", "sos")

    origin = corners[0]
    spread = corners - origin
    basis, equations = _affine_hull(spread)
    dimension = len(basis)
    if dimension > _FACET_DIMENSION or len(corners) > 400:
        return np.zeros((0, corners.shape[1]), dtype=np.int64)
    both = np.vstack([equations, -equations]) if len(equations) else equations
    if dimension == 0:
        return both
    flat = spread[:, basis]  # a bijective projection of the affine hull
    if dimension == 1:
        w = np.zeros((2, corners.shape[1]), dtype=np.int64)
        w[0, basis[0]], w[1, basis[0]] = 1, -1
        return np.vstack([both, w])
    from scipy.spatial import ConvexHull, QhullError

    try:
        hull = ConvexHull(flat)
    except QhullError:  # the linear programs need no hull
        return np.zeros((0, corners.shape[1]), dtype=np.int64)
    if len(hull.simplices) > 4000:
        return np.zeros((0, corners.shape[1]), dtype=np.int64)
    found: list[list[int]] = []
    seen: set[tuple[int, ...]] = set()
    for simplex, equation in zip(hull.simplices, hull.equations, strict=True):
        edges = flat[simplex[1:]] - flat[simplex[0]]
        null, rank = flint.fmpz_mat(edges.tolist()).nullspace()
        if rank != 1:  # a degenerate simplex of a merged facet; its neighbours give the facet
            continue
        w = [int(null[i, 0]) for i in range(dimension)]
        divisor = int(np.gcd.reduce(np.array(w, dtype=object)))
        w = [x // divisor for x in w]
        if sum(x * e for x, e in zip(w, equation[:-1], strict=True)) < 0:
            w = [-x for x in w]
        if max(map(abs, w)) > _MAX_ENTRY or tuple(w) in seen:
            continue
        seen.add(tuple(w))
        row = [0] * corners.shape[1]
        for k, x in zip(basis, w, strict=True):
            row[k] = x
        found.append(row)
    inner = np.array(found, dtype=np.int64).reshape(len(found), corners.shape[1])
    return np.vstack([both, inner])


def _affine_hull(spread: Rows) -> tuple[list[int], Normals]:
    """Coordinates that parametrise the span of the rows, and integer equations of the span."""
    flint = require("flint", "sos")

    n = spread.shape[1]
    matrix = flint.fmpz_mat(spread.tolist()) if n else flint.fmpz_mat(1, 1)
    reduced, _, rank = matrix.rref()
    pivots = [next(j for j in range(n) if reduced[i, j] != 0) for i in range(rank)]
    equations: list[list[int]] = []
    for j in (j for j in range(n) if j not in pivots):
        # The span is the row space; a vector orthogonal to it for each free column.
        row = [0] * n
        scale = 1
        for i in range(rank):
            scale = int(np.lcm(scale, int(reduced[i, pivots[i]]))) if rank else 1
        row[j] = scale
        for i, k in enumerate(pivots):
            row[k] = -int(reduced[i, j]) * scale // int(reduced[i, k])
        divisor = int(np.gcd.reduce(np.array(row, dtype=object)))
        equations.append([x // divisor for x in row])
    return pivots, np.array(equations, dtype=np.int64).reshape(len(equations), n)


def _cut(support: Rows, corners: Rows, points: Rows, normals: Normals) -> HalfNewton:
    """Cut with linear programs, one for each point that is neither known inside nor cut off."""
    from scipy.optimize import linprog

    double = 2 * points
    alive = np.ones(len(points), dtype=bool)
    inside = find(double, support) >= 0
    cuts: list[np.ndarray] = []
    spread = corners.astype(float)
    for at in np.argsort(-np.abs(double - support.mean(axis=0)).sum(axis=1), kind="stable"):
        if inside[at] or not alive[at]:
            continue
        check_time()
        target = np.append(double[at], 1.0)
        # Find w and its limit with w.x <= limit on the corners and w.2m > limit: the dual of
        # membership, bounded by the unit box.
        answer = linprog(
            -target,
            A_ub=np.hstack([spread, np.ones((len(corners), 1))]),
            b_ub=np.zeros(len(corners)),
            bounds=[(-1, 1)] * support.shape[1] + [(None, None)],
            method="highs",
        )
        if answer.status != 0 or -answer.fun < 1e-9:
            # Nothing separates it numerically; keeping a point never loses a certificate.
            inside[at] = True
            continue
        w = _separator(answer.x[:-1], corners, double[at])
        if w is None:
            inside[at] = True
            continue
        cuts.append(w)
        alive &= double @ w <= (support @ w).max()
    kept = normals if not cuts else np.unique(np.vstack([normals, *cuts]), axis=0)
    return HalfNewton(points[alive], kept)


def _separator(w: np.ndarray, corners: Rows, point: np.ndarray) -> np.ndarray | None:
    """Round a separating direction to small integers that still separate, exactly."""
    for scale in (1, 2, 3, 4, 6, 12, 60, 1000, 10**5, 10**7, 10**9):
        v = np.rint(w * scale).astype(np.int64)
        if v.any() and int(point @ v) > int((corners @ v).max()):
            return v
    return None
