"""Checker of `interpret/guarantee`: precision of shown features, from counted successes.

Establishes: counts, limits, bounds, verdict and every precision follow from the stored masks,
answers and codes; Morgana replayed everything that convinced.
Does not say: that the answers were honestly taken, or that no stronger Morgana exists.

Notation: C classes, n rows, d units; e_c, e_s errors of completeness and soundness.
"""

import math
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from . import _tensor_file as tensors

KIND = "interpret/guarantee"
STRENGTH = "measured"
CLAIM = (
    "subject", "data", "note", "classes", "n", "units", "smallest", "k", "confidence", "kappa",
    "alpha", "shift", "priors", "shares", "attacks", "counts", "limits", "bounds", "grid", "direct",
    "reference", "population", "deployment", "reader", "chance", "verdict", "tolerance",
    "audit_sha256",
)  # fmt: skip
WITNESS = ("audit", "seeds", "settings", "machine", "versions")
_TOLERANCE = 1e-9
_TYPES = {"I64": "<i8", "I32": "<i4", "I16": "<i2", "U8": "<u1", "F64": "<f8"}
_GRID = [(k, a) for k in (1.0, 2.0, 5.0, 10.0) for a in (1.0, 0.5, 0.1)]
Arrays = dict[str, np.ndarray]


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    for name in ("subject", "data", "note"):
        fields.text(claim, name)
    for name in ("machine", "versions", "settings"):
        fields.mapping(witness, name)
    if not all(type(seed) is int for seed in fields.items(witness, "seeds")):
        raise Rejected("a seed is not an integer.")
    tolerance = fields.number(claim, "tolerance")
    if not 0 <= tolerance <= _TOLERANCE:
        raise Rejected(f"the tolerance {tolerance} is more than {_TOLERANCE}.")
    same = _Same(tolerance)
    confidence = fields.number(claim, "confidence")
    if not 0 < confidence < 1:
        raise Rejected(f"the confidence {confidence} is not between 0 and 1.")
    a = _arrays(claim, witness, folder)
    _replayed(claim, a)
    counts = _counts(a, len(claim["classes"]))
    same.all("counts", claim["counts"], counts)
    size = [int(v) for v in np.bincount(a["labels"], minlength=len(claim["classes"]))]
    same.all("n", claim["n"], size)
    shares, levels = _shares(claim, size, same)
    limits = _limits(claim, counts, size, levels["rate"], same)
    bounds = _bounds(claim, limits, shares, levels["two_sided"], size)
    same.all("bounds", claim["bounds"], bounds)
    grid = [[k, x, _certified(limits, shares, k, x, size, levels["two_sided"])] for k, x in _GRID]
    same.all("grid", claim["grid"], grid)
    chance = math.fsum(s * s for s in shares)
    same.all("chance", claim["chance"], chance)
    verdict = "certified" if bounds["certified"] > chance else "vacuous"
    if claim["verdict"] != verdict:
        raise Rejected(f"the verdict is stated as {claim['verdict']!r}, derived {verdict!r}.")
    _direct(claim, a, 1 - confidence, same)
    _reference(claim, a, 1 - confidence, same)
    same.all("population", claim["population"], _population(a, size))
    same.all("deployment", claim["deployment"], _deployment(a, len(size)))
    _reader(claim, a, same)
    return _said(claim, size, bounds)


def _said(claim: dict[str, Any], size: list[int], bounds: dict[str, Any]) -> list[str]:
    said = [
        f"{claim['verdict'].upper()}: {claim['subject']} on {claim['data']}, n = {sum(size)}",
        f"precision >= {bounds['certified']:.6g} at confidence {claim['confidence']} if "
        f"kappa <= {claim['kappa']:g} and alpha >= {claim['alpha']:g}; "
        f"showing nothing gives {claim['chance']:.4g}",
        f"soundness against {', '.join(claim['attacks'])}; every replay was counted",
    ]
    if bounds["strict"] is not None:
        said.append(f"with the frozen catalogue alpha >= 1 is proved: {bounds['strict']:.6g}")
    if claim["direct"] is not None:
        said.append(
            f"directly, without kappa and alpha: precision >= {claim['direct']['lower']:.6g} "
            f"({claim['direct']['successes']} of {claim['direct']['n']} rows)"
        )
    return said


