"""The optimizers: known answers, equivalences, and everything torch does around them."""

import copy
import math
import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

C = torch.tensor([2.0, -1.0, 0.5], dtype=torch.float64)


def course(make, steps):
    """Points of an optimizer on half the squared distance to C, from 0."""
    x = nn.Parameter(torch.zeros(3, dtype=torch.float64))
    optimizer = make([x])
    points = []
    for _ in range(steps):
        optimizer.zero_grad()
        (0.5 * ((x - C) ** 2).sum()).backward()
        optimizer.step()
        points.append(x.detach().numpy().copy())
    return np.array(points)


def over(region, **options):
    return lambda ps: fw.SFW([{"params": ps, "region": region}], **options)


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ({"rescale": "none", "momentum": 0.0}, [0.1, 0.19, 0.271, 0.3439]),
        ({"rescale": "diameter", "momentum": 0.0}, [0.0288675135, 0.0569016936, 0.0841265966]),
        (
            {"rescale": "gradient", "momentum": 0.0},
            [0.1322875656, 0.2530695598, 0.3636836892, 0.4653532791],
        ),
        (
            {"rescale": "gradient", "momentum": 0.9, "momentum_seed": "gradient"},
            [0.1322875656, 0.2634099474, 0.3923370630, 0.5181767005],
        ),
    ],
)
def test_sfw_over_the_maximum_norm(options, values):
    points = course(over(fw.LinfBall(1.0), lr=0.1, **options), len(values))
    signs = np.array([1, -1, 1])
    np.testing.assert_allclose(points, np.outer(values, signs), atol=1e-10)


@pytest.mark.parametrize(
    ("inner", "points"),
    [
        (1, [(0.1, 0, 0), (0.1688749, 0, 0), (0.2241785, 0, 0), (0.2714430, 0, 0)]),
        (
            2,
            [
                (0.0901960781, -0.0980392147, 0),
                (0.1436606876, -0.1595416428, 0),
                (0.1815954963, -0.2039667094, 0),
            ],
        ),
        (5, [(0.0978763398, -0.0989740842, 0.0885054853)]),
    ],
)
def test_adasfw(inner, points):
    def make(ps):
        return fw.AdaSFW([{"params": ps, "region": fw.L1Ball(1.0)}], lr=0.1, inner_steps=inner)

    np.testing.assert_allclose(course(make, len(points)), points, atol=1e-7)


def test_adamsfw():
    def make(ps):
        return fw.AdamSFW([{"params": ps, "region": fw.L1Ball(1.0)}], lr=0.1, inner_steps=2)

    expected = [(0.2328944156, -0.2635230758, 0), (0.4305861678, -0.3566136564, 0)]
    np.testing.assert_allclose(course(make, 2), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize(
    ("rescale", "lr", "point"),
    [
        ("gradient", 0.01, (0.5063246, -0.0505964, 0, 0)),
        ("fast_gradient", 0.01, (0.5050990, -0.0407922, 0, 0)),
        ("diameter", 0.1, (0.505, -0.04, 0, 0)),
        ("none", 0.1, (0.51, -0.08, 0, 0)),
        ("gradient", 1.0, (0.6, -0.8, 0, 0)),
    ],
)
def test_k_support_steps(rescale, lr, point, dtype):
    # In float32 this runs in the fused kernels.
    x = nn.Parameter(torch.tensor([0.5, 0, 0, 0], dtype=dtype))
    optimizer = over(fw.KSupport(1.0, k=2), lr=lr, rescale=rescale, momentum=0.0)([x])
    x.grad = torch.tensor([-3.0, 4, 0, 1], dtype=dtype)
    assert float(fw.KSupport(1.0, k=2).gap(x.grad, x.detach())) == pytest.approx(3.5)
    optimizer.step()
    np.testing.assert_allclose(x.detach().numpy(), point, atol=2e-7)
    if lr == 1.0:
        assert optimizer.metrics()[0]["clipped"] == 1.0


def test_second_k_support_step_with_undamped_momentum():
    x = nn.Parameter(torch.tensor([0.5, 0, 0, 0], dtype=torch.float64))
    optimizer = over(
        fw.KSupport(1.0, k=2), lr=0.01, momentum=0.9, dampening=0.0, momentum_seed="gradient"
    )([x])
    for _ in range(2):
        x.grad = torch.tensor([-3.0, 4, 0, 1], dtype=torch.float64)
        optimizer.step()
    np.testing.assert_allclose(x.detach().numpy(), (0.5183413, -0.1467297, 0, 0), atol=1e-7)


def gradients(shapes, steps, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(s, generator=generator) for s in shapes] for _ in range(steps)]


def drive(optimizer, params, grads):
    for step in grads:
        for p, g in zip(params, step, strict=True):
            p.grad = g.to(p.dtype).clone()
        optimizer.step()


