"""Time limits are seen inside long stages; a clock that the test advances stands for time."""

import itertools
from collections import deque

import numpy as np
import pytest

from extremal import sos
from extremal.sos import _deadline
from extremal.sos._backends import solve_margin
from extremal.sos._deadline import check_time, deadline, seconds_left
from extremal.sos._errors import TimeLimitError
from extremal.sos._exact import ldl
from extremal.sos._localised import Localised, solve_localised
from extremal.sos._newton import half_newton
from extremal.sos._witness import minima, starts

HORN = "(a^2+b^2+c^2+d^2+e^2)^2 - 4*(a^2*b^2 + b^2*c^2 + c^2*d^2 + d^2*e^2 + e^2*a^2)"


class Clock:
    """Each look at it takes a second."""

    looks = 0

    def perf_counter(self):
        self.looks += 1
        return float(self.looks)


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(_deadline, "time", found)
    return found


def never(lower, upper):
    return False


def test_limits_nest_and_end(clock):
    check_time()
    assert seconds_left() is None
    with deadline(100):
        with deadline(None):
            assert seconds_left() <= 100
        with deadline(2), pytest.raises(TimeLimitError):
            deque(check_time() for _ in range(5))
        with deadline(1000):
            assert seconds_left() <= 100
        check_time()
    assert seconds_left() is None


def problem():
    p = sos.parse(HORN)
    return sos.gram_problem(p, sos.Bases(p).blocks("diagonal"))


@pytest.mark.parametrize("form", ["kernel", "moment"])
def test_the_interior_point_stops(clock, form):
    asked = problem()
    with deadline(5), pytest.raises(TimeLimitError):
        solve_margin(asked, never, form)
    assert clock.looks <= 7


def test_the_bound_stops(clock):
    p = sos.parse("x^4 + y^4 - x*y + 1")
    rows = np.array([m for m in itertools.product(range(3), repeat=2) if sum(m) <= 2])
    with deadline(5), pytest.raises(TimeLimitError):
        solve_localised(Localised(p, (), (None,), (rows,)), True, never)
    assert clock.looks <= 7


def test_elimination_search_and_enumeration_stop(clock):
    n = 30
    dense = [[n + 1 if i == j else 1 for j in range(n)] for i in range(n)]
    p = sos.parse(HORN)
    for work in (
        lambda: ldl(dense),
        lambda: minima(p, starts(5, 6, 0)),
        lambda: half_newton(np.diag([40, 40, 40, 40])),
    ):
        clock.looks = 0
        with deadline(3), pytest.raises(TimeLimitError):
            work()
        assert clock.looks <= 5


@pytest.mark.parametrize("solver", ["auto", "moment", "scs", "clarabel", "dsos", "sdsos"])
def test_a_verdict_out_of_time_is_unknown_and_says_so(solver):
    if solver in {"scs", "clarabel"}:
        pytest.importorskip(solver)
    result = sos.certify(HORN, seconds=1e-6, solver=solver)
    assert result.verdict.name == "UNKNOWN"
    assert "time limit of 1e-06 s" in result.reason


def test_a_bound_out_of_time_is_unknown_and_says_so():
    found = sos.bound("x^4 - 4*x*y + y^4", box="-2 2", seconds=1e-6)
    assert found.verdict.name == "UNKNOWN"
    assert "time limit" in found.reason
    assert found.value is None


def test_one_polynomial_out_of_time_stops_no_other(tmp_path):
    named = [("hard", sos.parse(HORN)), ("easy", sos.parse("x^2 + 1"))]
    batch = sos.certify_all(named, seconds=1e-6)
    assert batch.results["hard"]["verdict"] == "UNKNOWN"
    assert batch.results["easy"]["verdict"] == "CERTIFIED_SOS"  # squares that are written down