class _Same:
    """Compares what is stated with what was derived, number by number."""

    def __init__(self, tolerance: float) -> None:
        self.tolerance = tolerance

    def all(self, where: str, stated: Any, derived: Any) -> None:
        if isinstance(derived, dict):
            if not isinstance(stated, dict) or set(stated) != set(derived):
                raise Rejected(f"{where} does not have the fields {sorted(derived)}.")
            for name, value in derived.items():
                self.all(f"{where}.{name}", stated[name], value)
        elif isinstance(derived, list):
            if not isinstance(stated, list) or len(stated) != len(derived):
                raise Rejected(f"{where} is not a list of {len(derived)}.")
            for i, value in enumerate(derived):
                self.all(f"{where}[{i}]", stated[i], value)
        elif derived is None:
            if stated is not None:
                raise Rejected(f"{where} is stated as {stated!r}, but there is none.")
        elif type(derived) is int:
            if type(stated) is not int or stated != derived:
                raise Rejected(f"{where} is stated as {stated!r}, counted {derived}.")
        else:
            value = fields.number({where: stated}, where)
            if abs(value - derived) > self.tolerance:
                raise Rejected(f"{where} is stated as {value!r}, derived {derived!r}.")


def _arrays(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> Arrays:
    file = tensors.hashed(claim, witness, folder, "audit")
    header = tensors.header(file)
    a: Arrays = {}
    for name, entry in header.items():
        if entry[0] not in _TYPES:
            raise Rejected(f"the array {name} is {entry[0]}, none of {', '.join(_TYPES)}.")
        a[name] = tensors.array(file, entry, _TYPES[entry[0]])
    names = fields.items(claim, "classes")
    d, k, many = fields.natural(claim, "units"), fields.natural(claim, "k"), len(names)
    least = fields.natural(claim, "smallest")
    if many < 2 or not 1 <= least <= k <= d:
        raise Rejected(f"{many} classes and {k} of {d} units are no audit.")
    n = len(a["labels"])
    width = (d + 7) // 8
    rows, pool = len(a["reference_labels"]), len(a["catalogue_class"])
    shapes = {
        "labels": (n,), "codes": (n, d), "merlin_mask": (n, width), "merlin_answer": (n,),
        "in_catalogue": (n,), "morgana_mask": (n, many, width), "fooled_by": (n, many),
        "catalogue_mask": (pool, width), "catalogue_codes": (pool, d), "catalogue_class": (pool,),
        "reference_codes": (rows, d), "reference_labels": (rows,), "matches": (n,), "agrees": (n,),
        "low": (n,), "high": (n,), "deployed": (n,), "read": (n,),
    }  # fmt: skip
    if set(a) != set(shapes):
        raise Rejected(f"the arrays are {sorted(a)}, not {sorted(shapes)}.")
    for name, shape in shapes.items():
        if a[name].shape != shape:
            raise Rejected(f"the array {name} has shape {a[name].shape}, not {shape}.")
    for name, low in (("labels", 0), ("reference_labels", 0), ("catalogue_class", 0),
                      ("merlin_answer", -1), ("deployed", -1), ("read", -1)):  # fmt: skip
        _within(name, a[name], low, many - 1)
    _within("in_catalogue", a["in_catalogue"], 0, 1)
    if len(set(a["labels"].tolist())) != many:
        raise Rejected("a class has no audited row.")
    for name in ("merlin_mask", "morgana_mask", "catalogue_mask"):
        a[name] = _unpacked(name, a[name], d)
    shown = a["merlin_mask"].sum(-1)
    if shown.size and (shown.min() < least or shown.max() > k):
        raise Rejected(f"Merlin shows {shown.min()} to {shown.max()} units, not {least} to {k}.")
    hers = a["morgana_mask"].sum(-1)
    fooled = a["fooled_by"] != 0
    if (hers[fooled] < least).any() or (hers[fooled] > k).any() or hers[~fooled].any():
        raise Rejected(
            f"a mask of Morgana does not show {least} to {k} units where she succeeds alone."
        )
    attacks = fields.items(claim, "attacks")
    if "replay" not in attacks or len(set(attacks)) != len(attacks):
        raise Rejected("replay is not among the attacks, or one is listed twice.")
    if (a["fooled_by"] >> len(attacks)).any() or (a["fooled_by"] < 0).any():
        raise Rejected("a row is fooled by an attack that is not listed.")
    if fooled[np.arange(n), a["labels"]].any():
        raise Rejected("a row counts as fooled into its own class.")
    return a


def _within(name: str, values: np.ndarray, low: int, high: int) -> None:
    if values.size and (values.min() < low or values.max() > high):
        raise Rejected(f"{name} is not everywhere from {low} to {high}.")


def _unpacked(name: str, packed: np.ndarray, d: int) -> np.ndarray:
    wide = np.unpackbits(packed, axis=-1).astype(bool)
    if wide[..., d:].any():
        raise Rejected(f"{name} shows a unit beyond the last of {d}.")
    return wide[..., :d]


def _contains(codes: np.ndarray, mask: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Which rows agree with a feature."""
    at = np.flatnonzero(mask)
    return (codes[:, at] == values[at]).all(1)


def _distinct(mask: np.ndarray, codes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """One row for each feature, and which of them each row has."""
    hidden = np.where(mask, codes.astype(np.int64), -1)
    _, first, which = np.unique(hidden, axis=0, return_index=True, return_inverse=True)
    return first, which.reshape(-1)


def _replayed(claim: dict[str, Any], a: Arrays) -> None:
    bit = 1 << claim["attacks"].index("replay")
    hit = a["merlin_answer"] == a["labels"]
    masks = np.concatenate([a["merlin_mask"][hit], a["catalogue_mask"]])
    codes = np.concatenate([a["codes"][hit].astype(np.int64), a["catalogue_codes"]])
    classes = np.concatenate([a["labels"][hit], a["catalogue_class"]])
    for i in _distinct_of_class(masks, codes, classes):
        klass = int(classes[i])
        rows = _contains(a["codes"], masks[i], codes[i]) & (a["labels"] != klass)
        if (a["fooled_by"][rows, klass] & bit == 0).any():
            raise Rejected(
                f"a row contains a feature that convinced Arthur of class {klass}, but does not "
                "count as fooled by replay."
            )
    inside = np.zeros(len(a["labels"]), bool)
    known = {
        (int(c), *np.where(m, v, -1).tolist())
        for c, m, v in zip(
            a["catalogue_class"], a["catalogue_mask"], a["catalogue_codes"], strict=True
        )
    }
    for i in np.flatnonzero(hit):
        shown = np.where(a["merlin_mask"][i], a["codes"][i].astype(np.int64), -1)
        inside[i] = (int(a["labels"][i]), *shown.tolist()) in known
    if (inside != a["in_catalogue"].astype(bool)).any():
        raise Rejected("in_catalogue is not what the catalogue holds.")


def _distinct_of_class(masks: np.ndarray, codes: np.ndarray, classes: np.ndarray) -> list[int]:
    if not len(classes):
        return []
    hidden = np.column_stack([classes, np.where(masks, codes, -1)])
    return np.unique(hidden, axis=0, return_index=True)[1].tolist()


def _counts(a: Arrays, many: int) -> dict[str, list[int]]:
    labels, fooled = a["labels"], a["fooled_by"] != 0
    failed = a["merlin_answer"] != labels
    strict = failed | (a["in_catalogue"] == 0)
    return {
        "merlin_failures": [int((failed & (labels == klass)).sum()) for klass in range(many)],
        "strict_failures": [int((strict & (labels == klass)).sum()) for klass in range(many)],
        "fooled": [int((fooled[:, klass] & (labels != klass)).sum()) for klass in range(many)],
        "fooled_any": [int(fooled[labels == klass].any(1).sum()) for klass in range(many)],
    }


def _shares(
    claim: dict[str, Any], size: list[int], same: _Same
) -> tuple[list[float], dict[str, float]]:
    """The shares of the classes and how delta is split."""
    delta, many = 1 - claim["confidence"], len(size)
    shares = [fields.number({"share": s}, "share") for s in fields.items(claim, "shares")]
    if len(shares) != many or min(shares) <= 0 or abs(math.fsum(shares) - 1) > 1e-9:
        raise Rejected("the shares are not positive numbers that add up to 1, one a class.")
    if fields.text(claim, "priors") == "given":
        return shares, {"rate": delta / (2 * many), "two_sided": 0.0}
    if claim["priors"] != "estimated":
        raise Rejected(f"priors is {claim['priors']!r}, neither given nor estimated.")
    same.all("shares", shares, [m / sum(size) for m in size])
    events = 2 * many + (1 if many == 2 else many)
    return shares, {"rate": delta / events, "two_sided": delta / events}


def _limits(
    claim: dict[str, Any], counts: dict[str, list[int]], size: list[int], level: float, same: _Same
) -> dict[str, list[float]]:
    shift = fields.number(claim, "shift")
    if not 0 <= shift < 1:
        raise Rejected(f"the shift {shift} is not in [0, 1).")
    stated = fields.mapping(claim, "limits")
    names = {
        "completeness_error": ("merlin_failures", size),
        "strict_completeness_error": ("strict_failures", size),
        "soundness_error": ("fooled", [sum(size) - m for m in size]),
    }
    if set(stated) != set(names):
        raise Rejected(f"limits does not have the fields {sorted(names)}.")
    for name, (count, sizes) in names.items():
        derived = [
            min(1.0, upper(s, m, level) + shift) for s, m in zip(counts[count], sizes, strict=True)
        ]
        same.all(f"limits.{name}", stated[name], derived)
    return stated


def _bounds(
    claim: dict[str, Any], limits: dict[str, list[float]], shares: list[float], two: float,
    size: list[int],
) -> dict[str, Any]:  # fmt: skip
    kappa, alpha = fields.number(claim, "kappa"), fields.number(claim, "alpha")
    if kappa < 1 or alpha <= 0:
        raise Rejected(f"kappa={kappa} or alpha={alpha} is impossible.")
    low = _low(shares, size, two)
    main = None
    if len(shares) == 2:
        main = _main(limits, shares, kappa, alpha, size, two)
    each = _each(limits["completeness_error"], limits["soundness_error"], low, kappa, alpha)
    strict = None
    if any(claim["counts"]["strict_failures"][klass] < m for klass, m in enumerate(size)):
        strict = _each(
            limits["strict_completeness_error"], limits["soundness_error"], low, kappa, 1.0
        )
    certified = max(each, main or 0.0)
    many = len(shares)
    p = max(1 / many, certified)
    left = sum(-x * math.log2(x) for x in (p, 1 - p) if x > 0) + (1 - p) * math.log2(
        max(1, many - 1)
    )
    whole = -math.fsum(s * math.log2(s) for s in shares)
    return {
        "main": main, "per_class": each, "strict": strict, "certified": certified,
        "information": whole - left,
    }  # fmt: skip


def _certified(
    limits: dict[str, list[float]], shares: list[float], kappa: float, alpha: float,
    size: list[int], two: float,
) -> float:  # fmt: skip
    low = _low(shares, size, two)
    each = _each(limits["completeness_error"], limits["soundness_error"], low, kappa, alpha)
    if len(shares) != 2:
        return each
    return max(each, _main(limits, shares, kappa, alpha, size, two))


def _low(shares: list[float], size: list[int], two: float) -> list[float]:
    if not two:
        return shares
    return [lower(m, sum(size), two / 2) for m in size]


def _main(
    limits: dict[str, list[float]], shares: list[float], kappa: float, alpha: float,
    size: list[int], two: float,
) -> float:  # fmt: skip
    """The main theorem with the largest errors and the largest imbalance."""
    ends = [shares[0]] if not two else [
        lower(size[0], sum(size), two / 2), upper(size[0], sum(size), two / 2)
    ]  # fmt: skip
    imbalance = max(max(p, 1 - p) / min(p, 1 - p) if 0 < p < 1 else math.inf for p in ends)
    e_c, e_s = max(limits["completeness_error"]), max(limits["soundness_error"])
    x = kappa / alpha * e_s
    below = 1 - e_c + x / imbalance
    return max(0.0, 1 - e_c - x / below) if below > 0 else 0.0


def _each(
    e_c: list[float], e_s: list[float], shares: list[float], kappa: float, alpha: float
) -> float:
    """The sum over classes of pi (1 - e_c - r / (1 + r)), r the odds against the class."""
    total = 0.0
    for c, s, share in zip(e_c, e_s, shares, strict=True):
        if c >= 1 or share == 0:
            continue
        r = (1 - share) / share * kappa * s / (alpha * (1 - c))
        total += share * max(0.0, 1 - c - r / (1 + r))
    return total


def _direct(claim: dict[str, Any], a: Arrays, delta: float, same: _Same) -> None:
    stated = claim["direct"]
    if stated is None:
        return
    chunk, n = fields.natural(stated, "chunk"), fields.natural(stated, "n")
    if not 1 <= n <= len(a["labels"]) or chunk < 1 or n * chunk > len(a["reference_labels"]):
        raise Rejected(f"{n} chunks of {chunk} reference rows do not exist for the audited rows.")
    hits = 0
    for i in range(n):
        rows = slice(i * chunk, (i + 1) * chunk)
        inside = _contains(a["reference_codes"][rows], a["merlin_mask"][i], a["codes"][i])
        if inside.any():
            hits += int(a["reference_labels"][rows][inside.argmax()] == a["labels"][i])
    derived = {"chunk": chunk, "n": n, "successes": hits, "lower": lower(hits, n, delta)}
    same.all("direct", stated, derived)


def _reference(claim: dict[str, Any], a: Arrays, delta: float, same: _Same) -> None:
    n, many = len(a["labels"]), len(claim["classes"])
    first, which = _distinct(a["merlin_mask"], a["codes"])
    found = np.zeros((len(first), many), np.int64)
    for j, i in enumerate(first):
        inside = _contains(a["reference_codes"], a["merlin_mask"][i], a["codes"][i])
        found[j] = np.bincount(a["reference_labels"][inside], minlength=many)
    counted = found[which]
    m, s = counted.sum(1), counted[np.arange(n), a["labels"]]
    if (m != a["matches"]).any() or (s != a["agrees"]).any():
        raise Rejected("the matches in the reference pool are not as counted.")
    for p, successes, sign in ((a["low"], s, 1), (a["high"], m - s, -1)):
        limit = p if sign > 0 else 1 - p  # an upper limit of hits is a lower one of misses
        end = successes == 0
        if limit[end].any():
            raise Rejected("an explanation without evidence has a limit that is not trivial.")
        if not ((limit > 0) & (limit < 1))[~end].all():
            raise Rejected("a limit of an explanation lies outside (0, 1).")
        # P(Bin(m, low) >= s) = delta / 2
        triples = {
            (int(h), int(t), float(v))
            for h, t, v in zip(successes[~end], m[~end], limit[~end], strict=True)
        }
        tails = [incomplete_beta(h, t - h + 1, v) for h, t, v in triples]
        if any(abs(tail - delta / 2) > 1e-8 for tail in tails):
            raise Rejected("a limit of an explanation is not that of Clopper and Pearson.")
    seen = m > 0
    shares = counted[seen] / m[seen, None]
    bits = -(shares * np.log2(np.where(shares > 0, shares, 1))).sum(1)
    derived: dict[str, Any] = {
        "n": len(a["reference_labels"]),
        "precision": float((s[seen] / m[seen]).mean()) if seen.any() else None,
        "entropy": float(bits.mean()) if seen.any() else None,
        "support": float(m.mean()),
        "no_evidence": int((~seen).sum()),
    }
    same.all("reference", claim["reference"], derived)


def _population(a: Arrays, size: list[int]) -> dict[str, Any]:
    """Everything exact on the audited rows taken as the whole world."""
    labels, n, many = a["labels"], len(a["labels"]), len(size)
    first, which = _distinct(a["merlin_mask"], a["codes"])
    by_class = np.zeros((len(first), many), np.int64)
    hit = a["merlin_answer"] == labels
    terms, kappas, rates, total = [], [], [], 0.0
    rows_of = [_contains(a["codes"], a["merlin_mask"][i], a["codes"][i]) for i in first]
    for j, rows in enumerate(rows_of):
        by_class[j] = np.bincount(labels[rows], minlength=many)
    precision = (by_class[which][np.arange(n), labels] / by_class[which].sum(1)).mean()
    fooled = a["fooled_by"] != 0
    for klass in range(many):
        used = sorted(set(which[hit & (labels == klass)].tolist()))
        own, share = labels == klass, size[klass] / n
        e_c = 1 - float(hit[own].mean())
        terms.append((e_c, float(fooled[~own, klass].mean())))
        reached = np.zeros(n, bool)
        best = np.zeros(n)
        for j in used:
            ratio = (by_class[j].sum() - by_class[j, klass]) / by_class[j, klass]
            reached |= rows_of[j]
            best = np.where(rows_of[j], np.maximum(best, ratio), best)
        outside = int((reached & ~own).sum())
        kappa = float(best[own & reached].sum() / outside) if outside else 1.0
        kappas.append(kappa)
        if not used:
            continue
        mine = int((reached & own).sum())
        if outside:
            hers = (fooled[:, klass] & reached & ~own).sum() / outside
            rates.append(float(hers / ((hit & own & reached).sum() / mine)))
        rho = (outside / (n - size[klass])) / (mine / size[klass])
        r = (1 - share) / share * kappa * rho
        total += share * (1 - e_c - mine / size[klass] * r / (1 + r))
    return {
        "precision": float(precision),
        "completeness_error": [t[0] for t in terms],
        "soundness_error": [t[1] for t in terms],
        "strategy_kappa": kappas,
        "alpha": min(rates) if rates else None,
        "per_class": max(0.0, total),
    }


def _deployment(a: Arrays, many: int) -> dict[str, list[int]]:
    labels, given = a["labels"], a["deployed"]
    return {
        "right": [int((given == klass)[labels == klass].sum()) for klass in range(many)],
        "wrong": [
            int(((given != klass) & (given >= 0))[labels == klass].sum()) for klass in range(many)
        ],
        "abstained": [int((given < 0)[labels == klass].sum()) for klass in range(many)],
    }


def _reader(claim: dict[str, Any], a: Arrays, same: _Same) -> None:
    stated = fields.mapping(claim, "reader")
    right = int((a["read"] == a["labels"]).sum())
    same.all(
        "reader", {k: v for k, v in stated.items() if k != "name"},
        {"right": right, "n": len(a["labels"])},
    )  # fmt: skip
    fields.text(stated, "name")


# Clopper-Pearson by bisection on the incomplete beta function.


def upper(s: int, n: int, delta: float) -> float:
    """The u with P(Bin(n, u) <= s) = delta."""
    return 1.0 if s == n else 1 - _root(n - s, s + 1, delta)


def lower(s: int, n: int, delta: float) -> float:
    """The v with P(Bin(n, v) >= s) = delta."""
    return 0.0 if s == 0 else _root(s, n - s + 1, delta)


def _root(a: int, b: int, level: float) -> float:
    """The x with I_x(a, b) = level."""
    low, high = 0.0, 1.0
    for _ in range(100):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        low, high = (middle, high) if incomplete_beta(a, b, middle) < level else (low, middle)
    return (low + high) / 2


def incomplete_beta(a: int, b: int, x: float) -> float:
    """I_x(a, b) by Lentz' evaluation of its continued fraction (Abramowitz and Stegun 26.5.8)."""
    if x <= 0 or x >= 1:
        return float(x >= 1)
    if x > (a + 1) / (a + b + 2):  # the fraction converges fast below the mean
        return 1 - incomplete_beta(b, a, 1 - x)
    front = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    front = math.exp(front + a * math.log(x) + b * math.log1p(-x)) / a
    c, d = 1.0, 1 / (1 - (a + b) * x / (a + 1))
    h = d
    for m in range(1, 10_000):
        t = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m))
        d, c = 1 / (1 + t * d), 1 + t / c
        h *= d * c
        t = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1))
        d, c = 1 / (1 + t * d), 1 + t / c
        h *= d * c
        if abs(d * c - 1) < 1e-15:
            break
    return front * h
