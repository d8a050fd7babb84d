"""A checkpoint: everything a training needs to go on as if nothing had happened.

One file holds the weights, the optimizer, the gradient scaler, the iteration, the random
generators and what the hooks keep; it also says which job it belongs to. See `_tensors`: it is
written whole or not at all, and a changed bit is noticed.
"""

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from ._data import raw_bytes
from ._errors import TrainingError
from ._tensors import load_file, on_cpu, save_tensors

_VERSION = 1


def write_checkpoint(
    path: Path, job: Mapping[str, Any], weights: Mapping[str, Tensor], parts: Mapping[str, Any]
) -> None:
    """Write weights and nested parts (dicts, lists, tuples, numbers, strings, tensors)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    every = {f"model.{name}": tensor for name, tensor in weights.items()}
    packed = {name: _pack(part, f"part.{name}", every) for name, part in parts.items()}
    save_tensors(path, every, state={"version": _VERSION, "job": dict(job), "parts": packed})


def read_checkpoint(path: Path, job: Mapping[str, Any]) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return weights and parts of a checkpoint of this very job.

    Raises:
        TrainingError: The file is damaged, of another version, or of another job (the parts of
            the job that differ are named).
    """
    tensors, state = load_file(path)
    if state.get("version") != _VERSION:
        raise TrainingError(
            f"{path} is no checkpoint of version {_VERSION}; remove it to start again."
        )
    found = cast("dict[str, Any]", state["job"])
    differing = [key for key in {**found, **job} if found.get(key) != job.get(key)]
    if differing:
        details = "; ".join(
            f"{key}: {_short(found.get(key))} there, {_short(job.get(key))} now"
            for key in differing
        )
        raise TrainingError(
            f"{path} belongs to another training ({details}); resume with the same model, data "
            "and options, or give another place."
        )
    parts = {name: _unpack(part, tensors) for name, part in state["parts"].items()}
    weights = {
        name.removeprefix("model."): tensor
        for name, tensor in tensors.items()
        if name.startswith("model.")
    }
    return weights, parts


def weights_digest(model: nn.Module) -> str:
    """SHA-256 of all weights and buffers with their names."""
    digest = hashlib.sha256()
    for name, tensor in on_cpu(model.state_dict()).items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(raw_bytes(tensor))
    return digest.hexdigest()


def load_optimizer(optimizer: Optimizer, state: dict[str, Any]) -> None:
    """Load an optimizer's state in the memory layout of its parameters.

    A file keeps tensors contiguous; beside a channels_last weight a contiguous buffer would be
    slow, and kernels that walk memory would pair wrong entries.
    """
    optimizer.load_state_dict(state)
    for parameter, entries in optimizer.state.items():
        for key, value in entries.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and value.ndim:
                layout = torch.empty_like(parameter, dtype=value.dtype)
                entries[key] = layout.copy_(value)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    if isinstance(value, Tensor):
        tensors[name] = value
        return {"tensor": name}
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        items = cast("Mapping[Any, Any]", value).items()
        return {"dict": [[key, _pack(v, f"{name}.{key}", tensors)] for key, v in items]}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        entries = cast("list[Any]", value)
        return {kind: [_pack(v, f"{name}.{i}", tensors) for i, v in enumerate(entries)]}
    raise TrainingError(
        f"The checkpoint cannot keep {name}, a {type(value).__name__}: it holds tensors, numbers, "
        "strings, lists and dictionaries. Keep such state in these forms, or train without a "
        "checkpoint."
    )


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if not isinstance(value, dict):
        return value
    ((kind, content),) = cast("dict[str, Any]", value).items()
    if kind == "tensor":
        return tensors[content]
    if kind == "float":
        return float(content)
    if kind == "dict":
        return {key: _unpack(v, tensors) for key, v in content}
    entries = [_unpack(v, tensors) for v in content]
    return entries if kind == "list" else tuple(entries)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 20 else text[:12] + "…"