def reference_muon(w, grads, lr, decay, beta, nesterov):
    """Muon as published, in float32, written from its description."""
    buffer = torch.zeros_like(w)
    for g in grads:
        buffer = torch.lerp(buffer, g, 1 - beta)
        u = torch.lerp(g, buffer, beta) if nesterov else buffer
        x = u.T if u.shape[0] > u.shape[1] else u
        x = x / (x.norm() + 1e-7)
        for _ in range(5):
            a = x @ x.T
            x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
        x = x.T if u.shape[0] > u.shape[1] else x
        w = w * (1 - lr * decay) - lr * max(1, w.shape[0] / w.shape[1]) ** 0.5 * x
    return w


@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("shape", [(12, 8), (8, 12)])
def test_muon_is_frank_wolfe(shape, nesterov):
    grads = gradients([shape], 20)
    w = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    p = nn.Parameter(w.clone())
    optimizer = fw.Muon([{"params": [p]}], lr=0.02, weight_decay=0.1, nesterov=nesterov)
    assert isinstance(optimizer, fw.SFW)
    drive(optimizer, [p], grads)
    expected = reference_muon(w, [g[0] for g in grads], 0.02, 0.1, 0.95, nesterov)
    # 20 float32 steps with different summation orders.
    np.testing.assert_allclose(p.detach().numpy(), expected.numpy(), atol=5e-6)
    free = nn.Parameter(w.clone())
    plain = fw.Muon([{"params": [free]}], lr=0.02, weight_decay=0.0, nesterov=nesterov)
    drive(plain, [free], grads)
    expected = reference_muon(w, [g[0] for g in grads], 0.02, 0.0, 0.95, nesterov)
    np.testing.assert_allclose(free.detach().numpy(), expected.numpy(), atol=5e-6)


def test_muon_agrees_with_torch_up_to_bfloat16():
    grads = gradients([(16, 8)], 5)
    one, two = (nn.Parameter(torch.eye(16, 8)) for _ in "ab")
    drive(fw.Muon([{"params": [one]}], lr=0.02), [one], grads)
    drive(torch.optim.Muon([two], lr=0.02), [two], grads)
    # torch rounds the orthogonalised step, of size lr, to 8 bits.
    np.testing.assert_allclose(one.detach().numpy(), two.detach().numpy(), atol=5 * 0.02 * 2e-2)


@pytest.mark.parametrize("fused", [False, True])
def test_sign_momentum_and_normalised_sgd_are_frank_wolfe(fused):
    eta, decay, beta = 0.05, 0.2, 0.9
    grads = gradients([(7, 3)], 15)
    for region in (fw.LinfBall(1 / decay), fw.L2Ball(1 / decay)):
        p = nn.Parameter(torch.full((7, 3), 0.1))
        w, m = p.detach().clone(), torch.zeros(7, 3)
        optimizer = over(region, lr=eta * decay, rescale="none", momentum=beta, fused=fused)([p])
        drive(optimizer, [p], grads)
        for (g,) in grads:
            m = beta * m + (1 - beta) * g
            d = m.sign() if isinstance(region, fw.LinfBall) else m / m.norm()
            w = (1 - eta * decay) * w - eta * d
        np.testing.assert_allclose(p.detach().numpy(), w.numpy(), atol=1e-6)


KERNELS = [
    fw.L2Ball(3.0), fw.LinfBall(0.5), fw.L1Ball(5.0), fw.KSparse(0.5, fraction=0.1),
    fw.KSupport(3.0, fraction=0.1), fw.KSparse(0.5, fraction=1.0), fw.KSupport(2.0, fraction=1.0),
]  # fmt: skip


@pytest.mark.parametrize("rescale", ["none", "diameter", "gradient", "fast_gradient"])
@pytest.mark.parametrize("region", KERNELS, ids=str)
def test_fused_and_plain_steps_agree(region, rescale):
    pytest.importorskip("numba")
    shapes = [(40, 1000), (3,), (16, 8, 3, 3), (1,), ()]
    grads = gradients(shapes, 6)
    grads[2][1][:] = 0.25  # ties
    results = []
    for fused in (False, True):
        params = [nn.Parameter(torch.zeros(s)) for s in shapes]
        params[2].data = params[2].data.contiguous(memory_format=torch.channels_last)
        optimizer = over(region, lr=0.3, rescale=rescale, fused=fused, momentum_seed="gradient")(
            params
        )
        for step in grads:
            for p, g in zip(params, step, strict=True):
                p.grad = (
                    g.contiguous(memory_format=torch.channels_last) if p.ndim == 4 else g.clone()
                )
            optimizer.step()
        results.append([p.detach().numpy().copy() for p in params])
    for one, two in zip(*results, strict=True):
        np.testing.assert_allclose(one, two, atol=2e-6)


