"""Checker of `sos/putinar`: p - bound is a sum of squares with constraints as weights.

Proves: p - bound = s_0 + s_1 g_1 + ... + s_k g_k with every s_i a sum of squares; so p >= bound
wherever all g_i >= 0. Does not say: that such a point exists, or that the bound is attained.
"""

from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._polynomials import (
    Polynomial,
    added,
    described,
    opened,
    polynomial,
    product,
    rational,
    same,
    short,
    squares,
)

STRENGTH = "proved"
CLAIM = ("variables", "polynomial", "constraints", "bound", "squares", "sha256")
WITNESS = ("blocks",)


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    variables, p = opened(claim)
    bound = rational(claim["bound"], "bound")
    constraints = [
        polynomial(variables, g, f"constraint {i}")
        for i, g in enumerate(fields.items(claim, "constraints"))
    ]
    total: Polynomial = {(0,) * len(variables): bound}
    count = 0
    for number, block in enumerate(fields.items(witness, "blocks")):
        where = f"block {number}"
        expanded, rank = squares(variables, block, where)
        times = block.get("times")
        if times is not None:
            if type(times) is not int or not 0 <= times < len(constraints):
                raise Rejected(f"{where} is multiplied by a constraint that is not there.")
            expanded = product(expanded, constraints[times])
        added(total, expanded)
        count += rank
    same(p, total, variables)
    if fields.natural(claim, "squares") != count:
        raise Rejected(f"there are {count} squares, not {claim['squares']}.")
    return [
        described(variables, p),
        f"p - ({short(bound)}) is a sum of {count} squares, weighted by positive rationals and the "
        f"{len(constraints)} constraints, exactly",
        f"so p >= {short(bound)} wherever every constraint is at least 0",
    ]
