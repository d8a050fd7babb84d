"""Passes over all entries: the quick forms say what torch's plain ones say."""

import pytest
import torch

from extremal.llm import _sparsegpt
from extremal.llm._entries import all_finite, kept, pruned_count
from extremal.llm._least_squares import layer_error
from extremal.llm._pattern import Pattern
from extremal.llm._sparsegpt import inverse_upper
from extremal.llm._statistics import InputStatistics

DTYPES = (torch.float64, torch.float32, torch.bfloat16, torch.float16)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_one_bad_entry_is_seen(dtype, bad):
    x = torch.randn(37, 53, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert all_finite(x)
    assert all_finite(x[:0])
    for place in (0, 1000, 37 * 53 - 1):
        broken = x.clone()
        broken.view(-1)[place] = bad
        assert not all_finite(broken)


def test_eight_bit_numbers_are_looked_at_too():
    x = torch.tensor([1.0, float("nan")]).to(torch.float8_e5m2)
    assert all_finite(x[:1].float())
    assert not all_finite(x.float())
    assert all_finite(torch.ones(3, dtype=torch.int8))


@pytest.mark.parametrize("dtype", DTYPES)
def test_kept_is_zero_elsewhere_whatever_stands_there(dtype):
    draw = torch.Generator().manual_seed(1)
    x = torch.randn(40, 30, generator=draw).to(dtype)
    x[0] = float("nan")
    x[1] = -float("inf")
    x[2] = -0.0
    keep = torch.rand(40, 30, generator=draw) > 0.5
    for a, k in ((x, keep), (x.T, keep.T)):
        found, plain = kept(a, k), a.masked_fill(~k, 0)
        assert found.dtype == dtype
        assert torch.equal(found.nan_to_num(nan=7), plain.nan_to_num(nan=7))
        assert not bool(torch.signbit(found[~k]).any())
    assert pruned_count(keep) == int((~keep).sum())


@pytest.mark.parametrize("d", [1, 100, 128, 129, 700, 1100])
def test_blocks_of_a_symmetric_matrix_give_what_the_whole_gives(d):
    draw = torch.Generator().manual_seed(d)
    x = torch.randn(64, d, generator=draw)
    seen = InputStatistics.empty(d, gram=True, device=torch.device("cpu"))
    seen.add(x[:40])
    seen.add(x[40:])
    gram = seen.gram(2)
    torch.testing.assert_close(gram, x.T @ x, rtol=1e-5, atol=1e-3)
    assert torch.equal(gram, gram.T)
    W, new = torch.randn(5, d, generator=draw), torch.randn(5, d, generator=draw)
    exact = (((new - W).double() @ gram.double()) * (new - W).double()).sum()
    assert layer_error(new, W, gram) == pytest.approx(float(exact), rel=1e-5)


@pytest.mark.parametrize("d", [1, 192, 193, 500])
def test_an_upper_triangle_is_inverted_by_halves(d):
    draw = torch.Generator().manual_seed(d)
    R = torch.randn(d, d, generator=draw, dtype=torch.float64).triu() / d + torch.eye(d)
    found = inverse_upper(R.double())
    assert torch.equal(found, found.triu())
    torch.testing.assert_close(found @ R, torch.eye(d, dtype=torch.float64), rtol=0, atol=1e-10)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("pattern", ["0.5", "0.9", "2:4", "4:8", "given"])
def test_slabs_row_by_row_are_the_sweep_column_by_column(monkeypatch, pattern, dtype, threads):
    draw = torch.Generator().manual_seed(2)
    W = torch.randn(600, 200, generator=draw).to(dtype)
    W[5] = 0.0  # a row of equal scores
    X = torch.randn(400, 200, generator=draw).to(dtype)
    H = X.T @ X
    keep = torch.rand(600, 200, generator=draw) > 0.5 if pattern == "given" else None
    p = Pattern.parse("0.5" if pattern == "given" else pattern)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        assert _sparsegpt._kernel(W, H, p, 128) is not None
        rows = _sparsegpt.sweep(W, H, p, keep=keep)
    finally:
        torch.set_num_threads(before)
    monkeypatch.setattr(_sparsegpt, "_kernel", lambda *_: None)
    columns = _sparsegpt.sweep(W, H, p, keep=keep)
    same = (rows.keep == columns.keep).double().mean()
    assert same > (0.999 if dtype == torch.float32 else 0.99999)
    assert int(rows.keep.sum()) == int(columns.keep.sum())
    if same == 1:
        torch.testing.assert_close(rows.weight, columns.weight, rtol=1e-3, atol=1e-4)
    assert rows.error == pytest.approx(columns.error, rel=1e-3)
    assert not bool(rows.weight[~rows.keep].any())
    if keep is not None:
        assert torch.equal(rows.keep, keep)


def test_groups_that_do_not_fit_a_slab_go_column_by_column():
    W = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    assert _sparsegpt._kernel(W, torch.eye(12), Pattern.parse("2:4"), 6) is None
    assert _sparsegpt._kernel(W, torch.eye(12), Pattern.parse("2:4"), 8) is not None
