"""The certificate of a pruning: what `extremal verify` repeats from the run's files."""

from decimal import Decimal
from pathlib import Path
from typing import Any

from extremal import training
from extremal.lab import Part, accuracy_part, sha256_file, write_certificate

from ._config import OUTCOME
from ._result import Pruned
from ._selectors import parse_pattern

FILES = ("weights", "masks", "parent")
_NAMES = {
    "weights": "model.safetensors",
    "masks": "masks.safetensors",
    "parent": "parent.safetensors",
}


def write_files(folder: Path, result: Pruned) -> None:
    """Write the weights and masks that the certificate speaks of; the parent is there already."""
    training.save_tensors(folder / _NAMES["weights"], result.model.state_dict())
    training.save_tensors(folder / _NAMES["masks"], result.masks)


def model_part(folder: Path, result: Pruned) -> Part:
    """Claim the exact zeros of the run's weights."""
    state = result.model.state_dict()
    parameters = dict(result.model.named_parameters())
    config = result.config
    exact = (
        config.method not in OUTCOME
        and config.selector not in ("uniform", "filter")
        and parse_pattern(config.selector) is None
    )
    structured = parse_pattern(config.selector) is not None or config.selector == "filter"
    zeros = {n: int((state[n] == 0).sum()) for n in (*parameters, *result.masks)}
    claim: dict[str, Any] = {f"{name}_sha256": sha256_file(folder / _NAMES[name]) for name in FILES}
    claim |= {
        "prunable": result.masks.size,
        "pruned": result.masks.pruned,
        "zeros": sum(zeros[name] for name in result.masks),
        "parameters": sum(parameter.numel() for parameter in parameters.values()),
        "parameters_zero": sum(zeros[name] for name in parameters),
        "requested": format(Decimal(repr(config.goal)), "f") if exact else None,
        "pattern": config.selector
        if structured and config.method not in OUTCOME
        else "unstructured",
        "layers": [
            {
                "name": layer.name,
                "shape": list(layer.shape),
                "size": layer.size,
                "pruned": layer.pruned,
                "zeros": zeros[layer.name],
            }
            for layer in result.per_layer
        ],
    }
    witness: dict[str, Any] = {name: _NAMES[name] for name in FILES}
    witness["uncounted"] = [name for name in state if name not in parameters]
    return Part("pruning/model", 1, claim, witness)


def write_prune_certificate(folder: Path, result: Pruned, data_name: str) -> Path:
    """Write the certificate: exact zeros, and the accuracies with every answer."""
    parts = [model_part(folder, result)]
    for subject, found in (
        (f"pruned network, sparsity {result.sparsity:.6f}", result.evaluation),
        ("network before pruning", result.dense_evaluation),
    ):
        if found is not None:
            parts.append(
                accuracy_part(
                    subject,
                    found.correct,
                    found.labels,
                    data=f"{data_name}, test split",
                    seed=result.config.seed,
                    note=result.note,
                )
            )
    return write_certificate(folder / "certificate.json", parts)
