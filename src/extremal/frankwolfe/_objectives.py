"""Convex objectives f(x) = mean of loss(score_i, y_i) + ridge/2 |x|^2, scores linear in x.

Notation: a_i is a row of X, the score of i is <a_i, x>, a slope is the loss's derivative in the
score. Everything else, gradient, curvature and line search, follows from scores and slopes.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import scipy.sparse.linalg

Matrix = Any  # a two-dimensional array, or any SciPy sparse matrix


class LinearModel:
    """A convex finite sum; use one of the classes below.

    Attributes:
        kind: As certificates call it.
        curvature: Largest second derivative of the loss.
    """

    kind: ClassVar[str] = ""
    curvature: ClassVar[float] = 1.0
    signed: ClassVar[bool] = False

    def __init__(
        self, X: Matrix, y: Sequence[float | int] | np.ndarray, *, ridge: float | int = 0.0
    ) -> None:
        """Take the data.

        Args:
            X: One row for each example; dense or SciPy sparse.
            y: One number for each row; for classification two different labels, of which the
                larger becomes +1 and the other -1.
            ridge: Weight of half the squared Euclidean norm.

        Raises:
            ValueError: Shapes do not fit, entries are not finite, or there are not two labels.
        """
        name = type(self).__name__
        self.sparse = sp.issparse(X)
        if self.sparse:
            rows: Any = sp.csr_array(X, dtype=np.float64)
            rows.sum_duplicates()
            values = rows.data
        else:
            values = rows = np.ascontiguousarray(X, dtype=np.float64)
        self.X: Any = rows
        labels = np.asarray(y, dtype=np.float64).reshape(-1)
        if self.X.ndim != 2 or 0 in self.X.shape:
            raise ValueError(f"{name} needs a matrix with rows and columns, got {self.X.shape}.")
        if len(labels) != self.X.shape[0]:
            raise ValueError(f"{name}: {self.X.shape[0]} rows but {len(labels)} labels.")
        if not (np.isfinite(values).all() and np.isfinite(labels).all()):
            raise ValueError(f"{name}: the data hold NaN or infinity; remove or fill those rows.")
        if not 0 <= ridge < np.inf:
            raise ValueError(f"{name} needs a finite ridge >= 0, got {ridge!r}.")
        if self.signed:
            found = np.unique(labels)
            if len(found) != 2:
                raise ValueError(
                    f"{name} separates two classes, but there are {len(found)} different labels."
                )
            labels = np.where(labels == found[1], 1.0, -1.0)
        self.y = labels
        self.ridge = float(ridge)
        self.shape: tuple[int, ...] = (self.X.shape[1],)
        self._columns: Any = self.X.tocsc() if self.sparse else np.asfortranarray(self.X)

    @property
    def n(self) -> int:
        """How many examples there are."""
        return len(self.y)

    def __call__(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        """Return f(x) and its gradient."""
        scores = self.scores(x)
        return self.value(scores, x), self.gradient(self.slopes(scores), x)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """Return X x; few nonzero entries of x cost few columns."""
        flat = x.reshape(-1)
        alive = np.flatnonzero(flat)
        if 4 * len(alive) < len(flat):
            return self._columns[:, alive] @ flat[alive]
        return self.X @ flat

    def value(self, scores: np.ndarray, x: np.ndarray) -> float:
        """Return f from the scores."""
        return float(np.mean(self.losses(scores, self.y))) + 0.5 * self.ridge * float(np.vdot(x, x))

    def gradient(self, slopes: np.ndarray, x: np.ndarray) -> np.ndarray:
        """Return the gradient from the slopes."""
        g = (self._columns.T @ slopes) / self.n
        return g.reshape(self.shape) + (self.ridge * x if self.ridge else 0.0)

    def slopes(self, scores: np.ndarray) -> np.ndarray:
        """Return the derivative of each example's loss in its score."""
        return self.slope(scores, self.y)

    def part(self, x: np.ndarray, at: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the slopes of some examples, and the mean gradient over them without ridge."""
        rows = self.X[at]
        slope = self.slope(rows @ x.reshape(-1), self.y[at])
        return slope, self.combine(at, slope / len(at))

    def combine(self, at: np.ndarray, weights: np.ndarray) -> np.ndarray:
        """Return the sum of weight times a_i over some examples."""
        return (self.X[at].T @ weights).reshape(self.shape)

    def lipschitz(self) -> float:
        """Return a Lipschitz constant of the gradient."""
        if min(self.X.shape) <= 400 and not self.sparse:
            top = float(np.linalg.norm(self.X, 2))
        elif min(self.X.shape) < 3:
            top = float(scipy.sparse.linalg.norm(self.X))
        else:
            start = np.random.default_rng(0).standard_normal(min(self.X.shape))
            found: Any = scipy.sparse.linalg.svds(
                self.X, k=1, return_singular_vectors=False, v0=start
            )
            top = float(found[0])
            top *= 1.0 + 1e-6  # Lanczos comes from below
        return self.curvature * top**2 / self.n + self.ridge

    def tensors(self) -> dict[str, np.ndarray]:
        """Return the data as a certificate stores them."""
        if not self.sparse:
            return {"X": self.X, "y": self.y}
        return {
            "data": self.X.data,
            "indices": self.X.indices.astype(np.int64),
            "indptr": self.X.indptr.astype(np.int64),
            "y": self.y,
        }

    @staticmethod
    def losses(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return the loss of each example."""
        raise NotImplementedError

    @staticmethod
    def slope(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return its derivative in the score."""
        raise NotImplementedError

    @staticmethod
    def bend(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return its second derivative in the score."""
        raise NotImplementedError

    @classmethod
    def turn(cls, scores: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return `slope` and `bend`, which a line search wants at once."""
        return cls.slope(scores, y), cls.bend(scores, y)


class LogisticLoss(LinearModel):
    """Mean of log(1 + exp(-y_i <a_i, x>)) over labels of +-1.

    Example:
        >>> f = LogisticLoss([[1.0], [2.0]], [0, 1])
        >>> round(f(np.zeros(1))[0], 6)
        0.693147
    """

    kind = "logistic"
    curvature = 0.25
    signed = True

    @staticmethod
    def losses(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.losses`."""
        return np.logaddexp(0.0, -y * scores)

    @staticmethod
    def slope(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.slope`."""
        z = y * scores
        small = np.exp(-np.abs(z))  # never overflows
        return -y * np.where(z >= 0, small, 1.0) / (1.0 + small)

    @staticmethod
    def bend(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.bend`."""
        small = np.exp(-np.abs(scores))
        return small / (1.0 + small) ** 2

    @classmethod
    def turn(cls, scores: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `LinearModel.turn`; one exponential serves both."""
        z = y * scores
        small = np.abs(z)
        np.exp(np.negative(small, out=small), out=small)
        share = 1.0 / (1.0 + small)  # of the likelier label
        bend = small * share * share
        return -y * np.where(z >= 0, small * share, share), bend


class SquaredLoss(LinearModel):
    """Mean of (<a_i, x> - y_i)^2 / 2."""

    kind = "squared"

    @staticmethod
    def losses(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.losses`."""
        return 0.5 * (scores - y) ** 2

    @staticmethod
    def slope(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.slope`."""
        return scores - y

    @staticmethod
    def bend(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.bend`."""
        return np.ones_like(scores)


class SquaredHinge(LinearModel):
    """Mean of max(0, 1 - y_i <a_i, x>)^2 / 2 over labels of +-1: a smooth SVM."""

    kind = "squared-hinge"
    signed = True

    @staticmethod
    def losses(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.losses`."""
        return 0.5 * np.maximum(0.0, 1.0 - y * scores) ** 2

    @staticmethod
    def slope(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.slope`."""
        return -y * np.maximum(0.0, 1.0 - y * scores)

    @staticmethod
    def bend(scores: np.ndarray, y: np.ndarray) -> np.ndarray:
        """See `LinearModel.bend`."""
        return (y * scores < 1.0).astype(np.float64)


class MatrixCompletion(SquaredLoss):
    """Mean of (x[row, column] - value)^2 / 2 over known entries of a matrix.

    Example:
        >>> f = MatrixCompletion([0, 1], [1, 0], [2.0, 3.0], shape=(2, 2))
        >>> f(np.zeros((2, 2)))[0]
        3.25
    """

    kind = "completion"

    def __init__(
        self,
        rows: Sequence[int] | np.ndarray,
        columns: Sequence[int] | np.ndarray,
        values: Sequence[float | int] | np.ndarray,
        *,
        shape: tuple[int, int],
        ridge: float | int = 0.0,
    ) -> None:
        """Take the known entries of a matrix of the given shape."""
        at = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
        for index, n, name in zip(at, shape, ("row", "column"), strict=True):
            if index.ndim != 1 or (index < 0).any() or (index >= n).any():
                raise ValueError(f"MatrixCompletion: a {name} number is outside 0..{n - 1}.")
        flat = at[0] * shape[1] + at[1]
        ones = np.ones(len(flat))
        X = sp.csr_array(
            (ones, flat, np.arange(len(flat) + 1)), shape=(len(flat), shape[0] * shape[1])
        )
        super().__init__(X, values, ridge=ridge)
        self.rows, self.columns, self.shape = *at, tuple(shape)

    def scores(self, x: np.ndarray) -> np.ndarray:
        """See `LinearModel.scores`."""
        return x.reshape(self.shape)[self.rows, self.columns]

    def lipschitz(self) -> float:
        """See `LinearModel.lipschitz`; the largest number of times an entry is given, over n."""
        flat = self.rows * self.shape[1] + self.columns
        return float(np.unique(flat, return_counts=True)[1].max()) / self.n + self.ridge

    def tensors(self) -> dict[str, np.ndarray]:
        """See `LinearModel.tensors`."""
        return {"rows": self.rows, "columns": self.columns, "values": self.y}


Function = Callable[[np.ndarray], tuple[float, np.ndarray]]


class LinearState:
    """Where a search over a linear model stands; keeps the scores, so that a step is cheap."""

    def __init__(self, model: LinearModel, x: np.ndarray) -> None:
        """Start at x."""
        self.model = model
        self.x = x
        self.settle()

    def settle(self) -> None:
        """Compute the scores anew, against the drift of many small updates."""
        self.scores = self.model.scores(self.x)
        self.value = self.model.value(self.scores, self.x)

    def gradient(self) -> np.ndarray:
        """The gradient at x."""
        return self.model.gradient(self.model.slopes(self.scores), self.x)

    def look(self, d: np.ndarray, towards: np.ndarray | None = None) -> None:
        """Prepare to move along d; `towards`, if given, is x + d."""
        self.d = d
        if towards is None:
            self.change = self.model.scores(d)
        else:
            self.change = self.model.scores(towards) - self.scores
        ridge = self.model.ridge
        self.quadratic = (
            (ridge * float(np.vdot(self.x, d)), ridge * float(np.vdot(d, d)))
            if ridge
            else (0.0, 0.0)
        )

    def value_at(self, step: float) -> float:
        """f(x + step d)."""
        moved = self.scores + step * self.change
        x = self.x + step * self.d if self.model.ridge else self.x
        return self.model.value(moved, x)

    def slope_at(self, step: float) -> tuple[float, float]:
        """First and second derivative of f(x + step d) in step."""
        model = self.model
        moved = self.scores + step * self.change
        slope, bend = model.turn(moved, model.y)
        first = float(slope @ self.change) / model.n
        bend *= self.change
        second = float(bend @ self.change) / model.n
        one, two = self.quadratic
        return first + one + step * two, second + two

    def advance(self, step: float) -> None:
        """Move."""
        self.x = self.x + step * self.d
        self.scores = self.scores + step * self.change
        self.value = self.model.value(self.scores, self.x)


class FunctionState:
    """The same for a function that returns value and gradient."""

    def __init__(self, function: Function, x: np.ndarray) -> None:
        """Start at x."""
        self.function = function
        self.x = x
        self.settle()

    def settle(self) -> None:
        """Evaluate at x."""
        self.value, self._gradient = self._evaluate(self.x)

    def _evaluate(self, x: np.ndarray) -> tuple[float, np.ndarray]:
        value, gradient = self.function(x)
        gradient = np.asarray(gradient, dtype=np.float64)
        if gradient.shape != x.shape or not np.isfinite(value) or not np.isfinite(gradient).all():
            raise ValueError(
                f"the objective returned {value!r} and a gradient of shape {gradient.shape} at a "
                f"point of shape {x.shape}; both must be finite, and the shapes equal."
            )
        return float(value), gradient

    def gradient(self) -> np.ndarray:
        """The gradient at x."""
        return self._gradient

    def look(self, d: np.ndarray, towards: np.ndarray | None = None) -> None:
        """Prepare to move along d."""
        self.d = d

    def value_at(self, step: float) -> float:
        """f(x + step d)."""
        return self._evaluate(self.x + step * self.d)[0]

    def slope_at(self, step: float) -> tuple[float, float]:
        """First derivative of f(x + step d) in step; the second one is not known (0)."""
        return float(np.vdot(self._evaluate(self.x + step * self.d)[1], self.d)), 0.0

    def advance(self, step: float) -> None:
        """Move."""
        self.x = self.x + step * self.d
        self.settle()


State = LinearState | FunctionState
