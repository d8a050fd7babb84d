"""On a GPU the same happens as on a CPU: masks, solvers, repairs, retraining, evaluation, resuming.

Tolerances: a GPU adds in another order, so scores differ in their last bits and a mask may differ
where two scores are equal up to that; counts are exact everywhere.
"""

import pytest
import torch

from extremal import llm, verify
from extremal.lab import derive_seed
from extremal.llm import _adapters, _criteria, _prune, _retrain, _sparsegpt, _stream
from extremal.llm._admm import admm
from extremal.llm._alps import alps
from extremal.llm._bits import pack_bits
from extremal.llm._dsnot import refine
from extremal.llm._folder import ModelFolder
from extremal.llm._least_squares import layer_error, least_squares
from extremal.llm._load import open_sparse
from extremal.llm._pattern import Pattern
from extremal.llm._statistics import InputStatistics
from extremal.training import load_tensors

from .conftest import write_model

pytestmark = pytest.mark.gpu


def problem(o=96, d=192, tokens=600, dtype=torch.float32):
    """A weight and correlated inputs, one of them always zero."""
    generator = torch.Generator().manual_seed(o + d)
    X = torch.randn(tokens, d, generator=generator) @ torch.randn(d, d, generator=generator)
    X = X / X.std()
    X[:, 5] = 0
    return torch.randn(o, d, generator=generator), X.to(dtype)


def share_equal(one, two):
    return float((one.cpu() == two.cpu()).double().mean())


@pytest.mark.parametrize("pattern", ["0.5", "0.7", "2:4", "1:4", "4:8", "8:16"])
@pytest.mark.parametrize("group", ["row", "tensor"])
def test_selection_is_the_same_bit_for_bit(pattern, group):
    W, _ = problem()
    for scores in (W.abs(), (4 * W.abs()).round(), torch.zeros_like(W)):  # plain, ties, all equal
        p = Pattern.parse(pattern)
        assert torch.equal(
            _criteria.select(scores, p, group), _criteria.select(scores.cuda(), p, group).cpu()
        )


def test_packed_masks_are_the_same():
    mask = torch.rand(7, 21, generator=torch.Generator().manual_seed(0)) > 0.4
    assert torch.equal(pack_bits(mask), pack_bits(mask.cuda()))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_statistics_against_double_precision(dtype):
    _, X = problem(dtype=dtype)
    sums = InputStatistics.empty(X.shape[1], gram=True, device=torch.device("cuda"))
    for part in X.cuda().split(100):
        sums.add(part)
    wide = X.double()
    for found, wanted in (
        (sums.gram(2), wide.T @ wide),
        (sums.squares, wide.square().sum(0)),
        (sums.total, wide.sum(0)),
    ):
        apart = (found.double().cpu() - wanted).norm() / wanted.norm()
        assert apart < 1e-5, float(apart)  # float32 sums; products of short numbers are exact


@pytest.mark.parametrize("criterion", ["magnitude", "random", "wanda", "ria"])
@pytest.mark.parametrize("pattern", ["0.5", "2:4"])
def test_masks_of_scores_agree(criterion, pattern):
    W, X = problem()
    norms = X.square().sum(0)
    p = Pattern.parse(pattern)
    masks = []
    for device in ("cpu", "cuda"):
        random = torch.Generator().manual_seed(3)
        s = _criteria.score(criterion, W.to(device), norms.to(device), generator=random)
        masks.append(_criteria.select(s, p, _criteria.DEFAULT_GROUP[criterion]))
    assert int(masks[0].sum()) == int(masks[1].sum())
    assert share_equal(*masks) > 0.999


@pytest.mark.parametrize("pattern", ["0.5", "2:4", "4:8", "0.7"])
@pytest.mark.parametrize("shape", [(96, 192), (50, 200), (256, 384)])
def test_sparsegpt_in_the_kernel_is_sparsegpt(pattern, shape):
    W, X = problem(*shape)
    H = X.T @ X
    p = Pattern.parse(pattern)
    cpu = _sparsegpt.sweep(W, H, p)
    gpu = _sparsegpt.sweep(W.cuda(), H.cuda(), p)
    assert _sparsegpt._kernel(W.cuda(), H.cuda(), p, 128) is not None
    assert int(cpu.keep.sum()) == int(gpu.keep.sum())
    assert share_equal(cpu.keep, gpu.keep) > 0.995  # an early tie moves later columns
    assert not bool(gpu.weight[~gpu.keep].any())
    one, two = layer_error(cpu.weight, W, H), layer_error(gpu.weight.cpu(), W, H)
    assert two == pytest.approx(one, rel=0.02)
    # The same in the eager loop and in the kernel, on one device and one mask.
    given = _sparsegpt.sweep(W, H, Pattern.parse(0), keep=gpu.keep.cpu())
    torch.testing.assert_close(given.weight, gpu.weight.cpu(), rtol=2e-2, atol=2e-2)
    assert gpu.error == pytest.approx(given.error, rel=1e-3)


