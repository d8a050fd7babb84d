"""What pruning may raise or warn about, beyond ValueError for wrong arguments."""

from extremal.lab import ExtremalError


class PruningError(ExtremalError):
    """The weights at hand cannot be pruned as asked (NaN, too few left, a collapsed layer)."""


class LayerCollapseWarning(UserWarning):
    """A selector left a layer without a single weight: the network no longer passes a signal."""


class WorthlessScheduleWarning(UserWarning):
    """The learning-rate schedule is zero throughout, so retraining changes nothing."""
