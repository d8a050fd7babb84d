"""Targets in words: "3x macs", "0.4x params", "2x latency"."""

import re
from dataclasses import dataclass

UNITS = ("macs", "params", "latency")


@dataclass(frozen=True)
class Target:
    """Keep at most the share `keep` of what the dense network needs in this unit."""

    keep: float
    unit: str

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Read a target; a factor above 1 divides, one below 1 is the share that stays.

        Raises:
            ValueError: The text is none, or asks for nothing.

        Example:
            >>> Target.parse("4x macs"), Target.parse("0.4x params")
            (Target(keep=0.25, unit='macs'), Target(keep=0.4, unit='params'))
        """
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?|\.\d+)\s*x\s+(\w+)\s*", text)
        if match is None or match[2] not in UNITS:
            raise ValueError(
                f"the target {text!r} cannot be read; write a factor and {', '.join(UNITS)}, "
                'such as "3x macs" (3 times fewer) or "0.4x params" (0.4 of them).'
            )
        factor = float(match[1])
        if factor <= 0 or factor == 1:
            raise ValueError(f"the target {text!r} asks for no change; give a factor other than 1.")
        return cls(1 / factor if factor > 1 else factor, match[2])
