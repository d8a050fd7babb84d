"""Step sizes along a direction of descent d: how far to go in [0, most].

Sources: Demyanov and Rubinov 1970 (short step); Pedregosa, Negiar, Askari, Jaggi 2020
(backtracking); agnostic steps l / (t + l) are the classical open-loop rule.
"""

from dataclasses import dataclass

import numpy as np

from ._objectives import State

STEPS = ("auto", "agnostic", "short", "backtracking", "line-search", "sqrt", "fixed")


@dataclass
class Stepper:
    """Chooses steps and remembers what a rule learns.

    Attributes:
        rule: One of `STEPS`, but not auto.
        l: Of the agnostic rule.
        lipschitz: Of the gradient; an estimate for backtracking, 0 while unknown.
        fixed: The fixed step.
    """

    rule: str
    l: int  # noqa: E741 - the rule's usual name
    lipschitz: float
    fixed: float

    def step(self, t: int, state: State, d: np.ndarray, descent: float, most: float) -> float:
        """Return the step.

        Args:
            t: Iteration, from 0.
            state: Already looking along d.
            d: The direction.
            descent: -<gradient, d>, positive.
            most: The longest step that stays inside.
        """
        if self.rule == "agnostic":
            return min(most, self.l / (t + self.l))
        if self.rule == "sqrt":
            return min(most, 1.0 / np.sqrt(t + 1.0))
        if self.rule == "fixed":
            return min(most, self.fixed)
        size = float(np.vdot(d, d))
        if size == 0.0:
            return 0.0
        if self.rule == "short":
            return min(most, descent / (self.lipschitz * size))
        if self.rule == "backtracking":
            return self._backtracked(state, size, descent, most)
        return line_search(state, descent, most)

    def _backtracked(self, state: State, size: float, descent: float, most: float) -> float:
        if self.lipschitz == 0.0:  # a first guess from a small step
            small = 1e-3
            bend = (state.value_at(small) - state.value + small * descent) / (small**2 * size / 2)
            self.lipschitz = max(bend, 1e-12)
        guess = 0.9 * self.lipschitz
        while True:
            step = min(most, descent / (guess * size))
            bound = state.value - step * descent + 0.5 * step**2 * guess * size
            if state.value_at(step) <= bound + 1e-14 * abs(state.value) or guess > 1e300:
                self.lipschitz = guess
                return step
            guess *= 2.0


def line_search(state: State, descent: float, most: float) -> float:
    """Return the step in [0, most] where f is least along d, by guarded Newton on its slope."""
    first, _ = state.slope_at(most)
    if first <= 0.0:
        return most
    low, high, slope_low, slope_high = 0.0, most, -descent, first
    _, bend = state.slope_at(0.0)
    step = min(most, descent / bend) if bend > 0 else most * descent / (descent + first)
    for _ in range(60):
        slope, bend = state.slope_at(step)
        if abs(slope) <= 1e-12 * descent or high - low <= 1e-16 * most:
            break
        if slope < 0:
            low, slope_low = step, slope
        else:
            high, slope_high = step, slope
        secant = low - slope_low * (high - low) / (slope_high - slope_low)
        new = step - slope / bend if bend > 0 else secant
        if not low < new < high:
            new = secant if low < secant < high else 0.5 * (low + high)
        if new == step:
            break
        step = new
    return step
