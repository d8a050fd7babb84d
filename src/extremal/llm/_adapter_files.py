"""Adapters as files of their own, apart from the model: our format, and PEFT's for LoRA and HiRA.

    kind                     format   files
    lora, lora_prune         PEFT     adapter_config.json, adapter_model.safetensors
    hira                     PEFT     the same
    the others               ours     adapters.json, adapters.safetensors (A and B of every layer)

PEFT itself is not needed. Its HiRA has no scaling, so that s goes into B on writing and is 1 on
reading. A LoRA of PEFT may start a lora, a lora_prune or a mask_lora: the factors mean the same.
"""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from extremal.lab import RunError, atomic_write, sha256_file
from extremal.training import TrainingError, load_tensors, save_tensors

from ._adapters import KINDS, AdaptedLinear, attach
from ._errors import LLMError

_PEFT = ("adapter_config.json", "adapter_model.safetensors")
_OURS = ("adapters.json", "adapters.safetensors")
_FORMAT = "extremal/adapters"
_PREFIX = "base_model.model."
_STARTS = {"lora": ("lora", "lora_prune", "mask_lora")}
_UNREAD = ("use_dora", "lora_bias", "alpha_pattern", "modules_to_save", "use_qalora",
           "trainable_token_indices", "target_parameters", "layer_replication")  # fmt: skip


@dataclass(frozen=True)
class AdapterFile:
    """Adapters read from a folder.

    Attributes:
        kind: One of `KINDS`.
        scaling: s.
        factors: Module name to (A, B).
    """

    kind: str
    scaling: float
    factors: dict[str, tuple[Tensor, Tensor]]


def save_adapters(
    adapters: Mapping[str, AdaptedLinear], out: Path | str, *, base: str | None = None
) -> Path:
    """Write adapters, and nothing of the model, into a new folder.

    Args:
        adapters: Of `attach`, by module name, all of one kind.
        out: The folder; new, or one that holds adapters, which are replaced.
        base: Name or path of the model, noted in PEFT's configuration.

    Returns:
        The folder. Of "lora", "lora_prune" and "hira" it is what PEFT's `from_pretrained` reads.

    Raises:
        LLMError: There are no adapters, or of several kinds.
        RunError: The folder holds something else.
    """
    out = Path(out)
    kinds = {a.kind for a in adapters.values()}
    scalings = {a.scaling for a in adapters.values()}
    if len(kinds) != 1 or len(scalings) != 1:
        raise LLMError(
            f"a folder holds adapters of one kind and scaling, not of {sorted(kinds) or 'none'}."
        )
    (kind,), (scaling,) = kinds, scalings
    check_free(out)
    out.mkdir(parents=True, exist_ok=True)
    for name in (*_PEFT, *_OURS):
        (out / name).unlink(missing_ok=True)
    if kind in ("lora", "lora_prune"):
        tensors = {
            f"{_PREFIX}{n}.lora_{leaf}.weight": p
            for n, a in adapters.items()
            for leaf, p in (("A", a.A), ("B", a.B))
        }
        rank = max(a.rank for a in adapters.values())
        config = {
            "peft_type": "LORA", "r": rank, "lora_alpha": scaling * rank, "lora_dropout": 0.0,
            "bias": "none", "init_lora_weights": True,
        }  # fmt: skip
    elif kind == "hira":
        tensors = {f"{_PREFIX}{n}.hira_A": a.A for n, a in adapters.items()}
        tensors |= {f"{_PREFIX}{n}.hira_B": scaling * a.B for n, a in adapters.items()}
        rank = max(a.rank for a in adapters.values())
        config = {"peft_type": "HIRA", "r": rank, "hira_dropout": 0.0, "init_weights": True}
    else:
        ours = {f"{n}.{leaf}": getattr(a, leaf) for n, a in adapters.items() for leaf in "AB"}
        save_tensors(out / _OURS[1], {n: t.detach().cpu().contiguous() for n, t in ours.items()})
        about = {"format": _FORMAT, "version": 1, "kind": kind, "scaling": scaling}
        atomic_write(out / _OURS[0], json.dumps(about, indent=2) + "\n")
        return out
    save_tensors(out / _PEFT[1], {n: t.detach().cpu().contiguous() for n, t in tensors.items()})
    config |= {
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "fan_in_fan_out": any(a.transposed for a in adapters.values()),
        "inference_mode": True,
        "target_modules": sorted(adapters),
    }
    atomic_write(out / _PEFT[0], json.dumps(config, indent=2) + "\n")
    return out


def check_free(out: Path) -> None:
    """Refuse a folder that holds anything but adapters, before hours of training.

    Raises:
        RunError: It does.
    """
    if out.is_dir() and any(p.name not in {*_PEFT, *_OURS} for p in out.iterdir()):
        raise RunError(f"{out} holds other files than adapters; choose another folder.")


def hashes(folder: Path | str) -> dict[str, str]:
    """Return the SHA-256 of each file of a folder of adapters."""
    known = [Path(folder) / name for name in (*_OURS, *_PEFT)]
    return {p.name: sha256_file(p) for p in known if p.is_file()}


