"""Oracles for sequences of directions: as good as the oracle alone, whatever came before."""

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from extremal import frankwolfe as fw

pytest.importorskip("numba")


def least(cost):
    return cost[linear_sum_assignment(cost)].sum()


@pytest.mark.parametrize(
    "kind", ["drift", "anew", "integers", "shifted", "any scale", "falling scale"]
)
@pytest.mark.parametrize("n", [1, 2, 3, 7, 40])
def test_assignments_that_follow_are_the_best(n, kind, rng):
    from extremal.frankwolfe._regions._assignment import assign

    cost = rng.standard_normal((n, n))
    v, column = np.zeros(n), np.full(n, -1)
    for _ in range(25):
        if kind == "drift":
            cost = cost + 0.1 * rng.standard_normal((n, n))
        elif kind == "anew":
            cost = rng.standard_normal((n, n))
        elif kind == "integers":  # ties everywhere
            cost = rng.integers(0, 3, (n, n)).astype(float)
        elif kind == "shifted":
            cost = rng.standard_normal((n, n)) + rng.standard_normal((n, 1)) * 100 + 1000
        elif kind == "any scale":
            cost = rng.standard_normal((n, n)) * 10.0 ** rng.integers(-300, 308)
        else:
            cost = 1e-3 * (cost + 0.1 * np.abs(cost).max() * rng.standard_normal((n, n)))
        assign(cost, v, column)
        assert sorted(column) == list(range(n))
        size = np.abs(cost).max() or 1.0
        found = cost[np.arange(n), column] / size
        assert found.sum() <= least(cost / size) + 1e-13 * n
        w = v if size > 1e150 else v / size
        u = (cost / size - w).min(1)
        np.testing.assert_allclose(u + w[column], found, rtol=0, atol=1e-13)  # the bound


@pytest.mark.parametrize("start", ["random potentials", "wrong assignment", "in part"])
def test_any_start_is_good(start, rng):
    from extremal.frankwolfe._regions._assignment import assign

    n = 30
    cost = rng.random((n, n))
    v, column = np.zeros(n), np.full(n, -1)
    if start == "random potentials":
        v = 10 * rng.standard_normal(n)
    elif start == "wrong assignment":
        column = rng.permutation(n)
    else:
        column = np.where(np.arange(n) % 2 == 0, rng.permutation(n), -1)
    assign(cost, v, column)
    assert sorted(column) == list(range(n))
    assert cost[np.arange(n), column].sum() == pytest.approx(least(cost), abs=1e-12)


def test_birkhoff_oracles_follow_one_sequence_each(rng):
    region = fw.Birkhoff()
    lmo, other = region.following(), region.following()
    for n in (6, 6, 6, 4, 4):  # another size starts anew
        g = rng.standard_normal((n, n))
        np.testing.assert_array_equal(lmo(g), region.lmo(g))
        np.testing.assert_array_equal(other(-1e9 * g), region.lmo(-g))
    single = rng.standard_normal((4, 4)).astype(np.float32)
    assert lmo(single).dtype == np.float32
    with pytest.raises(ValueError, match="NaN"):
        lmo(np.full((4, 4), np.nan))
    with pytest.raises(ValueError, match="square"):
        lmo(np.ones((4, 5)))


def test_products_follow_block_by_block(rng):
    region = fw.Product([fw.Birkhoff(), fw.L1Ball(2.0)], shapes=[(3, 3), (4,)])
    lmo = region.following()
    for _ in range(4):
        g = rng.standard_normal(13)
        np.testing.assert_array_equal(lmo(g), region.lmo(g))


@pytest.mark.parametrize("method", ["frank-wolfe", "pairwise", "away"])
def test_minimize_finds_the_nearest_doubly_stochastic_matrix(method, rng):
    target = rng.standard_normal((8, 8)) / 4

    def half_square(x):
        return 0.5 * float(((x - target) ** 2).sum()), x - target

    region = fw.Birkhoff()
    found = fw.minimize(
        half_square, region, shape=(8, 8), method=method, gap=1e-3, iterations=20_000
    )
    assert found.gap <= 1e-3
    assert float(region.gap(found.x - target, found.x)) <= 1e-3 + 1e-12
    assert np.abs(found.x - region.project(target)).max() < 0.05  # twice the gap bounds the square
