"""The verb `bound`: the largest certified lambda with p - lambda a sum of squares.

With constraints (Putinar): p - lambda = s_0 + sum of s_i g_i, so p >= lambda where all g_i >= 0.
"""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import numpy as np

from extremal.lab import Run, Table, Text, command, rational, resolve, to_plain, write_report

from ._deadline import deadline
from ._errors import MemoryLimitError, TimeLimitError
from ._exact import ExactBlock
from ._localised import Localised, Solved, prove_localised, solve_localised
from ._parse import parse, read
from ._parts import gram_part, putinar_part
from ._polynomial import Floats, Polynomial, in_variables
from ._putinar import bytes_needed, covers, plain_problem, putinar_problem
from ._result import Certificate, Verdict, describe_point
from ._search import Limits, decide
from ._witness import evaluator, minima, near, starts


@dataclass(frozen=True)
class BoundConfig:
    """What the polynomial is bounded on, and how finely."""

    constraints: tuple[str, ...] = ()
    """Polynomials g: the bound holds where all are at least 0."""
    box: str = ""
    """Two numbers for all variables ("-1 1"), or a pair each ("-1 1 0 2")."""
    ball: str = ""
    """Radius of a ball around the origin."""
    order: int | None = None
    """Half the degree of the certificate; default: the least that fits."""
    sparsity: Literal["none", "correlative"] = "none"
    """With constraints: correlative lets each square use one clique of variables that meet."""
    digits: int = 6
    """Decimals of the bound where the optimum itself is not certified."""
    variables: str = ""
    """Names and order of the variables, separated by spaces."""
    floats: Floats = "decimal"
    """How floats are read."""
    seconds: float | None = None
    """Time limit of the solve, and of each proof after it."""
    memory_mib: int = 2048
    """Memory that one step may take."""
    seed: int = 0
    """Of the search for points."""


@dataclass(frozen=True)
class Bound:
    """A certified lower bound.

    Attributes:
        polynomial: What was bounded.
        verdict: CERTIFIED_SOS with a value, else UNKNOWN.
        value: Such that p >= value everywhere (or on the set); None without a proof.
        upper: p at a rational point (of the set), or None.
        point: That point.
        numerical: What the solver took for the best bound of this form.
        reason: In one sentence.
        certificate: `sos/gram` or `sos/putinar`.
        constraints: The set, as polynomials that are at least 0.
        notes: How inexact input was read.
        path: The certificate file, if it was written.
    """

    polynomial: Polynomial
    verdict: Verdict
    value: Fraction | None
    upper: Fraction | None
    point: tuple[Fraction, ...] | None
    numerical: float | None
    reason: str
    certificate: Certificate | None = None
    constraints: tuple[Polynomial, ...] = ()
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def exact(self) -> bool:
        """Whether the bound is the minimum itself: p attains it at the point."""
        return self.value is not None and self.value == self.upper

    @property
    def exit_code(self) -> int:
        """0 with a certified bound, else 3."""
        return 0 if self.verdict is Verdict.CERTIFIED_SOS else 3

    def table(self) -> Table:
        """Return the bound from both sides."""
        lines = [f"{self.verdict.name}: {self.reason}", *self.notes]
        if self.path is not None:
            lines.append(f"certificate: {self.path}")
        gap = None
        if self.value is not None and self.upper is not None:
            gap = float(self.upper - self.value)
        return Table(
            ["certified bound", "p at a point", "gap", "numerical"],
            [
                [
                    None if self.value is None else str(self.value),
                    None if self.upper is None else _short(self.upper),
                    gap,
                    self.numerical,
                ]
            ],
            title="\n".join(lines),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "verdict": self.verdict.name,
            "value": None if self.value is None else str(self.value),
            "upper": None if self.upper is None else str(self.upper),
            "point": None if self.point is None else [str(x) for x in self.point],
            "exact": self.exact,
            "numerical": self.numerical,
            "reason": self.reason,
            "certificate": None if self.path is None else str(self.path),
            "notes": list(self.notes),
        }


def _short(value: Fraction) -> str:
    text = str(value)
    return text if len(text) <= 24 else f"{float(value):.12g}"


