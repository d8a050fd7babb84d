"""Certificates of this area; the checkers share no code with it."""

import hashlib
import json
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

from extremal.lab import Part

from ._exact import ExactBlock
from ._polynomial import Polynomial, written
from ._refute import Refutation


def _claim(p: Polynomial, **fields: Any) -> dict[str, Any]:
    claim = {"variables": list(p.variables), "polynomial": p.as_json(), **fields}
    text = json.dumps(claim, sort_keys=True, separators=(",", ":"))
    return {**claim, "sha256": hashlib.sha256(text.encode()).hexdigest()}


def block_json(p: Polynomial, block: ExactBlock) -> dict[str, Any]:
    """Return a block as in certificates: monomials, and rows of the upper triangle."""
    n = len(block.rows)
    return {
        "monomials": [written(p.variables, m) for m in block.rows.tolist()],
        "gram": [" ".join(block.text(i, j) for j in range(i, n)) for i in range(n)],
    }


def rank(blocks: Sequence[ExactBlock]) -> int:
    """Return how many squares exact blocks have."""
    return sum(len(b.rows) if b.definite else len(b.pivots) for b in blocks)


def gram_part(p: Polynomial, blocks: Sequence[ExactBlock], bound: Fraction = Fraction(0)) -> Part:
    """Return the certificate that p - bound is the sum of the blocks."""
    claim = _claim(p, bound=str(bound), squares=rank(blocks))
    return Part("sos/gram", 1, claim, {"blocks": [block_json(p, b) for b in blocks]})


def multiplier_part(p: Polynomial, form: str, power: int, blocks: Sequence[ExactBlock]) -> Part:
    """Return the certificate that p times a power of a positive form is the sum of the blocks."""
    claim = _claim(p, multiplier=form, power=power, squares=rank(blocks))
    return Part("sos/multiplier", 1, claim, {"blocks": [block_json(p, b) for b in blocks]})


def negative_part(p: Polynomial, point: Sequence[Fraction], bound: Fraction = Fraction(0)) -> Part:
    """Return the certificate that p is below the bound at a point."""
    claim = _claim(p, bound=str(bound), value=str(p(point)))
    return Part("sos/negative", 1, claim, {"point": [str(x) for x in point]})


def putinar_part(
    p: Polynomial,
    constraints: Sequence[Polynomial],
    bound: Fraction,
    blocks: Sequence[tuple[int | None, ExactBlock]],
) -> Part:
    """Return the certificate that p - bound is a sum of blocks times constraints."""
    claim = _claim(
        p,
        constraints=[g.as_json() for g in constraints],
        bound=str(bound),
        squares=rank([b for _, b in blocks]),
    )
    witness = [
        {**block_json(p, b), **({} if times is None else {"times": times})} for times, b in blocks
    ]
    return Part("sos/putinar", 1, claim, {"blocks": witness})


def refutation_part(p: Polynomial, found: Refutation, bound: Fraction = Fraction(0)) -> Part:
    """Return the certificate that p - bound is no sum of squares."""
    claim = _claim(p, bound=str(bound), monomials=found.monomials)
    functional = {written(p.variables, m): str(v) for m, v in found.functional.items()}
    halfspaces = [" ".join(map(str, w)) for w in found.normals.tolist()]
    return Part("sos/refutation", 1, claim, {"halfspaces": halfspaces, "functional": functional})
