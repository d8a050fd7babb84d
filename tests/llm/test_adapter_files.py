"""Adapters apart from the model: written and read again, ours and PEFT's, refused where unknown."""

import json

import pytest
import torch
from torch import nn

from extremal import llm, verify
from extremal.lab import RunError
from extremal.llm import LLMError
from extremal.llm._adapters import KINDS
from extremal.llm._folder import ModelFolder
from extremal.training import load_tensors, save_tensors

LAYERS = {"0": False, "2": False}
FAST = {"batch_size": 2, "window": 16}


def network(seed=0):
    torch.manual_seed(seed)
    model = nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 6))
    masks = {n: torch.rand(model.get_submodule(n).weight.shape) > 0.5 for n in LAYERS}
    with torch.no_grad():
        for n, m in masks.items():
            model.get_submodule(n).weight.masked_fill_(~m, 0)
    return model, masks


def adapted(kind):
    model, masks = network()
    found = llm.attach(model, LAYERS, kind, masks, rank=3, alpha=5)
    with torch.no_grad():
        for one in found.values():
            one.A.add_(0.3 * torch.randn(one.A.shape))
            one.B.add_(0.3 * torch.randn(one.B.shape))
    return model, masks, found


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_is_written_and_read_again(kind, tmp_path):
    model, masks, found = adapted(kind)
    llm.save_adapters(found, tmp_path / "a")
    again, _ = network()
    expected = "lora" if kind == "lora_prune" else kind  # in PEFT's file both are LoRA
    assert llm.read_adapters(tmp_path / "a").kind == expected
    llm.load_adapters(again, tmp_path / "a", LAYERS, masks, kind=kind)
    x = torch.randn(5, 8)
    # HiRA's scaling goes into B and back: one rounding.
    torch.testing.assert_close(again(x), model(x), rtol=1e-6, atol=1e-6)
    if kind != "hira":
        assert torch.equal(again(x), model(x))


def test_peft_files_have_its_names_and_its_scaling(tmp_path):
    _, _, found = adapted("lora")
    llm.save_adapters(found, tmp_path / "lora", base="some/model")
    config = json.loads((tmp_path / "lora" / "adapter_config.json").read_text())
    assert (config["peft_type"], config["r"], config["lora_alpha"]) == ("LORA", 3, 5)
    assert config["target_modules"] == ["0", "2"]
    tensors = load_tensors(tmp_path / "lora" / "adapter_model.safetensors")
    assert torch.equal(tensors["base_model.model.0.lora_A.weight"], found["0"].A)
    _, _, found = adapted("hira")
    llm.save_adapters(found, tmp_path / "hira")
    tensors = load_tensors(tmp_path / "hira" / "adapter_model.safetensors")
    assert torch.equal(tensors["base_model.model.2.hira_B"], found["2"].B * (5 / 3))


def test_rank_stabilised_scaling_is_read(tmp_path):
    _, _, found = adapted("lora")
    llm.save_adapters(found, tmp_path / "a")
    file = tmp_path / "a" / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "use_rslora": True, "lora_alpha": 6}))
    assert llm.read_adapters(tmp_path / "a").scaling == pytest.approx(6 / 3**0.5)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"use_dora": True}, "use_dora is not supported"),
        ({"bias": "all"}, "bias is not supported"),
        ({"alpha_pattern": {"0": 4}}, "alpha_pattern"),
        ({"peft_type": "LOKR"}, "neither LoRA nor HiRA"),
    ],
    ids=str,
)
def test_refuses_what_peft_can_and_we_cannot(change, words, tmp_path):
    _, _, found = adapted("lora")
    llm.save_adapters(found, tmp_path)
    file = tmp_path / "adapter_config.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))
    with pytest.raises(LLMError, match=words):
        llm.read_adapters(tmp_path)


def test_refuses_files_that_do_not_fit(tmp_path):
    _, masks, found = adapted("mask_lora")
    llm.save_adapters(found, tmp_path / "a")
    with pytest.raises(LLMError, match="no pruned layer"):
        llm.load_adapters(network()[0], tmp_path / "a", {"0": False}, masks)
    with pytest.raises(LLMError, match="cannot start a hira"):
        llm.load_adapters(network()[0], tmp_path / "a", LAYERS, masks, kind="hira")
    with pytest.raises(LLMError, match="neither"):
        llm.read_adapters(tmp_path)
    with pytest.raises(LLMError, match="one kind"):
        llm.save_adapters({}, tmp_path / "b")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="other files"):
        llm.save_adapters(found, tmp_path / "mine")
    tensors = load_tensors(tmp_path / "a" / "adapters.safetensors")
    save_tensors(tmp_path / "a" / "adapters.safetensors", {**tensors, "0.A": torch.ones(3, 9)})
    with pytest.raises(LLMError, match="does not fit a layer of 12 x 8"):
        llm.load_adapters(network()[0], tmp_path / "a", LAYERS, masks)
    (tmp_path / "a" / "adapters.json").write_text("{}")
    with pytest.raises(LLMError, match="cannot be read"):
        llm.read_adapters(tmp_path / "a")


@pytest.mark.parametrize("kind", ["mask_lora", "hira"])
def test_retraining_keeps_adapters_and_merging_them_later_gives_the_same_weights(
    kind, tiny, tmp_path, text
):
    llm.prune(tiny, out=tmp_path / "p", pattern="2:4", criterion="magnitude")
    done = llm.retrain(
        tmp_path / "p", out=tmp_path / "r", text=text, train=(kind,), steps=4,
        adapters=str(tmp_path / "adapters"), **FAST,
    )  # fmt: skip
    merged = llm.retrain(
        tmp_path / "p", out=tmp_path / "m", train=(kind,), steps=0, start=str(tmp_path / "adapters")
    )
    assert verify.file(merged.certificate).accepted
    assert merged.losses == ()
    assert "steps" in merged.table().as_text()
    assert done.sparsity == merged.sparsity
    one, two = ModelFolder(tmp_path / "r"), ModelFolder(tmp_path / "m")
    for name in one.tensors:
        torch.testing.assert_close(two.read(name), one.read(name), rtol=1e-6, atol=1e-7)
    with pytest.raises(LLMError, match="neither"):
        llm.retrain(tmp_path / "p", out=tmp_path / "x", train=(kind,), steps=0, start="nowhere")
    with pytest.raises(RunError, match="other files"):
        llm.retrain(
            tmp_path / "p", out=tmp_path / "x", train=(kind,), text=text, adapters=str(tmp_path)
        )
    with pytest.raises(ValueError, match="trains nothing"):
        llm.retrain(tmp_path / "p", out=tmp_path / "x", steps=0)
    with pytest.raises(ValueError, match="trains none"):
        llm.retrain(tmp_path / "p", out=tmp_path / "x", train=("norm",), start="a", text=text)
