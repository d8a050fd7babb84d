"""Known answers: section 7 of the two specifications, with their numbers."""

import math

import numpy as np
import pytest

from extremal import frankwolfe as fw
from extremal.frankwolfe._initial import expected_norm

A = np.array
G = A([[3.0, 0.0], [4.0, 5.0]])
S5, S13, S20 = math.sqrt(5), math.sqrt(13), math.sqrt(20)
W = A([3, -1, 0.5, 2, -0.2])

VERTICES = [
    (fw.L1Ball(1.0), [1, -3, 2], [0, 1, 0]),
    (fw.LpBall(1.0, p=3), [1, -8], [-0.3484934217, 0.9856882468]),
    (fw.KSparse(1.0, k=2), [1, -3, 2, 0], [0, 1, -1, 0]),
    (fw.KNorm(1.0, k=2), [3, 1, 0], [-1, 0, 0]),
    (fw.KNorm(1.0, k=2), [1, 1, 1], [-0.5, -0.5, -0.5]),
    (fw.UnitSimplex(1.0), [0.5, -0.2], [0, 1]),
    (fw.UnitSimplex(1.0), [0.5, 0.2], [0, 0]),
    (fw.Simplex(1.0), [0.5, -0.2], [0, 1]),
    (fw.Simplex(1.0), [0.5, 0.2], [0, 1]),
    (fw.Permutahedron(), [0.3, -1, 2], [2, 3, 1]),
    (fw.KSupport(1.0, k=2), [3, -1, 2], [-3 / S13, 0, -2 / S13]),
    (fw.OWLBall(1.0, weights=(3, 2, 1)), [1, -2, 0.5], [0, 1 / 3, 0]),
    (fw.Birkhoff(), [[3, 2, 3], [3, 3, 2], [2, 3, 3]], [[0, 1, 0], [0, 0, 1], [1, 0, 0]]),
    (fw.Birkhoff(), [[4, 1, 3], [2, 0, 5], [3, 2, 2]], [[0, 1, 0], [1, 0, 0], [0, 0, 1]]),
    (fw.SpectralBall(1.0), G, [[-2 / S5, 1 / S5], [-1 / S5, -2 / S5]]),
    (fw.NuclearBall(1.0), G, [[-1 / S20, -1 / S20], [-3 / S20, -3 / S20]]),
    (fw.Spectraplex(1.0), [[3, 0], [0, -1]], [[0, 0], [0, 1]]),
    (fw.UnitSpectrahedron(1.0), [[3, 0], [0, 1]], [[0, 0], [0, 0]]),
    (fw.Spectraplex(1.0), [[3, 0], [0, 1]], [[0, 0], [0, 1]]),
    (fw.KSupport(1.0, k=2), [-3, 4, 0, 1], [0.6, -0.8, 0, 0]),
    (
        fw.GroupKSupport(2.0, k=2),
        [[3, 4], [0, 1], [6, 8]],
        -2 / math.sqrt(125) * A([[3, 4], [0, 0], [6, 8]]),
    ),
    (fw.SpectralKSupport(1.0, k=2), np.diag([3.0, 2, 1]), -np.diag([3.0, 2, 0]) / S13),
    (fw.KyFanKSparse(1.0, k=2), np.diag([3.0, 2, 1]), -np.diag([1.0, 1, 0])),
    (fw.NuclearBall(1.0), np.diag([3.0, 2, 1]), -np.diag([1.0, 0, 0])),
]


@pytest.mark.parametrize(("region", "g", "vertex"), VERTICES, ids=lambda v: type(v).__name__)
def test_vertices(region, g, vertex):
    np.testing.assert_allclose(region.lmo(A(g, dtype=float)), vertex, atol=1e-10)


