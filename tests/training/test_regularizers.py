"""Baselines that make filters and ranks small, by hand-computed numbers and by what they do."""

import pytest
import torch
from torch import nn

from extremal import frankwolfe as fw
from extremal import training
from extremal.training import Hooks
from extremal.training._regularizers import ABFP, GLT, SSL, LowRankLC, NuclearLoss, NuclearProx
from extremal.training._regularizers._abfp import abfp_penalty, balance
from extremal.training._regularizers._lc import lc_rank
from extremal.training._sfw_pruning import AdaptiveRate, next_factor, sfw_init_


def _network():
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(1, 8, 3), nn.ReLU(), nn.Flatten(), nn.Linear(288, 10))


def _data():
    return training.load_data("digits", train_size=256)


def test_the_rank_of_the_specification():
    """Sigma = (3, 2, 1), n + m = 6, c = 1, alpha = .5, mu = 2: sigma^2 > 3, rank 2."""
    s = torch.tensor([3.0, 2.0, 1.0])
    assert lc_rank(s, 6, 0.5, 2.0) == 2
    assert lc_rank(s, 6, 0.5, 2.0, each=1.4) == 1  # threshold 4.2


def test_the_balanced_penalty_is_zero_and_moves_norm():
    torch.manual_seed(0)
    weight = torch.randn(6, 4, requires_grad=True)
    value = abfp_penalty([weight], 0.5, 0.5)
    assert float(value.detach()) == pytest.approx(0, abs=1e-6)
    (gradient,) = torch.autograd.grad(value, [weight])
    _, goes = balance(weight.detach().abs().sum(1), 0.5)
    outward = (gradient * weight.detach()).sum(1)
    assert bool((outward[goes] > 0).all())  # descent shortens what will go
    assert bool((outward[~goes] < 0).all())  # and lengthens what stays


@pytest.mark.parametrize(
    ("hook", "measure"),
    [
        (SSL(0.1, 0.1), lambda w: w.flatten(1).norm(dim=1).sum()),
        (GLT(0.3), lambda w: w.flatten(1).norm(dim=1).sum()),
        (NuclearLoss(0.1), lambda w: torch.linalg.matrix_norm(w.flatten(1), "nuc")),
        (NuclearProx(0.5), lambda w: torch.linalg.matrix_norm(w.flatten(1), "nuc")),
        (
            ABFP(0.5, 0.5),
            lambda w: w.flatten(1).norm(dim=1).sort().values[:4].sum() / w.flatten(1).norm(),
        ),
    ],
    ids=["ssl", "glt", "nuc-loss", "nuc", "abfp"],
)
def test_each_makes_small_what_it_should(hook, measure):
    found = []
    for hooks in ([], [hook]):
        model = _network()
        training.train(
            model,
            _data(),
            epochs=4,
            lr=lambda _: 0.05,
            hooks=hooks,
            loop=training.LoopConfig(threads=1, weight_decay=0.0),
        )
        found.append(float(measure(model[0].weight.detach())))
    assert found[1] < 0.9 * found[0]


def test_lc_reaches_low_rank_and_resumes_to_the_same_bits(tmp_path):
    class Dies(Hooks):
        def after_epoch(self, epoch):
            if epoch == 1:
                raise KeyboardInterrupt

    loop = training.LoopConfig(threads=1)
    data = _data()
    weights = []
    for dies in (False, True):
        file = tmp_path / f"{dies}.safetensors"
        model, hook = _network(), LowRankLC(1e-3, mu=0.5, growth=2.0)
        if dies:
            with pytest.raises(KeyboardInterrupt):
                training.train(
                    model, data, epochs=4, lr=lambda _: 0.05, loop=loop, checkpoint=file,
                    hooks=[LowRankLC(1e-3, mu=0.5, growth=2.0), Dies()],
                )  # fmt: skip
            model, hook = _network(), LowRankLC(1e-3, mu=0.5, growth=2.0)

        class Lives(Hooks):
            pass

        Lives.__name__ = "Dies"
        hooks = [hook, Lives()] if dies else [hook]
        training.train(
            model, data, epochs=4, lr=lambda _: 0.05, loop=loop, hooks=hooks, checkpoint=file
        )
        weights.append(model[0].weight.detach().clone())
    assert torch.equal(*weights)
    assert min(hook.ranks().values()) < 8


