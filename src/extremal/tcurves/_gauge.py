"""Which three points of the frontier have sign 1, and what changes when others take over.

The eight changes f = a + b i + c j of all signs do not change the scheme: they reflect the plane
(b: x to -x, c: y to -y) and swap the signs (a). So three points that are independent mod 2, the
anchors, may be given the sign 1. Once an anchor has left the frontier its sign no longer tells
states apart; but any other three points would do, and a change f makes the signs of three points of
the frontier 1 again. States that differ by such a change become one, eight where there were no
anchors left. A change maps sign vectors one to one, so counts stay what they are.

Under a change the state at a copy is what it was at the reflected copy; where that one is
represented by its antipode, the parity turns.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product

import numpy as np

from ._glued import glued
from ._triangulation import Triangulation

_NONE = np.empty(0, np.int64)


@dataclass(frozen=True)
class Gauge:
    """The change after a step; it depends on the signs of three points.

    Attributes:
        anchors: Places, among the frontier points and the new one, of those whose signs become 1,
            or -1 for one that is not there any more; empty if nothing changes.
        anchor_points: Their numbers.
        functions: (8, n) what is added to each point's sign, for each value of the anchors' signs
            (bit k set: anchor k has sign 0). There is one row if nothing changes, as in the others.
        kept: Places of the points that stay on the frontier.
        flips: (8,) the functions at those points, as bits.
        copies: (8, c) for each copy that stays, where to find what its label will be.
        turns: (8, c) what is added to its parity.
    """

    anchors: np.ndarray
    anchor_points: np.ndarray
    functions: np.ndarray
    kept: np.ndarray
    flips: np.ndarray
    copies: np.ndarray
    turns: np.ndarray


class Gauges:
    """Chooses the anchors step by step.

    Args:
        t: The triangulation.
        order: Of its points.
        anchors: The first three, or none where nothing is to change.
    """

    def __init__(self, t: Triangulation, order: Sequence[int], anchors: Sequence[int]) -> None:
        self.t = t
        self.anchors = list(anchors)
        place = {p: k for k, p in enumerate(order)}
        self.start = max((place[p] for p in anchors), default=len(order))
        self.leaves = [max(place[q] for q in (p, *row)) for p, row in enumerate(t.neighbours)]
        self.step = -1
        self.first = glued(t).first.tolist()
        self.reflected = _reflected(t)
        self.coordinates = np.array(t.points, np.int64).T

    def next(self, points: Sequence[int], kept: Sequence[int], places: dict[int, int]) -> Gauge:
        """Return the change after the next step.

        Args:
            points: Those of the frontier before it, then the new one.
            kept: Those of the frontier after it.
            places: Where the copies of each of `points` begin.
        """
        self.step += 1
        replaced = False
        if self.anchors and self.step >= self.start:
            for k, anchor in enumerate(self.anchors):
                others = [a for a in self.anchors if a != anchor]
                if anchor not in kept:
                    fit = [p for p in kept if p not in others and self.independent([*others, p])]
                    if fit:
                        self.anchors[k] = max(fit, key=lambda p: self.leaves[p])
                        replaced = True
        index = {p: k for k, p in enumerate(points)}
        still = np.array([index[p] for p in kept], np.int64)
        copies = [places[p] + k for p in kept for k in range(self.first[p + 1] - self.first[p])]
        if not replaced:
            return Gauge(
                _NONE,
                _NONE,
                np.zeros((1, self.t.n), np.int64),
                still,
                np.zeros(1, np.uint64),
                np.array([copies], np.int64),
                np.zeros((1, len(copies)), np.int64),
            )
        changes = self.changes()
        i, j = self.coordinates
        functions = np.array([(a + b * i + c * j) % 2 for a, b, c in changes])
        where = np.zeros(self.first[-1], np.int64)
        stay = np.array(
            [u for p in kept for u in range(self.first[p], self.first[p + 1])], np.int64
        )
        where[stay] = copies
        images = [self.reflected[b, c] for _, b, c in changes]
        order = np.array(kept, np.int64)
        bits = functions[:, order].astype(np.uint64) << np.arange(len(kept), dtype=np.uint64)
        return Gauge(
            # an anchor that left before and was not replaced has sign 1 for good
            np.array([index.get(a, -1) for a in self.anchors], np.int64),
            np.array(self.anchors, np.int64),
            functions,
            still,
            np.bitwise_or.reduce(bits, axis=1),
            np.array([where[image[stay]] for image, _ in images]),
            np.array([turn[stay] for _, turn in images]),
        )

    def independent(self, points: Sequence[int]) -> bool:
        return len({(i % 2, j % 2) for i, j in (self.t.points[p] for p in points)}) == len(points)

    def changes(self) -> list[tuple[int, int, int]]:
        """For each set of anchors the function that is 1 at them and 0 at the other anchors."""
        at = [self.t.points[p] for p in self.anchors]
        found: dict[int, tuple[int, int, int]] = {}
        for a, b, c in product((0, 1), repeat=3):
            values = [(a + b * i + c * j) % 2 for i, j in at]
            found[values[0] + 2 * values[1] + 4 * values[2]] = (a, b, c)
        assert len(found) == 8, "the anchors are independent"
        return [found[wanted] for wanted in range(8)]


@lru_cache(maxsize=16)
def _reflected(t: Triangulation) -> dict[tuple[int, int], tuple[np.ndarray, np.ndarray]]:
    """For each reflection the image of each copy, and whether its antipode represents it."""
    place = [(int(x), int(y)) for x, y in glued(t).place]
    number = {p: k for k, p in enumerate(place)}
    found: dict[tuple[int, int], tuple[np.ndarray, np.ndarray]] = {}
    for b in (0, 1):
        for c in (0, 1):
            images = [(-x if b else x, -y if c else y) for x, y in place]
            turns = [int(p not in number) for p in images]
            rows = [number.get(p, number.get((-p[0], -p[1]))) for p in images]
            found[b, c] = np.array(rows, np.int64), np.array(turns, np.int64)
    return found


def replay(points: Sequence[int], gauges: Sequence[Gauge], given: np.ndarray) -> np.ndarray:
    """Return the signs by point that come of the signs given step after step.

    Args:
        points: Those of the steps.
        gauges: The change after each.
        given: (N, n) a row of signs, by step.
    """
    signs = np.zeros_like(given)
    for k, (point, gauge) in enumerate(zip(points, gauges, strict=True)):
        signs[:, point] = given[:, k]
        if gauge.anchors.size:
            value = np.zeros(len(signs), np.int64)
            for bit, anchor in enumerate(gauge.anchor_points.tolist()):
                value |= (signs[:, anchor] ^ 1) << bit
            signs ^= gauge.functions[value]
    return signs
