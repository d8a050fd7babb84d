"""Piecewise-linear functions of time: cumulative volumes, labels, queues."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any


@dataclass(frozen=True)
class Curve:
    """A continuous piecewise-linear function; constant before its first point.

    Attributes:
        times: Increasing.
        values: At those times.
        slope: After the last time.
    """

    times: tuple[Any, ...]
    values: tuple[Any, ...]
    slope: Any = 0

    def __call__(self, time: Any) -> Any:
        """Return the value at a time."""
        if time <= self.times[0]:
            return self.values[0]
        if time >= self.times[-1]:
            return self.values[-1] + self.slope * (time - self.times[-1])
        i = bisect_right(self.times, time)
        t0, t1, v0, v1 = self.times[i - 1], self.times[i], self.values[i - 1], self.values[i]
        return v0 + (v1 - v0) * (time - t0) / (t1 - t0)

    @classmethod
    def through(cls, points: Sequence[tuple[Any, Any]], slope: Any = 0) -> "Curve":
        """Build a curve from points; points on a line, or twice at one time, are dropped."""
        kept: list[tuple[Any, Any]] = []
        for t, v in points:
            if kept and kept[-1][0] == t:
                kept[-1] = (t, v)
                continue
            while len(kept) >= 2 and _straight(kept[-2], kept[-1], (t, v)):
                kept.pop()
            kept.append((t, v))
        if len(kept) >= 2 and kept[-1][1] - kept[-2][1] == slope * (kept[-1][0] - kept[-2][0]):
            kept.pop()
        return cls(tuple(p[0] for p in kept), tuple(p[1] for p in kept), slope)

    def inverse(self, value: Any) -> Any:
        """Return the first time at which a nondecreasing curve has a value, or None."""
        if value <= self.values[0]:
            return self.times[0]
        for (t0, v0), (t1, v1) in pairwise(self.points):
            if v0 < value <= v1:
                return t0 + (value - v0) * (t1 - t0) / (v1 - v0)
        if self.slope > 0:
            return self.times[-1] + (value - self.values[-1]) / self.slope
        return None

    @property
    def points(self) -> list[tuple[Any, Any]]:
        """The points as pairs."""
        return list(zip(self.times, self.values, strict=True))

    def integral(self, start: Any, end: Any) -> Any:
        """Return the integral between two times."""
        marks = [start, *(t for t in self.times if start < t < end), end]
        return sum((self(a) + self(b)) * (b - a) / 2 for a, b in pairwise(marks))


def _straight(a: tuple[Any, Any], b: tuple[Any, Any], c: tuple[Any, Any]) -> bool:
    return (b[1] - a[1]) * (c[0] - b[0]) == (c[1] - b[1]) * (b[0] - a[0])
