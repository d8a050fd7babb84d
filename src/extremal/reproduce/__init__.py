"""A row of a benchmark table, run again: `extremal reproduce tcurves/census --row bat`."""

from ._compare import Sample, compare
from ._reproduce import Options, Reproduced, reproduce

__all__ = ["Options", "Reproduced", "Sample", "compare", "reproduce"]
