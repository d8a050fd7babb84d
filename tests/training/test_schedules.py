"""Closed forms, with the numbers that they give."""

import pytest

from extremal import training


@pytest.mark.parametrize(
    ("name", "rates"),
    [
        ("linear", [0.1, 0.075, 0.05, 0.025]),
        ("cosine", [0.1, 0.0853553, 0.05, 0.0146447]),
        ("step", [0.1, 0.1, 0.01, 0.001]),
        ("constant", [0.1, 0.1, 0.1, 0.1]),
    ],
)
def test_known_rates(name, rates):
    assert training.schedule(name, 4, 0.1) == pytest.approx(rates, abs=1e-7)


def test_step_gives_the_list_of_the_specification():
    # Section 7.1: a dense run of 0.1 x 50, 0.01 x 25, 0.001 x 25.
    expected = [0.1] * 50 + [0.01] * 25 + [0.001] * 25
    assert training.schedule("step", 100, 0.1) == pytest.approx(expected, rel=1e-12)


def test_warmup_is_a_half_cosine_from_zero():
    # T = 20, a tenth of warm-up: W = 2; then linear over R = 18, as LLR of section 7.1.
    rates = training.schedule("linear", 20, 0.1, warmup=0.1)
    assert rates[:5] == pytest.approx([0, 0.05, 0.1, 0.094444, 0.088889], abs=1e-6)
    assert rates[-1] == pytest.approx(0.005556, abs=1e-6)


@pytest.mark.parametrize(("steps", "share", "expected"), [(20, 0.1, 2), (19, 0.1, 1), (5, 0.0, 0)])
def test_warmup_steps_round_down(steps, share, expected):
    assert training.warmup_steps(steps, share) == expected


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (
            ("poly", 4, 0.1),
            "there is no schedule 'poly'; there are linear, cosine, step, thirds, constant",
        ),
        (("linear", 0, 0.1), "0 iterations leave nothing to do"),
        (("linear", 4, 0.0), "lr=0.0 moves no weight"),
        (("linear", 4, float("nan")), "lr=nan moves no weight"),
    ],
)
def test_senseless_arguments_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        training.schedule(*arguments)


def test_a_warmup_of_everything_is_refused():
    with pytest.raises(ValueError, match=r"warmup=1.0 is no share"):
        training.schedule("linear", 4, 0.1, warmup=1.0)