@pytest.mark.parametrize(
    ("region", "g", "value"),
    [
        (fw.LpBall(1.0, p=3), [1, -8], -8.2339993957),
        (fw.SpectralBall(1.0), G, -4 * S5),
        (fw.NuclearBall(1.0), G, -3 * S5),
        (fw.Birkhoff(), [[3, 2, 3], [3, 3, 2], [2, 3, 3]], 6),
        (fw.Birkhoff(), [[4, 1, 3], [2, 0, 5], [3, 2, 2]], 5),
        (fw.KSupport(1.0, k=2), [-3, 4, 0, 1], -5),
        (fw.GroupKSupport(2.0, k=2), [[3, 4], [0, 1], [6, 8]], -22.360679775),
        (fw.SpectralKSupport(1.0, k=2), np.diag([3.0, 2, 1]), -S13),
        (fw.KyFanKSparse(1.0, k=2), np.diag([3.0, 2, 1]), -5),
    ],
    ids=lambda v: type(v).__name__,
)
def test_values(region, g, value):
    g = A(g, dtype=float)
    assert (g * region.lmo(g)).sum() == pytest.approx(value, abs=1e-9)


S2 = 0.1464466094
PROJECTIONS = [
    (fw.Simplex(1.0), W, [1, 0, 0, 0, 0]),
    (fw.L1Ball(2.0), W, [1.5, 0, 0, 0.5, 0]),
    (fw.UnitSimplex(1.0), [0.2, -0.3, 0.4], [0.2, 0, 0.4]),
    (fw.KSparse(1.0, k=2), [1.5, 0.8, -0.6, 0.3], [1, 17 / 30, -11 / 30, 1 / 15]),
    (fw.KSparse(0.75, k=3), [1, 0.9, -0.8, 0.1, 0.05], [0.75, 0.75, -0.725, 0.025, 0]),
    (fw.KNorm(2.0, k=2), W, [4 / 3, -2 / 3, 0.5, 2 / 3, -0.2]),
    (fw.KNorm(1.0, k=2), [2, 1, 0.9, 0.8], [0.575, 0.425, 0.425, 0.425]),
    (fw.Permutahedron(), [0.5, 0.1, 0.3], [2.2, 1.8, 2]),
    (fw.Permutahedron(), [5, 4.5, 0, 0], [3.75, 3.25, 1.5, 1.5]),
    (fw.Permutahedron(), [2.9, 0.4, 3.1, 1.2], [3.4, 1.1, 3.6, 1.9]),
    (fw.LpBall(1.0, p=3), [2, 1, -0.5], [0.9162787441, 0.5742856472, -0.3457196722]),
    (fw.LpBall(1.0, p=1.5), [2, 1, -0.5], [0.8569172199, 0.3111737235, -0.1032386355]),
    (fw.Hypersimplex(1.0, k=2), [2, 0.5, 0.3, -1], [1, 0.6, 0.4, 0]),
    (fw.Birkhoff(), [[1, 0], [0, 0]], [[0.75, 0.25], [0.25, 0.75]]),
    (
        fw.Birkhoff(),
        [[1, 2, 0], [0, 3, 1], [0, 0, -1]],
        [[0.4, 0.4, 0.2], [0, 0.6, 0.4], [0.6, 0, 0.4]],
    ),
    (fw.NuclearBall(2 * S5), G, [[1, 1], [3, 3]]),
    (fw.SpectralBall(S5), G, [[2, -1], [1, 2]]),
    (fw.Spectraplex(1.0), [[2, 1], [1, 0]], [[0.8535533906, 0.3535533906], [0.3535533906, S2]]),
]


@pytest.mark.parametrize(("region", "y", "point"), PROJECTIONS, ids=lambda v: type(v).__name__)
def test_projections(region, y, point):
    np.testing.assert_allclose(region.project(A(y, dtype=float)), point, atol=1e-10)


