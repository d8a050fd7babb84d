"""The maximum-norm ball {x : |x|_inf <= radius}."""

import math

from extremal.frankwolfe._arrays import Array, clip, namespace, sgn
from extremal.frankwolfe._region import Ball


class LinfBall(Ball):
    """Elements whose entries lie in [-radius, radius].

    Example:
        >>> import numpy as np
        >>> LinfBall(1.0).lmo(np.array([0.2, -3.0, 0.0]))
        array([-1.,  1., -1.])
    """

    def _lmo(self, g: Array) -> Array:
        return -sgn(g)

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.amax(xp.abs(x), axis=-1)

    def _project(self, y: Array) -> Array:
        return clip(y, -1, 1)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(math.prod(shape))
