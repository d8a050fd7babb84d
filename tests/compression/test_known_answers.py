"""The specification's numbers, and properties."""

import copy

import pytest
import torch
from torch import nn

pytest.importorskip("torch_pruning")

from networks import make

from extremal import compression, pruning, training
from extremal.compression._low_rank import LowRank
from extremal.compression._target import Target
from extremal.compression._unstructured import Unstructured


def _macs(model, shape):
    return {n: layer.macs for n, layer in training.count_macs(model, shape).items()}


@pytest.mark.parametrize(
    ("name", "parameters", "macs"),
    [
        ("resnet18", 11_173_962, 555_422_720),
        ("resnet56", 853_018, 125_485_696),
        ("vgg16-bn", 14_728_266, 313_201_664),
    ],
)
def test_counts_of_the_networks(name, parameters, macs):
    model = training.network(name, in_channels=3, classes=10, image_size=32)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(_macs(model, (3, 32, 32)).values()) == macs


def test_valid_convolutions_count_their_true_outputs():
    model = nn.Sequential(nn.Conv2d(1, 32, 3), nn.Conv2d(32, 64, 3))
    assert sum(_macs(model, (1, 28, 28)).values()) == 10_811_520


def test_rank_of_a_half():
    """64 x 64 x 3 x 3 at ratio 0.5: rank 32, 20,480 weights; from rank 57 on nothing is saved."""
    model = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False))
    low = LowRank(model, _macs(model, (64, 4, 4)))
    assert low.ranks(0.5) == {"0": 32}
    assert low.at(0.5).parameters == 20_480
    assert low.worth("0", 57)  # 57 * 640 = 36,480 < 36,864
    assert not low.worth("0", 58)
    assert low.ranks(0.05) == {}  # rank 60 would enlarge the layer


@pytest.mark.parametrize(
    "conv",
    [
        nn.Conv2d(6, 12, 3, stride=2, padding=1),
        nn.Conv2d(6, 12, 3, padding=2, dilation=2, bias=False),
        nn.Conv2d(6, 12, (3, 1), padding=(1, 0)),
        nn.Conv2d(6, 4, 3, padding=1, padding_mode="reflect"),
    ],
    ids=["stride", "dilation", "asymmetric", "reflect"],
)
@pytest.mark.parametrize("balanced", [False, True])
def test_full_rank_gives_the_same_outputs(conv, balanced):
    torch.manual_seed(0)
    model = nn.Sequential(copy.deepcopy(conv)).eval()
    low = LowRank(model, _macs(model, (6, 9, 9)), balanced=balanced)
    rank = min(low.sides("0"))
    two = low.factorised(training.traced(model, (6, 9, 9)), {"0": rank})
    x = torch.randn(3, 6, 9, 9)
    with torch.no_grad():
        assert float((two(x) - model(x)).abs().max()) < 1e-5


def test_the_truncation_is_the_best_of_its_rank():
    torch.manual_seed(0)
    for shape in ((20, 30), (30, 20)):
        model = nn.Sequential(nn.Linear(shape[1], shape[0]))
        weight = model[0].weight.detach().double()
        low = LowRank(model, _macs(model, (shape[1],)))
        s = torch.linalg.svdvals(weight)
        for balanced in (False, True):
            low.balanced = balanced
            left, right = low.halves("0", 5)
            # Eckart and Young: the error of the best approximation is the tail of s
            error = float((left @ right - weight).norm())
            assert error == pytest.approx(float(s[5:].norm()), rel=1e-9)


def test_energy_keeps_the_smallest_rank_that_suffices():
    model = nn.Sequential(nn.Linear(8, 8, bias=False))
    values = torch.tensor([3.0, 2.0, 1.0, 0.5, 0.1, 0.1, 0.1, 0.1])
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(values))
    low = LowRank(model, _macs(model, (8,)), rule="energy")
    total = float(values.square().sum())
    assert low.ranks(1 - 13 / total - 1e-9) == {"0": 2}  # 9 + 4
    assert low.ranks(1 - 13.01 / total) == {"0": 3}


def test_a_budget_is_spent_where_a_value_buys_most():
    model = nn.Sequential(nn.Linear(10, 10, bias=False), nn.Linear(10, 10, bias=False))
    with torch.no_grad():
        model[0].weight.copy_(torch.diag(torch.tensor([9.0, 8, 7, 6, 1, 1, 1, 1, 1, 1])))
        model[1].weight.copy_(torch.diag(torch.tensor([5.0, 2, 1, 1, 1, 1, 1, 1, 1, 1])))
    low = LowRank(model, _macs(model, (10,)))
    assert low.within(60, "params") == {"0": 2, "1": 1}
    assert low.within(100, "params") == {"0": 4, "1": 1}
    # A layer for which a rank of 5 would cost all of it stays dense where the budget allows.
    assert low.within(140, "params") == {"1": 2}
    with pytest.raises(ValueError, match="rank 1 in every layer still needs 40"):
        low.within(39, "params")
    for budget in range(40, 201, 7):
        cut = low.with_ranks(low.within(budget, "params"))
        assert cut.parameters <= budget


