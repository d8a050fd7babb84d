"""The k-support ball: the hull of {x : |x|_2 <= radius, at most k entries nonzero}.

Source: Argyriou, Foygel, Srebro 2012; arXiv:2205.11921 for networks. Differs from the published
code: k = 1 is the L1 ball there too (its norm is wrong), and among ties exactly k entries are kept.

Projection. With N the k-support norm, N(x)^2 = min sum x_i^2 / t_i over 0 <= t_i <= 1, sum t_i <= k
(McDonald, Pontil, Stamos 2016). So the nearest point is x_i = y_i t_i / (t_i + c) with
t_i = clip(|y_i| / s - c, 0, 1): entries beyond a level are scaled, those in a band below it are
soft-thresholded, the rest is zero. Two nested monotone roots over prefix sums find (c, s); no entry
is touched twice.
"""

import numpy as np

from extremal.frankwolfe._arrays import (
    Array,
    index,
    namespace,
    nonzero_rows,
    norm2,
    sort_down,
    take,
    top_mask,
    upcast,
)
from extremal.frankwolfe._region import CountedBall
from extremal.frankwolfe._thresholds import root, rowwise


def ksupport_norm(x: Array, k: int) -> Array:
    """Return the k-support norm of each row, (b, n) -> (b,), in float64.

    With a the absolute entries in descending order and T_j their tail sums, take the smallest R
    in 0..k-1 with T_(k-R) < (R + 1) a_(k-R-1); then the square is the sum of the squares of the
    first k-R-1 entries plus T_(k-R)^2 / (R + 1).
    """
    xp = namespace(x)
    a = sort_down(xp.abs(upcast(x, True)))
    # Tails are summed from the small end, so that nothing cancels.
    rest = xp.sum(a[:, k:], axis=-1, keepdims=True)
    tail = rest + xp.flip(xp.cumsum(xp.flip(a[:, :k], (-1,)), axis=-1), (-1,))
    j = index(k, a)  # j = k - R - 1 entries stand alone
    many = (k - j).to(a.dtype) if hasattr(k - j, "to") else (k - j).astype(a.dtype)
    before = xp.concatenate([xp.full_like(a[:, :1], np.inf), a[:, : k - 1]], axis=-1)
    good = tail < many * before
    chosen = xp.amax(xp.where(good, j, xp.zeros_like(j)), axis=-1, keepdims=True)  # smallest R
    squares = xp.cumsum(a[:, :k] ** 2, axis=-1) - a[:, :k] ** 2
    value = take(squares, chosen) + take(tail, chosen) ** 2 / take(
        xp.broadcast_to(many, (a.shape[0], k)), chosen
    )
    return xp.sqrt(value)[:, 0]


def project_ksupport(y: np.ndarray, k: int) -> np.ndarray:
    """Project one vector of float64 on the unit k-support ball."""
    norm = float(ksupport_norm(y[None], k)[0])
    if norm <= 1:
        return y
    if norm <= 1 + 1e-14:
        return y / norm
    a = np.abs(y)
    y = np.where(a > 1e-16 * a.max(), y, 0.0)  # rounding of singular values counts as zero
    a = np.abs(y)
    if np.count_nonzero(a) <= k:
        return y / np.linalg.norm(y)
    n = len(a)
    up = np.sort(a)
    down = up[::-1]
    sums = np.concatenate([[0.0], np.cumsum(down)])
    squares = np.concatenate([[0.0], np.cumsum(down**2)])

    def counts(c: float, s: float) -> tuple[int, int]:
        """How many entries have t = 1, and how many t > 0."""
        return (
            n - int(np.searchsorted(up, (1 + c) * s, side="left")),
            n - int(np.searchsorted(up, c * s, side="right")),
        )

    def level(c: float) -> float:
        """The s at which the t_i sum to k."""

        def total(s: float) -> float:
            p, q = counts(c, s)
            return p + (sums[q] - sums[p]) / s - c * (q - p)

        low, high = 0.0, float(sums[n]) / k  # the sum is at most sums[n] / s
        for _ in range(200):
            middle = 0.5 * (low + high)
            if middle in (low, high):
                break
            low, high = (middle, high) if total(middle) > k else (low, middle)
        p, q = counts(c, high)
        return float(sums[q] - sums[p]) / (k - p + c * (q - p)) if q > p else high

    def size(log_c: float) -> float:
        c = float(np.exp(log_c))
        s = level(c)
        p, q = counts(c, s)
        # Sum of x_i^2 / t_i: a_i^2 / (1 + c)^2 where t = 1, s (a_i - c s) in the band.
        return float(np.log(squares[p] / (1 + c) ** 2 + s * (sums[q] - sums[p] - c * s * (q - p))))

    low = high = 0.0
    while size(high) > 0:
        high += 4.0
    while size(low) < 0:
        low -= 4.0
    c = float(np.exp(root(size, low, high)))
    s = level(c)
    t = np.clip(a / s - c, 0, 1)
    return y * (t / (t + c))


class KSupport(CountedBall):
    """The hull of all elements with at most k nonzero entries and Euclidean norm `radius`.

    k = 1 is the L1 ball, k = n the Euclidean ball.

    Example:
        >>> import numpy as np
        >>> KSupport(1.0, k=2).lmo(np.array([-3.0, 4.0, 0.0, 1.0]))
        array([ 0.6, -0.8,  0. ,  0. ])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        g = nonzero_rows(g)
        v = xp.where(top_mask(xp.abs(g), self.k), g, xp.zeros_like(g))
        return -v / norm2(v) + 0.0

    def _gauge(self, x: Array) -> Array:
        return ksupport_norm(x, self.k)

    def _project(self, y: Array) -> Array:
        return rowwise(lambda row: project_ksupport(row, self.k), y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
