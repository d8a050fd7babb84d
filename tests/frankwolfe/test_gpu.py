"""On a GPU: the regions' contract, steps without waiting for the device, files, compiled loops."""

import copy
import importlib.util
import warnings
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

from .driving import KERNELS, gradients, over, uneven  # noqa: E402

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA"),
]
_spec = importlib.util.spec_from_file_location("cases", Path(__file__).with_name("region_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)

NAMES = list(cases.CASES)
# Their oracles are assignments, shortest paths, eigenvectors or decompositions, which torch or
# SciPy only give to a host that waits.
WAITS = {
    "Birkhoff", "KyFanKSparse", "Spectraplex", "UnitSpectrahedron", "Fantope",
    "FlowPolytope", "Ellipsoid", "Hull", "Product", "Permutahedron", "Permutahedron-w", "OWLBall",
    "Diamond", "Box",
}  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_the_contract_is_that_of_the_cpu(name, rng):
    region, shape = cases.CASES[name]
    y = rng.standard_normal((4, *shape))
    there = torch.from_numpy(y).cuda()
    for verb in ("lmo", "project"):
        found = getattr(region, verb)(there, batch=1)
        assert found.is_cuda
        # Decompositions differ in the last digits between libraries.
        np.testing.assert_allclose(
            getattr(region, verb)(y, batch=1), found.cpu().numpy(), atol=1e-9
        )
        assert bool(region.contains(found, 1e-8, batch=1).all())
    g = rng.standard_normal((4, *shape))
    away = there - region.project(there, batch=1)
    best = region.lmo(-away, batch=1)
    gain = (away * (best - region.project(there, batch=1))).reshape(4, -1).sum(1)
    assert float(gain.max()) <= 1e-7 * (1 + float((away * away).sum()))
    np.testing.assert_allclose(
        region.support(g, batch=1), region.support(torch.from_numpy(g).cuda(), batch=1).cpu(),
        atol=1e-9,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
@pytest.mark.parametrize("name", NAMES)
def test_types_are_kept(name, dtype, rng):
    region, shape = cases.CASES[name]
    y = torch.from_numpy(rng.standard_normal(shape)).cuda().to(getattr(torch, dtype))
    for x in (region.lmo(y), region.project(y)):
        assert x.dtype == y.dtype
        assert x.is_cuda
        assert bool(region.contains(x, 1e-5 if dtype == "float32" else 2e-2))


@pytest.mark.parametrize("rescale", ["none", "diameter", "gradient", "fast_gradient"])
@pytest.mark.parametrize("region", KERNELS, ids=str)
def test_fused_steps_agree_with_plain_ones_on_the_cpu(region, rescale):
    shapes = [(40, 1000), (3,), (16, 8, 3, 3), (1,), (), (300, 130)]
    steps = gradients(shapes, 6, seed=5)
    steps[2][1][:] = 0.25  # ties
    for step in steps:
        step[5].round_()
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(torch.zeros(s, device=device)) for s in shapes]
        optimizer = over(
            region, lr=0.3, rescale=rescale, momentum_seed="gradient",
            fused=False if device == "cpu" else None,
        )(params)  # fmt: skip
        for step in steps:
            for p, g in zip(params, step, strict=True):
                p.grad = g.to(device)
            optimizer.step()
        found.append([p.detach().cpu() for p in params])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=4e-6, rtol=0)


@pytest.mark.parametrize("rescale", ["none", "diameter", "gradient", "fast_gradient"])
@pytest.mark.parametrize("region", [fw.GroupKSupport(2.0, fraction=0.2), fw.GroupL1(2.0)], ids=str)
def test_steps_over_groups_agree_with_plain_ones_on_the_cpu(region, rescale):
    shapes = [(64, 40), (16, 8, 3, 3), (10, 1500)]
    steps = gradients(shapes, 3, seed=5)
    steps[1][0][:] = 1.0  # ties
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(torch.zeros(s, device=device)) for s in shapes]
        params[1].data = params[1].data.contiguous(memory_format=torch.channels_last)
        optimizer = over(region, lr=0.1, rescale=rescale, momentum_seed="gradient")(params)
        for number, step in enumerate(steps):
            for p, g in zip(params, step, strict=True):
                layout = torch.channels_last if g.ndim == 4 else torch.contiguous_format
                p.grad = g.to(device).contiguous(memory_format=layout)
            quiet(optimizer.step) if number and device == "cuda" else optimizer.step()
        found.append([p.detach().cpu() for p in params])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=2e-6, rtol=0)


