"""Local search on cells, compiled: repair of conflicts by recolouring, and filling of free cells.

State: the colour of every cell and, for every colour c and cell x, `counts[c, x]`: how many cells
of colour c are at a forbidden offset from x. A move changes one cell and updates only the entries
at its offsets.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int, Integer

from ._colouring import Colouring, Matrix, Shape
from ._errors import ColoringError
from ._jit import jit
from ._offsets import forbidden, reduced
from ._problem import Problem
from ._screen import neighbour_counts


@dataclass(frozen=True)
class Graph:
    """The forbidden offsets of each colour on one torus.

    Attributes:
        grid: Cells along each axis, padded to three axes.
        offsets: All offset lists one after another, padded to three axes.
        starts: Colour c has the offsets starts[c] … starts[c + 1] - 1.
        kinds: Offsets of each colour as found, not padded.
    """

    grid: Int[np.ndarray, " 3"]
    offsets: Int[np.ndarray, "m 3"]
    starts: Int[np.ndarray, " k"]
    kinds: tuple[Int[np.ndarray, "_ n"], ...]


def graph_of(cells: Shape | Matrix, grid: Sequence[int], problem: Problem) -> Graph:
    """Return the forbidden offsets of a problem's pair rules on a torus.

    Raises:
        ColoringError: A colour would conflict with itself inside one cell or with its own
            translate, so that no colouring by these cells can use it.
    """
    dim = len(grid)
    lists: dict[int, Int[np.ndarray, "m n"]] = {}
    for spans, colors in problem.classes():
        found = reduced(forbidden(cells, spans), grid)
        if len(found) and not found.any(1).all():
            raise ColoringError(
                f"colours {', '.join(map(str, colors))} conflict with themselves within one cell "
                "or its lattice translates: the cells are too large or the lattice too small for "
                "the distance; take a finer grid, or a larger period."
            )
        for c in colors:
            lists[c] = found
    empty = np.zeros((0, dim), np.int64)
    kinds = tuple(lists.get(c, empty) for c in range(problem.palette))
    padded: list[Int[np.ndarray, "m 3"]] = []
    for kind in kinds:
        wide = np.zeros((len(kind), 3), np.int64)
        wide[:, 3 - dim :] = kind
        padded.append(wide)
    starts = np.concatenate([[0], np.cumsum([len(k) for k in kinds])]).astype(np.int64)
    whole = np.array((1,) * (3 - dim) + tuple(grid), np.int64)
    return Graph(whole, np.ascontiguousarray(np.concatenate(padded)), starts, kinds)


def counts_of(cells: Integer[np.ndarray, "..."], graph: Graph) -> Int[np.ndarray, "k cells"]:
    """Return counts[c, x] for every colour; the free one has none."""
    table = np.zeros((len(graph.kinds), cells.size), np.int32)
    for c, kind in enumerate(graph.kinds):
        if len(kind):
            table[c] = neighbour_counts(cells, c, kind).ravel()
    return table


@jit
def recolour_cell(x, new, color, counts, grid, offsets, starts):
    """Give cell x the colour `new` and update the counts."""
    n1, n2 = grid[1], grid[2]
    a, rest = x // (n1 * n2), x % (n1 * n2)
    b, c = rest // n2, rest % n2
    old = color[x]
    for side in range(2):
        one = old if side == 0 else new
        change = -1 if side == 0 else 1
        for k in range(starts[one], starts[one + 1]):
            i = a + offsets[k, 0]
            if i >= grid[0]:
                i -= grid[0]
            j = b + offsets[k, 1]
            if j >= n1:
                j -= n1
            m = c + offsets[k, 2]
            if m >= n2:
                m -= n2
            counts[one, (i * n1 + j) * n2 + m] += change
    color[x] = new


@jit
def _repair(color, counts, grid, offsets, starts, usable, iterations, seed):
    """Tabu search: recolour one conflicting cell at a time, the best change that is not tabu."""
    np.random.seed(seed)
    cells = color.size
    forbidden_until = np.zeros((usable, cells), np.int64)
    where = np.full(cells, -1, np.int64)  # place in the list of conflicting cells
    bad = np.empty(cells, np.int64)
    size = 0
    total = 0
    for x in range(cells):
        if counts[color[x], x] > 0:
            where[x] = size
            bad[size] = x
            size += 1
            total += counts[color[x], x]
    best = total
    kept = color.copy()
    n1, n2 = grid[1], grid[2]
    for step in range(iterations):
        if size == 0:
            return kept, 0, step
        least = 1 << 60
        ties = 0
        cell, to = -1, -1
        # With very many conflicting cells a sample of them is as good.
        looks = min(3000, size)
        shift = np.random.randint(size)
        for q in range(looks):
            x = bad[(q + shift) % size]
            here = counts[color[x], x]
            for c in range(usable):
                if c == color[x]:
                    continue
                change = counts[c, x] - here
                if change > least:
                    continue
                if forbidden_until[c, x] > step and total + 2 * change >= best:
                    continue
                if change < least:
                    least = change
                    ties = 0
                ties += 1
                if np.random.randint(ties) == 0:
                    cell, to = x, c
        if cell < 0:
            continue
        old = color[cell]
        total += 2 * least
        recolour_cell(cell, to, color, counts, grid, offsets, starts)
        forbidden_until[old, cell] = step + int(0.6 * size) + np.random.randint(10) + 1
        # Only the cell and its partners of the two colours may have changed their state.
        a, rest = cell // (n1 * n2), cell % (n1 * n2)
        b, m0 = rest // n2, rest % n2
        for side in range(2):
            one = old if side == 0 else to
            for k in range(starts[one], starts[one + 1] + 1):
                if k == starts[one + 1]:
                    x = cell
                else:
                    i = a + offsets[k, 0]
                    if i >= grid[0]:
                        i -= grid[0]
                    j = b + offsets[k, 1]
                    if j >= n1:
                        j -= n1
                    m = m0 + offsets[k, 2]
                    if m >= n2:
                        m -= n2
                    x = (i * n1 + j) * n2 + m
                conflicting = counts[color[x], x] > 0
                if conflicting and where[x] < 0:
                    where[x] = size
                    bad[size] = x
                    size += 1
                elif not conflicting and where[x] >= 0:
                    size -= 1
                    last = bad[size]
                    bad[where[x]] = last
                    where[last] = where[x]
                    where[x] = -1
        if total < best:
            best = total
            kept[:] = color
    return kept, best, iterations


@jit
def _fill(color, counts, grid, offsets, starts, free, iterations, seed):
    """Colour free cells: directly where a colour fits, else by exchange with one conflicting cell.

    The state never has a conflict. An exchange leaves the number of free cells as it is and moves
    the gap; a freed cell may not return to its colour for a while.
    """
    np.random.seed(seed)
    cells = color.size
    n1, n2 = grid[1], grid[2]
    until = np.zeros(cells, np.int64)
    pool = np.empty(cells, np.int64)
    size = 0
    for x in range(cells):
        if color[x] == free:
            pool[size] = x
            size += 1
    best = size
    kept = color.copy()
    step = 0
    idle = 0
    while step < iterations and size > 0 and idle < 400 * size + 100000:
        step += 1
        idle += 1
        at = np.random.randint(size)
        x = pool[at]
        to = -1
        shift = np.random.randint(free)
        exchange = -1
        for q in range(free):
            c = (q + shift) % free
            if counts[c, x] == 0:
                to = c
                break
            if counts[c, x] == 1 and until[x] <= step:
                exchange = c
        if to >= 0:
            recolour_cell(x, to, color, counts, grid, offsets, starts)
            size -= 1
            pool[at] = pool[size]
            if size < best:
                best = size
                kept[:] = color
                idle = 0
            continue
        if exchange < 0:
            continue
        a, rest = x // (n1 * n2), x % (n1 * n2)
        b, m0 = rest // n2, rest % n2
        other = -1
        for k in range(starts[exchange], starts[exchange + 1]):
            i = a + offsets[k, 0]
            if i >= grid[0]:
                i -= grid[0]
            j = b + offsets[k, 1]
            if j >= n1:
                j -= n1
            m = m0 + offsets[k, 2]
            if m >= n2:
                m -= n2
            y = (i * n1 + j) * n2 + m
            if color[y] == exchange:
                other = y
                break
        recolour_cell(other, free, color, counts, grid, offsets, starts)
        recolour_cell(x, exchange, color, counts, grid, offsets, starts)
        pool[at] = other
        until[other] = step + 2 * size + np.random.randint(size + 1)
    return kept, best, step


def tabu(
    colouring: Colouring, problem: Problem, iterations: int = 200_000, seed: int = 0
) -> tuple[Colouring, int]:
    """Recolour cells until no pair rule is broken, or until the iterations are spent.

    Args:
        colouring: A start. Free cells stay free.
        problem: Its pair rules are what counts.
        iterations: Moves at most.
        seed: Of ties and tenures.

    Returns:
        The best colouring met and its number of conflicting ordered pairs of cells.

    Raises:
        ColoringError: The cells are too large for a rule.

    Cost: a move takes a few ns an offset and conflicting cell.
    """
    graph = graph_of(colouring.shape, colouring.grid, problem)
    color = colouring.cells.ravel().astype(np.int64)
    table = counts_of(colouring.cells, graph)
    kept, best, _ = _repair(
        color, table, graph.grid, graph.offsets, graph.starts, problem.colors, iterations,
        seed % 2**32,
    )  # fmt: skip
    return _with(colouring, kept), int(best)


def fill(
    colouring: Colouring, problem: Problem, iterations: int = 2_000_000, seed: int = 0
) -> Colouring:
    """Free every conflicting cell that must be, then colour as many free cells as local search can.

    Args:
        colouring: One with a free colour.
        problem: Its pair rules are kept; the result breaks none.
        iterations: Tries at most.
        seed: Of the choices.

    Returns:
        A colouring without conflicts and with no more free cells than needed to begin with.

    Raises:
        ColoringError: There is no free colour, or the cells are too large for a rule.
    """
    if not colouring.free:
        raise ColoringError("only a colouring with a free colour can be filled.")
    graph = graph_of(colouring.shape, colouring.grid, problem)
    color = colouring.cells.ravel().astype(np.int64)
    table = counts_of(colouring.cells, graph)
    _uncover(color, table, graph.grid, graph.offsets, graph.starts, problem.colors)
    kept, _, _ = _fill(
        color, table, graph.grid, graph.offsets, graph.starts, problem.colors, iterations,
        seed % 2**32,
    )  # fmt: skip
    return _with(colouring, kept)


@jit
def _uncover(color, counts, grid, offsets, starts, free):
    """Free cells greedily, those with the most conflicts first, until no conflict is left."""
    cells = color.size
    most = 0
    for x in range(cells):
        if color[x] != free and counts[color[x], x] > most:
            most = counts[color[x], x]
    level = most
    while level > 0:
        for x in range(cells):
            if color[x] != free and counts[color[x], x] >= level:
                recolour_cell(x, free, color, counts, grid, offsets, starts)
        level = level - 1 if level <= 8 else level * 7 // 8


def _with(colouring: Colouring, flat: Int[np.ndarray, " cells"]) -> Colouring:
    cells = flat.reshape(colouring.grid).astype(np.uint8)
    return colouring.with_cells(cells)
