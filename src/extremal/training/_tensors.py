"""Named tensors in one file that knows its own hash.

The file is ordinary safetensors. Its metadata holds one entry, `extremal`: JSON with the SHA-256
of the file (computed with zeros in the place of the hash) and, where wanted, a `state` of plain
values. One file, so that tensors and state cannot come apart; one metadata entry, since the order
of several is not fixed and equal content shall give equal bytes.
"""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from extremal.lab import atomic_write

from ._errors import TrainingError

_ENTRY = "extremal"
_MARK = b'{\\"sha256\\": \\"'  # as it stands in the header: JSON inside a JSON string
_BLANK = b"0" * 64


def save_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    *,
    state: Mapping[str, Any] | None = None,
) -> str:
    """Write named tensors to a safetensors file, whole or not at all.

    Args:
        path: The file; its folder must exist.
        tensors: Any names and dtypes; tensors that share memory are written twice.
        state: Plain JSON values to keep in the same file.

    Returns:
        SHA-256 of the file's bytes, for a certificate. Equal content gives equal bytes.

    Raises:
        OSError: The file cannot be written; what was there before is untouched.
    """
    plain = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    note = json.dumps({"sha256": _BLANK.decode(), "state": dict(state or {})})
    raw = bytearray(safetensors.torch.save(plain, metadata={_ENTRY: note}))
    at = raw.index(_MARK) + len(_MARK)
    raw[at : at + 64] = hashlib.sha256(raw).hexdigest().encode()
    atomic_write(path, bytes(raw))
    return hashlib.sha256(raw).hexdigest()


def load_tensors(
    path: str | Path, *, sha256: str | None = None, foreign: bool = False
) -> dict[str, Tensor]:
    """Read a file of `save_tensors` back, after checking that no bit of it changed.

    Args:
        path: The file.
        sha256: The hash of the whole file, where it is known from elsewhere; checked too.
        foreign: Accept a safetensors file that another program wrote, which has no hash inside.

    Raises:
        TrainingError: The file is cut short, changed, or not of this form.
        OSError: There is no such file.
    """
    return load_file(path, sha256=sha256, foreign=foreign)[0]


def load_file(
    path: str | Path, *, sha256: str | None = None, foreign: bool = False
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """As `load_tensors`, with the state that was kept beside the tensors."""
    raw = bytearray(Path(path).read_bytes())
    if sha256 is not None and hashlib.sha256(raw).hexdigest() != sha256:
        raise _damaged(path, f"its SHA-256 is not {sha256}")
    header = bytes(raw[8 : 8 + int.from_bytes(raw[:8], "little")])
    at = 8 + header.find(_MARK) + len(_MARK)
    state: dict[str, Any] = {}
    if _MARK in header:
        written = bytes(raw[at : at + 64])
        raw[at : at + 64] = _BLANK
        if hashlib.sha256(raw).hexdigest().encode() != written:
            raise _damaged(path, "its content does not have the SHA-256 written in it")
        note = json.loads(header)["__metadata__"][_ENTRY]
        state = cast("dict[str, Any]", json.loads(note)["state"])
    elif not foreign:
        raise _damaged(path, "it carries no SHA-256 of its own")
    try:
        return safetensors.torch.load(bytes(raw)), state
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, f"it is not a safetensors file ({error})") from error


def _damaged(path: str | Path, why: str) -> TrainingError:
    return TrainingError(
        f"{path} is cut short or changed: {why}. It was not used; restore it from a copy, or "
        "remove it to compute it again."
    )
