"""The audit itself: Merlin is asked, Morgana attacks, and what was counted becomes limits.

Notation: C classes, n_l audited rows of class l, delta = 1 - confidence.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from ._arthur import Asked, NaiveBayes
from ._attacks import Siege, besiege
from ._bounds import (
    ALPHAS,
    KAPPAS,
    chance,
    check_assumptions,
    class_bound,
    information_bound,
    main_bound,
)
from ._counting import Index, distinct, popcount
from ._explainers import Explainer, shown_by
from ._limits import check_delta, check_sizes, lower_limit, upper_limit
from ._task import Task, check_disjoint, check_size

TOLERANCE = 1e-9
Numbers = dict[str, Any]


@dataclass(frozen=True)
class Terms:
    """What the statement is conditional on, and how it is counted."""

    smallest: int
    k: int
    confidence: float
    kappa: float
    alpha: float
    shift: float
    chunk: int
    seed: int
    budget: int
    attacks: tuple[str, ...]


@dataclass(frozen=True)
class Counted:
    """Everything that the certificate states, and the arrays that it follows from.

    Attributes:
        numbers: The claim's counts, limits, bounds and measures by name.
        arrays: What the checker counts again.
        settings: Of the attacks, in words.
        notes: What a reader must know, a sentence each.
        mask: What Merlin shows of each audited row.
        siege: Morgana's successes.
    """

    numbers: Numbers
    arrays: Mapping[str, np.ndarray]
    settings: Mapping[str, str]
    notes: tuple[str, ...]
    mask: Bool[np.ndarray, "n d"]
    siege: Siege


def check_terms(task: Task, terms: Terms) -> list[float]:
    """Refuse impossible terms; return the shares of the classes."""
    check_delta(1 - terms.confidence)
    check_assumptions(terms.kappa, terms.alpha)
    check_size(terms.k, task)
    if not 1 <= terms.smallest <= terms.k:
        raise ValueError(
            f"smallest={terms.smallest} units cannot be the fewest; choose 1 <= smallest <= k."
        )
    if not 0 <= terms.shift < 1:
        raise ValueError(
            f"shift={terms.shift} is no distance of distributions; choose 0 <= shift < 1."
        )
    if terms.chunk < 1:
        raise ValueError(f"chunk={terms.chunk}: a row needs at least one reference row.")
    sizes = np.bincount(task.audit.labels, minlength=task.classes).tolist()
    shares = list(task.shares) if task.shares else [m / sum(sizes) for m in sizes]
    check_sizes(sizes, 1 - terms.confidence, shares, terms.kappa, terms.alpha, terms.shift)
    return shares


def audit(
    task: Task,
    arthur: Asked,
    explainer: Explainer,
    terms: Terms,
    own: dict[str, Callable[[Siege], str]],
    reader: Any = None,
) -> Counted:
    """Run the audit; see `certify`."""
    shares = check_terms(task, terms)
    notes: list[str] = []
    also = check_disjoint(task)
    if also:
        notes.append(
            f"{also} audit rows were used for training or the catalogue too; their successes prove "
            "nothing, and the limits do not hold."
        )
    rows = task.audit
    mask = shown_by(explainer, rows.codes, rows.labels, task, terms.k, terms.smallest)
    answer = arthur.answers(rows.codes, mask)
    hit = answer == rows.labels
    catalogue = _catalogue(task, arthur, explainer, terms)
    siege = Siege(
        task, arthur, terms.smallest, terms.k, mask, answer, catalogue, terms.seed, terms.budget
    )  # fmt: skip
    notes += besiege(siege, terms.attacks, own)
    inside = _in_catalogue(mask, rows.codes, rows.labels, hit, catalogue)
    many = task.classes
    size = np.bincount(rows.labels, minlength=many)
    fooled = siege.fooled_by != 0
    strict = ~hit | ~inside
    counts = {
        "merlin_failures": _by_class(~hit, rows.labels, many),
        "strict_failures": _by_class(strict, rows.labels, many),
        "fooled": [int((fooled[:, c] & (rows.labels != c)).sum()) for c in range(many)],
        "fooled_any": _by_class(fooled.any(1), rows.labels, many),
    }
    limits, bounds, grid = conclude(counts, size.tolist(), shares, task.shares is not None, terms)
    reference, arrays = _measured(task, mask, 1 - terms.confidence)
    if reader is None:
        reader = NaiveBayes(task)
    read = np.asarray(reader(rows.codes, mask))
    deployed = _deployed(task, arthur, explainer, terms, mask, answer)
    packed = np.packbits(mask, axis=-1)
    arrays = {
        **arrays,
        "labels": rows.labels.astype(np.int64),
        "codes": rows.codes.astype(np.int16),
        "merlin_mask": packed,
        "merlin_answer": answer.astype(np.int64),
        "in_catalogue": inside.astype(np.uint8),
        "morgana_mask": np.packbits(siege.mask, axis=-1),
        "fooled_by": siege.fooled_by,
        "catalogue_mask": np.packbits(catalogue[0], axis=-1),
        "catalogue_codes": np.where(*catalogue[:2], np.int16(-1)).astype(np.int16),
        "catalogue_class": catalogue[2].astype(np.int64),
        "reference_codes": task.reference.codes.astype(np.int16),
        "reference_labels": task.reference.labels.astype(np.int64),
        "deployed": deployed.astype(np.int64),
        "read": read.astype(np.int64),
    }
    direct = _direct(task, mask, terms)
    if direct is None:
        notes.append(
            f"{len(task.reference)} reference rows make no chunk of {terms.chunk}, so there is no "
            "direct certificate."
        )
    base = chance(shares)
    numbers: Numbers = {
        "n": size.tolist(),
        "shares": shares,
        "priors": "given" if task.shares else "estimated",
        "attacks": list(siege.run),
        "counts": counts,
        "limits": limits,
        "bounds": bounds,
        "grid": grid,
        "direct": direct,
        "reference": reference,
        "population": _population(task, mask, hit, fooled),
        "deployment": {
            "right": _by_class(deployed == rows.labels, rows.labels, many),
            "wrong": _by_class((deployed != rows.labels) & (deployed >= 0), rows.labels, many),
            "abstained": _by_class(deployed < 0, rows.labels, many),
        },
        "reader": {
            "name": getattr(reader, "name", type(reader).__name__),
            "right": int((read == rows.labels).sum()),
            "n": len(rows),
        },
        "chance": base,
        "verdict": "certified" if bounds["certified"] > base else "vacuous",
    }
    return Counted(numbers, arrays, dict(siege.settings), tuple(notes), mask, siege)


def _by_class(what: Bool[np.ndarray, " n"], labels: Int[np.ndarray, " n"], many: int) -> list[int]:
    return np.bincount(labels[what], minlength=many).tolist()


def _catalogue(
    task: Task, arthur: Asked, explainer: Explainer, terms: Terms
) -> tuple[Any, Any, Any]:
    """What convinces Arthur on the catalogue rows, each feature of a class once."""
    rows = task.catalogue
    if not len(rows):
        empty = np.zeros((0, task.d))
        return empty.astype(bool), empty.astype(np.int16), np.zeros(0, np.int64)
    mask = shown_by(explainer, rows.codes, rows.labels, task, terms.k, terms.smallest)
    hit = arthur.answers(rows.codes, mask) == rows.labels
    masks, codes, labels = mask[hit], rows.codes[hit], rows.labels[hit]
    chosen: list[int] = []
    for c in range(task.classes):
        members = np.flatnonzero(labels == c)
        if len(members):
            chosen += members[distinct(masks[members], codes[members])[0]].tolist()
    return masks[chosen], codes[chosen], labels[chosen]


def _in_catalogue(
    mask: Any, codes: Any, labels: Any, hit: Any, catalogue: tuple[Any, Any, Any]
) -> Bool[np.ndarray, " n"]:
    """Which successful features of Merlin the catalogue has, for the same class."""
    inside = np.zeros(len(labels), bool)
    known = len(catalogue[2])
    rows = np.flatnonzero(hit)
    if not known or not len(rows):
        return inside
    masks = np.concatenate([catalogue[0], mask[rows]])
    values = np.concatenate([catalogue[1], codes[rows]])
    _, which = distinct(masks, values)
    pairs = which * (int(labels.max()) + 1) + np.concatenate([catalogue[2], labels[rows]])
    inside[rows] = np.isin(pairs[known:], pairs[:known])
    return inside


def _deployed(
    task: Task, arthur: Asked, explainer: Explainer, terms: Terms, mask: Any, answer: Any
) -> Int[np.ndarray, " n"]:
    """Run Merlin once per class; the class that alone convinces is accepted, else -1."""
    rows = task.audit
    convinced = np.zeros((len(rows), task.classes), bool)
    for c in range(task.classes):
        other = np.flatnonzero(rows.labels != c)
        own = rows.labels == c
        convinced[own, c] = answer[own] == c
        codes = rows.codes[other]
        shown = shown_by(explainer, codes, np.full(len(other), c), task, terms.k, terms.smallest)
        convinced[other, c] = arthur.answers(codes, shown) == c
    return np.where(convinced.sum(1) == 1, convinced.argmax(1), -1)


def conclude(
    counts: Mapping[str, Sequence[int]],
    size: Sequence[int],
    shares: Sequence[float],
    given: bool,
    terms: Terms,
) -> tuple[Numbers, Numbers, list[list[float]]]:
    """Turn counts into limits, bounds and the grid of assumptions.

    Args:
        counts: `merlin_failures`, `strict_failures` and `fooled` by class.
        size: Audited rows of each class.
        shares: Of the classes.
        given: Whether the shares are known; else delta is split over their intervals too.
        terms: Confidence and assumptions.

    Returns:
        Limits, bounds, grid.
    """
    many, n = len(size), sum(size)
    delta = 1 - terms.confidence
    events = 2 * many + (0 if given else 1 if many == 2 else many)
    level = delta / events

    def limit(count: int, of: int) -> float:
        return min(1.0, upper_limit(count, of, level) + terms.shift)

    limits: Numbers = {
        "completeness_error": [
            limit(s, m) for s, m in zip(counts["merlin_failures"], size, strict=True)
        ],
        "strict_completeness_error": [
            limit(s, m) for s, m in zip(counts["strict_failures"], size, strict=True)
        ],
        "soundness_error": [limit(s, n - m) for s, m in zip(counts["fooled"], size, strict=True)],
    }
    low = list(shares) if given else [lower_limit(m, n, level / 2) for m in size]
    imbalance = math.inf
    if many == 2:
        ends = [shares[0]] if given else [low[0], upper_limit(size[0], n, level / 2)]
        imbalance = max(max(p, 1 - p) / min(p, 1 - p) for p in ends)
    e_c, e_s = limits["completeness_error"], limits["soundness_error"]

    def main(kappa: float, alpha: float) -> float | None:
        return main_bound(max(e_c), max(e_s), kappa, alpha, imbalance) if many == 2 else None

    def best(kappa: float, alpha: float) -> float:
        return max(class_bound(e_c, e_s, kappa, alpha, low), main(kappa, alpha) or 0.0)

    certified = best(terms.kappa, terms.alpha)
    strict = None
    if any(s < m for s, m in zip(counts["strict_failures"], size, strict=True)):
        strict = class_bound(limits["strict_completeness_error"], e_s, terms.kappa, 1.0, low)
    bounds: Numbers = {
        "main": main(terms.kappa, terms.alpha),
        "per_class": class_bound(e_c, e_s, terms.kappa, terms.alpha, low),
        "strict": strict,
        "certified": certified,
        "information": information_bound(certified, shares),
    }
    return limits, bounds, [[k, a, best(k, a)] for k in KAPPAS for a in ALPHAS]


def _direct(task: Task, mask: Bool[np.ndarray, "n d"], terms: Terms) -> Numbers | None:
    """Each audited row looks for its feature in its own chunk of the reference pool."""
    rows, pool = task.audit, task.reference
    n = min(len(rows), len(pool) // terms.chunk)
    if not n:
        return None
    chunks = pool.codes[: n * terms.chunk].reshape(n, terms.chunk, -1)
    same = ((chunks == rows.codes[:n, None]) | ~mask[:n, None]).all(2)
    first = same.argmax(1)
    found = pool.labels[: n * terms.chunk].reshape(n, -1)[np.arange(n), first]
    hits = int((same.any(1) & (found == rows.labels[:n])).sum())
    return {
        "chunk": terms.chunk,
        "n": n,
        "successes": hits,
        "lower": lower_limit(hits, n, 1 - terms.confidence),
    }


def precision_limits(
    agrees: Int[np.ndarray, " n"], matches: Int[np.ndarray, " n"], delta: float
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Return two-sided Clopper-Pearson limits of the precision of each explanation.

    Without a match there is no evidence: the limits are 0 and 1.
    """
    from scipy.stats import beta

    pairs, which = np.unique(np.stack([agrees, matches]), axis=1, return_inverse=True)
    s, m = pairs
    with np.errstate(invalid="ignore"):
        low = np.where(s > 0, beta.ppf(delta / 2, s, m - s + 1), 0.0)
        high = np.where(s < m, beta.ppf(1 - delta / 2, s + 1, m - s), 1.0)
    return low[which.reshape(-1)], high[which.reshape(-1)]


