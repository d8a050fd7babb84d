"""Reads a certificate file within bounds, before any checker sees it.

Refused here: files over `MAX_BYTES`, nesting over `MAX_DEPTH`, integers over 10,000 digits, NaN and
infinity, repeated keys, unknown fields, unknown kinds, unknown versions.
"""

import importlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NoReturn, cast

from ._rejected import Unusable

MAX_BYTES = 256 << 20
MAX_DEPTH = 64
_MAX_DIGITS = 10_000
_MAX_PARTS = 10_000

# Each kind: the module that checks it. The strength stands in the module.
KINDS: dict[tuple[str, int], str] = {
    ("compression/model", 1): "_recomputed.compression_model",
    ("coloring/cells", 1): "_proved.coloring_cells",
    ("coloring/configuration", 1): "_proved.coloring_configuration",
    ("coloring/polygons", 1): "_proved.coloring_polygons",
    ("flows/nash", 1): "_proved.flows_nash",
    ("flows/nash-to", 1): "_proved.flows_nash_to",
    ("frankwolfe/optimum", 1): "_recomputed.frankwolfe_optimum",
    ("interpret/guarantee", 1): "_recomputed.interpret_guarantee",
    ("lab/measured", 1): "_recomputed.lab_measured",
    ("llm/model", 1): "_recomputed.llm_model",
    ("pruning/model", 1): "_recomputed.pruning_model",
    ("pruning/soup", 1): "_recomputed.pruning_soup",
    ("sos/gram", 1): "_proved.sos_gram",
    ("sos/multiplier", 1): "_proved.sos_multiplier",
    ("sos/negative", 1): "_proved.sos_negative",
    ("sos/putinar", 1): "_proved.sos_putinar",
    ("sos/refutation", 1): "_proved.sos_refutation",
    ("tcurves/census", 1): "_recomputed.tcurves_census",
    ("tcurves/scheme", 1): "_proved.tcurves_scheme",
}


@dataclass(frozen=True, slots=True)
class ReadPart:
    """One part of a certificate with its checker."""

    kind: str
    version: int
    strength: str
    claim: dict[str, Any]
    witness: dict[str, Any]
    check: Callable[[dict[str, Any], dict[str, Any], Path], list[str]]
    thorough: Callable[[dict[str, Any], dict[str, Any], Path], list[str]]


def read(path: Path) -> list[ReadPart]:
    """Return the parts of a certificate.

    Raises:
        Unusable: The file cannot be read, is over the bounds, or is of an unknown form.
    """
    body = _object(_parse(path), "the certificate", ("format", "version", "parts"))
    if body["format"] != "extremal/certificate":
        raise Unusable(f"its format is {body['format']!r}, not 'extremal/certificate'.")
    if body["version"] != 1 or type(body["version"]) is not int:
        raise Unusable(f"its version is {body['version']!r}; this program reads version 1.")
    parts = body["parts"]
    if not isinstance(parts, list) or not 0 < len(cast("list[Any]", parts)) <= _MAX_PARTS:
        raise Unusable(f"its parts are not a list of 1 to {_MAX_PARTS} claims.")
    return [_part(value, number) for number, value in enumerate(cast("list[Any]", parts))]


def _part(value: Any, number: int) -> ReadPart:
    where = f"part {number}"
    part = _object(value, where, ("kind", "version", "claim", "witness"))
    kind, version = part["kind"], part["version"]
    if not isinstance(kind, str) or type(version) is not int or (kind, version) not in KINDS:
        known = ", ".join(f"{k} version {v}" for k, v in sorted(KINDS))
        raise Unusable(
            f"{where} is of kind {kind!r} version {version!r}, which this program does not know "
            f"(it knows {known}); a newer extremal may."
        )
    checker = importlib.import_module(f".{KINDS[kind, version]}", __package__)
    return ReadPart(
        kind,
        version,
        checker.STRENGTH,
        _object(part["claim"], f"the claim of {where}", checker.CLAIM, whole=False),
        _object(part["witness"], f"the witness of {where}", checker.WITNESS, whole=False),
        checker.check,
        partial(checker.check, thorough=True) if hasattr(checker, "THOROUGH") else checker.check,
    )


def _object(value: Any, where: str, fields: tuple[str, ...], whole: bool = True) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise Unusable(f"{where} is not an object with the fields {', '.join(fields)}.")
    found = cast("dict[str, Any]", value)
    unknown = sorted(found.keys() - set(fields))
    missing = sorted(set(fields) - found.keys()) if whole else []
    if unknown or missing:
        problems = [f"unknown: {', '.join(unknown)}"] if unknown else []
        problems += [f"missing: {', '.join(missing)}"] if missing else []
        raise Unusable(f"the fields of {where} are wrong ({'; '.join(problems)}).")
    return found


def _parse(path: Path) -> Any:
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise Unusable(f"it cannot be read ({error.strerror or error}).") from error
    if len(raw) > MAX_BYTES:
        raise Unusable(f"it is larger than {MAX_BYTES:,} bytes.")
    try:
        value = json.loads(
            raw.decode("utf-8"),
            object_pairs_hook=_unique,
            parse_constant=_no_constant,
            parse_int=_integer,
        )
    except RecursionError as error:
        raise Unusable(f"it is nested deeper than {MAX_DEPTH} levels.") from error
    except ValueError as error:
        raise Unusable(f"it is not JSON ({error}).") from error
    _bound_depth(value)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice in one object")
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number that JSON has")


def _integer(digits: str) -> int:
    if len(digits) > _MAX_DIGITS:
        raise ValueError(f"an integer has {len(digits)} digits, more than {_MAX_DIGITS}")
    # The interpreter's own limit on digits is lower; it guards against untrusted sizes, which
    # the line above bounds.
    return int(digits) if len(digits) <= 4000 else _long_integer(digits)


def _long_integer(digits: str) -> int:
    sign, digits = (-1, digits[1:]) if digits.startswith("-") else (1, digits)
    value = 0
    for start in range(0, len(digits), 4000):
        piece = digits[start : start + 4000]
        value = value * 10 ** len(piece) + int(piece)
    return sign * value


def _bound_depth(value: Any) -> None:
    level: list[Any] = [value]
    for _ in range(MAX_DEPTH):
        below: list[Any] = []
        for item in level:
            if isinstance(item, dict):
                below.extend(cast("dict[str, Any]", item).values())
            elif isinstance(item, list):
                below.extend(cast("list[Any]", item))
        level = [item for item in below if isinstance(item, (dict, list))]
        if not level:
            return
    raise Unusable(f"it is nested deeper than {MAX_DEPTH} levels.")
