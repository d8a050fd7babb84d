"""Provers that search sets of units without gradients: greedy, swaps and brute force.

A search asks a `Prospects` for values of features, smaller being better for the prover, and knows
nothing else of Arthur; so the same three searches serve any Arthur and, with only the first layer
of an `mlp` computed anew, networks. Ties are broken at random: a flat Arthur would else be shown
the first units always.

Notation: B rows, d units, J masks.
"""

import itertools
from collections.abc import Iterator
from math import comb
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from extremal.lab import generator

from ._arthur import Asked
from ._errors import OverBudget
from ._task import Task, check_size

SEARCHES = ("greedy", "swaps", "brute-force")
EXCHANGES = 50  # at most so many best exchanges of `swaps`
_SETS = 512  # masks that brute force asks about at once


@runtime_checkable
class Prospects(Protocol):
    """What features of some rows are worth to a prover; smaller is better."""

    def added(self, masks: Bool[np.ndarray, "B d"]) -> Float[np.ndarray, "B d"]:
        """Return the value of each row's mask with each one unit shown besides."""
        ...

    def under(self, masks: Bool[np.ndarray, "J d"]) -> Float[np.ndarray, "B J"]:
        """Return the value of each row under each mask."""
        ...


def grown(
    prospects: Prospects, rows: int, k: int, allowed: Bool[np.ndarray, " d"],
    rng: np.random.Generator,
) -> Iterator[Bool[np.ndarray, "B d"]]:  # fmt: skip
    """Yield masks of 1, 2, …, k units, the best unit added each time.

    Cost: k d questions a row.
    """
    mask = np.zeros((rows, len(allowed)), bool)
    at = np.arange(rows)
    for _ in range(k):
        value = np.where(allowed & ~mask, prospects.added(mask), np.inf)
        mask = mask.copy()
        mask[at, _least(value, rng)] = True
        yield mask


def exchanged(
    prospects: Prospects, start: Bool[np.ndarray, "B d"], allowed: Bool[np.ndarray, " d"],
    rng: np.random.Generator, most: int = EXCHANGES,
) -> Bool[np.ndarray, "B d"]:  # fmt: skip
    """Make the best exchange of a shown unit for a hidden one until none helps.

    Args:
        prospects: What is searched.
        start: Masks of equally many units.
        allowed: Units that may be shown.
        rng: Breaks ties.
        most: At most so many exchanges a row.

    Cost: k d questions a row and exchange.
    """
    mask = start.copy()
    at = np.arange(len(mask))
    now: Any = None
    for _ in range(most):
        shown = np.nonzero(mask)[1].reshape(len(mask), -1)
        best = np.full(len(mask), np.inf)
        out, into = np.zeros(len(mask), int), np.zeros(len(mask), int)
        for j in rng.permutation(shown.shape[1]):
            less = mask.copy()
            less[at, shown[:, j]] = False
            value = prospects.added(less)
            if now is None:  # of the start: the unit put back
                now = value[at, shown[:, j]]
            value = np.where(allowed & ~mask, value, np.inf)
            pick = _least(value, rng)
            better = value[at, pick] < best
            best = np.where(better, value[at, pick], best)
            out, into = np.where(better, shown[:, j], out), np.where(better, pick, into)
        moved = np.flatnonzero(best < now - 1e-12)
        if not len(moved):
            break
        mask[moved, out[moved]], mask[moved, into[moved]] = False, True
        now[moved] = best[moved]
    return mask


def best_of_all(
    prospects: Prospects, rows: int, k: int, allowed: Bool[np.ndarray, " d"],
    rng: np.random.Generator,
) -> Bool[np.ndarray, "B d"]:  # fmt: skip
    """Return the best of all sets of k units.

    Cost: C(d, k) questions a row.
    """
    units = np.flatnonzero(allowed)
    sets = itertools.combinations(units.tolist(), k)
    best, chosen = np.full(rows, np.inf), np.zeros((rows, k), int)
    while part := list(itertools.islice(sets, _SETS)):
        index = np.array(part)
        index = index[rng.permutation(len(index))]  # ties within a part fall at random
        masks = np.zeros((len(index), len(allowed)), bool)
        np.put_along_axis(masks, index, True, axis=1)
        value = prospects.under(masks)
        pick = value.argmin(1)
        least = value[np.arange(rows), pick]
        better = least < best
        best[better], chosen[better] = least[better], index[pick[better]]
    mask = np.zeros((rows, len(allowed)), bool)
    np.put_along_axis(mask, chosen, True, axis=1)
    return mask


