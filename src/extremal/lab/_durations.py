"""Times as people type them."""

import re

_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600}


def seconds_of(text: str) -> float:
    """Read a time such as 90s, 10m or 2h.

    Raises:
        ValueError: It is none.

    Example:
        >>> seconds_of("1.5m")
        90.0
    """
    found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smh]?)\s*", text)
    if not found or float(found[1]) <= 0:
        raise ValueError(f"{text!r} is no time; write 90s, 10m or 2h.")
    return float(found[1]) * _SECONDS[found[2]]
