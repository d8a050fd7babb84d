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

from ._folder import RUN, ModelFolder

MASKS = f"{RUN}/masks.safetensors"
PARENT = f"{RUN}/parent.json"


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
            name: {"dtype": t.dtype, "shape": list(t.shape), "sha256": parent.sha256(name)}
            for name, t in parent.tensors.items()
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
    claimed: list[dict[str, Any]] = []
    for layer in layers:
        weight = made.read(layer.tensor)
        columns = weight.shape[1]
        kept = int(np.unpackbits(masks[layer.tensor].numpy()).sum(dtype=np.int64))
        claimed.append(
            {
                "name": layer.tensor,
                "shape": [weight.shape[0], columns],
                "transposed": layer.transposed,
                "rule": layer.rule,
                "pruned": weight.numel() - kept,
                "zeros": int((weight == 0).sum()),
            }
        )
    sizes = [torch.Size(c["shape"]).numel() for c in claimed]
    claim: dict[str, Any] = {
        "weights_sha256": [sha256_file(out / f) for f in made.files],
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
