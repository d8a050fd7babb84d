"""Linear colourings of large cells: the first starts for rules about configurations.

A linear colouring gives cell (i, j) the colour (a i + b j) mod k, b = 0 being stripes. Few large
cells are enough where a colouring exists with room.
"""

import math
import time
from fractions import Fraction
from typing import Any

import numpy as np

from extremal.lab import generator

from ._colouring import Colouring
from ._problem import Problem
from ._search import Candidate
from ._sweep import broken_patterns


def linear_start(problem: Problem, seed: int, deadline: float) -> Candidate | None:
    """Return the best of linear colourings of random cells, tried until one is valid.

    Pair rules are not counted, so None comes back where a problem has some.
    """
    if problem.classes():
        return None
    rng = generator(seed, "patterns")
    best: Candidate | None = None
    while best is None or (best.residue and time.monotonic() < deadline):
        candidate = _linear(problem, rng, problem.colors)
        if best is None or candidate.residue < best.residue:
            best = candidate
    return best


def _linear(problem: Problem, rng: Any, k: int) -> Candidate:
    """One linear colouring of a random lattice of cells."""
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
