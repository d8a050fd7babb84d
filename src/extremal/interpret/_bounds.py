"""What completeness and soundness say about precision: the theorems, in floats or fractions.

Notation: e_c, e_s errors of completeness and soundness; kappa asymmetric feature correlation;
alpha relative success rate; B class imbalance; pi_l the share of class l; H_b binary entropy.
Source: arXiv:2206.00759. Differs from it: the per-class form (ours; one class against the rest, so
it holds for any number of classes) stands beside the main form, and nobody convinced means 0, not
NaN.
"""

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import TypeVar, cast

Number = TypeVar("Number", float, Fraction)
KAPPAS = (1.0, 2.0, 5.0, 10.0)
ALPHAS = (1.0, 0.5, 0.1)


def main_bound(e_c: Number, e_s: Number, kappa: Number, alpha: Number, imbalance: Number) -> Number:
    """Return the main theorem's lower bound of the average precision of two classes.

    Args:
        e_c: The larger completeness error of the two classes, in [0, 1].
        e_s: The larger soundness error, in [0, 1].
        kappa: At least 1.
        alpha: Over 0.
        imbalance: B, the larger share over the smaller, at least 1.

    Returns:
        The bound, at least 0; fractions give a fraction.

    Raises:
        ValueError: A number is out of its range.

    Example:
        >>> round(main_bound(0.02, 0.03, 2.0, 0.5, 1.5), 6)
        0.866792
    """
    for name, error in (("completeness error", e_c), ("soundness error", e_s)):
        if not 0 <= error <= 1:
            raise ValueError(f"a {name} of {error} is no probability; give a number in [0, 1].")
    check_assumptions(float(kappa), float(alpha))
    if not imbalance >= 1:
        raise ValueError(f"class imbalance B={imbalance} is below 1; it is max over min share.")
    zero = cast("Number", e_c * 0)
    weight = kappa * e_s / alpha
    below = 1 - e_c + weight / imbalance
    if below == 0:
        return zero  # Arthur is never convinced, so nothing is shown
    return max(zero, 1 - e_c - weight / below)


def class_term(e_c: Number, e_s: Number, kappa: Number, alpha: Number, share: Number) -> Number:
    """Return the lower bound of the precision on one class, from its own two errors.

    It is 1 - e_c - r / (1 + r) with r = (1 - pi) / pi * kappa * e_s / (alpha (1 - e_c)): the worst
    case of the sharper form, in which all points of the class contain a feature that convinces.
    """
    zero = cast("Number", e_c * 0)
    weight = (1 - share) * kappa * e_s / alpha
    below = share * (1 - e_c) + weight
    if below == 0:
        return zero
    return max(zero, 1 - e_c - weight / below)


def class_bound(
    e_c: Sequence[Number], e_s: Sequence[Number], kappa: Number, alpha: Number,
    shares: Sequence[Number],
) -> Number:  # fmt: skip
    """Return the per-class bound: each class against the rest, weighted by its share.

    Args:
        e_c: For each class, how often Merlin fails to convince on its points.
        e_s: For each class l, how often a point of another class is taken for l.
        kappa: At least 1.
        alpha: Over 0.
        shares: Of the classes; they may add up to less than 1, the rest counting nothing.

    Returns:
        The bound, at least 0. It is never below `main_bound` of the largest errors.
    """
    check_assumptions(float(kappa), float(alpha))
    total = cast("Number", shares[0] * 0)
    for c, s, share in zip(e_c, e_s, shares, strict=True):
        total = cast("Number", total + share * class_term(c, s, kappa, alpha, share))
    return total


def check_assumptions(kappa: float, alpha: float) -> None:
    """Refuse an impossible kappa or alpha."""
    if not 1 <= kappa < math.inf:
        raise ValueError(f"kappa={kappa} is impossible: a single feature gives 1; choose >= 1.")
    if not 0 < alpha < math.inf:
        raise ValueError(f"alpha={alpha} is impossible: it is a ratio of rates; choose > 0.")


def binary_entropy(p: float) -> float:
    """Return H_b(p) in bits."""
    return sum(-x * math.log2(x) for x in (p, 1 - p) if x > 0)


def entropy(shares: Sequence[float]) -> float:
    """Return the entropy of a distribution in bits."""
    return sum(-x * math.log2(x) for x in shares if x > 0)


def information_bound(precision: float, shares: Sequence[float]) -> float:
    """Return a lower bound, in bits, of what the features say about the class on average.

    Args:
        precision: The average precision or a lower bound of it.
        shares: Of the classes. Two classes use H_b, more use Fano's inequality.

    Returns:
        H(class) minus the largest entropy left. With unequal shares it may be negative, and so may
        the truth: what is shown can leave more doubt than there was, so it is not raised to 0.

    Example:
        >>> round(information_bound(0.950297, [0.5, 0.5]), 4)
        0.7149
    """
    n = len(shares)
    p = max(1 / n, min(1.0, precision))  # the entropy falls on [1/n, 1] only
    left = binary_entropy(p) + (1 - p) * math.log2(max(1, n - 1))
    return entropy(shares) - left


def chance(shares: Sequence[float]) -> float:
    """Return the precision of showing nothing: the sum of the squared shares."""
    return sum(x * x for x in shares)
