"""Which cells can hold points at a forbidden distance.

Two half-open cells at offset D contain points at distance r exactly if r is a norm of the open
parallelotope P(D) = {sum (D_i + s_i) u_i, |s_i| < 1}. The norms of P(D) are the open interval
(m(D), M(D)), with 0 added for D = 0. So D is forbidden for a set S if and only if S meets it.
For hexagonal cells P(D) is D u + 2 V (`_hexagons`), and the rest is the same.
Floats decide where there is room; within `_NEAR` of equality the decision is made in fractions.
"""

import itertools
import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np
from jaxtyping import Bool, Float, Int

from ._colouring import Matrix, Shape, solved
from ._hexagons import exact_hexagon_norms, facets, hexagon_norms

_NEAR = 1e-9  # relative; the floats below are good to about 1e-13
Span = tuple[Fraction, Fraction]


def shape_norms(
    shape: Shape, offsets: Int[np.ndarray, "m n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the squared least and largest norm over the closure of P(D), in floats."""
    if shape.cell == "hexagon":
        return hexagon_norms(facets(shape), offsets @ shape.floats)
    return norms(shape.floats, offsets)


def exact_shape_norms(shape: Shape, offset: Sequence[int]) -> tuple[Fraction, Fraction]:
    """Return the squared least and largest norm over the closure of P(D)."""
    if shape.cell == "hexagon":
        return exact_hexagon_norms(shape, offset)
    return exact_norms(shape.steps, offset, shape.weights)


def norms(
    steps: Float[np.ndarray, "n n"], offsets: Int[np.ndarray, "m n"]
) -> tuple[Float[np.ndarray, " m"], Float[np.ndarray, " m"]]:
    """Return the squared least and largest norm over a closed parallelotope, in floats.

    Every face of the parallelotope is tried: where the point nearest to 0 of its affine hull lies
    in the face, its norm counts.
    """
    n = steps.shape[0]
    centres = offsets @ steps
    signs = np.array(list(itertools.product((-1, 1), repeat=n)), float) @ steps
    largest = ((centres[:, None, :] + signs[None]) ** 2).sum(-1).max(1)
    least = np.full(len(offsets), np.inf)
    for fixed in itertools.product((-1, 0, 1), repeat=n):
        free = [i for i in range(n) if fixed[i] == 0]
        base = centres + np.array(fixed, float) @ steps
        if free:
            edges = steps[free]
            s = -base @ edges.T @ np.linalg.inv(edges @ edges.T)
            inside = (np.abs(s) <= 1 + 1e-12).all(1)
            base = base + np.clip(s, -1, 1) @ edges
        else:
            inside = np.ones(len(offsets), bool)
        square = (base**2).sum(1)
        least = np.where(inside & (square < least), square, least)
    least[(np.abs(offsets) <= 1).all(1)] = 0.0
    return least, largest


def exact_norms(
    steps: Matrix, offset: Sequence[int], axes: Sequence[Fraction] = ()
) -> tuple[Fraction, Fraction]:
    """Return the squared least and largest norm over a closed parallelotope."""
    n = len(steps)
    weights = axes or (Fraction(1),) * n

    def dot(a: Sequence[Fraction], b: Sequence[Fraction]) -> Fraction:
        return sum((w * x * y for w, x, y in zip(weights, a, b, strict=True)), Fraction(0))

    largest, least = Fraction(0), None
    for fixed in itertools.product((-1, 0, 1), repeat=n):
        base = [
            sum(((offset[i] + fixed[i]) * steps[i][j] for i in range(n)), Fraction(0))
            for j in range(n)
        ]
        free = [steps[i] for i in range(n) if fixed[i] == 0]
        if not free:
            largest = max(largest, dot(base, base))
        s = solved([[dot(a, b) for b in free] for a in free], [-dot(a, base) for a in free])
        assert s is not None  # products of independent vectors
        if all(abs(x) <= 1 for x in s):
            point = [b + sum((x * e[j] for x, e in zip(s, free, strict=True)), Fraction(0))
                     for j, b in enumerate(base)]  # fmt: skip
            square = dot(point, point)
            least = square if least is None else min(least, square)
    assert least is not None  # corners always count
    return least, largest


def forbidden(
    cells: Shape | Matrix, spans: Sequence[Span], closed: bool = False
) -> Int[np.ndarray, "m n"]:
    """Return every offset whose cells hold points at a distance in the set, D and -D both.

    Args:
        cells: Their shape; or, for parallelograms, the vectors u_i, exact.
        spans: The set, as closed intervals of squared distances.
        closed: Compare as for closed cells.

    Returns:
        The offsets in lexicographic order.

    Cost: about 10 ns for each offset of the box around the largest distance.
    """
    shape = cells if isinstance(cells, Shape) else Shape(cells)
    floats = shape.floats
    n = len(floats)
    if shape.cell == "hexagon":
        corners = np.array([[float(x) for x in z] for z in facets(shape).corners])
        diameter = float(np.linalg.norm(corners * facets(shape).units, axis=1).max())
    else:
        diameter = float(np.linalg.norm(floats, axis=1).sum())
    reach = math.sqrt(float(max(hi for _, hi in spans))) + 2 * diameter
    dual = np.linalg.inv(floats)
    box = [math.ceil(reach * float(np.linalg.norm(dual[:, i]))) + 1 for i in range(n)]
    found: list[Int[np.ndarray, "m n"]] = []
    # One slab of the box at a time: the box of a fine grid does not fit into memory.
    tail = np.stack(
        np.meshgrid(*(np.arange(-b, b + 1) for b in box[1:]), indexing="ij"), -1
    ).reshape(-1, n - 1)
    along = tail @ floats[1:]
    for head in range(-box[0], box[0] + 1):
        centre = along + head * floats[0]
        length = np.sqrt((centre**2).sum(1))
        near = np.zeros(len(tail), bool)
        for lo, hi in spans:
            near |= (length <= math.sqrt(float(hi)) + diameter * 1.001) & (
                length >= math.sqrt(float(lo)) - diameter * 1.001
            )
        some = tail[near]
        if len(some):
            candidates = np.column_stack([np.full(len(some), head), some])
            found.append(candidates[_meets(shape, candidates, spans, closed)])
    return np.concatenate(found) if found else np.zeros((0, n), np.int64)


def _meets(
    shape: Shape,
    offsets: Int[np.ndarray, "m n"],
    spans: Sequence[Span],
    closed: bool,
) -> Bool[np.ndarray, " m"]:
    least, largest = shape_norms(shape, offsets)
    answer = np.zeros(len(offsets), bool)
    doubtful = np.zeros(len(offsets), bool)
    for lo, hi in spans:
        answer |= (float(lo) < largest) & (least < float(hi))
        doubtful |= np.abs(largest - float(lo)) < _NEAR * float(lo)
        doubtful |= np.abs(least - float(hi)) < _NEAR * float(hi)
    for k in np.flatnonzero(doubtful):
        m, big = exact_shape_norms(shape, [int(x) for x in offsets[k]])
        answer[k] = any(
            (lo <= big and m <= hi) if closed else (lo < big and m < hi) for lo, hi in spans
        )
    return answer


def reduced(offsets: Int[np.ndarray, "m n"], grid: Sequence[int]) -> Int[np.ndarray, "k n"]:
    """Return the offsets modulo the grid, each once."""
    return np.unique(np.mod(offsets, np.array(grid)), axis=0).astype(np.int64)


def half(offsets: Int[np.ndarray, "m n"]) -> Int[np.ndarray, "k n"]:
    """Return one of D and -D of each offset; 0 stays."""
    first = np.array([next((x for x in d if x), 0) for d in offsets.tolist()])
    return offsets[first >= 0]