@pytest.mark.parametrize(
    ("x", "k", "norm"),
    [
        ([3, 1, 0.5, 2, 0.2], 1, 6.7),
        ([3, 1, 0.5, 2, 0.2], 2, 4.7376154339),
        ([3, 1, 0.5, 2, 0.2], 3, 3.9862262856),
        ([3, 1, 0.5, 2, 0.2], 4, 3.8065732621),
        ([3, 1, 0.5, 2, 0.2], 5, 3.7802116343),
        ([3, 2, 1], 1, 6),
        ([3, 2, 1], 2, math.sqrt(18)),
        ([3, 2, 1], 3, math.sqrt(14)),
        ([1, 1, 1, 1], 2, math.sqrt(8)),
        ([1, 1, 1, 1], 3, math.sqrt(16 / 3)),
        ([5, 1, 1, 1, 1], 2, math.sqrt(41)),
        ([5, 1, 1, 1, 1], 3, math.sqrt(33)),
        ([4, 3, 0, 0], 2, 5),
        ([2, 2, 2, 0], 2, math.sqrt(18)),
        ([0, 0, 0], 2, 0),
    ],
)
def test_k_support_norms(x, k, norm):
    assert float(fw.KSupport(1.0, k=k).gauge(A(x, dtype=float))) == pytest.approx(norm, abs=1e-9)


def test_spectral_k_support_norm():
    region = fw.SpectralKSupport(1.0, k=2)
    assert float(region.gauge(np.diag([3.0, 2, 1]))) == pytest.approx(math.sqrt(18))


def test_six_equal_groups_keep_exactly_two():
    region = fw.GroupKSupport(1.5, k=2)
    v = region.lmo(np.ones((6, 3)))
    assert (np.abs(v).max(1) > 0).sum() == 2
    assert float(region.gauge(v)) == pytest.approx(1.0)


def test_extreme_k_are_known_balls(rng):
    for _ in range(4):
        y = 2 * rng.standard_normal(6)
        np.testing.assert_allclose(
            fw.KSupport(1.0, k=1).project(y), fw.L1Ball(1.0).project(y), atol=1e-9
        )
        np.testing.assert_allclose(
            fw.KSupport(1.0, k=6).project(y), fw.L2Ball(1.0).project(y), atol=1e-9
        )
        m = y.reshape(2, 3)
        np.testing.assert_allclose(
            fw.SpectralKSupport(1.0, k=1).project(m), fw.NuclearBall(1.0).project(m), atol=1e-9
        )


def test_initial_norms():
    # Linear(64, 32) has a weight of shape (32, 64).
    assert expected_norm((32, 64)) == pytest.approx(3.265, abs=0.01)
    samples = np.random.default_rng(0).uniform(-1 / 8, 1 / 8, (400, 32, 64))
    mean = np.linalg.norm(samples.reshape(400, -1), axis=1).mean()
    assert expected_norm((32, 64)) == pytest.approx(mean, rel=1e-3)
    # n = 4: the second-order term matters.
    few = np.random.default_rng(1).uniform(-0.5, 0.5, (200_000, 4))
    assert expected_norm((1, 4)) == pytest.approx(np.linalg.norm(few, axis=1).mean(), rel=5e-3)


def test_radius_from_the_width():
    shape = (64, 16, 3, 3)
    norm = math.sqrt(64 / 3)
    assert fw.KSupport(width=10, k=100).sized(shape).radius == pytest.approx(46.188, abs=1e-2)
    assert fw.KSparse(width=10, k=100).sized(shape).radius == pytest.approx(4.6188, abs=1e-3)
    n = math.prod(shape)
    assert fw.LinfBall(width=2).sized(shape, norm).radius == pytest.approx(2 * norm / math.sqrt(n))
    assert fw.L1Ball(width=2).sized(shape, norm).radius == pytest.approx(2 * norm)
    assert fw.L2Ball(width=2).sized((7,), 0.0).radius == pytest.approx(2.0)  # zeros count as 1
    for region in (fw.L1Ball, fw.LinfBall, fw.SpectralBall, fw.NuclearBall, fw.ColNorm, fw.Sign):
        assert region(diameter=3.0).diameter(shape) == pytest.approx(3.0)
        assert region.from_width(2.0).sized(shape, norm).diameter(shape) == pytest.approx(4 * norm)


