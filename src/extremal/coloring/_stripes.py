"""Starts for configurations: stripes and random patterns on small tori, repaired by local search.

The local search works on the hypergraph of forbidden patterns on one torus: for every cell x and
every tuple of offsets that some position realises, the cells x, x + D_1, … must not have a
forbidden pattern. It recolours a cell of a broken pattern to the colour that breaks least.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Int

from extremal.lab import generator

from ._colouring import Colouring
from ._errors import ColoringError
from ._jit import jit
from ._problem import Problem
from ._search import Candidate
from ._sweep import broken_patterns, tuples_of


def tuples_on(colouring: Colouring, problem: Problem) -> Int[np.ndarray, "t m 2"]:
    """Return the offset tuples of the problem's one configuration rule, modulo the grid.

    Raises:
        ColoringError: There is not exactly one rule, or its patterns are not of a single colour.
    """
    rules = problem.configurations
    if len(rules) != 1 or any(len(set(p)) > 1 for p in rules[0].patterns(problem.colors)):
        raise ColoringError(
            "the search over patterns is for one rule of equal colours; certify and repair work "
            "for others."
        )
    found = {
        tuple((a % colouring.grid[0], b % colouring.grid[1]) for a, b in t)
        for t in tuples_of(rules[0], colouring.steps)
    }
    return np.array(sorted(found), np.int64)


@jit
def _broken(color, n0, n1, tuples, x, c):
    """How many patterns through cell x are of colour c in all their other cells."""
    total = 0
    m = tuples.shape[1]
    a, b = x // n1, x % n1
    for t in range(tuples.shape[0]):
        for base in range(m + 1):  # which point of the pattern x is
            if base == 0:
                i, j = a, b
            else:
                i, j = (a - tuples[t, base - 1, 0]) % n0, (b - tuples[t, base - 1, 1]) % n1
            good = True
            if base != 0 and color[i * n1 + j] != c and i * n1 + j != x:
                good = False
            k = 0
            while good and k < m:
                y = (i + tuples[t, k, 0]) % n0 * n1 + (j + tuples[t, k, 1]) % n1
                if y != x and color[y] != c:
                    good = False
                k += 1
            if good:
                total += 1
    return total


@jit
def _walk(color, n0, n1, tuples, colors, iterations, seed):
    """Min-conflicts with tabu: pick a cell of a broken pattern, give it the best colour."""
    np.random.seed(seed)
    cells = color.size
    until = np.zeros((colors, cells), np.int64)
    broken = np.zeros(cells, np.int64)
    total = 0
    for x in range(cells):
        broken[x] = _broken(color, n0, n1, tuples, x, color[x])
        total += broken[x]
    best = total
    kept = color.copy()
    for step in range(iterations):
        if total == 0:
            break
        count = 0
        x = -1
        for y in range(cells):
            if broken[y] > 0:
                count += 1
                if np.random.randint(count) == 0:
                    x = y
        least = 1 << 60
        to = -1
        ties = 0
        for c in range(colors):
            if c == color[x] or until[c, x] > step:
                continue
            value = _broken(color, n0, n1, tuples, x, c)
            if value < least:
                least, ties = value, 0
            if value == least:
                ties += 1
                if np.random.randint(ties) == 0:
                    to = c
        if to < 0:
            continue
        until[color[x], x] = step + count // 2 + np.random.randint(10) + 1
        color[x] = to
        total = 0
        for y in range(cells):  # small tori: recounted whole
            broken[y] = _broken(color, n0, n1, tuples, y, color[y])
            total += broken[y]
        if total < best:
            best = total
            kept[:] = color
    return kept, best


def repair_patterns(
    colouring: Colouring, problem: Problem, iterations: int = 400, seed: int = 0
) -> Candidate:
    """Recolour cells until no forbidden pattern is left, or the iterations are spent.

    Cost: cells * tuples a move; meant for tori of a few hundred cells.
    """
    tuples = tuples_on(colouring, problem)
    kept, _ = _walk(
        colouring.cells.ravel().astype(np.int64), colouring.grid[0], colouring.grid[1], tuples,
        problem.colors, iterations, seed % 2**32,
    )  # fmt: skip
    found = Colouring(
        colouring.lattice, kept.reshape(colouring.grid).astype(np.uint8), problem.colors
    )
    return Candidate(found, broken_patterns(found, problem), 0.0)


def pattern_starts(problem: Problem, seed: int, grid: int, deadline: float) -> Candidate:
    """Return the best of several small tori: cells of random shape with a linear colouring.

    A linear colouring gives cell (i, j) the colour (a i + b j) mod k, b = 0 being stripes. Cells of
    many shapes are tried, since few large cells are enough where a colouring exists with room.
    """
    rng = generator(seed, "patterns")
    best: Candidate | None = None
    k = problem.colors
    while best is None or (best.residue and time.monotonic() < deadline):
        candidate = _linear(problem, rng, k)
        if candidate is not None and (best is None or candidate.residue < best.residue):
            best = candidate
    return best


def _linear(problem: Problem, rng: Any, k: int) -> Candidate | None:
    """One linear colouring of a random lattice of cells with sub-cells of 1."""
    b = int(rng.integers(0, k))
    w, h = rng.uniform(0.25, 0.95), rng.uniform(0.25, 0.95)
    slant = rng.uniform(-0.5, 0.5)
    u = ((Fraction(round(w * 1000), 1000), Fraction(0)),
         (Fraction(round(slant * w * 1000), 1000), Fraction(round(h * 1000), 1000)))  # fmt: skip
    rows = k // math.gcd(b, k) if b else 1
    index = np.arange(k)[:, None] + b * np.arange(rows)[None, :]
    lattice = (tuple(k * x for x in u[0]), tuple(rows * x for x in u[1]))
    colouring = Colouring(lattice, (index % k).astype(np.uint8), k)
    return Candidate(colouring, broken_patterns(colouring, problem), 0.0)