def test_the_rate_follows_the_losses():
    assert next_factor(20, [1.0] * 20) == 1.0
    assert next_factor(25, [1.0] * 20 + [2.0] * 5) == 0.7
    assert next_factor(30, [2.0] * 25 + [1.0] * 5) == 1.06
    rule = AdaptiveRate()
    for epoch in range(30):
        rule.epoch_loss(epoch, 1.0 if epoch < 20 else 2.0)
    assert rule.factors[24] == 1.0
    assert rule.factors[25] == 0.7  # epochs 20..24 are worse than 15..24
    assert rule.factors[30] == pytest.approx(0.7 * 1.06)
    again = AdaptiveRate()
    again.load_state(rule.state())
    assert again.factors == rule.factors


def test_fit_writes_down_the_rates_that_were_used():
    result = training.fit(
        model="mlp", epochs=26, train_size=128, batch_size=128, adapt_rate=True,
        schedule="thirds", threads=1,
    )  # fmt: skip
    base = training.schedule("thirds", 26, 0.1)
    assert result.history.lr[:25] == tuple(base[:25])
    assert result.history.lr[25] / base[25] in (pytest.approx(0.7), pytest.approx(1.06))


def test_sfw_init_lowers_the_loss_after_one_step():
    torch.manual_seed(0)
    model = _network()
    data = _data()
    inputs, labels = data.train.images.float() / 16, data.train.labels

    def forever():
        while True:
            yield inputs[:64], labels[:64]

    scales = sfw_init_(
        model, forever(), fw.KSparse(width=15, fraction=0.05), iterations=30, lr=0.05
    )
    assert set(scales) == {n for n, _ in model.named_parameters()}
    assert all(s >= 0.01 for n, s in scales.items() if n.endswith("weight"))
    assert any(abs(s - 1) > 0.05 for s in scales.values())


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"regularizer": "l3"}, "no regularizer 'l3'"),
        ({"regularizer": "ssl", "optimizer": "sfw"}, "takes the place"),
        ({"regularizer": "ssl", "strength": 0.0}, "strength=0.0"),
        ({"regularizer": "abfp", "ratio": 1.0}, "share of filters"),
        ({"coupled": True}, "needs optimizer='sfw'"),
        ({"sfw_init": 3}, "needs optimizer='sfw'"),
        ({"constrain": "some", "optimizer": "sfw"}, "constrain='some'"),
    ],
)
def test_senseless_options_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        training.fit(model="mlp", epochs=1, **options)


def test_the_usual_rate_follows_the_dampening():
    assert training.Config(optimizer="sfw").peak_lr == 1.0
    assert training.Config(optimizer="sfw", dampening=0.0).peak_lr == 0.1
    assert training.Config(optimizer="sfw", momentum=0.5).peak_lr == 0.2
    assert training.Config(optimizer="sfw", lr=0.3).peak_lr == 0.3


@pytest.mark.parametrize("region", ["k-support", "group-k-support", "spectral-k-support"])
def test_all_tensors_lie_in_regions(region):
    from extremal.training._loop import region_groups

    model = training.network("cnn", in_channels=1, classes=10, image_size=8)
    loop = training.LoopConfig(optimizer="sfw", region=region, constrain="all")
    where = {n: str(g["region"]) for g in region_groups(model, loop) for n in g["names"]}
    assert len(where) == len(list(model.named_parameters()))
    assert all("None" not in r for r in where.values())
    plain = region == "k-support"
    for name, found in where.items():
        inside = plain or (
            name.startswith("features") and dict(model.named_parameters())[name].ndim == 4
        )
        assert ("KSupport" in found) == inside


def test_coupled_regions_concentrate_whole_channels():
    """Rows of all convolutions that share a channel move together."""
    pytest.importorskip("torch_pruning")
    from extremal.training._coupled import coupled_sfw

    torch.manual_seed(0)
    model = training.network("resnet20", in_channels=1, classes=10, image_size=8)
    loop = training.LoopConfig(
        optimizer="sfw", region="group-k-support", fraction=0.25, width=10.0, rescale="none"
    )
    optimizer = coupled_sfw(model, loop, (1, 8, 8))
    joint = [g for g in optimizer.param_groups if g["joint"]]
    stage = next(g for g in joint if "conv1.weight" in g["names"])
    assert stage["names"] == [
        "conv1.weight", *(f"stages.0.{i}.conv2.weight" for i in range(3))
    ]  # fmt: skip
    model(torch.randn(4, 1, 8, 8)).square().sum().backward()
    for group in optimizer.param_groups:
        group["lr"] = 1.0  # to the vertex itself
    optimizer.step()
    alive = torch.stack([p.detach().flatten(1).abs().sum(1) > 0 for p in stage["params"]])
    assert int(alive.any(0).sum()) == 4  # a quarter of 16 channels, the same in all four layers
