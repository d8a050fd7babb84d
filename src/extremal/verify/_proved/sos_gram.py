"""Checker of `sos/gram`: p - bound is a sum of squares of polynomials with rational coefficients.

Proves: p - bound is the sum of the blocks z' Q z, each Q positive semidefinite; so p >= bound
everywhere. Does not say: that p attains the bound, or that no larger one has such a proof.
"""

from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._polynomials import Polynomial, added, described, opened, rational, same, short, squares

STRENGTH = "proved"
CLAIM = ("variables", "polynomial", "bound", "squares", "sha256")
WITNESS = ("blocks",)


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    variables, p = opened(claim)
    bound = rational(claim["bound"], "bound")
    total: Polynomial = {}
    count = 0
    sizes: list[int] = []
    for number, block in enumerate(fields.items(witness, "blocks")):
        expanded, rank = squares(variables, block, f"block {number}")
        added(total, expanded)
        count += rank
        sizes.append(len(block["monomials"]))
    added(total, {(0,) * len(variables): bound})
    same(p, total, variables)
    if fields.natural(claim, "squares") != count:
        raise Rejected(f"there are {count} squares, not {claim['squares']}.")
    less = "" if bound == 0 else f" - ({short(bound)})"
    return [
        described(variables, p),
        f"p{less} is a sum of {count} squares with positive rational weights, exactly "
        f"(Gram blocks of {', '.join(map(str, sizes)) or 'no'} monomials)",
        f"so p >= {short(bound)} everywhere",
    ]
