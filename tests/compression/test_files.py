"""Networks as data, packed tensors, kernels: what goes in comes out."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

pytest.importorskip("torch_pruning")

from networks import NAMED, SHAPE, ZOO, Branching, make

from extremal import compression, training
from extremal.compression._architecture import load_network, save_network
from extremal.compression._int8 import int8_file, restored, rounded
from extremal.compression._packed import pack_tensors, unpack_tensors
from extremal.compression._sparse_linear import SparseLinear, with_sparse_kernels
from extremal.verify._recomputed import _packed_tensors
from extremal.verify._recomputed._compression_shapes import follow


@pytest.mark.parametrize("name", [*ZOO, *NAMED])
def test_a_network_comes_back_without_its_class(name, tmp_path):
    model, shape = make(name)
    x = torch.randn(3, *shape)
    architecture = save_network(tmp_path, model, shape)
    back, found = load_network(tmp_path)
    assert found == shape
    with torch.no_grad():
        assert torch.equal(back(x), model(x))
    assert compression.describe(back, shape) == architecture
    # The checker follows the same shapes and counts the same MACs, without torch.
    network = follow(json.loads((tmp_path / "architecture.json").read_text()))
    assert network.output[1:] == tuple(model(x).shape[1:])
    assert network.macs == {n: m.macs for n, m in training.count_macs(back, shape).items()}


def test_a_fresh_process_gives_the_same_outputs(tmp_path):
    model, shape = make("resnet20")
    small = compression.compress(model, kind="filters", ratio=0.5, shape=shape, out=tmp_path / "s")
    x = torch.randn(3, *shape)
    training.save_tensors(tmp_path / "x.safetensors", {"x": x})
    code = (
        "import sys, torch\n"
        "from extremal import compression, training\n"
        "m = compression.load(sys.argv[1]); x = training.load_tensors(sys.argv[2])['x']\n"
        "with torch.no_grad(): y = m(x)\n"
        "training.save_tensors(sys.argv[3], {'y': y})\n"
    )
    words = [tmp_path / "s", tmp_path / "x.safetensors", tmp_path / "y.safetensors"]
    subprocess.run([sys.executable, "-c", code, *map(str, words)], check=True)
    with torch.no_grad():
        assert torch.equal(training.load_tensors(tmp_path / "y.safetensors")["y"], small.model(x))


def test_what_a_file_cannot_hold_is_named():
    with pytest.raises(compression.CompressionError, match="the layer 1 of type Bilinear"):
        compression.describe(
            torch.fx.GraphModule(
                nn.ModuleDict({"0": nn.Linear(2, 2), "1": nn.Bilinear(2, 2, 2)}), _bilinear()
            ),
            (2,),
        )
    with pytest.raises(compression.CompressionError, match="the operation cos"):
        compression.describe(_Cosine(), (2,))
    with pytest.raises(training.TrainingError, match="Branching cannot be written"):
        compression.describe(Branching(), SHAPE)


class _Cosine(nn.Module):
    def forward(self, x):
        return torch.cos(x)


def _bilinear():
    graph = torch.fx.Graph()
    x = graph.placeholder("x")
    y = graph.call_module("1", (graph.call_module("0", (x,)),))
    graph.output(y)
    return graph


def test_changed_files_are_refused(tmp_path):
    model, shape = make("cnn")
    save_network(tmp_path, model, shape)
    file = tmp_path / "architecture.json"
    whole = file.read_text()
    for change in (('"conv2d"', '"convolution"'), ('"out_channels": 64', '"out_channels": 63')):
        file.write_text(whole.replace(*change))
        with pytest.raises(compression.CompressionError):
            load_network(tmp_path)
    file.write_text(whole.replace('"version": 1', '"version": 2'))
    with pytest.raises(compression.CompressionError, match="export the network again"):
        load_network(tmp_path)
    file.write_text(whole[:100])
    with pytest.raises(compression.CompressionError, match="damaged"):
        load_network(tmp_path)
    with pytest.raises(compression.CompressionError, match="holds no network"):
        load_network(tmp_path / "nowhere")


DTYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int8]


@pytest.mark.parametrize("dtype", [*DTYPES, torch.bool], ids=str)
@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.9, 0.999, 1.0])
def test_packing_keeps_every_bit(dtype, sparsity):
    torch.manual_seed(0)
    x = (100 * torch.randn(37, 101)).to(dtype)
    x[torch.rand(37, 101) < sparsity] = 0
    tensors = {"x": x, "scalar": torch.tensor(3), "none": torch.zeros(0, 4)}
    data = pack_tensors(tensors)
    back = unpack_tensors(data)
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert back[name].shape == tensor.shape
        assert torch.equal(back[name], tensor)
    checked = _packed_tensors.read(data)  # the checker's own reader
    bits = x.contiguous().view(-1).view(torch.uint8).numpy().tobytes()
    assert checked["x"][2].tobytes() == bits


@settings(max_examples=60)
@given(
    bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50),
    gaps=st.lists(st.integers(0, 1100), min_size=1, max_size=50),
)
def test_packing_keeps_odd_numbers_and_long_gaps(bits, gaps):
    """Negative zeros, NaNs with payloads, denormals; runs of more than 255 zeros."""
    count = min(len(bits), len(gaps))
    flat = np.zeros(sum(gaps[:count]) + count + 7, np.uint32)
    flat[np.cumsum(np.array(gaps[:count]) + 1) - 1] = bits[:count]
    x = torch.from_numpy(flat.view(np.float32).copy())
    data = pack_tensors({"x": x})
    assert unpack_tensors(data)["x"].numpy().tobytes() == flat.tobytes()
    assert _packed_tensors.read(data)["x"][2].tobytes() == flat.tobytes()


def test_a_pruned_file_is_a_tenth():
    """1024 x 1024 at 90 %: the specification's bitmask needs 550,504 bytes; this is smaller."""
    torch.manual_seed(0)
    w = torch.randn(1024, 1024)
    kept = 104_858
    threshold = w.abs().flatten().kthvalue(w.numel() - kept).values
    w[w.abs() <= threshold] = 0
    assert int((w != 0).sum()) == kept
    bitmask = w.numel() // 8 + 4 * kept
    assert bitmask == 550_504
    data = pack_tensors({"w": w})
    assert len(data) < 0.10 * 4 * w.numel() < bitmask
    assert torch.equal(unpack_tensors(data)["w"], w)