def uneven(kind):
    """Gradients of which a sample says little."""
    g = torch.randn(300, 400, generator=torch.Generator().manual_seed(1))
    if kind == "mostly-zero":
        return g * (torch.arange(300) % 97 == 0)[:, None]
    if kind == "rows-of-all-sizes":
        return g * 10.0 ** torch.linspace(-12, 12, 300)[:, None]
    if kind == "few-values":
        return g.round()
    if kind == "every-value-twice":
        return torch.cat([g[:150], g[:150].flip(0)])
    return g.flatten().sort().values.reshape(300, 400)


KINDS = ["mostly-zero", "rows-of-all-sizes", "few-values", "every-value-twice", "sorted"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("k", [1, 700, 30_001, 60_000, 119_999])
def test_fused_steps_find_the_largest_where_a_sample_misleads(kind, k):
    pytest.importorskip("numba")
    for make in (fw.KSparse, fw.KSupport):
        found = []
        for fused in (False, True):
            p = nn.Parameter(torch.zeros(300, 400))
            p.grad = uneven(kind)
            optimizer = over(make(1.0, k=k), lr=0.5, rescale="none", fused=fused)([p])
            optimizer.step()
            optimizer.step()
            found.append(p.detach())
        torch.testing.assert_close(*found, atol=1e-6, rtol=0)


@pytest.mark.parametrize("region", KERNELS[:3], ids=str)
@pytest.mark.parametrize("options", [{}, {"clip": (0.5, 2.0), "cap": 0.3}], ids=["plain", "clip"])
@pytest.mark.parametrize("make", [fw.AdaSFW, fw.AdamSFW])
def test_fused_and_plain_adaptive_steps_agree(make, region, options):
    pytest.importorskip("numba")
    shapes = [(40, 1000), (3,), (16, 8, 3, 3), (1,), ()]
    results = []
    for fused in (False, True):
        params = [nn.Parameter(torch.zeros(s)) for s in shapes]
        groups = [{"params": params, "region": region}]
        optimizer = make(groups, lr=0.1, inner_steps=3, fused=fused, **options)
        drive(optimizer, params, gradients(shapes, 4))
        results.append([p.detach().clone() for p in params])
        assert all(bool(region.contains(p.detach().reshape(-1), 1e-6)) for p in params)
    for one, two in zip(*results, strict=True):
        # A vertex of the maximum norm changes sign where q is 0 up to rounding.
        assert float((one - two).norm()) <= 2e-3 * float(one.norm()) + 1e-7


def test_a_bad_gradient_moves_nothing_in_fused_adaptive_steps():
    pytest.importorskip("numba")
    params = [nn.Parameter(torch.zeros(5)), nn.Parameter(torch.zeros(5))]
    params[0].grad, params[1].grad = torch.ones(5), torch.full((5,), float("nan"))
    optimizer = fw.AdaSFW([{"params": params, "region": fw.L2Ball(1.0)}])
    with pytest.raises(fw.FrankWolfeError, match="parameter 1"):
        optimizer.step()
    assert not any(p.detach().any() for p in params)


@pytest.mark.parametrize("fused", [None, False])
def test_an_adaptive_schedule_may_end_at_zero(fused):
    p = nn.Parameter(torch.full((5,), 0.1))
    optimizer = fw.AdaSFW([{"params": [p], "region": fw.L2Ball(1.0)}], fused=fused)
    optimizer.param_groups[0]["lr"] = 0.0
    p.grad = torch.ones(5)
    optimizer.step()
    assert torch.equal(p.detach(), torch.full((5,), 0.1))


def test_the_number_of_threads_changes_no_bit():
    pytest.importorskip("numba")
    grads = gradients([(300, 400)], 4)
    found = []
    before = torch.get_num_threads()
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            p = nn.Parameter(torch.zeros(300, 400))
            drive(over(fw.KSupport(2.0, k=500), lr=0.1, fused=True)([p]), [p], grads)
            found.append(p.detach().clone())
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)


def test_equal_entries_take_the_lowest_in_fused_steps_too():
    pytest.importorskip("numba")
    p = nn.Parameter(torch.zeros(100_000))
    p.grad = torch.ones(100_000)
    over(fw.KSparse(1.0, k=7), lr=1.0, rescale="none", fused=True)([p]).step()
    assert torch.equal(p.detach().nonzero().flatten(), torch.arange(7))
    q = nn.Parameter(torch.zeros(100_000))
    q.grad = torch.ones(100_000)
    over(fw.L1Ball(1.0), lr=1.0, rescale="none", fused=True)([q]).step()
    assert torch.equal(q.detach().nonzero().flatten(), torch.arange(1))


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Flatten(), nn.Linear(6 * 36, 10)
    )


X, Y = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3)), torch.arange(32) % 10


