"""Configurations in space and scaled ones: branch and bound over boxes of motions, in floats.

A motion is a rotation, by an angle in the plane and by a vector v of length at most pi in space
(axis and angle), and a scale s. Rotations by v and v_0 differ by an angle of at most |v - v_0|, so
on a box around (v_0, s_0) of half sides h and t a point q stays within

    |q| (t + s_0 2 sin(sqrt(d) h / 2)),   d = 1 or 3,

of s_0 R(v_0) q. What tuples of offsets that allows is a superset of what occurs. A box with a
tuple that is not wanted is cut, so only what is undecided at the finest boxes is kept besides.
The certificate's checker uses quaternions and integers instead.
"""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from ._errors import ColoringError
from ._problem import Rule

Tuple = tuple[tuple[int, ...], ...]
MAX_BOXES = 400_000
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Box:
    """Rotations within `half` of `middle` on each axis, scales within `thick` of `scale`."""

    middle: tuple[float, ...]
    half: float
    scale: float
    thick: float

    def turning(self) -> float:
        """How far a point at distance 1 moves at most by the rotations of the box."""
        angle = math.sqrt(len(self.middle)) * self.half if self.middle else 0.0
        return self.scale * 2 * math.sin(min(angle, math.pi) / 2)

    def cut(self) -> list["Box"]:
        """Return the parts: two by scale, or one for each corner."""
        if self.thick > self.turning():
            t = self.thick / 2
            return [Box(self.middle, self.half, self.scale + s * t, t) for s in (-1, 1)]
        h = self.half / 2
        return [
            Box(tuple(m + s * h for m, s in zip(self.middle, signs, strict=True)), h, self.scale,
                self.thick)
            for signs in itertools.product((-1, 1), repeat=len(self.middle))
        ]  # fmt: skip


def boxed_tuples(
    rule: Rule,
    steps: Float[np.ndarray, "n n"],
    good: Callable[[Tuple], bool],
    finest: float = 1e-6,
    grid: Sequence[int] = (),
) -> Iterator[tuple[Tuple, bool]]:
    """Return tuples of offsets that cover all motions of a rule, and whether each is good.

    Args:
        rule: About points.
        steps: The cell vectors.
        good: Boxes all of whose tuples are good are not cut.
        grid: Offsets are taken modulo it; empty: as they are.
        finest: Boxes in which a point moves by less than this part of its length are not cut.

    Raises:
        ColoringError: There are too many boxes, which happens where a rule holds without slack.

    Cost: 0.1 ms a box.
    """
    n = len(steps)
    inverse = np.linalg.inv(steps)
    size = np.linalg.norm(inverse, axis=0)
    points = np.array([[float(x) for x in q] for q in rule.points])
    varying = [k for k in range(n) if not grid or grid[k] > 1] or [0]
    mirror = np.ones(n)
    mirror[-1] = -1.0
    shapes = [points, points * mirror] if rule.motions == "rigid" else [points]
    low, high = rule.scale_range
    axes = 0 if rule.motions == "translations" else (1 if n == 2 else 3)
    count = 0
    for q in shapes:
        apart = q[:, None] - q[None]
        lengths = np.linalg.norm(q, axis=1)[:, None] * size
        between = np.linalg.norm(apart, axis=2)[..., None] * size
        stack = [Box((0.0,) * axes, math.pi if axes else 0.0, (low + high) / 2, (high - low) / 2)]
        while stack:
            box = stack.pop()
            if math.hypot(*box.middle) > math.pi + math.sqrt(3) * box.half:
                continue  # outside of the ball of all rotations
            count += 1
            if count > MAX_BOXES:
                raise ColoringError(
                    f"a configuration is not decided in {MAX_BOXES} boxes of motions: the rule "
                    "holds with too little slack, or the cells are too small for it."
                )
            radius = box.turning() + box.thick
            if radius * lengths[:, varying].max() > 0.5 and radius > finest:
                stack += box.cut()
                continue
            turned = box.scale * q @ _rotation(box.middle, n).T
            w = turned @ inverse
            v = w[:, None] - w[None]
            r, rr = radius * lengths + _ROUNDING, radius * between + _ROUNDING
            sides: list[list[tuple[int, ...]]] = []
            for k in range(n):
                if grid and grid[k] == 1:
                    sides.append([(0,) * len(q)])
                    continue
                along = _along(w[:, k], r[:, k], v[:, :, k], rr[:, :, k])
                sides.append(
                    sorted({tuple(d % grid[k] for d in t) for t in along}) if grid else along
                )
            tuples = [tuple(zip(*t, strict=True)) for t in itertools.product(*sides)]
            verdicts = [good(t) for t in tuples]
            if radius > finest and not all(verdicts):
                stack += box.cut()
                continue
            yield from zip(tuples, verdicts, strict=True)


def _along(
    w: Float[np.ndarray, " m"], r: Float[np.ndarray, " m"], v: Float[np.ndarray, "m m"],
    rr: Float[np.ndarray, "m m"],
) -> list[tuple[int, ...]]:  # fmt: skip
    """Tuples along one axis: D - 1 < W < D + 1, and the same for differences of both."""
    found: list[tuple[int, ...]] = [()]
    for j in range(len(w)):
        choices = range(math.floor(w[j] - r[j]), math.floor(w[j] + r[j]) + 2)
        found = [
            (*shorter, d)
            for shorter in found
            for d in choices
            if w[j] - r[j] < d + 1
            and w[j] + r[j] > d - 1
            and all(abs(v[j, i] - (d - e)) < 1 + rr[j, i] for i, e in enumerate(shorter))
        ]
    return found


def _rotation(v: tuple[float, ...], n: int) -> Float[np.ndarray, "n n"]:
    if not v:
        return np.eye(n)
    if n == 2:
        c, s = math.cos(v[0]), math.sin(v[0])
        return np.array([[c, -s], [s, c]])
    angle = math.hypot(*v)
    if angle == 0:
        return np.eye(3)
    x, y, z = (a / angle for a in v)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + math.sin(angle) * cross + (1 - math.cos(angle)) * cross @ cross
