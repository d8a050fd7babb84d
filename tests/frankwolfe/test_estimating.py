"""Optimizers with estimators: what they need, keep and gain."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

from .driving import X, Y, network  # noqa: E402


@pytest.mark.parametrize("make", [fw.SVRF, fw.AdaSVRF])
def test_svrf_needs_and_uses_a_snapshot(make):
    model = network()
    optimizer = make(fw.regions_for(model, weights=fw.L2Ball(width=20)), lr=0.05)

    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(X), Y)
        value.backward()
        return value

    with pytest.raises(fw.FrankWolfeError, match="no snapshot"):
        optimizer.step(loss)
    with pytest.raises(ValueError, match="closure"):
        optimizer.step()
    before = float(optimizer.snapshot(loss).detach())
    for _ in range(10):
        after = float(optimizer.step(loss).detach())
    assert after < before


def squares(optimizer, x, data, goal):
    """A closure of least squares over these rows."""

    def loss():
        optimizer.zero_grad()
        value = (data @ x - goal).square().mean()
        value.backward()
        return value

    return loss


def test_adasvrf_is_adasfw_where_every_batch_is_the_whole():
    torch.manual_seed(1)
    data, goal = torch.randn(40, 6).double(), torch.randn(40).double()
    ends = []
    for make in (fw.AdaSFW, fw.AdaSVRF):
        x = nn.Parameter(torch.zeros(6).double())
        optimizer = make([{"params": [x], "region": fw.L1Ball(2.0)}], lr=0.5, inner_steps=3)
        loss = squares(optimizer, x, data, goal)
        for step in range(12):
            if make is fw.AdaSVRF and step % 5 == 0:
                optimizer.snapshot(loss)
            optimizer.step(loss)
        ends.append(x.detach())
    # grad f(w) + g(x) - g(w) is g(x) up to rounding when g is the whole gradient.
    torch.testing.assert_close(ends[0], ends[1], atol=1e-12, rtol=0)
    assert ends[0].abs().sum() > 0.1


def test_adasvrf_leaves_less_noise_than_adasfw():
    torch.manual_seed(2)
    data = torch.randn(200, 10).double()
    goal = data @ torch.linspace(-0.2, 0.3, 10).double() + 0.5 * torch.randn(200).double()
    values = {}
    for make in (fw.AdaSFW, fw.AdaSVRF):
        x = nn.Parameter(torch.zeros(10).double())
        optimizer = make([{"params": [x], "region": fw.L2Ball(5.0)}], lr=0.3)
        batches = torch.Generator().manual_seed(0)
        for step in range(400):
            if make is fw.AdaSVRF and step % 20 == 0:
                optimizer.snapshot(squares(optimizer, x, data, goal))
            rows = torch.randint(200, (4,), generator=batches)
            optimizer.step(squares(optimizer, x, data[rows], goal[rows]))
        values[make.__name__] = float((data @ x - goal).square().mean().detach())
    best = torch.linalg.lstsq(data, goal[:, None]).solution[:, 0]
    least = float((data @ best - goal).square().mean())
    assert values["AdaSVRF"] - least < 0.1 * (values["AdaSFW"] - least)


def test_estimating_optimizers_see_one_dropout_mask():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(8, 64), nn.Dropout(0.5), nn.Linear(64, 1, bias=False))
    optimizer = fw.SPIDERFW(fw.regions_for(model, weights=fw.L2Ball(width=20)), lr=0.0)
    data = torch.randn(16, 8)

    def loss():
        optimizer.zero_grad()
        value = model(data).square().mean()
        value.backward()
        return value

    # With lr = 0 both points are equal, so the difference of gradients is zero only if both
    # evaluations drop the same units: the direction then never changes.
    optimizer.step(loss)
    kept = optimizer.state[model[0].weight]["direction"].clone()
    for _ in range(3):
        optimizer.step(loss)
    np.testing.assert_allclose(
        optimizer.state[model[0].weight]["direction"].numpy(), kept.numpy(), atol=1e-6
    )
