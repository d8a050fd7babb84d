"""Retraining few parameters: what is named changes, the rest does not, zeros stay."""

import copy

import pytest
import torch
from torch import nn

from extremal import pruning, training, verify
from extremal.pruning import ADAPTERS, Masks, PruningError, SoupConfig, few_trainable
from extremal.pruning._perp import retrained_groups


class Small(nn.Module):
    """A convolution with its norm, and two linear layers."""

    def __init__(self):
        """Random weights."""
        super().__init__()
        self.conv = nn.Conv2d(1, 6, 3, padding=1)
        self.norm = nn.BatchNorm2d(6)
        self.hidden = nn.Linear(6 * 64, 16)
        self.last = nn.Linear(16, 10)

    def forward(self, x):
        """Return the logits."""
        x = self.norm(self.conv(x)).relu()
        return self.last(self.hidden(x.flatten(1)).relu())


def pruned_network(seed=0):
    torch.manual_seed(seed)
    model = Small().eval()
    weights = pruning.prunable_weights(model)
    masks = pruning.select(weights, 0.6)
    masks.write_zeros(model)
    return model, masks


def changed(model, before):
    return {n for n, v in model.state_dict().items() if not torch.equal(v, before[n])}


@pytest.mark.parametrize(
    ("groups", "wanted"),
    [
        ("bias", {"conv.bias", "norm.bias", "hidden.bias", "last.bias"}),
        ("norm", {"norm.weight", "norm.bias"}),
        ("head", {"last.weight", "last.bias"}),
        ("norm head", {"norm.weight", "norm.bias", "last.weight", "last.bias"}),
        ("mask_lora", {"conv.weight", "hidden.weight", "last.weight"}),
        ("scale_lora norm", {"conv.weight", "hidden.weight", "last.weight", "norm.weight",
                             "norm.bias"}),
        ("hira head", {"conv.weight", "hidden.weight", "last.weight", "last.bias"}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # sets have no order
)  # fmt: skip
def test_only_what_is_named_changes(groups, wanted):
    model, masks = pruned_network()
    before = copy.deepcopy(model.state_dict())
    x, y = torch.randn(32, 1, 8, 8), torch.arange(32) % 10
    with few_trainable(model, groups.split(), masks, rank=2, alpha=2) as count:
        parameters = [p for p in model.parameters() if p.requires_grad]
        assert count == sum(p.numel() for p in parameters)
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
    if "head" in groups:
        masks.write_zeros(model)
    assert changed(model, before) == wanted
    assert list(model.state_dict()) == list(before)
    assert all(p.requires_grad for p in model.parameters())
    assert all(not p.detach()[~masks[n]].any() for n, p in model.named_parameters() if n in masks)


@pytest.mark.parametrize("kind", [k for k in ADAPTERS if k not in ("lora", "lora_prune")])
def test_the_start_is_the_network_and_the_merge_computes_the_same(kind):
    model, masks = pruned_network()
    x = torch.randn(5, 1, 8, 8)
    start = model(x)
    with few_trainable(model, [kind], masks, rank=4):
        torch.testing.assert_close(model(x), start)  # BA = 1 of scale_lora is rounded
        with torch.no_grad():
            for p in model.parameters():
                if p.requires_grad:
                    p.add_(0.2 * torch.randn(p.shape))
        adapted = model(x).detach()
    assert not torch.allclose(adapted, start, atol=1e-3)
    torch.testing.assert_close(model(x), adapted)


def test_an_adapter_of_a_convolution_is_that_of_its_flattened_weight():
    model, masks = pruned_network()
    W = model.conv.weight.detach().clone()
    with few_trainable(model, ["mask_lora"], masks, rank=2, alpha=4):
        made = model.conv.parametrizations.weight[0]
        with torch.no_grad():
            made.B.copy_(torch.randn(made.B.shape))
        wanted = W.flatten(1) + 2 * masks["conv.weight"].flatten(1) * (made.B @ made.A)
    torch.testing.assert_close(model.conv.weight.flatten(1), wanted)


def test_refusals():
    model, masks = pruned_network()
    for text, words in (("weights", "cannot train 'weights'"), ("", "nothing"),
                        ("hira spp", "one adapter"), ("lora", "loses the zeros"),
                        ("full norm", "alone")):  # fmt: skip
        with pytest.raises(ValueError, match=words):
            retrained_groups(text)
    with pytest.raises(ValueError, match="trains all weights"):
        pruning.Config(method="gmp", retrain="norm")
    with pytest.raises(ValueError, match="few"):
        pruning.Config(keep_optimizer=True, retrain="norm")
    with pytest.raises(ValueError, match="rank is 0"):
        pruning.Config(rank=0)
    with pytest.raises(ValueError, match="soup"):
        SoupConfig(retrain="norm")
    plain = nn.Sequential(nn.Linear(4, 4, bias=False))
    with (
        pytest.raises(PruningError, match="no parameters of the group norm"),
        few_trainable(plain, ["norm"], Masks.of_zeros({"0.weight": plain[0].weight})),
    ):
        pass
    assert plain[0].weight.requires_grad
    del model, masks


@pytest.fixture(scope="module")
def dense():
    return training.fit(model="cnn", epochs=2, batch_size=64, lr=0.05, threads=1, train_size=600)


@pytest.mark.parametrize("retrain", ["norm bias", "mask_lora norm", "recalibrate", "head"])
def test_pruning_with_few_parameters_keeps_masks_and_certificate(retrain, dense, tmp_path):
    options = {"sparsity": 0.9, "retrain": retrain, "epochs": 1, "lr": 0.05, "schedule": "llr"}
    result = pruning.prune(dense, out=tmp_path / "a", **options)
    full = pruning.prune(dense, **{**options, "retrain": "full"})
    assert result.masks.pruned == full.masks.pruned
    assert all(torch.equal(result.masks[n], full.masks[n]) for n in full.masks)
    for name, p in result.model.named_parameters():
        if name in result.masks:
            assert not p.detach()[~result.masks[name]].any()
    assert verify.file(result.certificate).accepted
    phase = result.phases[0]
    if retrain == "recalibrate":
        assert (phase.iterations, result.budget.retrain.seconds) == (0, 0)
    else:
        assert phase.iterations == full.phases[0].iterations
        assert phase.accuracy > phase.accuracy_pruned
    again = pruning.prune(dense, out=tmp_path / "a", resume=True, **options)
    assert again.phases == result.phases


def test_a_killed_retraining_of_adapters_goes_on_to_the_same_bytes(dense, tmp_path):
    options = {"sparsity": 0.9, "retrain": "mask_lora", "epochs": 2, "phases": 2, "lr": 0.05,
               "schedule": "llr", "threads": 1, "checkpoint_every": 3}  # fmt: skip
    whole = pruning.prune(dense, out=tmp_path / "whole", **options)

    class Killed(Exception):
        pass

    calls = 0

    def loss(outputs, labels):
        nonlocal calls
        calls += 1
        if calls == 14:
            raise Killed
        return nn.functional.cross_entropy(outputs, labels)

    with pytest.raises(Killed):
        pruning.prune(dense, out=tmp_path / "cut", loss=loss, **options)
    calls = 1000
    rest = pruning.prune(dense, out=tmp_path / "cut", loss=loss, resume=True, **options)
    for (name, a), (_, b) in zip(
        whole.model.named_parameters(), rest.model.named_parameters(), strict=True
    ):
        assert torch.equal(a, b), name
