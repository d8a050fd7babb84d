"""Channels are cut out of every coupling pattern, and the result is the masked twin's."""

import copy

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")

from networks import NAMED, SHAPE, ZOO, Branching, Constant, Normed, make

from extremal import compression, training
from extremal.compression._cut import applied
from extremal.compression._filters import CRITERIA, Filters


def _filters(model, shape, **options):
    made = training.traced(model, shape)
    macs = {n: layer.macs for n, layer in training.count_macs(made, shape).items()}
    return made, Filters(made, macs, training.channel_groups(made, shape), **options)


@pytest.mark.parametrize("name", [*ZOO, *NAMED])
@pytest.mark.parametrize("ratio", [0.3, 0.7])
def test_a_sliced_network_is_its_masked_twin(name, ratio):
    model, shape = make(name)
    made, filters = _filters(model, shape)
    cut = filters.at(ratio)
    small = training.Slicer(made, shape).cut(cut.detail["removed"])
    x = torch.randn(5, *shape)
    with torch.no_grad():
        with applied(made, cut) as twin:
            expected = twin(x)
        found = small(x)
        whole = model(x)
    # float32 sums in another order, relative to the largest output
    assert float((found - expected).abs().max()) <= 1e-5 * max(1.0, float(expected.abs().max()))
    assert float((whole - expected).abs().max()) > 1e-3  # the cut did something
    assert cut.parameters == sum(p.numel() for p in small.parameters())
    assert cut.macs == sum(m.macs for m in training.count_macs(small, shape).values())


def test_zero_padded_shortcuts_lose_channels_on_both_sides():
    """torch-pruning alone pads by the old numbers and fails in the forward pass."""
    model, shape = make("resnet56")
    made, filters = _filters(model, shape)
    groups = {g.name: g for g in filters.groups}
    wide = [g for g in filters.groups if any(m.side == "map-out" for m in g.members)]
    narrow = groups["conv1"]
    assert [m.side for m in narrow.members].count("map-in") == 1
    assert len(wide) == 2
    small = training.Slicer(made, shape).cut({"conv1": [0, 3, 15], wide[0].name: [8, 11, 31]})
    sources = small.get_submodule("channel_map_0").source.tolist()
    # 32 channels without 8, 11 and 31; channels 8..23 came from 0..15, of which 13 are left
    kept = [c for c in range(32) if c not in (8, 11, 31)]
    left = [c for c in range(16) if c not in (0, 3, 15)]
    assert sources == [left.index(c - 8) if c - 8 in left else -1 for c in kept]


def test_grouped_convolutions_lose_the_same_from_every_block():
    model, shape = make("separable")
    _, filters = _filters(model, shape)
    blocks = {g.name: g.blocks for g in filters.groups}
    assert blocks["point"] == blocks["grouped"] == 4
    assert blocks["stem"] == 1
    gone = filters.at(0.5).detail["removed"]["grouped"]
    assert sorted(c % 4 for c in gone) == sorted([c % 4 for c in gone[:2]] * 4)


@pytest.mark.parametrize("criterion", CRITERIA)
def test_each_criterion_ranks_as_it_says(criterion):
    torch.manual_seed(0)
    model = nn.Sequential(
        nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(3, 2)
    ).eval()
    with torch.no_grad():
        model[0].weight.copy_(torch.tensor([1.0, -3.0, 1.1]).reshape(3, 1, 1, 1))
        model[1].weight.copy_(torch.tensor([2.0, 0.1, 1.0]))

    def loss(m):
        return m(torch.ones(1, 1, 1, 1)).sum()

    _, filters = _filters(model, (1, 1, 1), criterion=criterion, losses=loss)
    gone = filters.at(1 / 3).detail["removed"]["0"]
    if criterion == "taylor":
        parameters = dict(filters.model.named_parameters())
        (grad,) = torch.autograd.grad(loss(filters.model), [parameters["0.weight"]])
        expected = int((grad * parameters["0.weight"]).abs().flatten().argmin())
    elif criterion == "random":
        expected = int(
            torch.rand(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64).argmin()
        )
    else:
        # fpgm: 1.0 is 4 and 0.1 away, 1.1 is 0.1 and 4.1 away, -3 is 4 and 4.1 away
        expected = {"l1": 0, "l2": 0, "bn": 1, "fpgm": 0}[criterion]
    assert gone == [expected]


def test_multiples_are_kept_and_no_group_dies():
    model, shape = make("resnet20")
    _, filters = _filters(model, shape, multiple=8)
    removed = filters.at(0.6).detail["removed"]
    for group in filters.groups:
        assert (group.channels - len(removed[group.name])) % 8 == 0
    _, filters = _filters(model, shape, scope="global")
    removed = filters.at(0.99).detail["removed"]
    assert all(len(removed[g.name]) < g.channels for g in filters.groups)


def test_more_ratio_removes_a_superset():
    model, shape = make("resnet20")
    _, filters = _filters(model, shape)
    before = filters.at(0.2).detail["removed"]
    for ratio in (0.4, 0.6, 0.9):
        after = filters.at(ratio).detail["removed"]
        assert all(set(before[n]) <= set(after[n]) for n in before)
        before = after


@pytest.mark.parametrize("network", [Constant, Normed])
def test_what_cannot_be_sliced_keeps_its_size_and_names_the_layer(network):
    torch.manual_seed(0)
    model = network().eval()
    shape = (6,) if network is Normed else SHAPE
    before = copy.deepcopy(model.state_dict())
    with pytest.warns(compression.MaskedInsteadWarning, match=r"conv|one"):
        result = compression.compress(model, kind="filters", ratio=0.5, shape=shape)
    assert result.status == "masked"
    assert result.exit_code == 3
    assert result.after["parameters"] == result.before["parameters"]
    assert result.after["nonzero"] < result.before["nonzero"]
    assert all(torch.equal(t, model.state_dict()[n]) for n, t in before.items())


def test_a_network_that_cannot_be_traced_is_masked():
    torch.manual_seed(0)
    with pytest.warns(compression.MaskedInsteadWarning, match="Branching cannot be written"):
        result = compression.compress(Branching(), kind="filters", ratio=0.5, shape=SHAPE)
    assert result.status == "masked"
    weight = dict(result.model.named_parameters())["conv.weight"]
    assert int((weight.flatten(1) != 0).any(1).sum()) == 3
    with pytest.raises(compression.CompressionError, match="a target needs"):
        compression.compress(Branching(), kind="filters", target="2x macs", shape=SHAPE)
