"""Compiled CPU steps: the same as plain ones, whatever the sample says and the threads are."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from extremal import frankwolfe as fw  # noqa: E402

from .driving import KERNELS, drive, gradients, over, uneven  # noqa: E402


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
