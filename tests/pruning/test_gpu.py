"""Masks do not depend on the device; the verb runs on a GPU."""

import pytest
import torch

from extremal import pruning, training, verify

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.mark.parametrize(
    ("selector", "sparsity"),
    [("global", 0.9), ("lamp", 0.9), ("erk", 0.9), ("random", 0.9), ("2:4", 0.5), ("filter", 0.5)],
)
def test_masks_are_identical_across_devices(selector, sparsity):
    model = training.network("resnet20", in_channels=3, classes=10, image_size=32)
    weights = pruning.prunable_weights(model)
    here = {name: weight.detach() for name, weight in weights.items()}
    there = {name: weight.cuda() for name, weight in here.items()}
    options = {"skip": True, "on_layer_collapse": "allow"}
    one = pruning.select(here, sparsity, selector, **options)
    two = pruning.select(there, sparsity, selector, **options)
    assert all(mask.equal(two[name].cpu()) for name, mask in one.items())


@pytest.mark.parametrize("method", ["bimp", "gmp", "cs"])
def test_the_verb_on_a_gpu(tmp_path, method):
    result = pruning.prune(
        None, training.load_data("digits"), model="cnn", method=method, epochs=4, sparsity=0.8,
        phases=2 if method == "bimp" else 1, device="cuda", on_layer_collapse="allow",
        out=tmp_path / "run",
    )  # fmt: skip
    assert result.masks.size > 0
    assert verify.file(tmp_path / "run").status == "accepted"
