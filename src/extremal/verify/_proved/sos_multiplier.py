"""Checker of `sos/multiplier`: p times a power of a positive form is a sum of squares.

Proves: p >= 0 everywhere, because the multiplier is positive off the origin and p is continuous.
Does not say: that p itself is a sum of squares.
"""

from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._polynomials import Polynomial, added, described, opened, product, same, squares

STRENGTH = "proved"
CLAIM = ("variables", "polynomial", "multiplier", "power", "squares", "sha256")
WITNESS = ("blocks",)
_MAX_POWER = 20


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    variables, p = opened(claim)
    form = fields.text(claim, "multiplier")
    power = fields.natural(claim, "power")
    if form not in {"sum of squares", "1 + sum of squares"} or not 1 <= power <= _MAX_POWER:
        raise Rejected(f"the multiplier {form!r} to the power {power} is not a known one.")
    n = len(variables)
    if n == 0:
        raise Rejected("there is no variable, so no multiplier.")
    factor: Polynomial = {tuple(2 * (i == j) for i in range(n)): Fraction(1) for j in range(n)}
    if form.startswith("1"):
        factor[(0,) * n] = Fraction(1)
    multiplied = p
    for _ in range(power):
        multiplied = product(multiplied, factor)
    total: Polynomial = {}
    count = 0
    for number, block in enumerate(fields.items(witness, "blocks")):
        expanded, rank = squares(variables, block, f"block {number}")
        added(total, expanded)
        count += rank
    same(multiplied, total, variables)
    if fields.natural(claim, "squares") != count:
        raise Rejected(f"there are {count} squares, not {claim['squares']}.")
    shown = "x_1^2 + ... + x_n^2" if form == "sum of squares" else "1 + x_1^2 + ... + x_n^2"
    return [
        described(variables, p),
        f"({shown})^{power} * p is a sum of {count} squares with positive rational weights, "
        "exactly",
        "so p >= 0 everywhere; nothing is said of p itself being a sum of squares",
    ]
