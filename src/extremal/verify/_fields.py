"""Typed reading of a claim or witness: a missing field or a wrong type is a rejection."""

import math
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ._rejected import Rejected

_HEX64 = re.compile(r"[0-9a-f]{64}")


def text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be text."""
    value = _value(fields, name)
    if not isinstance(value, str):
        raise Rejected(f"{name} is {value!r}, not text.")
    return value


def natural(fields: Mapping[str, Any], name: str) -> int:
    """Return a field that must be an integer of at least 0."""
    value = _value(fields, name)
    if type(value) is not int or value < 0:
        raise Rejected(f"{name} is {value!r}, not a count.")
    return value


def number(fields: Mapping[str, Any], name: str) -> float:
    """Return a field that must be a finite number."""
    value = _value(fields, name)
    if type(value) not in (int, float) or not math.isfinite(value):
        raise Rejected(f"{name} is {value!r}, not a finite number.")
    return float(value)


def items(fields: Mapping[str, Any], name: str) -> list[Any]:
    """Return a field that must be a list."""
    value = _value(fields, name)
    if not isinstance(value, list):
        raise Rejected(f"{name} is {value!r}, not a list.")
    return value


def mapping(fields: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Return a field that must be an object."""
    value = _value(fields, name)
    if not isinstance(value, dict):
        raise Rejected(f"{name} is {value!r}, not an object.")
    return value


def digest(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that must be a SHA-256 in lower-case hexadecimal."""
    value = text(fields, name)
    if not _HEX64.fullmatch(value):
        raise Rejected(f"{name} is {value!r}, not a SHA-256.")
    return value


def file(folder: Path, name: str) -> Path:
    """Return a file named by a witness, which must lie in the certificate's folder.

    Raises:
        Rejected: The name is absolute or leads out of the folder, or there is no such file.
    """
    parts = PurePosixPath(name)
    if parts.is_absolute() or ".." in parts.parts or "\\" in name or not parts.parts:
        raise Rejected(f"the file name {name!r} leads out of the certificate's folder.")
    path = folder.joinpath(*parts.parts)
    if not path.is_file():
        raise Rejected(f"the file {name} that the certificate names is missing.")
    return path


def _value(fields: Mapping[str, Any], name: str) -> Any:
    if name not in fields:
        raise Rejected(f"the field {name} is missing.")
    return fields[name]
