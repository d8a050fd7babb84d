"""The nearest point of a set that is known by its linear minimisation oracle alone.

Wolfe's algorithm (1976): keep an affinely independent set of extreme points and move to the nearest
point of its affine hull, dropping points whose weight would become negative. It ends for polytopes
after finitely many steps; for curved sets it is a fully corrective Frank-Wolfe method.
"""

from collections.abc import Callable

import numpy as np


def nearest_point(
    lmo: Callable[[np.ndarray], np.ndarray],
    y: np.ndarray,
    tolerance: float = 1e-12,
    limit: int = 10_000,
) -> np.ndarray:
    """Return x with <x - y, x - v> <= tolerance (1 + |x - y|^2) for every v of the set.

    Args:
        lmo: Of a direction.
        y: The point to approach.
        tolerance: See above.
        limit: Largest number of oracle calls.

    Raises:
        ValueError: The limit was reached; the text says how near the point is.
    """
    atoms = [lmo(-y)]
    weights = np.ones(1)
    x = atoms[0]
    gap = np.inf
    for _ in range(limit):
        g = x - y
        v = lmo(g)
        gap = float(g @ (x - v))
        if gap <= tolerance * (1.0 + float(g @ g)) or any(np.array_equal(v, a) for a in atoms):
            return x
        atoms.append(v)
        weights = np.append(weights, 0.0)
        while True:
            wanted = _affine(np.array(atoms), y)
            if (wanted > 1e-14).all():
                weights = wanted
                break
            falling = wanted <= 1e-14
            ratio = weights[falling] / np.maximum(weights[falling] - wanted[falling], 1e-300)
            t = min(1.0, float(ratio.min()))
            weights = (1 - t) * weights + t * wanted
            kept = weights > 1e-14
            if kept.all():
                kept[np.argmin(weights)] = False
            atoms = [a for a, k in zip(atoms, kept, strict=True) if k]
            weights = weights[kept] / weights[kept].sum()
        x = weights @ np.array(atoms)
    raise ValueError(f"no nearest point after {limit} oracle calls; the gap is {gap:.3g}.")


def _affine(atoms: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Weights of the point nearest to y in the affine hull of the rows; they sum to 1."""
    base = atoms[0]
    rest = (atoms[1:] - base).T
    if rest.shape[1] == 0:
        return np.ones(1)
    tail, *_ = np.linalg.lstsq(rest, y - base, rcond=None)
    return np.concatenate([[1.0 - tail.sum()], tail])
