"""Forgeries of `pruning/model`: each field changed by the least amount is rejected."""

import copy
import hashlib

import pytest
import torch
from safetensors.torch import save_file

from extremal.verify._recomputed import pruning_model
from extremal.verify._rejected import Rejected

SIZE, PRUNED = 16 + 24, 20


def sha(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def rehash(folder, claim):
    for name in ("weights", "masks", "parent"):
        claim[f"{name}_sha256"] = sha(folder / f"{name}.safetensors")


@pytest.fixture(params=[torch.float32, torch.bfloat16, torch.float64, torch.float16], ids=str)
def genuine(tmp_path, request):
    """A 2:4 network with a bias, a counter and a -0.0; returns folder, claim, witness, tensors."""
    generator = torch.Generator().manual_seed(0)
    dtype = request.param
    dense = {
        "a.weight": torch.randn(4, 4, generator=generator).to(dtype),
        "b.weight": torch.randn(2, 3, 2, 2, generator=generator).to(dtype),
        "b.bias": torch.tensor([0.0, 1.0], dtype=dtype),
        "n.counter": torch.tensor(7),
    }
    dense["a.weight"] = dense["a.weight"].abs() + 1
    dense["b.weight"] = dense["b.weight"].abs() + 1
    pair = torch.tensor([True, True, False, False])
    masks = {
        "a.weight": pair.repeat(4).reshape(4, 4),
        "b.weight": pair.repeat(6).reshape(2, 3, 2, 2),
    }
    pruned = {k: torch.where(masks[k], v, 0) if k in masks else v for k, v in dense.items()}
    pruned["a.weight"][0, 2] = -0.0
    save_file(dense, tmp_path / "parent.safetensors")
    save_file(pruned, tmp_path / "weights.safetensors")
    save_file(masks, tmp_path / "masks.safetensors")
    claim = {
        "prunable": SIZE,
        "pruned": PRUNED,
        "zeros": PRUNED,
        "parameters": SIZE + 2,
        "parameters_zero": PRUNED + 1,
        "requested": "0.5",
        "pattern": "2:4",
        "layers": [
            {"name": "a.weight", "shape": [4, 4], "size": 16, "pruned": 8, "zeros": 8},
            {"name": "b.weight", "shape": [2, 3, 2, 2], "size": 24, "pruned": 12, "zeros": 12},
        ],
    }
    rehash(tmp_path, claim)
    witness = {
        "weights": "weights.safetensors",
        "masks": "masks.safetensors",
        "parent": "parent.safetensors",
        "uncounted": ["n.counter"],
    }
    return tmp_path, claim, witness, pruned, masks


def refuse(folder, claim, witness, text=None):
    with pytest.raises(Rejected, match=text):
        pruning_model.check(claim, witness, folder)


def test_accepts_the_genuine_one(genuine):
    folder, claim, witness, *_ = genuine
    said = " | ".join(pruning_model.check(claim, witness, folder))
    assert "20 of 40 prunable weights are pruned and exactly zero" in said
    assert "21 of all 42 parameters are zero" in said
    assert "pattern 2:4 holds in 2 layers" in said
    assert "requested sparsity 0.5" in said


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("field", ["prunable", "pruned", "zeros", "parameters", "parameters_zero"])
def test_rejects_every_count_off_by_one(genuine, field, step):
    folder, claim, witness, *_ = genuine
    claim[field] += step
    refuse(folder, claim, witness, field)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("field", ["size", "pruned", "zeros"])
def test_rejects_every_layer_count_off_by_one(genuine, layer, field):
    folder, claim, witness, *_ = genuine
    claim["layers"][layer][field] += 1
    refuse(folder, claim, witness, field)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("requested", "0.53"),
        ("requested", "1"),
        ("requested", "1e-1"),
        ("requested", 0.5),
        ("pattern", "1:4"),
        ("pattern", "2:3"),
        ("pattern", "4:2"),
        ("pattern", "filter"),
        ("pattern", "dense"),
    ],
)
def test_rejects_another_request_or_pattern(genuine, field, value):
    folder, claim, witness, *_ = genuine
    claim[field] = value
    refuse(folder, claim, witness)


@pytest.mark.parametrize("field", pruning_model.CLAIM)
def test_rejects_a_missing_claim(genuine, field):
    folder, claim, witness, *_ = genuine
    del claim[field]
    refuse(folder, claim, witness)


@pytest.mark.parametrize("field", pruning_model.WITNESS)
def test_rejects_a_missing_witness(genuine, field):
    folder, claim, witness, *_ = genuine
    del witness[field]
    refuse(folder, claim, witness)