def _measured(
    task: Task, mask: Bool[np.ndarray, "n d"], delta: float
) -> tuple[Numbers, dict[str, np.ndarray]]:
    """Precision of each explanation over the reference pool."""
    rows = task.audit
    first, which = distinct(mask, rows.codes)
    index = Index(task.reference.codes, task.reference.labels, task.classes)
    counted = index.counts(mask[first], rows.codes[first])[which]
    matches = counted.sum(1)
    agrees = counted[np.arange(len(rows)), rows.labels]
    low, high = precision_limits(agrees, matches, delta)
    seen = matches > 0
    parts = counted[seen] / matches[seen, None]
    left = -(parts * np.log2(np.where(parts > 0, parts, 1))).sum(1)
    numbers: Numbers = {
        "n": len(task.reference),
        "precision": float((agrees[seen] / matches[seen]).mean()) if seen.any() else None,
        "entropy": float(left.mean()) if seen.any() else None,
        "support": float(matches.mean()),
        "no_evidence": int((~seen).sum()),
    }
    return numbers, {"matches": matches, "agrees": agrees, "low": low, "high": high}


def _population(
    task: Task,
    mask: Bool[np.ndarray, "n d"],
    hit: Bool[np.ndarray, " n"],
    fooled: Bool[np.ndarray, "n classes"],
) -> Numbers:
    """Everything exact on the audited rows taken as the whole world."""
    rows, n, many = task.audit, len(task.audit), task.classes
    labels = rows.labels
    size = np.bincount(labels, minlength=many)
    first, which = distinct(mask, rows.codes)
    index = Index(rows.codes, labels, many)
    sets = index.rows(mask[first], rows.codes[first])
    counted = np.stack([popcount(sets & members).sum(1) for members in index.by_class], axis=1)
    precision = float((counted[which][np.arange(n), labels] / counted[which].sum(1)).mean())
    errors: list[tuple[float, float]] = []
    kappas: list[float] = []
    rates: list[float] = []
    total = 0.0
    for c in range(many):
        own = labels == c
        e_c = 1 - float(hit[own].mean())
        errors.append((e_c, float(fooled[~own, c].mean())))
        used = np.unique(which[hit & own])
        if not len(used):
            kappas.append(1.0)
            continue
        mine = counted[used, c]
        ratio = (counted[used].sum(1) - mine) / mine
        reached = np.zeros(index.words, np.uint64)
        above = 0.0
        for j in np.argsort(-ratio, kind="stable"):  # the first feature of a point is its largest
            new = sets[used[j]] & ~reached
            above += float(ratio[j]) * int(popcount(new & index.by_class[c]).sum())
            reached |= new
        inside = int(popcount(reached & index.by_class[c]).sum())
        outside = int(popcount(reached).sum()) - inside
        kappa = above / outside if outside else 1.0
        kappas.append(kappa)
        at = np.unpackbits(reached.view(np.uint8), bitorder="little")[:n].astype(bool)
        if outside:
            hers = float((fooled[:, c] & at & ~own).sum()) / outside
            rates.append(hers / (float((hit & own & at).sum()) / inside))
        share = size[c] / n
        rho = (outside / (n - size[c])) / (inside / size[c])
        r = (1 - share) / share * kappa * rho
        total += share * (1 - e_c - inside / size[c] * r / (1 + r))
    return {
        "precision": precision,
        "completeness_error": [c for c, _ in errors],
        "soundness_error": [s for _, s in errors],
        "strategy_kappa": kappas,
        "alpha": min(rates) if rates else None,
        "per_class": float(max(0.0, total)),
    }
