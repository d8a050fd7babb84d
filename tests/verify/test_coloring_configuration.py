"""Forgeries of `coloring/configuration`: stripes a hair too wide, patterns, fields."""

from fractions import Fraction as F
from pathlib import Path

import pytest

from extremal.verify._proved import _coloring_witness as shared
from extremal.verify._proved import coloring_configuration as checker
from extremal.verify._rejected import Rejected

EQUILATERAL = [["1", "0"], ["1/2", "sqrt(3/4)"]]


def files(width=F(3, 5), points=EQUILATERAL, motions="rigid"):
    """Three stripes, cells 1/2 high; by hand: clean if sqrt(3)/4 <= width <= sqrt(3)/2."""
    common = (2 * width).denominator * 2
    witness = {
        "lattice": [[int(3 * width * common), 0], [0, common // 2]],
        "denominator": common,
        "grid": [3, 1],
        "runs": "1:0 1:1 1:2",
    }
    claim = {
        "dim": 2,
        "colors": 3,
        "free": False,
        "free_density": "0",
        "rules": [
            {
                "points": [list(p) for p in points],
                "patterns": [[c] * (len(points) + 1) for c in range(3)],
                "motions": motions,
            }
        ],
        "coloring_sha256": shared.digest(witness),
    }
    return claim, witness


def check(claim, witness):
    claim["coloring_sha256"] = shared.digest(witness)
    return checker.check(claim, witness, Path())


@pytest.mark.parametrize("width", [F(9, 20), F(3, 5), F(17, 20), F(866, 1000), F(434, 1000)])
def test_accepts(width):
    assert "no rigid copy of (0, 0), (1, 0), (1/2, sqrt(3/4))" in check(*files(width))[0]


@pytest.mark.parametrize("width", [F(2, 5), F(9, 10), F(867, 1000), F(433, 1000)])
def test_rejects_stripes_a_little_too_wide_or_narrow(width):
    with pytest.raises(Rejected, match="cannot be excluded"):
        check(*files(width))


def test_translations_are_one_angle():
    # Upright, the triangle spans a width of 1: stripes of width 1/3 let its points miss each other.
    claim, witness = files(F(1, 4), [["1/4", "0"], ["1/2", "0"]], "translations")
    check(claim, witness)
    claim["rules"][0]["motions"] = "direct"
    with pytest.raises(Rejected):
        check(claim, witness)


def test_patterns_of_several_colours():
    claim, witness = files(F(1, 4), [["1/4", "0"]], "translations")
    claim["rules"][0]["patterns"] = [[0, 0], [1, 1], [0, 2], [1, 0], [2, 1]]
    check(claim, witness)
    claim["rules"][0]["patterns"].append([0, 1])
    with pytest.raises(Rejected, match=r"colours \[0, 1\]"):
        check(claim, witness)


def test_a_pair_as_a_configuration_agrees_with_the_cells_checker():
    """Stripes of width 1 in two colours: distance 1 occurs along them."""
    for width, good in ((F(1, 4), False), (F(1, 2), False)):
        claim, witness = files(width, [["1", "0"]])
        with pytest.raises(Rejected):
            check(claim, witness)
        assert not good


@pytest.mark.parametrize(
    ("field", "value"),
    [("points", []), ("points", [["1"]]), ("points", [["0", "0"], ["1", "0"]]),
     ("points", [["nan", "0"], ["1", "0"]]), ("points", [["1", "0"], ["1/2", "sqrt(-1)"]]),
     ("points", [["1", "0"], [0.5, "1"]]), ("points", [["1", "0"], ["root(2)", "1"]]),
     ("patterns", []), ("patterns", [[0, 0]]), ("patterns", [[3, 3, 3]]), ("patterns", [[]]),
     ("motions", "scalings"), ("motions", None)],
)  # fmt: skip
def test_rejects_rules_that_do_not_fit(field, value):
    claim, witness = files()
    claim["rules"][0][field] = value
    with pytest.raises(Rejected):
        check(claim, witness)


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [(0, "dim", 3), (0, "colors", 2), (0, "free", 1), (0, "free_density", "1/3"),
     (0, "rules", []), (0, "rules", [{}]), (1, "runs", "2:0 1:1"), (1, "grid", [1, 3]),
     (1, "denominator", 101)],
)  # fmt: skip
def test_rejects_fields_that_do_not_fit(where, field, value):
    both = files()
    both[where][field] = value
    if field == "denominator":  # still a valid colouring, but another one than was claimed
        with pytest.raises(Rejected, match="SHA-256"):
            checker.check(*both, Path())
        return
    with pytest.raises(Rejected):
        check(*both)
