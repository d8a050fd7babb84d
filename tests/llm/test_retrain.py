"""Retraining, evaluation, packing: zeros stay, files are whole, answers are known."""

import json
import math
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from extremal import cli, llm, verify
from extremal.lab import RunError
from extremal.llm import LLMError
from extremal.llm._evaluate import window_losses
from extremal.llm._folder import ModelFolder

from .conftest import write_model

transformers = pytest.importorskip("transformers")
FAST = {"steps": 6, "batch_size": 2, "window": 16}


@pytest.fixture(scope="module")
def pruned(tmp_path_factory, tiny, text):
    out = tmp_path_factory.mktemp("pruned") / "p"
    llm.prune(tiny, out=out, calibration=text, samples=8, window=16, pattern="2:4")
    return out


def tensors(path):
    folder = ModelFolder(path)
    return {name: folder.read(name) for name in folder.tensors}


def changed(one, two):
    a, b = tensors(one), tensors(two)
    return {n for n in a if not torch.equal(a[n], b[n])}


@pytest.mark.parametrize(
    "train",
    [("mask_lora", "norm"), ("scale_lora",), ("spp",), ("hira",), ("lora_prune",), ("norm",),
     ("head",), ("full",)],
    ids=str,
)  # fmt: skip
def test_every_kind_trains_and_keeps_the_zeros(train, pruned, tmp_path, text):
    result = llm.retrain(pruned, out=tmp_path / "out", text=text, train=train, **FAST)
    verdict = verify.file(result.certificate)
    assert verdict.accepted, verdict.reason
    assert any("the masks are the parent's" in s for s in verdict.parts[0].statements)
    assert any("'2:4' holds in 21 layers" in s for s in verdict.parts[0].statements)
    assert len(result.losses) == 6
    assert result.sparsity == 0.5
    names = changed(pruned, tmp_path / "out")
    assert names
    kinds = {
        "norm": all("norm" in n for n in names),
        "head": names == {"lm_head.weight"},
        "full": any("embed" in n for n in names),
    }
    assert kinds.get(train[0], any("_proj" in n for n in names))
    ids = torch.arange(3, 19)[None]
    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "out")
    assert torch.isfinite(model(ids).logits).all()


def test_training_lowers_the_loss_and_distillation_runs(pruned, tiny, tmp_path, text):
    options = {"text": text, "steps": 40, "batch_size": 4, "window": 16, "lr": 0.02}
    result = llm.retrain(pruned, out=tmp_path / "a", train=("mask_lora", "norm"), **options)
    assert sum(result.losses[-5:]) < sum(result.losses[:5])
    taught = llm.retrain(
        pruned, out=tmp_path / "b", train=("norm",), distill=str(tiny), distill_weight=1.0,
        checkpointing=True, **options,
    )  # fmt: skip
    assert sum(taught.losses[-5:]) < sum(taught.losses[:5])


@pytest.mark.parametrize("train", [("norm",), ("mask_lora",)])
def test_checkpointing_runs_blocks_again_and_changes_nothing(pruned, tmp_path, text, train):
    from extremal.llm import _retrain
    from extremal.llm._load import open_sparse
    from extremal.llm._skeleton import find_blocks

    gradients, calls = [], []
    for again in (False, True):
        settings = llm.RetrainConfig(
            train=train, text=text, steps=1, window=16, checkpointing=again
        )
        ready = _retrain.prepare(open_sparse(pruned), settings, Path(text).read_text())
        session = _retrain._Session(ready.network, ready.sparse, settings, None)
        seen = []
        block = find_blocks(ready.network)[1][0]
        # Inside the block, for a checkpoint runs its forward and not its hooks.
        block.get_submodule("input_layernorm").register_forward_pre_hook(
            lambda *_, seen=seen: seen.append(0)
        )
        session.loss(ready.ids).backward()
        calls.append(len(seen))
        gradients.append({n: p.grad for n, p in session.trainer.parameters.items()})
        session.finish()
        assert "forward" not in block.__dict__
    assert calls == [1, 2]
    assert all(torch.equal(g, gradients[1][n]) for n, g in gradients[0].items())


