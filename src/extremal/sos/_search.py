"""The decision: from a polynomial to a verdict, cheapest proof first.

1. Trivial cases, and squares of one and two monomials that can be written down. 2. The seed basis
(even support or an oracle), repaired to cover the support: a Gram matrix there proves p. 3. A
rational point with p < 0. 4. Larger prefixes of the scored candidates, up to K(p). 5. On K(p):
squares, or a facial reduction, or a dual functional.

Rules: only an exact object makes a CERTIFIED verdict or NEGATIVE. A solver that fails, times out or
raises says nothing. Infeasibility below K(p) says nothing but "grow".
"""

import dataclasses
import math
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from fractions import Fraction
from typing import cast

import numpy as np

from ._backends import Backend, guarded, solve_margin
from ._bases import LOSSLESS, Bases, Name
from ._consistency import repair
from ._deadline import deadline
from ._direct import direct_blocks
from ._errors import MemoryLimitError, TimeLimitError
from ._exact import ExactBlock
from ._faces import certify_on_face
from ._interior import Margin, kernel_form
from ._parts import gram_part, negative_part, refutation_part
from ._polynomial import Polynomial
from ._problem import GramProblem, gram_problem
from ._refute import Refutation, from_diagonal, from_dual, from_uncovered
from ._result import Certificate, Result, Stage, Verdict, describe_point
from ._round import rounded
from ._sparsity import Blocks, sign_blocks
from ._sumset import Rows, find
from ._witness import Minimum, minima, negative_point, starts, zeros

Scores = Callable[[Polynomial, Rows], np.ndarray]  # of candidates: higher is more likely needed
Seed = Callable[[Polynomial], Rows]

_BOUNDARY = 1e-5  # |t| over the largest coefficient below which a case counts as on the boundary
_SMALL = 40  # K(p) of at most so many monomials is solved at once


@dataclass(frozen=True)
class Limits:
    """What a decision may spend.

    Attributes:
        seconds: Wall time, or None. Looked at between stages and inside the long ones.
        memory: Bytes that one step may allocate.
        lattice: Lattice points of H(p) at most.
    """

    seconds: float | None = None
    memory: int = 2 << 30
    lattice: int = 100_000


@dataclass
class _Log:
    begun: float
    limits: Limits
    stages: list[Stage] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, part: str) -> Generator[None]:
        begun = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[part] = self.seconds.get(part, 0.0) + time.perf_counter() - begun

    def over(self) -> bool:
        limit = self.limits.seconds
        return limit is not None and time.perf_counter() - self.begun > limit


def decide(
    p: Polynomial,
    *,
    basis: "Name | None" = None,
    backend: Backend = "auto",
    seed_rule: "Name | Seed" = "even-support",
    scores: Scores | None = None,
    growth: float = 1.5,
    limits: Limits | None = None,
    seed: int = 0,
) -> Result:
    """Return the verdict on a polynomial.

    Args:
        p: The polynomial.
        basis: Use this basis only; None for the cascade.
        backend: Which solver.
        seed_rule: Rule or oracle of the first basis.
        scores: Orders the candidates of the cascade; default: votes.
        growth: Factor between the sizes of the cascade, over 1.
        limits: Time and memory.
        seed: Of the search for points.

    Returns:
        The result; its certificate is not written yet.
    """
    log = _Log(time.perf_counter(), limits or Limits(), notes=list(p.notes))
    trivial = _trivial(p, log)
    if trivial is not None:
        return trivial
    if basis is None and backend == "auto" and not callable(seed_rule):
        done = _directly(p, log)
        if done is not None:
            return done
    bases = Bases(p, log.limits.lattice)
    try:
        with deadline(log.limits.seconds):
            if basis is not None:
                return _one_basis(p, bases, basis, backend, seed, log)
            return _cascade(p, bases, backend, seed_rule, scores, growth, seed, log)
    except MemoryLimitError as error:
        return _open(p, log, f"a step was refused: {error}")
    except TimeLimitError:
        return _late(p, log)


