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


def scaled(low, high, width=F(3, 5), motions="direct"):
    """Clean if sqrt(3)/4 * high <= width <= sqrt(3)/2 * low: every copy is an equilateral one."""
    claim, witness = files(width, motions=motions)
    claim["rules"][0]["scales"] = [low, high]
    return claim, witness


@pytest.mark.parametrize(("low", "high"), [("7/10", "13/10"), ("1", "1"), ("71/100", "1")])
def test_accepts_scaled_copies(low, high):
    assert f"scaled by {low} to {high}" in check(*scaled(low, high))[0]


@pytest.mark.parametrize(("low", "high"), [("69/100", "1"), ("1", "14/10"), ("1/100", "1/50")])
def test_rejects_scales_a_little_too_far(low, high):
    with pytest.raises(Rejected, match="cannot be excluded"):
        check(*scaled(low, high))


def test_scaled_translates():
    """Points 1/4 apart along stripes of 1/4 in three colours: up to twice as far is clean."""
    claim, witness = files(F(1, 4), [["1/4", "0"]], "translations")
    claim["rules"][0]["scales"] = ["21/20", "19/10"]
    check(claim, witness)
    for scales in (["19/20", "19/10"], ["21/20", "41/20"]):
        claim["rules"][0]["scales"] = scales
        with pytest.raises(Rejected, match="cannot be excluded"):
            check(claim, witness)


@pytest.mark.parametrize(
    "scales",
    [[], ["1"], ["2", "1"], ["0", "1"], ["-1", "1"], [1, 1], [1.0, 1.0], ["nan", "1"], "11", None,
     ["1", "1", "1"], ["sqrt(1)", "1"]],
)  # fmt: skip
def test_rejects_scales_that_do_not_fit(scales):
    claim, witness = files()
    claim["rules"][0]["scales"] = scales
    with pytest.raises(Rejected):
        check(claim, witness)


TETRAHEDRON = [["1", "0", "0"], ["1/2", "sqrt(3/4)", "0"], ["1/2", "sqrt(1/12)", "sqrt(2/3)"]]


def slabs(width, motions="direct", points=TETRAHEDRON):
    """Three slabs; by hand: clean if 1/2 <= width <= sqrt(1/2), the distance of opposite edges."""
    width = F(width)
    witness = {
        "lattice": [[3 * width.numerator, 0, 0], [0, width.denominator, 0],
                    [0, 0, width.denominator]],
        "denominator": width.denominator, "grid": [3, 1, 1], "runs": "1:0 1:1 1:2",
    }  # fmt: skip
    claim = {
        "dim": 3, "colors": 3, "free": False, "free_density": "0",
        "rules": [{"points": [list(p) for p in points],
                   "patterns": [[c] * (len(points) + 1) for c in range(3)], "motions": motions}],
        "coloring_sha256": shared.digest(witness),
    }  # fmt: skip
    return claim, witness


@pytest.mark.slow
@pytest.mark.parametrize("motions", ["direct", "rigid"])
def test_accepts_slabs_without_a_tetrahedron(motions):
    assert f"no {motions} copy of (0, 0, 0), (1, 0, 0)" in check(*slabs("3/5", motions))[0]


@pytest.mark.parametrize("width", ["71/100", "4/5", "1/3", "7/20"])
def test_rejects_slabs_with_a_tetrahedron(width):
    with pytest.raises(Rejected, match="cannot be excluded"):
        check(*slabs(width))


def test_translates_and_scaled_translates_in_space():
    # Along the first axis the points span 1: no colour holds them on slabs of width 2/5.
    claim, witness = slabs("2/5", "translations")
    check(claim, witness)
    claim["rules"][0]["scales"] = ["41/40", "3/2"]
    check(claim, witness)
    claim["rules"][0]["scales"] = ["1/4", "1"]
    with pytest.raises(Rejected, match="cannot be excluded"):
        check(claim, witness)


def test_rotations_of_space_reach_what_translations_do_not():
    """A pair 3/5 apart along the slabs' axis; turned across it lies within one slab."""
    claim, witness = slabs("2/5", "translations", [["3/5", "0", "0"]])
    check(claim, witness)
    claim["rules"][0]["motions"] = "direct"
    with pytest.raises(Rejected, match="quaternion"):
        check(claim, witness)


def test_rejects_points_of_another_dimension():
    claim, witness = slabs("3/5")
    claim["rules"][0]["points"] = EQUILATERAL
    claim["rules"][0]["patterns"] = [[0, 0, 0]]
    with pytest.raises(Rejected, match="not a point of R"):
        check(claim, witness)


def test_rejects_hexagons_and_weighted_axes():
    """The reader refuses them too: they are no fields of this kind's witness."""
    for field, value in (("cell", "hexagon"), ("axes", ["3", "1"])):
        claim, witness = files()
        witness[field] = value
        assert field not in checker.WITNESS
        with pytest.raises(Rejected, match="parallelograms"):
            check(claim, witness)