def searched(
    how: str, prospects: Prospects, rows: int, k: int, allowed: Bool[np.ndarray, " d"],
    rng: np.random.Generator, most: int = EXCHANGES,
) -> Bool[np.ndarray, "B d"]:  # fmt: skip
    """Run one of `SEARCHES`; swaps start from what greedy finds."""
    if how == "brute-force":
        return best_of_all(prospects, rows, k, allowed, rng)
    mask = np.zeros((rows, len(allowed)), bool)
    for grown_mask in grown(prospects, rows, k, allowed, rng):
        mask = grown_mask
    return mask if how == "greedy" else exchanged(prospects, mask, allowed, rng, most)


def check_sets(how: str, task: Task, k: int, rows: int, budget: int, cure: str) -> None:
    """Refuse a brute force over a budget, and say its count.

    Raises:
        OverBudget: rows C(d, k) is over the budget.
    """
    if how != "brute-force":
        return
    count = rows * comb(len(task.shown), k)
    if count > budget:
        raise OverBudget(
            f"brute-force would look at {count:,} features, the sets of {k} of "
            f"{len(task.shown)} units for {rows:,} rows, over the budget of {budget:,}; {cure}."
        )


def _least(value: Float[np.ndarray, "B d"], rng: np.random.Generator) -> Int[np.ndarray, " B"]:
    """The place of the smallest entry of each row, one of equals at random."""
    ties = value <= value.min(1, keepdims=True)
    return np.where(ties, rng.random(value.shape), -1.0).argmax(1)


def lead(scores: Float[np.ndarray, "B c"], aim: Int[np.ndarray, " B"]) -> Float[np.ndarray, " B"]:
    """Return the best other score, don't know's included, less that of the class aimed at."""
    at = np.arange(len(aim))
    others = scores.copy()
    others[at, aim] = -np.inf
    return others.max(1) - scores[at, aim]


class AskedProspects:
    """Values of features for a prover who wants a class named by any Arthur."""

    def __init__(
        self, asked: Asked, codes: Int[np.ndarray, "B d"], aim: Int[np.ndarray, " B"],
        units: Int[np.ndarray, " s"],
    ) -> None:  # fmt: skip
        """Remember rows, the class wanted of each, and the units that are worth asking about."""
        self.asked, self.codes, self.aim, self.units = asked, codes, aim, units

    def added(self, masks: Bool[np.ndarray, "B d"]) -> Float[np.ndarray, "B d"]:
        """Ask about each unit in turn."""
        out = np.full(masks.shape, np.inf)
        for u in self.units:
            tried = masks.copy()
            tried[:, u] = True
            out[:, u] = lead(self.asked.scores(self.codes, tried), self.aim)
        return out

    def under(self, masks: Bool[np.ndarray, "J d"]) -> Float[np.ndarray, "B J"]:
        """Ask about each mask in turn."""
        return np.stack(
            [
                lead(self.asked.scores(self.codes, np.broadcast_to(m, self.codes.shape)), self.aim)
                for m in masks
            ],
            axis=1,
        )


class Searching:
    """Merlin without a network: searches each row for what convinces Arthur of its class.

    Args:
        arthur: Any Arthur.
        task: Its data.
        k: Units shown of a row.
        how: `greedy` (the best unit k times), `swaps` (best exchanges from there until none
            helps), `brute-force` (all sets).
        seed: Breaks ties.
        budget: The most features that brute force may look at in one call.

    Raises:
        ValueError: There is no such search, or k units cannot be shown.

    Example:
        >>> from extremal.interpret import Lookup, load_task
        >>> task = load_task(data="monks")
        >>> merlin = Searching(Lookup(task), task, 2, "brute-force")
        >>> merlin(task.audit.codes[:3], task.audit.labels[:3]).sum(1)
        array([2, 2, 2])
    """

    def __init__(
        self, arthur: object, task: Task, k: int, how: str = "greedy", seed: int = 0,
        budget: int = 5_000_000,
    ) -> None:  # fmt: skip
        """Remember whom to ask."""
        if how not in SEARCHES:
            raise ValueError(f"there is no search {how!r}; choose {', '.join(SEARCHES)}.")
        check_size(k, task)
        self.asked = Asked(arthur, task.classes)  # pyright: ignore[reportArgumentType]
        self.task, self.k, self.how, self.seed, self.budget = task, k, how, seed, budget
        self.name = how

    def __call__(
        self, codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n d"]:
        """Return the masks."""
        check_sets(
            self.how, self.task, self.k, len(codes), self.budget,
            "choose a smaller k, raise --budget, audit fewer rows, or search greedily",
        )  # fmt: skip
        if not len(codes):
            return np.zeros(codes.shape, bool)
        allowed = np.zeros(self.task.d, bool)
        allowed[self.task.shown] = True
        prospects = AskedProspects(self.asked, codes, labels, self.task.shown)
        rng = generator(self.seed, "search", self.how)
        return searched(self.how, prospects, len(codes), self.k, allowed, rng)
