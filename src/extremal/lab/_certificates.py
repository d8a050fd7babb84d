"""Certificate files: what is claimed, and what lets a stranger check it.

A file holds one or more parts, each of one kind; `extremal verify` accepts it when the checker
of every part does. The checkers live in `extremal.verify` and share no code with this module.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ._files import atomic_write


@dataclass(frozen=True, slots=True)
class Part:
    """One claim with its witness.

    Attributes:
        kind: Such as `"pruning/model"`; `docs/certificates` has a page for each.
        version: Of the kind.
        claim: What is said, as plain JSON values.
        witness: What the checker needs to repeat it; file names are relative to the certificate.
    """

    kind: str
    version: int
    claim: Mapping[str, Any]
    witness: Mapping[str, Any]


def write_certificate(path: Path | str, parts: Sequence[Part]) -> Path:
    """Write a certificate atomically.

    Raises:
        ValueError: There is no part, or a value is NaN, infinite or not plain JSON.
    """
    if not parts:
        raise ValueError("a certificate needs at least one part, so that it claims something.")
    body = {
        "format": "extremal/certificate",
        "version": 1,
        "parts": [
            {
                "kind": part.kind,
                "version": part.version,
                "claim": dict(part.claim),
                "witness": dict(part.witness),
            }
            for part in parts
        ],
    }
    return atomic_write(path, json.dumps(body, indent=1, allow_nan=False) + "\n")
