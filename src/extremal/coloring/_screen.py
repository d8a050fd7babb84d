"""The fast screen: does a cell colouring break a pair rule, and how often?

`screen` packs the cells of a colour into 64-bit words and intersects them with their shifts: the
verdict and a first witness. `pair_counts` gets the number of equal pairs at every offset from one
Fourier transform a colour. `extremal verify` uses neither.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int, Integer

from ._colouring import Colouring
from ._errors import ColoringError
from ._fft import irfftn, rfftn
from ._jit import jit
from ._offsets import forbidden, half, reduced
from ._problem import Problem


@dataclass(frozen=True, slots=True)
class Conflict:
    """Two cells of one colour that hold points at a forbidden distance.

    Attributes:
        color: Of both.
        cell: Coordinates of the first.
        offset: To the second.
    """

    color: int
    cell: tuple[int, ...]
    offset: tuple[int, ...]


@jit
def _pack(cells, color, rows, columns, words):
    """Bits of one colour; each row is followed by itself, so that any turn is one read."""
    found = np.zeros((rows, words), np.uint64)
    for r in range(rows):
        for j in range(2 * columns):
            if cells[r, j % columns] == color:
                found[r, j >> 6] |= np.uint64(1) << np.uint64(j & 63)
    return found


@jit
def _turn(doubled, shift, columns, turned):
    """Row by row the bits shift … shift + columns - 1 of the doubled rows."""
    words = (columns + 63) >> 6
    whole, part = shift >> 6, shift & 63
    last = np.uint64(0xFFFFFFFFFFFFFFFF)
    if columns & 63:
        last = (np.uint64(1) << np.uint64(columns & 63)) - np.uint64(1)
    for r in range(doubled.shape[0]):
        if part:
            for w in range(words):
                turned[r, w] = (doubled[r, whole + w] >> np.uint64(part)) | (
                    doubled[r, whole + w + 1] << np.uint64(64 - part)
                )
        else:
            for w in range(words):
                turned[r, w] = doubled[r, whole + w]
        turned[r, words - 1] &= last


@jit
def _first(plain, turned, depth, height, d0, d1):
    """The first word where a colour meets its shift, as (row, word), or (-1, -1)."""
    words = turned.shape[1]
    for a in range(depth):
        a2 = a + d0
        if a2 >= depth:
            a2 -= depth
        for b in range(height):
            b2 = b + d1
            if b2 >= height:
                b2 -= height
            r, r2 = a * height + b, a2 * height + b2
            any_bit = np.uint64(0)
            for w in range(words):
                any_bit |= plain[r, w] & turned[r2, w]
            if any_bit:
                for w in range(words):
                    if plain[r, w] & turned[r2, w]:
                        return r, w
    return -1, -1


@jit
def _scan(doubled, offsets, depth, height, columns):
    """The first offset at which the colour meets itself; offsets are sorted by the last entry."""
    rows = doubled.shape[0]
    words = (columns + 63) >> 6
    plain = np.empty((rows, words), np.uint64)
    turned = np.empty((rows, words), np.uint64)
    _turn(doubled, 0, columns, plain)
    before = -1
    for k in range(offsets.shape[0]):
        if offsets[k, 2] != before:
            before = offsets[k, 2]
            _turn(doubled, before, columns, turned)
        r, w = _first(plain, turned, depth, height, offsets[k, 0], offsets[k, 1])
        if r >= 0:
            r2 = ((r // height + offsets[k, 0]) % depth) * height + (
                r % height + offsets[k, 1]
            ) % height
            both = plain[r, w] & turned[r2, w]
            bit = 0
            while not (both >> np.uint64(bit)) & np.uint64(1):
                bit += 1
            return k, r, w * 64 + bit
    return -1, -1, -1


def screen(colouring: Colouring, problem: Problem, closed: bool = False) -> Conflict | None:
    """Return a conflict of a cell colouring with the pair rules of a problem, or None.

    Args:
        colouring: With the colours of the problem.
        problem: Its pair rules are checked, its configurations are not.
        closed: Treat cells as closed sets.

    Returns:
        None exactly if no pair rule is broken anywhere in R^n.

    Raises:
        ColoringError: Colours or dimension do not fit.

    Cost: cells * offsets / 64 word operations a colour, half the offsets.
    """
    fits(colouring, problem)
    grid = (1,) * (3 - colouring.dim) + colouring.grid
    depth, height, columns = grid
    flat = np.ascontiguousarray(colouring.cells).reshape(depth * height, columns)
    words = ((2 * columns + 63) >> 6) + 1
    for spans, colors in problem.classes():
        offsets = half(forbidden(colouring.shape, spans, closed))
        padded = np.zeros((len(offsets), 3), np.int64)
        padded[:, 3 - colouring.dim :] = reduced_rows(offsets, colouring.grid)
        padded = padded[np.lexsort((padded[:, 1], padded[:, 0], padded[:, 2]))]
        for color in colors:
            packed = _pack(flat, color, depth * height, columns, words)
            k, row, column = _scan(packed, padded, depth, height, columns)
            if k >= 0:
                cell = (row // height, row % height, column)[3 - colouring.dim :]
                offset = tuple(int(x) for x in padded[k][3 - colouring.dim :])
                return Conflict(color, tuple(int(x) for x in cell), offset)
    return None


def reduced_rows(offsets: Int[np.ndarray, "m n"], grid: Sequence[int]) -> Int[np.ndarray, "m n"]:
    """Return the offsets modulo the grid, repeats kept."""
    return np.mod(offsets, np.array(grid)).astype(np.int64)


def fits(colouring: Colouring, problem: Problem) -> None:
    """Refuse a colouring that is not one of the problem's.

    Raises:
        ColoringError: The dimension, the colours or the free colour differ.
    """
    if colouring.dim != problem.dim:
        raise ColoringError(
            f"the colouring is of R^{colouring.dim}, the problem of R^{problem.dim}."
        )
    if colouring.colors != problem.colors or colouring.free != problem.free_color:
        raise ColoringError(
            f"the colouring has {colouring.colors} colours{' and a free one' * colouring.free}, "
            f"the problem {problem.colors}{' and a free one' * problem.free_color}."
        )


def pair_counts(cells: Integer[np.ndarray, "..."], color: int) -> Int[np.ndarray, "..."]:
    """Return for every offset D modulo the grid how many cells x have x and x + D of a colour.

    Raises:
        ArithmeticError: The transform was not accurate enough to round (never met).
    """
    mask = (cells == color).astype(np.float64)
    image = rfftn(mask)
    counts = irfftn(image * image.conj(), s=mask.shape)
    found = np.rint(counts)
    if np.abs(counts - found).max() > 0.1:
        raise ArithmeticError("the Fourier counts are not integers; the grid is too large.")
    return found.astype(np.int64)


def conflict_pairs(colouring: Colouring, problem: Problem) -> int:
    """Return how many pairs of cells (x, x + D), D forbidden modulo the grid, break a pair rule."""
    fits(colouring, problem)
    total = 0
    for spans, colors in problem.classes():
        offsets = reduced(forbidden(colouring.shape, spans), colouring.grid)
        for color in colors:
            total += int(pair_counts(colouring.cells, color)[tuple(offsets.T)].sum())
    return total


def neighbour_counts(
    cells: Integer[np.ndarray, "..."], color: int, offsets: Int[np.ndarray, "m n"]
) -> Int[np.ndarray, "..."]:
    """Return for every cell x how many cells x + D have a colour, D among the offsets (reduced)."""
    mask = (cells == color).astype(np.float64)
    kernel = np.zeros(cells.shape)
    kernel[tuple(offsets.T)] = 1.0
    image = rfftn(mask) * rfftn(kernel).conj()
    return np.rint(irfftn(image, s=mask.shape)).astype(np.int64)


def free_of(colouring: Colouring, problem: Problem) -> Float[np.ndarray, "..."]:
    """Return for every cell how many forbidden partners of its own colour it has."""
    found = np.zeros(colouring.grid)
    for spans, colors in problem.classes():
        offsets = reduced(forbidden(colouring.shape, spans), colouring.grid)
        for color in colors:
            counts = neighbour_counts(colouring.cells, color, offsets)
            found += np.where(colouring.cells == color, counts, 0)
    return found
