"""Exact thresholds for projections, by sorting: one pass of prefix sums and no iteration.

All sums are taken in float64, whatever the input: a float32 prefix sum of 10^6 entries is off in
the third digit. Source of the simplex rule: Held, Wolfe, Crowder 1974.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.optimize

from ._arrays import Array, clip, index, like, namespace, on_cpu, positive, sort_down, take, upcast


def simplex_threshold(u: Array, total: float) -> Array:
    """Return t with sum(max(u - t, 0)) = total for each row, (b, n) -> (b, 1).

    Args:
        u: Rows.
        total: Positive.
    """
    xp = namespace(u)
    u = upcast(u, double=True)
    down = sort_down(u)
    count = index(u.shape[-1], u) + 1
    mean = (xp.cumsum(down, axis=-1) - total) / count
    inside = xp.sum(down > mean, axis=-1, keepdims=True)  # a prefix: down - mean changes sign once
    t = take(mean, clip(inside, 1, u.shape[-1]) - 1)
    # One Newton step removes the rounding of the prefix sum; the function is piecewise linear.
    active = u > t
    excess = xp.sum(xp.where(active, u - t, xp.zeros_like(u)), axis=-1, keepdims=True) - total
    number = clip(xp.sum(active, axis=-1, keepdims=True), 1, u.shape[-1])
    return t + excess / number


def capped_threshold(u: Array, cap: float, total: float) -> Array:
    """Return t with sum(clip(u - t, 0, cap)) = total for each row; 0 < total <= n cap.

    The sum is piecewise linear and falls in t. Newton steps find the piece, with a halving every
    third step and wherever one leaves the bracket; sorting its 2 n corners took four times as long
    at 10^6 entries.
    """
    xp = namespace(u)
    u = upcast(u, double=True)
    low, high = xp.amin(u, axis=-1, keepdims=True) - cap, xp.amax(u, axis=-1, keepdims=True)
    t = (low + high) / 2
    for i in range(200):
        z = clip(u - t, 0, cap)
        excess = xp.sum(z, axis=-1, keepdims=True) - total
        low, high = xp.where(excess > 0, t, low), xp.where(excess > 0, high, t)
        slope = xp.sum((z > 0) & (z < cap), axis=-1, keepdims=True)
        step = t + excess / clip(slope, 1, u.shape[-1])
        safe = (slope > 0) & (step >= low) & (step <= high) & (i % 3 != 2)
        before, t = t, xp.where(safe, step, (low + high) / 2)
        settled = safe & (xp.abs(t - before) <= 1e-15 * (xp.abs(t) + cap))
        if bool(xp.all(settled | (high <= low))):
            break
    return t


def soft(y: Array, t: Array) -> Array:
    """Return sgn(y) max(|y| - t, 0)."""
    xp = namespace(y)
    return xp.sign(y) * positive(xp.abs(y) - t)


def project_simplex(y: Array, total: float = 1.0) -> Array:
    """Project rows on {x >= 0, sum x = total}."""
    return like(positive(y - simplex_threshold(y, total)), y)


def project_l1(y: Array, radius: float = 1.0) -> Array:
    """Project rows on the L1 ball."""
    xp = namespace(y)
    a = xp.abs(y)
    outside = xp.sum(upcast(a, True), axis=-1, keepdims=True) > radius
    return xp.where(outside, like(soft(y, simplex_threshold(a, radius)), y), y)


def project_ksparse(y: Array, k: int) -> Array:
    """Project rows on {|x|_inf <= 1, |x|_1 <= k}."""
    xp = namespace(y)
    a = xp.abs(upcast(y, True))
    over = xp.sum(clip(a, 0, 1), axis=-1, keepdims=True) > k
    t = xp.where(over, capped_threshold(a, 1.0, float(k)), xp.zeros_like(a[:, :1]))
    return like(xp.sign(y) * clip(a - t, 0, 1), y)


def project_hypersimplex(y: Array, k: int) -> Array:
    """Project rows on {0 <= x <= 1, sum x = k}."""
    if k == y.shape[-1]:
        return namespace(y).ones_like(y)
    return like(clip(y - capped_threshold(y, 1.0, float(k)), 0, 1), y)


def project_unit_simplex(y: Array) -> Array:
    """Project rows on {x >= 0, sum x <= 1}."""
    xp = namespace(y)
    plus = positive(y)
    fits = xp.sum(upcast(plus, True), axis=-1, keepdims=True) <= 1
    return xp.where(fits, plus, project_simplex(y))


def rowwise(function: Callable[[np.ndarray], np.ndarray], y: Array) -> Array:
    """Apply a NumPy function to each row, in float64 on the CPU."""
    return like(np.stack([function(row) for row in on_cpu(y)]), y)


def root(function: Callable[[float], float], low: float, high: float, xtol: float = 1e-16) -> float:
    """Return where a monotone function changes sign between two points (Brent's method)."""
    found: Any = scipy.optimize.brentq(function, low, high, xtol=xtol, rtol=np.float64(1e-15))
    return float(found)
