"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class SosError(ExtremalError):
    """A polynomial, hint or model does not hold what is asked."""


class MemoryLimitError(SosError, MemoryError):
    """A step would need more memory than it was given; nothing was allocated."""


class NotCertified(SosError):
    """A certificate is asked of a result that has none."""
