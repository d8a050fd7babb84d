"""Bounds and limits against known answers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal.interpret import (
    class_bound,
    hoeffding,
    information_bound,
    lower_limit,
    main_bound,
    upper_limit,
)


@pytest.mark.parametrize(
    ("numbers", "share", "bound", "bits"),
    [
        ((0.0, 0.0, 1.0, 1.0, 1.0), 0.5, 1.0, 1.0),
        ((0.02, 0.03, 1.0, 1.0, 1.0), 0.5, 0.950297, 0.714866),
        ((0.02, 0.03, 2.0, 0.5, 1.5), 0.6, 0.866792, 0.404781),
        ((0.1, 0.1, 1.0, 1.0, 1.0), 0.5, 0.8, 0.278072),
        ((1 / 7, 1 / 7, 6.0, 1.0, 1.0), 0.5, 5 / 14, 0.0),
        ((0.05, 0.01, 1.0, 0.8, 3.0), 0.75, 0.936900, 0.471647),
        ((1.0, 0.0, 2.0, 1.0, 3.0), 0.5, 0.0, 0.0),
    ],
)
def test_main_bound(numbers, share, bound, bits):
    found = main_bound(*numbers)
    assert found == pytest.approx(bound, abs=5e-7)
    assert information_bound(found, [share, 1 - share]) == pytest.approx(bits, abs=5e-7)


def test_limits():
    assert upper_limit(0, 100, 0.05) == pytest.approx(0.0295130, abs=5e-8)
    assert upper_limit(5, 100, 0.05) == pytest.approx(0.1022534, abs=5e-8)
    assert upper_limit(3, 982, 0.0125) == pytest.approx(0.0098838, abs=5e-8)
    assert hoeffding(0, 982, 0.0125) == pytest.approx(0.0472, abs=5e-5)
    assert upper_limit(7, 7, 0.05) == 1
    assert lower_limit(0, 7, 0.05) == 0


def test_the_whole_chain():
    sizes, level = (982, 1032), 0.05 / 4
    e_c = max(upper_limit(s, n, level) for s, n in zip((9, 14), sizes, strict=True))
    e_s = max(upper_limit(s, n, level) for s, n in zip((21, 17), sizes, strict=True))
    assert e_c == pytest.approx(0.0240801, abs=5e-8)
    assert e_s == pytest.approx(0.0342183, abs=5e-8)
    b = 1032 / 982
    assert main_bound(e_c, e_s, 1.0, 1.0, b) == pytest.approx(0.941989, abs=5e-7)
    point = main_bound(max(9 / 982, 14 / 1032), max(21 / 982, 17 / 1032), 1.0, 1.0, b)
    assert point == pytest.approx(0.965193, abs=5e-7)
    wide = [max(hoeffding(s, n, level) for s, n in zip(c, sizes, strict=True))
            for c in ((9, 14), (21, 17))]  # fmt: skip
    assert main_bound(*wide, 1.0, 1.0, b) == pytest.approx(0.872123, abs=5e-7)


def test_fano():
    assert information_bound(0.8, [1 / 3] * 3) == pytest.approx(0.663034, abs=5e-7)


rates = st.floats(0, 1)
kappas = st.floats(1, 20)
alphas = st.floats(0.05, 3)


@given(rates, rates, rates, kappas, alphas, st.floats(1, 9))
def test_more_errors_or_weaker_assumptions_never_raise_the_bound(c, s, more, kappa, alpha, b):
    at = main_bound(c, s, kappa, alpha, b)
    slack = 1e-12
    assert main_bound(c + (1 - c) * more, s, kappa, alpha, b) <= at + slack
    assert main_bound(c, s + (1 - s) * more, kappa, alpha, b) <= at + slack
    assert main_bound(c, s, kappa * (1 + more), alpha, b) <= at + slack
    assert main_bound(c, s, kappa, alpha * (1 + more), b) >= at - slack
    assert main_bound(c, s, kappa, alpha, b * (1 + more)) <= at + slack


@given(rates, rates, kappas, alphas, st.floats(0.05, 0.95))
def test_the_per_class_form_is_never_below_the_main_form(c, s, kappa, alpha, p):
    b = max(p, 1 - p) / min(p, 1 - p)
    each = class_bound([c, c], [s, s], kappa, alpha, [p, 1 - p])
    assert each >= main_bound(c, s, kappa, alpha, b) - 1e-12


@pytest.mark.parametrize(
    ("numbers", "text"),
    [
        ((-0.1, 0.0, 1.0, 1.0, 1.0), "completeness error of -0.1"),
        ((0.0, 0.0, 0.9, 1.0, 1.0), "kappa=0.9 is impossible"),
        ((0.0, 0.0, 1.0, 0.0, 1.0), "alpha=0.0 is impossible"),
        ((0.0, 0.0, 1.0, 1.0, 0.5), "B=0.5 is below 1"),
    ],
)
def test_refused(numbers, text):
    with pytest.raises(ValueError, match=text):
        main_bound(*numbers)


@pytest.mark.parametrize("delta", [0.0, 1.0, -1.0])
def test_a_level_outside_0_1_is_refused(delta):
    with pytest.raises(ValueError, match="no level"):
        upper_limit(1, 2, delta)


@pytest.mark.parametrize("p", [0.02, 0.3, 0.8])
def test_clopper_pearson_covers(p):
    n, delta = 60, 0.05
    hits = np.random.default_rng(0).binomial(n, p, 2000)
    limits = {s: upper_limit(s, n, delta) for s in set(hits.tolist())}
    missed = np.mean([limits[s] < p for s in hits.tolist()])
    assert missed <= delta + 3 * np.sqrt(delta * (1 - delta) / 2000)  # three deviations


def test_the_direct_certificate_covers():
    """Majority of three, one bit shown, chunks of 8: the true precision is 3/4."""
    rng = np.random.default_rng(1)
    runs, n, chunk, delta = 400, 300, 8, 0.05
    x = rng.integers(0, 2, (runs, n, 3))
    label = (x.sum(2) > 1).astype(int)
    shown = (x == label[..., None]).argmax(2)
    y = rng.integers(0, 2, (runs, n, chunk, 3))
    picked = np.take_along_axis(y, shown[:, :, None, None], 3)[..., 0]
    match = picked == label[..., None]
    first = match.argmax(2)
    of_class = np.take_along_axis(y.sum(3) > 1, first[..., None], 2)[..., 0] == label
    hits = (match.any(2) & of_class).sum(1)
    limits = np.array([lower_limit(int(h), n, delta) for h in hits])
    assert (limits > 0.75).mean() <= delta + 3 * np.sqrt(delta * (1 - delta) / runs)
    assert limits.mean() == pytest.approx(0.702, abs=0.01)
