"""Problems from files: the svmlight format, and scikit-learn's breast cancer data by name."""

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from extremal.lab import require

from ._config import Config
from ._errors import FrankWolfeError
from ._objectives import LinearModel, LogisticLoss, SquaredHinge, SquaredLoss

NAMES = ("breast-cancer",)
_LOSSES: dict[str, type[LinearModel]] = {
    "logistic": LogisticLoss,
    "squared": SquaredLoss,
    "squared-hinge": SquaredHinge,
}


def read_problem(source: str | Path, config: Config) -> LinearModel:
    """Make the objective that options and a file, or a shipped name, describe."""
    if str(source) in NAMES:
        data = require("sklearn.datasets", "frankwolfe").load_breast_cancer()
        rows, y = np.asarray(data.data), np.asarray(data.target)
        rows = (rows - rows.mean(0)) / rows.std(0)
    else:
        rows, y = read_svmlight(Path(source))
        if config.standardize:
            rows = rows.toarray()
            deviation = rows.std(0)
            rows = (rows - rows.mean(0)) / np.where(deviation > 0, deviation, 1.0)
    return _LOSSES[config.loss](rows, y, ridge=config.ridge)


def read_svmlight(path: Path) -> tuple[Any, np.ndarray]:
    """Read lines of `label index:value …`, indices from 1 upwards; `#` starts a comment.

    Raises:
        OSError: There is no such file.
        FrankWolfeError: A line is malformed; it is named.
    """
    labels: list[float] = []
    data: list[float] = []
    indices: list[int] = []
    ends = [0]
    with path.open() as file:
        for number, line in enumerate(file, start=1):
            words = line.partition("#")[0].split()
            if not words:
                continue
            try:
                labels.append(float(words[0]))
                pairs = [w.split(":") for w in words[1:] if not w.startswith("qid:")]
                row = [int(i) - 1 for i, _ in pairs]
                data += [float(v) for _, v in pairs]
            except ValueError as error:
                raise FrankWolfeError(
                    f"line {number} of {path} is not in svmlight form ({error}); expected "
                    "`label index:value …`."
                ) from error
            if row and (row[0] < 0 or any(b <= a for a, b in pairwise(row))):
                raise FrankWolfeError(
                    f"line {number} of {path} has an index below 1 or not in ascending order."
                )
            indices += row
            ends.append(len(indices))
    if not labels:
        raise FrankWolfeError(f"{path} holds no example.")
    shape = (len(labels), max(indices, default=-1) + 1)
    if shape[1] == 0:
        raise FrankWolfeError(f"{path} holds labels but no feature.")
    rows = sp.csr_array((data, indices, ends), shape=shape)
    if not (np.isfinite(rows.data).all() and np.isfinite(labels).all()):
        raise FrankWolfeError(f"{path} holds NaN or infinity; remove or fill those entries.")
    return rows, np.array(labels)
