"""The L1 ball {x : |x|_1 <= radius}.

Source: Pokutta, Spiegel, Zimmer, arXiv:2010.07243. Differs from it: among ties the lowest index
wins (one entry moves, not all), and a zero direction gives a vertex.
"""

from extremal.frankwolfe._arrays import Array, first_argmax, namespace, put, sgn, take
from extremal.frankwolfe._region import Ball
from extremal.frankwolfe._thresholds import project_l1


class L1Ball(Ball):
    """Elements whose absolute entries sum to at most `radius`.

    Example:
        >>> import numpy as np
        >>> L1Ball(2.0).lmo(np.array([0.5, -3.0]))
        array([0., 2.])
    """

    def _lmo(self, g: Array) -> Array:
        xp = namespace(g)
        best = first_argmax(xp.abs(g))
        return put(xp.zeros_like(g), best, -sgn(take(g, best)))

    def _gauge(self, x: Array) -> Array:
        xp = namespace(x)
        return xp.sum(xp.abs(x), axis=-1)

    def _project(self, y: Array) -> Array:
        return project_l1(y)

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0
