"""Explainers: functions from rows and their classes to the mask that Merlin shows.

An explainer takes codes (n, d) and classes (n,) and returns masks (n, d), or `Shown` where it also
states the values, which must be those of the row.
"""

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from extremal.lab import generator

from ._arthur import Tables
from ._errors import InterpretError
from ._task import Task, check_size


@dataclass(frozen=True)
class Shown:
    """Features with their values stated."""

    mask: Bool[np.ndarray, "n d"]
    codes: Int[np.ndarray, "n d"]


@runtime_checkable
class Explainer(Protocol):
    """Anything that selects features."""

    def __call__(
        self, codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> "Bool[np.ndarray, 'n d'] | Shown":
        """Return what is shown of each row to argue for its class."""
        ...


def shown_by(
    explainer: Explainer,
    codes: Int[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    task: Task,
    k: int,
    smallest: int = 1,
) -> Bool[np.ndarray, "n d"]:
    """Ask an explainer and check what it shows.

    Raises:
        InterpretError: A mask has another shape, shows too few or too many units, or a hidden
            one; or a stated value is not the row's.
    """
    given = explainer(codes, labels)
    mask = np.asarray(given.mask if isinstance(given, Shown) else given)
    if mask.shape != codes.shape:
        raise InterpretError(
            f"the explainer returned masks of shape {mask.shape} for rows of shape {codes.shape}; "
            "return one truth value a unit."
        )
    if mask.dtype != bool:
        if not np.isin(mask, (0, 1)).all():
            raise InterpretError(
                "the explainer returned values other than 0 and 1; make masks of attributions "
                "with top_k."
            )
        mask = mask.astype(bool)
    if isinstance(given, Shown) and (given.codes[mask] != codes[mask]).any():
        raise InterpretError(
            "the explainer states values that the row does not have, so the row does not contain "
            "the feature; a prover may choose what to show but not invent it."
        )
    size = mask.sum(1)
    if len(mask) and not smallest <= size.min() <= size.max() <= k:
        raise InterpretError(
            f"the explainer shows {size.min()} to {size.max()} units of a row; {smallest} to "
            f"k={k} are allowed. Choose another k, or let the explainer keep to it."
        )
    if mask[:, list(task.hidden)].any():
        names = ", ".join(task.units[u].name for u in task.hidden)
        raise InterpretError(f"the explainer shows a hidden unit (one of {names}).")
    return mask


class Rules:
    """Shows the condition on at most k columns that fits the class best on the training rows.

    Best is the highest share of the class among the training rows that satisfy it, smoothed by one
    row of each class, so that a rule seen once does not win; smaller rules win ties.

    Args:
        task: Whose training rows judge, none of them audited.
        k: The most columns.
        support: Training rows that a rule must have.
        avoid: Columns that Merlin does not show, though Morgana may: a hidden dependence.
    """

    def __init__(
        self, task: Task, k: int, support: int = 20, avoid: tuple[str, ...] = (),
        tables: Tables | None = None,
    ) -> None:  # fmt: skip
        """Remember the rows; `tables` shares counts with an Arthur."""
        check_size(k, task)
        self.task, self.k, self.support = task, k, support
        self.tables = tables or Tables(task)
        avoided = [task.unit(name) for name in avoid]
        self.units = np.setdiff1d(task.shown, avoided)
        if not len(self.units):
            raise ValueError("every column is hidden or avoided, so Merlin has nothing to show.")

    def __call__(
        self, codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n d"]:
        """Return the masks."""
        n = len(codes)
        best = np.full(n, -1.0)
        chosen = np.zeros((n, self.task.d), bool)
        rows = np.arange(n)
        for units in index_sets(self.units, self.k):
            counts = self.tables.of(units, codes)
            total = counts.sum(1)
            score = (counts[rows, labels] + 1) / (total + self.task.classes)
            score[total < self.support] *= 1e-3  # only where no rule has the support
            better = score > best
            best[better] = score[better]
            chosen[better] = False
            chosen[np.ix_(better, units)] = True
        return chosen


def index_sets(
    units: Int[np.ndarray, " s"], k: int, smallest: int = 1
) -> Iterator[Int[np.ndarray, " j"]]:
    """Yield every set of `smallest` to k of the units, small ones first."""
    for size in range(smallest, min(k, len(units)) + 1):
        for chosen in itertools.combinations(units.tolist(), size):
            yield np.array(chosen)


def top_k(
    attribution: Callable[[Any, Any], Any], k: int, seed: int = 0, task: Task | None = None
) -> Explainer:
    """Make an explainer of any attribution map: the k units with the largest values.

    Args:
        attribution: From codes and classes to one number a unit, large where it matters.
        k: How many units are shown.
        seed: Breaks ties at random, since a flat map would always show the first units.
        task: Keeps its hidden units hidden.

    Raises:
        InterpretError: An attribution is NaN.
    """

    def explain(
        codes: Int[np.ndarray, "n d"], labels: Int[np.ndarray, " n"]
    ) -> Bool[np.ndarray, "n d"]:
        values = np.asarray(attribution(codes, labels), float).reshape(codes.shape)
        if np.isnan(values).any():
            raise InterpretError("an attribution is NaN; repair the map before ranking it.")
        if task is not None and task.hidden:
            values[:, list(task.hidden)] = -np.inf
        return highest(values, k, generator(seed, "ties"))

    return explain


def highest(
    values: Float[np.ndarray, "n d"], k: int, rng: np.random.Generator
) -> Bool[np.ndarray, "n d"]:
    """Mark exactly k units of each row, the highest; ties are broken at random."""
    ties = rng.random(values.shape)
    order = np.lexsort((ties, -values), axis=1)[:, :k]
    mask = np.zeros(values.shape, bool)
    np.put_along_axis(mask, order, True, axis=1)
    return mask


def random_masks(n: int, task: Task, k: int, rng: np.random.Generator) -> Bool[np.ndarray, "n d"]:
    """Return masks of exactly k units that may be shown, uniformly."""
    values = np.full((n, task.d), -np.inf)
    values[:, task.shown] = rng.random((n, len(task.shown)))
    return highest(values, k, rng)