def test_masks_are_exact_nested_and_idempotent():
    model, shape = make("cnn")
    masks = {}
    macs = _macs(model, shape)
    for ratio in (0.3, 0.6, 0.9):
        operator = Unstructured(model, macs)
        masks[ratio] = operator.masks(ratio)
        assert masks[ratio].pruned == round(ratio * masks[ratio].size)
        chosen = pruning.select(operator.weights, ratio)
        assert all(torch.equal(masks[ratio][n], chosen[n]) for n in chosen)
    assert masks[0.9].within(masks[0.6])
    assert masks[0.6].within(masks[0.3])
    cut = operator.at(0.9)
    twin = copy.deepcopy(model)
    twin.load_state_dict({**model.state_dict(), **cut.values})
    again = Unstructured(twin, macs).at(0.9)
    assert all(torch.equal(again.values[n], cut.values[n]) for n in cut.values)


@pytest.mark.parametrize(
    ("text", "keep", "unit"),
    [
        ("3x macs", 1 / 3, "macs"),
        ("0.4x params", 0.4, "params"),
        (" 2.5x  latency ", 0.4, "latency"),
    ],
)
def test_targets(text, keep, unit):
    assert Target.parse(text) == Target(keep, unit)


@pytest.mark.parametrize(
    "text", ["3 macs", "x macs", "3x flops", "1x macs", "0x params", "-2x macs"]
)
def test_targets_that_say_nothing(text):
    with pytest.raises(ValueError, match="target"):
        Target.parse(text)


@pytest.mark.parametrize("kind", ["unstructured", "filters", "lowrank"])
@pytest.mark.parametrize("target", ["2x macs", "4x macs", "0.3x params"])
def test_a_target_is_reached_and_hardly_overshot(kind, target):
    model, shape = make("resnet20")
    result = compression.compress(model, kind=kind, target=target, shape=shape)
    wanted = Target.parse(target)
    name = {"macs": "nonzero_macs", "params": "nonzero"}[wanted.unit]
    share = result.after[name] / result.before[name]
    assert wanted.keep * 0.8 < share <= wanted.keep  # channels of a layer of 16 are coarse steps


@pytest.mark.parametrize("kind", ["unstructured", "filters", "lowrank"])
def test_a_target_out_of_reach_says_the_minimum(kind):
    model, shape = make("cnn")
    with pytest.raises(ValueError, match=r"out of reach.*still needs [\d,]+"):
        compression.compress(model, kind=kind, target="100000x macs", shape=shape)


def test_recalibrating_twice_gives_the_same_statistics():
    data = training.load_data("digits")
    model, _ = make("cnn")
    training.recalibrate(model, data)
    first = {n: b.clone() for n, b in model.named_buffers()}
    training.recalibrate(model, data)
    assert all(torch.equal(first[n], b) for n, b in model.named_buffers())


def test_nothing_to_cut_is_an_error():
    torch.manual_seed(0)
    zero = nn.Sequential(nn.Linear(4, 4))
    nn.init.zeros_(zero[0].weight)
    with pytest.raises(compression.CompressionError, match="changes no number"):
        compression.compress(zero, kind="unstructured", ratio=0.5, shape=(4,))
    with pytest.raises(compression.CompressionError, match="no channels that can be removed"):
        compression.compress(nn.Sequential(nn.Linear(4, 4)), kind="filters", ratio=0.5, shape=(4,))
    grouped = nn.Sequential(nn.Conv2d(4, 4, 3, groups=2))
    with pytest.raises(compression.CompressionError, match="no layer that can be cut"):
        compression.compress(grouped, kind="lowrank", ratio=0.5, shape=(4, 5, 5))
    with pytest.raises(compression.CompressionError, match="0 is a grouped convolution"):
        compression.compress(grouped, kind="lowrank", ratio=0.5, shape=(4, 5, 5), include=("0",))


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"ratio": 1.0}, "not in"),
        ({"ratio": -0.1}, "not in"),
        ({"ratio": 0.5, "target": "2x macs"}, "contradict"),
        ({}, "give a ratio"),
        ({"ratio": 0.5, "kind": "blocks"}, "no kind 'blocks'"),
        ({"ratio": 0.5, "criterion": "size"}, "criterion='size'"),
        ({"ratio": 0.5, "rule": "x"}, "rule='x'"),
        ({"ratio": 0.5, "multiple": 0}, "multiple=0"),
        ({"ratio": 0.5, "scope": "lamp"}, "scope='lamp' is unknown for filters"),
        ({"ratio": 0.5, "recalibrate": 2.0}, "recalibrate=2.0"),
        ({"ratio": 0.5, "criterion": "taylor"}, "'taylor' needs training data"),
        ({"ratio": 0.5, "shape": (0,)}, "below 1"),
    ],
)
def test_senseless_options_are_refused(options, text):
    model, shape = make("cnn")
    with pytest.raises(ValueError, match=text):
        compression.compress(model, **{"shape": shape, **options})


def test_a_bare_network_needs_a_shape():
    with pytest.raises(ValueError, match="shape of one input is unknown"):
        compression.compress(nn.Linear(4, 4), ratio=0.5)


def test_not_finite_weights_are_refused():
    for kind in ("unstructured", "filters", "lowrank"):
        model, shape = make("cnn")
        with torch.no_grad():
            model.features[4].weight[0, 0, 0, 0] = float("nan")
        with pytest.raises((compression.CompressionError, pruning.PruningError), match="NaN"):
            compression.compress(model, kind=kind, ratio=0.5, shape=shape)


def test_a_compression_never_changes_its_input():
    model, shape = make("cnn")
    before = {n: t.clone() for n, t in model.state_dict().items()}
    for kind in ("unstructured", "filters", "lowrank"):
        compression.compress(model, kind=kind, ratio=0.5, shape=shape)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
