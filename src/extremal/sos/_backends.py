"""Solvers behind one interface: our interior point in two forms, SCS, Clarabel, inner cones.

A back-end answers with a `Margin` or with why it has none. Whatever it raises, Rust panics that are
no `Exception` included, is caught here and becomes that sentence; it never becomes a verdict.
"""

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from ._cones import dominant, scaled_dominant
from ._deadline import seconds_left
from ._errors import TimeLimitError
from ._interior import Margin, Stop, kernel_form, moment_form
from ._problem import GramProblem, Vector

Backend = Literal["auto", "kernel", "moment", "scs", "clarabel", "dsos", "sdsos"]


def solve_margin(
    problem: GramProblem, stop: Stop, backend: Backend = "auto", memory: int = 2 << 30
) -> tuple[Margin | None, str]:
    """Return the largest t with Q - t I positive semidefinite, or None and why.

    Args:
        problem: With every term covered.
        stop: When the two bounds of t suffice.
        backend: `"auto"` takes the kernel form where it has fewer unknowns than the moment form
            has moments, and the other one if it fails.
        memory: Bytes that the solver may allocate.
    """
    names: list[Backend]
    if backend == "auto":
        kernel = problem.freedom <= max(300, 1.5 * len(problem.pairs.sums))
        names = ["kernel", "moment"] if kernel else ["moment", "kernel"]
    else:
        names = [backend]
    best: Margin | None = None
    said: list[str] = []
    for name in names:
        need = _bytes(problem, name)
        if need > memory:
            said.append(
                f"the {name} form was refused: it needs about {need >> 20:,} MiB, over the limit "
                f"of {memory >> 20:,} MiB"
            )
            continue
        found, trouble = _guarded(problem, stop, name)
        if trouble:
            said.append(trouble)
        if found is None:
            continue
        if best is None or found.upper - found.t < best.upper - best.t:
            best = found
        if not found.problem or stop(found.t, found.upper) or found.upper - found.t < 1e-6:
            break
    return best, "" if best is not None and not best.problem else "; ".join(said)


def _bytes(problem: GramProblem, name: Backend) -> int:
    n, m, k = problem.size, len(problem.pairs.sums), problem.freedom
    if name == "kernel":
        return 8 * (8 * n * n + 4 * (2 * k) ** 2)
    if name == "moment":
        return 8 * (8 * n * n + 3 * m * m + 3 * n * n)
    return 8 * 20 * (n * (n + 1) // 2 + n * n)


def _guarded(problem: GramProblem, stop: Stop, name: Backend) -> tuple[Margin | None, str]:
    calls: dict[str, Callable[[], Margin]] = {
        "kernel": lambda: kernel_form(problem, stop),
        "moment": lambda: moment_form(problem, stop),
        "scs": lambda: _scs(problem),
        "clarabel": lambda: _clarabel(problem),
        "dsos": lambda: dominant(problem),
        "sdsos": lambda: scaled_dominant(problem),
    }
    return guarded(calls[name], name)


def guarded(call: Callable[[], Margin], name: str) -> tuple[Margin | None, str]:
    """Run a solver; whatever it raises becomes a sentence, not a verdict."""
    try:
        found = call()
    except (KeyboardInterrupt, SystemExit, GeneratorExit):
        raise
    except (ImportError, TimeLimitError):
        raise  # an absent package is for the user to install, the time limit for the decision
    except BaseException as error:  # noqa: BLE001 - a Rust panic derives from BaseException
        return None, f"the solver {name} failed ({type(error).__name__}: {str(error)[:80]})"
    if not (np.isfinite(found.q).all() and np.isfinite(found.t)):
        why = f": {found.problem}" if found.problem else " returned numbers that are not finite"
        return None, f"the solver {name}{why}"
    trouble = f"the solver {name} stopped early: {found.problem}" if found.problem else ""
    return found, trouble


def _conic(problem: GramProblem, lower: bool, root: float) -> tuple[Any, Vector, Any, int]:
    """The conic form: unknowns (pairs, t); rows: identity = 0, then one triangle a block.

    Returns the matrix, the right side, the objective and the size of the zero cone. Triangles are
    stacked by columns, lower for SCS and upper for Clarabel; off-diagonal entries times `root`.
    """
    from scipy import sparse

    p = problem.pairs
    count, m = len(p.a), len(p.sums)
    rows, columns, values = [p.s], [np.arange(count)], [problem.weights]
    at = m
    pair_at = np.full((problem.size, problem.size), -1, dtype=np.int64)
    pair_at[p.a, p.b] = np.arange(count)
    for start, end in zip(problem.starts, problem.starts[1:], strict=False):
        n = end - start
        i, j = np.triu_indices(n)
        if not lower:  # upper triangle by columns
            order = np.lexsort((i, j))
            i, j = i[order], j[order]
        size = len(i)
        scale = np.where(i == j, 1.0, root)
        rows.append(at + np.arange(size))
        columns.append(pair_at[start + i, start + j])
        values.append(-scale)
        diagonal = np.flatnonzero(i == j)
        rows.append(at + diagonal)
        columns.append(np.full(len(diagonal), count))
        values.append(np.ones(len(diagonal)))
        at += size
    a = sparse.csc_array(
        (np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))),
        shape=(at, count + 1),
    )
    b = np.zeros(at)
    b[:m] = problem.floats
    c = np.zeros(count + 1)
    c[-1] = -1.0
    return a, b, c, m


