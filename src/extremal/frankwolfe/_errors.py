"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class FrankWolfeError(ExtremalError):
    """A problem, region or optimizer state does not fit; wrong arguments raise `ValueError`."""


class StartWarning(UserWarning):
    """A region is so small for its parameter that the network starts almost at zero."""


class SizeWarning(UserWarning):
    """An absolute `k` was larger than a parameter and was reduced to its size."""
