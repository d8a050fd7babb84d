"""Arthur, as anyone's function, and the two that need no network.

An Arthur takes codes (n, d), `HIDDEN` where nothing is shown, and masks (n, d). He returns a class
or -1 (don't know) for each row, or scores (n, classes + 1) whose last column is don't know.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int

from ._errors import InterpretError
from ._task import HIDDEN, Task

DONT_KNOW = -1
_DENSE = 1 << 21  # the largest table of counts that is indexed directly


@runtime_checkable
class Arthur(Protocol):
    """Anything that answers to features."""

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, " n"] | Float[np.ndarray, "n c"]:
        """Return classes (-1: don't know), or scores with don't know last."""
        ...


class Asked:
    """Asks an Arthur, hides what is not shown, and checks his answers."""

    def __init__(self, arthur: Arthur, classes: int) -> None:
        """Wrap an Arthur of so many classes."""
        self.arthur = arthur
        self.classes = classes

    def scores(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n c"]:
        """Return scores with don't know last; a plain answer scores 1 against 0.

        Raises:
            InterpretError: His answers have another form, are NaN, or lack don't know.
        """
        given = self._ask(codes, mask)
        if given.ndim == 2:
            return given
        return np.eye(self.classes + 1)[given]  # -1 picks the last column

    def answers(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, " n"]:
        """Return a class or -1 for each row; raises as `scores`."""
        given = self._ask(codes, mask)
        return given if given.ndim == 1 else decided(given)

    def _ask(self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]) -> Any:
        n = len(codes)
        given = np.asarray(self.arthur(np.where(mask, codes, np.int16(HIDDEN)), mask))
        if given.ndim == 2 and given.shape == (n, self.classes):
            raise InterpretError(
                f"Arthur gives {self.classes} scores for {self.classes} classes, so he cannot say "
                "don't know, and soundness means nothing; add a score for it as the last column, "
                "or wrap him in Thresholded."
            )
        if given.shape not in {(n,), (n, self.classes + 1)}:
            raise InterpretError(
                f"Arthur answers {n} features with an array of shape {given.shape}; expected "
                f"({n},) classes or ({n}, {self.classes + 1}) scores."
            )
        if given.dtype.kind == "f":
            if not np.isfinite(given).all():
                raise InterpretError("Arthur's scores hold NaN or infinity; repair him first.")
            if given.ndim == 1 and (given != np.round(given)).any():
                raise InterpretError("Arthur's answers are fractions, not classes; give integers.")
        if given.ndim == 1:
            given = given.astype(np.int64)
            if n and not -1 <= given.min() <= given.max() < self.classes:
                raise InterpretError(
                    f"Arthur answers {given.min()} to {given.max()}; classes are 0.."
                    f"{self.classes - 1} and don't know is -1."
                )
        return given


def decided(scores: Float[np.ndarray, "n c"]) -> Int[np.ndarray, " n"]:
    """Return the class of the highest score, -1 where that is don't know; ties say don't know."""
    best = scores[:, :-1].argmax(1)
    return np.where(scores[np.arange(len(scores)), best] > scores[:, -1], best, DONT_KNOW)


class Lookup:
    """Answers the majority of the training rows that contain a feature.

    Don't know below a purity or a support. Needs no training; each set of units is counted once.

    Args:
        task: Whose training rows are looked up.
        purity: Share of the majority that is needed, over 1/2.
        support: Training rows that are needed.

    Raises:
        ValueError: The purity or support is out of range.
    """

    def __init__(self, task: Task, purity: float = 0.9, support: int = 20) -> None:
        """Remember the rows."""
        if not 0.5 < purity <= 1 or support < 1:
            raise ValueError(
                f"purity={purity}, support={support}: choose 0.5 < purity <= 1 (a majority) and "
                "support >= 1."
            )
        self.purity, self.support, self.classes = purity, support, task.classes
        self.tables = Tables(task)

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, " n"]:
        """Return the answers."""
        counts = self.tables.counts(codes, mask)
        total = counts.sum(1)
        best = counts.argmax(1)
        sure = (total >= self.support) & (counts.max(1) >= self.purity * total) & (total > 0)
        return np.where(sure, best, DONT_KNOW)


class Tables:
    """Training rows counted by class for any set of units, each set once."""

    def __init__(self, task: Task) -> None:
        """Remember the training rows."""
        self.task = task
        self.columns = np.ascontiguousarray(task.train.codes.T.astype(np.int64))
        self.known: dict[bytes, tuple[Any, Any]] = {}

    def counts(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, "n classes"]:
        """Return how many training rows of each class contain each feature."""
        out = np.empty((len(codes), self.task.classes), np.int64)
        if not len(codes):
            return out
        if (mask == mask[0]).all():
            return self.of(np.flatnonzero(mask[0]), codes)
        packed = np.packbits(mask, axis=1)
        sets, which = np.unique(packed, axis=0, return_inverse=True)
        order = np.argsort(which.reshape(-1), kind="stable")
        ends = np.cumsum(np.bincount(which.reshape(-1), minlength=len(sets)))
        for start, end in zip([0, *ends[:-1]], ends, strict=True):
            rows = order[start:end]
            out[rows] = self.of(np.flatnonzero(mask[rows[0]]), codes[rows])
        return out

    def of(
        self, units: Int[np.ndarray, " k"], codes: Int[np.ndarray, "n d"]
    ) -> Int[np.ndarray, "n classes"]:
        """Return the counts for features that all show the same units."""
        name = units.tobytes()
        if name not in self.known:
            self.known[name] = self._table(units)
        keys, counts = self.known[name]
        asked = mixed_radix(codes[:, units].T.astype(np.int64), self.task.sizes[units])
        if keys is None:
            return counts[asked]
        at = np.minimum(np.searchsorted(keys, asked), len(keys) - 1)
        return np.where((keys[at] == asked)[:, None], counts[at], 0)

    def _table(self, units: Int[np.ndarray, " k"]) -> tuple[Any, Any]:
        sizes = self.task.sizes[units]
        keys = mixed_radix(self.columns[units], sizes)
        many, labels = self.task.classes, self.task.train.labels
        total = float(np.prod(sizes.astype(float)))
        if total <= _DENSE:
            flat = np.bincount(keys * many + labels, minlength=int(total) * many)
            return None, flat.reshape(-1, many)
        distinct, which = np.unique(keys, return_inverse=True)
        flat = np.bincount(which.reshape(-1) * many + labels, minlength=len(distinct) * many)
        return distinct, flat.reshape(-1, many)


def mixed_radix(
    columns: Int[np.ndarray, "k n"], sizes: Int[np.ndarray, " k"]
) -> Int[np.ndarray, " n"]:
    """Return one number for the codes of several units.

    Raises:
        InterpretError: There are more combinations than 63 bits tell apart.
    """
    if float(np.prod(sizes.astype(float))) >= 2.0**63:
        raise InterpretError(
            f"{len(sizes)} units have over 2^63 combinations of codes, too many to look up; show "
            "fewer units (smaller k), or use a network as Arthur."
        )
    key = np.zeros(columns.shape[1], np.int64)
    for column, size in zip(columns, sizes, strict=True):
        key = key * int(size) + column
    return key


class Thresholded:
    """Makes an Arthur of class probabilities: don't know unless one reaches a threshold.

    Args:
        probabilities: From codes (`HIDDEN` where hidden) and masks to (n, classes) in [0, 1], for
            instance a scikit-learn model that was fitted on masked rows.
        threshold: Over 1/2, so that at most one class reaches it.
    """

    def __init__(self, probabilities: Callable[[Any, Any], Any], threshold: float = 0.9) -> None:
        """Wrap the function."""
        if not 0.5 < threshold < 1:
            raise ValueError(f"threshold={threshold}: choose 0.5 < threshold < 1.")
        self.probabilities, self.threshold = probabilities, threshold

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Float[np.ndarray, "n c"]:
        """Return the probabilities with the threshold as score of don't know."""
        p = np.asarray(self.probabilities(codes, mask), float)
        return np.column_stack([p, np.full(len(p), self.threshold)])


class NaiveBayes:
    """Reads any part of a row: p(class | shown) with independent units, Laplace-smoothed.

    It knows nothing of Merlin and Arthur, so what it reads from Merlin's features is in the data;
    what Arthur alone reads is a code between the two. The idea of EVAL-X, without a network.
    """

    name = "naive Bayes"

    def __init__(self, task: Task) -> None:
        """Count the training rows."""
        labels = task.train.labels
        prior = np.bincount(labels, minlength=task.classes) + 1.0
        self.prior = np.log(prior / prior.sum())
        self.tables: list[Float[np.ndarray, "l c"]] = []
        for u, size in enumerate(task.sizes):
            flat = np.bincount(
                task.train.codes[:, u].astype(np.int64) * task.classes + labels,
                minlength=int(size) * task.classes,
            ).reshape(-1, task.classes)
            self.tables.append(np.log((flat + 1) / (flat.sum(0) + size)))

    def __call__(
        self, codes: Int[np.ndarray, "n d"], mask: Bool[np.ndarray, "n d"]
    ) -> Int[np.ndarray, " n"]:
        """Return the likeliest class."""
        score = np.tile(self.prior, (len(codes), 1))
        for u, table in enumerate(self.tables):
            rows = mask[:, u]
            score[rows] += table[codes[rows, u]]
        return score.argmax(1)