def _trivial(p: Polynomial, log: _Log) -> Result | None:
    if p.degree == 0:
        c = next(iter(p.terms.values()), Fraction(0))
        if c < 0:
            return _negative(p, [Fraction(0)] * len(p.variables), log)
        rows = np.zeros((1, len(p.variables)), dtype=np.int64)
        blocks = () if c == 0 else (ExactBlock(rows, ((c.numerator,),), c.denominator),)
        return _sos(p, blocks, log, "a constant that is at least 0")
    return None


def _sos(p: Polynomial, blocks: tuple[ExactBlock, ...], log: _Log, reason: str) -> Result:
    part = gram_part(p, blocks)
    return Result(
        p,
        Verdict.CERTIFIED_SOS,
        f"{reason}: {part.claim['squares']} squares",
        Certificate((part,)),
        blocks,
        nonnegative=True,
        stages=tuple(log.stages),
        seconds=log.seconds,
        notes=tuple(log.notes),
    )


def _negative(p: Polynomial, point: list[Fraction], log: _Log) -> Result:
    value = p(point)
    return Result(
        p,
        Verdict.NEGATIVE,
        f"p = {_shown(value)} < 0 at {describe_point(p.variables, point)}",
        Certificate((negative_part(p, point),)),
        point=tuple(point),
        stages=tuple(log.stages),
        seconds=log.seconds,
        notes=tuple(log.notes),
    )


def _not_sos(p: Polynomial, found: Refutation, log: _Log) -> Result:
    if len(found.functional) == 1:
        (m,) = found.functional
        reason = f"the coefficient {p.terms[m]} of one term contradicts every choice of squares"
    else:
        reason = f"a functional that is at least 0 on squares is {_shown(found.value)} on p"
    return Result(
        p,
        Verdict.CERTIFIED_NOT_SOS,
        f"{reason} ({found.monomials} possible monomials)",
        Certificate((refutation_part(p, found),)),
        stages=tuple(log.stages),
        seconds=log.seconds,
        notes=tuple(log.notes),
    )


def _open(p: Polynomial, log: _Log, reason: str, margin: Margin | None = None) -> Result:
    largest = max((s.size for s in log.stages), default=0)
    if margin is not None:
        error = max(0.0, -float(np.linalg.eigvalsh(margin.q)[0]))
        if error < 1e-6:
            return Result(
                p,
                Verdict.NUMERICAL_SOS,
                f"a float Gram matrix of {len(margin.q)} monomials has least eigenvalue "
                f"{-error:.1e} of the largest coefficient, but {reason}",
                stages=tuple(log.stages),
                seconds=log.seconds,
                residual=error,
                notes=tuple(log.notes),
            )
    return Result(
        p,
        Verdict.UNKNOWN,
        f"{reason}; the largest basis tried has {largest} monomials",
        stages=tuple(log.stages),
        seconds=log.seconds,
        notes=tuple(log.notes),
    )


def _late(p: Polynomial, log: _Log) -> Result:
    return _open(p, log, f"the time limit of {log.limits.seconds} s is reached")


def _shown(value: Fraction) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{float(value):.6g}"


@dataclass
class _Attempt:
    """What one basis gave."""

    blocks: tuple[ExactBlock, ...] | None
    problem: GramProblem
    margin: Margin | None
    stage: int


def _stop(lower: float, upper: float) -> bool:
    """Enough for a proof either way, or settled on the boundary."""
    if lower > 1e-6 and lower > 0.3 * upper:
        return True
    if upper < -1e-6 and lower > 2 * upper:
        return True
    return upper - lower < 1e-11 * max(1.0, abs(upper))


