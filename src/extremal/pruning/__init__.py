"""Pruning: masks, selectors, retraining schedules, one verb for prune-and-retrain."""

from ._budget import Budget, Cost, gradual_sparsities, phase_counts, renda_phases, split_epochs
from ._compare import Comparison, compare
from ._config import METHODS, Config
from ._errors import LayerCollapseWarning, PruningError, WorthlessScheduleWarning
from ._masks import LayerSparsity, MaskEnforcer, Masks
from ._prunable import prunable_weights
from ._prune import prune
from ._result import Phase, Pruned
from ._runs import load_pruned
from ._schedules import SCHEDULES, DenseRates, learning_rates
from ._selectors import SELECTORS, pruned_count, select

__all__ = [
    "METHODS",
    "SCHEDULES",
    "SELECTORS",
    "Budget",
    "Comparison",
    "Config",
    "Cost",
    "DenseRates",
    "LayerCollapseWarning",
    "LayerSparsity",
    "MaskEnforcer",
    "Masks",
    "Phase",
    "Pruned",
    "PruningError",
    "WorthlessScheduleWarning",
    "compare",
    "gradual_sparsities",
    "learning_rates",
    "load_pruned",
    "phase_counts",
    "prunable_weights",
    "prune",
    "pruned_count",
    "renda_phases",
    "select",
    "split_epochs",
]
