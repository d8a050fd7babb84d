"""The widest interval of avoided distances: ranges, steps, certificate, refusals."""

import itertools
import json
from fractions import Fraction

import numpy as np
import pytest

from extremal import cli, coloring, verify
from extremal.coloring import ColoringError, Colouring, Problem, Rule
from extremal.coloring._widest import avoided, middle_of, range_of, widen


def six(low, high):
    """Five colours avoid 1, the sixth an interval of the range."""
    rules = (
        Rule(distance=1, colors=(0, 1, 2, 3, 4)),
        Rule(distance=(low, high), colors=(5,), parameter="d"),
    )
    return Problem(2, 6, rules, objective="max_interval")


def test_the_range_and_its_middle():
    problem = six("sqrt(1/5)", "0.6")
    name, low, high = range_of(problem)
    assert (name, high) == ("d", Fraction(3, 5))
    assert Fraction(1, 5) <= low * low < Fraction(1, 5) + Fraction(1, 10**5)
    middle = middle_of(problem)
    assert middle.objective == "feasible"
    assert middle.spans(5) == (((low + high) ** 2 / 4, (low + high) ** 2 / 4),)
    inside = problem.at(d=("0.5", "0.55"))
    assert inside.spans(5) == ((Fraction(1, 4), Fraction("0.55") ** 2),)
    with pytest.raises(ValueError, match="outside"):
        problem.at(d=("0.5", "0.65"))


def test_what_a_colouring_avoids_is_read_exactly():
    """Squares of side 1/4, four apart: distances from sqrt(2)/4 to 3/4 are avoided."""
    cells = np.zeros((4, 4), int)
    cells[0, 0] = 1
    found = Colouring(((1, 0), (0, 1)), cells, 2)
    rule = Rule(distance=("0.1", "0.9"), colors=(1,), parameter="d")
    problem = Problem(2, 2, (rule,), objective="max_interval")
    low, high = avoided(found, problem, Fraction(1, 2))
    assert low == Fraction(353554, 10**6)  # sqrt(2) / 4 = 0.3535533...
    assert high == Fraction(3, 4)
    assert coloring.certify(found, problem.at(d=(low, high))).status == "valid"
    closer = problem.at(d=(low - Fraction(1, 10**6), high))
    assert coloring.certify(found, closer).status == "invalid"
    with pytest.raises(ColoringError, match="does not avoid"):
        avoided(found, problem, Fraction(1, 5))


def test_every_step_is_wider_and_valid():
    problem = six("0.45", "0.55")
    start = coloring.find(middle_of(problem), budget="120s", seed=0, grid=48)
    assert start.status == "valid"
    before = (Fraction(1, 2), Fraction(1, 2))
    for wider in itertools.islice(widen(start.colouring, problem, finest=48), 3):
        assert wider.low <= before[0] <= before[1] <= wider.high
        asked = problem.at(d=(wider.low, wider.high))
        assert coloring.certify(wider.candidate.colouring, asked).status == "valid"
        before = (wider.low, wider.high)
    assert before[1] - before[0] > Fraction(1, 100)


@pytest.mark.slow
def test_find_widens_within_its_budget(tmp_path):
    out = tmp_path / "run"
    arguments = ["coloring", "find", "--type", "1", "1", "1", "1", "1", "0.45..0.55", "--objective",
                 "max_interval", "--budget", "25s", "--out", str(out)]  # fmt: skip
    assert cli.main(arguments) == 0
    assert verify.file(out).accepted
    reached = coloring.Problem.from_json(json.loads((out / "problem.json").read_text()))
    ((low, high),) = reached.spans(5)
    assert Fraction("0.45") ** 2 <= low < Fraction(1, 4) < high <= Fraction("0.55") ** 2
    assert not reached.parameters


@pytest.mark.parametrize(
    "problem",
    [
        Problem(2, 2, (Rule(distance=1),), objective="max_interval"),
        Problem(2, 2, (Rule(distance=(1, 2), parameter="d"),), True, objective="max_interval"),
        Problem(2, 2, (Rule(distance=(1, 2), parameter="d", colors=(0,)),
                       Rule(distance=(1, 2), parameter="e", colors=(1,))),
                objective="max_interval"),
    ],
    ids=["no range", "free", "two ranges"],
)  # fmt: skip
def test_problems_without_one_range_are_refused(problem):
    with pytest.raises(ValueError, match="exactly one rule with a parameter"):
        coloring.find(problem, budget="5s")


def test_the_objective_at_the_shell_needs_one_range(capsys):
    asked = ["coloring", "find", "--budget", "5s", "--objective", "max_interval"]
    assert cli.main([*asked, "--type", "1", "1", "1"]) == 2
    assert "exactly one range" in capsys.readouterr().err
    assert cli.main([*asked, "--colors", "7"]) == 2
    assert "--type" in capsys.readouterr().err
