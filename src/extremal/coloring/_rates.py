"""How far a colouring is from its rules: exact pair rate, point rate, and the spectrum.

The pair rate is the probability that a point and a random partner at a forbidden distance share a
colour; the point rate, that a point has any such partner at all. They are never mixed.
"""

import itertools
import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from jaxtyping import Float

from extremal.lab import generator

from ._colouring import Colouring, Shape
from ._errors import ColoringError
from ._hexagons import nearest_cells, nearest_turns, overlaps
from ._offsets import exact_shape_norms, shape_norms
from ._problem import Problem
from ._screen import fits, pair_counts


@dataclass(frozen=True)
class Spectrum:
    """Distances that one colour avoids, up to a largest one.

    Attributes:
        color: Whose.
        squared: Maximal closed intervals [low, high] of squared distances that no two points of
            the colour have, exact; the first begins at the largest distance inside one patch.
        upto: Distances beyond it were not looked at.
    """

    color: int
    squared: tuple[tuple[Fraction, Fraction], ...]
    upto: float

    @property
    def intervals(self) -> tuple[tuple[float, float], ...]:
        """The avoided distances themselves, in floats."""
        return tuple((math.sqrt(a), math.sqrt(b)) for a, b in self.squared)


def spectrum(colouring: Colouring, color: int, upto: float = 2.0) -> Spectrum:
    """Return the distances below `upto` that no two points of a colour have.

    Args:
        colouring: Half-open cells.
        color: Whose distances.
        upto: Where to stop.

    Returns:
        Closed intervals between the open ranges of distances that occur.

    Raises:
        ValueError: The colour is not used.

    Cost: one FFT, and the norms of all offsets up to `upto`.
    """
    if not 0 <= color < colouring.palette or not (colouring.cells == color).any():
        raise ValueError(f"colour {color} is not used by the colouring.")
    shape, steps = colouring.shape, colouring.steps
    # Hexagons are no wider than the parallelograms of any basis of their lattice.
    reach = upto + 2 * float(np.linalg.norm(steps, axis=1).sum())
    dual = np.linalg.inv(steps)
    box = [math.ceil(reach * float(np.linalg.norm(dual[:, i]))) + 1 for i in range(colouring.dim)]
    offsets = (
        np.array(list(itertools.product(*(range(-b, b + 1) for b in box))), np.int64)
        if (colouring.dim == 3)
        else np.stack(np.meshgrid(*(np.arange(-b, b + 1) for b in box), indexing="ij"), -1).reshape(
            -1, 2
        )
    )
    offsets = offsets[((offsets @ steps) ** 2).sum(1) <= reach * reach]
    counts = pair_counts(colouring.cells, color)
    present = counts[tuple(np.mod(offsets, np.array(colouring.grid)).T)] > 0
    offsets = offsets[present]
    least, largest = shape_norms(shape, offsets)
    order = np.argsort(least, kind="stable")
    gaps: list[tuple[Fraction, Fraction]] = []
    # Walk along the distances; where floats see room or a tie, the ends are taken exactly.
    top, owner = -1.0, -1
    for k in order:
        if least[k] > upto * upto:
            break
        if owner >= 0 and least[k] >= top * (1 - 1e-12):
            low = exact_shape_norms(shape, [int(x) for x in offsets[owner]])[1]
            high = exact_shape_norms(shape, [int(x) for x in offsets[k]])[0]
            if low <= high:
                gaps.append((low, high))
        if largest[k] > top:
            top, owner = float(largest[k]), int(k)
    if top < upto * upto and owner >= 0:
        low = exact_shape_norms(shape, [int(x) for x in offsets[owner]])[1]
        gaps.append((low, Fraction(upto).limit_denominator(10**6) ** 2))
    return Spectrum(color, tuple(gaps), upto)


