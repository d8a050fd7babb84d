"""Inner cones: diagonally dominant and scaled diagonally dominant Gram matrices.

Cheap sufficient tests: a linear program (DSOS) or a second-order cone program (SDSOS) instead of a
semidefinite one. A Gram matrix found here is rounded and checked as any other; none found here says
nothing, so no upper bound is ever given.

Source: Ahmadi, Majumdar: DSOS and SDSOS optimization, arXiv:1706.02586.
"""

import numpy as np
from scipy import sparse

from ._deadline import seconds_left
from ._interior import Margin
from ._problem import GramProblem


def dominant(problem: GramProblem) -> Margin:
    """Maximise t with Q - t I diagonally dominant.

    Cost: one linear program with two unknowns an entry.
    """
    from scipy.optimize import linprog

    p = problem.pairs
    count, m = len(p.a), len(p.sums)
    off = np.flatnonzero(p.a != p.b)
    k = len(off)
    # Unknowns: pairs q, bounds u of |q| off the diagonal, t.
    identity = sparse.csr_array(
        (problem.weights, (p.s, np.arange(count))), shape=(m, count + k + 1)
    )
    place = np.arange(k)
    diagonal = np.full(problem.size, -1, dtype=np.int64)
    same = np.flatnonzero(p.a == p.b)
    diagonal[p.a[same]] = same
    one = np.ones(k)
    rows = np.concatenate([place, place, k + place, k + place])
    columns = np.concatenate([off, count + place, off, count + place])
    values = np.concatenate([one, -one, -one, -one])
    # t + sum of u - q[a, a] <= 0 for every row a
    each = np.arange(problem.size)
    rows = np.concatenate([rows, 2 * k + p.a[off], 2 * k + p.b[off], 2 * k + each, 2 * k + each])
    columns = np.concatenate(
        [columns, count + place, count + place, diagonal, np.full(problem.size, count + k)]
    )
    values = np.concatenate([values, one, one, -np.ones(problem.size), np.ones(problem.size)])
    system = sparse.csr_array(
        (values, (rows, columns)), shape=(2 * k + problem.size, count + k + 1)
    )
    c = np.zeros(count + k + 1)
    c[-1] = -1.0
    free = [(None, None)] * count
    left = seconds_left()
    answer = linprog(
        c, A_ub=system, b_ub=np.zeros(2 * k + problem.size), A_eq=identity, b_eq=problem.floats,
        bounds=[*free, *[(0, None)] * k, (None, None)], method="highs",
        options={} if left is None else {"time_limit": left},
    )  # fmt: skip
    if answer.status != 0:
        return _none(problem, "dsos", f"the linear program ended with status {answer.status}")
    return _found(problem, answer.x[:count], "dsos")


def scaled_dominant(problem: GramProblem) -> Margin:
    """Maximise t with Q - t I a sum of semidefinite 2 x 2 matrices.

    Cost: one second-order cone program with three unknowns an entry, by Clarabel.

    Raises:
        MissingExtra: Clarabel is not installed.
    """
    from extremal.lab import require

    clarabel = require("clarabel", "sos")
    p = problem.pairs
    m, n = len(p.sums), problem.size
    off = np.flatnonzero(p.a != p.b)
    k = len(off)
    where_of = np.full(n, -1, dtype=np.int64)
    same = np.flatnonzero(p.a == p.b)
    where_of[p.a[same]] = p.s[same]
    # Unknowns: for each pair the 2 x 2 matrix (x, y; y, z), the diagonal d >= 0, t.
    x, y, z = np.arange(k), k + np.arange(k), 2 * k + np.arange(k)
    d, t = 3 * k + np.arange(n), 3 * k + n
    parts = [
        (p.s[off], y, np.full(k, 2.0)),
        (where_of[p.a[off]], x, np.ones(k)),
        (where_of[p.b[off]], z, np.ones(k)),
        (where_of, d, np.ones(n)),
        (where_of, np.full(n, t), np.ones(n)),
        (m + np.arange(n), d, -np.ones(n)),
    ]
    start = m + n + 3 * np.arange(k)  # (x + z, x - z, 2 y) in the second-order cone
    parts += [
        (start, x, -np.ones(k)), (start, z, -np.ones(k)),
        (start + 1, x, -np.ones(k)), (start + 1, z, np.ones(k)),
        (start + 2, y, np.full(k, -2.0)),
    ]  # fmt: skip
    system = sparse.csc_matrix(
        (
            np.concatenate([v for _, _, v in parts]),
            (np.concatenate([r for r, _, _ in parts]), np.concatenate([c for _, c, _ in parts])),
        ),
        shape=(m + n + 3 * k, t + 1),
    )
    b = np.zeros(m + n + 3 * k)
    b[:m] = problem.floats
    c = np.zeros(t + 1)
    c[-1] = -1.0
    settings = clarabel.DefaultSettings()
    settings.verbose = False
    settings.max_threads = 1
    left = seconds_left()
    if left is not None:
        settings.time_limit = left
    cones = [clarabel.ZeroConeT(m), clarabel.NonnegativeConeT(n)]
    cones += [clarabel.SecondOrderConeT(3)] * k
    found = clarabel.DefaultSolver(
        sparse.csc_matrix((t + 1, t + 1)), c, system, b, cones, settings
    ).solve()
    if str(found.status) not in {"Solved", "AlmostSolved"}:
        return _none(problem, "sdsos", f"status {found.status}")
    v = np.array(found.x)
    q = np.zeros(len(p.a))
    q[off] = v[y]
    total = np.zeros(n) + v[t] + v[d]
    np.add.at(total, p.a[off], v[x])
    np.add.at(total, p.b[off], v[z])
    q[same] = total[p.a[same]]
    return _found(problem, q, "sdsos")


def _found(problem: GramProblem, q: np.ndarray, name: str) -> Margin:
    matrix = problem.matrix(problem.project(problem.matrix(q)))
    least = float(np.linalg.eigvalsh(matrix)[0])
    moments = np.eye(problem.size) / max(1, problem.size)
    return Margin(least, np.inf, matrix, moments, 0, name)


def _none(problem: GramProblem, name: str, why: str) -> Margin:
    empty = np.full((problem.size, problem.size), np.nan)
    return Margin(-np.inf, np.inf, empty, empty, 0, name, why)
