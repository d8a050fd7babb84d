"""Which translations repeat a pattern: peaks of the colours' joint autocorrelation.

The grid of one-hot colours is padded with zeros, correlated with itself by FFT, and divided by how
much of the box overlaps. Translations that repeat the pattern with colours exchanged are scored
too: they offer a smaller cell to search in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from ._errors import ColoringError
from ._fft import irfftn, rfftn

OVERLAP = 0.22  # of the box; less is too noisy to count
SHORTEST = 0.35  # shorter translations are shoulders of the peak at 0


@dataclass(frozen=True, slots=True)
class Period:
    """A translation and how much of the pattern it repeats, 1 for all of it.

    Attributes:
        vector: The translation.
        score: Mean agreement where the box overlaps its translate.
        colors: The permutation under which colours agree; the identity for a true period.
    """

    vector: tuple[float, ...]
    score: float
    colors: tuple[int, ...]


def correlations(
    grid: Float[np.ndarray, "..."], spacing: float, permutation: Sequence[int]
) -> tuple[Float[np.ndarray, "..."], Float[np.ndarray, "..."]]:
    """Return, for every shift, how well shifted colours agree, and the overlap of the box.

    Args:
        grid: Probabilities, the colours last.
        spacing: Between neighbouring points.
        permutation: Colour c is compared with permutation[c].

    Returns:
        The agreement and the share of the box that overlaps, zero shift in the middle.
    """
    import scipy.fft

    shape = grid.shape[:-1]
    size: list[Any] = [scipy.fft.next_fast_len(2 * n) for n in shape]
    axes = tuple(range(len(shape)))
    image = rfftn(grid, size, axes=axes)
    ones = rfftn(np.ones(shape), size)
    total = irfftn((image.conj() * image[..., list(permutation)]).sum(-1), size)
    count = irfftn(ones * ones.conj(), size)
    middle = np.fft.fftshift(count)
    agreement = np.fft.fftshift(total) / np.maximum(middle, 1.0)
    return agreement, middle / np.prod(shape)


def periods(
    grid: Float[np.ndarray, "..."],
    spacing: float,
    permutations: Sequence[Sequence[int]] = (),
    floor: float = 0.6,
) -> list[Period]:
    """Return the peaks of the autocorrelation, the shortest first.

    Args:
        grid: Probabilities of the colours on a square or cubic grid, colours last.
        spacing: Between neighbouring points.
        permutations: Colour permutations beside the identity.
        floor: Peaks below this share of the agreement at 0 are left out.

    Cost: one FFT a colour and permutation.
    """
    import scipy.ndimage

    identity = tuple(range(grid.shape[-1]))
    found: list[Period] = []
    zero = None
    for permutation in [identity, *(tuple(p) for p in permutations if tuple(p) != identity)]:
        agreement, overlap = correlations(grid, spacing, permutation)
        centre = tuple(s // 2 for s in agreement.shape)
        if zero is None:
            zero = agreement[centre]
        agreement = np.where(overlap >= OVERLAP, agreement / zero, -1.0)
        peaks = agreement == scipy.ndimage.maximum_filter(agreement, 5)
        for where in np.argwhere(peaks & (agreement > floor)):
            vector = (where - np.array(centre)) * spacing
            if np.linalg.norm(vector) < (SHORTEST if permutation == identity else 0.1):
                continue
            fine = vector + spacing * vertex(agreement, tuple(int(w) for w in where))
            found.append(
                Period(tuple(float(x) for x in fine), float(agreement[tuple(where)]), permutation)
            )
    return sorted(found, key=lambda p: float(np.linalg.norm(p.vector)))


def colour_pairs(
    grid: Float[np.ndarray, "..."], partners: Mapping[int, Sequence[int]]
) -> tuple[dict[tuple[int, int], Float[np.ndarray, "..."]], Float[np.ndarray, "..."]]:
    """Return how often colour c is met by colour d for every shift, and the overlap of the box.

    Args:
        grid: Probabilities, the colours last.
        partners: The colours d that are wanted for each c.

    Returns:
        The mean of p_c(x) p_d(x + shift) over the overlap for each pair (c, d), and the share of
        the box that overlaps; zero shift in the middle.
    """
    import scipy.fft

    shape = grid.shape[:-1]
    size: list[Any] = [scipy.fft.next_fast_len(2 * n) for n in shape]
    axes = tuple(range(len(shape)))
    image = rfftn(grid, size, axes=axes)
    ones = rfftn(np.ones(shape), size)
    count = np.fft.fftshift(irfftn(ones * ones.conj(), size))
    found: dict[tuple[int, int], Float[np.ndarray, ...]] = {}
    for c, others in partners.items():
        for d in others:
            met = irfftn(image[..., c].conj() * image[..., d], size)
            found[c, d] = np.fft.fftshift(met) / np.maximum(count, 1.0)
    return found, count / np.prod(shape)


def vertex(values: Float[np.ndarray, "..."], where: tuple[int, ...]) -> Float[np.ndarray, " n"]:
    """Where between grid points the peak is: a parabola along each axis."""
    shift = np.zeros(len(where))
    for axis in range(len(where)):
        low, high = list(where), list(where)
        low[axis] -= 1
        high[axis] += 1
        if low[axis] < 0 or high[axis] >= values.shape[axis]:
            continue
        a, b, c = values[tuple(low)], values[where], values[tuple(high)]
        if min(a, c) > -1 and a + c < 2 * b:
            shift[axis] = 0.5 * (a - c) / (a - 2 * b + c)
    return shift


def lattices(
    found: Sequence[Period], count: int = 4, smallest: float = 0.3
) -> list[Float[np.ndarray, "n n"]]:
    """Return bases of short independent periods, the most trusted first.

    Args:
        found: Periods with the identity permutation count; others are ignored.
        count: At most so many.
        smallest: Least volume of a cell.

    Raises:
        ColoringError: There are no n independent periods.
    """
    true = [p for p in found if p.colors == tuple(range(len(p.colors)))]
    if not true:
        raise ColoringError(
            "the pattern repeats nowhere in the box; train longer, or in a larger --box."
        )
    n = len(true[0].vector)
    top = max(p.score for p in true)
    bases: list[tuple[float, Float[np.ndarray, "n n"]]] = []
    for slack in (0.03, 0.08, 0.15, 0.3):
        good = [p for p in true if p.score >= top - slack]
        basis: list[Float[np.ndarray, " n"]] = []
        for p in good:
            trial = np.array([*basis, p.vector])
            volume = np.sqrt(abs(np.linalg.det(trial @ trial.T)))
            lengths = np.prod(np.linalg.norm(trial, axis=1))
            if volume > 0.3 * lengths and (len(trial) < n or volume > smallest):
                basis.append(np.array(p.vector))
            if len(basis) == n:
                break
        if len(basis) == n:
            rows = reduce_basis(np.array(basis))
            if not any(np.allclose(abs(rows), abs(b), atol=0.05) for _, b in bases):
                bases.append((slack, rows))
    if not bases:
        raise ColoringError(
            f"the pattern has no {n} independent periods in the box; train longer, or in a larger "
            "--box."
        )
    return [b for _, b in bases[:count]]


def reduce_basis(basis: Float[np.ndarray, "n n"]) -> Float[np.ndarray, "n n"]:
    """Return a basis of the same lattice with short rows (pairwise reduction)."""
    rows = basis.copy()
    for _ in range(100):
        order = np.argsort(np.linalg.norm(rows, axis=1), kind="stable")
        rows = rows[order]
        changed = False
        for i in range(len(rows)):
            for j in range(i):
                k = np.rint(rows[i] @ rows[j] / (rows[j] @ rows[j]))
                if k:
                    rows[i] = rows[i] - k * rows[j]
                    changed = True
        if not changed:
            break
    return rows
