"""Retraining schedules and budgets: the specification's numbers and refusals."""

import math
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from extremal import pruning
from extremal.pruning._budget import gradual_sparsities, phase_counts, split_epochs
from extremal.pruning._schedules import (
    SCHEDULES,
    DenseRates,
    adaptive_factor,
    learning_rates,
    norm_drop_factor,
    relative_norm_drop,
)

DENSE = DenseRates.from_list([0.1] * 50 + [0.01] * 25 + [0.001] * 25)
LLR = [0, 0.05, 0.1, 0.094444, 0.088889]


def rates(schedule, **options):
    return learning_rates(schedule, 20, dense=DENSE, **options)


def test_llr_known_values():
    assert rates("llr")[:5] == pytest.approx(LLR, abs=5e-7)  # the specification prints 6 decimals
    assert rates("llr")[-1] == pytest.approx(0.005556, abs=5e-7)


def test_clr_known_values():
    clr = rates("clr")
    assert clr[3] == pytest.approx(0.099248, abs=5e-7)
    assert clr[11] == pytest.approx(0.0505, abs=5e-7)
    assert clr[-1] == pytest.approx(0.001752, abs=5e-7)
    assert max(clr) <= 0.1  # chained schedulers overshoot to 0.100758


def test_slr_known_values():
    assert rates("slr") == pytest.approx(
        [0, 0.05, *[0.1] * 9, *[0.01] * 5, *[0.001] * 4], abs=1e-12
    )


@pytest.mark.parametrize("schedule", ["ft", "lrw"])
def test_ft_and_lrw_stay_at_the_last_value(schedule):
    assert rates(schedule) == [0.001] * 20


def test_slr_replaces_the_dense_warmup():
    dense = DenseRates.from_list([0.0, 0.05, 0.1, 0.1, 0.01, 0.001])
    assert dense.eta_min == 0.001
    assert learning_rates("slr", 6, dense=dense) == [0.1, 0.1, 0.1, 0.1, 0.01, 0.001]


@pytest.mark.parametrize(("p", "d1"), [(0.25, 0.365148), (0.5, 0.577350), (0.75, 0.788811)])
def test_known_norm_drops(p, d1):
    weights = {"w": torch.tensor([1.0, -2.0, 3.0, -4.0])}
    gone = weights["w"][~pruning.select(weights, p)["w"]]
    rho = relative_norm_drop(float(gone.square().sum()), 30.0)
    assert norm_drop_factor(rho, p) == pytest.approx(d1, abs=5e-7)


@pytest.mark.parametrize(("epochs", "start"), [(5, 0.057735), (15, 0.075)])
def test_allr_known_initial_values(epochs, start):
    d1 = norm_drop_factor(relative_norm_drop(5.0, 30.0), 0.5)
    allr = rates("allr", factor=adaptive_factor(d1, epochs, 20))
    assert max(allr) == pytest.approx(start, abs=5e-7)


@pytest.mark.parametrize(
    ("p", "d1"), [(0.5, 0.378), (0.7, 0.556), (0.8, 0.662), (0.9, 0.789), (0.98, 0.935)]
)
def test_gaussian_weights_have_the_known_d1(p, d1):
    quantiles = (torch.arange(200_000, dtype=torch.float64) + 0.5) / 200_000
    w = {"w": torch.special.ndtri(quantiles)}
    gone = ~pruning.select(w, p)["w"]
    squares = w["w"].square()
    rho = relative_norm_drop(float(squares[gone].sum()), float(squares.sum()))
    assert norm_drop_factor(rho, p) == pytest.approx(d1, abs=1e-3)


def test_the_norm_drop_does_not_cancel():
    w = torch.randn(1_000_000, generator=torch.Generator().manual_seed(0))
    gone = ~pruning.select({"w": w}, 0.01)["w"]
    squares = w.double().square()
    rho = relative_norm_drop(float(squares[gone].sum()), float(squares.sum()))
    assert rho == pytest.approx(7.2e-4, rel=0.01)


@given(
    st.lists(st.floats(-1e3, 1e3, allow_subnormal=False), min_size=2, max_size=40),
    st.floats(0.05, 0.95),
    st.sampled_from([0.25, 1.0, 1024.0]),
)
def test_d1_lies_in_0_1_and_ignores_scale(values, s, scale):
    def d1(w):
        gone = ~pruning.select({"w": w}, s, on_layer_collapse="allow")["w"]
        squares = w.square()
        rho = relative_norm_drop(float(squares[gone].sum()), float(squares.sum()))
        return norm_drop_factor(rho, float(gone.double().mean()))

    w = torch.tensor(values, dtype=torch.float64)
    assert 0 <= d1(w) <= 1
    if w.abs().max() > 1e-100:  # below, squares underflow in both
        assert d1(w * scale) == pytest.approx(d1(w), rel=1e-12)


