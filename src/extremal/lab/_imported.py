"""Things of the user's own, named `module:function`."""

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any


def imported(name: str, what: str) -> Callable[..., Any]:
    """Return the function called `module:function`.

    The current folder is searched too, as `python -m` does, since the shell command alone would
    not see a file beside the user.

    Args:
        name: Such as `mynets:small`.
        what: What the name stands for, for the message.

    Raises:
        ValueError: There is no such module or function.
    """
    module_name, _, function_name = name.partition(":")
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.append(here)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        raise ValueError(
            f"{what} {name!r}: there is no module {error.name!r} to import; run from its folder, "
            "or put that folder into PYTHONPATH."
        ) from error
    finally:
        if added:
            sys.path.remove(here)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ValueError(
            f"{what} {name!r}: module {module_name!r} has no function {function_name!r}; "
            "write it as module:function."
        )
    return function