@pytest.mark.parametrize("region", KERNELS[:3], ids=str)
@pytest.mark.parametrize(
    "options", [{}, {"clip": (0.5, 2.0), "cap": 0.3}, {"inner_steps": 1}], ids=str
)
@pytest.mark.parametrize("make", [fw.AdaSFW, fw.AdamSFW])
def test_adaptive_steps_agree_with_plain_ones_on_the_cpu(make, region, options):
    shapes = [(40, 1000), (3,), (16, 8, 3, 3), (1,), ()]
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(torch.zeros(s, device=device)) for s in shapes]
        given = {"lr": 0.1, "inner_steps": 3, **options}
        optimizer = make(
            [{"params": params, "region": region}], fused=False if device == "cpu" else None,
            **given,
        )  # fmt: skip
        for number, step in enumerate(gradients(shapes, 4, seed=5)):
            for p, g in zip(params, step, strict=True):
                p.grad = g.to(device)
            quiet(optimizer.step) if number and device == "cuda" else optimizer.step()
        found.append([p.detach().cpu() for p in params])
    for one, two in zip(*found, strict=True):
        # A vertex of the maximum norm changes sign where q is 0 up to rounding.
        assert float((one - two).norm()) <= 2e-3 * float(one.norm()) + 1e-7


@pytest.mark.parametrize("rescale", ["none", "gradient"])
@pytest.mark.parametrize(
    "kind", ["mostly-zero", "rows-of-all-sizes", "few-values", "sorted", "ones"]
)
@pytest.mark.parametrize("k", [1, 700, 60_000, 119_999, 120_000])
def test_exactly_the_largest_move(kind, k, rescale):
    for make in (fw.KSparse, fw.KSupport):
        found = []
        for device in ("cpu", "cuda"):
            x = 1e-4 * torch.randn(300, 400, generator=torch.Generator().manual_seed(7))
            dtype = torch.float64 if device == "cpu" else torch.float32
            p = nn.Parameter(x.to(device, dtype))
            p.grad = uneven(kind).to(device, dtype)
            lr = 0.5 if rescale == "none" else 1e-3
            optimizer = over(make(100.0, k=k), lr=lr, rescale=rescale)([p])
            optimizer.step()
            optimizer.step()
            found.append(p.detach().cpu().double())
        scale = float(found[0].abs().max())
        torch.testing.assert_close(found[1] / scale, found[0] / scale, atol=1e-6, rtol=0)


def test_runs_repeat_to_the_bit():
    found = []
    for _ in range(2):
        p = nn.Parameter(torch.zeros(700, 900, device="cuda"))
        optimizer = over(fw.KSupport(2.0, fraction=0.1), lr=0.1)([p])
        for (g,) in gradients([(700, 900)], 4, seed=5):
            p.grad = g.cuda()
            optimizer.step()
        found.append(p.detach().clone())
    assert found[0].equal(found[1])


def quiet(step):
    """Run a step; a call that waits for the device raises."""
    torch.cuda.synchronize()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # torch calls the mode a prototype
            torch.cuda.set_sync_debug_mode("error")
        step()
    finally:
        torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("rescale", ["none", "gradient"])
@pytest.mark.parametrize("name", [n for n in NAMES if n not in WAITS])
def test_no_step_waits_for_the_device(name, rescale):
    region, shape = cases.CASES[name]
    params = [nn.Parameter(torch.zeros(shape, device="cuda")) for _ in range(3)]
    if not bool(region.contains(params[0].detach(), 1e-5)):
        for p in params:
            p.data = region.lmo(torch.randn(shape, device="cuda"))
    optimizer = over(region, lr=0.1, rescale=rescale)(params)
    for number in range(4):
        for p in params:
            p.grad = torch.randn_like(p)
        quiet(optimizer.step) if number else optimizer.step()  # the first makes state and kernels
    assert all(bool(region.contains(p.detach(), 1e-4)) for p in params)


