"""Configurations in the plane: which tuples of cell offsets some position of the points realises.

Notation: W_i(theta) are the cell coordinates of the turned point q_i. For a base point with
coordinates t in [0, 1)^2 inside its cell, q_i lands in the cell at offset floor(t + W_i). Between
two critical angles, where a coordinate of some W_i or of W_j - W_i is an integer, the tuples do not
change, so one angle in the middle gives all of them; per axis there are at most m + 1 patterns. The
critical angles themselves add nothing: t is half-open, and tuples realised there are realised
nearby. Angles are floats here; intervals shorter than `_SHORT` are not dropped, both neighbours and
their union are kept. The certificate's checker uses rational enclosures of arcs instead.
In space, and for scaled copies, boxes of motions are cut until each is decided (`_motions`).
"""

import itertools
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from ._colouring import Colouring
from ._errors import ColoringError
from ._motions import boxed_tuples
from ._problem import Problem, Rule


def critical_angles(forms: Sequence[tuple[float, float]]) -> Float[np.ndarray, " k"]:
    """Return the angles where a cos(theta) + b sin(theta) is an integer, for any of the forms."""
    found: list[Float[np.ndarray, " k"]] = []
    for a, b in forms:
        r, phase = math.hypot(a, b), math.atan2(b, a)
        whole = np.arange(-math.floor(r), math.floor(r) + 1)
        opening = np.arccos(np.clip(whole / r, -1, 1))
        found += [phase + opening, phase - opening]
    return np.unique(np.mod(np.concatenate(found), 2 * math.pi))


def tuples_of(rule: Rule, steps: Float[np.ndarray, "2 2"]) -> set[tuple[tuple[int, int], ...]]:
    """Return every tuple of offsets (D_1, …, D_m) that a position of the rule's points realises.

    With scales they are a superset, decided up to a twentieth of a cell.

    Raises:
        ColoringError: The rule is not in the plane.
    """
    if len(rule.points[0]) != 2:
        raise ColoringError("configurations are searched in the plane only.")
    if rule.scales:
        most = max(math.hypot(*(float(x) for x in q)) for q in rule.points)
        cell = 0.05 / float(np.linalg.norm(np.linalg.inv(steps), axis=0).max())
        return {
            ((t[0][0], t[0][1]), *((d[0], d[1]) for d in t[1:]))
            for t, _ in boxed_tuples(rule, steps, lambda _: False, cell / most)
        }
    inverse = np.linalg.inv(steps)
    points = np.array([[float(x) for x in q] for q in rule.points])
    mirrored = [points]
    if rule.motions == "rigid":
        mirrored.append(points * np.array([1.0, -1.0]))
    found: set[tuple[tuple[int, int], ...]] = set()
    for q in mirrored:
        # W(theta) = cos * (q @ inverse) + sin * (turned q @ inverse)
        along, across = q @ inverse, np.stack([-q[:, 1], q[:, 0]], 1) @ inverse
        if rule.motions == "translations":
            found |= _patterns(along)
            continue
        forms: list[tuple[float, float]] = []
        m = len(q)
        for axis in range(2):
            for i in range(m):
                forms.append((float(along[i, axis]), float(across[i, axis])))
                forms += [
                    (
                        float(along[j, axis] - along[i, axis]),
                        float(across[j, axis] - across[i, axis]),
                    )
                    for j in range(i)
                ]
        angles = critical_angles([f for f in forms if math.hypot(*f) > 0])
        middles = (
            angles
            + np.roll(angles, -1)
            + np.where(np.arange(len(angles)) == len(angles) - 1, 2 * math.pi, 0)
        ) / 2
        for theta in middles:
            found |= _patterns(along * math.cos(theta) + across * math.sin(theta))
    return found


def _patterns(w: Float[np.ndarray, "m 2"]) -> set[tuple[tuple[int, int], ...]]:
    sides: list[set[tuple[int, ...]]] = []
    for axis in range(2):
        base = np.floor(w[:, axis]).astype(int)
        frac = w[:, axis] - base
        # t passes 1 - frac_i in this order; before, between and after there is one pattern each
        starts = np.unique(np.concatenate([[0.0], 1 - frac]))
        sides.append({tuple(int(x) for x in base + (t >= 1 - frac)) for t in starts if t < 1})
    return {tuple(zip(x, y, strict=True)) for x, y in itertools.product(*sides)}


def broken_patterns(colouring: Colouring, problem: Problem) -> int:
    """Return how many cells start a forbidden pattern of some configuration rule.

    Of a rule in space or with scales only one broken box of motions is counted.

    Raises:
        ColoringError: The cells are hexagons, or a rule holds without enough slack to decide.

    Cost: one comparison a cell, tuple and pattern; tuples that agree modulo the grid count once.
    """
    total = 0
    if problem.configurations and (colouring.cell, colouring.axes) != ("parallelogram", ()):
        raise ColoringError(
            "configurations are decided for parallelograms with plain coordinates; formalise the "
            "colouring on such cells."
        )
    grid = np.array(colouring.grid)
    for rule in problem.configurations:
        check = _Patterns(colouring, rule.patterns(problem.colors))
        if colouring.dim == 2 and not rule.scales:
            tuples = {
                tuple(tuple(int(x) for x in np.mod(d, grid)) for d in t)
                for t in tuples_of(rule, colouring.steps)
            }
            total += sum(check.hits(t) for t in tuples)
            continue
        for t, good in boxed_tuples(
            rule, colouring.steps, check.clean, _finest(rule), colouring.grid
        ):
            if not good:
                total += check.hits(t)
                break  # one is enough: the others cost as much each
    return total


def _finest(rule: Rule) -> float:
    """Boxes of rotations in space are eight times as many for each halving."""
    return 1e-4 if len(rule.points[0]) == 3 and rule.motions != "translations" else 1e-7


class _Patterns:
    """How often the forbidden patterns of a rule stand at given offsets."""

    def __init__(self, colouring: Colouring, patterns: Sequence[tuple[int, ...]]) -> None:
        self.patterns, self.grid = patterns, colouring.grid
        self.masks = {c: colouring.cells == c for p in patterns for c in p}
        self.shifted: dict[Any, Any] = {}
        self.known: dict[Any, bool] = {}

    def hits(self, t: tuple[tuple[int, ...], ...]) -> int:
        """Return how many cells start a pattern; the offsets are reduced."""
        total = 0
        axes = tuple(range(len(self.grid)))
        for pattern in self.patterns:
            hit = self.masks[pattern[0]]
            for d, c in zip(t, pattern[1:], strict=True):
                if (d, c) not in self.shifted:
                    self.shifted[d, c] = np.roll(self.masks[c], tuple(-x for x in d), axes)
                hit = hit & self.shifted[d, c]
                if not hit.any():
                    break
            total += int(hit.sum())
        return total

    def clean(self, t: tuple[tuple[int, ...], ...]) -> bool:
        """Return whether no cell starts a pattern, remembered."""
        if t not in self.known:
            self.known[t] = self.hits(t) == 0
        return self.known[t]
