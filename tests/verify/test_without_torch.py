"""Checkers load neither a framework nor a solver, and check a network's files without them."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
from safetensors.numpy import save_file

from extremal import verify
from extremal.verify._reader import KINDS

HEAVY = ("torch", "scipy", "numba", "sympy", "sklearn", "transformers", "matplotlib")


@pytest.mark.parametrize("module", sorted(set(KINDS.values())))
def test_a_checker_loads_no_framework(module):
    code = (
        f"import sys, importlib; importlib.import_module('extremal.verify.{module}'); "
        f"print(*(m for m in {HEAVY!r} if m in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split() == []


@pytest.mark.parametrize("module", sorted({m for m in KINDS.values() if "_proved" in m}))
def test_a_proved_kind_needs_the_standard_library_only(module):
    code = (
        f"import sys, importlib; importlib.import_module('extremal.verify.{module}'); "
        "print(*(m for m in ('numpy', 'safetensors') if m in sys.modules))"
    )
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert found.stdout.split() == []


@pytest.fixture
def network(tmp_path):
    """A pruned layer made by hand with NumPy, and its certificate."""
    weight = np.array([[1.5, 0.0, -2.0, 0.0], [0.0, 3.0, 0.0, 0.5]], np.float32)
    save_file({"a.weight": weight}, tmp_path / "weights.safetensors")
    save_file({"a.weight": weight != 0}, tmp_path / "masks.safetensors")
    save_file({"a.weight": weight + 1}, tmp_path / "parent.safetensors")
    names = ("weights", "masks", "parent")
    files = {name: f"{name}.safetensors" for name in names}
    layer = {"name": "a.weight", "shape": [2, 4], "size": 8, "pruned": 4, "zeros": 4}
    claim = {
        **{
            f"{name}_sha256": hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
            for name, file in files.items()
        },
        "prunable": 8,
        "pruned": 4,
        "zeros": 4,
        "parameters": 8,
        "parameters_zero": 4,
        "requested": "0.5",
        "pattern": "2:4",
        "layers": [layer],
    }
    part = {
        "kind": "pruning/model",
        "version": 1,
        "claim": claim,
        "witness": {**files, "uncounted": []},
    }
    body = {"format": "extremal/certificate", "version": 1, "parts": [part]}
    (tmp_path / "certificate.json").write_text(json.dumps(body))
    return tmp_path


def test_a_network_made_by_hand_is_accepted(network):
    verdict = verify.file(network)
    assert verdict.accepted, verdict.reason


@pytest.mark.parametrize("name", ["weights", "masks", "parent"])
def test_one_flipped_bit_of_any_file_is_rejected(network, name):
    file = network / f"{name}.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    assert verify.file(network).status == "rejected"


def test_a_small_number_where_a_zero_is_claimed_is_rejected(network):
    file = network / "weights.safetensors"
    weight = np.array([[1.5, 1e-45, -2.0, 0.0], [0.0, 3.0, 0.0, 0.5]], np.float32)
    save_file({"a.weight": weight}, file)
    certificate = network / "certificate.json"
    body = json.loads(certificate.read_text())
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    body["parts"][0]["claim"]["weights_sha256"] = digest
    certificate.write_text(json.dumps(body))
    assert verify.file(network).status == "rejected"
