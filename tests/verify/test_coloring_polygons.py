"""Forgeries of `coloring/polygons`: a moved vertex, a missing tile, a wider claim are rejected."""

import copy
from fractions import Fraction as F
from pathlib import Path

import pytest

from extremal.verify._proved import coloring_polygons as checker
from extremal.verify._rejected import Rejected

LEAST = F(1, 10**12)
# Made by hand: an L of three unit squares and the fourth square, on a torus of 2 x 2. The L is not
# convex. Colour 0 (the L) has diameter sqrt(8); colour 1 has diameter sqrt(2) and gap 1.
L_SHAPE = [["0", "0"], ["2", "0"], ["2", "1"], ["1", "1"], ["1", "2"], ["0", "2"]]
SQUARE = [["1", "1"], ["2", "1"], ["2", "2"], ["1", "2"]]


def files():
    # Neighbours share whole sides, so the corners of neighbours are corners of the L as well.
    outline = [["0", "0"], ["1", "0"], ["2", "0"], ["2", "1"], ["1", "1"], ["1", "2"], ["0", "2"],
               ["0", "1"]]  # fmt: skip
    witness = {
        "lattice": [["2", "0"], ["0", "2"]],
        "tiles": [
            {"color": 0, "vertices": outline},
            {"color": 1, "vertices": copy.deepcopy(SQUARE)},
        ],
    }
    claim = {
        "dim": 2, "colors": 2, "free": False, "rest": False, "free_density": "0",
        "rules": [],
        "coloring_sha256": checker.digest(witness),
    }  # fmt: skip
    return claim, witness


def far_apart():
    """A unit square of colour 0 in a period of 4 x 4, the rest in two free polygons."""
    square = [["0", "0"], ["1", "0"], ["1", "1"], ["0", "1"]]
    right = [["1", "0"], ["4", "0"], ["4", "1"], ["1", "1"]]
    top = [["0", "1"], ["1", "1"], ["4", "1"], ["4", "4"], ["1", "4"], ["0", "4"]]
    witness = {
        "lattice": [["4", "0"], ["0", "4"]],
        "tiles": [{"color": 0, "vertices": square}, {"color": 1, "vertices": right},
                  {"color": 1, "vertices": top}],
    }  # fmt: skip
    claim = {
        "dim": 2, "colors": 1, "free": True, "rest": False, "free_density": "15/16",
        "rules": [{"colors": [0], "squared": [[str(2 + LEAST), str(9 - LEAST)]]}],
        "coloring_sha256": checker.digest(witness),
    }  # fmt: skip
    return claim, witness


def check(claim, witness):
    claim["coloring_sha256"] = checker.digest(witness)
    return checker.check(claim, witness, Path())


def test_accepts_and_says_what_is_proved():
    said = check(*far_apart())
    assert "3 tiles and their translates cover the plane" in said[1]
    assert "93.75" in said[2]


@pytest.mark.parametrize("span", [["2", "9"], ["2", "5"], ["5", "9"]])
def test_closed_tiles_reach_the_ends_of_the_interval(span):
    claim, witness = far_apart()
    claim["rules"][0]["squared"] = [span]
    with pytest.raises(Rejected, match="two tiles of colour 0 hold points"):
        check(claim, witness)


@pytest.mark.parametrize("tile", range(3))
@pytest.mark.parametrize("vertex", range(4))
@pytest.mark.parametrize("axis", range(2))
def test_rejects_any_moved_vertex(tile, vertex, axis):
    claim, witness = far_apart()
    polygon = witness["tiles"][tile]["vertices"]
    polygon[vertex][axis] = str(F(polygon[vertex][axis]) + LEAST)
    with pytest.raises(Rejected):
        check(claim, witness)


