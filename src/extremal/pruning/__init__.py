"""Pruning: masks, selectors, retraining schedules, one verb for prune-and-retrain."""

from ._adapters import ADAPTERS, adapter_start, effective, group_parameters, is_norm
from ._budget import Budget, Cost, gradual_sparsities, phase_counts, renda_phases, split_epochs
from ._compare import Comparison, compare
from ._config import METHODS, Config
from ._errors import LayerCollapseWarning, PruningError, WorthlessScheduleWarning
from ._masks import LayerSparsity, MaskEnforcer, Masks
from ._perp import RETRAINED, few_trainable
from ._prunable import prunable_weights
from ._prune import prune
from ._result import Phase, Pruned
from ._runs import load_pruned
from ._schedules import SCHEDULES, DenseRates, learning_rates
from ._selectors import SELECTORS, pruned_count, select
from ._soups import (
    CORRUPTIONS,
    Candidate,
    Ran,
    Row,
    Soup,
    SoupConfig,
    basin,
    corrupt,
    corrupted_accuracies,
    geometry,
    greedy,
    merge,
    read_cifar_c,
    soup,
    train_stacked,
)

__all__ = [
    "ADAPTERS",
    "CORRUPTIONS",
    "METHODS",
    "RETRAINED",
    "SCHEDULES",
    "SELECTORS",
    "Budget",
    "Candidate",
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
    "Ran",
    "Row",
    "Soup",
    "SoupConfig",
    "WorthlessScheduleWarning",
    "adapter_start",
    "basin",
    "compare",
    "corrupt",
    "corrupted_accuracies",
    "effective",
    "few_trainable",
    "geometry",
    "gradual_sparsities",
    "greedy",
    "group_parameters",
    "is_norm",
    "learning_rates",
    "load_pruned",
    "merge",
    "phase_counts",
    "prunable_weights",
    "prune",
    "pruned_count",
    "read_cifar_c",
    "renda_phases",
    "select",
    "soup",
    "split_epochs",
    "train_stacked",
]
