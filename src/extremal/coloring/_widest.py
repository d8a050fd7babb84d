"""The widest interval of distances that some colours can avoid at once: `max_interval` in `find`.

From a colouring that avoids one distance of the range, the interval around it that the cells avoid
already is read off their spectrum, exactly. Then each end is pushed out in turn by a step: the
colouring is softened, finished for the wider interval, on finer cells if it must be; the step
shrinks where neither end gives way.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

from ._colouring import Colouring
from ._errors import ColoringError
from ._problem import Problem
from ._rates import spectrum
from ._search import Candidate, finish, soften

_DIGITS = 10**6
_FIRST = 0.02  # the first step, as a share of the distance at the end that is pushed
_LAST = 0.001


@dataclass(frozen=True, eq=False)
class Widened:
    """A valid colouring and what it avoids.

    Attributes:
        candidate: The colouring.
        low: Least distance of the interval.
        high: Largest distance.
    """

    candidate: Candidate
    low: Fraction
    high: Fraction


def range_of(problem: Problem) -> tuple[str, Fraction, Fraction]:
    """Return the name of the open distance and its range, as decimals inside it.

    Raises:
        ValueError: Not exactly one distance is open, or there is a free colour or a configuration.
    """
    if len(problem.parameters) != 1 or problem.configurations or problem.free_color:
        raise ValueError(
            "max_interval needs exactly one rule with a parameter: the range in which its distance "
            "may lie; pair rules only and no free colour."
        )
    rule = next(r for r in problem.rules if r.parameter is not None)
    low, high = rule.spans[0]
    return str(rule.parameter), _up(low), _down(high)


def middle_of(problem: Problem) -> Problem:
    """Return the problem with its open distance in the middle of the range."""
    name, low, high = range_of(problem)
    return problem.at(**{name: (low + high) / 2})


def avoided(colouring: Colouring, problem: Problem, near: Fraction) -> tuple[Fraction, Fraction]:
    """Return the decimals between which the bound colours avoid every distance, around `near`.

    Raises:
        ColoringError: One of them has two points at distance `near`.
    """
    _, low, high = range_of(problem)
    rule = next(r for r in problem.rules if r.parameter is not None)
    for color in rule.bound(problem.colors):
        if not (colouring.cells == color).any():
            continue  # a colour without points avoids everything
        gaps = spectrum(colouring, color, float(high) + 0.1).squared
        around = [(a, b) for a, b in gaps if a <= near * near <= b]
        if not around:
            raise ColoringError(f"colour {color} does not avoid the distance {near}.")
        low, high = max(low, _up(around[0][0])), min(high, _down(around[0][1]))
    return low, high


def widen(
    start: Colouring, problem: Problem, *, finest: int, seed: int = 0, iterations: int = 60_000
) -> Iterator[Widened]:
    """Return colourings that avoid wider and wider intervals; end when no end gives way.

    Args:
        start: Valid for the middle of the range.
        problem: With one open distance.
        finest: Cells along an axis at most.
        seed: Of the repair.
        iterations: Of the repair of one try.

    Cost: `finish` a try.
    """
    name, least, most = range_of(problem)
    near = (least + most) / 2
    low, high = avoided(start, problem, near)
    yield Widened(Candidate(start, 0, 0.0), low, high)
    now, share = start, _FIRST
    while share >= _LAST:
        gave_way = False
        for end in (0, 1):
            wider = (
                (max(least, _round(low * Fraction(1 - share))), high)
                if end == 0
                else (low, min(most, _round(high * Fraction(1 + share))))
            )
            if wider == (low, high):
                continue
            asked = problem.at(**{name: wider})
            found = _finished(now, asked, finest, seed, iterations)
            if found is None:
                continue
            gave_way, now = True, found.colouring
            low, high = avoided(now, problem, near)
            yield Widened(found, low, high)
        if not gave_way:
            share /= 2


def _finished(
    now: Colouring, asked: Problem, finest: int, seed: int, iterations: int
) -> Candidate | None:
    grid = now.grid[0]
    while grid <= finest:
        try:
            found = finish(
                soften(now, 3.0, 2.0), asked, grid, seed=seed, iterations=iterations, cell=now.cell
            )
        except ColoringError:  # cells too large for the wider interval
            found = None
        if found is not None and found.residue == 0:
            return found
        grid = grid * 4 // 3
    return None


def _up(square: Fraction) -> Fraction:
    """The least decimal that is no less than the root."""
    n = math.isqrt(square.numerator * _DIGITS**2 // square.denominator)
    while Fraction(n, _DIGITS) ** 2 < square:
        n += 1
    return Fraction(n, _DIGITS)


def _down(square: Fraction) -> Fraction:
    """The largest decimal that is no more than the root."""
    return Fraction(math.isqrt(square.numerator * _DIGITS**2 // square.denominator), _DIGITS)


def _round(x: Fraction) -> Fraction:
    return Fraction(round(x * _DIGITS), _DIGITS)
