"""Patterns that repeat with their colours exchanged: a small cell of a large period.

Notation: M is the lattice of a small cell, and the pattern repeats under its row M_i after the
colours are moved by the permutation s_i: colour(x + M_i) = s_i[colour(x)]. The true period is then
L = (n_1 M_1, …), n_i the order of s_i. A certificate is about L alone; the exchange only makes the
search smaller. The seven-colouring by hexagons is one hexagon with a cycle of the seven colours.
"""

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from ._colouring import Colouring
from ._errors import ColoringError
from ._periods import OVERLAP, SHORTEST, Period, colour_pairs, vertex
from ._problem import Problem

Permutation = tuple[int, ...]
_MOST = 400  # small cells in a period; more make the period too large to search


@dataclass(frozen=True)
class Exchange:
    """Which permutation of the colours goes with each row of the small cell.

    Attributes:
        permutations: One for each axis; they commute.
    """

    permutations: tuple[Permutation, ...]

    def __post_init__(self) -> None:
        palette = len(self.permutations[0])
        for s in self.permutations:
            if sorted(s) != list(range(palette)):
                raise ValueError(f"{s} is no permutation of {palette} colours.")
        for s, t in itertools.combinations(self.permutations, 2):
            if _after(s, t) != _after(t, s):
                raise ValueError(
                    f"the exchanges {s} and {t} do not commute, so no pattern has both."
                )

    @cached_property
    def orders(self) -> tuple[int, ...]:
        """How many small cells a period has along each axis."""
        return tuple(_order(s) for s in self.permutations)

    @cached_property
    def _table(self) -> Int[np.ndarray, "cells k"]:
        """The permutation of every small cell of a period, last axis fastest."""
        return np.array([self.moved(s) for s in itertools.product(*map(range, self.orders))])

    @property
    def identity(self) -> bool:
        """Whether no colour is exchanged."""
        return math.prod(self.orders) == 1

    def moved(self, steps: Sequence[int]) -> Permutation:
        """Return the permutation that goes with so many steps along each axis."""
        found = tuple(range(len(self.permutations[0])))
        for s, count in zip(self.permutations, steps, strict=True):
            for _ in range(count % _order(s)):
                found = _after(s, found)
        return found

    def size(self) -> int:
        """How many different permutations there are: the true period needs no more small cells."""
        return len(np.unique(self._table, axis=0))

    def whole(self, small: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "k ..."]:
        """Return a small cell's values, colours first, on the whole period."""
        n = len(self.orders)
        back = np.argsort(self._table, axis=1)  # full[s[c]] is small[c]
        blocks = small[back].reshape(*self.orders, *small.shape)
        # axes: small cells, colour, cells -> colour, then each small-cell axis before its cells
        order = [n, *itertools.chain(*((i, n + 1 + i) for i in range(n)))]
        sides = (m * a for m, a in zip(self.orders, small.shape[1:], strict=True))
        return np.ascontiguousarray(blocks.transpose(order)).reshape(len(small), *sides)

    def small(self, full: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "k ..."]:
        """Return the values of the first small cell."""
        return full[(slice(None), *(slice(0, a) for a in self._shape(full)))].copy()

    def summed(self, full: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "k ..."]:
        """Return the sum over all small cells, colours moved back: the transpose of `whole`."""
        n, shape = len(self.orders), self._shape(full)
        pairs = itertools.chain(*zip(self.orders, shape, strict=True))
        blocks = full.reshape(len(full), *pairs)
        order = [*range(1, 2 * n, 2), 0, *range(2, 2 * n + 1, 2)]
        flat = blocks.transpose(order).reshape(-1, len(full), *shape)
        return flat[np.arange(len(flat))[:, None], self._table].sum(0)

    def kept_by(self, colouring: Colouring) -> bool:
        """Return whether cells have exactly this repetition."""
        if any(a % n for a, n in zip(colouring.grid, self.orders, strict=True)):
            return False
        for axis, s in enumerate(self.permutations):
            step = colouring.grid[axis] // self.orders[axis]
            here = np.asarray(s, np.uint8)[colouring.cells]
            if not np.array_equal(np.roll(colouring.cells, -step, axis), here):
                return False
        return True

    def _shape(self, full: Float[np.ndarray, "k ..."]) -> tuple[int, ...]:
        return tuple(a // n for a, n in zip(full.shape[1:], self.orders, strict=True))


def _after(s: Sequence[int], t: Sequence[int]) -> Permutation:
    """First t, then s."""
    return tuple(s[c] for c in t)


def _order(s: Permutation) -> int:
    count, now = 1, s
    while now != tuple(range(len(s))):
        now, count = _after(s, now), count + 1
    return count


def exchangeable(problem: Problem) -> int:
    """Return the size of the largest class of colours with equal rules.

    Raises:
        ColoringError: No two colours have equal rules, or a rule is about more than pairs.
    """
    most = max((len(colors) for _, colors in problem.classes()), default=0)
    if most < 2 or problem.configurations:
        raise ColoringError(
            "colours are exchanged where they avoid the same distances, and here no two do, or a "
            "rule is about more than pairs; search without --permuted."
        )
    return most


def random_exchange(problem: Problem, rng: Any) -> Exchange:
    """Return an exchange of colours with equal rules, drawn at random.

    One permutation made of cycles of one length r, and for each axis a power of it. Half of the
    time r is the number of colours of the largest class, so that one patch makes all of them.

    Raises:
        ColoringError: No two colours have equal rules.
    """
    most = exchangeable(problem)
    groups = [list(colors) for _, colors in problem.classes()]
    while True:
        r = most if rng.random() < 0.5 else int(rng.integers(2, most + 1))
        cycle = list(range(problem.palette))
        for group in groups:
            for first in range(0, len(group) - r + 1, r):
                part = group[first : first + r]
                for c, d in zip(part, part[1:] + part[:1], strict=True):
                    cycle[c] = d
        powers = [int(rng.integers(0, r)) for _ in range(problem.dim)]
        if math.gcd(r, *powers) > 1:
            continue
        plain = Exchange((tuple(cycle),))
        found = Exchange(tuple(plain.moved((p,)) for p in powers))
        if math.prod(found.orders) <= _MOST:
            return found


def exchanged_periods(
    grid: Float[np.ndarray, "..."], spacing: float, problem: Problem, floor: float = 0.6
) -> list[Period]:
    """Return translations that repeat a pattern with any exchange of colours of equal rules.

    For every shift the best permutation is an assignment; only shifts where the sum of each
    colour's best partner peaks are solved, since that sum bounds every permutation.

    Args:
        grid: Probabilities of the colours on a square or cubic grid, colours last.
        spacing: Between neighbouring points.
        problem: Says which colours have equal rules.
        floor: Peaks below this share of the agreement at 0 are left out.

    Returns:
        The peaks, the shortest first; those with the identity are true periods.

    Cost: one FFT for every pair of colours of equal rules.
    """
    import scipy.ndimage
    import scipy.optimize

    partner = {c: [c] for c in range(grid.shape[-1])}
    for _, colors in problem.classes():
        partner.update({c: list(colors) for c in colors})
    pairs, overlap = colour_pairs(grid, partner)
    centre = tuple(s // 2 for s in overlap.shape)
    zero = sum(float(pairs[c, c][centre]) for c in partner)
    bound = np.zeros(overlap.shape)
    for c, others in partner.items():
        bound += np.max([pairs[c, d] for d in others], axis=0)
    bound = np.where(overlap >= OVERLAP, bound / zero, -1.0)
    peaks = bound == scipy.ndimage.maximum_filter(bound, 5)
    found: list[Period] = []
    for where in np.argwhere(peaks & (bound > floor)):
        at = tuple(int(w) for w in where)
        moved = list(range(grid.shape[-1]))
        score = 0.0
        for group in {tuple(v) for v in partner.values()}:
            table = np.array([[pairs[c, d][at] for d in group] for c in group])
            rows, columns = scipy.optimize.linear_sum_assignment(-table)
            for i, j in zip(rows.tolist(), columns.tolist(), strict=True):
                moved[group[i]] = group[j]
            score += float(table[rows, columns].sum()) / zero
        vector = (where - np.array(centre)) * spacing
        shortest = SHORTEST if moved == list(range(len(moved))) else 0.1
        if score <= floor or np.linalg.norm(vector) < shortest:
            continue
        fine = vector + spacing * vertex(bound, at)
        found.append(Period(tuple(float(x) for x in fine), score, tuple(moved)))
    return sorted(found, key=lambda p: float(np.linalg.norm(p.vector)))


def small_cells(
    found: Sequence[Period], count: int = 4
) -> list[tuple[Float[np.ndarray, "n n"], Exchange]]:
    """Return small cells whose rows repeat the pattern with exchanges, the most trusted first.

    Args:
        found: Periods, with permutations or without.
        count: At most so many.

    Raises:
        ColoringError: No n independent translations have exchanges that commute.
    """
    cells: list[tuple[Float[np.ndarray, "n n"], Exchange]] = []
    top = max((p.score for p in found), default=0.0)
    n = len(found[0].vector) if found else 0
    for slack in (0.03, 0.08, 0.15, 0.3):
        good = [p for p in found if p.score >= top - slack]
        basis: list[Period] = []
        for p in good:
            trial = np.array([*(q.vector for q in basis), p.vector])
            volume = np.sqrt(abs(np.linalg.det(trial @ trial.T)))
            lengths = np.prod(np.linalg.norm(trial, axis=1))
            commutes = all(_after(p.colors, q.colors) == _after(q.colors, p.colors) for q in basis)
            if commutes and volume > 0.3 * lengths:
                basis.append(p)
            if len(basis) == n:
                break
        if n and len(basis) == n:
            exchange = Exchange(tuple(p.colors for p in basis))
            rows = np.array([p.vector for p in basis])
            new = not any(np.allclose(rows, b, atol=0.05) for b, _ in cells)
            if new and math.prod(exchange.orders) <= _MOST:
                cells.append((rows, exchange))
    if not cells:
        raise ColoringError(
            "the pattern repeats nowhere in the box, not with exchanged colours either; train "
            "longer, or in a larger --box."
        )
    return cells[:count]


def fold_exchanged(
    network: Callable[..., Float[np.ndarray, "m k"]],
    rows: Float[np.ndarray, "n n"],
    exchange: Exchange,
    grid: Sequence[int],
    box: float,
) -> Float[np.ndarray, "k ..."]:
    """Return the mean distribution in a small cell over its translates in the box, on the period.

    Raises:
        ColoringError: A place of the small cell has no translate in the box.
    """
    n = len(rows)
    index = np.stack(np.meshgrid(*[np.arange(a) for a in grid], indexing="ij"), -1).reshape(-1, n)
    centres = ((index + 0.5) / np.array(grid)) @ rows
    reach = int(np.ceil(box * n**0.5 * np.linalg.norm(np.linalg.inv(rows), axis=0).max())) + 1
    total: Any = 0.0
    count = np.zeros(len(centres))
    for steps in itertools.product(range(-reach, reach + 1), repeat=n):
        moved = centres + np.array(steps) @ rows
        inside = (np.abs(moved) <= box).all(1)
        if inside.any():
            values = network(moved[inside])[:, list(exchange.moved(steps))]
            if not np.ndim(total):
                total = np.zeros((len(centres), values.shape[1]))
            total[inside] += values
            count[inside] += 1
    if (count == 0).any():
        raise ColoringError("the period is larger than the box of the network; train a larger box.")
    mean = np.moveaxis((total / count[:, None]).reshape(*grid, -1), -1, 0)
    return exchange.whole(mean)


__all__ = [
    "Exchange",
    "exchanged_periods",
    "fold_exchanged",
    "random_exchange",
    "small_cells",
]
