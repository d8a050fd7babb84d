"""From a float Gram matrix to an exact one: round the free pairs, let the others follow.

Rounding in the kernel form keeps the identity whatever is rounded, so only semidefiniteness has to
be tested. Small denominators come first: on the boundary of the cone they often hit a proof that no
large one does.
"""

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from ._deadline import check_time
from ._exact import ExactBlock, factors
from ._problem import GramProblem, Matrix, Vector

DENOMINATORS = (1, 2, 3, 4, 6, 10, 12, 60, *(10**k for k in range(3, 13)))
_OF_DATA = 12  # so many of them, to 10^6


def rounded(
    problem: GramProblem, q: Matrix, boundary: bool = False
) -> tuple[ExactBlock, ...] | None:
    """Return exact blocks near a float Gram matrix (p over its scale), or None.

    Args:
        problem: What it is a solution of.
        q: The float matrix.
        boundary: Whether its margin is 0 up to rounding; then only denominators are tried that can
            hit a proof by being those of the data.

    Cost: a float eigenvalue test for each denominator, an exact test where it passes.
    """
    values = q[problem.pairs.a, problem.pairs.b][problem.free] * problem.scale
    if not np.isfinite(values).all():
        return None
    previous: np.ndarray | None = None
    for d in DENOMINATORS[:_OF_DATA] if boundary else DENOMINATORS:
        check_time()
        numerators = np.rint(values * d)
        if np.abs(numerators).max(initial=0.0) > 2.0**62:
            break
        if not plausible(problem, numerators / d):
            continue
        same = previous is not None and np.array_equal(previous, numerators / d)
        previous = numerators / d
        if same:
            continue
        found = exact_blocks(problem, [Fraction(int(v), d) for v in numerators])
        if found is not None:
            return found
    return None


def plausible(problem: GramProblem, free: Vector) -> bool:
    """Whether the completed matrix is positive semidefinite up to float rounding."""
    m = problem.matrix(problem.complete(free / problem.scale))
    for start, end in zip(problem.starts, problem.starts[1:], strict=False):
        n = end - start
        block = m[start:end, start:end]
        slack = 1e-12 * n
        if block.diagonal().min() < -1e-12 or not factors(block + slack * np.eye(n)):
            return False
    return True


def exact_blocks(problem: GramProblem, free: Sequence[Fraction]) -> tuple[ExactBlock, ...] | None:
    """Complete exact values of the free pairs; None if a block is not positive semidefinite."""
    values, denominator = completed(problem, free)
    if values is None:
        return None
    p = problem.pairs
    size = problem.size
    full = [[0] * size for _ in range(size)]
    for a, b, v in zip(p.a.tolist(), p.b.tolist(), values, strict=True):
        full[a][b] = full[b][a] = v
    out: list[ExactBlock] = []
    for rows, start, end in zip(problem.blocks, problem.starts, problem.starts[1:], strict=False):
        block = [row[start:end] for row in full[start:end]]
        divisor = math.gcd(denominator, *(v for row in block for v in row))
        kept = [i for i, row in enumerate(block) if any(row)]  # zero rows say nothing
        if not kept:
            continue
        entries = tuple(tuple(block[i][j] // divisor for j in kept) for i in kept)
        found = ExactBlock(rows[kept], entries, denominator // divisor)
        if not found.semidefinite:
            return None
        out.append(found)
    return tuple(out)


def completed(problem: GramProblem, free: Sequence[Fraction]) -> tuple[list[int] | None, int]:
    """Return integers over one denominator for all pairs, the identity holding exactly."""
    if len(problem.uncovered):
        return None, 1
    c = problem.exact
    denominator = 2 * math.lcm(*(v.denominator for v in free), *(v.denominator for v in c))
    p = problem.pairs
    entries = [0] * len(p.a)
    left = [v.numerator * (denominator // v.denominator) for v in c]
    weight = problem.weights.astype(int).tolist()
    s = p.s.tolist()
    for e, v in zip(problem.free.tolist(), free, strict=True):
        value = v.numerator * (denominator // v.denominator)
        entries[e] = value
        left[s[e]] -= weight[e] * value
    for e, value in zip(problem.dependent.tolist(), left, strict=True):
        entries[e] = value // weight[e]  # exact: everything over 2 lcm is even
    return entries, denominator
