"""What a user can be told: one class tree, one sentence form.

A message says what was met, why it cannot go on, and what to do. Wrong arguments raise the
built-in types; an area derives one class from `ExtremalError` for what a caller may want to
catch. The shell prints either on one line and exits with 2.

    ExtremalError
    ├── RunError        a run folder, checkpoint or record file is damaged or belongs elsewhere
    ├── WorkerError     a job failed, or its worker vanished, more often than its retries allow
    └── MissingExtra    an optional package is not installed (also an ImportError)
"""

import importlib
from types import ModuleType


class ExtremalError(Exception):
    """Base of every error that this package raises on purpose, wrong arguments excepted."""


class RunError(ExtremalError):
    """A run folder, checkpoint or record file is damaged, incomplete or belongs elsewhere."""


class WorkerError(ExtremalError):
    """A job failed, or its worker vanished, more often than its retries allow."""


class MissingExtra(ExtremalError, ImportError):
    """An optional package is not installed."""


# What the extras install, by import name.
_OPTIONAL = frozenset({
    "PIL", "clarabel", "flint", "gmpy2", "highspy", "jinja2", "lxml", "matplotlib", "networkx",
    "numba", "onnx", "ortools", "ray", "scs", "shapely", "sklearn", "torch", "torch_pruning",
    "transformers", "zstandard",
})  # fmt: skip


def explain_missing(error: ModuleNotFoundError, area: str) -> Exception:
    """Return what to raise where an area met a package that is not installed.

    Args:
        error: As Python raised it.
        area: Whose extra installs it.

    Returns:
        A `MissingExtra` that names the line to type; the error itself if no extra installs it.
    """
    name = (error.name or "").partition(".")[0]
    if name not in _OPTIONAL:
        return error
    return MissingExtra(
        f"the package {name!r} is not installed and {area} needs it: "
        f"run pip install 'extremal[{area}]'."
    )


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package.

    Args:
        module: Its import name, for instance `"torch"`.
        extra: The extra of this package that installs it.

    Returns:
        The imported module.

    Raises:
        MissingExtra: It is not installed; the text names the line to type.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] != module.partition(".")[0]:
            raise  # the package is there, but one of its own imports is broken
        raise MissingExtra(
            f"the package {module!r} is not installed and this needs it: "
            f"run pip install 'extremal[{extra}]'."
        ) from error
