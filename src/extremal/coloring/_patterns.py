"""Forbidden patterns on one torus as edges of a hypergraph, and local search on it.

An edge is a list of cells and the colour that each of them may not have together with the others:
the cells x, x + D_1, … of every tuple of offsets that a position of a configuration realises, with
every forbidden pattern of colours, and for pair rules the two cells of a forbidden offset. Cells
that fall together on the torus are one cell of the edge.

State of the search: colours and, for every colour c and cell x, `counts[c, x]`: how many edges
would be broken through x if x had colour c. A move changes the counts of the edges through one cell
only.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer

from ._colouring import Colouring, Matrix
from ._errors import ColoringError
from ._jit import jit
from ._offsets import forbidden, half
from ._problem import Problem
from ._screen import reduced_rows
from ._sweep import tuples_of

Edge = tuple[tuple[tuple[int, int], int], ...]  # cells relative to the first, with their colours


@dataclass(frozen=True, eq=False)
class Edges:
    """What may not happen, once for every base cell of the torus.

    Attributes:
        offsets: Cells of an edge relative to its base; the first is 0. Unused ones are 0.
        colors: The forbidden colours of these cells; -1 where there is no cell.
        sizes: How many cells an edge has.
    """

    offsets: Int[np.ndarray, "e m 2"]
    colors: Int[np.ndarray, "e m"]
    sizes: Int[np.ndarray, " e"]


def edges_of(steps: Matrix, grid: Sequence[int], problem: Problem) -> Edges:
    """Return the edges of all rules of a problem of the plane on a torus.

    Raises:
        ColoringError: A rule forbids a colour in a single cell, so that the cells are too large.
    """
    floats = np.array([[float(x) for x in row] for row in steps])
    found: set[Edge] = set()
    for rule in problem.configurations:
        patterns = rule.patterns(problem.colors)
        for t in tuples_of(rule, floats):
            cells = [(0, 0), *((a % grid[0], b % grid[1]) for a, b in t)]
            for pattern in patterns:
                edge = dict[tuple[int, int], int]()
                # Two colours for one cell: that pattern is never met in this position.
                if all(edge.setdefault(d, c) == c for d, c in zip(cells, pattern, strict=True)):
                    found.add(_canonical(edge, grid))
    for spans, colors in problem.classes():
        rows = reduced_rows(half(forbidden(steps, spans)), grid)
        for a, b in {(int(x), int(y)) for x, y in rows}:
            for c in colors:
                found.add(_canonical({(0, 0): c, (a, b): c}, grid))
    if any(len(edge) == 1 for edge in found):
        raise ColoringError(
            "a rule forbids a colour within one cell or its lattice translates: the cells are too "
            "large or the lattice too small; take a finer grid, or a larger period."
        )
    ordered = sorted(found)
    most = max(len(e) for e in ordered)
    offsets = np.zeros((len(ordered), most, 2), np.int64)
    colors = np.full((len(ordered), most), -1, np.int64)
    for k, edge in enumerate(ordered):
        for j, (d, c) in enumerate(edge):
            offsets[k, j] = d
            colors[k, j] = c
    return Edges(offsets, colors, np.array([len(e) for e in ordered], np.int64))


def _canonical(edge: dict[tuple[int, int], int], grid: Sequence[int]) -> Edge:
    """The same edge from the base that makes it least, so that every edge is listed once."""
    return min(
        tuple(sorted((((a - i) % grid[0], (b - j) % grid[1]), c) for (a, b), c in edge.items()))
        for i, j in edge
    )


@jit
def _change(y, old, new, color, counts, n0, n1, offsets, colors, sizes):
    """Recolour cell y and update the counts of the other cells of its edges."""
    a, b = y // n1, y % n1
    for e in range(offsets.shape[0]):
        m = sizes[e]
        for at in range(m):
            wanted = colors[e, at]
            if wanted != old and wanted != new:
                continue
            change = -1 if wanted == old else 1
            i0, j0 = (a - offsets[e, at, 0]) % n0, (b - offsets[e, at, 1]) % n1
            # How many of the other cells have not the colour that the edge forbids.
            missing = 0
            last = -1
            for k in range(m):
                if k != at:
                    x = (i0 + offsets[e, k, 0]) % n0 * n1 + (j0 + offsets[e, k, 1]) % n1
                    if color[x] != colors[e, k]:
                        missing += 1
                        last = k
                        if missing > 1:
                            break
            if missing > 1:
                continue
            for k in range(m):
                if k != at and (missing == 0 or k == last):
                    x = (i0 + offsets[e, k, 0]) % n0 * n1 + (j0 + offsets[e, k, 1]) % n1
                    counts[colors[e, k], x] += change
    color[y] = new


@jit
def _count(color, n0, n1, offsets, colors, sizes, palette):
    """Counts from nothing, and how many edges are broken."""
    counts = np.zeros((palette, n0 * n1), np.int64)
    total = 0
    for a in range(n0):
        for b in range(n1):
            for e in range(offsets.shape[0]):
                missing = 0
                last = -1
                for k in range(sizes[e]):
                    x = (a + offsets[e, k, 0]) % n0 * n1 + (b + offsets[e, k, 1]) % n1
                    if color[x] != colors[e, k]:
                        missing += 1
                        last = k
                        if missing > 1:
                            break
                if missing > 1:
                    continue
                if missing == 0:
                    total += 1
                for k in range(sizes[e]):
                    if missing == 0 or k == last:
                        x = (a + offsets[e, k, 0]) % n0 * n1 + (b + offsets[e, k, 1]) % n1
                        counts[colors[e, k], x] += 1
    return counts, total


@jit
def _search(color, n0, n1, offsets, colors, sizes, usable, palette, iterations, seed):
    """Tabu search: recolour a cell of a broken edge, the best change that is not tabu."""
    np.random.seed(seed)
    cells = color.size
    counts, total = _count(color, n0, n1, offsets, colors, sizes, palette)
    until = np.zeros((usable, cells), np.int64)
    best = total
    kept = color.copy()
    for step in range(iterations):
        if total == 0:
            break
        least = 1 << 60
        ties = 0
        cell, to = -1, -1
        bad = 0
        for x in range(cells):
            here = counts[color[x], x]
            if here == 0:
                continue
            bad += 1
            for c in range(usable):
                if c == color[x]:
                    continue
                change = counts[c, x] - here
                if change > least or (until[c, x] > step and total + change >= best):
                    continue
                if change < least:
                    least, ties = change, 0
                ties += 1
                if np.random.randint(ties) == 0:
                    cell, to = x, c
        if cell < 0:
            continue
        old = color[cell]
        total += least
        _change(cell, old, to, color, counts, n0, n1, offsets, colors, sizes)
        until[old, cell] = step + int(0.6 * bad) + np.random.randint(10) + 1
        if total < best:
            best = total
            kept[:] = color
    return kept, best


@jit
def _uncover(color, n0, n1, offsets, colors, sizes, free, seed):
    """Free cells of broken edges, the worst first; then colour those that fit after all."""
    np.random.seed(seed)
    cells = color.size
    counts, _ = _count(color, n0, n1, offsets, colors, sizes, free + 1)
    while True:
        worst = 0
        at = -1
        for x in range(cells):
            if color[x] != free and counts[color[x], x] > worst:
                worst, at = counts[color[x], x], x
        if at < 0:
            break
        _change(at, color[at], free, color, counts, n0, n1, offsets, colors, sizes)
    order = np.random.permutation(cells)
    for k in range(cells):
        x = order[k]
        if color[x] == free:
            for c in range(free):
                if counts[c, x] == 0:
                    _change(x, free, c, color, counts, n0, n1, offsets, colors, sizes)
                    break
    return color


def search_patterns(
    colouring: Colouring, problem: Problem, iterations: int = 4000, seed: int = 0,
    edges: Edges | None = None,
) -> tuple[Colouring, int]:  # fmt: skip
    """Recolour cells until no rule is broken, or the iterations are spent; free what is left.

    Args:
        colouring: A start of the plane.
        problem: Pair rules and configurations count alike.
        iterations: Moves at most.
        seed: Of ties and tenures.
        edges: Those of the colouring's torus, if they are known.

    Returns:
        The best colouring met, and how many edges it breaks; 0 with a free colour.

    Raises:
        ColoringError: The cells are too large for a rule.

    Cost: a move looks at every edge of every colour; the first count at each of them in every cell.
    """
    if edges is None:
        edges = edges_of(colouring.exact_steps, colouring.grid, problem)
    n0, n1 = colouring.grid
    where = (n0, n1, edges.offsets, edges.colors, edges.sizes)
    flat = colouring.cells.ravel().astype(np.int64)
    kept, best = _search(
        flat, *where, problem.colors, problem.palette, iterations, seed % 2**32
    )  # fmt: skip
    if problem.free_color:
        kept, best = _uncover(kept, *where, problem.colors, seed % 2**32), 0
    cells = kept.reshape(n0, n1).astype(np.uint8)
    return colouring.with_cells(cells), int(best)


@jit
def _relaxed(p, n0, n1, offsets, colors, sizes, grad):
    """The sum over all edges of the product of probabilities; adds its gradient to `grad`."""
    most = offsets.shape[1]
    places = np.empty(most, np.int64)
    before = np.empty(most + 1)
    loss = 0.0
    for e in range(offsets.shape[0]):
        m = sizes[e]
        for a in range(n0):
            for b in range(n1):
                before[0] = 1.0
                for k in range(m):
                    i = a + offsets[e, k, 0]
                    if i >= n0:
                        i -= n0
                    j = b + offsets[e, k, 1]
                    if j >= n1:
                        j -= n1
                    places[k] = i * n1 + j
                    before[k + 1] = before[k] * p[colors[e, k], places[k]]
                if before[m - 1] < 1e-9:  # a product of all but the last: nothing to gain
                    continue
                loss += before[m]
                after = 1.0
                for q in range(m):
                    k = m - 1 - q
                    grad[colors[e, k], places[k]] += before[k] * after
                    after *= p[colors[e, k], places[k]]
    return loss


def relaxed_edges(
    p: Float[np.ndarray, "k n m"], edges: Edges
) -> tuple[float, Float[np.ndarray, "k n m"]]:
    """Return the expected number of broken edges where every cell draws its colour, and gradient.

    Cost: one product an edge and cell.
    """
    flat = np.ascontiguousarray(p.reshape(len(p), -1), np.float64)
    grad = np.zeros_like(flat)
    loss = _relaxed(
        flat, p.shape[1], p.shape[2], edges.offsets, edges.colors, edges.sizes, grad
    )  # fmt: skip
    return float(loss), grad.reshape(p.shape)


def broken_edges(cells: Integer[np.ndarray, "n m"], edges: Edges, palette: int) -> int:
    """Return how many edges of a torus are broken."""
    flat = np.asarray(cells).ravel().astype(np.int64)
    _, total = _count(
        flat, cells.shape[0], cells.shape[1], edges.offsets, edges.colors, edges.sizes, palette
    )
    return int(total)
