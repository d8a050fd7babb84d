"""What a caller of this area may want to catch."""

from extremal.lab import ExtremalError


class CompressionError(ExtremalError):
    """A network cannot be compressed, written or read as asked."""


class MaskedInsteadWarning(UserWarning):
    """Channels could not be cut out, so they are only zeroed; the text names the layer."""
