"""Forgeries of `llm/model`: each field changed by the least amount is rejected."""

import copy
import hashlib
import json

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from extremal.verify._recomputed import llm_model
from extremal.verify._rejected import Rejected

LAYERS = ("a.weight", "b.weight", "c.weight", "d.weight")


def sha(raw):
    return hashlib.sha256(raw).hexdigest()


def raw_of(tensor):
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def packed(mask):
    return torch.from_numpy(np.packbits(mask.numpy(), axis=1, bitorder="little"))


class Folder:
    """A small pruned folder that can be written again after a change."""

    def __init__(self, path, dtype):  # noqa: D107
        self.path = path
        values = iter(range(1, 1000))

        def full(*shape):
            n = int(np.prod(shape))
            return torch.tensor([next(values) for _ in range(n)]).reshape(shape).to(dtype)

        self.dense = {
            "e.weight": full(3, 4),
            "a.weight": full(2, 8),  # 2:4
            "b.weight": full(3, 10),  # row 0.5
            "c.weight": full(6, 3),  # stored (inputs, outputs); tensor 0.5
            "d.weight": full(2, 5),  # slab 3 0.5: 3 of 6, then 2 of 4
            "n.weight": full(4),
            "n.count": torch.tensor(7),
        }
        pair = torch.tensor([True, True, False, False])
        self.masks = {
            "a.weight": pair.repeat(4).reshape(2, 8),
            "b.weight": torch.tensor([True, False] * 15).reshape(3, 10),
            "c.weight": torch.arange(18).reshape(6, 3) >= 9,
            "d.weight": torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]).bool(),
        }
        self.tensors = {
            k: torch.where(self.masks[k], v, 0) if k in self.masks else v.clone()
            for k, v in self.dense.items()
        }
        self.tensors["a.weight"][0, 2] = -0.0
        self.tensors["n.weight"][0] += 1
        self.config = {"model_type": "x", "tie_word_embeddings": True}
        self.parent = {
            "config": dict(self.config),
            "masks_sha256": None,
            "tensors": {
                k: {
                    "dtype": "I64" if v.dtype is torch.int64 else _NAME[dtype],
                    "shape": list(v.shape),
                    "sha256": sha(raw_of(v)) if v.dim() else sha(v.numpy().tobytes()),
                }
                for k, v in self.dense.items()
            },
        }
        rules = ("2:4", "row 0.5", "tensor 0.5", "slab 3 0.5")
        counts = (8, 15, 9, 5)
        self.claim = {
            "prunable": 74, "pruned": 37, "zeros": 37, "unchanged": 2, "untied": None,
            "layers": [
                {
                    "name": name, "shape": list(self.dense[name].shape),
                    "transposed": name == "c.weight", "rule": rule, "pruned": n, "zeros": n,
                }
                for name, rule, n in zip(LAYERS, rules, counts, strict=True)
            ],
        }  # fmt: skip
        self.witness = {
            "weights": ["one.safetensors", "two.safetensors"],
            "masks": "masks.safetensors",
            "config": "config.json",
            "parent": "parent.json",
            "trained": ["n.weight"],
        }
        self.write()

    def write(self):
        first = {k: v for k, v in self.tensors.items() if k < "c"}
        save_file(first, self.path / "one.safetensors")
        rest = {k: v for k, v in self.tensors.items() if k >= "c"}
        save_file(rest, self.path / "two.safetensors")
        save_file({k: packed(v) for k, v in self.masks.items()}, self.path / "masks.safetensors")
        (self.path / "config.json").write_text(json.dumps(self.config))
        (self.path / "parent.json").write_text(json.dumps(self.parent))
        self.rehash()

    def rehash(self):
        def of(name):
            return sha((self.path / name).read_bytes())

        self.claim["weights_sha256"] = [of("one.safetensors"), of("two.safetensors")]
        self.claim["masks_sha256"] = of("masks.safetensors")
        self.claim["config_sha256"] = of("config.json")
        self.claim["parent_sha256"] = of("parent.json")

    def refuse(self, text, claim=None, witness=None):
        with pytest.raises(Rejected, match=text):
            llm_model.check(claim or self.claim, witness or self.witness, self.path)


