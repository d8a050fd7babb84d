"""The streaming run: what it writes, that it is what a plain program gives, kills, refusals."""

import hashlib
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from extremal import llm, verify
from extremal.lab import RunError
from extremal.llm import LLMError
from extremal.llm._bits import unpack_bits
from extremal.llm._criteria import score, select
from extremal.llm._folder import ModelFolder
from extremal.llm._pattern import Pattern
from extremal.llm._skeleton import Skeleton, find_blocks
from extremal.llm._text import draw_windows, tokenizer_of
from extremal.training import load_tensors

from .conftest import FAMILIES, text_of, write_model

transformers = pytest.importorskip("transformers")
SMALL = {"samples": 12, "window": 16, "micro_batch": 4}


def prune(model, out, text=None, **options):
    return llm.prune(model, out=out, calibration=text, **{**SMALL, **options})


def tensors(path):
    folder = ModelFolder(path)
    return {name: folder.read(name) for name in folder.tensors}


def masks_of(path):
    found = load_tensors(Path(path) / "run" / "masks.safetensors")
    folder = ModelFolder(path)
    return {n: unpack_bits(m, folder.tensors[n].shape[1]) for n, m in found.items()}


def contents(path):
    """Every byte that must be the same after a resume: all but times and memory."""
    skip = {"records.jsonl", "result.json", "config.json", ".lock", "report.html"}
    return {
        str(p.relative_to(path)): p.read_bytes()
        for p in sorted(Path(path).rglob("*"))
        if p.is_file()
        and not (p.name in skip and p.parent.name == "run")
        and p.name != "report.html"
        and p.parent.name != "blocks"
    }


def load(path):
    return transformers.AutoModelForCausalLM.from_pretrained(path, local_files_only=True)


