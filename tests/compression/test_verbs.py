"""sweep, compress and export, from Python and from the shell."""

import json
from itertools import pairwise

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")
pytest.importorskip("sklearn")

from extremal import cli, compression, pruning, training, verify


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dense")
    return training.fit(model="cnn", epochs=2, threads=1, out=folder / "run")


def test_sweep_measures_and_never_changes_the_network(dense, tmp_path):
    before = training.weights_digest(dense.model)
    curve = compression.sweep(dense, ratios=(0.5, 0.9), out=tmp_path / "curve", threads=1)
    assert training.weights_digest(dense.model) == before
    assert {(p.kind, p.ratio) for p in curve.points} == {
        (k, r) for k in ("unstructured", "filters", "lowrank") for r in (0.5, 0.9)
    }
    for kind in ("unstructured", "filters", "lowrank"):
        assert curve[kind, 0.5].parameters > curve[kind, 0.9].parameters
        assert curve[kind, 0.5].distance < curve[kind, 0.9].distance
    # each point is what compress makes
    small = compression.compress(dense, kind="filters", ratio=0.5, threads=1)
    assert small.after["parameters"] == curve["filters", 0.5].parameters
    assert small.after["macs"] == curve["filters", 0.5].macs
    assert small.accuracy["recalibrated"] == pytest.approx(curve["filters", 0.5].accuracy, abs=0.01)
    best = curve.pareto()
    assert all(a.accuracy < b.accuracy for a, b in pairwise(best))
    verdict = verify.file(tmp_path / "curve")
    assert verdict.accepted
    assert len(verdict.parts) == 1 + 2 * 6
    assert (tmp_path / "curve" / "report.html").exists()
    assert (tmp_path / "curve" / "figures" / "curve.svg").exists()


def test_a_sweep_is_taken_up_where_it_stopped(dense, tmp_path, monkeypatch):
    from extremal.compression import _sweep

    whole = compression.sweep(dense, kinds=("unstructured",), ratios=(0.5, 0.9), threads=1)
    real, calls = _sweep.accuracy_of, []

    def dies(*arguments):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(_sweep, "accuracy_of", dies)
    options = {"kinds": ("unstructured",), "ratios": (0.5, 0.9), "threads": 1}
    with pytest.raises(KeyboardInterrupt):
        compression.sweep(dense, out=tmp_path / "c", **options)
    monkeypatch.setattr(_sweep, "accuracy_of", lambda *a: calls.append(1) or real(*a))
    calls.clear()
    found = compression.sweep(dense, out=tmp_path / "c", resume=True, **options)
    assert len(calls) == 1
    assert [p.accuracy for p in found.points] == [p.accuracy for p in whole.points]


@pytest.mark.parametrize("kind", ["unstructured", "filters", "lowrank"])
def test_compress_writes_what_the_checker_accepts(dense, tmp_path, kind):
    result = compression.compress(dense, kind=kind, target="3x macs", out=tmp_path / kind)
    assert result.before["nonzero_macs"] >= 3 * result.after["nonzero_macs"]
    verdict = verify.file(tmp_path / kind)
    assert verdict.accepted, verdict.reason
    again = compression.compress(
        dense, kind=kind, target="3x macs", out=tmp_path / kind, resume=True
    )
    assert again.as_json() == result.as_json()
    x = torch.randn(2, 1, 8, 8)
    with torch.no_grad():
        assert torch.equal(again.model(x), result.model(x))


def test_latency_targets_are_measured_or_refused(dense):
    with pytest.raises(ValueError, match=r"out of reach .* on this machine: the dense network"):
        compression.compress(dense, kind="filters", target="10000x latency")


