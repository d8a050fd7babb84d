"""Piecewise-constant inflow at the source."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

from extremal.lab import rational


@dataclass(frozen=True)
class Inflow:
    """A rate that changes at finitely many times.

    Attributes:
        steps: `(start, rate)`, starts increasing from 0; the last rate lasts for ever.
    """

    steps: tuple[tuple[Fraction, Fraction], ...]

    def __post_init__(self) -> None:
        """Check order and signs."""
        if not self.steps:
            raise ValueError("the inflow is empty; give a rate, or pairs (start, rate).")
        for start, rate in self.steps:
            if rate < 0:
                raise ValueError(
                    f"the inflow has the rate {rate} from {start} on; it must be >= 0."
                )
            if start < 0:
                raise ValueError(f"the inflow has the start {start}; times begin at 0.")
        for (a, _), (b, _) in pairwise(self.steps):
            if a >= b:
                raise ValueError(f"the inflow is not sorted: the start {b} follows {a}.")
        if self.steps[0][0] > 0:
            object.__setattr__(self, "steps", ((Fraction(0), Fraction(0)), *self.steps))

    @classmethod
    def of(cls, value: Any, notes: list[str] | None = None) -> "Inflow":
        """Read a rate, pairs, or text such as `"500"` or `"0:2, 3:0"` (start:rate).

        Raises:
            ValueError: A number is negative, not finite or no number, or starts are not sorted.

        Example:
            >>> Inflow.of("0:2, 3:0").rate(3)
            Fraction(0, 1)
        """
        if isinstance(value, Inflow):
            return value
        if isinstance(value, str) and ":" in value:
            pairs = [word.split(":") for word in value.replace(",", " ").split()]
            if any(len(pair) != 2 for pair in pairs):
                raise ValueError(f"the inflow {value!r} is not a list such as '0:2, 3:0'.")
            return cls(tuple((rational(a), rational(b)) for a, b in pairs))
        if isinstance(value, (int, str, float, Fraction)):
            return cls(((Fraction(0), rational(value, notes)),))
        if isinstance(value, Sequence):
            return cls(tuple((rational(a, notes), rational(b, notes)) for a, b in value))
        raise ValueError(f"{value!r} is no inflow; give a rate or pairs (start, rate).")

    def rate(self, time: Fraction | int) -> Fraction:
        """Return the rate right after a time."""
        return next(rate for start, rate in reversed(self.steps) if start <= time)

    def next_change(self, time: Fraction) -> Fraction | None:
        """Return the first start after a time, or None."""
        return next((start for start, _ in self.steps if start > time), None)

    def volume(self, until: Fraction) -> Fraction:
        """Return how much has entered by a time."""
        total = Fraction(0)
        for number, (start, rate) in enumerate(self.steps):
            end = self.steps[number + 1][0] if number + 1 < len(self.steps) else until
            if start < until:
                total += rate * (min(end, until) - start)
        return total

    def time_of(self, volume: Fraction) -> Fraction | None:
        """Return when so much has entered first, or None if it never has."""
        left = volume
        for number, (start, rate) in enumerate(self.steps):
            last = number + 1 == len(self.steps)
            if rate > 0:
                end = start + left / rate
                if last or end <= self.steps[number + 1][0]:
                    return end
                left -= rate * (self.steps[number + 1][0] - start)
            elif left == 0:
                return start
        return None

    def as_text(self) -> str:
        """Return text that `of` reads back."""
        if len(self.steps) == 1:
            return str(self.steps[0][1])
        return ", ".join(f"{start}:{rate}" for start, rate in self.steps)
