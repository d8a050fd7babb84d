"""Graphs of networks and their dependency groups."""

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")

from extremal import training
from extremal.training import ChannelMap, TrainingError


def test_padding_of_channels_becomes_a_map():
    model = training.network("resnet20", in_channels=3, classes=10, image_size=16).eval()
    made = training.traced(model, (3, 16, 16))
    maps = [m for m in made.modules() if isinstance(m, ChannelMap)]
    assert [(m.in_channels, len(m.source)) for m in maps] == [(16, 32), (32, 64)]
    assert maps[0].source.tolist() == [-1] * 8 + list(range(16)) + [-1] * 8
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert torch.equal(made(x), model(x))
    assert set(made.state_dict()) - set(model.state_dict()) == {
        "channel_map_0.source",
        "channel_map_1.source",
    }


def test_other_padding_stays():
    class Padded(nn.Module):
        def forward(self, x):
            return nn.functional.pad(nn.functional.pad(x, (1, 1)), (0, 0, 0, 0, 1, 1), value=2.0)

    made = training.traced(Padded(), (1, 4, 4))
    assert not any(isinstance(m, ChannelMap) for m in made.modules())


def test_a_map_takes_and_zeroes_channels():
    x = torch.randn(2, 3, 4, 4)
    y = ChannelMap(torch.tensor([2, -1, 0]), 3)(x)
    assert torch.equal(y[:, 0], x[:, 2])
    assert torch.equal(y[:, 2], x[:, 0])
    assert not y[:, 1].any()


def test_groups_of_a_residual_network():
    model = training.network("resnet20", in_channels=3, classes=10, image_size=16)
    groups = {g.name: g for g in training.channel_groups(model, (3, 16, 16))}
    first = groups["conv1"]
    assert first.channels == 16
    assert [m.layer for m in first.filters()] == [
        "conv1", *(f"stages.0.{i}.conv2" for i in range(3))
    ]  # fmt: skip
    assert "linear" not in {m.layer for g in groups.values() for m in g.filters()}
    assert len(groups) == 12  # three residual streams and nine inner convolutions


def test_a_branch_on_values_cannot_be_traced():
    class Branch(nn.Module):
        def forward(self, x):
            return x if x.sum() > 0 else -x

    with pytest.raises(TrainingError, match="Branch cannot be written down as a graph"):
        training.traced(Branch(), (3,))