def train(model, optimizer, steps, closure=False):
    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(model(X), Y)
        value.backward()
        return value

    values = []
    for _ in range(steps):
        if closure:
            values.append(float(optimizer.step(loss).detach()))
        else:
            values.append(float(loss().detach()))
            optimizer.step()
    return values


REGIONS = {
    "L2": fw.L2Ball(width=20),
    "Linf": fw.LinfBall(width=20),
    "L1": fw.L1Ball(width=100),
    "k-sparse": fw.KSparse(width=50, fraction=0.2),
    "k-support": fw.KSupport(width=20, fraction=0.2),
    "k-norm": fw.KNorm(width=50, k=20),
    "group": fw.GroupKSupport(width=20, fraction=0.5),
    "spectral": fw.SpectralBall(width=20),
    "nuclear": fw.NuclearBall(width=40),
    "spectral-k": fw.SpectralKSupport(width=20, k=2),
    "columns": fw.ColNorm(width=20),
    "lp": fw.LpBall(width=20, p=3),
}


@pytest.mark.parametrize("name", REGIONS)
def test_a_network_learns_and_stays_inside(name):
    model = network()
    groups = fw.regions_for(model, weights=REGIONS[name])
    optimizer = fw.SFW(groups, lr=0.05, start="shrink")
    values = train(model, optimizer, 30)
    assert values[-1] < values[0] - 0.1
    for row in optimizer.metrics():
        assert row["size"] <= 1 + 1e-5
        assert row["gap"] >= -1e-5
        assert 0 <= row["sparsity"] <= 1


OPTIMIZERS = {
    "SFW": lambda m: fw.SFW(fw.regions_for(m, weights=fw.KSupport(width=20, fraction=0.2))),
    "SFW-spectral": lambda m: fw.SFW(fw.regions_for(m, weights=fw.SpectralBall(width=20))),
    "SFW-leading": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.SpectralKSupport(width=20, k=1), norms=fw.L2Ball(width=20))
    ),
    "SFW-joint": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.KSparse(width=100, fraction=0.2), joint=("weights", "heads"))
    ),
    "AdaSFW": lambda m: fw.AdaSFW(
        fw.regions_for(m, weights=fw.LinfBall(width=20)), lr=0.02, free="adamw", free_lr=1e-3
    ),
    "AdamSFW": lambda m: fw.AdamSFW(fw.regions_for(m, weights=fw.LinfBall(width=20))),
    "MSFW": lambda m: fw.MSFW(fw.regions_for(m, weights=fw.L2Ball(width=20)), lr=0.05),
    "OneSFW": lambda m: fw.OneSFW(fw.regions_for(m, weights=fw.L2Ball(width=20)), lr=0.05),
    "ORGFW": lambda m: fw.ORGFW(fw.regions_for(m, weights=fw.L2Ball(width=20)), lr=0.05),
    "SPIDERFW": lambda m: fw.SPIDERFW(fw.regions_for(m, weights=fw.L2Ball(width=20)), lr=0.05),
    "ProjectedSGD": lambda m: fw.ProjectedSGD(
        fw.regions_for(m, weights=fw.L1Ball(width=5)), lr=0.02
    ),
    "ProjectedAdam": lambda m: fw.ProjectedAdam(
        fw.regions_for(m, weights=fw.L1Ball(width=5)), lr=0.01
    ),
    "AMSGrad": lambda m: fw.ProjectedAdam(
        fw.regions_for(m, weights=fw.LinfBall(width=5)), lr=0.01, kind="amsgrad"
    ),
    "AdaGrad": lambda m: fw.ProjectedAdam(
        fw.regions_for(m, weights=fw.L2Ball(width=5)), lr=0.05, kind="adagrad"
    ),
    "Muon": lambda m: fw.Muon(m, lr=0.02, free_lr=1e-3),
    "Scion": lambda m: fw.Scion(m, lr=2**-6, hidden=8.0, head=128.0, free_lr=0.05),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns_saves_and_loads_bit_exactly(name):
    closure = name in ("OneSFW", "ORGFW", "SPIDERFW")
    model = network()
    optimizer = OPTIMIZERS[name](model)
    values = train(model, optimizer, 8, closure)
    saved = copy.deepcopy(optimizer.state_dict())
    weights = copy.deepcopy(model.state_dict())
    values += train(model, optimizer, 8, closure)
    assert values[-1] < values[0]
    again = network()
    again.load_state_dict(weights)
    other = OPTIMIZERS[name](again)
    other.load_state_dict(saved)
    again.load_state_dict(weights)  # the constructor may have moved a start inside
    train(again, other, 8, closure)
    for one, two in zip(model.state_dict().values(), again.state_dict().values(), strict=True):
        assert torch.equal(one, two)