def test_damaged_packed_files_are_refused():
    data = pack_tensors({"w": torch.randn(50, 50)})
    for bad in (data[:-1], data + b"x", b"no" + data[2:], data[:30] + b"\0\0" + data[32:]):
        with pytest.raises(compression.CompressionError, match="packed file"):
            unpack_tensors(bad)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 8, 13, 33, 70])
def test_the_sparse_kernel_multiplies(batch, bias):
    pytest.importorskip("numba")
    torch.manual_seed(batch)
    linear = nn.Linear(150, 90, bias=bias)
    with torch.no_grad():
        linear.weight[torch.rand(90, 150) < 0.9] = 0
        linear.weight[7] = 0  # an output without weights
    sparse = SparseLinear(linear)
    assert sparse.nonzero == int((linear.weight != 0).sum())
    x = torch.randn(batch, 150)
    with torch.no_grad():
        # float32 sums of about 15 products of size 1 in another order
        torch.testing.assert_close(sparse(x), linear(x), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(
            sparse(x[:, None].expand(-1, 3, -1)), linear(x[:, None].expand(-1, 3, -1)),
            atol=1e-5, rtol=1e-5,
        )  # fmt: skip


def test_threads_change_nothing():
    pytest.importorskip("numba")
    torch.manual_seed(0)
    sparse = SparseLinear(nn.Linear(600, 500))  # enough weights for several parts
    x = torch.randn(9, 600)
    with training.threads_used(1):
        expected = sparse(x), sparse(x[:1])
    with training.threads_used(3):
        assert torch.equal(sparse(x), expected[0])
        assert torch.equal(sparse(x[:1]), expected[1])


def test_kernels_are_kept_where_they_won_only(monkeypatch):
    from extremal.compression import _sparse_linear

    torch.manual_seed(0)

    def network():
        model = nn.Sequential(nn.Linear(128, 64), nn.ReLU(), nn.Linear(64, 128), nn.Linear(128, 64))
        with torch.no_grad():
            model[0].weight[torch.rand(64, 128) < 0.9] = 0
            model[3].weight[torch.rand(64, 128) < 0.9] = 0
        return model.eval()

    for seconds, kept in (((2.0, 1.0), True), ((1.0, 1.0), False)):
        monkeypatch.setattr(_sparse_linear, "_paired", lambda *_, s=seconds: s)
        model, found = with_sparse_kernels(network(), (128,), (1, 8), 3)
        assert [k.layer for k in found] == ["0", "3"]  # the middle one is dense
        assert [k.kept for k in found] == [kept] * 2
        assert isinstance(model[0], SparseLinear) == kept
    times = iter([(2.0, 1.0), (1.0, 2.0)] * 2)
    monkeypatch.setattr(_sparse_linear, "_paired", lambda *_: next(times))
    _, found = with_sparse_kernels(network(), (128,), (1, 8), 3)
    assert not any(k.kept for k in found)  # slower at one of the batches


def test_int8_restores_its_weights_and_zeros():
    model, _ = make("cnn")
    with torch.no_grad():
        model.features[4].weight[torch.rand_like(model.features[4].weight) < 0.9] = 0
    before = {n: t.clone() for n, t in model.state_dict().items()}
    found = rounded(model)
    stored = unpack_tensors(int8_file(model, found))
    for name, (integers, scale) in found.items():
        weight = model.state_dict()[name]
        again = restored(stored[name], stored[f"{name}.scale"]).reshape(weight.shape)
        assert torch.equal(again, weight)
        assert torch.equal(weight == 0, integers == 0)
        assert bool((weight[before[name] == 0] == 0).all())
        # half a step of each row's scale
        assert bool(
            ((weight - before[name]).abs().flatten(1) <= 0.5001 * scale.reshape(-1, 1)).all()
        )


def test_projection_to_two_of_four():
    layer = nn.Linear(12, 1, bias=False)
    row = [4.0, -3.0, 2.0, 1.0, 0.0, 0.0, 5.0, 0.0, 1.0, 1.0, 1.0, 1.0]
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([row]))
    found = compression.project(nn.Sequential(layer), "2:4")
    assert layer.weight.tolist() == [[4, -3, 0, 0, 0, 0, 5, 0, 0, 0, 1, 1]]
    assert (found.before, found.after) == (9, 5)


@pytest.mark.parametrize(("density", "cost"), [(0.5, 0.1875), (0.1, 0.0095)])
def test_projection_costs_what_the_specification_says(density, cost):
    torch.manual_seed(0)
    layer = nn.Linear(2048, 1024, bias=False)
    with torch.no_grad():
        layer.weight[torch.rand(1024, 2048) >= density] = 0
    # 2 M weights at random places: the standard error of the share is under 0.0005
    assert compression.project(nn.Sequential(layer), "2:4").lost == pytest.approx(cost, abs=1.5e-3)


def test_a_pattern_that_fits_nothing_is_refused():
    with pytest.raises(compression.CompressionError, match="fits no layer"):
        compression.project(nn.Sequential(nn.Linear(3, 2)), "2:4")
    with pytest.raises(ValueError, match="write N:M with 0 < N < M"):
        compression.project(nn.Sequential(nn.Linear(4, 2)), "half")
