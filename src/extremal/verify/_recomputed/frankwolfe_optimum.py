"""Checker of `frankwolfe/optimum`: f(x) - gap <= min f over a convex region <= f(x).

Establishes: the hashes of problem and solution; f(x), computed again from the stored data; that x
lies in the region; the duality gap <grad f(x), x> - min <grad f(x), v>, with the minimum from the
region's own formula or, over Birkhoff's and flow polytopes, from stored dual potentials.
Does not say: that the optimum is unique, or that the data are right; it is float64 arithmetic.
"""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load

from extremal.verify import _fields as fields
from extremal.verify._recomputed._frankwolfe_witnessed import bound, witnesses
from extremal.verify._rejected import Rejected

KIND = "frankwolfe/optimum"
STRENGTH = "recomputed"
CLAIM = (
    "problem_sha256", "solution_sha256", "objective", "region", "shape", "value", "gap",
    "violation", "tolerance", "feasibility",
)  # fmt: skip
WITNESS = ("problem", "solution")

_LIMIT = 1e-9
_MAX_ENTRIES = 1 << 27


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    problem = _tensors(claim, witness, folder, "problem")
    solution = _tensors(claim, witness, folder, "solution")
    region = fields.mapping(claim, "region")
    if set(solution) != {"x"} | witnesses(region):
        raise Rejected(f"the solution holds the tensors {sorted(solution)}.")
    x = solution["x"]
    if x.dtype != np.float64 or list(x.shape) != fields.items(claim, "shape") or x.size == 0:
        raise Rejected(f"x is {x.dtype} of shape {list(x.shape)}, claimed {claim['shape']!r}.")

    value, gradient = _objective(fields.mapping(claim, "objective"), problem, x)
    tolerance = fields.number(claim, "tolerance")
    if not 0 <= tolerance <= _LIMIT * (1 + abs(value)):
        raise Rejected(f"the tolerance {tolerance} is over {_LIMIT} (1 + |f(x)|).")
    feasibility = fields.number(claim, "feasibility")
    if not 0 <= feasibility <= _LIMIT:
        raise Rejected(f"the feasibility {feasibility} is over {_LIMIT}.")

    violation, least = bound(x, gradient, region, solution)
    gap = float(np.vdot(gradient, x)) - least
    for name, found in (("value", value), ("gap", gap)):
        stated = fields.number(claim, name)
        if not abs(stated - found) <= tolerance:
            raise Rejected(f"{name} is stated as {stated!r}, computed {found!r}.")
    stated = fields.number(claim, "violation")
    if not abs(stated - max(0.0, violation)) <= 1e-12:
        raise Rejected(f"violation is stated as {stated!r}, computed {max(0.0, violation)!r}.")
    if not violation <= feasibility:
        raise Rejected(f"x is outside the region by {violation:.3g}, more than {feasibility}.")
    return [
        f"f(x) = {value:.12g}, so the least value over the region is at most that",
        f"the duality gap is {max(gap, 0.0):.3g}: the least value is at least {value - gap:.12g}",
        f"x lies in {region['region']} up to {max(violation, 0.0):.2g}",
    ]


def _objective(
    objective: dict[str, Any], problem: dict[str, np.ndarray], x: np.ndarray
) -> tuple[float, np.ndarray]:
    """Return f(x) and its gradient."""
    if set(objective) != {"kind", "ridge"}:
        raise Rejected(f"the objective has the fields {sorted(objective)}, not kind and ridge.")
    kind, ridge = fields.text(objective, "kind"), fields.number(objective, "ridge")
    if ridge < 0:
        raise Rejected(f"ridge is {ridge}, so the function may not be convex.")
    if kind == "completion":
        value, gradient = _completion(problem, x)
    else:
        value, gradient = _over_rows(kind, problem, x)
    return value + 0.5 * ridge * float(np.vdot(x, x)), gradient + ridge * x


