"""In which order the census visits the lattice points: the widest frontier decides its cost.

The frontier consists of the visited points with a neighbour not yet visited. With f points and c
copies on it and r copies behind it a layer is given the cost exp(0.1 c + 0.3 f) (1 + r)^1.5 / 100.
The exponents are the best of six sets on 22 triangulations of degree 6 to 10, by states; on others
another set may win, and a fit to single layers has other ones (c counts connections across the
frontier, r the variety of finished nests). All layers together have about 0.008 times the square of
the cost, to a factor of two at degrees 7 and 8; beyond, that is extrapolated. The order is the
cheapest found by greedy construction with random ties, improved by moving single points.
"""

from functools import lru_cache

import numpy as np

from extremal.lab import require

from ._glued import glued
from ._triangulation import Triangulation

_COPY, _POINT, _BEHIND = 0.1, 0.3, 1.5
_SCALE = 0.008


def elimination_order(
    t: Triangulation, restarts: int = 300, tries: int = 2000, seed: int = 0
) -> tuple[tuple[int, ...], float]:
    """Return an order of all points and the number of states predicted for it.

    Args:
        t: The triangulation.
        restarts: Greedy orders, with random starts and ties.
        tries: Random moves of a point in the best of them.
        seed: Of the choices.
    """
    neighbours, degree, copies = _arrays(t)
    counts = np.arange(4 * t.n + 1, dtype=np.float64)
    powers = np.exp(np.array([_COPY * counts, _POINT * counts]))
    behind = 0.01 * (1 + counts) ** _BEHIND
    require("numba", "tcurves")
    from ._order_kernels import search

    best, cost = search(neighbours, degree, copies, powers, behind, restarts, tries, seed)
    return tuple(int(k) for k in best), _SCALE * float(cost) ** 2


@lru_cache(maxsize=16)
def _arrays(t: Triangulation) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    degree = np.array([len(row) for row in t.neighbours], np.int64)
    neighbours = np.full((t.n, int(degree.max())), -1, np.int64)
    for k, row in enumerate(t.neighbours):
        neighbours[k, : len(row)] = row
    return neighbours, degree, np.diff(glued(t).first).astype(np.int64)
