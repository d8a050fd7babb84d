"""Builders of `lab/measured`: a measured number leaves with every sample behind it.

Intervals have confidence 0.95: Wilson's for a rate, the distribution-free interval between two
order statistics for a median, Student's for a mean over seeds.
"""

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Int

from ._certificates import Part
from ._records import machine, versions

CONFIDENCE = 0.95
_TOLERANCE = 1e-9  # rounding of a few float64 operations; part of the claim


def accuracy_part(
    subject: str,
    correct: Bool[np.ndarray, " n"],
    labels: Int[np.ndarray, " n"],
    *,
    data: str,
    seed: int,
    note: str = "",
) -> Part:
    """Claim a rate of correct answers, example by example.

    Args:
        subject: What was measured, such as `"pruned model, 95 % sparse"`.
        correct: For each example of the data, whether the answer was right.
        labels: The true labels in the same order; only their SHA-256 is kept.
        data: Which examples, in words.
        seed: Of the run that made the subject.
        note: Whatever a reader of the number must know, for instance of the data's origin.

    Returns:
        A part of kind `lab/measured`.

    Raises:
        ValueError: There is no example, or the two arrays differ in length.
    """
    n = int(correct.size)
    if n == 0 or labels.shape != correct.shape:
        raise ValueError(
            f"an accuracy needs one label for each of its answers, got {n} answers and "
            f"{labels.size} labels."
        )
    hits = int(correct.sum())
    low, high = wilson(hits, n)
    return Part(
        "lab/measured",
        1,
        claim={
            "quantity": "accuracy",
            "subject": subject,
            "data": data,
            "note": note,
            "n": n,
            "value": hits / n,
            "low": low,
            "high": high,
            "confidence": CONFIDENCE,
            "tolerance": _TOLERANCE,
        },
        witness={
            "correct": np.packbits(correct).tobytes().hex(),
            "labels_sha256": hashlib.sha256(
                np.ascontiguousarray(labels, dtype="<i8").tobytes()
            ).hexdigest(),
            "seeds": [seed],
            "machine": machine(),
            "versions": versions(),
        },
    )


def timing_part(
    subject: str, seconds: Sequence[float], *, data: str, note: str = "", seed: int = 0
) -> Part:
    """Claim a median time; every repeat is kept, in order.

    Raises:
        ValueError: There is no sample, or one is not a positive finite number.
    """
    return _samples_part("seconds", subject, seconds, [seed] * len(seconds), data, note)


def seeds_part(subject: str, values: Mapping[int, float], *, data: str, note: str = "") -> Part:
    """Claim a mean over runs that differ in their seed alone.

    Args:
        subject: What was measured and its unit.
        values: The result of each seed.
        data: What it was measured on.
        note: Whatever a reader of the number must know.

    Raises:
        ValueError: There are fewer than two seeds (a mean without spread claims nothing), or a
            value is not finite.
    """
    if len(values) < 2:
        raise ValueError(f"a mean over seeds needs at least 2 of them, got {len(values)}.")
    return _samples_part("mean", subject, list(values.values()), list(values), data, note)


def _samples_part(
    quantity: str, subject: str, values: Sequence[float], seeds: list[int], data: str, note: str
) -> Part:
    samples = [float(v) for v in values]
    if not samples or not all(math.isfinite(v) for v in samples):
        raise ValueError(f"{subject}: samples must be finite and at least one, got {samples!r}.")
    if quantity == "seconds":
        if min(samples) <= 0:
            raise ValueError(f"{subject}: a time of {min(samples)} s is not positive.")
        value, low, high = _median(samples)
    else:
        value, low, high = _student(samples)
    return Part(
        "lab/measured",
        1,
        claim={
            "quantity": quantity,
            "subject": subject,
            "data": data,
            "note": note,
            "n": len(samples),
            "value": value,
            "low": low,
            "high": high,
            "confidence": CONFIDENCE,
            "tolerance": _TOLERANCE * max(1.0, *(abs(v) for v in samples)),
        },
        witness={
            "samples": samples,
            "seeds": seeds,
            "machine": machine(),
            "versions": versions(),
        },
    )


def wilson(hits: int, n: int, confidence: float = CONFIDENCE) -> tuple[float, float]:
    """Return Wilson's score interval for a rate.

    Source: E. B. Wilson, J. Amer. Statist. Assoc. 22 (1927) 209-212.

    Example:
        >>> tuple(round(x, 4) for x in wilson(9, 10))
        (0.5958, 0.9821)
    """
    from scipy.stats import norm

    z = float(norm.ppf(0.5 + confidence / 2))
    centre = (hits + z * z / 2) / (n + z * z)
    half = z / (n + z * z) * math.sqrt(hits * (n - hits) / n + z * z / 4)
    return max(0.0, centre - half), min(1.0, centre + half)


def _median(samples: list[float]) -> tuple[float, float, float]:
    """The sample median between the widest-needed pair of order statistics.

    The interval from the (r+1)-th smallest to the (r+1)-th largest covers the median with
    probability 1 - 2 P(Bin(n, 1/2) <= r); r is the largest that keeps `CONFIDENCE`. Where even
    the extremes do not reach it (n <= 5), they are given.
    """
    from scipy.stats import binom

    ordered = sorted(samples)
    n = len(ordered)
    r = 0
    while r + 1 < (n + 1) // 2 and 1 - 2 * float(binom.cdf(r + 1, n, 0.5)) >= CONFIDENCE:
        r += 1
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle, ordered[r], ordered[n - 1 - r]


def _student(samples: list[float]) -> tuple[float, float, float]:
    from scipy.stats import t

    n = len(samples)
    mean = math.fsum(samples) / n
    deviation = math.sqrt(math.fsum((v - mean) ** 2 for v in samples) / (n - 1))
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1)) * deviation / math.sqrt(n)
    return mean, mean - half, mean + half


def describe(part: Part) -> dict[str, Any]:
    """Return value, interval and n of a measured part, for tables and records."""
    claim = part.claim
    return {k: claim[k] for k in ("subject", "value", "low", "high", "n")}
