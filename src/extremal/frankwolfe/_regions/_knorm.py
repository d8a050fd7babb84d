"""The K-norm ball: {x : the k largest absolute entries sum to at most radius}.

It is the hull of the L1 ball of `radius` and the maximum-norm ball of radius / k.

Projection: the residual y - P(y) is the projection of y on the K-sparse polytope of some radius t,
because that polytope is the unit ball of the dual norm; t is the root of a monotone function.
"""

import math

import numpy as np

from extremal.frankwolfe._arrays import Array, first_argmax, namespace, put, sgn, sort_down, take
from extremal.frankwolfe._region import CountedBall
from extremal.frankwolfe._thresholds import root, rowwise


class KNorm(CountedBall):
    """Elements whose k largest absolute entries sum to at most `radius`.

    Example:
        >>> import numpy as np
        >>> KNorm(1.0, k=2).lmo(np.array([3.0, 1.0, 0.0]))
        array([-1.,  0.,  0.])
        >>> KNorm(1.0, k=2).lmo(np.array([1.0, 1.0, 1.0]))
        array([-0.5, -0.5, -0.5])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        a = xp.abs(g)
        best = first_argmax(a)
        spike = put(xp.zeros_like(g), best, -sgn(take(g, best)))
        flat = -sgn(g) / self.k
        spiky = xp.amax(a, axis=-1, keepdims=True) >= xp.sum(a, axis=-1, keepdims=True) / self.k
        return xp.where(spiky, spike, flat)

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.sum(sort_down(xp.abs(x))[:, : self.k], axis=-1)

    def _project(self, y: Array) -> Array:
        return rowwise(self._project_row, y)

    def _project_row(self, y: np.ndarray) -> np.ndarray:
        k, a = self.k, np.abs(y)
        down = np.sort(a)[::-1]
        if down[:k].sum() <= 1:
            return y
        up = down[::-1]
        sums = np.concatenate([[0.0], np.cumsum(down)])
        n = len(a)

        def over(t: float) -> int:
            return n - int(np.searchsorted(up, t, side="right"))

        def threshold(t: float) -> float:
            """The s with sum(clip(a - s, 0, t)) = k t, or 0."""

            def total(s: float) -> float:
                p, q = over(s + t), over(s)
                return p * t + (sums[q] - sums[p]) - s * (q - p)

            if total(0.0) <= k * t:
                return 0.0
            low, high = 0.0, float(down[0])
            for _ in range(80):
                middle = 0.5 * (low + high)
                low, high = (middle, high) if total(middle) > k * t else (low, middle)
            p, q = over(low + t), over(low)
            return ((sums[q] - sums[p]) - (k - p) * t) / (q - p) if q > p else low

        def top(t: float) -> float:
            s = threshold(t)
            p, q = min(over(s + t), k), min(over(s), k)
            kept = p * t + (sums[q] - sums[p]) - s * (q - p)
            return float(sums[k] - kept) - 1.0

        most = max(float(down[0]), float(sums[n]) / k)
        t = root(top, 0.0, most)
        s = threshold(t)
        return np.sign(y) * (a - np.clip(a - s, 0, t))

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * max(1.0, math.sqrt(math.prod(shape)) / self.k)
