"""Whole models and their masks, for what needs all blocks at once."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extremal.lab import require
from extremal.training import load_tensors

from ._bits import unpack_bits
from ._certificate import MASKS, PARENT
from ._errors import LLMError
from ._folder import ModelFolder
from ._skeleton import Skeleton


@dataclass(frozen=True)
class Sparse:
    """A pruned model folder, opened.

    Attributes:
        folder: Its tensors.
        masks: Module name to mask as (outputs, inputs); empty for a dense folder.
        transposed: Module name to whether the layer stores (inputs, outputs).
        tensor_of: Parameter name to tensor name.
        rules: Tensor name to the rule of its certificate.
        leaves: Names of an expert's layers where fused experts are taken apart, or None.
    """

    folder: ModelFolder
    masks: dict[str, Tensor]
    transposed: dict[str, bool]
    tensor_of: dict[str, str]
    rules: dict[str, str]
    leaves: tuple[str, str, str] | None


def open_sparse(path: Path | str) -> Sparse:
    """Open a folder with its masks: those beside it, or else the zeros of its block layers.

    Raises:
        LLMError: The masks are not the ones that its certificate names.
    """
    import json

    from extremal.lab import sha256_file

    folder = ModelFolder(path)
    frame = Skeleton(folder, torch.device("cpu"))
    stored: dict[str, Tensor] = {}
    rules: dict[str, str] = {}
    if (folder.path / MASKS).is_file() and (folder.path / PARENT).is_file():
        stored = load_tensors(folder.path / MASKS)
        certificate = folder.path / "certificate.json"
        if certificate.is_file():
            claim = json.loads(certificate.read_text())["parts"][0]["claim"]
            if claim.get("masks_sha256") != sha256_file(folder.path / MASKS):
                raise LLMError(f"{folder.path / MASKS} is not the file that the certificate names.")
            rules = {x["name"]: x["rule"] for x in claim["layers"]}
    masks: dict[str, Tensor] = {}
    transposed: dict[str, bool] = {}
    for b in range(len(frame.blocks)):
        for layer in frame.layers(b, ("*",) if not stored else ()) or frame.layers(b):
            shape = folder.tensors[layer.tensor].shape
            if stored and layer.tensor not in stored:
                continue
            kept = (
                unpack_bits(stored[layer.tensor], shape[1])
                if stored
                else folder.read(layer.tensor) != 0
            )
            masks[layer.name] = kept.T if layer.transposed else kept
            transposed[layer.name] = layer.transposed
    if not stored and all(bool(m.all()) for m in masks.values()):
        masks = {}
    return Sparse(folder, masks, transposed, frame.tensor_of, rules, frame.leaves)


def load_model(path: Path | str, device: torch.device) -> nn.Module:
    """Return the whole model in evaluation mode, as transformers loads it."""
    transformers = require("transformers", "llm")
    folder = ModelFolder(path)
    logging = transformers.utils.logging
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        model: Any = transformers.AutoModelForCausalLM.from_pretrained(
            folder.path, local_files_only=True, dtype=folder.dtype
        )
    except (ValueError, KeyError, OSError) as error:
        raise LLMError(f"transformers cannot load {folder.path} ({error}).") from error
    finally:
        if shown:
            logging.enable_progress_bar()
    return model.to(device).eval()