def test_rejects_tiles_that_are_missing_double_reversed_or_crossed():
    changes = [
        lambda t: t[:2],
        lambda t: [*t, t[0]],
        lambda t: [{**t[0], "vertices": t[0]["vertices"][::-1]}, *t[1:]],
        lambda t: [t[0], {**t[1], "vertices": [t[1]["vertices"][k] for k in (0, 2, 1, 3)]}, t[2]],
        lambda t: [{**t[0], "color": 1}, *t[1:]],
        lambda t: [{**t[0], "color": 2}, *t[1:]],
        lambda t: [{**t[0], "vertices": t[0]["vertices"][:2]}, *t[1:]],
        lambda t: [],
    ]
    for change in changes:
        claim, witness = far_apart()
        witness["tiles"] = change(witness["tiles"])
        with pytest.raises(Rejected):
            check(claim, witness)


def test_equal_areas_do_not_make_a_tiling():
    """A square twice and a hole of the same size: the areas fit, the sides do not cancel."""
    claim, witness = far_apart()
    moved = [["1", "1"], ["2", "1"], ["2", "2"], ["1", "2"]]
    witness["tiles"][0]["vertices"] = moved
    with pytest.raises(Rejected, match="too many on one side"):
        check(claim, witness)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("dim", 3), ("colors", 0), ("colors", 2), ("free", False), ("free", 1), ("rest", True),
        ("rest", 0), ("free_density", "14/16"), ("free_density", str(F(15, 16) + LEAST)),
        ("rules", []), ("rules", [{"colors": [1], "squared": [["4", "4"]]}]),
        ("rules", [{"colors": [0], "squared": [["4", "3"]]}]),
        ("rules", [{"colors": [0], "squared": [["0", "3"]]}]),
        ("rules", [{"colors": [0]}]),
    ],
)  # fmt: skip
def test_rejects_claims_that_do_not_fit(field, value):
    claim, witness = far_apart()
    claim[field] = value
    with pytest.raises(Rejected):
        check(claim, witness)


def test_rejects_a_changed_lattice_and_another_witness():
    for rows in ([["4", "0"], ["0", str(4 + LEAST)]], [["4", "0"], ["8", "0"]], [["4", "0"]],
                 [[4, 0], [0, 4]]):  # fmt: skip
        claim, witness = far_apart()
        witness["lattice"] = rows
        with pytest.raises(Rejected):
            check(claim, witness)
    claim, witness = far_apart()
    witness["tiles"] = witness["tiles"][::-1]
    with pytest.raises(Rejected, match="SHA-256"):
        checker.check(claim, witness, Path())


def test_a_tile_that_is_not_convex_is_measured_whole():
    """The L reaches from (0, 2) to (2, 0): 9/4 is inside its distances, 9 is in a translate's."""
    for square in ("9/4", "8", "9"):
        claim, witness = files()
        claim["rules"] = [{"colors": [0], "squared": [[square, square]]}]
        with pytest.raises(Rejected, match="two tiles of colour 0"):
            check(claim, witness)


def test_rest_needs_convex_tiles_that_do_not_overlap():
    def rest(*polygons):
        witness = {"lattice": [["4", "0"], ["0", "4"]],
                   "tiles": [{"color": 0, "vertices": p} for p in polygons]}  # fmt: skip
        claim, _ = far_apart()
        area = (
            sum(
                sum(
                    F(a) * F(d) - F(b) * F(c)
                    for (a, b), (c, d) in zip(p, [*p[1:], p[0]], strict=True)
                )
                for p in polygons
            )
            / 2
        )
        return {**claim, "rest": True, "free_density": str(1 - area / 16)}, witness

    square = [["0", "0"], ["1", "0"], ["1", "1"], ["0", "1"]]
    assert "do not overlap" in check(*rest(square))[1]
    with pytest.raises(Rejected, match="not convex"):
        check(*rest(L_SHAPE))
    with pytest.raises(Rejected, match="overlap"):
        check(*rest(square, [[str(F(x) + 1 - LEAST), y] for x, y in square]))
    with pytest.raises(Rejected, match="overlap"):  # through the period
        check(*rest([["0", "0"], [str(4 + LEAST), "0"], ["4", "1"], ["0", "1"]]))
