"""Rational numbers inside the solvers: GMP's where gmpy2 is installed, else `fractions`."""

from fractions import Fraction
from typing import Any

try:
    from gmpy2 import mpq as _mpq  # pyright: ignore[reportAttributeAccessIssue] - no stubs
except ModuleNotFoundError:
    _mpq: Any = Fraction


def q(value: Any) -> Any:
    """Return a rational of the fast kind; it compares equal to the `Fraction` it came from."""
    if isinstance(value, Fraction):
        return _mpq(value.numerator, value.denominator)
    return _mpq(value)


def fraction(value: Any) -> Fraction:
    """Return a `Fraction`."""
    return Fraction(int(value.numerator), int(value.denominator))


def short(value: Fraction | float | int | None, digits: int = 6) -> str:
    """Return a number for a table: exact where that is short, else a decimal after a tilde."""
    if value is None:
        return "for ever"
    if isinstance(value, Fraction):
        exact = str(value)
        return exact if len(exact) <= 9 else f"~{float(value):.{digits}g}"
    return f"{value:.{digits}g}"