def test_every_element_of_a_slab_is_written_and_rows_are_independent():
    from extremal.llm._slab import sweep_slab

    W, X = problem(70, 128)
    U = _sparsegpt.factor_of((X.T @ X).cuda(), 0.01)[0]
    keep = (torch.rand(70, 128, generator=torch.Generator().manual_seed(1)) > 0.5).cuda()
    whole, mask = W.cuda(), keep.clone()
    errors = sweep_slab(whole, mask, U, 0, 128, 0, 0)
    assert bool(torch.isfinite(errors).all())
    for rows in ([3], list(range(20, 59))):
        part, here = W[rows].cuda(), keep[rows].clone()
        alone = sweep_slab(part, here, U, 0, 128, 0, 0)
        assert torch.equal(alone, errors[rows])
        assert torch.equal(part, whole[rows])


@pytest.mark.parametrize("solver", ["ls", "admm", "alps", "dsnot"])
def test_updates_agree(solver):
    W, X = problem()
    H = X.T @ X
    keep = _criteria.select(W.abs(), Pattern.parse("0.5"))
    found = []
    for device in ("cpu", "cuda"):
        w, h, k = W.to(device), H.to(device), keep.to(device)
        if solver == "ls":
            found.append(least_squares(w, h, k, damping=0.01)[0])
        elif solver == "admm":
            found.append(admm(w, h, pattern=Pattern.parse("0.5"))[0])
        elif solver == "alps":
            found.append(alps(w, h, pattern=Pattern.parse("2:4"))[0])
        else:
            x = X.to(device)
            found.append(
                w * refine(
                    w, k, mean=x.mean(0), variance=x.var(0), norms=x.square().sum(0),
                    pattern=Pattern.parse("0.5"),
                )
            )  # fmt: skip
    one, two = (layer_error(f.cpu(), W, H) for f in found)
    assert two == pytest.approx(one, rel=0.03)
    assert int((found[0] == 0).sum()) == int((found[1] == 0).sum())


RUNS = {
    "wanda": {},
    "2:4": {"pattern": "2:4"},
    "owl-dsnot": {"criterion": "owl", "refine": "dsnot"},
    "sparsegpt": {"criterion": "sparsegpt"},
    "least-squares": {"update": "ls"},
    "block": {"repair": "reconstruct", "epochs": 2},
    "attn-mlp": {"repair": "reconstruct", "granularity": "attn_mlp", "train": ("mask_lora",)},
    "matrix": {"repair": "reconstruct", "granularity": "matrix"},
    "two": {"repair": "reconstruct", "granularity": "2", "targets": "sparse", "epochs": 1},
}


def contents(folder):
    return {
        p.name: p.read_bytes() for p in folder.iterdir() if p.suffix in (".safetensors", ".json")
    }


@pytest.mark.parametrize("how", RUNS)
def test_pruned_folders_agree(tiny, tmp_path, text, how):
    options = {"samples": 8, "window": 32, "calibration": text, **RUNS[how]}
    cpu = llm.prune(tiny, out=tmp_path / "cpu", **options)
    gpu = llm.prune(tiny, out=tmp_path / "gpu", device="cuda", **options)
    assert verify.file(gpu.path).accepted
    assert [x.pruned for x in gpu.layers] == [x.pruned for x in cpu.layers]
    masks = [load_tensors(p / "run" / "masks.safetensors") for p in (cpu.path, gpu.path)]
    bits = [torch.cat([m[n].flatten() for n in sorted(m)]) for m in masks]
    # Bytes of eight weights; later blocks see the rounding of earlier ones, magnified by Adam.
    assert share_equal(*bits) > (0.85 if "repair" in options else 0.97)
    losses = [
        llm.evaluate(p, text=text, window=32, device=d).losses
        for p, d in ((cpu.path, "cpu"), (gpu.path, "cuda"))
    ]
    middle = [sum(x) / len(x) for x in losses]
    assert middle[0] == pytest.approx(middle[1], rel=0.02)