@pytest.mark.parametrize("rescale", ["none", "diameter", "fast_gradient", "gradient"])
@pytest.mark.parametrize("mode", ["fast", "accurate", "feasible"])
def test_spectral_stacks_agree_with_matrices_on_the_cpu(mode, rescale):
    shapes = [(64, 64), (96, 32), (64, 64), (16, 8, 3, 3), (32, 96), (96, 32)]
    region = fw.SpectralBall(1.0, scaling="max")
    found = []
    for device in ("cpu", "cuda"):
        params = [nn.Parameter(torch.zeros(s, device=device)) for s in shapes]
        optimizer = over(region, lr=0.1, spectral=mode, rescale=rescale)(params)
        for number, step in enumerate(gradients(shapes, 3, seed=5)):
            for p, g in zip(params, step, strict=True):
                p.grad = g.to(device)
            quiet(optimizer.step) if number and device == "cuda" else optimizer.step()
        found.append([p.detach().cpu() for p in params])
    for one, two in zip(*found, strict=True):
        # The fast mode rounds to bfloat16 on a GPU.
        error = float((one - two).norm() / one.norm())
        assert error < (3e-2 if mode == "fast" else 1e-4)


def test_muon_agrees_with_torch():
    shapes = [(64, 64), (96, 32), (32, 96)]
    found = []
    for make in (
        lambda ps: fw.Muon([{"params": ps}], lr=1e-2, weight_decay=0.1),
        lambda ps: torch.optim.Muon(ps, lr=1e-2, weight_decay=0.1),
    ):
        params = [nn.Parameter(torch.zeros(s, device="cuda")) for s in shapes]
        optimizer = make(params)
        for step in gradients(shapes, 3, seed=5):
            for p, g in zip(params, step, strict=True):
                p.grad = g.cuda()
            optimizer.step()
        found.append([p.detach() for p in params])
    for one, two in zip(*found, strict=True):
        assert float((one - two).norm() / two.norm()) < 2e-2  # both round to bfloat16


def network():
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 12, 3), nn.BatchNorm2d(12), nn.ReLU(), nn.Conv2d(12, 12, 3), nn.ReLU(),
        nn.Flatten(), nn.Linear(12 * 16, 10),
    ).cuda()  # fmt: skip


X = torch.randn(32, 1, 8, 8, generator=torch.Generator().manual_seed(3))
Y = torch.arange(32) % 10

OPTIMIZERS = {
    "sfw-l2": lambda m: fw.SFW(fw.regions_for(m, weights=fw.L2Ball(width=10)), lr=0.1),
    "sfw-k-support": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.KSupport(width=10, fraction=0.2)), lr=0.1
    ),
    "sfw-group": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.GroupKSupport(width=10, fraction=0.5)), lr=0.1
    ),
    "sfw-spectral-k-support": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.SpectralKSupport(width=10, fraction=0.2)), lr=0.1
    ),
    "sfw-spectral": lambda m: fw.SFW(
        fw.regions_for(m, weights=fw.SpectralBall(width=10)), lr=0.1
    ),
    "adasfw": lambda m: fw.AdaSFW(fw.regions_for(m, weights=fw.LinfBall(width=10)), lr=0.02),
    "adamsfw": lambda m: fw.AdamSFW(fw.regions_for(m, weights=fw.L2Ball(width=10)), lr=0.02),
    "msfw": lambda m: fw.MSFW(fw.regions_for(m, weights=fw.L2Ball(width=10)), lr=0.1),
    "projected": lambda m: fw.ProjectedSGD(fw.regions_for(m, weights=fw.L2Ball(width=10)), lr=0.1),
    "muon": lambda m: fw.Muon(m, lr=0.02, free_lr=0.01),
    "scion": lambda m: fw.Scion(m, lr=2**-5, free_lr=0.1),
}  # fmt: skip