def test_scion_light_is_scion_without_a_buffer():
    weights = []
    for make, stop in ((fw.Scion, False), (fw.ScionLight, False), (fw.ScionLight, True)):
        model = network()
        optimizer = make(model, lr=2**-6, momentum=0.9, free_lr=0.01)
        train(model, optimizer, 4)
        if stop:  # through a checkpoint, with fresh gradients
            state = optimizer.state_dict()
            for p in model.parameters():
                p.grad = None
            optimizer = make(model, lr=2**-6, momentum=0.9, free_lr=0.01)
            optimizer.load_state_dict(state)
        train(model, optimizer, 4)
        assert stop or make is fw.Scion or not any(
            "momentum_buffer" in optimizer.state[p]
            for group in optimizer.param_groups if group["region"] is not None
            for p in group["params"]
        )  # fmt: skip
        weights.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    # The bias before batch normalisation has no gradient but rounding, which sets its direction;
    # elsewhere the sums are 1 / (1 - momentum) times the averages and round differently.
    noise = slice(54, 60)
    one, two = (torch.cat([w[: noise.start], w[noise.stop :]]) for w in weights[:2])
    torch.testing.assert_close(one, two, atol=2e-4, rtol=0)
    assert torch.equal(weights[1], weights[2])


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


def test_schedulers_deepcopy_closures_and_added_groups():
    model = network()
    optimizer = OPTIMIZERS["SFW"](model)
    scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 5, gamma=0.1)
    train(model, optimizer, 5)
    scheduler.step()
    for _ in range(4):
        scheduler.step()
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.01)
    twin = copy.deepcopy(optimizer)
    assert twin.param_groups[0]["region"] == optimizer.param_groups[0]["region"]
    assert twin.param_groups[0]["params"][0] is not optimizer.param_groups[0]["params"][0]
    assert train(model, optimizer, 2, closure=True)[0] > 0
    extra = nn.Parameter(torch.zeros(4))
    optimizer.add_param_group({"params": [extra], "region": fw.L1Ball(2.0), "lr": 0.5})
    extra.grad = torch.tensor([1.0, -3.0, 0.0, 0.0])
    optimizer.step()
    assert float(extra.detach()[1]) > 0
    assert float(extra.detach()[0]) == 0


def test_gradient_accumulation_and_scaling():
    one, two = network(), network()
    a, b = OPTIMIZERS["SFW"](one), OPTIMIZERS["SFW"](two)
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    for _ in range(3):
        a.zero_grad(), b.zero_grad()
        one.eval(), two.eval()
        nn.functional.cross_entropy(one(X), Y).backward()
        for half in (slice(0, 16), slice(16, 32)):
            scaler.scale(nn.functional.cross_entropy(two(X[half]), Y[half]) / 2).backward()
        a.step()
        scaler.step(b)
        scaler.update()
    for p, q in zip(one.parameters(), two.parameters(), strict=True):
        np.testing.assert_allclose(p.detach().numpy(), q.detach().numpy(), atol=1e-4)


def test_a_frozen_parameter_shifts_nothing():
    one, two = network(), network()
    a, b = OPTIMIZERS["SFW"](one), OPTIMIZERS["SFW"](two)
    nn.functional.cross_entropy(one(X), Y).backward()
    nn.functional.cross_entropy(two(X), Y).backward()
    before = two[0].weight.detach().clone()
    two[0].weight.grad = None
    a.step(), b.step()
    assert torch.equal(two[0].weight, before)
    assert torch.equal(one[4].weight, two[4].weight)
    assert torch.equal(one[1].bias, two[1].bias)


def test_regions_for_touches_neither_weights_nor_random_state():
    model = network()
    weights = [p.detach().clone() for p in model.parameters()]
    state = torch.get_rng_state()
    groups = fw.regions_for(
        model, weights=fw.KSparse(fraction=0.1, width=50), biases=fw.L2Ball(width=5)
    )
    fw.SFW(groups, lr=0.1, momentum=0.9, rescale="gradient")
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))
    assert [sorted(g["names"]) for g in groups] == [
        ["0.weight", "4.weight"], ["0.bias", "4.bias"], ["1.bias", "1.weight"],
    ]  # fmt: skip
    assert groups[2]["region"] is None
    n = 6 * 9
    assert fw.SFW(groups).param_groups[0]["sized"][0].radius == pytest.approx(
        50 * math.sqrt(6 / 3) * (1 - 0.1 / n) / math.sqrt(5)
    )


