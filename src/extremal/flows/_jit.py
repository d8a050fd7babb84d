"""`numba.njit` where numba is installed; without it the same functions run as plain Python."""

import importlib.util
import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

F = TypeVar("F", bound=Callable[..., Any])

HAVE_NUMBA = importlib.util.find_spec("numba") is not None


def jit(function: F) -> F:
    """Compile a function of numbers and arrays, cached on disk; numba is imported here."""
    if not HAVE_NUMBA:
        return function
    from numba import njit

    # under test every function is wrapped for its types, which the compiler cannot see through
    return cast("F", njit(cache=True, error_model="numpy")(inspect.unwrap(function)))