def test_fraction_is_floored_and_at_least_one():
    assert fw.KSparse(1.0, fraction=0.1).sized((25,)).k == 2
    assert fw.KSparse(1.0, fraction=0.001).sized((25,)).k == 1
    assert fw.GroupKSupport(1.0, fraction=0.5).sized((7, 3, 3, 3)).k == 3
    assert fw.SpectralKSupport(1.0, fraction=0.5).sized((10, 2, 2, 2)).k == 4


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: fw.L1Ball(0.0), "radius > 0"),
        (lambda: fw.L1Ball(-1.0), "radius > 0"),
        (lambda: fw.L1Ball(math.inf), "finite radius"),
        (lambda: fw.L1Ball(math.nan), "finite radius"),
        (lambda: fw.L1Ball(), "exactly one of radius, diameter and width, got none"),
        (lambda: fw.L1Ball(1.0, diameter=2.0), "got radius and diameter"),
        (lambda: fw.LpBall(1.0, p=0.5), "p >= 1"),
        (lambda: fw.LpBall(1.0, p=math.nan), "p >= 1"),
        (lambda: fw.KSparse(1.0), "one of k and fraction"),
        (lambda: fw.KSparse(1.0, k=2, fraction=0.1), "one of k and fraction"),
        (lambda: fw.KSparse(1.0, k=0), "whole k >= 1"),
        (lambda: fw.KSparse(1.0, k=True), "whole k >= 1"),
        (lambda: fw.KSparse(1.0, fraction=1.5), r"fraction in \(0, 1\]"),
        (lambda: fw.KSparse(1.0, k=6).lmo(np.ones(5)), "k=6 is more than the 5"),
        (lambda: fw.NuclearBall(1.0).lmo(np.ones(5)), "set of matrices"),
        (lambda: fw.Birkhoff().lmo(np.ones((2, 3))), "square"),
        (lambda: fw.Spectraplex(1.0).lmo(np.ones((2, 3))), "square"),
        (lambda: fw.Fantope(k=4).lmo(np.ones((3, 3))), "k=4 is more than the 3"),
        (lambda: fw.SpectralConv(1.0).lmo(np.ones((3, 3))), "kernels"),
        (lambda: fw.SpectralBall(1.0, scaling="x"), "no scaling 'x'"),
        (lambda: fw.OWLBall(1.0, weights=(1, 2)), "descending"),
        (lambda: fw.OWLBall(1.0, weights=(2, 1)).lmo(np.ones(3)), "cannot hold 3"),
        (lambda: fw.Permutahedron((1, 2)).lmo(np.ones(3)), "cannot hold 3"),
        (lambda: fw.Box(1.0, 0.0), "lower <= upper"),
        (lambda: fw.Box([0.0, 0.0], 1.0).lmo(np.ones(3)), "cannot hold 3"),
        (lambda: fw.Diamond(0.5, 1.0), "lower < 0 < upper"),
        (lambda: fw.Ellipsoid([[1.0, 0.0], [0.0, -1.0]]), "positive definite"),
        (lambda: fw.FlowPolytope([[0, 1], [1, 0]], source=0, sink=1), "cycle"),
        (lambda: fw.FlowPolytope([[0, 1]], source=1, sink=0), "no path"),
        (lambda: fw.Product([fw.L1Ball(1.0)], []), "as many shapes"),
        (lambda: fw.L1Ball(1.0).lmo(np.ones(0)), "no entries"),
        (lambda: fw.L1Ball(width=2.0).lmo(np.ones(3)), "layer's inputs"),
        (lambda: fw.L1Ball(width=2.0).radius, "sized"),
        (lambda: fw.from_plain({"region": "Nothing"}), "is no region"),
        (lambda: fw.from_plain({"region": "L1Ball", "k": 1}), "no option k"),
    ],
)
def test_refusals(make, text):
    with pytest.raises(ValueError, match=text):
        make()