def _margin(
    problem: GramProblem, q: Vector, dual: Vector, name: str, steps: int, trouble: str
) -> Margin:
    matrix = problem.matrix(problem.project(problem.matrix(q)))
    t = float(np.linalg.eigvalsh(matrix)[0])
    # The dual of the identity are moments; their bound of t counts if their matrix is nonnegative.
    p = problem.pairs
    y = dual if float((dual[p.s[p.a == p.b]]).sum()) >= 0 else -dual
    moments = problem.matrix(y[p.s])
    trace = float(np.trace(moments))
    upper = np.inf
    if trace > 0:
        moments = moments / trace
        least = float(np.linalg.eigvalsh(moments)[0])
        # Shifted by its least eigenvalue it is feasible; the shift moves the bound by at most this.
        if least > -1e-6:
            upper = float(y @ problem.floats) / trace
    else:
        moments = np.eye(problem.size) / max(1, problem.size)
    return Margin(t, max(upper, t), matrix, moments, steps, name, trouble)


def _scs(problem: GramProblem) -> Margin:
    from extremal.lab import require

    scs = require("scs", "sos")
    a, b, c, m = _conic(problem, True, np.sqrt(2.0))
    cone = {"z": m, "s": [len(block) for block in problem.blocks]}
    left = seconds_left()
    solver = scs.SCS(
        {"A": a, "b": b, "c": c}, cone, verbose=False, eps_abs=1e-8, eps_rel=1e-8,
        max_iters=20_000, time_limit_secs=0.0 if left is None else max(left, 1e-3),
    )  # fmt: skip
    found = solver.solve()
    status = found["info"]["status"]
    trouble = "" if status == "solved" else f"status {status}"
    return _margin(
        problem, found["x"][:-1], found["y"][:m], "scs", int(found["info"]["iter"]), trouble
    )


def _clarabel(problem: GramProblem) -> Margin:
    from scipy import sparse

    from extremal.lab import require

    clarabel = require("clarabel", "sos")
    a, b, c, m = _conic(problem, False, np.sqrt(2.0))
    cones = [clarabel.ZeroConeT(m)]
    cones += [clarabel.PSDTriangleConeT(len(block)) for block in problem.blocks]
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    left = seconds_left()
    if left is not None:
        settings.time_limit = left
    solver = clarabel.DefaultSolver(
        sparse.csc_matrix((len(c), len(c))), c, sparse.csc_matrix(a), b, cones, settings
    )
    found = solver.solve()
    status = str(found.status)
    trouble = "" if status == "Solved" else f"status {status}"
    return _margin(
        problem,
        np.array(found.x)[:-1],
        np.array(found.z)[:m],
        "clarabel",
        int(found.iterations),
        trouble,
    )
