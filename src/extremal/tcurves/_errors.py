"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class TCurveError(ExtremalError):
    """A triangulation, file or catalogue does not hold what is asked."""


class MemoryLimitError(TCurveError, MemoryError):
    """A census would need, or has come to need, more memory than it was given."""


class NotRegular(TCurveError):
    """A triangulation is not regular, so no algebraic curve is guaranteed."""
