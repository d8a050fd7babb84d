"""The contract that every region inherits, in NumPy and torch."""

import copy
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from extremal import frankwolfe as fw

_spec = importlib.util.spec_from_file_location("cases", Path(__file__).with_name("region_cases.py"))
cases = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(cases)
CASES, VERTICES = cases.CASES, cases.VERTICES

NAMES = list(CASES)
# Rounding: values are of size 10, and Birkhoff and hull projections stop at 1e-12.
TOL = 1e-9


@pytest.fixture(params=NAMES)
def case(request):
    return request.param, *CASES[request.param]


@pytest.fixture(params=["numpy", "torch"])
def make(request):
    """A function that makes an array of the library from a NumPy one."""
    if request.param == "numpy":
        return np.asarray
    return pytest.importorskip("torch").from_numpy


def plain(x):
    return np.asarray(x)


def inner(a, b):
    return float((plain(a) * plain(b)).sum())


def test_every_region_has_a_case():
    pytest.importorskip("torch")  # the optimizers are among the names
    kinds = {type(region).__name__ for region, _ in CASES.values()} | {"Oracle", "Region"}
    found = {n for n in fw.__all__ if isinstance(getattr(fw, n), type)}
    assert {n for n in found if issubclass(getattr(fw, n), fw.Region)} == kinds


def test_the_lmo_is_feasible_and_best(case, make, rng):
    name, region, shape = case
    for _ in range(10):
        g = rng.standard_normal(shape)
        v = region.lmo(make(g))
        assert bool(region.contains(v, 1e-9))
        value = inner(g, v)
        assert value == pytest.approx(-float(region.support(make(-g))), abs=1e-12)
        if name in VERTICES:
            points = VERTICES[name]
            assert value == pytest.approx((points @ g.ravel()).min(), abs=1e-12)
            assert np.abs(points - plain(v).ravel()).max(1).min() < 1e-12
        x = feasible(region, rng, shape)
        assert value <= inner(g, x) + 1e-12


def feasible(region, rng, shape):
    """A random point inside: a random average of random extreme points."""
    points = [region.extreme_random(rng, shape) for _ in range(4)]
    return sum(w * p for w, p in zip(rng.dirichlet(np.ones(4)), points, strict=True))


def test_the_lmo_does_not_depend_on_scale(case, make, rng):
    _, region, shape = case
    g = rng.standard_normal(shape)
    v = plain(region.lmo(make(g)))
    for c in (1e-30, 0.5, 1e30):
        np.testing.assert_allclose(plain(region.lmo(make(c * g))), v, atol=1e-12)


def test_a_zero_direction_gives_an_extreme_point(case, make):
    _, region, shape = case
    v = region.lmo(make(np.zeros(shape)))
    assert np.isfinite(plain(v)).all()
    assert bool(region.contains(v, 1e-9))
    np.testing.assert_array_equal(plain(v), plain(region.lmo(make(np.zeros(shape)))))


def test_a_projection_is_certified_by_the_lmo(case, make, rng):
    _, region, shape = case
    for size in (0.3, 1.0, 5.0):
        for _ in range(3):
            y = size * rng.standard_normal(shape)
            p = region.project(make(y))
            assert bool(region.contains(p, 1e-9))
            away = y - plain(p)
            v = plain(region.lmo(make(-away)))
            assert inner(away, v - plain(p)) <= TOL * (1 + inner(away, away))
            np.testing.assert_allclose(plain(region.project(p)), plain(p), atol=1e-7)


def test_a_projection_of_ties_and_zeros_is_certified_too(case, make):
    _, region, shape = case
    n = int(np.prod(shape))
    for row in (
        [1.0] * n,
        [0.0] * n,
        [2.0, -2.0] * n,
        [5.0] + [0.0] * (n - 1),
        [3.0, 3.0, 0.0] * n,
    ):
        y = np.array(row[:n]).reshape(shape)
        p = region.project(make(y))
        away = y - plain(p)
        assert bool(region.contains(p, 1e-9))
        assert inner(away, plain(region.lmo(make(-away))) - plain(p)) <= TOL * (
            1 + inner(away, away)
        )


