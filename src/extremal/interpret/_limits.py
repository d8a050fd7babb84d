"""Confidence limits of a rate: Clopper-Pearson, with Hoeffding beside it for comparison."""

import math

from ._errors import TooFewSamples


def upper_limit(successes: int, n: int, delta: float) -> float:
    """Return the one-sided Clopper-Pearson upper limit of a rate.

    Args:
        successes: 0..n.
        n: At least 1.
        delta: The chance that the true rate is above the limit is at most this; in (0, 1).

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> round(upper_limit(5, 100, 0.05), 7)
        0.1022534
    """
    _check(successes, n, delta)
    if successes == n:
        return 1.0
    from scipy.stats import beta

    return float(beta.ppf(1 - delta, successes + 1, n - successes))


def lower_limit(successes: int, n: int, delta: float) -> float:
    """Return the one-sided Clopper-Pearson lower limit of a rate; arguments as `upper_limit`."""
    _check(successes, n, delta)
    if successes == 0:
        return 0.0
    from scipy.stats import beta

    return float(beta.ppf(delta, successes, n - successes + 1))


def hoeffding(successes: int, n: int, delta: float) -> float:
    """Return Hoeffding's upper limit, much wider near 0; for comparison only."""
    _check(successes, n, delta)
    return min(1.0, successes / n + math.sqrt(math.log(1 / delta) / (2 * n)))


def check_delta(delta: float) -> None:
    """Refuse a level outside (0, 1)."""
    if not 0 < delta < 1:
        raise ValueError(
            f"delta={delta} is no level; choose 0 < delta < 1, that is a confidence 1 - delta "
            "between 0 and 1, such as 0.95."
        )


def check_sizes(sizes: list[int], delta: float, shares: list[float], kappa: float, alpha: float,
                shift: float) -> None:  # fmt: skip
    """Refuse so few rows that even a perfect audit would give a bound of at most chance.

    Raises:
        TooFewSamples: The text says how many rows of each class are needed.
    """
    from ._bounds import chance, class_bound

    level = delta / (2 * len(sizes))

    def reached(counts: list[int]) -> bool:
        best = [min(1.0, 1 - level ** (1 / n) + shift) for n in counts]
        return class_bound(best, best, kappa, alpha, shares) > chance(shares)

    if reached(sizes):
        return
    needed = 1
    while not reached([needed] * len(sizes)):
        needed *= 2
        if needed > 10**9:
            raise TooFewSamples(
                f"with kappa={kappa}, alpha={alpha} and shift={shift} no number of rows gives a "
                "bound above chance; weaken an assumption."
            )
    low = needed // 2
    while needed - low > 1:
        middle = (low + needed) // 2
        low, needed = (low, middle) if reached([middle] * len(sizes)) else (middle, needed)
    raise TooFewSamples(
        f"the audit has {min(sizes)} rows of the rarest class; at confidence {1 - delta:g} even "
        f"without one failure the bound would not exceed chance. At least {needed} rows of each "
        "class are needed: audit more, or lower the confidence."
    )


def _check(successes: int, n: int, delta: float) -> None:
    check_delta(delta)
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"{successes} of {n} is no count of successes; n is at least 1.")
