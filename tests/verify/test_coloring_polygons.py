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


def seven_hexagons():
    """Isbell's with side 1, by hand: x in units of sqrt(3). A hexagon owns its right sides."""
    hexagon = [(F(0), F(-1)), (F(1, 2), F(-1, 2)), (F(1, 2), F(1, 2)), (F(0), F(1)),
               (F(-1, 2), F(1, 2)), (F(-1, 2), F(-1, 2))]  # fmt: skip
    witness = {
        "lattice": [["7", "0"], ["-5/2", "3/2"]],
        "tiles": [
            {"color": c, "vertices": [[str(x + c), str(y)] for x, y in hexagon],
             "sides": "111000", "corners": "011000"}
            for c in range(7)
        ],
        "axes": ["3", "1"],
    }  # fmt: skip
    claim = {
        "dim": 2, "colors": 7, "free": False, "rest": False, "free_density": "0",
        "semantics": "assigned", "rules": [{"colors": [*range(7)], "squared": [["4", "7"]]}],
        "coloring_sha256": checker.digest(witness),
    }  # fmt: skip
    return claim, witness


def test_assigned_hexagons_avoid_a_closed_interval_without_slack():
    said = check(*seven_hexagons())
    assert "in [2, sqrt(7)]" in said[0]
    assert "belongs to one of the tiles" in said[2]
    for low, high in ((4 - LEAST, F(7)), (F(4), 7 + LEAST)):
        claim, witness = seven_hexagons()
        claim["rules"][0]["squared"] = [[str(low), str(high)]]
        with pytest.raises(Rejected, match="two tiles of colour"):
            check(claim, witness)


def test_closed_hexagons_reach_the_ends():
    claim, witness = seven_hexagons()
    claim["semantics"] = "closed"
    for tile in witness["tiles"]:
        del tile["sides"], tile["corners"]
    for span, good in ((["4", "4"], False), (["7", "7"], False), (["5", "6"], True)):
        claim["rules"][0]["squared"] = [span]
        if good:
            check(claim, witness)
        else:
            with pytest.raises(Rejected, match="two tiles of colour"):
                check(claim, witness)
    claim["semantics"] = "assigned"  # without an assignment
    with pytest.raises(Rejected, match="has not the fields"):
        check(claim, witness)


@pytest.mark.parametrize("field", ["sides", "corners"])
@pytest.mark.parametrize("place", range(6))
def test_rejects_any_change_of_one_owner(field, place):
    claim, witness = seven_hexagons()
    claim["rules"][0]["squared"] = [["5", "6"]]  # nothing but the partition is wrong
    text = witness["tiles"][3][field]
    turned = "1" if text[place] == "0" else "0"
    witness["tiles"][3][field] = text[:place] + turned + text[place + 1 :]
    with pytest.raises(Rejected, match="owners, not one"):
        check(claim, witness)


@pytest.mark.parametrize(
    ("sides", "corners", "square"),
    [
        # Partitions all: each class has one owner, but opposite corners of a tile are owned.
        ("111000", "100100", "4"), ("111000", "010010", "4"),
    ],
)  # fmt: skip
def test_rejects_partitions_that_reach_the_diameter(sides, corners, square):
    claim, witness = seven_hexagons()
    for tile in witness["tiles"]:
        tile |= {"sides": sides, "corners": corners}
    claim["rules"][0]["squared"] = [["5", "6"]]
    check(claim, witness)
    claim["rules"][0]["squared"] = [[square, square]]
    with pytest.raises(Rejected, match="two tiles of colour"):
        check(claim, witness)


def test_rejects_owners_that_reach_the_gap():
    """One corner class goes to another tile in every period of one colour only: 7 is reached."""
    claim, witness = seven_hexagons()
    claim["rules"][0]["squared"] = [["7", "7"]]
    check(claim, witness)
    reached = 0
    for k in (0, 3, 4, 5):  # corners that tile 0 does not own
        claim, witness = seven_hexagons()
        place = {}
        for t, tile in enumerate(witness["tiles"]):
            for i, (x, y) in enumerate(tile["vertices"]):
                s = F(y) / F(3, 2)
                r = (F(x) + F(5, 2) * s) / 7
                place.setdefault((r % 1, s % 1), []).append((t, i))
        group = next(g for g in place.values() if (0, k) in g)
        for t, i in group:
            own = witness["tiles"][t]["corners"]
            digit = "1" if (t, i) == (0, k) else "0"
            witness["tiles"][t]["corners"] = own[:i] + digit + own[i + 1 :]
        claim["rules"][0] = {"colors": [0], "squared": [["7", "7"]]}
        try:
            check(claim, witness)
        except Rejected as error:
            reached += "meets [7, 7]" in str(error)  # still a partition
    assert reached


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        (0, "semantics", "open"), (0, "semantics", None), (0, "semantics", "closed"),
        (0, "rest", True), (1, "axes", ["1", "1"]), (1, "axes", ["3"]), (1, "axes", ["3", "0"]),
        (1, "axes", [3, 1]), (1, "axes", ["-3", "1"]), (1, "axes", ["3", str(1 + LEAST)]),
        (1, "axes", [str(3 - LEAST), "1"]), (1, "axes", "31"), (1, "axes", ["nan", "1"]),
    ],
)  # fmt: skip
def test_rejects_assigned_claims_that_do_not_fit(where, field, value):
    both = seven_hexagons()
    both[where][field] = value
    with pytest.raises(Rejected):
        check(*both)


@pytest.mark.parametrize("value", ["11100", "1110000", "11100x", "111001", "000000", None, 111000])
@pytest.mark.parametrize("field", ["sides", "corners"])
def test_rejects_owners_that_are_no_partition(field, value):
    claim, witness = seven_hexagons()
    witness["tiles"][0][field] = value
    with pytest.raises(Rejected):
        check(claim, witness)


@pytest.mark.parametrize("field", ["axes", "sides", "corners"])
def test_owners_and_axes_are_tied_to_the_claim(field):
    claim, witness = seven_hexagons()
    if field == "axes":
        del witness[field]
    else:
        witness["tiles"][1][field] = "000000"
    with pytest.raises(Rejected, match="SHA-256"):
        checker.check(claim, witness, Path())
