"""The certificate of a soup: the zeros, the average, and every accuracy."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from extremal.lab import Part, accuracy_part, sha256_file, write_certificate
from extremal.pruning._certificate import model_part
from extremal.training import Evaluation

from ._result import Soup

_STATISTICS = (".running_mean", ".running_var", ".num_batches_tracked")


def soup_part(folder: Path, soup: Soup) -> Part:
    """Claim that the network is the average of its members' files."""
    state = soup.model.state_dict()
    recalibrated = [
        name for name in state if soup.config.recalibrate and ("." + name).endswith(_STATISTICS)
    ]
    claim: dict[str, Any] = {
        "soup_sha256": sha256_file(folder / "model.safetensors"),
        "masks_sha256": sha256_file(folder / "masks.safetensors"),
        "merge": soup.config.merge,
        "members": [
            {"name": c.name, "sha256": c.sha256, "weight": c.weight} for c in soup.candidates
        ],
        "averaged": sum(
            tensor.numel()
            for name, tensor in state.items()
            if tensor.is_floating_point() and name not in recalibrated
        ),
        "pruned": soup.masks.pruned,
        "recalibrated": recalibrated,
    }
    witness = {
        "soup": "model.safetensors",
        "masks": "masks.safetensors",
        "members": [c.file for c in soup.candidates],
    }
    return Part("pruning/soup", 1, claim, witness)


def write_soup_certificate(
    folder: Path, soup: Soup, others: Mapping[str, Evaluation], data_name: str
) -> Path:
    """Write exact zeros, the average, and the accuracies with every answer."""
    pruned = soup.pruned
    parts = [model_part(folder, pruned), soup_part(folder, soup)]
    named = {
        f"soup, sparsity {soup.sparsity:.6f}": pruned.evaluation,
        "network before pruning": pruned.dense_evaluation,
        **others,
    }
    parts += [
        accuracy_part(
            subject,
            found.correct,
            found.labels,
            data=f"{data_name}, test split",
            seed=soup.config.seed,
            note=pruned.note,
        )
        for subject, found in named.items()
        if found is not None
    ]
    return write_certificate(folder / "certificate.json", parts)