def test_roles_and_rules():
    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.table = nn.Embedding(7, 4)
            self.norm = nn.LayerNorm(4)
            self.hidden = nn.Linear(4, 4)
            self.head = nn.Linear(4, 7, bias=False)

    model = Model()
    groups = fw.regions_for(
        model,
        weights=fw.L2Ball(1.0),
        heads=fw.Sign(1.0),
        embeddings=fw.ColNorm(1.0),
        norms=fw.LinfBall(2.0),
    )
    found = {n: str(g["region"]) for g in groups for n in g["names"]}
    assert found == {
        "table.weight": "ColNorm(radius=1.0, normalized=False)",
        "norm.weight": "LinfBall(radius=2.0)",
        "norm.bias": "LinfBall(radius=2.0)",
        "hidden.weight": "L2Ball(radius=1.0)",
        "hidden.bias": "None",
        "head.weight": "Sign(radius=1.0, scaled=True)",
    }
    model.head.weight = model.table.weight  # tied
    names = [n for g in fw.regions_for(model, weights=fw.L2Ball(9.0)) for n in g["names"]]
    assert sorted(names) == [
        "hidden.bias",
        "hidden.weight",
        "norm.bias",
        "norm.weight",
        "table.weight",
    ]
    chosen = fw.regions_for(model, lambda name, m, p: fw.L1Ball(3.0) if "hidden" in name else None)
    assert {str(g["region"]) for g in chosen} == {"L1Ball(radius=3.0)", "None"}
    with pytest.warns(fw.SizeWarning, match="k=4 there"):
        fw.regions_for(model, biases=fw.KSparse(1.0, k=5))


def test_a_zero_gradient_moves_nothing():
    for fused in (False, True):
        for region in KERNELS:
            for rescale in ("none", "diameter", "gradient", "fast_gradient"):
                p = nn.Parameter(torch.full((30,), 0.01))
                p.grad = torch.zeros(30)
                over(region, lr=0.5, rescale=rescale, fused=fused)([p]).step()
                assert torch.equal(p.detach(), torch.full((30,), 0.01))


@pytest.mark.parametrize("fused", [False, True])
@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_bad_gradient_names_its_parameter(fused, bad):
    model = network()
    optimizer = fw.SFW(fw.regions_for(model, weights=fw.L2Ball(width=20)), fused=fused)
    nn.functional.cross_entropy(model(X), Y).backward()
    model[4].weight.grad[3, 3] = bad
    before = model[4].weight.detach().clone()
    with pytest.raises(fw.FrankWolfeError, match=r"gradient of 4\.weight"):
        optimizer.step()
    assert torch.equal(model[4].weight, before)
    model[4].weight.grad[3, 3] = 0.0
    optimizer.step()  # whoever goes on is not left with NaN averages
    assert torch.isfinite(model[4].weight).all()


def test_bfloat16_parameters_move_although_the_step_is_small():
    p = nn.Parameter(torch.ones(64, dtype=torch.bfloat16))
    optimizer = over(fw.LinfBall(100.0), lr=2**-5, rescale="none", momentum=0.0)([p])
    p.grad = torch.ones(64, dtype=torch.bfloat16)
    optimizer.step()
    assert float(p.detach()[0]) == pytest.approx(1 - 2**-5 * 101, rel=1e-2)


B9 = fw.L1Ball(9.0)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda p: over(fw.L1Ball(9.0), momentum=1.0)([p]), "momentum=1.0"),
        (lambda p: over(fw.L1Ball(9.0), lr=-0.1)([p]), "lr=-0.1"),
        (lambda p: over(fw.L1Ball(9.0), lr=1.5, rescale="none")([p]), "would leave the region"),
        (lambda p: over(fw.L1Ball(9.0), rescale="x")([p]), "rescale='x'"),
        (lambda p: over(fw.L1Ball(9.0), spectral="x")([p]), "spectral='x'"),
        (lambda p: over(fw.L1Ball(9.0), start="x")([p]), "start='x'"),
        (lambda p: over(fw.L1Ball(9.0), free="x")([p]), "free='x'"),
        (lambda p: fw.SFW([p]), "no group has a region"),
        (lambda p: fw.SFW([]), "no parameters"),
        (lambda p: fw.SFW([{"params": [], "region": fw.L1Ball(1.0)}]), "empty"),
        (lambda p: over(fw.NuclearBall(9.0))([p]), "set of matrices"),
        (lambda p: over(fw.KSparse(9.0, k=5))([p]), "k=5"),
        (lambda p: over(fw.L1Ball(width=9.0))([p]), "regions_for"),
        (lambda p: fw.AdaSFW([{"params": [p], "region": B9}], inner_steps=0), "inner_steps=0"),
        (lambda p: fw.AdaSFW([{"params": [p], "region": B9}], lr=0.0), "lr=0.0"),
        (lambda p: fw.AdaSFW([{"params": [p], "region": B9}], clip=(2.0, 1.0)), "clip"),
        (lambda p: fw.AdamSFW([{"params": [p], "region": B9}], betas=(0.9, 1.0)), "betas"),
        (lambda p: fw.Muon([{"params": [p]}], adjust="x"), "adjust='x'"),
        (lambda p: fw.ProjectedAdam([{"params": [p], "region": B9}], kind="x"), "kind='x'"),
        (lambda p: fw.regions_for(nn.Linear(2, 2)), "at least one region"),
        (lambda p: fw.regions_for(nn.Linear(2, 2), weights=B9, joint=("x",)), "role 'x'"),
        (lambda p: fw.regions_for(nn.ReLU(), weights=fw.L1Ball(1.0)), "no parameters"),
        (lambda p: fw.polar(torch.eye(3)[None], "x"), "mode 'x'"),
    ],
)  # fmt: skip
def test_refusals(make, text):
    with pytest.raises(ValueError, match=text):
        make(nn.Parameter(torch.ones(4)))