def read_adapters(folder: Path | str) -> AdapterFile:
    """Read a folder of `save_adapters`, or a LoRA or HiRA of PEFT.

    Raises:
        LLMError: It holds no adapters, or such as cannot be represented here.
    """
    folder = Path(folder)
    ours, peft = (folder / _OURS[0]).is_file(), (folder / _PEFT[0]).is_file()
    if not ours and not peft:
        raise LLMError(f"{folder} holds neither {_OURS[0]} nor {_PEFT[0]}, so no adapters.")
    try:
        about = json.loads((folder / (_OURS[0] if ours else _PEFT[0])).read_text())
        tensors = load_tensors(folder / (_OURS[1] if ours else _PEFT[1]), foreign=not ours)
        return _ours(about, tensors) if ours else _peft(about, tensors)
    except (OSError, TrainingError, ValueError, KeyError, TypeError) as error:
        raise LLMError(f"the adapters in {folder} cannot be read ({error}).") from error


def load_adapters(
    model: nn.Module,
    folder: Path | str,
    layers: Mapping[str, bool],
    masks: Mapping[str, Tensor],
    *,
    kind: str | None = None,
) -> dict[str, AdaptedLinear]:
    """Put stored adapters on a model, in place.

    Args:
        model: Any module.
        folder: Of `save_adapters` or of PEFT.
        layers: Module name to whether it stores (inputs, outputs).
        masks: Module name to mask as (outputs, inputs); "lora" needs none.
        kind: What they become; by default what they are. A "lora" may become a "lora_prune" or a
            "mask_lora".

    Returns:
        The adapters by module name.

    Raises:
        LLMError: A layer of the file is not among `layers`, a shape differs, or the kind does.
    """
    file = read_adapters(folder)
    wanted = file.kind if kind is None else kind
    if wanted not in _STARTS.get(file.kind, (file.kind,)):
        raise LLMError(f"{folder} holds {file.kind} adapters, which cannot start a {wanted}.")
    unknown = sorted(file.factors.keys() - layers.keys())
    if unknown:
        raise LLMError(
            f"{folder} has an adapter on {unknown[0]}, which is no pruned layer of this model."
        )
    for name, (a, b) in file.factors.items():
        stored: Any = model.get_submodule(name).weight
        o, d = stored.shape[::-1] if layers[name] else stored.shape
        if a.shape[1] != d or b.shape[0] != o or (wanted != "spp" and a.shape[0] != b.shape[1]):
            raise LLMError(
                f"the adapter of {name} in {folder}, {list(b.shape)} x {list(a.shape)}, does not "
                f"fit a layer of {o} x {d}."
            )
    found: dict[str, AdaptedLinear] = {}
    for rank in sorted({len(a) for a, _ in file.factors.values()}):
        names = [n for n, (a, _) in file.factors.items() if len(a) == rank]
        found |= attach(
            model, {n: layers[n] for n in names}, wanted, masks, rank=rank,
            alpha=file.scaling * rank,
        )  # fmt: skip
    with torch.no_grad():
        for name, (a, b) in file.factors.items():
            found[name].A.copy_(a)
            found[name].B.copy_(b)
    return found


def _ours(about: dict[str, Any], tensors: dict[str, Tensor]) -> AdapterFile:
    if (about["format"], about["version"]) != (_FORMAT, 1) or about["kind"] not in KINDS:
        raise ValueError(f"their form is {about['format']} {about['version']} {about['kind']}")
    names = sorted({n.rpartition(".")[0] for n in tensors})
    factors = {n: (tensors[f"{n}.A"], tensors[f"{n}.B"]) for n in names}
    return AdapterFile(about["kind"], float(about["scaling"]), factors)


def _peft(about: dict[str, Any], tensors: dict[str, Tensor]) -> AdapterFile:
    kind = str(about["peft_type"]).lower()
    if kind not in ("lora", "hira"):
        raise ValueError(f"PEFT's {about['peft_type']} is neither LoRA nor HiRA")
    given = [key for key in _UNREAD if about.get(key)]
    if given or about.get("bias", "none") != "none":
        raise ValueError(f"their option {given[0] if given else 'bias'} is not supported")
    ends = ("lora_A.weight", "lora_B.weight") if kind == "lora" else ("hira_A", "hira_B")
    factors: dict[str, tuple[Tensor, Tensor]] = {}
    for key, a in tensors.items():
        name = key.removeprefix(_PREFIX)
        if name.endswith(f".{ends[0]}"):
            name = name.removesuffix(f".{ends[0]}")
            factors[name] = (a, tensors[f"{_PREFIX}{name}.{ends[1]}"])
        elif not name.endswith(f".{ends[1]}"):
            raise ValueError(f"{key} is no factor of a linear layer")
    if kind == "hira":
        return AdapterFile(kind, 1.0, factors)
    ranks = {len(a) for a, _ in factors.values()}
    if about.get("use_rslora"):
        scalings = {about["lora_alpha"] / math.sqrt(r) for r in ranks}
    else:
        scalings = {about["lora_alpha"] / r for r in ranks}
    if len(scalings) != 1:
        raise ValueError("their ranks differ from layer to layer, and so would the scaling")
    return AdapterFile(kind, float(scalings.pop()), factors)
