"""What people did before the census: random signs, hill climbing over signs, brute force.

Each returns the schemes met, with a witness; `search` and `census` are measured beside them.
"""

import itertools
import time
from collections.abc import Iterator

import numpy as np

from ._batch import Batch, schemes
from ._catalogue import Witness
from ._flips import random_triangulation
from ._notation import Scheme
from ._scheme import word
from ._triangulation import Triangulation

_BATCH = 4096
_BRUTE = 1 << 18


def random_signs(degree: int, seconds: float | int, seed: int = 0) -> dict[Scheme, Witness]:
    """Draw random triangulations by flip walks, and 4,096 random sign vectors on each.

    Args:
        degree: Of the curves, at most 12.
        seconds: For how long.
        seed: Of the draws.

    Returns:
        A witness of each scheme met; regularity of its triangulation is not looked at.
    """
    rng = np.random.default_rng(seed)
    found: dict[Scheme, Witness] = {}
    end = time.monotonic() + seconds
    for t in _walks(degree, seed):
        signs = rng.integers(0, 2, (_BATCH, t.n), dtype=np.uint8)
        _take(found, t, signs, schemes(t, signs))
        if time.monotonic() >= end:
            return found
    raise AssertionError("walks do not end")


def climb(degree: int, seconds: float | int, seed: int = 0) -> dict[Scheme, Witness]:
    """Climb in the number of ovals by single sign flips, from random signs, until none gains.

    Args:
        degree: Of the curves, at most 12.
        seconds: For how long; every climb starts on a new random triangulation.
        seed: Of the starts and of ties.

    Returns:
        A witness of each scheme met on the way.
    """
    rng = np.random.default_rng(seed)
    found: dict[Scheme, Witness] = {}
    end = time.monotonic() + seconds
    for t in _walks(degree, seed):
        current = rng.integers(0, 2, (1, t.n), dtype=np.uint8)
        best = schemes(t, current)[0].ovals
        while time.monotonic() < end:
            near = np.repeat(current, t.n, axis=0) ^ np.eye(t.n, dtype=np.uint8)
            batch = schemes(t, near)
            _take(found, t, near, batch)
            ovals = np.array([s.ovals for s in batch.types])[batch.index]
            if ovals.max() <= best:
                break
            best = int(ovals.max())
            current = near[rng.choice(np.flatnonzero(ovals == best))][None]
        if time.monotonic() >= end:
            return found
    raise AssertionError("walks do not end")


def brute_force(t: Triangulation, fixed: dict[int, int]) -> dict[Scheme, int]:
    """Evaluate every sign vector on the CPU; 2^(n - fixed) of them.

    Raises:
        ValueError: There are more than 2^32.
    """
    free = [k for k in range(t.n) if k not in fixed]
    if len(free) > 32:
        raise ValueError(
            f"2^{len(free)} sign vectors would take months; take a census, which counts them all."
        )
    counts: dict[Scheme, int] = {}
    for first in range(0, 1 << len(free), _BRUTE):
        number = np.arange(first, min(first + _BRUTE, 1 << len(free)))
        signs = np.zeros((len(number), t.n), np.uint8)
        for k, sign in fixed.items():
            signs[:, k] = sign
        signs[:, free] = number[:, None] >> np.arange(len(free)) & 1
        for scheme, count in schemes(t, signs).histogram().items():
            counts[scheme] = counts.get(scheme, 0) + count
    return counts


def _walks(degree: int, seed: int) -> Iterator[Triangulation]:
    return (random_triangulation(degree, seed * 1_000_003 + k) for k in itertools.count())


def _take(found: dict[Scheme, Witness], t: Triangulation, signs: np.ndarray, batch: Batch) -> None:
    for scheme, at in batch.witnesses().items():
        if scheme not in found:
            found[scheme] = Witness(scheme, t, word(signs[at].tolist()))