def test_a_folder_of_zeros_from_elsewhere_is_retrained(pruned, tmp_path, text):
    plain = tmp_path / "plain"
    shutil.copytree(pruned, plain)
    shutil.rmtree(plain / "run")
    (plain / "certificate.json").unlink()
    result = llm.retrain(plain, out=tmp_path / "out", text=text, **FAST)
    assert verify.file(result.certificate).accepted
    assert result.sparsity == 0.5


def test_changed_masks_are_refused(pruned, tmp_path, text):
    copy = tmp_path / "copy"
    shutil.copytree(pruned, copy)
    raw = bytearray((copy / "run" / "masks.safetensors").read_bytes())
    raw[-1] ^= 1
    (copy / "run" / "masks.safetensors").write_bytes(raw)
    with pytest.raises(Exception, match=r"masks\.safetensors"):
        llm.retrain(copy, out=tmp_path / "out", text=text, **FAST)


def test_refusals(pruned, tiny, tmp_path, text):
    with pytest.raises(LLMError, match="makes the model dense again"):
        llm.retrain(pruned, out=tmp_path / "a", text=text, train=("lora",), **FAST)
    with pytest.raises(LLMError, match="neither masks nor zeros"):
        llm.retrain(tiny, out=tmp_path / "b", text=text, **FAST)
    with pytest.raises(LLMError, match="no parameters of the groups bias"):
        llm.retrain(pruned, out=tmp_path / "c", text=text, train=("bias",), **FAST)
    with pytest.raises(ValueError, match="give out"):
        llm.retrain(pruned, text=text, **FAST)
    with pytest.raises(ValueError, match="needs text"):
        llm.retrain(pruned, out=tmp_path / "d", **FAST)
    with pytest.raises(ValueError, match="one adapter"):
        llm.retrain(pruned, out=tmp_path / "e", text=text, train=("hira", "spp"), **FAST)
    with pytest.raises(LLMError, match=r"not finite|diverged"):
        llm.retrain(pruned, out=tmp_path / "f", text=text, train=("full",), lr=1e30,
                    steps=6, batch_size=2, window=16)  # fmt: skip


def test_plain_lora_is_merged_on_demand_and_makes_no_claim(pruned, tmp_path, text):
    result = llm.retrain(
        pruned, out=tmp_path / "out", text=text, train=("lora",), allow_dense=True, **FAST
    )
    assert result.certificate is None
    assert result.sparsity == 0


def test_a_tied_head_is_untied_on_demand(tmp_path, text):
    model = write_model(tmp_path / "m", "gemma")
    llm.prune(model, out=tmp_path / "p", criterion="magnitude")
    with pytest.raises(LLMError, match="tied to the embedding"):
        llm.retrain(tmp_path / "p", out=tmp_path / "a", text=text, train=("head",), **FAST)
    result = llm.retrain(
        tmp_path / "p", out=tmp_path / "b", text=text, train=("head",), untie=True, **FAST
    )
    verdict = verify.file(result.certificate)
    assert verdict.accepted, verdict.reason
    assert json.loads((tmp_path / "b" / "config.json").read_text())["tie_word_embeddings"] is False
    before, after = tensors(tmp_path / "p"), tensors(tmp_path / "b")
    assert after.keys() - before.keys() == {"lm_head.weight"}
    assert all(torch.equal(v, after[k]) for k, v in before.items())
    loaded = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "b")
    assert torch.equal(loaded.lm_head.weight, after["lm_head.weight"])
    assert torch.equal(loaded.model.embed_tokens.weight, before["model.embed_tokens.weight"])


