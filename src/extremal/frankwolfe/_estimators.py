"""Stochastic directions for finite sums, and the metric of the adaptive variants.

Notation: g(x) is the mean gradient over the batch of this step; m the number of examples.
A difference g(x) - g(x') uses the same examples on both sides.
Sources: the variants as compared in Combettes, Spiegel, Pokutta, arXiv:2009.14114.
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from ._objectives import LinearModel
from ._region import Region

STOCHASTIC = ("sfw", "msfw", "svrf", "spider", "1-sfw", "orgfw", "csfw", "saga", "scgs")


@dataclass
class Estimator:
    """The direction of one method; `gradients` counts evaluations of an example's gradient."""

    method: str
    model: LinearModel
    gradients: int = 0
    _d: np.ndarray | None = None
    _x: np.ndarray | None = None
    _anchor: np.ndarray | None = None
    _table: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def direction(self, t: int, x: np.ndarray, batch: np.ndarray) -> np.ndarray:
        """Return the direction at step t from 0."""
        method = self.method
        if method in ("csfw", "saga"):
            return self._tabled(x, batch)
        if method == "svrf":
            if _power_of_two(t + 1) or self._anchor is None:
                whole = self._whole(x)
                self._anchor, self._d = x.copy(), whole
                return whole
            assert self._d is not None
            return self._d + self._part(x, batch) - self._part(self._anchor, batch)
        before, last = self._d, self._x
        self._x = x.copy()
        if before is None or last is None:
            first = self._whole(x) if method == "spider" else self._part(x, batch)
            first = first * (4.0 / 9.0 ** (2 / 3)) if method == "msfw" else first
            self._d = first
            return first
        new = self._part(x, batch)
        if method in ("sfw", "scgs"):
            before = new
        elif method == "msfw":
            rho = min(1.0, 4.0 / (t + 9.0) ** (2 / 3))
            before = (1 - rho) * before + rho * new
        elif method == "spider":
            before = before + new - self._part(last, batch)
        else:
            rho = 1.0 / (t + 1.0) if method == "1-sfw" else 1.0 / (t + 1.0) ** (2 / 3)
            before = new + (1 - rho) * (before - self._part(last, batch))
        self._d = before
        return before

    def refresh(self) -> None:
        """Let SPIDER start again from a full gradient at the next step."""
        if self.method == "spider":
            self._d = None

    def _tabled(self, x: np.ndarray, batch: np.ndarray) -> np.ndarray:
        model = self.model
        if self._d is None:
            self._d, self._table = np.zeros(model.shape), np.zeros(model.n)
        batch = np.unique(batch)
        slope, _ = model.part(x, batch)
        self.gradients += len(batch)
        change = slope / model.n - self._table[batch]
        self._table[batch] += change
        step = model.combine(batch, change)
        old = self._d
        self._d = old + step
        ridge = model.ridge * x if model.ridge else 0.0
        if self.method == "saga":
            return old + (model.n / len(batch)) * step + ridge
        return self._d + ridge

    def _part(self, x: np.ndarray, batch: np.ndarray) -> np.ndarray:
        self.gradients += len(batch)
        g = self.model.part(x, batch)[1]
        return g + self.model.ridge * x if self.model.ridge else g

    def _whole(self, x: np.ndarray) -> np.ndarray:
        self.gradients += self.model.n
        return self.model(x)[1]


def _power_of_two(t: int) -> bool:
    return t > 0 and t & (t - 1) == 0


@dataclass
class Metric:
    """The diagonal metric H of the adaptive variants and their inner Frank-Wolfe steps.

    Attributes:
        inner_steps: K.
        eta: Step length of the inner problem.
        delta: Added to the root of the sum of squares.
        clip: Lower and upper bound of H.
        betas: For AdamSFW; None for AdaGrad's sum.
    """

    inner_steps: int = 5
    eta: float = 1.0
    delta: float = 1e-8
    clip: tuple[float, float] = (0.0, math.inf)
    betas: tuple[float, float] | None = None
    _sum: np.ndarray | None = None
    _most: np.ndarray | None = None
    _mean: np.ndarray | None = None
    _lmo: Callable[[np.ndarray], np.ndarray] | None = None

    def move(self, x: np.ndarray, d: np.ndarray, region: Region, cap: float = 1.0) -> np.ndarray:
        """Return the next point: K exact line-search steps on the quadratic model at x."""
        if self._sum is None:
            self._sum, self._most, self._mean = (np.zeros_like(d) for _ in range(3))
        assert self._most is not None
        assert self._mean is not None
        if self.betas is None:
            self._sum = self._most = self._sum + d * d
        else:
            one, two = self.betas
            self._mean = one * self._mean + (1 - one) * d
            self._sum = two * self._sum + (1 - two) * d * d
            self._most = np.maximum(self._most, self._sum)
            d = self._mean
        h = np.clip(self.delta + np.sqrt(self._most), *self.clip)
        self._lmo = self._lmo or region.following()
        y = x.copy()
        for _ in range(self.inner_steps):
            q = d + h * (y - x) / self.eta
            away = y - self._lmo(q)
            size = float(np.vdot(away, h * away))
            if size <= 0.0:
                break
            step = min(max(0.0, self.eta * float(np.vdot(q, away)) / size), cap)
            y = y - step * away
        return y


def batches(n: int, size: int, seed: int) -> Iterable[np.ndarray]:
    """Yield batches of example numbers for ever; each pass visits every example once."""
    rng = np.random.default_rng(seed)
    while True:
        order = rng.permutation(n)
        for start in range(0, n - size + 1, size):
            yield order[start : start + size]
