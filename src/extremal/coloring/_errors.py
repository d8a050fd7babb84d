"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class ColoringError(ExtremalError):
    """A problem, colouring or file does not fit what is asked of it."""
