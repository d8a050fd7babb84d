"""Exact numbers from what people type."""

import math
import re
from fractions import Fraction

_DIGITS = 4096  # longer inputs are refused before int() spends quadratic time on them
_FORM = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?(\s*/\s*\d+)?\s*")


def rational(value: int | str | float | Fraction, notes: list[str] | None = None) -> Fraction:
    """Read one exact number.

    Args:
        value: An integer, a `Fraction`, text such as `"3"`, `"-4/3"`, `"0.25"`, `"1e-3"` or
            `"0.5/3"`, or a float, which is read as its shortest decimal.
        notes: Gets one sentence for a float, for the caller to show.

    Returns:
        The number, exactly.

    Raises:
        ValueError: The text is not a number, the float is not finite, or the denominator is 0.

    Example:
        >>> rational("-4/3"), rational(0.1)
        (Fraction(-4, 3), Fraction(1, 10))
    """
    if isinstance(value, bool):
        raise ValueError(f"{value!r} is a truth value, not a number; give an integer or 'p/q'.")
    if isinstance(value, (int, Fraction)):
        return Fraction(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise ValueError(f"{value!r} has no exact value; give an integer, 'p/q' or a decimal.")
        if notes is not None:
            notes.append(f"the float {value!r} was read as the decimal {Fraction(repr(value))}")
        return Fraction(repr(value))
    if len(value) > _DIGITS or not _FORM.fullmatch(value):
        shown = value if len(value) <= 40 else f"{value[:37]}..."
        raise ValueError(f"{shown!r} is not an exact number; write 3, -4/3, 0.25 or 1e-3.")
    numerator, _, denominator = value.partition("/")
    if denominator and int(denominator) == 0:
        raise ValueError(f"{value!r} has denominator 0; write a number such as -4/3.")
    return Fraction(numerator.strip()) / (int(denominator) if denominator else 1)
