"""The optimizers: known answers, equivalences, and everything torch does around them."""

import copy
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

from .driving import KERNELS, X, Y, drive, gradients, network, over, train  # noqa: E402

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