@pytest.mark.parametrize(
    ("schedule", "first", "last"),
    [
        ("constant", 0.2, 0.2),
        ("linear", 0.2, 0.02),
        ("cosine", 0.2, 0.004894),
        ("stepped", 0.2, 0.002),
    ],
)
def test_tunable_schedules_start_from_lr(schedule, first, last):
    values = learning_rates(schedule, 10, dense=DENSE, lr=0.2, warmup=0.0)
    assert values[0] == pytest.approx(first)
    assert values[-1] == pytest.approx(last, abs=1e-6)
    assert learning_rates(schedule, 10, dense=DENSE, lr=0.2, warmup=0.5)[0] == 0


def test_ablations():
    assert rates("llr-but-last", last_phase=False) == [0.1] * 20
    assert rates("llr-but-last", last_phase=True) == rates("llr")
    assert max(rates("allr-accuracy", factor=0.4)) == pytest.approx(0.04)
    assert max(rates("allr-floor", factor=0.01)) == pytest.approx(0.001)


@given(st.sampled_from(SCHEDULES), st.integers(1, 100), st.floats(0, 1))
def test_every_schedule_has_one_rate_an_iteration(schedule, iterations, factor):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        values = learning_rates(schedule, iterations, dense=DENSE, factor=factor, lr=0.1)
    assert len(values) == iterations
    assert all(0 <= value <= 0.1 + 1e-15 and math.isfinite(value) for value in values)


def test_ft_warns_when_the_dense_training_ended_at_zero():
    with pytest.warns(pruning.WorthlessScheduleWarning, match="changes nothing"):
        learning_rates("ft", 3, dense=DenseRates.from_list([0.1, 0.0]))


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("sgdr", 5), "Unknown retraining schedule 'sgdr'"),
        (("llr", 0), "at least one epoch"),
        (("llr", 5), "none are known"),
    ],
)
def test_refuses_what_cannot_be_scheduled(arguments, text):
    with pytest.raises(ValueError, match=text):
        learning_rates(*arguments)


def test_refuses_missing_dense_history():
    bounds = DenseRates((), 0.1, 0.001)
    with pytest.raises(ValueError, match="has none on record"):
        learning_rates("lrw", 5, dense=bounds)
    with pytest.raises(ValueError, match="last 101 learning rates"):
        learning_rates("lrw", 101, dense=DENSE)
    with pytest.raises(ValueError, match="compresses the list"):
        learning_rates("slr", 5, dense=bounds)
    with pytest.raises(ValueError, match="starts from lr="):
        learning_rates("linear", 5)
    with pytest.raises(ValueError, match="give dense_epochs="):
        adaptive_factor(0.5, 3, None)
    with pytest.raises(ValueError, match="recorded no learning rate"):
        DenseRates.from_list([])


@pytest.mark.parametrize(
    ("s", "k", "size", "counts"),
    [
        (0.9, 3, 1000, (536, 785, 900)),
        (0.98, 3, 1000, (729, 926, 980)),
        (0.95, 4, 12345, (6507, 9585, 11040, 11728)),
    ],
)
def test_known_phase_counts(s, k, size, counts):
    assert phase_counts(s, k, size) == counts


def test_gmp_known_schedule():
    assert gradual_sparsities(0.9, 10, 2) == pytest.approx(
        {2: 0.5203125, 4: 0.7875, 6: 0.8859375, 8: 0.9}
    )
    with pytest.raises(ValueError, match="needs at least 4 epochs"):
        gradual_sparsities(0.9, 3, 2)


def test_budget_split():
    assert split_epochs(10, 3) == (3, 3, 4)
    with pytest.raises(ValueError, match="do not give each of 4 phases one"):
        split_epochs(3, 4)
    with pytest.raises(ValueError, match="at least 1"):
        split_epochs(3, 0)


@given(st.floats(0, 0.999), st.integers(1, 20), st.integers(1, 10**6))
def test_counts_rise_to_the_goal(s, k, size):
    counts = phase_counts(s, k, size)
    assert list(counts) == sorted(counts)
    assert counts[-1] == pruning.pruned_count(s, size)
