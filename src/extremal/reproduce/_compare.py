"""Whether two records of one experiment agree: facts exactly, measurements of a machine roughly.

A sample is a measurement of the machine if a word of its name says so (seconds, bytes, rate, ...);
its numbers may differ by a factor, because machines and what else runs on them do. Everything else
is a fact that a seed decides. Integers, words and truth values are compared exactly, floats to
a relative 1e-6, which covers sums taken in another order.
"""

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

_MEASURED = re.compile(
    r"seconds|second|\bms\b|_ms|time|bytes|mib|memory|rate|speed|\bper\b|_per_|wall|overhead",
    re.IGNORECASE,
)
_RELATIVE = 1e-6


@dataclass(frozen=True, slots=True)
class Sample:
    """One sample beside its record.

    Attributes:
        name: Where it stands, such as `seconds/1`.
        recorded: What the record says.
        now: What was found.
        measured: Whether it is a measurement of the machine; else it is a fact.
        agrees: Whether the two agree.
    """

    name: str
    recorded: Any
    now: Any
    measured: bool
    agrees: bool


def compare(
    recorded: Any, now: Any, factor: float, measured: frozenset[str] = frozenset()
) -> list[Sample]:
    """Compare the samples of two records.

    Args:
        recorded: Samples as plain values.
        now: Those found now.
        factor: By how much measurements of the machine may differ, over 1.
        measured: Names of further samples that are measurements.

    Returns:
        Every sample with whether it agrees.

    Example:
        >>> old, new = {"n": 3, "seconds": [2.0, 1.0]}, {"n": 4, "seconds": [1.5]}
        >>> [s.agrees for s in compare(old, new, factor=2.0)]
        [False, True]
    """
    return [
        Sample(name, old, new, machine, _near(old, new, factor) if machine else _equal(old, new))
        for name, old, new, machine in _pairs("", recorded, now, False, measured)
    ]


def _pairs(
    name: str, old: Any, new: Any, machine: bool, measured: frozenset[str]
) -> Iterator[tuple[str, Any, Any, bool]]:
    last = name.rpartition("/")[2]
    machine = machine or bool(_MEASURED.search(last)) or last in measured
    if isinstance(old, dict) and isinstance(new, dict):
        for key in dict.fromkeys([*old, *new]):
            inner = f"{name}/{key}" if name else str(key)
            yield from _pairs(inner, old.get(key), new.get(key), machine, measured)
    elif isinstance(old, list) and isinstance(new, list):
        numbers = [[x for x in side if _is_number(x)] for side in (old, new)]
        if machine and numbers[0] and numbers[1]:
            # Repeats: how many there are is a choice; the least time disturbs least.
            yield f"{name} (least)", min(numbers[0]), min(numbers[1]), True
        elif len(old) != len(new):
            yield f"{name} (how many)", len(old), len(new), machine
        else:
            for k, (a, b) in enumerate(zip(old, new, strict=True)):
                yield from _pairs(f"{name}/{k}", a, b, machine, measured)
    else:
        yield name, old, new, machine


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _equal(old: Any, new: Any) -> bool:
    if _is_number(old) and _is_number(new) and (isinstance(old, float) or isinstance(new, float)):
        both_nan = math.isnan(old) and math.isnan(new)
        return both_nan or math.isclose(old, new, rel_tol=_RELATIVE, abs_tol=1e-12)
    return type(old) is type(new) and old == new


def _near(old: Any, new: Any, factor: float) -> bool:
    if not (_is_number(old) and _is_number(new)):
        return type(old) is type(new)
    if old <= 0 or new <= 0:
        return old == new
    return 1 / factor <= new / old <= factor
