"""Sparse folders of compressed-tensors become plain ones; damaged ones are refused."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from extremal import llm
from extremal.llm import LLMError
from extremal.llm._bits import pack_bits
from extremal.llm._folder import ModelFolder

from .conftest import write_model

transformers = pytest.importorskip("transformers")


def stored(name, weight, kind):
    """A weight as the two formats store it."""
    kept = weight != 0
    counts = kept.sum(1)
    if kind == "sparse-bitmask":
        return {
            f"{name}.shape": torch.tensor(weight.shape),
            f"{name}.compressed": weight[kept],
            f"{name}.bitmask": pack_bits(kept),
            f"{name}.row_offsets": counts.cumsum(0) - counts,
        }
    base = name.removesuffix(".weight")
    return {
        f"{base}.shape": torch.tensor(weight.shape).reshape(-1, 1),
        f"{base}.compressed": weight[kept].reshape(len(weight), -1),
        f"{base}.bitmask": pack_bits(kept),
    }


@pytest.fixture
def sparse(tmp_path, request):
    """A pruned model, and the same as compressed-tensors stored it."""
    kind = request.param
    llm.prune(write_model(tmp_path / "m"), out=tmp_path / "p", pattern="2:4", criterion="magnitude")
    folder = tmp_path / "compressed"
    folder.mkdir()
    tensors = load_file(tmp_path / "p" / "model.safetensors")
    found = {}
    for name, value in tensors.items():
        found |= stored(name, value, kind) if "_proj" in name else {name: value}
    save_file(found, folder / "model.safetensors")
    config = json.loads((tmp_path / "p" / "config.json").read_text())
    config["quantization_config"] = {
        "quant_method": "compressed-tensors", "sparsity_config": {"format": kind},
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "tokenizer.json").write_bytes((tmp_path / "p" / "tokenizer.json").read_bytes())
    return tmp_path / "p", folder


BOTH = pytest.mark.parametrize("sparse", ["sparse-bitmask", "sparse-24-bitmask"], indirect=True)


@BOTH
def test_both_formats_are_expanded_to_the_plain_folder(sparse, tmp_path):
    plain, folder = sparse
    done = llm.unpack(folder, out=tmp_path / "out")
    assert done.tensors == 21
    assert done.packed_bytes < done.dense_bytes
    one, two = ModelFolder(plain), ModelFolder(tmp_path / "out")
    assert one.tensors.keys() == two.tensors.keys()
    assert all(torch.equal(one.read(n), two.read(n)) for n in one.tensors)
    assert "quantization_config" not in two.config
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.isfinite(model(torch.arange(3, 19)[None]).logits).all()
    with pytest.raises(LLMError, match="llm unpack"):
        llm.pack(folder, out=tmp_path / "x")


@BOTH
@pytest.mark.parametrize("part", ["bitmask", "compressed", "shape"])
def test_damaged_parts_are_refused(sparse, part, tmp_path):
    _, folder = sparse
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith(f".{part}"))
    for change in (None, "value"):
        forged = dict(tensors)
        if change is None:
            del forged[name]
            if part == "bitmask":
                continue  # then nothing tells that the tensor was sparse
        elif part == "compressed":
            forged[name] = tensors[name].flatten()[:-1]
        else:
            forged[name] = tensors[name].clone()
            forged[name].view(-1)[0] ^= 1
        save_file(forged, folder / "model.safetensors")
        with pytest.raises(LLMError, match=r"lacks|fit|places|every four"):
            llm.unpack(folder, out=tmp_path / f"out{change}")


@pytest.mark.parametrize("sparse", ["sparse-bitmask"], indirect=True)
def test_other_formats_and_quantised_weights_are_refused(sparse, tmp_path):
    _, folder = sparse
    config = json.loads((folder / "config.json").read_text())
    tensors = load_file(folder / "model.safetensors")
    name = next(n for n in tensors if n.endswith(".row_offsets"))
    save_file({**tensors, name: tensors[name] + 1}, folder / "model.safetensors")
    with pytest.raises(LLMError, match="row offsets"):
        llm.unpack(folder, out=tmp_path / "a")
    config["quantization_config"]["sparsity_config"]["format"] = "marlin-24"
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LLMError, match="'marlin-24'"):
        llm.unpack(folder, out=tmp_path / "b")
    config["quantization_config"]["config_groups"] = {"group_0": {}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(LLMError, match="quantised besides"):
        llm.unpack(folder, out=tmp_path / "c")


@pytest.mark.peer
def test_files_that_compressed_tensors_itself_wrote(tmp_path):
    """Needs compressed-tensors 0.14, in an environment of its own."""
    compressors = pytest.importorskip(
        "compressed_tensors.compressors.sparse_compressors",
        reason="pip install compressed-tensors==0.14.0, in an environment of its own",
    )
    torch.manual_seed(0)
    weight = torch.randn(6, 16)
    weight *= torch.tensor([1.0, 0, 1, 0]).repeat(4)
    for kind, bitmask in (
        ("sparse-bitmask", compressors.sparse_bitmask.BitmaskTensor),
        ("sparse-24-bitmask", compressors.sparse_24_bitmask.Sparse24BitMaskTensor),
    ):
        folder = tmp_path / kind
        folder.mkdir()
        parts = bitmask.from_dense(weight).dict("layers.0.q_proj.weight")
        save_file({k: v.contiguous() for k, v in parts.items()}, folder / "model.safetensors")
        config = {"compression_config": {"sparsity_config": {"format": kind}}}
        (folder / "config.json").write_text(json.dumps(config))
        llm.unpack(folder, out=tmp_path / f"out-{kind}")
        found = load_file(tmp_path / f"out-{kind}" / "model.safetensors")
        assert list(found) == ["layers.0.q_proj.weight"]
        assert torch.equal(found["layers.0.q_proj.weight"], weight)
