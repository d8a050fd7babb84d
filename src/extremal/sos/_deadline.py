"""The time limit of a decision, seen from inside its long stages.

A decision sets a deadline; loops that may run long (the interior point, exact elimination, the
search for points) look at it and raise. It belongs to the context, not to arguments, because the
same loops serve callers that have no limit at all.
"""

import time
from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar

from ._errors import TimeLimitError

_DEADLINE: ContextVar[float | None] = ContextVar("deadline", default=None)


@contextmanager
def deadline(seconds: float | int | None) -> Generator[None]:
    """Let `check_time` raise once so many seconds have passed; an outer, earlier limit stays."""
    outer = _DEADLINE.get()
    own = None if seconds is None else time.perf_counter() + seconds
    both = [d for d in (outer, own) if d is not None]
    token = _DEADLINE.set(min(both) if both else None)
    try:
        yield
    finally:
        _DEADLINE.reset(token)


def seconds_left() -> float | None:
    """Return the time until the deadline, at least 0, or None without one."""
    limit = _DEADLINE.get()
    return None if limit is None else max(0.0, limit - time.perf_counter())


def check_time() -> None:
    """Return if there is time left.

    Raises:
        TimeLimitError: The deadline has passed.
    """
    limit = _DEADLINE.get()
    if limit is not None and time.perf_counter() > limit:
        raise TimeLimitError("the time limit is reached")