def _attempt(p: Polynomial, name: str, blocks: Blocks, backend: Backend, log: _Log) -> _Attempt:
    begun = time.perf_counter()
    with log.timed("basis"):
        problem = gram_problem(p, blocks, log.limits.memory)
    margin: Margin | None = None
    exact: tuple[ExactBlock, ...] | None = None
    if len(problem.uncovered):
        outcome = f"{len(problem.uncovered)} terms not covered"
    else:
        with log.timed("solver"):
            margin, trouble = solve_margin(problem, _stop, backend, log.limits.memory)
        if trouble:
            log.notes.append(trouble)
        if margin is None:
            outcome = "the solver failed"
        elif margin.upper < -1e-7:
            outcome = "infeasible"
        else:
            with log.timed("proof"):
                exact = rounded(problem, margin.q, abs(margin.t) < 1e-9)
            outcome = "proved" if exact is not None else "feasible up to rounding"
            if exact is None and margin.t < -_BOUNDARY:
                outcome = "open"
    log.stages.append(
        Stage(
            name,
            problem.size,
            problem.freedom,
            "" if margin is None else margin.solver,
            None if margin is None else margin.t * problem.scale,
            outcome,
            time.perf_counter() - begun,
        )
    )
    return _Attempt(exact, problem, margin, len(log.stages) - 1)


def _balanced(
    problem: GramProblem, margin: Margin, log: _Log
) -> tuple[Margin, tuple[ExactBlock, ...] | None]:
    """Solve again with rows scaled to diagonals of about 1, which may show a thin interior."""
    d = problem.balance
    if d.max() / d.min() < 3 or problem.freedom > 1500:
        return margin, None
    with log.timed("solver"):
        again, _ = guarded(lambda: kernel_form(problem, _stop, np.diag(d)), "kernel")
    if again is None:
        return margin, None
    with log.timed("proof"):
        exact = rounded(problem, again.q)
    return (again if again.t > 1e-9 else margin), exact


def _relabel(log: _Log, attempt: _Attempt, outcome: str) -> None:
    old = log.stages[attempt.stage]
    log.stages[attempt.stage] = Stage(
        old.basis, old.size, old.freedom, old.solver, old.margin, outcome, old.seconds
    )


def _point_of(problem: GramProblem, margin: Margin) -> list[np.ndarray]:
    """The first moments of the dual, where the basis has 1 and the variables."""
    n = len(problem.p.variables)
    at = find(np.vstack([np.zeros((1, n), np.int64), np.eye(n, dtype=np.int64)]), problem.rows)
    if at[0] < 0 or margin.moments[at[0], at[0]] <= 1e-12:
        return []
    x = np.array(
        [margin.moments[at[0], i] / margin.moments[at[0], at[0]] if i >= 0 else 0.0 for i in at[1:]]
    )
    return [x] if np.isfinite(x).all() else []


def _settle(
    p: Polynomial, attempt: _Attempt, log: _Log, seed: int, search: bool = True
) -> Result | None:
    """Squares on the boundary, or a negative point; None if neither is found."""
    margin = attempt.margin
    if attempt.blocks is not None:
        return _sos(p, attempt.blocks, log, "a sum of squares")
    around = [] if margin is None else _point_of(attempt.problem, margin)
    seen: list[Minimum] = []
    if search:
        with log.timed("search"):
            point = negative_point(p, seed, around, seen=seen)
        if point is not None:
            return _negative(p, point, log)
    if margin is None or abs(margin.t) > _BOUNDARY or log.over():
        return None
    with log.timed("search"):
        vanishing = zeros(p, seen or minima(p, [*around, *starts(len(p.variables), 4, seed)]))
    with log.timed("proof"):
        found = certify_on_face(attempt.problem, margin, vanishing, _stop)
    if found is not None:
        _relabel(log, attempt, "proved on a face")
        return _sos(p, found, log, "a sum of squares, on the boundary of the cone")
    attempt.margin, found = _balanced(attempt.problem, margin, log)
    if found is not None:
        _relabel(log, attempt, "proved with balanced rows")
        return _sos(p, found, log, "a sum of squares")
    return None


