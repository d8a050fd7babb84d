"""Masks do not depend on the device; the verb runs on a GPU."""

import copy

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


@pytest.fixture(scope="module")
def dense():
    return training.fit(model="resnet20", epochs=1, device="cuda", train_size=256)


@pytest.mark.parametrize("executor", ["serial", "processes", "vmap"])
def test_a_soup_on_a_gpu(tmp_path, dense, executor):
    result = pruning.soup(
        dense, sparsity=0.8, phases=2, epochs=2, members=2, compare=True, corrupt=20, basin=1,
        executor=executor, workers=2, batch_size=32, device="cuda", graph=executor == "serial",
        out=tmp_path / "run",
    )  # fmt: skip
    assert len(result.rows) == 9
    assert verify.file(tmp_path / "run").status == "accepted"


@pytest.mark.parametrize("method", ["gmp", "dpf", "dst", "str", "gsm", "dnw", "lc", "cs"])
def test_pruning_while_training_also_with_recorded_steps(method):
    data = training.load_data("digits").subset(512)

    def run(graph):
        return pruning.prune(
            None, data, model="cnn", method=method, epochs=3, sparsity=0.8, device="cuda",
            graph=graph, on_layer_collapse="allow",
        )  # fmt: skip

    one, two = run(False), run(True)
    # The same method on the same batches; rounding moves a few masks and a few answers.
    assert abs(one.accuracy - two.accuracy) < 0.15
    assert abs(one.sparsity - two.sparsity) < 0.05


def test_stacked_members_agree_with_separate_ones():
    data = training.load_data("digits").subset(5 * 32)
    start = training.network("resnet20", in_channels=1, classes=10, image_size=8).cuda().double()
    loops = [training.LoopConfig(batch_size=32, seed=s, device="cuda") for s in (1, 2)]
    apart, together = ([copy.deepcopy(start) for _ in loops] for _ in range(2))

    def step(model, batch):
        return torch.nn.functional.cross_entropy(model(batch[0].double()), batch[1])

    for model, loop in zip(apart, loops, strict=True):
        training.train(model, data, epochs=1, lr=[0.01] * 5, loop=loop, training_step=step)
    pruning.train_stacked(together, data, epochs=1, lr=[[0.01] * 5] * 2, loops=loops)
    for one, two in zip(apart, together, strict=True):
        for a, b in zip(one.parameters(), two.parameters(), strict=True):
            assert torch.allclose(a, b, atol=1e-9)
