"""Reads polynomials as people write them: `2*x^4 + 2x^3*y - (x - 1/3)^2`, exactly.

The common case, a plain sum of terms, is read with one expression a term; whatever has parentheses
goes through a small recursive parser. Both give the same polynomial.
"""

import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.lab import rational

from ._polynomial import (
    MAX_EXPONENT,
    Monomial,
    Polynomial,
    from_json,
    from_sympy,
    from_terms,
    in_variables,
)

_NUMBER = r"(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+(?![\w.]))?"
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_TOKEN = re.compile(rf"\s*(?:({_NUMBER})|({_NAME})|(\*\*|[-+*/^()]))")
_FACTOR = rf"{_NAME}(?:\s*(?:\^|\*\*)\s*\d+)?"
_TERM = re.compile(
    rf"\s*([+-])?\s*(?:({_NUMBER}(?:\s*/\s*\d+)?)\s*(?:\*\s*(?=[A-Za-z_(]))?)?"
    rf"({_FACTOR}(?:\s*\*\s*{_FACTOR})*)?\s*"
)
_POWER = re.compile(rf"({_NAME})(?:\s*(?:\^|\*\*)\s*(\d+))?")
_MAX_TERMS = 1_000_000


def parse(text: str, variables: Sequence[str] | None = None) -> Polynomial:
    """Read a polynomial.

    Args:
        text: Sums, products, integer powers (`^` or `**`), parentheses, division by numbers;
            `2x` is `2*x`. Decimals are exact: `0.1` is 1/10.
        variables: Their names and order; default: those that occur, in natural order (x2 before
            x10).

    Returns:
        The polynomial.

    Raises:
        ValueError: The text is cut off, not a polynomial, or has a variable that is not listed.

    Example:
        >>> str(parse("(x - y)^2 + 1/2"))
        'x^2 - 2*x*y + y^2 + 1/2'

    Cost: about 3 µs a term without parentheses; products are expanded.
    """
    if not text.strip():
        raise ValueError("the polynomial is empty; write one, such as x^2 - 2*x + 1.")
    terms = _flat(text) if "(" not in text else None
    found = _from_named(terms) if terms is not None else _Parser(text).whole()
    if variables is not None:
        return in_variables(found, variables)
    return in_variables(found, sorted(found.variables, key=_natural))


def _natural(name: str) -> list[Any]:
    return [(1, int(w), "") if w.isdigit() else (0, 0, w) for w in re.split(r"(\d+)", name) if w]


def _flat(text: str) -> list[tuple[Fraction, dict[str, int]]] | None:
    """The terms of a plain sum, or None if it is anything else."""
    at, end = 0, len(text)
    terms: list[tuple[Fraction, dict[str, int]]] = []
    while at < end:
        found = _TERM.match(text, at)
        assert found is not None  # every part may be absent
        sign, number, factors = found.groups()
        if (number is None and factors is None) or (terms and sign is None):
            return None
        if found.end() < end and text[found.end()] not in "+-":
            return None
        value = Fraction(1) if number is None else _number(number)
        powers: dict[str, int] = {}
        for name, power in _POWER.findall(factors or ""):
            powers[name] = powers.get(name, 0) + (_exponent(power) if power else 1)
        terms.append((-value if sign == "-" else value, powers))
        at = found.end()
    return terms


def _from_named(terms: list[tuple[Fraction, dict[str, int]]]) -> Polynomial:
    names = tuple(dict.fromkeys(v for _, powers in terms for v in powers))
    at = {v: i for i, v in enumerate(names)}
    found: dict[Monomial, Fraction] = {}
    for value, powers in terms:
        exponents = [0] * len(names)
        for v, e in powers.items():
            exponents[at[v]] = e
        m = tuple(exponents)
        found[m] = found.get(m, Fraction(0)) + value
    return Polynomial(names, found)


def _number(text: str) -> Fraction:
    return rational("".join(text.split()))


def _exponent(text: str) -> int:
    if len(text) > 6 or int(text) > MAX_EXPONENT:
        raise ValueError(f"the exponent {text:.12} is over {MAX_EXPONENT}; check the text.")
    return int(text)


