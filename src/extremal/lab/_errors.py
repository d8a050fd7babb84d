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