def _refuted(p: Polynomial, bases: Bases, attempt: _Attempt, log: _Log) -> Result | None:
    if not _is_whole(attempt.problem, bases):
        return None  # infeasible on fewer monomials, which proves nothing
    with log.timed("proof"):
        normals = bases.half.normals
        if len(attempt.problem.uncovered):
            return _not_sos(p, from_uncovered(attempt.problem, normals), log)
        found = from_diagonal(attempt.problem, normals)
        if found is None and attempt.margin is not None and attempt.margin.upper < 0:
            found = from_dual(attempt.problem, attempt.margin, normals)
    return None if found is None else _not_sos(p, found, log)


def _is_whole(problem: GramProblem, bases: Bases) -> bool:
    """Whether the rows of a problem are exactly K(p)."""
    whole = bases.consistent
    return len(whole) == problem.size and bool((find(whole, problem.rows) >= 0).all())


def _last(
    p: Polynomial, bases: Bases, attempt: _Attempt, log: _Log, seed: int, searched: bool
) -> Result:
    """Settle on K(p), where infeasibility is a proof."""
    done = _settle(p, attempt, log, seed, not searched)
    if done is not None:
        return done
    refuted = _refuted(p, bases, attempt, log)
    if refuted is not None:
        return refuted
    margin = attempt.margin
    if margin is None:
        return _open(p, log, "the solver failed on every monomial that squares could use")
    if abs(margin.t) <= _BOUNDARY:
        return _open(p, log, "no exact one was found", margin)
    return _open(p, log, "no exact proof was found either way")


def _directly(p: Polynomial, log: _Log) -> Result | None:
    """Squares that can be written down, if greedy choices lead to some."""
    begun = time.perf_counter()
    with log.timed("proof"):
        blocks = direct_blocks(p)
    if blocks is None:
        return None  # no stage: nothing was learnt
    size = sum(len(b.rows) for b in blocks)
    log.stages.append(Stage("direct", size, 0, "", None, "proved", time.perf_counter() - begun))
    return _sos(p, blocks, log, "a sum of squares")


def _one_basis(
    p: Polynomial, bases: Bases, basis: Name, backend: Backend, seed: int, log: _Log
) -> Result:
    with log.timed("basis"):
        blocks = bases.blocks(basis)
    attempt = _attempt(p, basis, blocks, backend, log)
    done = _settle(p, attempt, log, seed)
    if done is not None:
        return done
    if basis not in LOSSLESS:
        margin = attempt.margin
        boundary = margin is not None and abs(margin.t) <= _BOUNDARY
        return _open(p, log, f"the basis {basis!r} is a restriction", margin if boundary else None)
    if basis in {"diagonal", "tssos"}:
        refuted = _refuted(p, bases, attempt, log)
        return refuted or _last(p, bases, attempt, log, seed, True)
    # Refutations are stated on K(p), the smallest lossless basis.
    with log.timed("basis"):
        smaller = sign_blocks(bases.consistent, p.support)
    return _last(p, bases, _attempt(p, "diagonal", smaller, backend, log), log, seed, True)