KILLER = """
import os, signal, sys
from extremal import llm
from extremal.llm import _retrain
from extremal.llm._text import tokenizer_of
import torch
# What every attempt imports, once, before the forks.
torch.set_num_threads(1)
tokenizer_of(sys.argv[1])
_retrain.load_model(sys.argv[1], torch.device("cpu"))

def attempt(out, kill):
    if kill:
        _retrain._crash_point = lambda name: os.kill(os.getpid(), signal.SIGKILL)
    llm.retrain(sys.argv[1], out=out, text=sys.argv[2], steps=6, batch_size=2, window=16,
                save_every=2, resume=os.path.exists(out), threads=1)

for out, kill in ((sys.argv[3], 0), (sys.argv[4], 1), (sys.argv[4], 1), (sys.argv[4], 0)):
    child = os.fork()
    if child == 0:
        attempt(out, kill)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


def test_a_killed_training_resumes_to_the_same_bytes(pruned, tmp_path, text):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    words = [sys.executable, "-c", KILLER, str(pruned), text, str(whole), str(killed)]
    found = subprocess.run(words, capture_output=True, text=True, check=False)
    assert found.stdout.split() == ["0", "-9", "-9", "0"], found.stderr[-2000:]
    for name in [*ModelFolder(whole).files, "certificate.json"]:
        assert (whole / name).read_bytes() == (killed / name).read_bytes()


# Evaluation --------------------------------------------------------------------------------------


class Uniform(nn.Module):
    """Every token is as likely as any other."""

    def forward(self, ids):
        return torch.zeros(*ids.shape, 37)


@pytest.mark.parametrize("window", [2, 7, 64])
def test_uniform_logits_have_the_perplexity_of_the_vocabulary(window):
    losses = window_losses(Uniform(), torch.arange(200) % 37, window)
    assert len(losses) == 200 // window
    assert math.exp(sum(losses) / len(losses)) == pytest.approx(37, rel=1e-6)


def test_perplexity_agrees_with_transformers(tiny, text, tmp_path):
    found = llm.evaluate(tiny, text=text, window=16, prompt="abc", new_tokens=5, dense=str(tiny))
    model = transformers.AutoModelForCausalLM.from_pretrained(tiny).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny)
    ids = torch.tensor(tokenizer(Path(text).read_text(), add_special_tokens=False)["input_ids"])
    windows = ids[: len(ids) // 16 * 16].reshape(-1, 16)
    with torch.no_grad():
        losses = [float(model(w[None], labels=w[None]).loss) for w in windows[:20]]
    assert list(found.losses[:20]) == pytest.approx(losses, rel=1e-5)
    assert found.change == (0, 0)
    assert found.continuation
    assert "tokenised once" in found.table().as_text()
    assert found.tokens == len(ids)
    short = tmp_path / "short.txt"
    short.write_text("abc")
    with pytest.raises(LLMError, match="too few for one window"):
        llm.evaluate(tiny, text=str(short), window=16)
    with pytest.raises(ValueError, match="needs text"):
        llm.evaluate(tiny)


# Packing -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16], ids=str)
def test_packing_is_undone_bit_for_bit(dtype, tmp_path):
    model = write_model(tmp_path / "m", dtype=dtype, shard="20KB")
    llm.prune(model, out=tmp_path / "p", criterion="magnitude", shard_bytes=20_000)
    packed = llm.pack(tmp_path / "p", out=tmp_path / "packed")
    assert packed.tensors == 21
    assert packed.packed_bytes < packed.dense_bytes
    llm.unpack(tmp_path / "packed", out=tmp_path / "again")
    folder = ModelFolder(tmp_path / "p")
    for name in [*folder.files, "model.safetensors.index.json", "config.json", "tokenizer.json"]:
        assert (tmp_path / "p" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    with pytest.raises(RunError, match="not empty"):
        llm.unpack(tmp_path / "packed", out=tmp_path / "again")
    llm.unpack(tmp_path / "packed", out=tmp_path / "again", force=True)
    file = next(iter((tmp_path / "packed").glob("*.packed.safetensors")))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(LLMError, match="missing or changed"):
        llm.unpack(tmp_path / "packed", out=tmp_path / "third")


def test_a_half_precision_matrix_at_half_takes_nine_sixteenths(tmp_path):
    from safetensors.torch import save_file

    weight = torch.ones(256, 1024, dtype=torch.float16)
    weight[:, ::2] = 0
    weight[0, 0] = -0.0  # a value of its own, kept
    (tmp_path / "m").mkdir()
    save_file({"w": weight}, tmp_path / "m" / "model.safetensors")
    (tmp_path / "m" / "config.json").write_text('{"model_type": "x"}')
    packed = llm.pack(tmp_path / "m", out=tmp_path / "p")
    assert packed.packed_bytes / packed.dense_bytes == pytest.approx(0.5625, abs=1e-3)
    llm.unpack(tmp_path / "p", out=tmp_path / "u")
    one, two = (tmp_path / n / "model.safetensors" for n in ("m", "u"))
    assert one.read_bytes() == two.read_bytes()


# The shell ---------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_four_commands_work_on_a_real_model(shared_data, tmp_path, capsys):
    model = str(shared_data / "babyllama")
    samples = f"{model}/samples.txt"
    lm, perp = str(tmp_path / "lm50"), str(tmp_path / "lm50-perp")
    assert cli.main([
        "llm", "prune", model, "--out", lm, "--criterion", "wanda", "--pattern", "0.5", "--update",
        "ls", "--repair", "reconstruct", "--targets", "sparse_to_dense", "--calibration", samples,
    ]) == 0  # fmt: skip
    assert cli.main([
        "llm", "retrain", lm, "--train", "mask_lora", "norm", "--steps", "200", "--text", samples,
        "--out", perp,
    ]) == 0  # fmt: skip
    capsys.readouterr()
    text = f"{model}/tinystories_excerpt.txt"
    assert cli.main(["llm", "evaluate", perp, "--text", text, "--dense", model, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    # Within a tenth in log-perplexity of the dense model; the excerpt's own error is 0.06.
    assert math.log(found["perplexity"] / found["dense"]["perplexity"]) < 0.1
    assert cli.main(["verify", f"{perp}/certificate.json"]) == 0
    assert "460800 of 921600" in capsys.readouterr().out


# Pruning and retraining in one command -----------------------------------------------------------


def test_pruning_with_retraining_equals_the_two_verbs_and_has_the_dense_parent(
    tiny, tmp_path, text
):
    shared = {"window": 16, "batch_size": 2, "steps": 6}
    both = llm.prune(
        tiny, out=tmp_path / "both", calibration=text, samples=8, pattern="2:4", repair="retrain",
        **shared,
    )  # fmt: skip
    llm.prune(tiny, out=tmp_path / "p", calibration=text, samples=8, pattern="2:4", window=16)
    apart = llm.retrain(tmp_path / "p", out=tmp_path / "r", text=text, **shared)
    assert not changed(tmp_path / "both", tmp_path / "r")
    assert both.retrained.losses == apart.losses
    verdict = verify.file(both.certificate)
    assert verdict.accepted, verdict.reason
    parent = json.loads((tmp_path / "both" / "run" / "parent.json").read_text())["tensors"]
    dense = ModelFolder(tiny)
    assert all(parent[n]["sha256"] == dense.sha256(n) for n in dense.tensors)
    assert not (tmp_path / "both" / "run" / "pruned").exists()
    assert "parameters retrained in 6 steps" in both.table().as_text()
    again = llm.prune(
        tiny, out=tmp_path / "both", calibration=text, samples=8, pattern="2:4", repair="retrain",
        resume=True, **shared,
    )  # fmt: skip
    assert again.retrained == both.retrained
    with pytest.raises(ValueError, match="need calibration text"):
        llm.prune(tiny, out=tmp_path / "x", criterion="magnitude", repair="retrain")
    with pytest.raises(ValueError, match="steps=0"):
        llm.prune(tiny, out=tmp_path / "x", calibration=text, repair="retrain", steps=0)


def test_an_interrupted_pruning_with_retraining_goes_on_to_the_same_bytes(
    tiny, tmp_path, text, monkeypatch
):
    from extremal.llm import _prune

    options = {
        "calibration": text, "samples": 8, "window": 16, "repair": "retrain", "batch_size": 2,
        "steps": 4, "threads": 1,
    }  # fmt: skip
    llm.prune(tiny, out=tmp_path / "whole", **options)
    train = _prune.train_into

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_prune, "train_into", killed)
    with pytest.raises(KeyboardInterrupt):
        llm.prune(tiny, out=tmp_path / "cut", **options)
    assert (tmp_path / "cut" / "run" / "pruned" / "certificate.json").exists()
    monkeypatch.setattr(_prune, "train_into", train)
    llm.prune(tiny, out=tmp_path / "cut", resume=True, **options)
    for name in [*ModelFolder(tmp_path / "whole").files, "certificate.json"]:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "cut" / name).read_bytes()
