"""`numba.njit`, cached on disk; imported where a kernel is first defined."""

import inspect
from collections.abc import Callable
from typing import Any, TypeVar, cast

from extremal.lab import require

F = TypeVar("F", bound=Callable[..., Any])


def jit(function: F) -> F:
    """Compile a function of numbers and arrays.

    Raises:
        MissingExtra: numba is not installed.
    """
    numba = require("numba", "coloring")
    # under test every function is wrapped for its types, which the compiler cannot see through
    return cast("F", numba.njit(cache=True, error_model="numpy")(inspect.unwrap(function)))