def _completion(problem: dict[str, np.ndarray], x: np.ndarray) -> tuple[float, np.ndarray]:
    _names(problem, {"rows", "columns", "values"})
    rows, columns, values = problem["rows"], problem["columns"], problem["values"]
    if x.ndim != 2 or not rows.shape == columns.shape == values.shape == (values.size,):
        raise Rejected("the entries to complete do not fit x.")
    for at, n in ((rows, x.shape[0]), (columns, x.shape[1])):
        if at.dtype != np.int64 or (at < 0).any() or (at >= n).any():
            raise Rejected("an entry to complete lies outside x.")
    residual = x[rows, columns] - values
    gradient = np.zeros_like(x)
    np.add.at(gradient, (rows, columns), residual / values.size)
    return 0.5 * float(np.mean(residual**2)), gradient


def _over_rows(
    kind: str, problem: dict[str, np.ndarray], x: np.ndarray
) -> tuple[float, np.ndarray]:
    dense = "X" in problem
    a = data = np.zeros(0)
    indices: Any = None
    row: Any = None
    _names(problem, {"y", "X"} if dense else {"y", "data", "indices", "indptr"})
    y, flat = problem["y"], x.ravel()
    n = y.size
    if y.shape != (n,) or n == 0:
        raise Rejected("there are no labels.")
    if dense:
        a = problem["X"]
        if a.shape != (n, flat.size):
            raise Rejected(f"X has shape {a.shape}, not {(n, flat.size)}.")
        scores = a @ flat
    else:
        data, indices, indptr = problem["data"], problem["indices"], problem["indptr"]
        good = (
            indices.dtype == np.dtype(np.int64)
            and indptr.dtype == np.dtype(np.int64)
            and data.shape == indices.shape == (data.size,)
            and indptr.shape == (n + 1,)
            and indptr[0] == 0
            and indptr[-1] == data.size
            and bool((np.diff(indptr) >= 0).all())
            and bool(((indices >= 0) & (indices < flat.size)).all())
        )
        if not good:
            raise Rejected("the compressed rows are malformed.")
        row = np.repeat(np.arange(n), np.diff(indptr))
        scores = np.bincount(row, data * flat[indices], n)
    if kind in {"logistic", "squared-hinge"} and not np.isin(y, (-1.0, 1.0)).all():
        raise Rejected("a label is neither -1 nor 1.")
    if kind == "logistic":
        margin = y * scores
        value = float(np.mean(np.logaddexp(0.0, -margin)))
        slope = -y * np.exp(-np.logaddexp(0.0, margin))
    elif kind == "squared":
        value, slope = 0.5 * float(np.mean((scores - y) ** 2)), scores - y
    elif kind == "squared-hinge":
        short = np.maximum(0.0, 1.0 - y * scores)
        value, slope = 0.5 * float(np.mean(short**2)), -y * short
    else:
        raise Rejected(f"the objective {kind!r} is none that this checker knows.")
    slope = slope / n
    gradient = slope @ a if dense else np.bincount(indices, data * slope[row], flat.size)
    return value, gradient.reshape(x.shape)


def _names(problem: dict[str, np.ndarray], wanted: set[str]) -> None:
    if set(problem) != wanted:
        raise Rejected(f"the problem holds {sorted(problem)}, not {sorted(wanted)}.")


def _tensors(
    claim: dict[str, Any], witness: dict[str, Any], folder: Path, name: str
) -> dict[str, np.ndarray]:
    file = fields.file(folder, fields.text(witness, name))
    if file.stat().st_size > 8 * _MAX_ENTRIES:
        raise Rejected(f"the file {witness[name]} is larger than this checker reads.")
    raw = file.read_bytes()
    if hashlib.sha256(raw).hexdigest() != fields.digest(claim, f"{name}_sha256"):
        raise Rejected(f"the file {witness[name]} has changed: its SHA-256 is not the stated one.")
    try:
        tensors = load(raw)
    except SafetensorError as error:
        raise Rejected(f"the file {witness[name]} is no safetensors file ({error}).") from error
    for key, tensor in tensors.items():
        if tensor.dtype.str not in ("<f8", "<i8"):
            raise Rejected(f"the tensor {key} is {tensor.dtype}, neither F64 nor I64.")
        if tensor.dtype == np.float64 and not np.isfinite(tensor).all():
            raise Rejected(f"the tensor {key} holds NaN or infinity.")
    if not tensors:
        raise Rejected(f"the file {witness[name]} holds no tensor.")
    return tensors
