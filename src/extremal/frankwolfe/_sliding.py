"""Stochastic conditional gradient sliding: many oracle calls a step, and few gradients.

Notation: y the iterate, x the prox centre, z = (1 - a) y + a x where the gradient g is taken;
a = 3 / (t + 3), b = 4 L / (t + 3). The centre moves to min <g, u> + b/2 |u - x|^2 over the region,
found by Frank-Wolfe steps down to a gap of L D^2 / ((t + 1) (t + 2)).
Source: Lan and Zhou, Conditional gradient sliding for convex optimization, 2016. Differs from it:
batches grow like ((t + 3) / 3)^3 from the size given, because the variance is not known.
"""

from dataclasses import dataclass, field

import numpy as np

from ._region import Region

_MOST_INNER = 10_000


@dataclass
class Sliding:
    """The prox centre of one run; L is a Lipschitz constant of the gradient."""

    region: Region
    lipschitz: float
    start: np.ndarray
    _x: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._x = self.start.copy()
        self._lmo = self.region.following()

    def looks_at(self, t: int, y: np.ndarray) -> np.ndarray:
        """Return where the gradient of step t is wanted."""
        share = 3.0 / (t + 3.0)
        return (1 - share) * y + share * self._x

    def batch_size(self, t: int, first: int, n: int) -> int:
        """Return how many examples step t wants."""
        return min(n, round(first * ((t + 3.0) / 3.0) ** 3))

    def move(self, t: int, g: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, int]:
        """Return the next iterate and the number of oracle calls."""
        share, weight = 3.0 / (t + 3.0), 4.0 * self.lipschitz / (t + 3.0)
        goal = self.lipschitz * self.region.diameter(y.shape) ** 2 / ((t + 1.0) * (t + 2.0))
        u, calls = self._x.copy(), 0
        while calls < _MOST_INNER:
            slope = g + weight * (u - self._x)
            away = u - self._lmo(slope)
            calls += 1
            gap = float(np.vdot(slope, away))
            if gap <= goal:
                break
            u -= min(1.0, gap / (weight * float(np.vdot(away, away)))) * away
        self._x = u
        return (1 - share) * y + share * u, calls
