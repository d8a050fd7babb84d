"""Tiles from nothing: random ones, optimised coarse, with patches that open, join and vanish.

An optimisation with long sides takes seconds, so that many topologies can be tried. Between two
stages short sides are taken out and free patches that have met are joined, because the vertex
program changes no topology. Values of one length of sides may be compared with each other; a round
side loses about the square of its length, and that is nearly the same for all of them.
"""

from dataclasses import dataclass

import numpy as np

from ._errors import ColoringError
from ._open import eased, parted
from ._polygon_nlp import free_share, optimise
from ._problem import Problem
from ._scatter import scattered
from ._simplify import simplified
from ._tiles import Tiles
from ._triangles import halved, loosened

_EASE = (1e-5, 3e-5, 1e-4, 3e-4)


@dataclass(frozen=True, eq=False)
class Settled:
    """Coarse tiles.

    Attributes:
        tiles: They keep the rules but for `violation`.
        free: The share of the plane that they leave free.
        violation: The worst, in distances; at most 0 if all rules hold.
    """

    tiles: Tiles
    free: float
    violation: float

    @property
    def merit(self) -> float:
        """The free share, and the violation at a price; smaller is better."""
        return self.free + 20 * max(0.0, self.violation)


def random_tiles(
    problem: Problem,
    *,
    seed: int,
    copies: int = 1,
    longest: float = 0.2,
    rounds: tuple[int, ...] = (10, 10, 15, 15),
    give_up: float = 0.08,
) -> Settled:
    """Return tiles optimised from a random start, with little of the plane left free.

    Args:
        problem: Pair rules in the plane of distances near 1, and a free colour.
        seed: Of the start.
        copies: Tiles of each colour in a period.
        longest: Of a side.
        rounds: Of the vertex program, for each stage; trust falls from 0.06 to 0.02.
        give_up: A merit after the second stage that is not worth going on from.

    Raises:
        ColoringError: The start could not be mended: take another seed.

    Cost: 5 to 10 s for 5 colours and sides of 0.2.

    Example:
        >>> from extremal import coloring
        >>> five = coloring.Problem.plane(5, free_color=True)
        >>> found = coloring.random_tiles(five, seed=0, longest=0.4, rounds=(2,))
        >>> found.tiles.colors[:5], found.free < 0.2
        ((0, 1, 2, 3, 4), True)
    """
    if not problem.free_color:
        raise ValueError("random_tiles needs a problem with a free colour.")
    tiles = scattered(problem, seed=seed, copies=copies)
    found: Settled | None = None
    for stage, count in enumerate(rounds):
        share = stage / max(1, len(rounds) - 1)
        tiles = simplified(upright(tiles, problem), (0.1 if stage == 0 else 0.18) * longest)
        tiles = upright(halved(parted(tiles, problem), longest), problem)
        tiles, worst = optimise(
            tiles, problem, rounds=count, trust=0.06 - 0.04 * share, objective="min_free"
        )
        found = Settled(tiles, free_share(tiles, problem), worst)
        if stage > 0 and found.merit > give_up:
            break
    if found is None:
        raise ValueError("rounds names no stage.")
    return found


def settle(
    tiles: Tiles,
    problem: Problem,
    *,
    longest: float,
    wide: float = 3e-3,
    times: int = 8,
    rounds: int = 5,
) -> Settled:
    """Return the best tiles met while necks of free patches are widened again and again.

    Where a free patch has become a neck without width, its triangles have no area, so that the
    vertex program hardly moves the two tiles beside it against each other. Each time the coloured
    tiles draw back a little, less and less, and a few rounds find a better place.

    Args:
        tiles: They may touch, not overlap.
        problem: Pair rules in the plane, and a free colour.
        longest: Of a side.
        wide: How far corners draw back the first time; the last time a tenth of it.
        times: How often.
        rounds: Of the vertex program each time.

    Returns:
        The tiles with the least merit.

    Raises:
        ColoringError: Tiles cross themselves.

    Cost: `times * rounds` rounds of the vertex program.
    """
    if not problem.free_color or times < 1:
        raise ValueError("settle needs a free colour and at least one time.")
    best: Settled | None = None
    for by in np.geomspace(wide, wide / 10, times):
        tiles = upright(eased(tiles, problem, float(by)), problem)
        tiles = parted(simplified(tiles, longest / 5), problem)
        tiles = upright(halved(tiles, longest), problem)
        tiles, worst = optimise(tiles, problem, rounds=rounds, trust=0.02, objective="min_free")
        found = Settled(tiles, free_share(tiles, problem), worst)
        if best is None or found.merit < best.merit:
            best = found
    assert best is not None
    return best


def upright(tiles: Tiles, problem: Problem) -> Tiles:
    """Return tiles that can be cut into triangles, with necks of free patches widened if need be.

    Raises:
        ColoringError: Tiles cross themselves by more than 3e-4.
    """
    error: ColoringError | None = None
    for by in (0.0, *_EASE):
        try:
            return loosened(eased(tiles, problem, by) if by else tiles)[0]
        except ColoringError as found:
            error = found
    raise ColoringError(f"free patches have no width, or {error}")
