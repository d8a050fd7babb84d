"""Masks, the prunable set, and the numbers that pruning is judged by."""

import math

import pytest
import torch
from torch import nn

from extremal import pruning, training
from extremal.pruning._metrics import (
    macs_on_nonzero,
    norm_drop,
    parameter_sparsity,
    pruning_instability,
    recovery,
    theoretical_speedup,
)


class Zoo(nn.Module):
    """One of everything, with an output layer tied to the embedding."""

    def __init__(self):
        """Tie the last layer."""
        super().__init__()
        self.embed = nn.Embedding(7, 6)
        self.conv = nn.Conv1d(6, 4, 3)
        self.norm = nn.LayerNorm(4)
        self.batch = nn.BatchNorm1d(4)
        self.shared = nn.Linear(4, 4)
        self.again = self.shared
        self.attention = nn.MultiheadAttention(4, 2)
        self.head = nn.Linear(6, 7)
        self.head.weight = self.embed.weight


def names(model, **options):
    return list(pruning.prunable_weights(model, **options))


def test_only_linear_and_convolutional_weights_are_prunable():
    assert names(Zoo()) == ["conv.weight", "shared.weight", "attention.out_proj.weight"]


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"exclude": ("conv",)}, ["shared.weight", "attention.out_proj.weight"]),
        ({"exclude": ("again",)}, ["conv.weight", "attention.out_proj.weight"]),
        ({"include": ("head",)}, ["embed.weight"]),
        ({"include": ("attention.*", "conv")}, ["conv.weight", "attention.in_proj_weight"]),
    ],
    ids=str,
)
def test_layers_are_named_by_module_parameter_or_glob(options, expected):
    assert set(expected) <= set(names(Zoo(), **options))


@pytest.mark.parametrize("pattern", ["norm", "conv.bias", "nothing"])
def test_biases_and_norms_are_refused_even_by_name(pattern):
    with pytest.raises(ValueError, match="matches no weight"):
        names(Zoo(), include=(pattern,))


def test_nothing_to_prune_is_an_error():
    with pytest.raises(ValueError, match="no prunable weight"):
        names(nn.BatchNorm1d(3))


@pytest.mark.parametrize(
    ("name", "size", "parameters", "prunable", "macs"),
    [
        ("resnet20", 32, 269_722, 268_336, 40_551_040),
        ("resnet18", 32, 11_173_962, 11_164_352, 555_422_720),
    ],
)
def test_known_prunable_counts(name, size, parameters, prunable, macs):
    model = training.network(name, in_channels=3, classes=10, image_size=size)
    weights = pruning.prunable_weights(model)
    assert sum(p.numel() for p in model.parameters()) == parameters
    assert sum(w.numel() for w in weights.values()) == prunable
    dense, kept = macs_on_nonzero(
        model, training.count_macs(model, (3, size, size)), pruning.Masks.dense(weights)
    )
    assert dense == kept == macs


@pytest.mark.parametrize(
    "make",
    [
        lambda p: torch.optim.SGD(p, lr=0.1, momentum=0.9, weight_decay=0.01, nesterov=True),
        lambda p: torch.optim.AdamW(p, lr=0.1),
        lambda p: torch.optim.RMSprop(p, lr=0.1, momentum=0.9),
    ],
    ids=["sgd", "adamw", "rmsprop"],
)
def test_pruned_weights_never_revive_and_leave_no_momentum(make):
    torch.manual_seed(0)
    model = nn.Linear(6, 5)
    optimizer = make(model.parameters())
    for masked in (False, True):  # first dense, so that momentum is there to be removed
        masks = pruning.select({"weight": model.weight}, 0.6 if masked else 0.0)
        masks.write_zeros(model)
        enforcer = pruning.MaskEnforcer(model, masks, optimizer)
        for _ in range(5):
            model.zero_grad()
            model(torch.randn(8, 6)).square().sum().backward()
            enforcer.mask_gradients()
            optimizer.step()
            enforcer.mask_weights()
            gone = ~masks["weight"]
            assert (model.weight[gone] == 0).all()
            assert (model.weight.grad[gone] == 0).all()
            for buffer in optimizer.state[model.weight].values():
                if buffer.shape == model.weight.shape:
                    assert (buffer[gone] == 0).all()


def test_masks_refuse_what_they_do_not_fit():
    masks = pruning.Masks({"weight": torch.ones(2, 2, dtype=torch.bool)})
    with pytest.raises(ValueError, match="fits no parameter"):
        masks.write_zeros(nn.Linear(3, 2))
    with pytest.raises(ValueError, match=r"masks are torch\.bool"):
        pruning.Masks({"weight": torch.ones(2)})


def test_sparsity_over_prunable_weights_and_over_all_parameters_differ():
    model = nn.Linear(3, 2)
    with torch.no_grad():
        model.weight.copy_(torch.arange(1.0, 7).reshape(2, 3))
        model.bias.fill_(1.0)
    masks = pruning.select({"weight": model.weight}, 0.5)
    masks.write_zeros(model)
    assert masks.sparsity == 0.5
    assert parameter_sparsity(model) == 3 / 8


def test_norm_drop_is_of_the_removed_weights():
    model = nn.Linear(4, 1)
    with torch.no_grad():
        model.weight.copy_(torch.tensor([[1.0, -2, 3, -4]]))
        model.bias.fill_(math.sqrt(20))
    first = pruning.select({"weight": model.weight}, 0.5)
    drop = norm_drop(model, None, first, "prunable")
    assert drop.rho == pytest.approx(math.sqrt(5 / 30))
    assert drop.d1 == pytest.approx(0.577350, abs=5e-7)
    assert norm_drop(model, None, first, "all").rho == pytest.approx(math.sqrt(5 / 50))
    first.write_zeros(model)
    second = pruning.select({"weight": model.weight}, 0.75, masks=first)
    drop = norm_drop(model, first, second, "prunable")
    assert (drop.removed, drop.removed_fraction) == (1, 0.5)
    assert drop.rho == pytest.approx(3 / 5)
    with pytest.raises(ValueError, match="norm_scope is 'some'"):
        norm_drop(model, None, first, "some")


def test_theoretical_speedup_weighs_layers_by_their_macs():
    model = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(32, 4))
    macs = training.count_macs(model, (1, 6, 6))  # 18 * 16 = 288 and 128
    masks = {"0.weight": torch.zeros(2, 1, 3, 3, dtype=torch.bool)}
    masks["0.weight"][0] = True
    assert theoretical_speedup(model, macs, masks) == pytest.approx(416 / (144 + 128))


def test_instability_and_recovery():
    assert pruning_instability(0.8, 0.6) == pytest.approx(0.25)
    assert recovery(0.8, 0.6, 0.75) == pytest.approx(0.75)
    assert recovery(0.8, 0.8, 0.9) is None