def test_export_says_what_is_left(dense, tmp_path):
    small = compression.compress(dense, kind="unstructured", ratio=0.9, out=tmp_path / "small")
    found = compression.export(
        tmp_path / "small", out=tmp_path / "deploy", batches=(1, 2), repeats=3, dense="eager",
        int8=True, threads=1,
    )  # fmt: skip
    assert verify.file(tmp_path / "deploy").accepted
    assert found.files["model.packed"] < 0.2 * found.dense_bytes
    assert found.files["int8.packed"] < found.files["model.packed"]
    assert found.reloaded == 0.0
    assert 0 < found.difference < 1.0  # 8 bits
    assert set(found.latency["after"]) == {1, 2}
    assert found.memory["before"] >= 0
    loaded = compression.load(tmp_path / "deploy")
    x = torch.randn(3, 1, 8, 8)
    with torch.no_grad():
        torch.testing.assert_close(loaded(x), found.model(x))
    assert small.accuracy["recalibrated"] == pytest.approx(found.accuracy["before"])
    runtime = pytest.importorskip("onnxruntime")
    session = runtime.InferenceSession(str(tmp_path / "deploy" / "model.onnx"))
    (scores,) = session.run(None, {"input": x.numpy()})
    with torch.no_grad():
        torch.testing.assert_close(torch.from_numpy(scores), loaded(x), atol=1e-4, rtol=1e-4)


def test_a_pruned_run_goes_on(dense, tmp_path):
    pruned = pruning.prune(dense, sparsity=0.8, epochs=1, threads=1, out=tmp_path / "p80")
    for source in (pruned, tmp_path / "p80"):
        data = dense.data if source is pruned else None
        again = compression.compress(source, data, kind="unstructured", ratio=0.9)
        assert again.before["nonzero"] < 0.25 * again.before["parameters"]
        assert again.after["nonzero"] < again.before["nonzero"]
    with pytest.raises(compression.CompressionError, match="changes no number"):
        compression.compress(pruned, dense.data, kind="unstructured", ratio=0.5)


@pytest.mark.slow
def test_export_of_a_network_of_ones_own(tmp_path):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)).eval()
    small = compression.compress(model, kind="unstructured", ratio=0.98, shape=(256,))
    found = compression.export(
        small, out=tmp_path / "d", batches=(4,), repeats=3, dense="eager", onnx=False
    )
    assert [k.layer for k in found.kernels] == ["0"]  # the last one has 2,560 weights: too few
    assert json.loads((tmp_path / "d" / "kernels.json").read_text())["sparse"] == [
        k.layer for k in found.kernels if k.kept
    ]
    assert "model.onnx" not in found.files
    again = compression.export(
        small, out=tmp_path / "d", batches=(4,), repeats=3, dense="eager", onnx=False, resume=True
    )
    assert again.as_json() == found.as_json()


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["compress", "RUN", "--kind", "filters"], "give a ratio"),
        (["compress", "RUN", "--target", "3 macs"], "write a factor"),
        (["compress", "RUN", "--target", "1e9x macs"], "cannot be read"),
        (["compress", "RUN", "--target", "100000x macs"], "out of reach for filters"),
        (["sweep", "RUN", "--kinds", "blocks"], "no kind 'blocks'"),
        (["sweep", "RUN", "--ratios", "1.5"], "not in [0, 1)"),
        (["sweep", "nowhere"], "is not a run folder"),
        (["export", "RUN"], "give out"),
        (["export", "RUN", "--target", "tpu"], "target='tpu'"),
        (["export", "RUN", "--pattern", "3:2", "--out", "OUT"], "with 0 < N < M"),
        (["export", "RUN", "--target", "cuda", "--out", "OUT"], "finds none"),
    ],
)
def test_bad_input_is_one_line_and_exit_2(dense, tmp_path, capsys, words, text):
    if "cuda" in words and torch.cuda.is_available():
        pytest.skip("there is a CUDA device here")
    words = [
        str(dense.path) if w == "RUN" else str(tmp_path / "o") if w == "OUT" else w for w in words
    ]
    assert cli.main(["compression", *words]) == 2
    found = capsys.readouterr()
    assert text in found.err
    assert len([line for line in found.err.splitlines() if line.startswith("extremal: ")]) == 1
