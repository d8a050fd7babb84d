"""The spectral-norm ball: matrices whose singular values are at most radius.

Its LMO is minus the polar factor, what Muon and Scion compute approximately; `newton_schulz` gives
the approximations, this file the exact one.
Source of the scalings: Pethick et al., arXiv:2502.07529.
"""

import math

from extremal.frankwolfe._arrays import Array, clip, namespace, svd, transpose
from extremal.frankwolfe._region import Ball, Number, Shape

SCALINGS = ("none", "ratio", "max", "rms", "outputs", "conv")


class SpectralBall(Ball):
    """Matrices of spectral norm at most `radius`, times a factor that `scaling` chooses.

    With `scaling` "none" the factor is 1; "ratio" sqrt(outputs / inputs), for hidden layers; "max"
    max(1, sqrt(outputs / inputs)), for the first layer and as Muon has it; "rms"
    0.2 sqrt(max(outputs, inputs)), Muon's match of AdamW; "outputs" sqrt(outputs).

    Example:
        >>> import numpy as np
        >>> SpectralBall(2.0).lmo(np.array([[0.0, 3.0], [1.0, 0.0]])) + 0.0
        array([[ 0., -2.],
               [-2.,  0.]])
    """

    matrix = True
    _names = ("radius", "scaling", "diameter", "width")
    _scaling: str

    def __init__(
        self,
        radius: Number | None = None,
        *,
        scaling: str = "none",
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the ball; give exactly one size."""
        if scaling not in SCALINGS:
            raise ValueError(f"there is no scaling {scaling!r}; there are {', '.join(SCALINGS)}.")
        self._set_size(radius, diameter, width)
        self._set(_scaling=scaling)

    def _factor(self, shape: Shape) -> float:
        outputs, inputs = shape[0], math.prod(shape[1:])
        kernel = math.prod(shape[2:])
        return {
            "none": 1.0,
            "ratio": math.sqrt(outputs / inputs),
            "max": max(1.0, math.sqrt(outputs / inputs)),
            "rms": 0.2 * math.sqrt(max(outputs, inputs)),
            "outputs": math.sqrt(outputs),
            "conv": math.sqrt(outputs / shape[1]) / kernel,
        }[self._scaling]

    def _lmo(self, g: Array) -> Array:
        u, _, vt = svd(g)
        return -(u @ vt)

    def _gauge(self, x: Array) -> Array:
        return namespace(x).linalg.svd(x, full_matrices=False)[1][:, 0]

    def _violation(self, x: Array) -> Array:
        # (sum of s^4)^(1/4) bounds the largest singular value and needs no decomposition, which
        # takes a second on a GPU for each matrix of a language model.
        xp = namespace(x)
        short = transpose(x) if x.shape[-2] > x.shape[-1] else x
        bound = xp.sqrt(xp.linalg.norm(short @ transpose(short), axis=(-2, -1)))
        return bound - 1 if bool(xp.all(bound <= 1)) else self._gauge(x) - 1

    def _project(self, y: Array) -> Array:
        u, s, vt = svd(y)
        return (u * clip(s, 0, 1)[:, None, :]) @ vt

    def _unit_diameter(self, shape: tuple[int, ...]) -> float:
        return 2.0 * math.sqrt(min(shape))