@pytest.mark.parametrize("name", ["weights", "masks", "parent"])
def test_rejects_any_changed_digit_of_a_hash_and_any_changed_byte(genuine, name):
    folder, claim, witness, *_ = genuine
    forged = copy.deepcopy(claim)
    last = forged[f"{name}_sha256"][-1]
    forged[f"{name}_sha256"] = forged[f"{name}_sha256"][:-1] + ("0" if last != "0" else "1")
    refuse(folder, forged, witness, "has changed")
    file = folder / f"{name}.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    refuse(folder, claim, witness, "has changed")


def test_rejects_a_pruned_weight_that_is_the_smallest_number(genuine):
    folder, claim, witness, pruned, _ = genuine
    pruned["b.weight"].view(-1)[2] = torch.finfo(pruned["b.weight"].dtype).smallest_normal
    save_file(pruned, folder / "weights.safetensors")
    rehash(folder, claim)
    refuse(folder, claim, witness, "b.weight: 1 pruned weights are not zero, .* flat index 2")


def test_rejects_one_more_kept_weight_in_the_masks(genuine):
    folder, claim, witness, _, masks = genuine
    masks["a.weight"][3, 3] = True
    save_file(masks, folder / "masks.safetensors")
    rehash(folder, claim)
    refuse(folder, claim, witness, "pruned is 8, counted 7")
    claim["layers"][0]["pruned"] -= 1
    refuse(folder, claim, witness, "keeps more than 2")


def test_rejects_layers_left_out_repeated_or_renamed(genuine):
    folder, claim, witness, *_ = genuine
    for layers in (claim["layers"][:1], claim["layers"] + claim["layers"][:1]):
        refuse(folder, {**claim, "layers": layers}, witness)
    forged = copy.deepcopy(claim)
    forged["layers"][0]["name"] = "b.bias"
    refuse(folder, forged, witness, "no mask")
    forged = copy.deepcopy(claim)
    forged["layers"][0]["shape"] = [16]
    refuse(folder, forged, witness, "shape")
    forged["layers"][0]["note"] = "x"
    refuse(folder, forged, witness, "fields")


def test_rejects_masks_that_are_not_booleans(genuine):
    folder, claim, witness, _, masks = genuine
    save_file({k: v.to(torch.uint8) for k, v in masks.items()}, folder / "masks.safetensors")
    rehash(folder, claim)
    refuse(folder, claim, witness, "not BOOL")


def test_rejects_a_parent_of_other_tensors(genuine):
    folder, claim, witness, pruned, _ = genuine
    save_file({**pruned, "extra": torch.ones(1)}, folder / "parent.safetensors")
    rehash(folder, claim)
    refuse(folder, claim, witness, "parent differs .* extra")


def test_rejects_hidden_parameters(genuine):
    folder, claim, witness, *_ = genuine
    witness["uncounted"].append("b.bias")
    refuse(folder, claim, witness, "parameters is stated as 42, counted 40")
    witness["uncounted"] = ["nothing"]
    refuse(folder, claim, witness, "not tensors")


def test_rejects_files_outside_the_folder_and_damaged_ones(genuine):
    folder, claim, witness, *_ = genuine
    refuse(folder, claim, {**witness, "masks": "../masks.safetensors"}, "leads out")
    refuse(folder, claim, {**witness, "masks": "gone.safetensors"}, "missing")
    file = folder / "masks.safetensors"
    file.write_bytes(file.read_bytes() + b"\0")
    rehash(folder, claim)
    refuse(folder, claim, witness, "longer or shorter")
    file.write_bytes(b"\xff" * 20)
    rehash(folder, claim)
    refuse(folder, claim, witness, "no safetensors")


def test_filters_must_be_whole(tmp_path):
    weight = torch.ones(2, 2, 1, 1)
    weight[0] = 0
    masks = {"w": weight != 0}
    save_file({"w": weight}, tmp_path / "weights.safetensors")
    save_file({"w": torch.ones(2, 2, 1, 1)}, tmp_path / "parent.safetensors")
    save_file(masks, tmp_path / "masks.safetensors")
    claim = {
        "prunable": 4, "pruned": 2, "zeros": 2, "parameters": 4, "parameters_zero": 2,
        "requested": None, "pattern": "filter",
        "layers": [{"name": "w", "shape": [2, 2, 1, 1], "size": 4, "pruned": 2, "zeros": 2}],
    }  # fmt: skip
    witness = {n: f"{n}.safetensors" for n in ("weights", "masks", "parent")} | {"uncounted": []}
    rehash(tmp_path, claim)
    assert any("filter holds in 1" in s for s in pruning_model.check(claim, witness, tmp_path))
    masks["w"][0, 0], weight[1, 1] = True, 0
    masks["w"][1, 1] = False
    save_file(masks, tmp_path / "masks.safetensors")
    save_file({"w": weight}, tmp_path / "weights.safetensors")
    claim["zeros"] = claim["parameters_zero"] = claim["layers"][0]["zeros"] = 3
    rehash(tmp_path, claim)
    refuse(tmp_path, claim, witness, "pruned in part")
