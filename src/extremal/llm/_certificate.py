"""The certificate of a folder: what `extremal verify` repeats from its files."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from extremal.lab import Part, atomic_write, sha256_file, write_certificate

from ._folder import RUN, ModelFolder, hashes_of, side_by_side

MASKS = f"{RUN}/masks.safetensors"
PARENT = f"{RUN}/parent.json"
_ONES = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1).sum(1, dtype=np.uint8)


@dataclass(frozen=True)
class ClaimedLayer:
    """A pruned layer in a certificate; see `docs/certificates/llm-model.md`."""

    tensor: str
    transposed: bool
    rule: str


def write_parent(out: Path, parent: ModelFolder, masks_sha256: str | None) -> None:
    """Write the table of the parent: its configuration and the hash of every tensor."""
    table = {
        "config": parent.config,
        "masks_sha256": masks_sha256,
        "tensors": {
            name: {"dtype": t.dtype, "shape": list(t.shape), "sha256": digest}
            for (name, t), digest in zip(
                parent.tensors.items(), side_by_side(parent.sha256, parent.tensors), strict=True
            )
        },
    }
    atomic_write(out / PARENT, json.dumps(table, indent=1) + "\n")


def write_model_certificate(
    out: Path,
    layers: Sequence[ClaimedLayer],
    masks: Mapping[str, Tensor],
    trained: Iterable[str],
    *,
    untied: str | None = None,
    parts: Sequence[Part] = (),
) -> Path:
    """Write `certificate.json` of a finished folder.

    Args:
        out: The folder, with `run/masks.safetensors` and `run/parent.json` in it.
        layers: The pruned layers.
        masks: Packed masks by tensor name.
        trained: Other tensors that changed.
        untied: The tensor that the parent does not store, or None.
        parts: Further claims, such as a measured perplexity.
    """
    made = ModelFolder(out)
    others = sorted(set(trained))

    def claim_of(layer: ClaimedLayer) -> dict[str, Any]:
        rows, columns = made.tensors[layer.tensor].shape
        kept = int(_ONES[masks[layer.tensor].numpy()].sum(dtype=np.int64))
        return {
            "name": layer.tensor,
            "shape": [rows, columns],
            "transposed": layer.transposed,
            "rule": layer.rule,
            "pruned": rows * columns - kept,
            "zeros": made.zeros(layer.tensor),
        }

    claimed = side_by_side(claim_of, layers)
    sizes = [torch.Size(c["shape"]).numel() for c in claimed]
    claim: dict[str, Any] = {
        "weights_sha256": hashes_of([out / f for f in made.files]),
        "masks_sha256": sha256_file(out / MASKS),
        "config_sha256": sha256_file(out / "config.json"),
        "parent_sha256": sha256_file(out / PARENT),
        "prunable": sum(sizes),
        "pruned": sum(c["pruned"] for c in claimed),
        "zeros": sum(c["zeros"] for c in claimed),
        "unchanged": len(made.tensors) - len(claimed) - len(others),
        "untied": untied,
        "layers": claimed,
    }
    witness: dict[str, Any] = {
        "weights": made.files,
        "masks": MASKS,
        "config": "config.json",
        "parent": PARENT,
        "trained": others,
    }
    return write_certificate(
        out / "certificate.json", [Part("llm/model", 1, claim, witness), *parts]
    )