def test_a_feasible_point_stays(case, make, rng):
    _, region, shape = case
    x = feasible(region, rng, shape)
    assert bool(region.contains(make(x), 1e-9))
    np.testing.assert_allclose(plain(region.project(make(x))), x, atol=1e-6)


def test_projections_do_not_expand(case, make, rng):
    _, region, shape = case
    for _ in range(2):
        y, z = 2 * rng.standard_normal((2, *shape))
        p, q = plain(region.project(make(y))), plain(region.project(make(z)))
        assert np.linalg.norm(p - q) <= np.linalg.norm(y - z) + 1e-9


def has_gauge(region):
    try:
        region.gauge(np.ones(CASES_SHAPE[id(region)]))
    except ValueError:
        return False
    return True


CASES_SHAPE = {id(region): shape for region, shape in CASES.values()}


def test_gauge_shrink_and_contains_agree(case, make, rng):
    _, region, shape = case
    if not has_gauge(region):
        with pytest.raises(ValueError, match=r"no gauge.*contains"):
            region.gauge(make(np.ones(shape)))
        return
    for _ in range(5):
        x = 4 * rng.standard_normal(shape)
        t = float(region.gauge(make(x)))
        assert float(region.gauge(make(2 * x))) == pytest.approx(2 * t, rel=1e-12)
        assert bool(region.contains(make(x), 0.0)) == (t <= 1)
        inside = region.shrink(make(x))
        assert float(region.gauge(inside)) == pytest.approx(min(t, 1.0), rel=1e-12)
        # The gauge is a supremum over the polar set: no direction shows a larger one.
        g = rng.standard_normal(shape)
        assert inner(g, x) <= t * float(region.support(make(g))) + 1e-9
    assert float(region.gauge(region.lmo(make(rng.standard_normal(shape))))) == pytest.approx(1.0)


def test_the_diameter_is_that_of_the_vertices(case, rng):
    name, region, shape = case
    stated = region.diameter(shape)
    if name in VERTICES:
        points = VERTICES[name]
        true = np.linalg.norm(points[:, None] - points[None], axis=-1).max()
    else:  # a lower bound: opposite extreme points
        true = max(
            np.linalg.norm(region.lmo(g) - region.lmo(-g))
            for g in rng.standard_normal((200, *shape))
        )
    if name == "FlowPolytope":  # stated as an upper bound
        assert stated >= true - 1e-12
    elif name in VERTICES:
        assert stated == pytest.approx(true, rel=1e-12)
    else:
        assert true <= stated * (1 + 1e-9)
        assert true >= 0.6 * stated


def test_a_batch_is_a_loop(case, make, rng):
    _, region, shape = case
    y = rng.standard_normal((2, 3, *shape))
    for verb in ("lmo", "project"):
        together = plain(getattr(region, verb)(make(y), batch=2))
        for i in range(2):
            for j in range(3):
                alone = plain(getattr(region, verb)(make(y[i, j])))
                np.testing.assert_allclose(together[i, j], alone, atol=1e-9)
    inside = plain(region.contains(make(y), batch=2))
    assert inside.shape == (2, 3)


def test_numpy_and_torch_agree(case, rng):
    torch = pytest.importorskip("torch")
    _, region, shape = case
    y = rng.standard_normal((4, *shape))
    for verb in ("lmo", "project"):
        one = getattr(region, verb)(y, batch=1)
        two = getattr(region, verb)(torch.from_numpy(y), batch=1)
        np.testing.assert_allclose(one, two.numpy(), atol=1e-10)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_type_and_device_are_kept(case, dtype, rng):
    torch = pytest.importorskip("torch")
    _, region, shape = case
    y = torch.from_numpy(rng.standard_normal(shape)).to(getattr(torch, dtype))
    for x in (region.lmo(y), region.project(y)):
        assert x.dtype == y.dtype
        assert x.shape == y.shape
        assert bool(region.contains(x, 2e-2 if dtype in ("float16", "bfloat16") else 1e-5))