def weights(
    shape: Shape, distance: float, angles: int = 20_000
) -> tuple[np.ndarray, Float[np.ndarray, " m"]]:
    """Return offsets D and the probability w(D) that a random vector of a length leads there.

    A point uniform in its cell and a vector d*u of a random direction u: w(D) is the mean over u
    of the share of a cell that its translate by d*u - D covers: prod_i max(0, 1 - |t_i|) for
    parallelograms, t the coordinates of d*u - D in the basis of the steps.

    Raises:
        ColoringError: The cells are hexagons in space.

    Cost: 2^n offsets an angle, 25 for hexagons. In the plane the mean is a trapezoid sum over equal
    angles, whose error for these continuous piecewise smooth integrands is below 1e-8 at 20,000
    angles.
    """
    steps = shape.floats
    n = len(steps)
    if n == 2:
        theta = (np.arange(angles) + 0.5) * (2 * math.pi / angles)
        u = np.stack([np.cos(theta), np.sin(theta)], 1)
    else:  # Fibonacci points of the sphere
        k = np.arange(angles) + 0.5
        z = 1 - 2 * k / angles
        phi = math.pi * (1 + 5**0.5) * k
        r = np.sqrt(1 - z * z)
        u = np.stack([r * np.cos(phi), r * np.sin(phi), z], 1)
    keys: list[np.ndarray] = []
    masses: list[np.ndarray] = []
    if shape.cell == "hexagon":
        if n == 3:
            raise ColoringError(
                "the pair rate is built for parallelograms in space, not for these."
            )
        base = nearest_cells(distance * u, steps)
        turned = nearest_turns(steps)
        for corner in itertools.product(range(-2, 3), repeat=n):
            offset = base + np.array(corner) @ turned
            keys.append(offset)
            masses.append(overlaps(shape, distance * u - offset @ steps) / len(u))
    else:
        inner = distance * u @ np.linalg.inv(steps)
        base = np.floor(inner).astype(np.int64)
        frac = inner - base
        for corner in itertools.product((0, 1), repeat=n):
            c = np.array(corner)
            keys.append(base + c)
            masses.append(np.prod(np.where(c == 1, frac, 1 - frac), axis=1) / len(u))
    offsets, index = np.unique(np.concatenate(keys), axis=0, return_inverse=True)
    mass = np.bincount(index.ravel(), np.concatenate(masses), len(offsets))
    return offsets, mass


def pair_rate(colouring: Colouring, problem: Problem) -> float:
    """Return the pair rate: over the rules' distances, the chance that a random partner conflicts.

    Args:
        colouring: Half-open cells.
        problem: Its pair rules with a single distance; those of an interval count at its middle.

    Returns:
        The sum over colours c of P(x has colour c and its partner at the distance of c too).

    Cost: one FFT a colour.
    """
    fits(colouring, problem)
    total = 0.0
    for spans, colors in problem.classes():
        mean = [(math.sqrt(a) + math.sqrt(b)) / 2 for a, b in spans]
        for d in mean:
            offsets, mass = weights(colouring.shape, d)
            where = tuple(np.mod(offsets, np.array(colouring.grid)).T)
            for color in colors:
                counts = pair_counts(colouring.cells, color)
                total += float((counts[where] * mass).sum()) / colouring.cells.size / len(mean)
    return total


def point_rate(
    colouring: Colouring,
    problem: Problem,
    samples: int = 20_000,
    directions: int = 720,
    seed: int = 0,
) -> float:
    """Return the point rate, sampled: the share of points with at least one conflicting partner.

    It is biased low by arcs of conflict shorter than 2 pi / directions, so 0 proves nothing.
    """
    fits(colouring, problem)
    rng = generator(seed, "point rate")
    x = rng.random((samples, colouring.dim)) @ colouring.basis
    home = colouring.at(x)
    bad = np.zeros(samples, bool)
    for spans, colors in problem.classes():
        for low, high in spans:
            for _ in range(directions):
                u = rng.normal(size=(samples, colouring.dim))
                u /= np.linalg.norm(u, axis=1, keepdims=True)
                d = rng.uniform(math.sqrt(low), math.sqrt(high), (samples, 1))
                bad |= np.isin(home, colors) & (colouring.at(x + d * u) == home)
    return float(bad.mean())


def sampled_conflicts(
    colouring: Colouring, problem: Problem, samples: int = 1_000_000, seed: int = 0
) -> int:
    """Return how many of random pairs at forbidden distances share a colour."""
    fits(colouring, problem)
    rng = generator(seed, "pairs")
    found = 0
    for spans, colors in problem.classes():
        for low, high in spans:
            x = rng.random((samples, colouring.dim)) @ colouring.basis
            u = rng.normal(size=(samples, colouring.dim))
            u /= np.linalg.norm(u, axis=1, keepdims=True)
            d = rng.uniform(math.sqrt(low), math.sqrt(high), (samples, 1))
            home = colouring.at(x)
            found += int((np.isin(home, colors) & (colouring.at(x + d * u) == home)).sum())
    return found