def test_an_infeasible_start_is_refused_unless_it_may_be_repaired():
    p = nn.Parameter(torch.ones(4))
    with pytest.raises(fw.FrankWolfeError, match=r"outside.*start='shrink'"):
        over(fw.L1Ball(2.0))([p])
    assert torch.equal(p.detach(), torch.ones(4))
    over(fw.L1Ball(2.0), start="shrink")([p])
    assert torch.equal(p.detach(), torch.full((4,), 0.5))
    q = nn.Parameter(torch.tensor([3.0, 0.0, 0.0, 1.0]))
    over(fw.L1Ball(2.0), start="project")([q])
    assert torch.equal(q.detach(), torch.tensor([2.0, 0, 0, 0]))
    with pytest.warns(fw.StartWarning, match="shrinks to"):
        over(fw.L1Ball(0.01), start="shrink")([nn.Parameter(torch.ones(4))])


def test_a_state_of_other_regions_is_refused():
    one, two = network(), network()
    a = fw.SFW(fw.regions_for(one, weights=fw.L2Ball(width=20)))
    b = fw.SFW(fw.regions_for(two, weights=fw.L2Ball(width=21)))
    with pytest.raises(fw.FrankWolfeError, match="saved with"):
        b.load_state_dict(a.state_dict())


def test_a_sparse_gradient_is_refused():
    table = nn.Embedding(5, 3, sparse=True)
    optimizer = fw.SFW(fw.regions_for(table, embeddings=fw.L2Ball(50.0)))
    table(torch.tensor([1])).sum().backward()
    with pytest.raises(ValueError, match="sparse"):
        optimizer.step()


def test_loss_retraction():
    class Rates:
        def __init__(self):
            self.param_groups = [{"lr": 0.1}]

    optimizer = Rates()
    schedule = fw.LossRetraction(optimizer)
    losses = [1 - 0.02 * i for i in range(12)] + [0.8] * 3 + [0.9, 1.0, 1.1, 1.2]
    rates = []
    for loss in losses:
        schedule.step(loss)
        rates.append(optimizer.param_groups[0]["lr"])
    expected = [0.1] * 9 + [
        0.106383, 0.113173, 0.120397, 0.128082, 0.136258, 0.144955, 0.154207, 0.107945, 0.075562,
        0.052893,
    ]  # fmt: skip
    np.testing.assert_allclose(rates, expected, atol=1e-6)


def test_newton_schulz_facts():
    from extremal.frankwolfe import _newton_schulz as ns

    def composed(x, steps):
        for a, b, c in steps:
            x = a * x + b * x**3 + c * x**5
        return x

    grid = np.linspace(0, 1, 1_000_001)
    muon = composed(grid, ns.MUON)
    assert muon.max() == pytest.approx(1.2024, abs=1e-4)
    assert grid[muon.argmax()] == pytest.approx(0.0041, abs=1e-4)
    assert muon[grid >= 0.01].min() == pytest.approx(0.6818, abs=1e-4)
    assert muon[-1] == pytest.approx(0.6964, abs=1e-4)
    # Normalised values are those after the division by 1.02 |X|_F.
    normal = grid / 1.02 >= 1e-3
    express = composed(grid / 1.02, ns.POLAR_EXPRESS)
    assert express[normal].min() == pytest.approx(0.859, abs=1e-3)
    assert express.max() == pytest.approx(1.141, abs=1e-3)
    accurate = composed(grid / 1.02, ns.POLAR_EXPRESS + ns.TAYLOR)
    assert accurate[normal].min() == pytest.approx(0.9937, abs=2e-4)
    assert accurate.max() == pytest.approx(1.0078, abs=1e-4)
    assert accurate.max() <= ns._HIGHEST
    two = composed(grid / 1.02, ns.POLAR_EXPRESS + ns.TAYLOR * 2)[normal]
    assert abs(two - 1).max() < 1.3e-6