@pytest.mark.parametrize("how", ["owl-dsnot", "sparsegpt", "matrix"])
def test_where_activations_lie_changes_nothing(tiny, tmp_path, text, how):
    options = {"samples": 8, "window": 32, "calibration": text, "device": "cuda", **RUNS[how]}
    for where in ("device", "file"):
        llm.prune(tiny, out=tmp_path / where, activations=where, **options)
    assert contents(tmp_path / "device") == contents(tmp_path / "file")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_half_precision(tmp_path, text, dtype, family):
    model = write_model(tmp_path / "model", family, dtype)
    result = llm.prune(
        model, out=tmp_path / "out", device="cuda", criterion="sparsegpt", repair="reconstruct",
        samples=8, window=32, calibration=text, epochs=1,
    )  # fmt: skip
    assert verify.file(result.path).accepted
    assert result.pruned == sum(x.size // 2 for x in result.layers)
    assert all(r.after <= r.before for unit in result.units for r in unit.repairs)
    for layer in ModelFolder(result.path).tensors.values():
        assert layer.torch_dtype == dtype


@pytest.mark.parametrize("at", [2, 5, 8])
def test_a_run_that_breaks_off_goes_on_to_the_same_bytes(tiny, tmp_path, text, monkeypatch, at):
    options = {
        "samples": 8, "window": 32, "calibration": text, "device": "cuda", "criterion": "sparsegpt",
    }  # fmt: skip  # no training: the attention's backward pass adds in any order
    llm.prune(tiny, out=tmp_path / "whole", **options)
    calls = 0

    def stop(_):
        nonlocal calls
        calls += 1
        if calls == at:
            raise KeyboardInterrupt

    monkeypatch.setattr(_stream, "crash_point", stop)
    with pytest.raises(KeyboardInterrupt):
        llm.prune(tiny, out=tmp_path / "broken", **options)
    monkeypatch.undo()
    llm.prune(tiny, out=tmp_path / "broken", resume=True, **options)
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")


@pytest.mark.parametrize("train", [("norm",), ("mask_lora", "norm"), ("scale_lora",), ("full",)])
def test_retraining_agrees(tiny, tmp_path, text, train):
    parent = llm.prune(tiny, out=tmp_path / "parent", criterion="magnitude").path
    options = {"train": train, "text": text, "steps": 8, "batch_size": 4, "window": 32}
    cpu = llm.retrain(parent, out=tmp_path / "cpu", **options)
    gpu = llm.retrain(parent, out=tmp_path / "gpu", device="cuda", **options)
    assert verify.file(gpu.path).accepted
    assert gpu.losses == pytest.approx(cpu.losses, rel=0.01)
    assert gpu.sparsity == cpu.sparsity


def test_retraining_with_checkpoints_resumes(tiny, tmp_path, text, monkeypatch):
    parent = llm.prune(tiny, out=tmp_path / "parent", criterion="magnitude").path
    options = {
        "train": ("mask_lora", "norm"), "text": text, "steps": 6, "batch_size": 2, "window": 32,
        "save_every": 2, "device": "cuda", "checkpointing": True,
    }  # fmt: skip
    whole = llm.retrain(parent, out=tmp_path / "whole", **options)

    def stop(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(_retrain, "_crash_point", stop)
    with pytest.raises(KeyboardInterrupt):
        llm.retrain(parent, out=tmp_path / "broken", **options)
    monkeypatch.undo()
    gone_on = llm.retrain(parent, out=tmp_path / "broken", resume=True, **options)
    assert gone_on.losses == pytest.approx(whole.losses, rel=1e-3)  # attention adds atomically


@pytest.mark.parametrize("kind", [k for k in _adapters.KINDS if k != "lora"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_adapters_on_a_gpu(kind, dtype):
    results = []
    for device in ("cpu", "cuda"):
        torch.manual_seed(0)
        layer = torch.nn.Linear(64, 48, dtype=dtype)
        mask = torch.rand(48, 64) > 0.5
        with torch.no_grad():
            layer.weight.masked_fill_(~mask, 0)
        layer, mask = layer.to(device), mask.to(device)
        random = torch.Generator().manual_seed(derive_seed(0, "adapter"))
        adapted = _adapters.AdaptedLinear(layer, kind, mask, rank=4, generator=random, tile=1000)
        with torch.no_grad():
            adapted.B.add_(0.05 * torch.randn(adapted.B.shape).to(device))
        x = torch.randn(5, 64).to(device, dtype).requires_grad_()
        adapted(x).float().square().sum().backward()
        results.append([t.grad.float().cpu() for t in (x, adapted.A, adapted.B)])
        assert not bool(adapted.merged()[~mask].any())
    for one, two in zip(*results, strict=True):
        tolerance = 1e-4 if dtype == torch.float32 else 5e-2
        assert (one - two).norm() <= tolerance * one.norm()


def test_memory_of_a_gpu_holds_the_model_once(tiny, tmp_path, text):
    parent = llm.prune(tiny, out=tmp_path / "parent", criterion="magnitude").path
    settings = llm.RetrainConfig(train=("norm",), text=text, steps=1, window=32, device="cuda")
    torch.cuda.empty_cache()
    before = torch.cuda.memory_allocated()
    ready = _retrain.prepare(open_sparse(parent), settings, "some text " * 200)
    size = sum(p.numel() * p.element_size() for p in ready.network.parameters())
    session = _retrain._Session(ready.network, ready.sparse, settings, None)
    assert session.count > 0
    # Beyond the weights: buffers, and blocks of 512 bytes that are not full.
    assert torch.cuda.memory_allocated() - before < 1.5 * size


def test_devices_are_named():
    assert _prune.device_of("cuda").type == "cuda"
