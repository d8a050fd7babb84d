"""Merlin-Arthur classifiers: explanations with a guarantee, and an audit for everyone else's."""

import importlib
from typing import TYPE_CHECKING, Any

from ._certify import CertifyConfig, certify
from ._data import DataConfig, load_task

if TYPE_CHECKING:
    from ._train import TrainConfig, train
    from ._trained import Trained, load_trained

_TORCH = {
    "TrainConfig": "_train",
    "Trained": "_trained",
    "load_trained": "_trained",
    "train": "_train",
}

__all__ = [
    "CertifyConfig",
    "DataConfig",
    "TrainConfig",
    "Trained",
    "certify",
    "load_task",
    "load_trained",
    "train",
]


def __getattr__(name: str) -> Any:
    if name in _TORCH:
        return getattr(importlib.import_module(f".{_TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
