"""How many weights go: a sparsity s, or N:M (keep N of every M consecutive inputs).

Counts are exact: of a group of n weights exactly floor(s n) are pruned, with s read as the decimal
that was written. In floating point 0.7 * 10 is 6.999…, which is why s is a fraction here.
"""

import math
import re
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction

from ._errors import LLMError


@dataclass(frozen=True, slots=True)
class Pattern:
    """What is pruned of a layer.

    Attributes:
        sparsity: The fraction pruned; of N:M it is 1 - N/M.
        n: Kept of a group of `m`, or 0 where the pattern is unstructured.
        m: Size of a group, or 0.
    """

    sparsity: Fraction
    n: int = 0
    m: int = 0

    @classmethod
    def parse(cls, text: "str | float | Fraction | Pattern") -> "Pattern":
        """Read "0.5", 0.5 or "2:4".

        Raises:
            ValueError: It is neither a sparsity in [0, 1) nor N:M with 0 < N <= M.

        Example:
            >>> Pattern.parse("2:4")
            Pattern(sparsity=Fraction(1, 2), n=2, m=4)
            >>> Pattern.parse(0.7).count(10)
            7
        """
        if isinstance(text, Pattern):
            return text
        if match := re.fullmatch(r"(\d+):(\d+)", str(text)):
            n, m = int(match[1]), int(match[2])
            if not 0 < n <= m:
                raise ValueError(f"the pattern {text} keeps {n} of {m}; it needs 0 < N <= M.")
            return cls(1 - Fraction(n, m), n, m)
        if isinstance(text, Fraction):
            value = text
        elif re.fullmatch(r"-?(\d+\.?\d*|\.\d+)(e-?\d+)?", str(text)):
            value = Fraction(str(text))  # a float as its shortest decimal
        else:
            raise ValueError(
                f"the pattern {text!r} is neither a sparsity such as 0.5 nor N:M such as 2:4."
            )
        if not 0 <= value < 1:
            raise ValueError(f"the sparsity {text} is outside [0, 1); 0.5 prunes half.")
        return cls(value)

    @property
    def structured(self) -> bool:
        """Whether it is N:M."""
        return self.m > 0

    def count(self, size: int) -> int:
        """Return how many of `size` weights are pruned: rounded down, exactly."""
        return math.floor(self.sparsity * size)

    def check(self, inputs: int, name: str) -> None:
        """Refuse a layer that the pattern does not fit."""
        if self.structured and inputs % self.m:
            raise LLMError(
                f"{name} has {inputs} inputs, no multiple of {self.m}, so {self} does not fit "
                "it. Leave it dense with --skip, or choose another pattern."
            )

    def decimal(self) -> str:
        """Return s as the decimal that was written; thirds have none and are refused."""
        text = format(Decimal(self.sparsity.numerator) / Decimal(self.sparsity.denominator), "f")
        if Fraction(text) != self.sparsity:
            raise ValueError(f"the sparsity {self.sparsity} has no finite decimal; give one.")
        return text

    def __str__(self) -> str:
        return f"{self.n}:{self.m}" if self.structured else self.decimal()
