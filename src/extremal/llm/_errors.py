"""What streaming pruning may raise or warn about, beyond ValueError for wrong arguments."""

from extremal.lab import ExtremalError


class LLMError(ExtremalError):
    """The folder, its layers or the text at hand cannot be used as asked."""


class FewTokensWarning(UserWarning):
    """There are fewer calibration tokens than twice the inputs of a layer."""