class _Parser:
    """Recursive descent over the tokens of one text."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens: list[tuple[str, str, int]] = []
        at = 0
        while at < len(text.rstrip()):
            found = _TOKEN.match(text, at)
            if found is None:
                self._refuse(f"{text[at:].strip()[:10]!r} is not understood", at)
                break
            kind = ("number", "name", "sign")[(found.lastindex or 1) - 1]
            self.tokens.append((kind, found.group(found.lastindex or 0), found.start()))
            at = found.end()
        self.at = 0

    def _refuse(self, what: str, where: int) -> Any:
        around = self.text[max(0, where - 20) : where + 20].strip()
        raise ValueError(
            f"{what} at character {where + 1} (near {around!r}); write a polynomial such as "
            "2*x^4 - (x - 1/3)^2."
        )

    def _peek(self) -> tuple[str, str, int]:
        return self.tokens[self.at] if self.at < len(self.tokens) else ("end", "", len(self.text))

    def _next(self) -> tuple[str, str, int]:
        token = self._peek()
        self.at += 1
        return token

    def whole(self) -> Polynomial:
        found = self._sum()
        kind, word, where = self._peek()
        if kind != "end":
            self._refuse(f"{word!r} is one too many", where)
        return found

    def _sum(self) -> Polynomial:
        sign = self._sign()
        total = self._product()
        total = -total if sign < 0 else total
        while self._peek()[1] in {"+", "-"} and self._peek()[0] == "sign":
            sign = self._sign()
            term = self._product()
            total = total - term if sign < 0 else total + term
        return total

    def _sign(self) -> int:
        sign = 1
        while self._peek()[0] == "sign" and self._peek()[1] in {"+", "-"}:
            sign = -sign if self._next()[1] == "-" else sign
        return sign

    def _product(self) -> Polynomial:
        found = self._power()
        while True:
            kind, word, where = self._peek()
            if word == "*" or kind in {"number", "name"} or word == "(":
                if word == "*":
                    self.at += 1
                factor = self._power()
                if len(found.terms) * len(factor.terms) > _MAX_TERMS:
                    self._refuse("a product is too large to expand", where)
                found = found * factor
            elif word == "/":
                self.at += 1
                divisor = self._power()
                if len(divisor.terms) != 1 or divisor.degree:
                    self._refuse("division is by nonzero numbers only", where)
                found = found * (1 / next(iter(divisor.terms.values())))
            else:
                return found

    def _power(self) -> Polynomial:
        base = self._atom()
        if self._peek()[1] in {"^", "**"}:
            where = self._next()[2]
            kind, word, _ = self._next()
            if kind != "number" or not word.isdigit():
                self._refuse("an exponent is a nonnegative integer", where)
            power = _exponent(word)
            if len(base.terms) == 1:  # a power of a term needs no products
                ((m, c),) = base.terms.items()
                return Polynomial(base.variables, {tuple(e * power for e in m): c**power})
            if power > 200 or len(base.terms) ** min(power, 20) > _MAX_TERMS**2:
                self._refuse("a power is too large to expand", where)
            return base**power
        return base

    def _atom(self) -> Polynomial:
        kind, word, where = self._next()
        if kind == "number":
            return Polynomial((), {(): _number(word)})
        if kind == "name":
            return Polynomial((word,), {(1,): Fraction(1)})
        if word == "(":
            found = self._sum()
            if self._next()[1] != ")":
                self._refuse("a parenthesis is not closed", where)
            return found
        if word in {"+", "-"}:  # as in x * -2
            inner = self._power()
            return -inner if word == "-" else inner
        what = "the polynomial is cut off" if kind == "end" else f"{word!r} is out of place"
        return self._refuse(what, where)


def read(source: Any, variables: Sequence[str] | None = None) -> Polynomial:
    """Return a polynomial from whatever names one: itself, text, a dict, a file, sympy.

    Raises:
        ValueError: The source is none of these, or its file holds several polynomials.
    """
    if isinstance(source, Polynomial):
        return source if variables is None else in_variables(source, variables)
    if isinstance(source, dict):
        return from_terms(source, variables)
    if isinstance(source, Path) or (isinstance(source, str) and is_file(source)):
        found = read_file(source)
        if len(found) != 1:
            raise ValueError(
                f"{source} holds {len(found)} polynomials; give one, or use sos.certify_all."
            )
        return found[0][1] if variables is None else in_variables(found[0][1], variables)
    if isinstance(source, str):
        return parse(source, variables)
    if type(source).__module__.partition(".")[0] == "sympy":
        return from_sympy(source, variables)
    raise ValueError(
        f"a {type(source).__name__} is no polynomial; give text, {{exponents: coefficient}}, a "
        "file, a sympy expression or a Polynomial."
    )


def is_file(text: str) -> bool:
    """Whether a text names a file rather than a polynomial."""
    if "\n" in text or len(text) > 1000:
        return False
    path = Path(text)
    if path.suffix in {".txt", ".json", ".jsonl", ".poly"}:
        return True  # a missing one is then reported as such
    try:
        return bool(text.strip()) and path.is_file()
    except (OSError, ValueError):  # longer than a name may be, or not made of its characters
        return False


def read_file(path: str | Path) -> list[tuple[str, Polynomial]]:
    """Return the named polynomials of a file.

    Args:
        path: One polynomial a line, `name: polynomial` or plain; `#` begins a comment. A `.json`
            file holds one polynomial, a `.jsonl` file one a line.

    Returns:
        Names and polynomials in order; a plain line is named by its number.

    Raises:
        ValueError: A line is no polynomial (it is named), or there is none.
        OSError: The file cannot be read.
    """
    path = Path(path)
    text = path.read_text()
    if path.suffix == ".json":
        return [(path.stem, from_json(text))]
    found: list[tuple[str, Polynomial]] = []
    for number, line in enumerate(text.splitlines(), start=1):
        body = line.partition("#")[0].strip()
        if not body:
            continue
        try:
            if body.startswith("{"):
                found.append((str(number), from_json(body)))
                continue
            name, colon, rest = body.partition(":")
            found.append((name.strip(), parse(rest)) if colon else (str(number), parse(body)))
        except ValueError as error:
            raise ValueError(f"line {number} of {path}: {error}") from error
    if not found:
        raise ValueError(f"{path} holds no polynomial; write one a line.")
    names = [name for name, _ in found]
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        raise ValueError(f"{path} names {twice[0]!r} twice; give each polynomial its own name.")
    return found
