"""`numba.njit` where numba is installed; without it the same functions run as plain Python."""

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])

try:
    from numba import njit as _njit
except ModuleNotFoundError:
    HAVE_NUMBA = False
else:
    HAVE_NUMBA = True


def jit(function: F) -> F:
    """Compile a function of numbers and arrays, cached on disk."""
    if not HAVE_NUMBA:
        return function
    return _njit(cache=True)(function)  # type: ignore[return-value]
