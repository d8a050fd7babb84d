"""The game as a scikit-learn classifier: fit, predict with abstention, explain, audit."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from jaxtyping import Int, Shaped
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted, validate_data

from extremal.lab import generator

from ._certify import certify
from ._errors import InterpretError
from ._explain import Explanation, explain
from ._result import Audit
from ._task import Rows, Unit, bin_columns, make_task
from ._train import TrainConfig, train

_NAME = "rows"


class MerlinArthurClassifier(ClassifierMixin, BaseEstimator):
    """A classifier that shows k units of a row for its decision, or abstains.

    Columns of at most `bins` different values keep them; others are binned by quantiles of the
    rows that are not held out. With `image` the columns are pixels, already whole numbers.

    Args:
        k: Units shown.
        bins: Bins of a column, 2 to 64.
        image: Height and width where the columns are pixels.
        held_out: Share of the rows of `fit` that `audit` counts on if it is given none.
        abstain: What `predict` returns where it abstains; by default -1 beside numbers and "don't
            know" beside text.
        seed: Of everything random.
        options: Other fields of `TrainConfig`, such as `{"prover": "greedy"}`.

    Example:
        >>> from sklearn.datasets import load_breast_cancer
        >>> x, y = load_breast_cancer(return_X_y=True)
        >>> model = MerlinArthurClassifier(k=2, options={"epochs": 2, "attacker_epochs": 0})
        >>> sorted(set(model.fit(x, y).predict(x[:50]).tolist()) - {-1, 0, 1})
        []

    Cost: of `fit` that of `train`; of the others one prover a row and class.
    """

    def __init__(
        self, k: int = 3, *, bins: int = 8, image: tuple[int, int] | None = None,
        held_out: float = 0.25, abstain: Any = None, seed: int = 0,
        options: Mapping[str, Any] | None = None,
    ) -> None:  # fmt: skip
        """Remember the settings; scikit-learn wants them unchanged."""
        self.k, self.bins, self.image, self.held_out = k, bins, image, held_out
        self.abstain, self.seed, self.options = abstain, seed, options

    def fit(self, X: Any, y: Any) -> "MerlinArthurClassifier":
        """Play the game on the rows that are not held out.

        Args:
            X: Rows of numbers.
            y: Their classes.

        Raises:
            ValueError: A value is NaN, there is one class only, or a setting is out of range.
        """
        x, y = validate_data(self, X, y)
        self.classes_, labels = np.unique(y, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(
                f"all {len(labels)} rows have the class {self.classes_[0]!r}; a classifier needs "
                "rows of two or more."
            )
        self.abstained_ = self._abstained()
        order = generator(self.seed, "rows", _NAME).permutation(len(x))
        used = order[round(self.held_out * len(x)) :]  # as make_task holds rows out
        self.columns_ = np.asarray(x)[used]
        codes, units = self._coded(x)
        task = make_task(
            codes, labels, name=_NAME, units=units, class_names=[str(c) for c in self.classes_],
            audit=self.held_out, image=self.image, seed=self.seed,
        )  # fmt: skip
        given = dict(self.options or {})
        self.game_ = train(task, config=TrainConfig(k=self.k, seed=self.seed, **given))
        return self

    def predict(self, X: Any) -> Shaped[np.ndarray, " n"]:
        """Return the class for which alone Merlin convinces Arthur, else the abstention.

        Args:
            X: Rows of numbers.
        """
        codes = self._rows(X)
        convinced, _ = self.game_.convinced(codes)
        choices = np.append(self.classes_, self.abstained_)
        if choices.dtype.kind == "U" and self.classes_.dtype.kind != "U":  # numbers beside a text
            choices = np.array([*self.classes_.tolist(), self.abstained_], object)
        return choices[np.where(convinced.sum(1) == 1, convinced.argmax(1), -1)]

    def explain(self, X: Any) -> list[Explanation]:
        """Return for each row the decision, the feature that convinced, and its precision.

        Args:
            X: Rows of numbers.
        """
        return [explain(self.game_, row) for row in self._rows(X)]

    def audit(self, X: Any = None, y: Any = None, **options: Any) -> Audit:
        """Attack and bound the explanations, on new rows or on those held out by `fit`.

        Args:
            X: Rows that `fit` has not seen; by default those that it held out.
            y: Their classes.
            **options: Fields of `CertifyConfig`.

        Raises:
            ValueError: A class is not known, or X is given without y.
        """
        if (X is None) != (y is None):
            raise ValueError("audit needs both X and y, or neither for the rows that fit held out.")
        check_is_fitted(self)
        if X is None:
            return certify(self.game_, **options)
        codes = self._rows(X)
        labels = np.searchsorted(self.classes_, y).clip(max=len(self.classes_) - 1)
        if (self.classes_[labels] != y).any():
            unknown = sorted(set(np.asarray(y)[self.classes_[labels] != y].tolist()))
            raise ValueError(f"classes {unknown} were not in fit; audit rows of known classes.")
        # Numbers that no row of fit has: whether a row was seen there only the caller knows.
        ids = 1 + max(int(r.ids.max(initial=0)) for _, r in self.game_.task.parts())
        rows = Rows(codes, labels, ids + np.arange(len(codes)))
        return certify(replace(self.game_, task=replace(self.game_.task, audit=rows)), **options)

    def _rows(self, x: Any) -> Int[np.ndarray, "n d"]:
        check_is_fitted(self)
        codes, _ = self._coded(validate_data(self, x, reset=False))
        return codes

    def _coded(self, x: Any) -> tuple[Int[np.ndarray, "n d"], list[Unit] | None]:
        """Codes of rows, and the units they are codes of."""
        if self.image is not None:
            if x.shape[1] != self.image[0] * self.image[1]:
                raise ValueError(f"{x.shape[1]} columns are no image of {self.image} pixels.")
            top = int(self.columns_.max())
            if (x != np.round(x)).any() or x.min() < 0 or x.max() > top:
                raise ValueError(
                    f"pixels are whole numbers from 0 to {top}, the largest in fit; got {x.min():g}"
                    f" to {x.max():g}. Round and scale them first."
                )
            levels = tuple(map(str, range(top + 1)))
            names = [f"{i // self.image[1]},{i % self.image[1]}" for i in range(x.shape[1])]
            return x.astype(np.int16), [Unit(n, levels) for n in names]
        codes = np.empty(x.shape, np.int16)
        units: list[Unit] = []
        names = getattr(self, "feature_names_in_", [f"x{j}" for j in range(x.shape[1])])
        for j, name in enumerate(names):
            known = np.unique(self.columns_[:, j])
            if len(known) > self.bins:
                column, made = bin_columns(
                    x[:, j : j + 1], self.columns_[:, j : j + 1], [str(name)], self.bins
                )
                codes[:, j], unit = column[:, 0], made[0]
            else:  # an unseen value counts as the nearest seen one
                codes[:, j] = np.searchsorted((known[1:] + known[:-1]) / 2, x[:, j])
                unit = Unit(str(name), tuple(f"{v:g}" for v in known))
            units.append(unit)
        return codes, units

    def _abstained(self) -> Any:
        given = self.abstain
        if given is None:
            given = "don't know" if self.classes_.dtype.kind in "USO" else -1
        if given in self.classes_.tolist():
            raise InterpretError(
                f"abstain={given!r} is a class too, so nobody could tell an abstention from it; "
                "choose another value."
            )
        return given
