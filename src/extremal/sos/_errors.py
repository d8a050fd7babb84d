"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class SosError(ExtremalError):
    """A polynomial, hint or model does not hold what is asked."""


class MemoryLimitError(SosError, MemoryError):
    """A step would need more memory than it was given; nothing was allocated."""


class TimeLimitError(SosError, TimeoutError):
    """The time of a decision ran out inside a stage; what was found so far is not wrong."""


class NotCertified(SosError):
    """A certificate is asked of a result that has none."""
