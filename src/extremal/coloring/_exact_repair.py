"""Exact repair by CP-SAT: recolour a band of cells so that as few as possible stay free.

Only cells in the band around conflicts, free cells and boundaries get variables; all others keep
their colour, which forbids that colour to band cells at a forbidden offset. So the result is the
best among colourings that agree outside the band, and the solver's bound is for those.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from ._colouring import Colouring
from ._cp_sat import largest
from ._errors import ColoringError
from ._problem import Problem
from ._screen import neighbour_counts
from ._tabu import graph_of

_MOST = 20_000  # band cells; more make programs that do not fit the time


@dataclass(frozen=True, eq=False)
class Recoloured:
    """The result of an exact repair.

    Attributes:
        colouring: With the band recoloured; a cell that no colour fits is free, or keeps its own.
        uncoloured: How many band cells no colour fits.
        bound: No colouring that agrees outside the band has fewer.
        optimal: Whether the two are equal.
    """

    colouring: Colouring
    uncoloured: int
    bound: int
    optimal: bool


def recolour(
    colouring: Colouring, problem: Problem, band: int = 2, seconds: float = 60.0
) -> Recoloured:
    """Solve for the best colours of a band of cells.

    Args:
        colouring: A start; used as hint.
        problem: Pair rules only.
        band: How far, in cells, the band reaches from conflicting and free cells.
        seconds: Limit of the solver.

    Raises:
        ColoringError: The band is too large, or the cells are too large for a rule.
        MissingExtra: ortools is not installed.
    """
    import scipy.ndimage

    graph = graph_of(colouring.shape, colouring.grid, problem)
    conflicting = np.zeros(colouring.grid, bool)
    counts = [
        neighbour_counts(colouring.cells, c, kind) if len(kind) else np.zeros(colouring.grid, int)
        for c, kind in enumerate(graph.kinds)
    ]
    for c in range(problem.colors):
        conflicting |= (colouring.cells == c) & (counts[c] > 0)
    if colouring.free:
        conflicting |= colouring.cells == problem.colors
    inner = np.pad(conflicting, band, mode="wrap")
    grown: Any = inner
    if band:  # with 0 iterations SciPy would go on until nothing changes
        grown = scipy.ndimage.binary_dilation(inner, iterations=band)
    open_cells = grown[tuple(slice(band, -band) for _ in colouring.grid)] if band else conflicting
    where = np.argwhere(open_cells)
    if len(where) > _MOST:
        raise ColoringError(
            f"the band has {len(where)} cells, more than {_MOST}; repair with tabu or fill first, "
            "or take a smaller band."
        )
    number = {tuple(x): k for k, x in enumerate(where.tolist())}
    outside = np.where(open_cells, 255, colouring.cells)
    x: list[dict[int, int]] = []  # of each band cell: the variable of each colour it may have
    hint: list[bool] = []
    for cell in where.tolist():
        own: dict[int, int] = {}
        for c, kind in enumerate(graph.kinds[: problem.colors]):
            y = (np.array(cell) + kind) % np.array(colouring.grid)
            if not len(kind) or not (outside[tuple(y.T)] == c).any():
                own[c] = len(hint)
                hint.append(int(colouring.cells[tuple(cell)]) == c)
        x.append(own)
    pairs: list[tuple[int, int]] = []
    for k, cell in enumerate(where.tolist()):
        for c, variable in x[k].items():
            y = (np.array(cell) + graph.kinds[c]) % np.array(colouring.grid)
            for other in map(tuple, y[open_cells[tuple(y.T)]].tolist()):
                m = number[other]
                if k < m and c in x[m]:
                    pairs.append((variable, x[m][c]))
    solution = largest(
        len(hint),
        pairs=pairs,
        groups=[list(own.values()) for own in x],
        hint=hint,
        seconds=seconds,
    )
    if hint and not solution.values:
        raise ColoringError("the solver found nothing within its time; give more --seconds.")
    cells = colouring.cells.copy()
    missing = 0
    for own, cell in zip(x, where.tolist(), strict=True):
        chosen = [c for c, v in own.items() if solution.values[v]]
        if chosen:
            cells[tuple(cell)] = chosen[0]
        else:
            missing += 1
            if colouring.free:
                cells[tuple(cell)] = problem.colors
    bound = len(where) - solution.bound
    found = colouring.with_cells(cells)
    return Recoloured(found, missing, max(0, bound), solution.optimal)
