"""The certificate of a compressed network: counts, files, stored outputs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from extremal import training
from extremal.lab import Part, atomic_write, sha256_file, write_certificate

from ._architecture import ARCHITECTURE, PARENT, WEIGHTS, save_network
from ._measure import difference
from ._packed import dense_bytes, pack_tensors

PACKED, OUTPUTS = "model.packed", "outputs.safetensors"
_FILES = {
    "architecture": ARCHITECTURE,
    "weights": WEIGHTS,
    "packed": PACKED,
    "outputs": OUTPUTS,
    "parent_architecture": PARENT + ARCHITECTURE,
    "parent_weights": PARENT + WEIGHTS,
}


def counts(model: nn.Module, shape: tuple[int, ...]) -> dict[str, Any]:
    """Parameters, those not zero, MACs, those on nonzero weights, and the layers."""
    macs = training.count_macs(model, shape)
    modules = dict(model.named_modules())
    layers: list[dict[str, Any]] = []
    on_nonzero = 0
    for name, cost in macs.items():
        weight = modules[name].weight
        assert isinstance(weight, Tensor)
        alive = int((weight != 0).sum())
        on_nonzero += cost.macs * alive // weight.numel()
        layers.append(
            {
                "name": name,
                "kind": "linear"
                if isinstance(modules[name], nn.Linear)
                else f"conv{weight.ndim - 2}d",
                "shape": list(weight.shape),
                "macs": cost.macs,
                "nonzero": alive,
            }
        )
    return {
        "parameters": sum(p.numel() for p in model.parameters()),
        "nonzero": sum(int((p != 0).sum()) for p in model.parameters()),
        "macs": sum(cost.macs for cost in macs.values()),
        "nonzero_macs": on_nonzero,
        "layers": layers,
    }


def write_networks(
    folder: Path,
    model: nn.Module,
    parent: nn.Module,
    shape: tuple[int, ...],
    outputs: tuple[Tensor, Tensor],
) -> Part:
    """Write both networks, the packed file and the outputs (reference, model); claim them."""
    save_network(folder, model, shape)
    save_network(folder, parent, shape, PARENT)
    tensors = training.load_tensors(folder / WEIGHTS)
    atomic_write(folder / PACKED, pack_tensors(tensors))
    reference, found = (o.float().cpu().contiguous() for o in outputs)
    training.save_tensors(folder / OUTPUTS, {"reference": reference, "model": found})
    small, large = counts(model, shape), counts(parent, shape)
    layers = small.pop("layers")
    large.pop("layers")
    claim: dict[str, Any] = {f"{k}_sha256": sha256_file(folder / f) for k, f in _FILES.items()}
    claim |= small | {f"parent_{name}": value for name, value in large.items()}
    claim |= {
        "bytes": (folder / PACKED).stat().st_size,
        "parent_bytes": dense_bytes(training.load_tensors(folder / (PARENT + WEIGHTS))),
        "layers": layers,
        "examples": len(found),
        "max_difference": difference(reference, found),
    }
    return Part("compression/model", 1, claim, dict(_FILES))


def write_with(folder: Path, part: Part, others: Sequence[Part]) -> Path:
    """Write the certificate with the measured parts behind it."""
    return write_certificate(folder / "certificate.json", [part, *others])
