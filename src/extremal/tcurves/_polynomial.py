"""The polynomial of a curve: signs and heights as coefficients.

f_t(x, y) = sum of (-1)^sign * t^height * x^i * y^j has the curve's real scheme for all small t > 0.
The theory gives no bound for t.
"""

from dataclasses import dataclass
from fractions import Fraction
from math import gcd, lcm

from ._errors import NotRegular
from ._scheme import Signs, read_signs
from ._triangulation import Triangulation

Number = float | int | Fraction


@dataclass(frozen=True, slots=True)
class Polynomial:
    """A polynomial in x and y with coefficients that are signed powers of t.

    Attributes:
        degree: d.
        terms: (sign, height, i, j) with sign +1 or -1: sign * t^height * x^i * y^j.
    """

    degree: int
    terms: tuple[tuple[int, int, int, int], ...]

    def __str__(self) -> str:
        words: list[str] = []
        for sign, height, i, j in self.terms:
            factors = [
                f"{name}^{power}" if power > 1 else name
                for name, power in (("t", height), ("x", i), ("y", j))
                if power
            ]
            words.append(("- " if sign < 0 else "+ ") + ("*".join(factors) or "1"))
        text = " ".join(words)
        return text[2:] if text.startswith("+ ") else "-" + text[2:]

    def at(self, t: Number, x: Number, y: Number) -> Number:
        """Return the value at a point, for one t; exact where all three are."""
        return sum(sign * t**height * x**i * y**j for sign, height, i, j in self.terms)


def polynomial(t: Triangulation, signs: Signs) -> Polynomial:
    """Return the polynomial of a curve, with heights scaled to coprime integers from 0.

    Raises:
        NotRegular: The triangulation has no heights.
        ValueError: The signs do not fit.
    """
    if t.heights is None:
        raise NotRegular(
            "the triangulation has no heights, so no polynomial is known; regular(t) computes some "
            "where they exist."
        )
    found = read_signs(t, signs)
    scale = lcm(*(h.denominator for h in t.heights))
    whole = [int(h * scale) for h in t.heights]
    low = min(whole)
    unit = gcd(*(h - low for h in whole)) or 1
    return Polynomial(
        t.degree,
        tuple(
            (1 - 2 * sign, (h - low) // unit, i, j)
            for sign, h, (i, j) in zip(found, whole, t.points, strict=True)
        ),
    )
