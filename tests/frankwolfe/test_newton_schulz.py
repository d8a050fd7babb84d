"""Spectral steps: polar factors in four grades, and a subspace that is followed."""

import os

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

from .driving import over  # noqa: E402


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


@pytest.mark.parametrize("values", [(1, 0.1), (1, 1e-3), (1, 0), (4e-3, 4e-3)], ids=str)
@pytest.mark.parametrize(
    ("shape", "spectrum"),
    [((2, 520, 530), True), ((3, 128, 1100), True), ((3, 530, 530), False), ((9, 70, 80), False)],
)
def test_large_matrices_take_the_polynomial_too(shape, spectrum, values):
    from extremal.frankwolfe import _newton_schulz as ns

    torch.manual_seed(0)
    rows = shape[1]
    left = torch.linalg.qr(torch.randn(shape[0], rows, rows, dtype=torch.double)).Q
    right = torch.linalg.qr(torch.randn(shape[0], shape[2], rows, dtype=torch.double)).Q
    values = torch.linspace(*values, rows, dtype=torch.double)
    values[0] = 1
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
            assert ns.one_by_one(x.unbind(), "fast") == (rows > 70)
            found = (fw.polar(x, "fast") if spectrum else ns.quintic(x, steps)).double()
            assert torch.get_num_threads() == many
        finally:
            torch.set_num_threads(threads)
        away = torch.linalg.matrix_norm(found - (left * expected) @ right.mT, 2)
        assert float(away.max()) < (0.02 if spectrum else 1e-4)  # of values about 1


def test_halley_facts():
    from extremal.frankwolfe import _newton_schulz as ns

    (a, b, c), (d, e, f) = ns._HALLEY
    assert a + b == pytest.approx(1 + c)  # 1 stays 1
    assert c == pytest.approx(16_000.25, abs=0.01)
    grid = np.concatenate([np.logspace(-7, 0, 1_000_001), np.linspace(0, 1, 1_000_001)])
    one = grid * (a + b * grid**2) / (1 + c * grid**2)
    two = one * (d + e * one**2) / (1 + f * one**2)
    three = two * (3 - two**2) / 2
    for values in (one, two, three):
        assert values.max() <= 1 + 1e-12
    assert two[grid >= 1e-3].min() == pytest.approx(0.9629, abs=1e-4)
    assert three[grid >= 1e-3].min() == pytest.approx(0.9979, abs=1e-4)


def spread(shape, kind):
    """Left and right vectors and values, of a Frobenius norm of 1, of some kinds of matrices."""
    torch.manual_seed(0)
    count, rows, columns = shape
    left = torch.linalg.qr(torch.randn(count, rows, rows, dtype=torch.double)).Q
    right = torch.linalg.qr(torch.randn(count, columns, rows, dtype=torch.double)).Q
    place = torch.arange(rows, dtype=torch.double)
    values = {
        "flat": torch.ones_like(place),
        "falling": 10 ** (-6 * place / rows),
        "one large": torch.where(place < 1, 1.0, 0.03 * torch.rand_like(place)),
        "harmonic": 1 / (1 + place),
        "low rank": torch.where(place < 40, 1.0, 0.0),
    }[kind]
    return left, values / values.norm(), right


@pytest.mark.parametrize("kind", ["flat", "falling", "one large", "harmonic", "low rank"])
@pytest.mark.parametrize("shape", [(2, 200, 230), (1, 192, 500), (3, 300, 300)], ids=str)
def test_large_matrices_take_a_rational_function(shape, kind):
    from extremal.frankwolfe import _newton_schulz as ns

    left, values, right = spread(shape, kind)
    x = 1e-12 * ((left * values) @ right.mT).float()
    assert ns.one_by_one(x.unbind(), "accurate")
    threads = torch.get_num_threads()
    for many in (1, 2):
        torch.set_num_threads(many)
        try:
            found = fw.polar(x, "accurate").double()
            tall = fw.polar(x.mT, "feasible").double().mT
            assert torch.get_num_threads() == many
        finally:
            torch.set_num_threads(threads)
        assert float(torch.linalg.matrix_norm(tall, 2).max()) <= 1
        assert float(torch.linalg.matrix_norm(found, 2).max()) <= 1 + 1e-6
        assert float((found - tall).abs().max()) < 1e-4
        large = values > 1e-3
        inner = left[..., large].mT @ found @ right[..., large]
        assert float(torch.linalg.svdvals(inner).min()) >= 0.997
        assert float((inner - inner.mT).abs().max()) < 1e-3  # the polar factor's directions
        below = left[..., ~large].mT @ found @ right[..., large]
        assert below.numel() == 0 or float(below.abs().max()) < 1e-3


def test_large_matrices_of_zeros_and_of_nan():
    x = torch.zeros(2, 200, 200)
    assert fw.polar(x, "accurate").count_nonzero() == 0
    x[1, 3, 5] = torch.nan
    found = fw.polar(x, "feasible")
    assert found[0].count_nonzero() == 0
    assert found[1].isnan().any()


def test_threads_beside_the_main_one_split_nothing():
    from extremal.frankwolfe._threads import each, one_threaded

    def work(_):
        torch.ones(300_000).mul_(2)  # large enough to be split
        return torch.get_num_threads()

    before = torch.get_num_threads()
    assert set(one_threaded(2).map(work, range(8))) == {1}
    assert torch.get_num_threads() == before
    with torch.inference_mode():
        x = torch.zeros(4)
        each(lambda i: x[i].add_(i), 4)
        assert x.tolist() == [0, 1, 2, 3]


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
