"""Recorded steps of members on a GPU: equal to separate trainings there."""

import copy

import pytest
import torch
from torch import nn

from extremal import pruning, training
from extremal.pruning._retrain import KeepMasks
from extremal.training import LoopConfig

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]


@pytest.fixture(scope="module")
def data():
    return training.load_data("digits", train_size=160, augment="crop")


def network(dtype):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, 10),
    ).to("cuda", dtype)  # fmt: skip


def step(model, batch):
    images, labels = batch
    return nn.functional.cross_entropy(model(images.to(next(model.parameters()).dtype)), labels)


@pytest.mark.parametrize("settings", [{}, {"momentum": 0.0}, {"clip_norm": 0.5}], ids=str)
@pytest.mark.parametrize(
    ("dtype", "epochs", "bound"), [(torch.float64, 4, 1e-9), (torch.float32, 1, 1e-5)], ids=str
)
@pytest.mark.parametrize("graph", ["", "vmap", "streams"])
def test_members_agree_with_separate_trainings(data, graph, dtype, epochs, bound, settings):
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False  # its rounding differs between kernels
    try:
        start = network(dtype)
        masks = pruning.select(pruning.prunable_weights(start), 0.7)
        masks.write_zeros(start)
        loops = [LoopConfig(batch_size=32, seed=j, device="cuda", **settings) for j in range(3)]
        lr = [[0.05 * (j + 1)] * (5 * epochs) for j in range(3)]
        apart = [copy.deepcopy(start) for _ in loops]
        for model, loop, rates in zip(apart, loops, lr, strict=True):
            training.train(
                model, data, epochs=epochs, lr=rates, loop=loop, hooks=[KeepMasks(masks)],
                training_step=step,
            )  # fmt: skip
        together = [copy.deepcopy(start) for _ in loops]
        pruning.train_stacked(
            together, data, epochs=epochs, lr=lr, loops=loops, masks=masks, graph=graph
        )
    finally:
        torch.backends.cudnn.allow_tf32 = before
    for one, two in zip(apart, together, strict=True):
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True):
            assert float((a.double() - b.double()).abs().max()) < bound
        state = two.state_dict()
        assert all((state[n][~mask] == 0).all() for n, mask in masks.items())
