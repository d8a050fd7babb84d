"""Polynomials with exact rational coefficients, and their conversions.

Notation: a monomial is a tuple of exponents, one a variable: x*y^2 is (1, 2).
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any, Literal, cast

import numpy as np
from jaxtyping import Int

from extremal.lab import rational

Monomial = tuple[int, ...]
Floats = Literal["decimal", "binary"]
MAX_EXPONENT = 10_000


@dataclass(frozen=True, eq=False)
class Polynomial:
    """A polynomial: its variables, and a nonzero coefficient for each monomial.

    Attributes:
        variables: Distinct names; their order is that of the exponents.
        terms: Coefficient by monomial.
        notes: How inexact input was read, a sentence each.

    Raises:
        ValueError: Names repeat, exponents are ragged, negative or no integers.

    Example:
        >>> p = Polynomial(("x", "y"), {(2, 0): Fraction(1), (0, 1): Fraction(-1, 2)})
        >>> str(p), p.degree, p([3, 4])
        ('x^2 - 1/2*y', 2, Fraction(7, 1))
    """

    variables: tuple[str, ...]
    terms: Mapping[Monomial, Fraction]
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if len(set(self.variables)) != len(self.variables):
            raise ValueError(f"the variables {list(self.variables)} are not distinct; rename one.")
        bad = [v for v in self.variables if not v.isidentifier() or not v.isascii()]
        if bad:
            raise ValueError(
                f"{bad[0]!r} is no name of a variable; use letters, digits and underscores."
            )
        n = len(self.variables)
        for m in self.terms:
            if len(m) != n:
                raise ValueError(
                    f"the monomial {m} has {len(m)} exponents, but there are {n} variables "
                    f"({', '.join(self.variables[:6]) or 'none'}); give one exponent a variable."
                )
            if any(e < 0 or e > MAX_EXPONENT for e in m):
                raise ValueError(
                    f"the monomial {m} has an exponent outside 0..{MAX_EXPONENT}; a polynomial "
                    "has none that is negative."
                )
        zeros = [m for m, c in self.terms.items() if c == 0]
        if zeros:
            kept = {m: c for m, c in self.terms.items() if c != 0}
            object.__setattr__(self, "terms", kept)

    @property
    def degree(self) -> int:
        """The total degree; 0 for constants and the zero polynomial."""
        return max(map(sum, self.terms), default=0)

    @cached_property
    def support(self) -> Int[np.ndarray, "terms n"]:
        """The monomials as rows, in the order of `terms`."""
        shape = (len(self.terms), len(self.variables))
        return np.array(list(self.terms), dtype=np.int64).reshape(shape)

    @cached_property
    def floats(self) -> np.ndarray:
        """The coefficients as float64, in the order of `terms`."""
        return np.array([float(c) for c in self.terms.values()], dtype=float)

    def __call__(self, point: Sequence[int | Fraction]) -> Fraction:
        """Return the exact value at a rational point."""
        if len(point) != len(self.variables):
            raise ValueError(
                f"the point has {len(point)} coordinates, but there are {len(self.variables)} "
                "variables; give one a variable."
            )
        # In integers over one denominator: a tenth of the time of adding up fractions.
        bottom, coefficients = self.integers
        values = [Fraction(x) for x in point]
        low = math.lcm(*(x.denominator for x in values))
        tops = [x.numerator * (low // x.denominator) for x in values]
        powers = [{0: 1} for _ in values]
        total = 0
        degree = self.degree
        for c, (missing, factors) in zip(coefficients, self._factors, strict=True):
            for i, e in factors:
                power = powers[i].get(e)
                if power is None:
                    power = powers[i][e] = tops[i] ** e
                c *= power
                if not c:
                    break
            total += c * low**missing if c and missing and low > 1 else c
        return Fraction(total, bottom * low**degree)

    @cached_property
    def integers(self) -> tuple[int, list[int]]:
        """A common denominator, and the coefficients times it, in the order of `terms`."""
        bottom = math.lcm(*(c.denominator for c in self.terms.values()))
        return bottom, [c.numerator * (bottom // c.denominator) for c in self.terms.values()]

    @cached_property
    def _factors(self) -> list[tuple[int, list[tuple[int, int]]]]:
        """Of each term what its degree lacks, and its variables with their exponents."""
        degree = self.degree
        return [(degree - sum(m), [(i, e) for i, e in enumerate(m) if e]) for m in self.terms]

    def __add__(self, other: "Polynomial | int | Fraction") -> "Polynomial":
        """Return the sum."""
        a, b = _together(self, other)
        terms = dict(a.terms)
        for m, c in b.terms.items():
            terms[m] = terms.get(m, Fraction(0)) + c
        return Polynomial(a.variables, terms, a.notes + b.notes)

    def __neg__(self) -> "Polynomial":
        """Return the negative."""
        return Polynomial(self.variables, {m: -c for m, c in self.terms.items()}, self.notes)

    def __sub__(self, other: "Polynomial | int | Fraction") -> "Polynomial":
        """Return the difference."""
        return self + (-other)

    def __mul__(self, other: "Polynomial | int | Fraction") -> "Polynomial":
        """Return the product."""
        a, b = _together(self, other)
        terms: dict[Monomial, Fraction] = {}
        for m, c in a.terms.items():
            for k, d in b.terms.items():
                s = tuple(x + y for x, y in zip(m, k, strict=True))
                terms[s] = terms.get(s, Fraction(0)) + c * d
        return Polynomial(a.variables, terms, a.notes + b.notes)

    def __pow__(self, power: int) -> "Polynomial":
        """Return a power."""
        result = Polynomial(self.variables, {(0,) * len(self.variables): Fraction(1)}, self.notes)
        base = self
        while power:
            if power & 1:
                result = result * base
            power >>= 1
            if power:
                base = base * base
        return result

    def __eq__(self, other: object) -> bool:
        """Whether both are the same polynomial in the same variables."""
        if not isinstance(other, Polynomial):
            return NotImplemented
        return self.variables == other.variables and dict(self.terms) == dict(other.terms)

    def __hash__(self) -> int:
        """Of variables and terms."""
        return hash((self.variables, frozenset(self.terms.items())))

    def __str__(self) -> str:
        """Return text that `parse` reads back."""
        if not self.terms:
            return "0"
        out: list[str] = []
        for m, c in sorted(self.terms.items(), key=lambda t: (-sum(t[0]), [-e for e in t[0]])):
            word = written(self.variables, m)
            size = abs(c)
            body = str(size) if word == "1" else word if size == 1 else f"{size}*{word}"
            sign = "-" if c < 0 else "+"
            out.append(f" {sign} {body}" if out else body if c > 0 else f"-{body}")
        return "".join(out)

    def as_json(self) -> dict[str, str]:
        """Return coefficient text by monomial text, as in certificates."""
        return {written(self.variables, m): str(c) for m, c in self.terms.items()}

    def as_sympy(self) -> Any:
        """Return the polynomial as a sympy expression.

        Raises:
            MissingExtra: sympy is not installed.
        """
        from extremal.lab import require

        sympy = require("sympy", "dev")
        symbols = [sympy.Symbol(v) for v in self.variables]
        terms = [
            sympy.Rational(c.numerator, c.denominator)
            * sympy.Mul(*(x**e for x, e in zip(symbols, m, strict=True)))
            for m, c in self.terms.items()
        ]
        return sympy.Add(*terms)


def _together(
    a: Polynomial, other: "Polynomial | int | Fraction"
) -> "tuple[Polynomial, Polynomial]":
    if not isinstance(other, Polynomial):
        return a, Polynomial(a.variables, {(0,) * len(a.variables): Fraction(other)})
    if a.variables == other.variables:
        return a, other
    names = tuple(dict.fromkeys([*a.variables, *other.variables]))
    return in_variables(a, names), in_variables(other, names)


def in_variables(p: Polynomial, names: Sequence[str]) -> Polynomial:
    """Return the same polynomial with these variables, in this order.

    Raises:
        ValueError: A variable that occurs in it is missing.
    """
    at = {v: i for i, v in enumerate(names)}
    used = {i for m in p.terms for i, e in enumerate(m) if e}
    lost = [p.variables[i] for i in sorted(used) if p.variables[i] not in at]
    if lost:
        raise ValueError(
            f"unknown variable {lost[0]!r}: the variables are {', '.join(names) or 'none'}; "
            "name every one that occurs."
        )
    terms: dict[Monomial, Fraction] = {}
    for m, c in p.terms.items():
        exponents = [0] * len(names)
        for v, e in zip(p.variables, m, strict=True):
            if e:
                exponents[at[v]] = e
        terms[tuple(exponents)] = c
    return Polynomial(tuple(names), terms, p.notes)


def written(variables: Sequence[str], m: Sequence[int]) -> str:
    """Return a monomial as text, such as `x^2*y`; the constant one is `1`."""
    factors = [v if e == 1 else f"{v}^{e}" for v, e in zip(variables, m, strict=True) if e]
    return "*".join(factors) or "1"


def exact(value: Any, notes: list[str], floats: Floats = "decimal") -> Fraction:
    """Read one coefficient exactly.

    Raises:
        ValueError: It is complex, not finite, or no number.
    """
    if isinstance(value, (complex, np.complexfloating)):
        raise ValueError(f"{value!r} is complex; coefficients are real, give an exact real number.")
    if isinstance(value, np.floating):
        value = float(value)
    elif isinstance(value, np.integer):
        value = int(value)
    if isinstance(value, float) and floats == "binary" and math.isfinite(value):
        note = "floats were read as the binary numbers they are"
        if note not in notes:
            notes.append(note)
        return Fraction(value)
    if isinstance(value, float) and value.is_integer():
        return Fraction(int(value))
    if isinstance(value, (int, str, float, Fraction)):
        before = len(notes)
        found = rational(value, notes)
        if len(notes) > before:  # one sentence, however many floats there are
            del notes[before:]
            note = "floats were read as their shortest decimals"
            if note not in notes:
                notes.append(note)
        return found
    top, bottom = getattr(value, "numerator", None), getattr(value, "denominator", None)
    if top is not None and bottom is not None and not callable(top):
        return Fraction(int(top), int(bottom))
    raise ValueError(f"{value!r} is not an exact number; give an integer, 'p/q' or a Fraction.")


def from_terms(
    terms: Mapping[Any, Any] | Iterable[tuple[Sequence[int], Any]],
    variables: Sequence[str] | None = None,
    *,
    floats: Floats = "decimal",
) -> Polynomial:
    """Return a polynomial from exponents and coefficients.

    Args:
        terms: `{(2, 1): 3}` or pairs of exponents and coefficient; equal exponents are summed.
        variables: Names; default: x1, x2, … as many as there are exponents.
        floats: How floats are read: `"decimal"` (the shortest decimal) or `"binary"`.

    Returns:
        The polynomial.

    Raises:
        ValueError: Exponents are ragged, negative or fractional, or a coefficient is not exact.

    Example:
        >>> str(from_terms({(2, 0): 1, (0, 2): "1/2"}, ["x", "y"]))
        'x^2 + 1/2*y^2'
    """
    pairs = list(terms.items() if isinstance(terms, Mapping) else terms)
    notes: list[str] = []
    found: dict[Monomial, Fraction] = {}
    width: int | None = None if variables is None else len(variables)
    for exponents, value in pairs:
        row = (exponents,) if isinstance(exponents, (int, np.integer)) else tuple(exponents)
        m = tuple(_exponent(e) for e in row)
        if width is None:
            width = len(m)
        if len(m) != width:
            raise ValueError(
                f"the exponents {m} are ragged: {width} are expected; give one a variable."
            )
        found[m] = found.get(m, Fraction(0)) + exact(value, notes, floats)
    names = variables if variables is not None else [f"x{i + 1}" for i in range(width or 0)]
    return Polynomial(tuple(names), found, tuple(notes))


def _exponent(e: Any) -> int:
    if isinstance(e, bool) or not isinstance(e, (int, np.integer)):
        raise ValueError(f"the exponent {e!r} is not an integer; a polynomial has only such.")
    return int(e)


def from_arrays(
    exponents: Any,
    coefficients: Any,
    variables: Sequence[str] | None = None,
    *,
    floats: Floats = "decimal",
) -> Polynomial:
    """Return a polynomial from a row of exponents and a coefficient a term.

    Raises:
        ValueError: The arrays do not fit each other, or as `from_terms`.

    Example:
        >>> str(from_arrays([[2], [0]], [1, -1], ["x"]))
        'x^2 - 1'
    """
    rows, values = list(exponents), list(coefficients)
    if len(rows) != len(values):
        raise ValueError(
            f"there are {len(rows)} rows of exponents and {len(values)} coefficients; give one "
            "coefficient a row."
        )
    return from_terms(zip(rows, values, strict=True), variables, floats=floats)


def from_sympy(expression: Any, variables: Sequence[str] | None = None) -> Polynomial:
    """Return a polynomial from a sympy expression or `Poly`.

    Raises:
        ValueError: It is no polynomial with rational coefficients.
        MissingExtra: sympy is not installed.
    """
    from extremal.lab import require

    sympy = require("sympy", "dev")
    try:
        if isinstance(expression, sympy.Poly):
            poly = expression
        else:
            symbols = sorted(expression.free_symbols, key=str)
            if not symbols:
                value = sympy.nsimplify(expression, rational=True)
                return from_terms({(): Fraction(int(value.p), int(value.q))}, variables or [])
            poly = sympy.Poly(expression, *symbols)
        names = [str(g) for g in poly.gens]
        pairs: list[tuple[Monomial, Fraction]] = []
        for m, c in poly.terms():
            r = sympy.nsimplify(c, rational=True) if c.is_Float else c
            if not r.is_Rational:
                raise ValueError(f"its coefficient {c} is not rational.")
            pairs.append((tuple(int(e) for e in m), Fraction(int(r.p), int(r.q))))
    except (sympy.PolynomialError, AttributeError) as error:
        raise ValueError(
            f"{expression!s:.60} is not a polynomial ({error}); give one with rational "
            "coefficients."
        ) from error
    p = from_terms(pairs, names)
    return p if variables is None else in_variables(p, variables)


def from_json(text: str) -> Polynomial:
    """Return a polynomial from JSON: `{"variables": […], "terms": [[[2, 0], "1/2"], …]}`.

    Raises:
        ValueError: The text is of another form.
    """
    try:
        body = json.loads(text)
        variables, terms = body["variables"], body["terms"]
        pairs = [(cast("list[int]", m), c) for m, c in terms]
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(
            f"this JSON is no polynomial ({type(error).__name__}: {error}); it is "
            '{"variables": ["x"], "terms": [[[2], "1/2"]]}.'
        ) from error
    return from_terms(pairs, variables)
