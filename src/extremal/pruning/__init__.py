"""Pruning and retraining."""

from ._errors import LayerCollapseWarning, PruningError, WorthlessScheduleWarning
from ._masks import LayerSparsity, Masks
from ._prunable import prunable_weights
from ._selectors import SELECTORS, pruned_count, select

__all__ = [
    "SELECTORS",
    "LayerCollapseWarning",
    "LayerSparsity",
    "Masks",
    "PruningError",
    "WorthlessScheduleWarning",
    "prunable_weights",
    "pruned_count",
    "select",
]
