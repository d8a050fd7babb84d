"""Real Fourier transforms of SciPy, which keep single precision; its hints do not say "array"."""

from collections.abc import Sequence
from typing import Any


def rfftn(x: Any, s: Sequence[int] | None = None, axes: Sequence[int] | None = None) -> Any:
    """Return the transform of a real array over the axes (all of them by default)."""
    import scipy.fft

    return scipy.fft.rfftn(x, s, axes)


def irfftn(x: Any, s: Sequence[int], axes: Sequence[int] | None = None) -> Any:
    """Return the real array of shape `s` whose transform is given."""
    import scipy.fft

    return scipy.fft.irfftn(x, s, axes)
