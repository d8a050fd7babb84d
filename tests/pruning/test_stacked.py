"""Members trained as one program: equal to separate trainings."""

import copy

import pytest
import torch
from torch import nn
from torch.nn.functional import cross_entropy

from extremal import pruning, training
from extremal.pruning._retrain import KeepMasks
from extremal.training import LoopConfig


@pytest.fixture(scope="module")
def data():
    return training.load_data("digits", train_size=160, augment="crop")


def network(dtype):
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.BatchNorm2d(6), nn.ReLU(),
        nn.Conv2d(6, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6), nn.ReLU(),
        nn.AvgPool2d(4), nn.Flatten(), nn.Linear(24, 12), nn.BatchNorm1d(12), nn.ReLU(),
        nn.Linear(12, 10),
    ).to(dtype)  # fmt: skip


def step(model, batch):
    images, labels = batch
    return cross_entropy(model(images.to(next(model.parameters()).dtype)), labels)


def both(data, dtype, epochs, loops, lr):
    """Train separately and stacked from the same start; return the two lists of networks."""
    start = network(dtype)
    masks = pruning.select(pruning.prunable_weights(start), 0.7)
    masks.write_zeros(start)
    apart = [copy.deepcopy(start) for _ in loops]
    for model, loop, rates in zip(apart, loops, lr, strict=True):
        training.train(
            model, data, epochs=epochs, lr=rates, loop=loop, hooks=[KeepMasks(masks)],
            training_step=step,
        )  # fmt: skip
    stacked = [copy.deepcopy(start) for _ in loops]
    histories = pruning.train_stacked(stacked, data, epochs=epochs, lr=lr, loops=loops, masks=masks)
    return apart, stacked, histories, masks


def worst(apart, stacked):
    found = 0.0
    for one, two in zip(apart, stacked, strict=True):
        for (name, a), (other, b) in zip(
            one.state_dict().items(), two.state_dict().items(), strict=True
        ):
            assert name == other
            if not a.is_floating_point():
                assert a.equal(b)  # the counters of batches
            else:
                found = max(found, float((a - b).abs().max()))
    return found


SETTINGS = [
    {},
    {"momentum": 0.0, "weight_decay": 0.0},
    {"nesterov": False},
    {"clip_norm": 0.5},
    {"label_smoothing": 0.0, "optimizer": "adamw"},
]


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_twenty_steps_in_float64_agree_to_1e_9(data, settings):
    loops = [LoopConfig(batch_size=32, seed=j, threads=1, **settings) for j in range(3)]
    lr = [training.schedule("linear", 20, 0.001 if "optimizer" in settings else 0.1)] * 3
    apart, stacked, _, masks = both(data, torch.float64, 4, loops, lr)
    assert worst(apart, stacked) < 1e-9
    for model in stacked:
        state = model.state_dict()
        assert all((state[n][~mask] == 0).all() for n, mask in masks.items())


def test_five_steps_in_float32_agree_to_1e_5(data):
    loops = [LoopConfig(batch_size=32, seed=j, threads=1) for j in range(3)]
    apart, stacked, histories, _ = both(data, torch.float32, 1, loops, [[0.1] * 5] * 3)
    assert worst(apart, stacked) < 1e-5
    assert len({h.loss for h in histories}) == 3


def test_rates_and_decays_of_their_own(data):
    loops = [LoopConfig(batch_size=32, seed=1, threads=1, weight_decay=d) for d in (0.0, 1e-3, 0.1)]
    lr = [[0.02 * (j + 1)] * 10 for j in range(3)]
    apart, stacked, _, _ = both(data, torch.float64, 2, loops, lr)
    # nesterov is on by default where there is decay; the stack decides for all members at once.
    assert worst(apart[1:], stacked[1:]) < 1e-9


def test_members_do_not_touch_each_other(data):
    loops = [LoopConfig(batch_size=32, seed=j, threads=1) for j in range(3)]
    _, three, _, _ = both(data, torch.float64, 1, loops, [[0.1] * 5] * 3)
    _, swapped, _, _ = both(data, torch.float64, 1, loops[::-1], [[0.1] * 5] * 3)
    assert worst(three, swapped[::-1]) < 1e-12


def test_an_interrupted_stack_goes_on_to_the_same_bits(data, tmp_path):
    loops = [LoopConfig(batch_size=32, seed=j) for j in range(2)]
    lr = [[0.1] * 15] * 2
    whole = [network(torch.float32) for _ in loops]
    pruning.train_stacked(whole, data, epochs=3, lr=lr, loops=loops)

    class Stop(Exception):
        pass

    calls = []

    def breaks(outputs, labels):
        calls.append(1)
        if len(calls) == 8:
            raise Stop
        return cross_entropy(outputs, labels)

    file = tmp_path / "stack.safetensors"
    part = [network(torch.float32) for _ in loops]
    with pytest.raises(Stop):
        pruning.train_stacked(
            part, data, epochs=3, lr=lr, loops=loops, loss=breaks, checkpoint=file
        )
    assert file.exists()
    pruning.train_stacked(part, data, epochs=3, lr=lr, loops=loops, checkpoint=file)
    for one, two in zip(whole, part, strict=True):
        assert all(
            a.equal(b)
            for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
        )


def test_what_cannot_be_stacked_is_refused(data):
    models = [network(torch.float32) for _ in range(2)]
    loops = [LoopConfig(batch_size=32), LoopConfig(batch_size=16)]
    with pytest.raises(ValueError, match="seed and weight decay only"):
        pruning.train_stacked(models, data, epochs=1, lr=[[0.1] * 5] * 2, loops=loops)
    loops = [LoopConfig(optimizer="adamw", weight_decay=d) for d in (0.1, 0.2)]
    with pytest.raises(ValueError, match="adamw"):
        pruning.train_stacked(models, data, epochs=1, lr=[[0.1] * 2] * 2, loops=loops)
    with pytest.raises(ValueError, match="learning rates"):
        pruning.train_stacked(
            models, data, epochs=1, lr=[[0.1]] * 2, loops=[LoopConfig(batch_size=32)] * 2
        )


def test_a_diverging_member_is_named(data):
    loops = [LoopConfig(batch_size=32, seed=j, momentum=0.0) for j in range(2)]
    models = [network(torch.float32) for _ in loops]
    with pytest.raises(training.TrainingError, match="member 2"):
        pruning.train_stacked(models, data, epochs=2, lr=[[0.01] * 10, [1e30] * 10], loops=loops)
