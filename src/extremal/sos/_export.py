"""Sums of squares for other programs: text, LaTeX, sympy, Lean, SDPA.

Every form states the same identity; none is needed to check a certificate.
"""

from collections.abc import Mapping, Sequence
from fractions import Fraction
from typing import Any

from ._polynomial import Monomial, Polynomial, written
from ._result import Square

_REALS = "\u211d"


def _sum(variables: Sequence[str], terms: Mapping[Monomial, Fraction]) -> str:
    return str(Polynomial(tuple(variables), terms))


def text(variables: Sequence[str], squares: Sequence[Square]) -> str:
    """Return the sum of squares as text."""
    parts = [
        ("" if s.weight == 1 else f"{s.weight}*") + f"({_sum(variables, s.terms)})^2"
        for s in squares
    ]
    return " + ".join(parts) or "0"


def latex(p: Polynomial, squares: Sequence[Square]) -> str:
    """Return the identity p = sum of squares as a LaTeX align environment."""
    parts = [
        ("" if s.weight == 1 else _latex_number(s.weight))
        + rf"\left({_latex_sum(p.variables, s.terms)}\right)^2"
        for s in squares
    ]
    body = " \\\\\n  &+ ".join(parts) or "0"
    return (
        "\\begin{align*}\n  "
        + _latex_sum(p.variables, p.terms)
        + "\n  ={}& "
        + body
        + "\n\\end{align*}"
    )


def _latex_number(value: Fraction) -> str:
    if value.denominator == 1:
        return str(value.numerator)
    return rf"\tfrac{{{value.numerator}}}{{{value.denominator}}}"


def _latex_name(name: str) -> str:
    head = name.rstrip("0123456789")
    tail = name[len(head) :]
    head = head.rstrip("_") or "v"
    shown = head if len(head) == 1 else rf"\mathrm{{{head.replace('_', chr(92) + '_')}}}"
    return f"{shown}_{{{tail}}}" if tail else shown


def _latex_sum(variables: Sequence[str], terms: Mapping[Monomial, Fraction]) -> str:
    out: list[str] = []
    for m, c in sorted(terms.items(), key=lambda t: (-sum(t[0]), [-e for e in t[0]])):
        word = " ".join(
            _latex_name(v) if e == 1 else f"{_latex_name(v)}^{{{e}}}"
            for v, e in zip(variables, m, strict=True)
            if e
        )
        size = abs(c)
        number = "" if word and size == 1 else _latex_number(size)
        body = f"{number} {word}".strip()
        out.append(("-" if c < 0 else "+" if out else "") + body)
    return " ".join(out) or "0"


def as_sympy(variables: Sequence[str], squares: Sequence[Square]) -> Any:
    """Return the sum of squares as a sympy expression, not expanded."""
    from extremal.lab import require

    sympy = require("sympy", "dev")
    terms = [
        sympy.Mul(
            sympy.Rational(s.weight.numerator, s.weight.denominator),
            Polynomial(tuple(variables), s.terms).as_sympy() ** 2,
            evaluate=False,
        )
        for s in squares
    ]
    return sympy.Add(*terms, evaluate=False)


def lean(p: Polynomial, squares: Sequence[Square], name: str) -> str:
    """Return a Lean 4 theorem: p is nonnegative, by an identity that `ring` checks."""
    variables = p.variables
    lines = [
        "import Mathlib",
        "",
        f"theorem {name} ({' '.join(variables)} : {_REALS}) :"
        if variables
        else f"theorem {name} :",
        f"    0 ≤ {_lean_sum(variables, p.terms)} := by",
    ]
    if not squares:
        return "\n".join([*lines, "  norm_num", ""])
    parts = [f"{_lean_number(s.weight)} * ({_lean_sum(variables, s.terms)}) ^ 2" for s in squares]
    lines += [
        f"  have identity : {_lean_sum(variables, p.terms)} =",
        "      " + " +\n      ".join(parts) + " := by",
        "    ring",
        "  rw [identity]",
        "  positivity",
        "",
    ]
    return "\n".join(lines)


def _lean_number(value: Fraction) -> str:
    if value.denominator == 1:
        return f"({value.numerator} : {_REALS})"
    return f"({value.numerator} / {value.denominator} : {_REALS})"


def _lean_sum(variables: Sequence[str], terms: Mapping[Monomial, Fraction]) -> str:
    parts: list[str] = []
    for m, c in sorted(terms.items(), key=lambda t: (-sum(t[0]), [-e for e in t[0]])):
        word = written(variables, m).replace("^", " ^ ").replace("*", " * ")
        parts.append(_lean_number(c) if word == "1" else f"{_lean_number(c)} * {word}")
    return " + ".join(parts) or f"(0 : {_REALS})"
