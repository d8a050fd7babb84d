"""Short boundaries: cells that fit several colours take that of their surroundings.

Where two colours both keep the rules, local search leaves fingers and islands. A cell may change to
any colour it has no forbidden partner of, so the result breaks no rule that the start keeps, and
has no more free cells.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from collections.abc import Sequence

import numpy as np

from ._colouring import Colouring
from ._jit import jit
from ._problem import Problem
from ._tabu import counts_of, graph_of, recolour_cell


@jit
def _sweep(color, counts, near, grid, offsets, starts, usable, order):
    """Give each cell in turn the allowed colour that most of its surroundings have."""
    changed = 0
    for k in range(order.size):
        x = order[k]
        own = color[x]
        best, most = own, near[own, x] + 1e-6
        if own >= usable:  # free: any colour that fits is better
            most = -1.0
        elif counts[own, x] > 0:
            continue
        for c in range(usable):
            if c != own and counts[c, x] == 0 and near[c, x] > most:
                best, most = c, near[c, x]
        if best != own:
            recolour_cell(x, best, color, counts, grid, offsets, starts)
            changed += 1
    return changed


def smooth(
    colouring: Colouring, problem: Problem, widths: Sequence[float] = (8.0, 4.0, 2.0, 1.0),
    sweeps: int = 6,
) -> Colouring:  # fmt: skip
    """Shorten the boundaries of a colouring without breaking a rule.

    Args:
        colouring: Cells; conflicting ones stay as they are.
        problem: Its pair rules are kept.
        widths: Of the surroundings, in cells, one after another.
        sweeps: For each width at most.

    Returns:
        A colouring with the same rules kept and no more free cells.

    Raises:
        ColoringError: The cells are too large for a rule.
    """
    import scipy.ndimage

    graph = graph_of(colouring.exact_steps, colouring.grid, problem)
    color = colouring.cells.ravel().astype(np.int64)
    counts = counts_of(colouring.cells, graph)
    for width in widths:
        for _ in range(sweeps):
            hot = [
                (color == c).reshape(colouring.grid).astype(np.float32)
                for c in range(problem.colors)
            ]
            near = np.stack(
                [scipy.ndimage.gaussian_filter(h, width, mode="wrap").ravel() for h in hot]
            )
            full = np.concatenate([near, np.zeros((colouring.palette - len(near), color.size))])
            own = np.take_along_axis(full, color[None], 0)[0]
            gain = near.max(0) - own
            order = np.flatnonzero((gain > 0) | (color >= problem.colors))
            order = order[np.argsort(-gain[order], kind="stable")]
            if not _sweep(
                color, counts, full, graph.grid, graph.offsets, graph.starts, problem.colors, order
            ):
                break
    cells = color.reshape(colouring.grid).astype(np.uint8)
    return Colouring(colouring.lattice, cells, colouring.colors, colouring.free)