@command(options=BoundConfig, inputs=("polynomial",))
def bound(
    polynomial: Any,
    *,
    config: BoundConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Bound:
    """Find the best sum-of-squares lower bound of a polynomial, with a rational certificate.

    Args:
        polynomial: As for `certify`.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the certificate and a report.
        resume: Return the bound although `out` exists, if the question is the same.
        force: Replace the run in `out`.
        **options: Fields of `BoundConfig`; they replace those of `config`.

    Returns:
        The bound. It is the optimum itself where that is rational and provable, else below it by
        about one unit of the last of `digits` decimals.

    Raises:
        ValueError: The input is no polynomial, or the set is not understood.

    Example:
        >>> found = bound("(1-x)^2 + 100*(y-x^2)^2")
        >>> found.value, found.exact
        (Fraction(0, 1), True)
        >>> bound("x*y", box="-1 1").value
        Fraction(-1, 1)

    Cost: one solve, and a proof for each candidate value.
    """
    settings = resolve(BoundConfig, config, options)
    p, constraints = _question(polynomial, settings)
    if out is None:
        return _bound(p, constraints, settings)
    identity = {
        "polynomial": p.as_json(),
        "set": [g.as_json() for g in constraints],
        **to_plain(settings),
    }
    with Run.create(out, kind="sos/bound", config=identity, resume=resume, force=force) as run:
        found = _bound(p, constraints, settings)
        if found.certificate is not None:
            path = found.certificate.write(run.path / "certificate.json")
            found = dataclasses.replace(found, path=path)
        run.write_json("result.json", found.as_json())
        where = [Text(f"where {g} >= 0") for g in constraints]
        write_report(
            run.path / "report.html",
            "Lower bound",
            [Text(f"p = {str(p)[:2000]}"), *where, found.table()],
            "" if found.path is None else f"Check it: extremal verify {found.path}",
        )
    return found


def _question(polynomial: Any, settings: BoundConfig) -> tuple[Polynomial, list[Polynomial]]:
    if settings.sparsity != "none" and not (settings.constraints or settings.box or settings.ball):
        raise ValueError(
            f"the sparsity {settings.sparsity!r} is for bounds on a set, and no box, ball or "
            "constraint is given; leave it out."
        )
    if settings.digits < 0 or settings.digits > 12:
        raise ValueError(f"digits is 0 to 12, got {settings.digits}.")
    names = settings.variables.replace(",", " ").split() or None
    p = read(polynomial, names)
    given = [parse(g) for g in settings.constraints]
    every = list(p.variables)
    if names is None:
        every += sorted({v for g in given for v in g.variables} - set(every))
    p = in_variables(p, every)
    constraints = [in_variables(g, every) for g in given]
    n = len(every)
    one = Polynomial(p.variables, {(0,) * n: Fraction(1)})
    axes = [
        Polynomial(p.variables, {tuple(int(i == j) for j in range(n)): Fraction(1)})
        for i in range(n)
    ]
    if settings.box:
        numbers = [rational(w) for w in settings.box.replace(",", " ").split()]
        if len(numbers) not in {2, 2 * n}:
            raise ValueError(
                f"the box {settings.box!r} has {len(numbers)} numbers; give 2 for all variables "
                f"or {2 * n}, a pair for each of {', '.join(every)}."
            )
        pairs = [tuple(numbers[2 * i : 2 * i + 2]) for i in range(len(numbers) // 2)]
        for x, (low, high) in zip(axes, pairs * (n if len(pairs) == 1 else 1), strict=True):
            if low >= high:
                raise ValueError(f"the box from {low} to {high} is empty; give the smaller first.")
            constraints.append((x - low) * (one * high - x))
    if settings.ball:
        radius = rational(settings.ball)
        if radius <= 0:
            raise ValueError(f"the ball of radius {radius} is empty; give a positive one.")
        total = one * radius**2
        for x in axes:
            total = total - x * x
        constraints.append(total)
    return p, constraints


def _stop(lower: float, upper: float) -> bool:
    return upper - lower < 1e-9 * max(1.0, abs(upper))


def _bound(p: Polynomial, constraints: list[Polynomial], settings: BoundConfig) -> Bound:
    if p.degree == 0 and not constraints:
        c = next(iter(p.terms.values()), Fraction(0))
        part = gram_part(p, (), c)
        return Bound(
            p, Verdict.CERTIFIED_SOS, c, c, (Fraction(0),) * len(p.variables), float(c),
            "a constant is its own bound", Certificate((part,)), (), p.notes,
        )  # fmt: skip
    if constraints:
        sparse = settings.sparsity == "correlative"
        problem = putinar_problem(p, constraints, settings.order, sparse)
    else:
        problem = plain_problem(p)
    need = bytes_needed(problem)
    if need > settings.memory_mib << 20:
        dense = constraints and settings.sparsity == "none"
        hint = " or use the sparsity 'correlative'" if dense else ""
        raise MemoryLimitError(
            f"the bound needs up to {need >> 20:,} MiB for {problem.size:,} monomials, over the "
            f"limit of {settings.memory_mib:,} MiB; lower the order, raise memory_mib{hint}."
        )
    solved = None
    if covers(problem):
        try:
            with deadline(settings.seconds):
                solved = solve_localised(problem, True, _stop)
        except np.linalg.LinAlgError:
            solved = None
        except TimeLimitError:
            return Bound(
                p, Verdict.UNKNOWN, None, *_upper(p, constraints, None, settings), None,
                f"the time limit of {settings.seconds} s is reached",
                None, tuple(constraints), p.notes,
            )  # fmt: skip
    if (
        solved is None
        or not math.isfinite(solved.lower)
        or solved.upper - solved.lower > 1e-2 * (1 + abs(solved.upper))
    ):
        return Bound(
            p, Verdict.UNKNOWN, None, *_upper(p, constraints, None, settings), None,
            "no lambda with p - lambda of this form was found: p may be unbounded below, or no "
            "shift of it is a sum of squares; give constraints or a higher order",
            None, tuple(constraints), p.notes,
        )  # fmt: skip
    upper, point = _upper(p, constraints, solved, settings)
    for value in _candidates(solved.lower, upper, settings.digits):
        part = _proof(p, constraints, problem, value, settings)
        if part is not None:
            where = "" if not constraints else f" where {len(constraints)} constraints hold"
            attained = ""
            if upper is not None and upper == value and point is not None:
                attained = f", attained at {describe_point(p.variables, point)}"
            return Bound(
                p, Verdict.CERTIFIED_SOS, value, upper, point, solved.lower,
                f"p >= {_short(value)}{where}{attained}",
                Certificate((part,)), tuple(constraints), p.notes,
            )  # fmt: skip
    return Bound(
        p, Verdict.UNKNOWN, None, upper, point, solved.lower,
        f"the solver finds about {solved.lower:.9g}, but no value below it was proved",
        None, tuple(constraints), p.notes,
    )  # fmt: skip


def _upper(
    p: Polynomial, constraints: list[Polynomial], solved: Solved | None, settings: BoundConfig
) -> tuple[Fraction | None, tuple[Fraction, ...] | None]:
    """The least exact value at rational points near local minima that lie in the set."""
    n = len(p.variables)
    best: tuple[Fraction, tuple[Fraction, ...]] | None = None
    points = [] if solved is None else [solved.first]
    around = [*points, *starts(n, 6, settings.seed)]
    found = _within(p, constraints, around) if constraints else [x for _, x in minima(p, around)]
    for x in [*points, *found]:
        for point in near(x):
            if all(g(point) >= 0 for g in constraints):
                value = p(point)
                if best is None or value < best[0]:
                    best = value, tuple(point)
    return best if best is not None else (None, None)


def _parts_of(
    f: Callable[[np.ndarray], tuple[float, np.ndarray]], scale: float
) -> tuple[Callable[[np.ndarray], float], Callable[[np.ndarray], np.ndarray]]:
    """Value and gradient as two functions."""

    def value(x: np.ndarray) -> float:
        return f(x)[0] / scale

    def gradient(x: np.ndarray) -> np.ndarray:
        return f(x)[1] / scale

    return value, gradient


def _within(
    p: Polynomial, constraints: list[Polynomial], around: list[np.ndarray]
) -> list[np.ndarray]:
    """Local minima in the set, as floats (SLSQP); rounding decides exactly whether they count."""
    from scipy import optimize

    f = evaluator(p)
    scale = float(np.abs(p.floats).max(initial=1.0))
    rules: list[Any] = []
    for g in map(evaluator, constraints):
        value, gradient = _parts_of(g, 1.0)
        rules.append({"type": "ineq", "fun": value, "jac": gradient})
    value, gradient = _parts_of(f, scale)
    out: list[np.ndarray] = []
    for x in around:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it warns of clipped steps
            found = optimize.minimize(
                value, x, jac=gradient,
                constraints=rules, method="SLSQP", options={"maxiter": 60},
            )  # fmt: skip
        if np.isfinite(found.x).all():
            out.append(found.x)
    return [*out, *around]


def _candidates(lower: float, upper: Fraction | None, digits: int) -> Iterator[Fraction]:
    """Yield values to prove, the best first."""
    slack = 1e-5 * max(1.0, abs(lower))
    tried: list[Fraction] = []
    if upper is not None and abs(float(upper) - lower) < slack:
        tried.append(upper)
    for limit in (1, 12, 1000):
        guess = Fraction(lower).limit_denominator(limit)
        if abs(float(guess) - lower) < slack / limit:
            tried.append(guess)
    for k in range(digits, -2, -1):
        unit = Fraction(10) ** -k
        tried += [
            unit * math.floor(Fraction(lower) / unit),
            unit * (math.floor(Fraction(lower) / unit) - 1),
        ]
    seen: set[Fraction] = set()
    for value in tried:
        if value not in seen and (upper is None or value <= upper):
            seen.add(value)
            yield value


def _proof(
    p: Polynomial,
    constraints: list[Polynomial],
    problem: Localised,
    value: Fraction,
    settings: BoundConfig,
) -> Any:
    shifted = p - value
    if not constraints:
        limits = Limits(settings.seconds, settings.memory_mib << 20)
        found = decide(shifted, limits=limits, seed=settings.seed)
        if found.verdict is not Verdict.CERTIFIED_SOS:
            return None
        return gram_part(p, found.blocks, value)
    moved = dataclasses.replace(problem, p=shifted)
    blocks: list[tuple[int | None, ExactBlock]] | None = None
    try:
        with deadline(settings.seconds):
            solved = solve_localised(moved, False, _enough)
            if solved.upper >= 0:
                blocks = prove_localised(moved, solved.gram)
    except (np.linalg.LinAlgError, TimeLimitError):
        return None
    return None if blocks is None else putinar_part(p, constraints, value, blocks)


def _enough(lower: float, upper: float) -> bool:
    return (lower > 1e-7 and lower > 0.3 * upper) or upper < -1e-9 or upper - lower < 1e-10
