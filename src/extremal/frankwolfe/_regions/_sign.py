"""The maximum-norm ball that Scion uses for output layers: entries at most radius / inputs.

Source: arXiv:2502.07529.
"""

import math

from extremal.frankwolfe._region import Number, Shape

from ._linfball import LinfBall


class Sign(LinfBall):
    """Elements whose entries are at most radius / inputs; `scaled=False` leaves out the division.

    Example:
        >>> import numpy as np
        >>> Sign(2.0).lmo(np.array([[1.0, -1.0]]))
        array([[-1.,  1.]])
    """

    _names = ("radius", "scaled", "diameter", "width")
    _scaled: bool

    def __init__(
        self,
        radius: Number | None = None,
        *,
        scaled: bool = True,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the ball; give exactly one size."""
        self._set_size(radius, diameter, width)
        self._set(_scaled=scaled)

    def _factor(self, shape: Shape) -> float:
        return 1.0 / max(1, math.prod(shape[1:])) if self._scaled else 1.0