def test_arguments_are_left_alone(case, make, rng):
    _, region, shape = case
    y = rng.standard_normal(shape)
    kept = y.copy()
    given = make(y)
    region.lmo(given), region.project(given), region.contains(given)
    np.testing.assert_array_equal(plain(given), kept)


def test_plain_form_and_copies_are_equal(case):
    import json

    _, region, shape = case
    again = fw.from_plain(json.loads(json.dumps(region.as_plain())))
    assert again == region
    assert hash(again) == hash(region)
    assert copy.deepcopy(region) == region
    assert repr(region)
    assert again.diameter(shape) == region.diameter(shape)
    with pytest.raises(AttributeError, match="cannot be changed"):
        region._radius = 2.0


def test_random_extreme_points_repeat(case):
    _, region, shape = case
    one, two = (region.extreme_random(np.random.default_rng(3), shape, batch=(2,)) for _ in "ab")
    np.testing.assert_array_equal(one, two)
    assert bool(np.all(region.contains(one, 1e-9, batch=1)))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_bad_entries_are_refused(case, make, bad):
    _, region, shape = case
    g = np.zeros(shape)
    g.flat[-1] = bad
    with pytest.raises(ValueError, match="NaN or infinity"):
        region.lmo(make(g))


def test_bad_types_are_refused(case):
    _, region, shape = case
    for dtype in (np.int64, np.complex128, np.bool_):
        with pytest.raises(ValueError, match="real floating-point"):
            region.lmo(np.zeros(shape, dtype=dtype))


def test_an_oracle_is_a_region(rng):
    box = fw.Box(-1.0, 2.0)
    oracle = fw.Oracle(lambda g: box.lmo(g), diameter=10.0)
    for _ in range(5):
        y = 3 * rng.standard_normal(4)
        np.testing.assert_allclose(oracle.project(y), box.project(y), atol=1e-7)
        assert bool(oracle.contains(box.project(y), 1e-6))
    assert oracle.diameter((4,)) == 10.0
    with pytest.raises(ValueError, match="cannot be written"):
        oracle.as_plain()
    with pytest.raises(ValueError, match="must return a point"):
        fw.Oracle(lambda g: g[:2]).lmo(np.ones(3))


def test_a_radius_for_each_element(rng):
    radii = np.array([0.5, 2.0, 3.0])
    y = rng.standard_normal((3, 5))
    for region in (fw.L1Ball(1.0), fw.KSupport(1.0, k=2), fw.LinfBall(1.0)):
        v = region.lmo(y, batch=1, radius=radii)
        p = region.project(y, batch=1, radius=radii)
        for i, r in enumerate(radii):
            alone = region._replaced(radius=float(r))
            np.testing.assert_allclose(v[i], alone.lmo(y[i]), atol=1e-12)
            np.testing.assert_allclose(p[i], alone.project(y[i]), atol=1e-12)
    with pytest.raises(ValueError, match="one radius for each"):
        fw.L1Ball(1.0).lmo(y, batch=1, radius=radii[:2])
    with pytest.raises(ValueError, match="has no radius"):
        fw.Birkhoff().lmo(np.eye(3)[None], batch=1, radius=radii[:1])


def test_regions_do_not_need_torch():
    import subprocess

    program = (
        "import sys; import numpy as np; from extremal import frankwolfe as fw; "
        "fw.KSupport(1.0, k=2).project(np.arange(5.0)); fw.Birkhoff().project(np.eye(3)); "
        "sys.exit('torch' in sys.modules or 'numba' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
