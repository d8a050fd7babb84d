"""extremal: sparse networks, projection-free training and machine-assisted mathematics.

An area (`extremal.training`, `extremal.pruning`, …) is imported on first use, so that this
package alone costs neither torch nor numba.
"""

import importlib
from types import ModuleType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import (
        coloring,
        compression,
        demo,
        flows,
        frankwolfe,
        interpret,
        lab,
        llm,
        pruning,
        reproduce,
        sos,
        tcurves,
        training,
        verify,
    )

__version__ = "0.1.0"
__all__ = [
    "__version__",
    "coloring",
    "compression",
    "demo",
    "flows",
    "frankwolfe",
    "interpret",
    "lab",
    "llm",
    "pruning",
    "reproduce",
    "sos",
    "tcurves",
    "training",
    "verify",
]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        try:
            return importlib.import_module(f".{name}", __name__)
        except ModuleNotFoundError as error:
            from .lab import explain_missing

            raise explain_missing(error, name) from error
    raise AttributeError(f"module 'extremal' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
