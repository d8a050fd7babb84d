"""Merlin-Arthur classifiers: explanations with a guarantee, and an audit for everyone else's.

`certify`, the data and the laboratory of finite games need no torch. The names in `_TORCH` come
from files that import it, so they are fetched on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._arthur import Arthur, Lookup, NaiveBayes, Thresholded
from ._attacks import Siege
from ._bounds import class_bound, information_bound, main_bound
from ._certify import CertifyConfig, certify
from ._column import ColumnUse, column_use
from ._counting import Index, ball_counts, matches_by_products
from ._data import DataConfig, load_task
from ._errors import InterpretError, OverBudget, OverlapWarning, TooFewSamples
from ._explainers import Explainer, Rules, Shown, top_k
from ._games import Game, cube, fish_and_fruit, with_replay
from ._limits import hoeffding, lower_limit, upper_limit
from ._pictures import sweep_picture
from ._result import Audit
from ._search import Searching
from ._task import Rows, Task, Unit, bin_columns, make_task

if TYPE_CHECKING:
    from ._baselines import EvalX, attribution, eval_x, fw_rde, whole_row_network
    from ._estimator import MerlinArthurClassifier
    from ._explain import ExplainConfig, Explanation, explain
    from ._losses import aimed_loss, merlin_loss, morgana_loss, one_sided_losses
    from ._network import ArthurNet, NetArthur
    from ._relaxed import Relaxation, adam_masks, frank_wolfe_masks
    from ._train import TrainConfig, train
    from ._trained import Trained, load_trained

_TORCH = {
    "ArthurNet": "_network",
    "EvalX": "_baselines",
    "ExplainConfig": "_explain",
    "Explanation": "_explain",
    "MerlinArthurClassifier": "_estimator",
    "NetArthur": "_network",
    "Relaxation": "_relaxed",
    "TrainConfig": "_train",
    "Trained": "_trained",
    "adam_masks": "_relaxed",
    "aimed_loss": "_losses",
    "attribution": "_baselines",
    "eval_x": "_baselines",
    "explain": "_explain",
    "frank_wolfe_masks": "_relaxed",
    "fw_rde": "_baselines",
    "load_trained": "_trained",
    "merlin_loss": "_losses",
    "morgana_loss": "_losses",
    "one_sided_losses": "_losses",
    "train": "_train",
    "whole_row_network": "_baselines",
}

__all__ = [
    "Arthur",
    "ArthurNet",
    "Audit",
    "CertifyConfig",
    "ColumnUse",
    "DataConfig",
    "EvalX",
    "ExplainConfig",
    "Explainer",
    "Explanation",
    "Game",
    "Index",
    "InterpretError",
    "Lookup",
    "MerlinArthurClassifier",
    "NaiveBayes",
    "NetArthur",
    "OverBudget",
    "OverlapWarning",
    "Relaxation",
    "Rows",
    "Rules",
    "Searching",
    "Shown",
    "Siege",
    "Task",
    "Thresholded",
    "TooFewSamples",
    "TrainConfig",
    "Trained",
    "Unit",
    "adam_masks",
    "aimed_loss",
    "attribution",
    "ball_counts",
    "bin_columns",
    "certify",
    "class_bound",
    "column_use",
    "cube",
    "eval_x",
    "explain",
    "fish_and_fruit",
    "frank_wolfe_masks",
    "fw_rde",
    "hoeffding",
    "information_bound",
    "load_task",
    "load_trained",
    "lower_limit",
    "main_bound",
    "make_task",
    "matches_by_products",
    "merlin_loss",
    "morgana_loss",
    "one_sided_losses",
    "sweep_picture",
    "top_k",
    "train",
    "upper_limit",
    "whole_row_network",
    "with_replay",
]


def __getattr__(name: str) -> Any:
    if name in _TORCH:
        try:
            module = importlib.import_module(f".{_TORCH[name]}", __name__)
        except ModuleNotFoundError as error:
            missing = (error.name or "").partition(".")[0]
            if missing not in ("torch", "sklearn"):
                raise
            from extremal.lab import MissingExtra

            raise MissingExtra(
                f"{name} needs the package '{missing}', which is not installed: run "
                "pip install 'extremal[interpret]'. Audits without networks work without it."
            ) from error
        return getattr(module, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
