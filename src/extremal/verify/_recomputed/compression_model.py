"""Checker of `compression/model`: what a compressed network is, beside the one it came from.

Establishes: the hashes of all files; that both architectures fit together, shape by shape, and
their weight files hold exactly the tensors they need; parameters, numbers that are not zero and
multiply-accumulates of both, layer by layer; that the packed file gives back the weights bit for
bit, and its size; the largest difference of the stored outputs.
Does not say: that the outputs are those of the networks (the forward passes were measured by the
program), how accurate or fast the network is, nor how it was made from its parent.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from . import _packed_tensors as packed_tensors
from . import _tensor_file as tensors
from ._compression_shapes import Network, follow

KIND = "compression/model"
STRENGTH = "recomputed"
FILES = ("architecture", "weights", "packed", "outputs", "parent_architecture", "parent_weights")
COUNTS = ("parameters", "nonzero", "macs", "nonzero_macs")
CLAIM = (
    *(f"{name}_sha256" for name in FILES),
    *COUNTS,
    *(f"parent_{name}" for name in COUNTS),
    "bytes", "parent_bytes", "layers", "examples", "max_difference",
)  # fmt: skip
WITNESS = FILES
LAYER = {"name", "kind", "shape", "macs", "nonzero"}
_MAX_JSON = 64 << 20


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what is established, or raise `Rejected`."""
    files = {name: tensors.hashed(claim, witness, folder, name) for name in FILES}
    network = _network(files["architecture"])
    small = _counted(network, files["weights"])
    parent = _counted(_network(files["parent_architecture"]), files["parent_weights"])
    for name in COUNTS:
        for prefix, found in (("", small), ("parent_", parent)):
            if fields.natural(claim, prefix + name) != found[name]:
                raise Rejected(
                    f"{prefix}{name} is stated as {claim[prefix + name]}, counted {found[name]}."
                )
    _layers(claim, network, small["by_layer"])
    if network.output != _network(files["parent_architecture"]).output:
        raise Rejected("the two networks do not give outputs of one shape.")
    size = _packed(claim, files["packed"], files["weights"])
    whole = parent["bytes"]
    if fields.natural(claim, "parent_bytes") != whole:
        raise Rejected(f"parent_bytes is stated as {claim['parent_bytes']}, counted {whole}.")
    difference = _outputs(claim, files["outputs"], network)
    return [
        f"{small['parameters']:,} of {parent['parameters']:,} parameters, "
        f"{small['nonzero']:,} of {parent['nonzero']:,} not zero",
        f"{small['macs']:,} multiply-accumulates instead of {parent['macs']:,} "
        f"({small['nonzero_macs']:,} on weights that are not zero)",
        f"the packed file gives the weights back bit for bit: {size:,} bytes instead of "
        f"{whole:,} ({size / max(whole, 1):.4f})",
        f"stored outputs of {claim['examples']} examples differ by at most {difference:.3g}",
    ]


def _network(file: Path) -> Network:
    if file.stat().st_size > _MAX_JSON:
        raise Rejected(f"{file.name} is larger than {_MAX_JSON:,} bytes.")
    return follow(fields.mapping({"architecture": json.loads(file.read_text())}, "architecture"))


def _counted(network: Network, file: Path) -> dict[str, Any]:
    """Compare a weight file with its architecture and count."""
    header = tensors.header(file)
    for name, shape in network.tensors.items():
        if name not in header or header[name][1] != shape:
            there = header[name][1] if name in header else "absent"
            raise Rejected(f"{file.name}: {name} is {there}, its layer needs {shape}.")
    extra = sorted(set(header) - set(network.tensors))
    if extra:
        raise Rejected(f"{file.name} holds {extra[0]}, which no layer has.")
    found: dict[str, Any] = dict.fromkeys(COUNTS, 0)
    found["by_layer"] = {}
    found["bytes"] = sum(
        tensors.SIZES[code] * int(np.prod(shape, dtype=np.int64)) if shape else tensors.SIZES[code]
        for code, shape, _ in header.values()
    )
    for name in network.parameters:
        zero = tensors.zeros(file, header, name)
        alive = zero.size - int(zero.sum())
        found["parameters"] += zero.size
        found["nonzero"] += alive
        layer, _, own = name.rpartition(".")
        if own == "weight" and layer in network.macs:
            macs = network.macs[layer]
            found["by_layer"][layer] = alive
            found["macs"] += macs
            found["nonzero_macs"] += macs * alive // zero.size
    return found


def _layers(claim: dict[str, Any], network: Network, alive: dict[str, int]) -> None:
    seen: set[str] = set()
    for value in fields.items(claim, "layers"):
        layer = fields.mapping({"a layer": value}, "a layer")
        if set(layer) != LAYER:
            raise Rejected(f"a layer has the fields {sorted(layer)}, not {sorted(LAYER)}.")
        name = fields.text(layer, "name")
        if name in seen or name not in network.macs:
            raise Rejected(f"the layer {name} stands twice, or is no such layer of the network.")
        seen.add(name)
        counted = {
            "kind": network.kinds[name],
            "shape": list(network.tensors[f"{name}.weight"]),
            "macs": network.macs[name],
            "nonzero": alive[name],
        }
        for field, found in counted.items():
            if type(layer[field]) is not type(found) or layer[field] != found:
                raise Rejected(f"layer {name}: {field} is {layer[field]!r}, found {found!r}.")
    if seen != set(network.macs):
        raise Rejected(f"the claim leaves out the layer {min(set(network.macs) - seen)}.")


def _packed(claim: dict[str, Any], packed: Path, weights: Path) -> int:
    data = packed.read_bytes()
    if fields.natural(claim, "bytes") != len(data):
        raise Rejected(f"bytes is stated as {claim['bytes']}, the packed file has {len(data)}.")
    found = packed_tensors.read(data)
    header = tensors.header(weights)
    if set(found) != set(header):
        raise Rejected("the packed file and the weights hold different tensors.")
    for name, (dtype, shape, bits) in found.items():
        if (dtype, shape) != header[name][:2]:
            raise Rejected(f"{name} is {dtype} {shape} in the packed file.")
        there = tensors.array(weights, header[name], f"<u{tensors.SIZES[dtype]}").reshape(-1)
        if not np.array_equal(bits, there):
            raise Rejected(f"{name} differs between the packed file and the weights.")
    return len(data)


def _outputs(claim: dict[str, Any], file: Path, network: Network) -> float:
    header = tensors.header(file)
    if set(header) != {"reference", "model"}:
        raise Rejected(f"{file.name} holds {sorted(header)}, not model and reference.")
    values: list[np.ndarray] = []
    for name in ("reference", "model"):
        dtype, shape, _ = header[name]
        if dtype != "F32" or shape[1:] != network.output[1:] or not shape[0]:
            raise Rejected(f"the outputs {name} are {dtype} {shape}.")
        values.append(tensors.array(file, header[name], "<f4").astype(np.float64))
    if fields.natural(claim, "examples") != len(values[0]) or values[0].shape != values[1].shape:
        raise Rejected(f"examples is {claim['examples']}, the file holds {len(values[0])}.")
    if not all(np.isfinite(v).all() for v in values):
        raise Rejected("a stored output is NaN or infinite.")
    difference = float(np.abs(values[0] - values[1]).max())
    if fields.number(claim, "max_difference") != difference:
        raise Rejected(f"max_difference is {claim['max_difference']!r}, found {difference!r}.")
    return difference
