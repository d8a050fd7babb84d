"""Proofs from what somebody already has: squares, or another tool's float Gram matrix."""

from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np

from ._errors import SosError
from ._exact import ExactBlock
from ._interior import Margin
from ._parts import gram_part
from ._polynomial import Polynomial, in_variables
from ._problem import gram_problem
from ._result import Certificate, Result, Stage, Verdict
from ._round import rounded
from ._sumset import unique_rows


def from_squares(
    p: Polynomial,
    squares: Sequence[Polynomial],
    weights: Sequence[int | Fraction] | None = None,
) -> Result:
    """Verify that p is the weighted sum of given squares, exactly.

    Args:
        p: The polynomial.
        squares: The polynomials that are squared.
        weights: Positive; default: 1 each.

    Returns:
        CERTIFIED_SOS with the Gram matrix that they make; UNKNOWN, with the first wrong
        coefficient, if they add up to something else.

    Raises:
        ValueError: A weight is missing or not positive.

    Example:
        >>> from extremal.sos import parse
        >>> from_squares(parse("x^2 - 2*x + 1"), [parse("x - 1")]).verdict.name
        'CERTIFIED_SOS'

    Cost: the products of the terms of each square.
    """
    given = [Fraction(w) for w in (weights or [1] * len(squares))]
    if len(given) != len(squares) or any(w <= 0 for w in given):
        raise ValueError(f"{len(squares)} squares need as many positive weights, got {given}.")
    names = p.variables
    qs = [in_variables(q, names) for q in squares]
    # Squares that share no monomial stay in blocks of their own, so sparse hints stay sparse.
    from ._sparsity import components

    rows = unique_rows(
        np.array(sorted({m for q in qs for m in q.terms}), dtype=np.int64).reshape(-1, len(names))
    )
    at = {tuple(m): i for i, m in enumerate(rows.tolist())}
    links = [(at[a], at[b]) for q in qs for a, b in zip(q.terms, list(q.terms)[1:], strict=False)]
    blocks: list[ExactBlock] = []
    for part in components(len(rows), links):
        place = {i: k for k, i in enumerate(part)}
        entries: list[list[Fraction]] = [[Fraction(0)] * len(part) for _ in part]
        for w, q in zip(given, qs, strict=True):
            terms = [(place[at[m]], c) for m, c in q.terms.items() if at[m] in place]
            for i, a in terms:
                for j, b in terms:
                    entries[i][j] += w * a * b
        denominator = int(np.lcm.reduce([v.denominator for row in entries for v in row], initial=1))
        blocks.append(
            ExactBlock(
                rows[part],
                tuple(tuple(int(v * denominator) for v in row) for row in entries),
                denominator,
            )
        )
    total = Polynomial(names, {})
    for w, q in zip(given, qs, strict=True):
        total = total + q * q * w
    wrong = (p - total).terms
    stage = Stage("hint", len(rows), 0, "", None, "verified" if not wrong else "wrong", 0.0)
    if wrong:
        m, c = next(iter(wrong.items()))
        from ._polynomial import written

        return Result(
            p,
            Verdict.UNKNOWN,
            f"the given squares do not add up to p: the coefficient of {written(names, m)} "
            f"is off by {c}",
            stages=(stage,),
        )
    part = gram_part(p, blocks)
    return Result(
        p,
        Verdict.CERTIFIED_SOS,
        f"the given squares add up to p: {part.claim['squares']} squares",
        Certificate((part,)),
        tuple(blocks),
        nonnegative=True,
        stages=(stage,),
    )


def from_gram(p: Polynomial, basis: Any, gram: Any) -> Result:
    """Turn another tool's float Gram matrix with its basis into a proof.

    Args:
        p: The polynomial.
        basis: A row of exponents for each row of the matrix, distinct.
        gram: Symmetric; it need satisfy the identity only roughly.

    Returns:
        CERTIFIED_SOS if rounding it gives an exact proof; else NUMERICAL_SOS or UNKNOWN, with
        how far it is from one.

    Raises:
        ValueError: The basis repeats a monomial or does not fit, or the matrix is not symmetric.

    Example:
        >>> from extremal.sos import parse
        >>> from_gram(parse("x^2 + 1"), [[0], [1]], [[0.99, 0], [0, 1.01]]).verdict.name
        'CERTIFIED_SOS'

    Cost: one projection onto the identity, then the exact tests of rounding.
    """
    rows = np.array(basis)
    q = np.array(gram, dtype=float)
    n = len(p.variables)
    if rows.ndim != 2 or rows.shape[1] != n or not np.issubdtype(rows.dtype, np.integer):
        raise ValueError(f"the basis is not rows of {n} integer exponents; give one a monomial.")
    if (rows < 0).any():
        raise ValueError("the basis has a negative exponent; monomials have none.")
    if len(np.unique(rows, axis=0)) != len(rows):
        raise ValueError("the basis has a monomial twice; give each once.")
    if q.shape != (len(rows),) * 2 or not np.isfinite(q).all():
        raise ValueError(
            f"the Gram matrix of shape {q.shape} is not a finite {len(rows)} x {len(rows)} matrix."
        )
    if np.abs(q - q.T).max(initial=0.0) > 1e-9 * np.abs(q).max(initial=1.0):
        raise ValueError("the Gram matrix is not symmetric; average it with its transpose.")
    problem = gram_problem(p, [rows.astype(np.int64)])
    if len(problem.uncovered):
        raise SosError(
            f"{len(problem.uncovered)} terms of p are no product of two monomials of the basis, so "
            "no Gram matrix in it gives p; add monomials, for instance with sos.repair."
        )
    scaled = q / problem.scale
    projected = problem.matrix(problem.project(scaled))
    far = float(np.abs(projected - scaled).max(initial=0.0))
    least = float(np.linalg.eigvalsh(projected)[0])
    margin = Margin(least, np.inf, projected, projected, 0, "given")
    exact = rounded(problem, margin.q)
    outcome = "proved" if exact is not None else "not rounded"
    stage = Stage("hint", len(rows), problem.freedom, "", least * problem.scale, outcome, 0.0)
    if exact is not None:
        part = gram_part(p, exact)
        return Result(
            p,
            Verdict.CERTIFIED_SOS,
            f"the given Gram matrix rounds to a proof: {part.claim['squares']} squares",
            Certificate((part,)),
            exact,
            nonnegative=True,
            stages=(stage,),
        )
    numerical = least > -1e-6 and far < 1e-6
    return Result(
        p,
        Verdict.NUMERICAL_SOS if numerical else Verdict.UNKNOWN,
        f"the given Gram matrix misses the identity by {far:.1e} and, moved onto it, has least "
        f"eigenvalue {least:.1e} (of the largest coefficient); no rounding of it is a proof",
        stages=(stage,),
        residual=max(far, -least),
    )
