"""Checker of `sos/negative`: a rational point where p is below the bound.

Proves: p - bound is negative there, so it is not a sum of squares and not nonnegative.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._polynomials import described, opened, rational, short

STRENGTH = "proved"
CLAIM = ("variables", "polynomial", "bound", "value", "sha256")
WITNESS = ("point",)


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    variables, p = opened(claim)
    bound = rational(claim["bound"], "bound")
    point = fields.items(witness, "point")
    if len(point) != len(variables):
        raise Rejected(f"the point has {len(point)} coordinates, not {len(variables)}.")
    at = [rational(x, f"coordinate {i}") for i, x in enumerate(point)]
    value = Fraction(0)
    for m, c in p.items():
        term = c
        for x, e in zip(at, m, strict=True):
            if e:
                term *= x**e
        value += term
    if value != rational(claim["value"], "value"):
        raise Rejected(f"p is {short(value)} at the point, not {claim['value']}.")
    if value >= bound:
        raise Rejected(f"p is {short(value)} at the point, which is not below {short(bound)}.")
    where = ", ".join(f"{v} = {short(x)}" for v, x in zip(variables, at, strict=True) if x)
    return [
        described(variables, p),
        f"p = {short(value)} < {short(bound)} at {where if len(where) < 400 else 'the point'}"
        + ("" if where else "the origin"),
    ]
