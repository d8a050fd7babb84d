"""What `certify` answers: one of five verdicts, never merged, with its certificate."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal import verify
from extremal.lab import Part, Table, write_certificate

from ._errors import NotCertified
from ._exact import ExactBlock
from ._polynomial import Polynomial


class Verdict(Enum):
    """What is known of a polynomial."""

    CERTIFIED_SOS = "a sum of squares, with an exact rational proof"
    CERTIFIED_NOT_SOS = "not a sum of squares, with an exact rational proof"
    NEGATIVE = "negative at a rational point"
    NUMERICAL_SOS = "a sum of squares up to rounding; no exact proof was found"
    UNKNOWN = "undecided"


EXIT_CODES = {
    Verdict.CERTIFIED_SOS: 0,
    Verdict.CERTIFIED_NOT_SOS: 1,
    Verdict.NEGATIVE: 1,
    Verdict.NUMERICAL_SOS: 3,
    Verdict.UNKNOWN: 3,
}


@dataclass(frozen=True)
class Certificate:
    """Parts that `extremal verify` accepts once they are written."""

    parts: tuple[Part, ...]

    @property
    def kinds(self) -> tuple[str, ...]:
        """Such as `("sos/gram",)`."""
        return tuple(p.kind for p in self.parts)

    def write(self, path: str | Path) -> Path:
        """Write the certificate file, atomically."""
        return write_certificate(path, self.parts)

    def check(self) -> verify.Verdict:
        """Return what the independent checker says."""
        with tempfile.TemporaryDirectory() as folder:
            return verify.file(self.write(Path(folder) / "certificate.json"))


@dataclass(frozen=True)
class Square:
    """weight * (sum of coefficient * monomial)^2, with weight > 0."""

    weight: Fraction
    terms: Mapping[tuple[int, ...], Fraction]


@dataclass(frozen=True)
class Stage:
    """One attempt of the cascade.

    Attributes:
        basis: Which rule or oracle chose the monomials.
        size: How many monomials.
        freedom: Unknowns of the kernel form.
        solver: Which solver ran, or "" if none had to.
        margin: The largest t with Q - t I positive semidefinite that it found, or None.
        outcome: What came of it.
        seconds: How long it took.
    """

    basis: str
    size: int
    freedom: int
    solver: str
    margin: float | None
    outcome: str
    seconds: float


@dataclass(frozen=True)
class Result:
    """A verdict with its evidence.

    Attributes:
        polynomial: What was asked.
        verdict: One of the five.
        reason: Why, in one sentence.
        certificate: What proves it; None for NUMERICAL_SOS and UNKNOWN.
        blocks: The exact Gram blocks of a sum of squares, else empty.
        point: Where the polynomial is negative, or None.
        nonnegative: Whether p >= 0 everywhere was proved, by squares or with a multiplier.
        stages: The attempts in order.
        seconds: Time by part: "basis", "solver", "proof", "search".
        residual: Of NUMERICAL_SOS: the largest error of the identity and minus the least
            eigenvalue, relative to the largest coefficient.
        notes: How inexact input was read, what was skipped.
        path: The certificate file, if it was written.
    """

    polynomial: Polynomial
    verdict: Verdict
    reason: str
    certificate: Certificate | None = None
    blocks: tuple[ExactBlock, ...] = ()
    point: tuple[Fraction, ...] | None = None
    nonnegative: bool = False
    stages: tuple[Stage, ...] = ()
    seconds: Mapping[str, float] = field(default_factory=dict)
    residual: float | None = None
    notes: tuple[str, ...] = ()
    path: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 proved, 1 refuted, 3 open."""
        return EXIT_CODES[self.verdict]

    @property
    def squares(self) -> tuple[Square, ...]:
        """The squares that add up to p exactly.

        Raises:
            NotCertified: The verdict is not CERTIFIED_SOS.
        """
        if self.verdict is not Verdict.CERTIFIED_SOS:
            raise NotCertified(
                f"the verdict is {self.verdict.name}, so there are no exact squares; only a "
                "CERTIFIED_SOS result has them."
            )
        return squares_of(self.blocks)

    def as_text(self) -> str:
        """Return p as an explicit sum of squares, in text that `parse` reads back."""
        from ._export import text

        return text(self.polynomial.variables, self.squares)

    def as_latex(self) -> str:
        """Return the identity in LaTeX."""
        from ._export import latex

        return latex(self.polynomial, self.squares)

    def as_sympy(self) -> Any:
        """Return the sum of squares as a sympy expression, not expanded."""
        from ._export import as_sympy

        return as_sympy(self.polynomial.variables, self.squares)

    def as_lean(self, name: str = "p_nonneg") -> str:
        """Return a Lean 4 (Mathlib) theorem that p >= 0, proved by the identity."""
        from ._export import lean

        return lean(self.polynomial, self.squares, name)

    def table(self) -> Table:
        """Return the verdict, the reason and the stages."""
        rows: list[list[Any]] = [
            [s.basis, s.size, s.freedom, s.solver or None, s.margin, s.outcome, round(s.seconds, 4)]
            for s in self.stages
        ]
        lines = [f"{self.verdict.name}: {self.reason}", *self.notes]
        if self.path is not None:
            lines.append(f"certificate: {self.path}")
        return Table(
            ["basis", "monomials", "unknowns", "solver", "margin t", "outcome", "seconds"],
            rows,
            title="\n".join(lines),
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "verdict": self.verdict.name,
            "reason": self.reason,
            "nonnegative": self.nonnegative,
            "certificate": None if self.path is None else str(self.path),
            "point": None if self.point is None else [str(x) for x in self.point],
            "squares": len(self.squares) if self.verdict is Verdict.CERTIFIED_SOS else None,
            "residual": self.residual,
            "stages": [
                {
                    "basis": s.basis,
                    "size": s.size,
                    "freedom": s.freedom,
                    "solver": s.solver,
                    "margin": s.margin,
                    "outcome": s.outcome,
                    "seconds": s.seconds,
                }
                for s in self.stages
            ],
            "seconds": dict(self.seconds),
            "notes": list(self.notes),
        }


def squares_of(blocks: Sequence[ExactBlock]) -> tuple[Square, ...]:
    """Return the squares of exact blocks."""
    out: list[Square] = []
    for block in blocks:
        rows = [tuple(r) for r in block.rows.tolist()]
        for weight, unit in block.pivots:
            out.append(Square(weight, {rows[j]: c for j, c in sorted(unit.items())}))
    return tuple(out)


def describe_point(variables: Sequence[str], point: Sequence[Fraction]) -> str:
    """Return a point for a sentence."""
    shown = [f"{v} = {x}" for v, x in zip(variables, point, strict=True)][:6]
    return ", ".join(shown) + (", …" if len(point) > 6 else "")
