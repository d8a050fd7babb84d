"""The GPU evaluator: its kernels compiled by g++ here, on a device where there is one."""

import importlib.util

import numpy as np
import pytest

from extremal import tcurves
from extremal.lab import MissingExtra
from extremal.tcurves import _gpu
from extremal.tcurves._flood import flood
from extremal.tcurves._glued import glued

from .flood_on_cpu import COMPILER, OnCpu

compiles = pytest.mark.skipif(COMPILER is None, reason="no g++")


@pytest.fixture(scope="module")
def cpu(tmp_path_factory):
    return OnCpu(tmp_path_factory.mktemp("flood"))


def random_signs(t, count, seed=0):
    return np.random.default_rng(seed).integers(0, 2, (count, t.n), dtype=np.uint8)


@compiles
@pytest.mark.parametrize(
    "name",
    ["honeycomb-1", "honeycomb-4", "bat", "cen", "honeycomb-7", "strip-fan-8", "honeycomb-12"],
)
def test_batches_are_named_as_by_the_evaluator_of_the_cpu(cpu, name):
    t = tcurves.named(name)
    signs = random_signs(t, 300)
    wanted = tcurves.schemes(t, signs)
    index, types = _gpu.indices(t, signs, cpu)
    assert types == wanted.types
    assert (index == wanted.index).all()


@compiles
def test_curves_that_random_signs_do_not_meet(cpu):
    """The deepest nest, and all four Harnack curves, of both parities."""
    for d in (2, 3, 6, 7, 10):
        t = tcurves.honeycomb(d)
        rows = [[0] * t.n]
        rows += [
            [(i % 2, j % 2) == c for i, j in t.points] for c in ((0, 0), (0, 1), (1, 0), (1, 1))
        ]
        signs = np.array(rows, np.uint8)
        wanted = tcurves.schemes(t, signs)
        index, types = _gpu.indices(t, signs, cpu)
        assert [types[k] for k in index] == list(wanted)


@compiles
def test_random_triangulations(cpu):
    for d, seed in ((3, 0), (5, 1), (6, 2), (6, 3), (7, 4), (8, 5)):
        t = tcurves.random_triangulation(d, seed, steps=200)
        signs = random_signs(t, 200, seed)
        index, types = _gpu.indices(t, signs, cpu)
        assert [types[k] for k in index] == list(tcurves.schemes(t, signs))


@compiles
@pytest.mark.parametrize("name", ["honeycomb-2", "honeycomb-3", "honeycomb-4", "honeycomb-5"])
def test_histograms_equal_the_census_and_witnesses_are_the_first(cpu, name):
    found = _gpu.exhaust(tcurves.named(name), device=cpu)
    census = tcurves.census(name)
    assert found.counts == {e.scheme: e.count for e in census.entries}
    t = tcurves.named(name)
    free, fixed = _gpu.free_points(t)
    signs = np.zeros((1 << len(free), t.n), np.uint8)
    for k, sign in fixed.items():
        signs[:, k] = sign
    for j, k in enumerate(free):
        signs[:, k] = np.arange(len(signs)) >> j & 1
    batch = tcurves.schemes(t, signs)
    for scheme, first in batch.witnesses().items():
        assert found.witnesses[scheme] == "".join(map(str, signs[first].tolist()))


@compiles
def test_other_values_than_signs_are_refused(cpu):
    t = tcurves.named("honeycomb-4")
    signs = random_signs(t, 50)
    signs[17, 3] = 2
    with pytest.raises(ValueError, match="signs are 0 and 1"):
        _gpu.indices(t, signs, cpu)


@pytest.mark.parametrize("name", ["honeycomb-5", "bat", "cen", "strip-fan-10"])
def test_copies_are_renumbered_and_turned_consistently(name):
    t = tcurves.named(name)
    complex_, tables = glued(t), flood(t)
    assert sorted(tables.number.tolist()) == list(range(2 * t.degree**2 + 1))
    # the cycle is closed, each step is an edge, and its twists add up to an odd number
    rows = {}
    for u, v, twist, _ in complex_.edges.tolist():
        new = twist ^ int(tables.turned[u]) ^ int(tables.turned[v])
        a, b = int(tables.number[u]), int(tables.number[v])
        rows.setdefault((a, b), set()).add(new)
        rows.setdefault((b, a), set()).add(new)
    cycle = tables.cycle.tolist()
    for here, there in zip(cycle, cycle[1:] + cycle[:1], strict=True):
        assert here & 1 in rows[here >> 1, there >> 1]
    assert sum(here & 1 for here in cycle) % 2 == 1
    assert all(
        max(a, b) < 32 * tables.twisted_words for (a, b), twists in rows.items() if 1 in twists
    )


def test_without_a_device_it_says_so():
    if importlib.util.find_spec("cupy") is None:
        with pytest.raises(MissingExtra, match="tcurves-cuda"):
            tcurves.schemes(tcurves.honeycomb(2), ["000000"], device="cuda")
        return
    import cupy

    if cupy.cuda.is_available():
        assert tcurves.schemes(tcurves.honeycomb(2), ["000000"], device="cuda")[0].ovals == 1
        return
    with pytest.raises(tcurves.TCurveError, match="no CUDA device"):
        tcurves.schemes(tcurves.honeycomb(2), ["000000"], device="cuda")


@pytest.mark.gpu
@pytest.mark.parametrize("name", ["honeycomb-1", "honeycomb-5", "bat", "moth", "honeycomb-6"])
def test_exhaustive_histograms_equal_the_census(name):
    found = _gpu.exhaust(tcurves.named(name))
    census = tcurves.census(name)
    assert found.counts == {e.scheme: e.count for e in census.entries}
    for scheme, signs in found.witnesses.items():
        assert tcurves.scheme(name, signs) == scheme


@pytest.mark.gpu
@pytest.mark.parametrize(
    "name",
    ["bat", "moth", "cen", "spl", "fra", "honeycomb-7", "honeycomb-8", "strip-fan-8", "honeycomb-9",
     "strip-fan-10", "honeycomb-10", "strip-fan-12", "random-7-0", "random-8-1"],
)  # fmt: skip
def test_batches_on_a_gpu_are_those_of_the_cpu(name):
    t = tcurves.named(name)
    signs = random_signs(t, 100_003)
    one, two = tcurves.schemes(t, signs), tcurves.schemes(t, signs, device="cuda")
    assert one.types == two.types
    assert (one.index == two.index).all()
    assert one.witnesses() == two.witnesses()


@pytest.mark.gpu
def test_a_batch_larger_than_a_launch(monkeypatch):
    monkeypatch.setattr(_gpu, "_ROWS", 1 << 12)
    t = tcurves.named("cen")
    signs = random_signs(t, 20_001)
    one, two = tcurves.schemes(t, signs), tcurves.schemes(t, signs, device="cuda")
    assert one.types == two.types
    assert (one.index == two.index).all()