_NAME = {
    torch.float32: "F32",
    torch.bfloat16: "BF16",
    torch.float16: "F16",
    torch.float64: "F64",
}


@pytest.fixture(params=list(_NAME), ids=str)
def folder(tmp_path, request):
    return Folder(tmp_path, request.param)


def test_accepts_the_genuine_one(folder):
    said = " | ".join(llm_model.check(folder.claim, folder.witness, folder.path))
    assert "37 of 74 weights of 4 layers are pruned" in said
    for rule in ("2:4", "row 0.5", "tensor 0.5", "slab 3 0.5"):
        assert f"rule '{rule}' holds in 1 layers" in said
    assert "7 tensors" in said
    assert "2 have its bytes" in said


@pytest.mark.parametrize("step", [-1, 1])
@pytest.mark.parametrize("field", ["prunable", "pruned", "zeros", "unchanged"])
def test_rejects_every_count_off_by_one(folder, field, step):
    folder.claim[field] += step
    folder.refuse(field)


@pytest.mark.parametrize("layer", range(4))
@pytest.mark.parametrize("field", ["pruned", "zeros"])
def test_rejects_every_layer_count_off_by_one(folder, layer, field):
    folder.claim["layers"][layer][field] += 1
    folder.refuse(field)


@pytest.mark.parametrize(
    ("layer", "rule"),
    [
        (0, "1:4"), (0, "3:4"), (0, "2:3"), (0, "5:4"), (0, "0:4"), (1, "row 0.6"), (1, "row 1"),
        (1, "row 0.4"), (2, "tensor 0.56"), (2, "tensor 0.44"), (2, "tensor .5e0"),
        (3, "slab 3 0.49"), (3, "slab 0 0.5"), (1, "2:4"), (2, "2:4"), (3, "row 0.5"),
        (0, "dense"), (0, ""),
    ],
)  # fmt: skip
def test_rejects_another_rule(folder, layer, rule):
    folder.claim["layers"][layer]["rule"] = rule
    folder.refuse("layer")


def test_rejects_another_shape_name_or_field_of_a_layer(folder):
    for field, value in (
        ("shape", [8, 2]),
        ("name", "e.weight"),
        ("name", "n.weight"),
        ("transposed", 0),
        ("rule", None),
    ):
        claim = copy.deepcopy(folder.claim)
        claim["layers"][0][field] = value
        folder.refuse(".", claim)
    claim = copy.deepcopy(folder.claim)
    claim["layers"][0]["note"] = "x"
    folder.refuse("fields", claim)
    for layers in (claim["layers"][1:], folder.claim["layers"] + folder.claim["layers"][:1]):
        folder.refuse(".", {**folder.claim, "layers": layers})


@pytest.mark.parametrize("field", llm_model.CLAIM)
def test_rejects_a_missing_claim(folder, field):
    del folder.claim[field]
    if field == "untied":  # left out it means None, and nothing more is claimed
        llm_model.check(folder.claim, folder.witness, folder.path)
    else:
        folder.refuse(".")


@pytest.mark.parametrize("field", llm_model.WITNESS)
def test_rejects_a_missing_witness(folder, field):
    del folder.witness[field]
    folder.refuse("missing")


@pytest.mark.parametrize("name", ["one.safetensors", "two.safetensors", "masks.safetensors"])
def test_rejects_any_changed_byte(folder, name):
    raw = bytearray((folder.path / name).read_bytes())
    raw[-1] ^= 1
    (folder.path / name).write_bytes(raw)
    folder.refuse("has changed")


@pytest.mark.parametrize("field", ["masks_sha256", "config_sha256", "parent_sha256"])
def test_rejects_any_changed_digit_of_a_hash(folder, field):
    last = folder.claim[field][-1]
    folder.claim[field] = folder.claim[field][:-1] + ("0" if last != "0" else "1")
    folder.refuse("has changed")


