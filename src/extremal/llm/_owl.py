"""OWL: blocks with more outlying scores keep more.

Notation: D_l is the share of scores of block l above m times their mean, s the wanted sparsity,
lambda how far a block may move from it.
Source: Yin et al., arXiv:2310.05175. Differs from it: where blocks differ in size one constant is
added to every ratio so that the whole model has the wanted sparsity.
"""

from collections.abc import Sequence
from fractions import Fraction

from torch import Tensor


def outlier_share(scores: Sequence[Tensor], m: float = 5.0) -> float:
    """Return which percentage of a block's scores exceeds `m` times their mean."""
    total = sum(s.numel() for s in scores)
    mean = sum(float(s.double().sum()) for s in scores) / total
    above = sum(int((s > m * mean).sum()) for s in scores)
    return 100.0 * above / total


def owl_sparsities(
    shares: Sequence[float],
    sparsity: float,
    *,
    spread: float = 0.08,
    sizes: Sequence[int] | None = None,
) -> list[float]:
    """Return a sparsity for each block.

    Args:
        shares: What `outlier_share` gave for each block.
        sparsity: Of the whole model.
        spread: Lambda: no block is further than twice this from another's.
        sizes: Weights of each block; equal ones by default.

    Example:
        >>> [round(s, 10) for s in owl_sparsities([1.0, 3.0, 2.0], 0.7)]
        [0.78, 0.62, 0.7]
    """
    low, high = min(shares), max(shares)
    weights = [1] * len(shares) if sizes is None else list(sizes)
    if high == low:
        return [float(sparsity)] * len(shares)
    lifted = [(d - low) * 2 * spread / (high - low) for d in shares]

    def clipped(shift: float) -> list[float]:
        return [min(1.0, max(0.0, 1.0 - (x + shift))) for x in lifted]

    def total(shift: float) -> float:
        whole = sum(w * s for w, s in zip(weights, clipped(shift), strict=True))
        return whole / sum(weights) - sparsity

    mean = sum(w * x for w, x in zip(weights, lifted, strict=True)) / sum(weights)
    shift = 1.0 - sparsity - mean
    if abs(total(shift)) > 1e-12:  # a ratio was clipped: bisect the constant
        below, above = -1.0, 1.0
        for _ in range(100):
            shift = (below + above) / 2
            below, above = (shift, above) if total(shift) > 0 else (below, shift)
    return clipped(shift)


def as_fraction(value: float) -> Fraction:
    """Return a sparsity with nine decimals, so that it can be written and checked exactly."""
    return Fraction(round(value * 10**9), 10**9)