def advance(model, optimizer, steps, wait=True):
    x, y = X.cuda(), Y.cuda()
    losses = []
    for _ in range(steps):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step() if wait else quiet(optimizer.step)
        losses.append(float(loss.detach()))
    return losses


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_optimizers_learn_quietly_save_and_load_bit_exactly(name, tmp_path):
    torch.backends.cudnn.deterministic = True
    model = network()
    optimizer = OPTIMIZERS[name](model)
    losses = advance(model, optimizer, 6)
    # A projection measures norms on the host.
    losses += advance(model, optimizer, 6, wait=name == "projected")
    assert losses[-1] < losses[0]
    file = tmp_path / "state.pt"
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, file)
    kept = torch.load(file, weights_only=True)
    again = network()
    again.load_state_dict(kept["model"])
    other = OPTIMIZERS[name](again)
    other.load_state_dict(kept["optimizer"])
    copied = copy.deepcopy(model)
    advance(model, optimizer, 3)
    advance(again, other, 3)
    assert all(a.equal(b) for a, b in zip(model.parameters(), again.parameters(), strict=True))
    assert not all(a.equal(b) for a, b in zip(model.parameters(), copied.parameters(), strict=True))


@pytest.mark.parametrize("name", ["sfw-l2", "sfw-k-support", "sfw-group", "muon", "adasfw"])
def test_a_bad_gradient_moves_nothing_and_is_named(name):
    model = network()
    optimizer = OPTIMIZERS[name](model)
    advance(model, optimizer, 2)
    before = [p.detach().clone() for p in model.parameters()]
    for p in model.parameters():
        p.grad = torch.zeros_like(p)
    model[3].weight.grad[0, 0, 0, 0] = float("nan")
    optimizer.step()
    assert model[3].weight.detach().equal(before[3 + 1])
    torch.cuda.synchronize()  # by now the host may know
    with pytest.raises(fw.FrankWolfeError, match=r"3\.weight.*NaN"):
        optimizer.step()


def test_a_loop_with_a_step_compiles():
    found = []
    for compiled in (False, True):
        model = network()
        optimizer = OPTIMIZERS["sfw-k-support"](model)

        def step(model=model, optimizer=optimizer):
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(X.cuda()), Y.cuda()).backward()
            optimizer.step()

        # Without a compiler of kernels: the question is whether a step may stand in a traced loop.
        step = torch.compile(step, backend="eager") if compiled else step
        for _ in range(3):
            step()
        found.append([p.detach().clone() for p in model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=2e-3, rtol=0)


CAPTURED = {
    "sfw-l2": OPTIMIZERS["sfw-l2"],
    "sfw-k-support": OPTIMIZERS["sfw-k-support"],
    # AdamW's count of steps is a number of the host, which a graph would repeat.
    "muon": lambda m: fw.Muon(m, lr=0.02, free="sgd", free_lr=0.01),
}


@pytest.mark.parametrize("name", CAPTURED)
def test_a_step_can_be_captured_in_a_graph(name):
    found = []
    for captured in (False, True):
        model = network()
        optimizer = CAPTURED[name](model)
        for p in model.parameters():
            p.grad = torch.ones_like(p)
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            for _ in range(3):
                optimizer.step()
        torch.cuda.synchronize()
        if captured:
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                optimizer.step()
            for _ in range(2):
                graph.replay()
        else:
            for _ in range(2):
                optimizer.step()
        torch.cuda.synchronize()
        found.append([p.detach().clone() for p in model.parameters()])
    for one, two in zip(*found, strict=True):
        torch.testing.assert_close(one, two, atol=1e-6, rtol=1e-5)


def test_the_leading_subspace_follows_a_drifting_matrix():
    from extremal.frankwolfe._subspace import leading_vertices

    m, n, k = 256, 1024, 25
    generator = torch.Generator().manual_seed(0)
    left = torch.linalg.qr(torch.randn(m, m, generator=generator)).Q
    right = torch.linalg.qr(torch.randn(n, m, generator=generator)).Q
    signal = (left * torch.arange(1, m + 1).pow(-0.5)) @ right.mT
    signal /= signal.norm()
    average = torch.zeros(m, n)
    state = {}
    for step in range(8):
        noise = torch.randn(m, n, generator=generator) / (m * n) ** 0.5
        average.lerp_(signal + noise, 0.1)
        v = leading_vertices(average[None].cuda(), [state], k, step)[0].cpu()
        best = torch.linalg.svdvals(average)[:k].norm()
        assert float(v.norm()) <= 1 + 1e-5
        assert torch.linalg.matrix_rank(v) <= k
        if step >= 2:
            assert float(-(average * v).sum() / best) >= 0.999
