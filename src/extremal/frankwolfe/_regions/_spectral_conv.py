"""The spectral ball of convolution kernels, scaled as Scion does (arXiv:2502.07529).

A kernel (outputs, inputs, height, width) is read as a matrix (outputs, inputs height width) whose
singular values are at most radius sqrt(outputs / inputs) / (height width).
"""

from extremal.frankwolfe._region import Number

from ._spectral import SpectralBall


class SpectralConv(SpectralBall):
    """Convolution kernels of scaled spectral norm at most `radius`.

    Example:
        >>> round(SpectralConv(1.0).diameter((8, 2, 3, 3)), 6)
        1.257079
    """

    _names = ("radius", "diameter", "width")

    def __init__(
        self,
        radius: Number | None = None,
        *,
        diameter: Number | None = None,
        width: Number | None = None,
    ) -> None:
        """Make the ball; give exactly one size."""
        super().__init__(radius, scaling="conv", diameter=diameter, width=width)

    def _check_shape(self, shape: tuple[int, ...]) -> None:
        if len(shape) < 3:
            raise ValueError(
                f"SpectralConv is for kernels (outputs, inputs, …), not for shape {shape}; "
                "matrices take SpectralBall(scaling='ratio')."
            )
        super()._check_shape(shape)
