"""Checker of `lab/measured`: a measured number and its interval follow from all its samples.

Establishes: n, value, low and high are those of the samples kept in the file.
Does not say: that the samples were honestly taken, or that another machine gives the same.

Three quantities. `accuracy`: Wilson's interval from one bit an example. `seconds`: the median
between two order statistics. `mean`: Student's interval over runs that differ in their seed.
"""

import math
from pathlib import Path
from statistics import NormalDist
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

STRENGTH = "measured"
CLAIM = (
    "quantity", "subject", "data", "note", "n", "value", "low", "high", "confidence", "tolerance",
)  # fmt: skip
WITNESS = ("correct", "labels_sha256", "samples", "seeds", "machine", "versions")
_OF_ACCURACY = {"correct", "labels_sha256"}
_CONFIDENCE = 0.95
_TOLERANCE = 1e-9  # the largest that a claim may ask for, relative to its largest sample


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    del folder  # nothing but the certificate is needed
    quantity = fields.text(claim, "quantity")
    subject, data = fields.text(claim, "subject"), fields.text(claim, "data")
    fields.text(claim, "note")
    fields.mapping(witness, "machine")
    fields.mapping(witness, "versions")
    n = fields.natural(claim, "n")
    if n == 0:
        raise Rejected("n is 0: nothing was measured.")
    if fields.number(claim, "confidence") != _CONFIDENCE:
        raise Rejected(f"the confidence is {claim['confidence']}, not {_CONFIDENCE}.")
    seeds = fields.items(witness, "seeds")
    if not all(type(seed) is int for seed in seeds):
        raise Rejected("a seed is not an integer.")
    if quantity == "accuracy":
        if set(witness) & {"samples"} or not set(witness) >= _OF_ACCURACY:
            raise Rejected("an accuracy is shown by the fields correct and labels_sha256 alone.")
        if len(seeds) != 1:
            raise Rejected(f"an accuracy is of one run, but {len(seeds)} seeds are given.")
        scale, expected = 1.0, _accuracy(witness, n)
        unit = "correct"
    elif quantity in {"seconds", "mean"}:
        if set(witness) & _OF_ACCURACY:
            raise Rejected(f"the quantity {quantity} is shown by the field samples alone.")
        samples = _samples(witness, n)
        if len(seeds) != n:
            raise Rejected(f"there are {n} samples but {len(seeds)} seeds.")
        scale = max(1.0, *(abs(v) for v in samples))
        if quantity == "seconds":
            if min(samples) <= 0:
                raise Rejected("a time is not positive.")
            expected = _median(samples)
            unit = "s, median"
        else:
            if n < 2 or len(set(seeds)) != n:
                raise Rejected("a mean over seeds needs at least 2 runs of different seeds.")
            expected = _student(samples)
            unit = "mean over seeds"
    else:
        raise Rejected(f"the quantity {quantity!r} is none of accuracy, seconds, mean.")
    tolerance = fields.number(claim, "tolerance")
    if not 0 <= tolerance <= _TOLERANCE * scale:
        raise Rejected(f"the tolerance {tolerance} is more than {_TOLERANCE * scale}.")
    for name, derived in zip(("value", "low", "high"), expected, strict=True):
        stated = fields.number(claim, name)
        if abs(stated - derived) > tolerance:
            raise Rejected(f"{name} is stated as {stated!r}, but the samples give {derived!r}.")
    value, low, high = expected
    return [f"{subject} on {data}: {value:.6g} {unit} [{low:.6g}, {high:.6g}], n = {n}"]


def _accuracy(witness: dict[str, Any], n: int) -> tuple[float, float, float]:
    packed = bytes.fromhex(fields.text(witness, "correct"))
    fields.digest(witness, "labels_sha256")
    if len(packed) != (n + 7) // 8:
        raise Rejected(f"n is {n}, but bits for {8 * len(packed)} examples are given.")
    bits = int.from_bytes(packed, "big")
    padding = 8 * len(packed) - n
    if bits & ((1 << padding) - 1):
        raise Rejected(f"a bit after the last of {n} examples is set.")
    hits = bits.bit_count()
    z = NormalDist().inv_cdf((1 + _CONFIDENCE) / 2)
    p = hits / n
    denominator = 1 + z * z / n
    centre = (p + z * z / (2 * n)) / denominator
    half = z / denominator * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    return p, max(0.0, centre - half), min(1.0, centre + half)


def _samples(witness: dict[str, Any], n: int) -> list[float]:
    values = fields.items(witness, "samples")
    if len(values) != n:
        raise Rejected(f"n is {n}, but {len(values)} samples are given.")
    return [fields.number({"a sample": v}, "a sample") for v in values]


def _median(samples: list[float]) -> tuple[float, float, float]:
    ordered = sorted(samples)
    n = len(ordered)
    outside = 0  # ways that at most r of n fair coins fall heads, for the largest fitting r
    best = 0
    for r in range((n + 1) // 2):
        outside += math.comb(n, r)
        # 1 - 2 outside / 2^n >= 19/20, in integers
        if r == 0 or 40 * outside <= 2**n:
            best = r
    middle = (ordered[(n - 1) // 2] + ordered[n // 2]) / 2
    return middle, ordered[best], ordered[n - 1 - best]


def _student(samples: list[float]) -> tuple[float, float, float]:
    n = len(samples)
    mean = math.fsum(samples) / n
    variance = math.fsum((v - mean) ** 2 for v in samples) / (n - 1)
    half = _quantile(n - 1) * math.sqrt(variance / n)
    return mean, mean - half, mean + half


def _quantile(freedom: int) -> float:
    """The two-sided 95 % point of Student's t, by bisection on its closed distribution."""
    low, high = 0.0, 20.0  # 12.706 at one degree of freedom is the largest
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if _inside(middle, freedom) < _CONFIDENCE else (low, middle)
    return (low + high) / 2


def _inside(t: float, freedom: int) -> float:
    """P(|T| <= t): the finite sums of Abramowitz and Stegun 26.7.3 and 26.7.4."""
    theta = math.atan(t / math.sqrt(freedom))
    cosine, sine = math.cos(theta), math.sin(theta)
    if freedom % 2:
        total, term = 0.0, cosine
        for k in range(1, freedom - 1, 2):
            total += term
            term *= cosine * cosine * (k + 1) / (k + 2)
        return 2 / math.pi * (theta + sine * total)
    total, term = 0.0, 1.0
    for k in range(0, freedom - 1, 2):
        total += term
        term *= cosine * cosine * (k + 1) / (k + 2)
    return sine * total