def test_rejects_hashes_of_weights_out_of_order_or_left_out(folder):
    folder.claim["weights_sha256"].reverse()
    folder.refuse("has changed")
    folder.claim["weights_sha256"].pop()
    folder.refuse("1 hashes")
    folder.rehash()
    folder.claim["weights_sha256"].pop()
    folder.witness["weights"].pop()
    folder.refuse(".")


@pytest.mark.parametrize("name", LAYERS)
def test_rejects_a_pruned_weight_that_is_the_smallest_number(folder, name):
    tensor = folder.tensors[name]
    at = (~folder.masks[name]).flatten().nonzero()[0, 0]
    tensor.view(-1)[at] = torch.finfo(tensor.dtype).smallest_normal
    folder.write()
    folder.refuse(f"{name}: 1 pruned weights are not zero, the first at flat index {int(at)}")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("name", ["a.weight", "n.weight"])
def test_rejects_weights_that_are_not_finite(folder, name, value):
    folder.tensors[name].view(-1)[0] = value
    folder.write()
    folder.refuse("NaN or infinity")


def test_rejects_moved_masks(folder):
    folder.masks["a.weight"] = ~folder.masks["a.weight"]
    folder.write()
    folder.refuse("not zero")
    folder.masks["a.weight"] = torch.ones(2, 8, dtype=torch.bool)
    folder.write()
    folder.refuse("pruned is 8, counted 0")


def test_rejects_stray_bits_and_other_forms_of_masks(folder):
    masks = {k: packed(v) for k, v in folder.masks.items()}
    masks["b.weight"][0, 1] |= 0b100
    save_file(masks, folder.path / "masks.safetensors")
    folder.rehash()
    folder.refuse("beyond its columns")
    save_file(folder.masks, folder.path / "masks.safetensors")
    folder.rehash()
    folder.refuse("not packed")


def test_rejects_a_changed_tensor_that_was_not_trained(folder):
    folder.witness["trained"] = []
    folder.refuse("n.weight is not the parent's")
    folder.witness["trained"] = ["n.weight", "e.weight"]
    folder.refuse("unchanged")
    folder.witness["trained"] = ["n.weight", "a.weight"]
    folder.refuse("trained names")
    folder.witness["trained"] = ["n.weight", "n.weight"]
    folder.refuse("trained names")


def test_rejects_other_tensors_than_the_parents(folder):
    folder.tensors["z"] = torch.ones(1)
    folder.write()
    folder.refuse("differ from the parent's: z")
    folder.claim["untied"] = "z"
    folder.refuse("untied tensor")
    del folder.tensors["z"]
    folder.claim["untied"] = None
    folder.parent["tensors"]["e.weight"]["shape"] = [4, 3]
    folder.write()
    folder.refuse("type or shape")


def test_an_untied_head_is_stated_and_the_configuration_says_so(folder):
    folder.tensors["h.weight"] = folder.tensors["e.weight"] + 1
    folder.claim["untied"] = "h.weight"
    folder.witness["trained"].append("h.weight")
    folder.write()
    folder.refuse("tie_word_embeddings")
    folder.config["tie_word_embeddings"] = False
    folder.write()
    assert "untied" in " ".join(llm_model.check(folder.claim, folder.witness, folder.path))


def test_rejects_another_configuration(folder):
    folder.config["model_type"] = "y"
    folder.write()
    folder.refuse("model_type")
    folder.config["model_type"] = "x"
    for config in (folder.config, folder.parent["config"]):
        config["sparsity_config"] = {}
    folder.write()
    folder.refuse("sparsity_config")


def test_rejects_masks_that_are_not_the_parents(folder):
    folder.parent["masks_sha256"] = "0" * 64
    folder.write()
    folder.refuse("not the parent's")


def test_rejects_files_outside_the_folder(folder):
    folder.refuse("leads out", witness={**folder.witness, "masks": "../masks.safetensors"})
    folder.refuse("leads out", witness={**folder.witness, "weights": ["/x", "two.safetensors"]})