# What it writes ----------------------------------------------------------------------------------


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_is_pruned_saved_and_loaded(family, tmp_path, text):
    model = write_model(tmp_path / "dense", family)
    options = {"update": "ls", "repair": "reconstruct", "train": ("mask_lora", "norm"), "epochs": 1}
    result = prune(model, tmp_path / "out", text, pattern="2:4", **options, samples=18)
    assert verify.file(result.certificate).accepted
    dense, sparse = load(model), load(tmp_path / "out")
    blocks = find_blocks(dense)[1]
    size = sum(p.numel() for b in blocks for n, p in b.named_parameters() if p.dim() == 2)
    assert (result.size, result.pruned) == (size, size // 2)
    # Outside the pruned layers only norms and biases of the blocks may differ.
    for (name, a), (_, b) in zip(dense.named_parameters(), sparse.named_parameters(), strict=True):
        if find_blocks(dense)[0] not in name:
            assert torch.equal(a, b), name
    ids = torch.arange(3, 19)[None]
    stored = tensors(tmp_path / "out")
    prefix = dense.base_model_prefix + "."
    with torch.no_grad():
        for name, p in dense.named_parameters():  # the same weights by hand: equal logits
            key = name if name in stored else name.removeprefix(prefix)
            if key in stored:
                p.copy_(stored[key])
        assert torch.equal(dense.eval()(ids).logits, sparse.eval()(ids).logits)
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config == json.loads((model / "config.json").read_text())
    assert (tmp_path / "out" / "tokenizer.json").exists()


METHODS = [
    {"criterion": "random"},
    {"criterion": "magnitude"},
    {"criterion": "magnitude", "group": "row"},
    {"criterion": "wanda"},
    {"criterion": "wanda", "group": "tensor"},
    {"criterion": "wanda-mass"},
    {"criterion": "ria"},
    {"criterion": "owl"},
    {"criterion": "dsnot"},
    {"criterion": "sparsegpt"},
    {"criterion": "sparsegpt", "update": "ls"},
    {"criterion": "admm"},
    {"criterion": "alps"},
    {"criterion": "wanda", "update": "sparsegpt"},
    {"criterion": "ria", "update": "ls"},
    {"criterion": "wanda", "update": "admm"},
    {"criterion": "magnitude", "update": "alps"},
    {"criterion": "sparsegpt", "layers": "owl"},
    {"criterion": "ria", "refine": "dsnot", "update": "ls"},
    {"criterion": "wanda", "sparsities": ("*.o_proj=0.25", "*.down_proj=2:4")},
]


@pytest.mark.parametrize("options", METHODS, ids=lambda o: "-".join(map(str, o.values())))
def test_every_method_meets_its_rule_exactly(options, tiny, tmp_path, text):
    result = prune(tiny, tmp_path / "out", text, **{"pattern": "0.6", **options})
    verdict = verify.file(result.certificate)
    assert verdict.accepted, verdict.reason
    if options["criterion"] not in ("wanda-mass", "owl") and "layers" not in options:
        assert all(layer.rule != "none" for layer in result.layers)
    if options["criterion"] == "owl" or "layers" in options:
        assert len({layer.rule for layer in result.layers}) > 1
        assert result.sparsity == pytest.approx(0.6, abs=1 / 32)  # rows of 32 and 48 round down
    if "sparsities" in options:
        assert {x.rule for x in result.layers} == {"row 0.6", "row 0.25", "2:4"}


def test_updates_lower_the_layer_errors(tiny, tmp_path, text):
    for update in ("sparsegpt", "ls", "admm", "alps"):
        result = prune(tiny, tmp_path / update, text, update=update, samples=32)
        assert all(x.error_updated < x.error_masked for x in result.layers), update


def test_streaming_gives_bit_for_bit_what_a_plain_program_gives(tiny, tmp_path, text):
    prune(tiny, tmp_path / "out", text)
    model = load(tiny).eval()
    ids = draw_windows(tokenizer_of(tiny), Path(text).read_text(), window=16, samples=12, seed=0)
    name, blocks = find_blocks(model)
    for b, block in enumerate(blocks):
        squares = {}
        handles = []
        for inner, module in block.named_modules():
            if isinstance(module, torch.nn.Linear):

                def hook(_, args, inner=inner, squares=squares):
                    flat = args[0].reshape(-1, args[0].shape[-1])
                    squares[inner] = squares.get(inner, 0) + flat.square().sum(0)

                handles.append(module.register_forward_pre_hook(hook))
        with torch.no_grad():
            for start in range(0, 12, 4):
                model(ids[start : start + 4])
        for handle in handles:
            handle.remove()
        for inner, total in squares.items():
            weight = block.get_submodule(inner).weight
            keep = select(score("wanda", weight, total / 12), Pattern.parse("0.5"))
            with torch.no_grad():
                weight.masked_fill_(~keep, 0)
        assert name == "model.layers"
        assert b < 3
    out = tensors(tmp_path / "out")
    for key, value in model.state_dict().items():
        assert torch.equal(out[key], value), key


def test_two_runs_are_equal_and_shards_keep_names(tiny, tmp_path, text):
    for name in ("a", "b"):
        prune(tiny, tmp_path / name, text, criterion="random", update="ls", shard_bytes=40_000)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert len(list((tmp_path / "a").glob("model-*-of-*.safetensors"))) > 1
    assert tensors(tmp_path / "a").keys() == tensors(tiny).keys()
    assert load(tmp_path / "a").num_parameters() == load(tiny).num_parameters()


@pytest.mark.parametrize("targets", ["sparse", "dense", "sparse_to_dense"])
@pytest.mark.parametrize("granularity", ["block", "2", "attn_mlp", "matrix"])
def test_a_reconstruction_never_ends_worse(targets, granularity, tiny, tmp_path, text):
    options = {"repair": "reconstruct", "targets": targets, "granularity": granularity}
    result = prune(tiny, tmp_path / "out", text, pattern="0.6", epochs=2, **options)
    repairs = [r for unit in result.units for r in unit.repairs]
    assert len(repairs) == {"block": 3, "2": 2, "attn_mlp": 6, "matrix": 21}[granularity]
    assert all(r.after <= r.before for r in repairs)
    assert sum(r.kept for r in repairs) > len(repairs) // 2
    assert verify.file(result.certificate).accepted


@pytest.mark.parametrize("train", [("mask_lora",), ("scale_lora", "norm"), ("spp",), ("hira",),
                                   ("lora_prune", "norm"), ("norm",)], ids=str)  # fmt: skip
def test_reconstruction_with_adapters_keeps_the_masks(train, tiny, tmp_path, text):
    plain = prune(tiny, tmp_path / "plain", text)
    result = prune(tiny, tmp_path / "out", text, repair="reconstruct", train=train,
                   targets="dense", criterion="wanda")  # fmt: skip
    assert verify.file(result.certificate).accepted
    assert any(r.kept for unit in result.units for r in unit.repairs)
    assert plain.pruned == result.pruned


def test_too_large_a_rate_keeps_the_start_and_says_so(tiny, tmp_path, text):
    options = {"repair": "reconstruct", "lr": 50.0, "epochs": 1}
    result = prune(tiny, tmp_path / "out", text, criterion="magnitude", **options)
    repairs = [r for unit in result.units for r in unit.repairs]
    assert not any(r.kept for r in repairs)
    plain = prune(tiny, tmp_path / "plain", criterion="magnitude")
    assert all(torch.equal(v, tensors(plain.path)[k]) for k, v in tensors(result.path).items())


@pytest.mark.parametrize("targets", ["dense", "sparse", "sparse_to_dense"])
def test_only_with_dense_inputs_a_block_does_not_depend_on_those_before(
    targets, tiny, tmp_path, text
):
    options = {"criterion": "magnitude", "repair": "reconstruct", "targets": targets, "epochs": 1}
    prune(tiny, tmp_path / "a", text, **options)
    prune(tiny, tmp_path / "b", text, sparsities=("model.layers.0.*=0.9",), **options)
    one, two = tensors(tmp_path / "a"), tensors(tmp_path / "b")
    changed = {name for name, value in one.items() if not torch.equal(value, two[name])}
    matrices = {n for n in one if n.endswith("_proj.weight")}
    first = {n for n in matrices if n.startswith("model.layers.0.")}
    assert first <= changed  # it has another sparsity
    if targets == "dense":
        assert all(name.startswith("model.layers.0.") for name in changed)
    else:
        assert matrices <= changed


def test_skip_preserve_and_existing(tiny, tmp_path, text):
    first = prune(tiny, tmp_path / "a", criterion="magnitude", skip=("*.down_proj",))
    dense, made = tensors(tiny), tensors(first.path)
    for name, value in made.items():
        assert torch.equal(value, dense[name]) == ("_proj" not in name or "down_proj" in name)
    more = prune(first.path, tmp_path / "b", text, pattern="0.7", preserve=True)
    for name, keep in masks_of(tmp_path / "a").items():
        assert not bool((masks_of(tmp_path / "b")[name] & ~keep).any())
    assert more.sparsity > first.sparsity
    with pytest.raises(LLMError, match=r"sparse already, more than 0\.3"):
        prune(first.path, tmp_path / "c", text, pattern="0.3", preserve=True)
    same = prune(first.path, tmp_path / "d", text, criterion="existing", update="ls")
    for name, keep in masks_of(tmp_path / "a").items():
        assert torch.equal(masks_of(tmp_path / "d")[name], keep)
    assert verify.file(same.certificate).accepted


def test_the_parent_table_holds_the_dense_weights(tiny, tmp_path):
    prune(tiny, tmp_path / "out", criterion="magnitude")
    parent = json.loads((tmp_path / "out" / "run" / "parent.json").read_text())["tensors"]
    for name, value in tensors(tiny).items():
        assert (
            parent[name]["sha256"]
            == hashlib.sha256(value.contiguous().numpy().tobytes()).hexdigest()
        )


def test_memory_holds_one_block_and_what_is_outside_is_dropped(tiny, tmp_path):
    frame = Skeleton(ModelFolder(tiny), torch.device("cpu"))
    assert all(p.is_meta for p in frame.model.parameters())
    with frame.on_call(), torch.no_grad():
        frame.model.model.embed_tokens(torch.tensor([[1]]))
        real = [n for n, p in frame.model.named_parameters() if not p.is_meta]
        assert real == ["model.embed_tokens.weight"]
    assert all(p.is_meta for p in frame.model.parameters())


# Kills -------------------------------------------------------------------------------------------

KILLER = """
import os, signal, sys
from extremal import llm
from extremal.llm import _stream
from extremal.llm._text import tokenizer_of
import torch
# What every attempt imports, once, before the forks.
torch.set_num_threads(1)
tokenizer_of(sys.argv[1])
_stream.Skeleton(_stream.ModelFolder(sys.argv[1]), torch.device("cpu"))

def attempt(left):
    def kill(name):
        nonlocal left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
    _stream.crash_point = kill
    llm.prune(sys.argv[1], out=sys.argv[2], calibration=sys.argv[3], samples=12, window=16,
              micro_batch=4, criterion="wanda", update="ls", repair="reconstruct", epochs=1,
              resume=os.path.exists(sys.argv[2]), activations=sys.argv[4], threads=1)

for left in map(int, sys.argv[5:]):
    child = os.fork()
    if child == 0:
        attempt(left)
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


# Points: captured, then written / before journal / after journal of each of three blocks. Each
# start repeats "captured"; a kill at point 4 leaves one more block finished.
EVERY = (1, 2, 3, 4, 2, 3, 4, 2, 3, 4)


@pytest.mark.parametrize(
    ("activations", "points"),
    [
        ("file", EVERY),
        ("device", (3, 4, 4, 2)),
        pytest.param("lost", (4, 4), marks=pytest.mark.slow),
    ],
    ids=["file", "device", "files-lost"],
)
def test_a_run_killed_at_every_block_resumes_to_the_same_bytes(
    tiny, tmp_path, text, activations, points
):
    where = "file" if activations == "lost" else activations

    def go(out, *points):
        words = [sys.executable, "-c", KILLER, str(tiny), str(out), text, where]
        words += map(str, points)
        found = subprocess.run(words, capture_output=True, text=True, check=False)
        assert found.returncode == 0, found.stderr[-2000:]
        return [int(line) for line in found.stdout.split()]

    assert go(tmp_path / "whole", 0) == [0]
    assert go(tmp_path / "killed", *points) == [-signal.SIGKILL] * len(points)
    if activations == "lost":
        shutil.rmtree(tmp_path / "killed" / "run" / "activations")
    assert go(tmp_path / "killed", 0) == [0]
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")
    assert verify.file(tmp_path / "killed").accepted


@pytest.mark.parametrize("granularity", ["block", "attn_mlp", "2"])
def test_where_activations_lie_changes_nothing(tiny, tmp_path, text, granularity):
    for where in ("file", "device"):
        prune(
            tiny, tmp_path / where, text, activations=where, repair="reconstruct", epochs=1,
            granularity=granularity,
        )  # fmt: skip
    assert contents(tmp_path / "file") == contents(tmp_path / "device")
    assert not list((tmp_path / "device" / "run").glob("activations/*"))


def test_resume_refuses_another_configuration_text_or_model(tiny, tmp_path, text):
    out = tmp_path / "out"
    first = prune(tiny, out, text)
    assert prune(tiny, out, text, resume=True).pruned == first.pruned
    with pytest.raises(RunError, match="pattern"):
        prune(tiny, out, text, resume=True, pattern="0.6")
    other = tmp_path / "other.txt"
    other.write_text(text_of(2))
    with pytest.raises(RunError, match="calibration"):
        prune(tiny, out, str(other), resume=True)
    with pytest.raises(RunError, match="exists already"):
        prune(tiny, out, text)
    copy = tmp_path / "copy"
    shutil.copytree(tiny, copy)
    file = min(copy.glob("*.safetensors"))
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    with pytest.raises(RunError, match="source"):
        prune(copy, out, text, resume=True)
    assert prune(tiny, out, text, force=True, pattern="0.6").sparsity > 0.55


# Refusals ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "1.0"}, "outside"),
        ({"pattern": "5:4"}, "keeps 5 of 4"),
        ({"criterion": "wandb"}, "no 'wandb'"),
        ({"update": "lsq"}, "no 'lsq'"),
        ({"train": ("lora",)}, "loses the zeros"),
        ({"train": ("head",)}, "no part of a block"),
        ({"granularity": "half"}, "granularity"),
        ({"layers": "owl", "pattern": "2:4"}, "fixes"),
        ({"sparsities": ("0.5",)}, "GLOB=PATTERN"),
        ({"window": 33}, "context"),
        ({"samples": 0}, "samples"),
    ],
    ids=str,
)
def test_refuses_options(options, words, tiny, tmp_path, text):
    with pytest.raises(ValueError, match=words):
        prune(tiny, tmp_path / "out", text, **options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"pattern": "2:7"}, "no multiple of 7"),
        ({"skip": ("*",)}, "left to prune"),
        ({"skip": ("*.up",)}, "matches no layer"),
        ({"sparsities": ("*.up=0.5",)}, "matches no layer"),
        ({"mode": "crop", "window": 32}, "too short"),
    ],
    ids=str,
)
def test_refuses_what_does_not_fit(options, words, tiny, tmp_path):
    file = tmp_path / "t.txt"
    file.write_text("\n\n".join(["short text"] * 200))
    with pytest.raises(LLMError, match=words):
        prune(tiny, tmp_path / "out", str(file), **options)


def test_refuses_folders_and_texts(tiny, tmp_path, text):
    with pytest.raises(LLMError, match=r"no config\.json"):
        prune(tmp_path, tmp_path / "out", text)
    with pytest.raises(ValueError, match="need calibration text"):
        prune(tiny, tmp_path / "out")
    with pytest.raises(ValueError, match="give out"):
        llm.prune(tiny, criterion="magnitude")
    with pytest.raises(ValueError, match="own folder"):
        prune(tiny, tiny, criterion="magnitude")
    short = tmp_path / "short.txt"
    short.write_text("abc")
    with pytest.raises(LLMError, match="3 tokens, fewer than the window"):
        prune(tiny, tmp_path / "out1", str(short))
    short.write_text("  ")
    with pytest.raises(LLMError, match="is empty"):
        prune(tiny, tmp_path / "out2", str(short))
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="nothing in it is touched"):
        prune(tiny, tmp_path / "mine", text, force=True)
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    shard = min(broken.glob("model-*.safetensors"))
    raw = shard.read_bytes()
    shard.unlink()
    with pytest.raises(LLMError, match=r"lacks the shard model-0"):
        prune(broken, tmp_path / "out3", text)
    shard.write_bytes(raw[:-10])
    with pytest.raises(LLMError, match="cannot be read as safetensors"):
        prune(broken, tmp_path / "out4", text)
    shard.write_bytes(raw)
    config = json.loads((broken / "config.json").read_text())
    (broken / "config.json").write_text(json.dumps({**config, "quantization_config": {}}))
    with pytest.raises(LLMError, match="quantised or compressed"):
        prune(broken, tmp_path / "out5", text)


def test_weights_that_are_not_finite_are_named(tmp_path, text):
    folder = write_model(tmp_path / "m")
    model = load(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.up_proj.weight[0, 0] = float("nan")
    model.save_pretrained(folder)
    with pytest.raises(LLMError, match=r"layers\.1\.mlp\.up_proj\.weight holds NaN"):
        prune(folder, tmp_path / "out", text)


def test_few_tokens_are_warned_of(tiny, tmp_path, text):
    with pytest.warns(llm.FewTokensWarning, match="48 calibration tokens are fewer than twice"):
        prune(tiny, tmp_path / "out", text, update="ls", samples=3)


def test_activations_that_are_not_finite_are_named(tmp_path, text):
    folder = write_model(tmp_path / "m")
    model = load(folder)
    with torch.no_grad():
        model.model.layers[1].mlp.gate_proj.weight.mul_(1e38)
        model.model.layers[1].mlp.up_proj.weight.mul_(1e38)
    model.save_pretrained(folder)
    with pytest.raises(LLMError, match=r"layers\.1\.mlp\.down_proj are not finite"):
        prune(folder, tmp_path / "out", text)


def test_layers_that_share_a_weight_are_refused(tiny, monkeypatch, tmp_path):
    frame = Skeleton(ModelFolder(tiny), torch.device("cpu"))
    frame.blocks[0].mlp.gate_proj.weight = frame.blocks[0].mlp.up_proj.weight
    with pytest.raises(LLMError, match="share one weight"):
        frame.layers(0)
    match = Skeleton._match

    def tied(self):
        found = match(self)
        name = "model.layers.{}.mlp.up_proj.weight"
        return {**found, name.format(2): found[name.format(1)]}

    monkeypatch.setattr(Skeleton, "_match", tied)
    with pytest.raises(LLMError, match=r"layers\.2\.mlp\.up_proj and .*1.* share one weight"):
        prune(tiny, tmp_path / "out", criterion="magnitude")


def test_integer_weights_are_refused_by_name(tmp_path):
    folder = write_model(tmp_path / "m")
    stored = load_file(folder / "model.safetensors")
    name = "model.layers.1.mlp.up_proj.weight"
    save_file({**stored, name: stored[name].to(torch.int8)}, folder / "model.safetensors")
    with pytest.raises(LLMError, match=r"layers\.1\.mlp\.up_proj\.weight is stored as I8"):
        prune(folder, tmp_path / "out", criterion="magnitude")


def test_where_memory_runs_out_is_said(tiny, monkeypatch, tmp_path, text):
    from extremal.llm import _stream

    for error in (MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 1 B")):

        def fail(*_, error=error):
            raise error

        monkeypatch.setattr(_stream, "prune_layer", fail)
        with pytest.raises(LLMError, match=r"memory ran out at the layer .*0\.self_attn\.q_proj"):
            prune(tiny, tmp_path / type(error).__name__, text)


@pytest.mark.parametrize("granularity", ["matrix", "block"])
def test_the_targets_of_a_reconstruction_differ_where_the_chains_do(
    granularity, tiny, tmp_path, text
):
    found = {}
    for targets in ("sparse", "dense", "sparse_to_dense"):
        prune(tiny, tmp_path / targets, text, pattern="0.6", repair="reconstruct", epochs=1,
              targets=targets, granularity=granularity)  # fmt: skip
        found[targets] = tensors(tmp_path / targets)
    first, later = "model.layers.0.self_attn.q_proj.weight", "model.layers.2.mlp.up_proj.weight"
    for one, two in (("sparse", "dense"), ("dense", "sparse_to_dense"),
                     ("sparse", "sparse_to_dense")):  # fmt: skip
        # In the first block all three see the same inputs and outputs.
        assert torch.equal(found[one][first], found[two][first])
        assert not torch.equal(found[one][later], found[two][later])