@pytest.mark.parametrize("shape", [(1, 5, 9), (3, 9, 5), (2, 6, 6)])
def test_polar_modes(shape):
    g = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    u, _, vt = torch.linalg.svd(g, full_matrices=False)
    for mode, low, high in (("fast", 0.6, 1.21), ("accurate", 0.98, 1.01), ("feasible", 0.97, 1.0)):
        s = torch.linalg.svdvals(fw.polar(g, mode))
        assert low <= float(s.min())
        assert float(s.max()) <= high
    np.testing.assert_allclose(fw.polar(g, "exact").numpy(), (u @ vt).numpy(), atol=1e-5)
    assert torch.isfinite(fw.polar(torch.zeros(shape), "fast")).all()
    assert torch.isfinite(fw.polar(torch.zeros(shape), "feasible")).all()


@pytest.mark.parametrize("least", [1e-1, 1e-3, 0.0])
@pytest.mark.parametrize(
    ("shape", "spectrum"),
    [((2, 520, 530), True), ((3, 64, 512), True), ((3, 530, 530), False), ((9, 70, 80), False)],
)
def test_large_matrices_take_the_polynomial_too(shape, spectrum, least):
    from extremal.frankwolfe import _newton_schulz as ns

    torch.manual_seed(0)
    rows = shape[1]
    left = torch.linalg.qr(torch.randn(shape[0], rows, rows, dtype=torch.double)).Q
    right = torch.linalg.qr(torch.randn(shape[0], shape[2], rows, dtype=torch.double)).Q
    values = torch.linspace(1, least, rows, dtype=torch.double)
    values /= values.norm()
    x = ((left * values) @ right.mT).float()
    threads = torch.get_num_threads()
    steps = ns.MUON if spectrum else ns.POLAR_EXPRESS + ns.TAYLOR
    expected = values
    for a, b, c in steps:
        expected = a * expected + b * expected**3 + c * expected**5
    for many in (1, 2):
        torch.set_num_threads(many)
        try:
            assert ns.by_spectrum(x, steps) == spectrum
            found = ns.quintic(x, steps).double()
            assert torch.get_num_threads() == many
        finally:
            torch.set_num_threads(threads)
        away = torch.linalg.matrix_norm(found - (left * expected) @ right.mT, 2)
        assert float(away.max()) < (0.005 if spectrum else 1e-4)  # of values about 1


def test_a_forked_process_has_threads_of_its_own():
    from extremal.frankwolfe._threads import one_threaded

    assert list(one_threaded(2).map(abs, [-1])) == [1]
    child = os.fork()
    if child == 0:
        os._exit(list(one_threaded(2).map(abs, [-1])) != [1])
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_the_leading_subspace_follows_a_drifting_matrix():
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.zeros(64, 200))
    region = fw.SpectralKSupport(1.0, k=3)
    optimizer = over(region, lr=0.0, rescale="none", momentum=0.9)([p])
    base = (
        torch.randn(64, 200, generator=generator)
        + 4
        * torch.outer(torch.randn(64, generator=generator), torch.randn(200, generator=generator))
        / 10
    )
    for step in range(30):
        p.grad = base + torch.randn(64, 200, generator=generator)
        optimizer.step()
        if step >= 10:
            m = optimizer.state[p]["momentum_buffer"]
            v = optimizer._leading_vertex(p, m, region)
            best = float((m * region.lmo(m)).sum())
            assert float((m * v).sum()) <= 0.99 * best
            assert float(region.gauge(v)) <= 1 + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("region", [
    fw.L2Ball(1.0), fw.L1Ball(1.0), fw.LinfBall(0.3), fw.KSparse(0.3, k=5), fw.KSupport(1.0, k=5),
    fw.KNorm(1.0, k=5), fw.SpectralBall(1.0), fw.NuclearBall(1.0), fw.SpectralKSupport(1.0, k=2),
    fw.KyFanKSparse(1.0, k=2), fw.GroupKSupport(1.0, k=2), fw.GroupL1(1.0), fw.ColNorm(1.0),
    fw.RowNorm(1.0), fw.Sign(1.0), fw.LpBall(1.0, p=3), fw.Box(-0.2, 0.5), fw.Simplex(1.0),
    fw.UnitSimplex(1.0), fw.Hypersimplex(0.5, k=3), fw.Permutahedron(), fw.Birkhoff(),
    fw.Spectraplex(1.0), fw.UnitSpectrahedron(1.0), fw.Fantope(k=2), fw.Diamond(-0.3, 0.5),
    fw.OWLBall(1.0, weights=tuple(float(w) for w in range(36, 0, -1))),
], ids=str)  # fmt: skip
def test_ten_thousand_float32_steps_stay_feasible(region):
    generator = torch.Generator().manual_seed(0)
    p = nn.Parameter(torch.zeros(6, 6))
    optimizer = over(
        region, lr=0.05, rescale="none", momentum=0.5, spectral="feasible", start="project"
    )([p])
    for _ in range(10_000):
        p.grad = torch.randn(6, 6, generator=generator)
        optimizer.step()
    assert bool(region.contains(p.detach(), 1e-5))
