"""What the `sos/*` checkers share: exact polynomials as text, and positive semidefinite matrices.

A polynomial is an object such as `{"x^2*y": "-3/4", "1": "2"}`: monomials with their factors in the
order of the variables, coefficients as reduced fractions. Integers and rationals only.
"""

import hashlib
import json
import math
import re
from collections import defaultdict
from collections.abc import Sequence
from fractions import Fraction
from typing import Any, cast

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

Monomial = tuple[int, ...]  # exponents, one a variable
Polynomial = dict[Monomial, Fraction]
Row = dict[int, int]  # the nonzero entries of a row

MAX_VARIABLES = 10_000
MAX_ROWS = 5_000
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_POWER = re.compile(r"[2-9]|[1-9]\d{1,4}")
_NUMBER = re.compile(r"-?(0|[1-9]\d*)(/[1-9]\d*)?")
_MAX_DIGITS = 4_000  # int() of the standard library refuses more


def digest(claim: dict[str, Any]) -> str:
    """Return the SHA-256 of every other field of a claim, so that none is exchanged unnoticed."""
    rest = {name: value for name, value in claim.items() if name != "sha256"}
    text = json.dumps(rest, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def opened(claim: dict[str, Any]) -> tuple[list[str], Polynomial]:
    """Return the variables and the polynomial of a claim whose digest is right."""
    if fields.digest(claim, "sha256") != digest(claim):
        raise Rejected("the claim has changed: its SHA-256 is not the stated one.")
    variables = fields.items(claim, "variables")
    if len(variables) > MAX_VARIABLES or len(set(map(str, variables))) != len(variables):
        raise Rejected("the variables are not distinct names.")
    if not all(isinstance(v, str) and _NAME.fullmatch(v) for v in variables):
        raise Rejected("a variable is not a name of letters, digits and underscores.")
    return variables, polynomial(variables, fields.mapping(claim, "polynomial"), "polynomial")


def polynomial(variables: list[str], value: Any, where: str) -> Polynomial:
    """Return a polynomial from its object."""
    if not isinstance(value, dict):
        raise Rejected(f"{where} is not an object of monomials and coefficients.")
    order = {v: i for i, v in enumerate(variables)}
    found: Polynomial = {}
    for text, number in cast("dict[str, Any]", value).items():
        c = rational(number, f"{where}, coefficient of {text}")
        if c == 0:
            raise Rejected(f"{where}: the coefficient of {text} is 0; zeros are left out.")
        found[monomial(order, text)] = c
    return found


def monomial(order: dict[str, int], text: Any) -> Monomial:
    """Return the exponents of a monomial written in the one allowed way."""
    if not isinstance(text, str):
        raise Rejected(f"{text!r} is not a monomial.")
    exponents = [0] * len(order)
    last = -1
    for factor in text.split("*") if text != "1" else []:
        name, caret, power = factor.partition("^")
        at = order.get(name, -1)
        if at <= last or (caret and not _POWER.fullmatch(power)):
            raise Rejected(f"{text!r} is not a monomial of the variables in their order.")
        exponents[at] = int(power) if caret else 1
        last = at
    return tuple(exponents)


def rational(value: Any, where: str) -> Fraction:
    """Return an exact number written as text."""
    if not isinstance(value, str) or len(value) > 2 * _MAX_DIGITS or not _NUMBER.fullmatch(value):
        raise Rejected(f"{where} is not a fraction written as text, such as '4/3'.")
    above, _, below = value.partition("/")
    if len(above) > _MAX_DIGITS or len(below) > _MAX_DIGITS:
        raise Rejected(f"{where} has more than {_MAX_DIGITS} digits.")
    return Fraction(int(above), int(below) if below else 1)


def monomials(variables: list[str], value: Any, where: str) -> list[Monomial]:
    """Return a basis: distinct monomials."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) > MAX_ROWS:
        raise Rejected(f"{where} has no list of at most {MAX_ROWS} monomials.")
    order = {v: i for i, v in enumerate(variables)}
    found = [monomial(order, m) for m in cast("list[Any]", value)]
    if len(set(found)) != len(found):
        raise Rejected(f"{where} has a monomial twice.")
    return found


def gram(value: Any, n: int, where: str) -> list[list[Fraction]]:
    """Return the rows of an upper triangle, written as `["4 6", "9"]` for 4 6; 6 9."""
    if not isinstance(value, list) or len(cast("list[Any]", value)) != n:
        raise Rejected(f"{where}: the Gram matrix has not one row a monomial ({n}).")
    rows: list[list[Fraction]] = []
    for i, line in enumerate(cast("list[Any]", value)):
        words = line.split(" ") if isinstance(line, str) else []
        if len(words) != n - i:
            raise Rejected(f"{where}: row {i} of the upper triangle has not {n - i} entries.")
        rows.append([rational(w, f"{where}, row {i}") for w in words])
    return rows


def squares(variables: list[str], block: Any, where: str) -> tuple[Polynomial, int]:
    """Return what a block z' Q z expands to and its rank, if Q is positive semidefinite.

    Q positive semidefinite and rational is L D L' with D >= 0 rational: as many squares as its
    rank, each with a rational weight.
    """
    basis = monomials(variables, fields.items(block, "monomials"), where)
    rows = gram(fields.items(block, "gram"), len(basis), where)
    expanded: defaultdict[Monomial, Fraction] = defaultdict(Fraction)
    scale = 1
    for i, row in enumerate(rows):
        for j, q in enumerate(row, start=i):
            if q:
                s = tuple(a + b for a, b in zip(basis[i], basis[j], strict=True))
                expanded[s] += q if i == j else 2 * q
                scale = math.lcm(scale, q.denominator)
    matrix: list[Row] = [{} for _ in basis]
    for i, row in enumerate(rows):
        for j, q in enumerate(row, start=i):
            if q:
                matrix[i][j] = matrix[j][i] = q.numerator * (scale // q.denominator)
    return dict(expanded), rank_if_semidefinite(matrix, where)


def rank_if_semidefinite(matrix: list[Row], where: str) -> int:
    """Return the rank of a symmetric integer matrix, or reject it as not semidefinite.

    Fraction-free symmetric elimination on each connected part, zeros skipped. Row i is kept as
    d[i] times the rational row, where d[i] is the determinant of the pivots so far when the row
    was last touched; so every division is exact. A pivot below 0, or a pivot 0 in a row that is
    not zero, shows a negative direction.
    """
    rank = 0
    for part in _parts(matrix):
        rows = {i: dict(matrix[i]) for i in part}
        d = dict.fromkeys(part, 1)
        whole = 1  # the determinant of the pivots so far
        while rows:
            k = min(rows, key=lambda i: (len(rows[i]), i))
            pivot_row = rows.pop(k)
            pivot = pivot_row.pop(k, 0)
            if pivot < 0 or (pivot == 0 and pivot_row):
                raise Rejected(f"{where}: the matrix is not positive semidefinite.")
            if pivot == 0:
                continue
            rank += 1
            for i in pivot_row:
                row = rows[i]
                below = row.pop(k)
                divisor = d[i] * d[k]
                new: Row = {}
                for j, a in row.items():
                    v = (a * pivot - below * pivot_row.get(j, 0)) * whole
                    if v:
                        new[j] = v // divisor
                for j, b in pivot_row.items():
                    if j not in row:
                        new[j] = -below * b * whole // divisor
                rows[i] = new
            whole = whole * pivot // d[k]
            for i in pivot_row:
                d[i] = whole
    return rank


def _parts(matrix: Sequence[Row]) -> list[list[int]]:
    """The connected components of the nonzero pattern."""
    seen = [False] * len(matrix)
    parts: list[list[int]] = []
    for start in range(len(matrix)):
        if seen[start]:
            continue
        seen[start] = True
        part = [start]
        for i in part:
            for j in matrix[i]:
                if not seen[j]:
                    seen[j] = True
                    part.append(j)
        parts.append(part)
    return parts


def product(p: Polynomial, q: Polynomial) -> Polynomial:
    """Return p q."""
    found: defaultdict[Monomial, Fraction] = defaultdict(Fraction)
    for a, c in p.items():
        for b, e in q.items():
            found[tuple(x + y for x, y in zip(a, b, strict=True))] += c * e
    return {m: c for m, c in found.items() if c}


def same(expected: Polynomial, found: Polynomial, variables: list[str]) -> None:
    """Reject unless two polynomials are equal."""
    for m in expected.keys() | found.keys():
        a, b = expected.get(m, Fraction(0)), found.get(m, Fraction(0))
        if a != b:
            raise Rejected(
                f"the coefficient of {written(variables, m)} is {short(a)}, the squares give "
                f"{short(b)}."
            )


def added(total: Polynomial, more: Polynomial) -> None:
    """Add to a polynomial in place."""
    for m, c in more.items():
        total[m] = total.get(m, Fraction(0)) + c


def written(variables: list[str], m: Monomial) -> str:
    """Return a monomial as text."""
    factors = [v if e == 1 else f"{v}^{e}" for v, e in zip(variables, m, strict=True) if e]
    return "*".join(factors) or "1"


def described(variables: list[str], p: Polynomial) -> str:
    """Return a polynomial for a statement: whole if short, else its size and degree."""
    if not p:
        return "the zero polynomial"
    if len(p) <= 8:
        terms = [
            f"({short(c)})" + ("" if not any(m) else f"*{written(variables, m)}")
            for m, c in sorted(p.items(), reverse=True)
        ]
        text = " + ".join(terms)
        if len(text) <= 160:
            return f"p = {text}"
    degree = max(map(sum, p))
    return f"the polynomial p of {len(p)} terms, degree {degree}, in {len(variables)} variables"


def short(value: Fraction) -> str:
    """Return a number for a sentence."""
    text = str(value)
    return text if len(text) <= 24 else f"{float(value):.12g} (a fraction, exact in the file)"