def _cascade(
    p: Polynomial,
    bases: Bases,
    backend: Backend,
    seed_rule: "Name | Seed",
    scores: Scores | None,
    growth: float,
    seed: int,
    log: _Log,
) -> Result:
    support = p.support
    small = bases.full_size <= 600 and len(p.variables) <= 8
    allowed: Rows | None = None
    with log.timed("basis"):
        if small:
            allowed = bases.consistent
    name = seed_rule if isinstance(seed_rule, str) else "oracle"
    if allowed is not None and len(allowed) <= _SMALL and name != "oracle":
        attempt = _attempt(p, "diagonal", sign_blocks(allowed, support), backend, log)
        found = _last(p, bases, attempt, log, seed, False)
        if found.verdict is Verdict.NUMERICAL_SOS and not log.over():
            # On the boundary fewer monomials may leave a face that is easier to hit.
            first = bases.rows(cast("Name", name), allowed)
            if len(first) < len(allowed):
                attempt = _attempt(p, name, sign_blocks(first, support), backend, log)
                done = _settle(p, attempt, log, seed, search=False)
                if done is not None:
                    return done
            return dataclasses.replace(found, stages=tuple(log.stages), seconds=log.seconds)
        return found

    with log.timed("basis"):
        if isinstance(seed_rule, str):
            first = bases.rows(cast("Name", seed_rule), allowed)
        else:
            chosen = seed_rule(p)
            if allowed is not None:
                chosen = chosen[find(chosen, allowed) >= 0]
            first = repair(chosen, support, allowed)[0]
    attempt = _attempt(p, name, sign_blocks(first, support), backend, log)
    if attempt.blocks is not None:
        return _sos(p, attempt.blocks, log, "a sum of squares")
    done = _settle(p, attempt, log, seed)
    if done is not None:
        return done
    if log.over():
        return _late(p, log)

    try:
        with log.timed("basis"):
            whole = bases.consistent
            first = first[find(first, whole) >= 0]
            first, _ = repair(first, support, whole)
            ordered = _ordered(p, first, whole, scores)
    except MemoryLimitError as error:
        boundary = attempt.margin is not None and abs(attempt.margin.t) <= _BOUNDARY
        return _open(
            p,
            log,
            f"all monomials that squares could use are too many to list ({error})",
            attempt.margin if boundary else None,
        )
    for size in expansion_schedule(len(first), len(whole), growth):
        if log.over():
            return _late(p, log)
        rows = ordered[:size]
        last = size == len(whole)
        attempt = _attempt(
            p, "diagonal" if last else f"{name}, grown", sign_blocks(rows, support), backend, log
        )
        if attempt.blocks is not None:
            return _sos(p, attempt.blocks, log, "a sum of squares")
        if last:
            return _last(p, bases, attempt, log, seed, True)
        done = _settle(p, attempt, log, seed, search=False)
        if done is not None:
            return done
    # What is left of the first basis is K(p) already; it may have been tried with more or less.
    if not _is_whole(attempt.problem, bases):
        attempt = _attempt(p, "diagonal", sign_blocks(whole, support), backend, log)
    return _last(p, bases, attempt, log, seed, True)


def expansion_schedule(first: int, last: int, growth: float) -> list[int]:
    """Return the sizes after the first: each grown by the factor, the last one exactly `last`.

    Raises:
        ValueError: The factor is not over 1.

    Example:
        >>> expansion_schedule(10, 40, 1.5)
        [15, 23, 35, 40]
    """
    if not growth > 1 or not math.isfinite(growth):
        raise ValueError(f"growth is a factor over 1, got {growth!r}; 1.5 is usual.")
    sizes: list[int] = []
    size = first
    while size < last:
        size = min(last, max(size + 1, math.ceil(growth * size)))
        sizes.append(size)
    return sizes


def _ordered(p: Polynomial, first: Rows, whole: Rows, scores: Scores | None) -> Rows:
    """The first basis, then the other candidates by score, even halves, votes and degree."""
    rest = whole[find(whole, first) < 0]
    if not len(rest):
        return first
    support = p.support
    score = np.zeros(len(rest)) if scores is None else np.asarray(scores(p, rest), dtype=float)
    even = find(2 * rest, support) >= 0
    terms = {tuple(u) for u in support.tolist()}
    votes = np.array(
        [sum(tuple(r) in terms for r in (first + m).tolist()) for m in rest], dtype=float
    )
    order = np.lexsort((*rest.T[::-1], rest.sum(axis=1), -votes, ~even, -score))
    return np.vstack([first, rest[order]])
