"""Forgeries of `coloring/cells`: whatever breaks a condition is rejected, with two points."""

import re
from fractions import Fraction as F
from pathlib import Path

import pytest

from extremal.verify._proved import _coloring_witness as shared
from extremal.verify._proved import coloring_cells as checker
from extremal.verify._rejected import Rejected


def check(claim, witness, mend=True):
    if mend:  # a forger who mends the digest as well
        claim["coloring_sha256"] = shared.digest(witness)
    return checker.check(claim, witness, Path())


def gap_free_files():
    """Tiles of 1 x 1 on a torus of 4 x 4: distances in (0, sqrt 2), then from 3 on."""
    witness = {"lattice": [[4, 0], [0, 4]], "denominator": 1, "grid": [4, 4],
               "runs": "1:0 15:1"}  # fmt: skip
    claim = {
        "dim": 2, "colors": 1, "free": True,
        "rules": [{"colors": [0], "squared": [["2", "9"]]}],
        "semantics": "half-open", "free_density": "15/16",
        "coloring_sha256": shared.digest(witness),
    }  # fmt: skip
    return claim, witness


def test_accepts_and_says_what_is_proved():
    said = check(*gap_free_files())
    assert "no two points of R^2 of colour 0 are at distance in [sqrt(2), 3]" in said[0]
    assert "15/16" in said[1]


def test_the_interval_is_exact_at_both_ends():
    for span in (["2", "9"], ["2", "2"], ["9", "9"], ["4", "5"]):
        claim, witness = gap_free_files()
        claim["rules"][0]["squared"] = [span]
        check(claim, witness)
    least = F(1, 10**12)
    for span in ([2 - least, 9], [2, 9 + least]):
        claim, witness = gap_free_files()
        claim["rules"][0]["squared"] = [[str(F(x)) for x in span]]
        with pytest.raises(Rejected, match="both have colour 0"):
            check(claim, witness)


def test_closed_cells_reach_the_ends():
    claim, witness = gap_free_files()
    claim["semantics"] = "closed"
    with pytest.raises(Rejected):
        check(claim, witness)
    claim["rules"][0]["squared"] = [[str(2 + F(1, 10**12)), str(9 - F(1, 10**12))]]
    check(claim, witness)


@pytest.mark.parametrize("square", ["1", "8", "10", "81/4", "3", "7"])
def test_a_rejection_gives_two_points_at_the_forbidden_distance(square):
    """Rational points where there are; sums of two squares that are no square, and 3 and 7, too."""
    claim, witness = gap_free_files()
    witness |= {"lattice": [[4, 0], [0, 8]], "grid": [4, 8], "runs": "1:0 1:1 1:0 29:1"}
    claim["rules"][0]["squared"] = [[square, square]]
    with pytest.raises(Rejected) as caught:
        check(claim, witness)
    text = str(caught.value)
    points = re.findall(r"\(([-\d/]+), ([-\d/]+)\)", text)
    if len(points) >= 4:  # two cells, two points
        (a, b), (c, d) = ((F(x), F(y)) for x, y in points[-2:])
        found = (a - c) ** 2 + (b - d) ** 2
        assert found == F(square) or "reached too" in text
    cells = {(0, 0), (0, 2)}
    for x, y in points[-2:]:
        assert (int(F(x) // 1) % 4, int(F(y) // 1) % 8) in cells


@pytest.mark.parametrize("place", range(1, 16))
def test_rejects_any_cell_that_joins_the_colour(place):
    claim, witness = gap_free_files()
    runs = [f"1:{0 if k in (0, place) else 1}" for k in range(16)]
    witness["runs"], claim["free_density"] = " ".join(runs), "7/8"
    with pytest.raises(Rejected, match="both have colour 0"):
        check(claim, witness)


def test_a_colour_that_meets_its_own_translate_is_rejected():
    claim, witness = gap_free_files()
    claim["rules"][0]["squared"] = [["16", "16"]]
    with pytest.raises(Rejected, match=r"cells \(0, 0\) and \(0, 0\)"):
        check(claim, witness)


@pytest.mark.parametrize(
    ("where", "field", "value"),
    [
        (0, "dim", 4), (0, "dim", "2"), (0, "dim", True), (0, "colors", 0), (0, "colors", 2),
        (0, "free", False), (0, "free", 1), (0, "rules", []), (0, "rules", [{}]),
        (0, "rules", [{"colors": [1], "squared": [["2", "9"]]}]),
        (0, "rules", [{"colors": [], "squared": [["2", "9"]]}]),
        (0, "rules", [{"colors": [0], "squared": []}]),
        (0, "rules", [{"colors": [0], "squared": [["9", "2"]]}]),
        (0, "rules", [{"colors": [0], "squared": [["0", "9"]]}]),
        (0, "rules", [{"colors": [0], "squared": [["-1", "9"]]}]),
        (0, "rules", [{"colors": [0], "squared": [[2.0, 9.0]]}]),
        (0, "rules", [{"colors": [0], "squared": [["nan", "9"]]}]),
        (0, "rules", [{"colors": [0], "squared": [["2", "9/0"]]}]),
        (0, "rules", [{"colors": [0], "squared": [["2", "9"]], "norm": 1}]),
        (0, "semantics", "open"), (0, "free_density", "7/8"), (0, "free_density", 0.9375),
        (1, "lattice", [[4, 0], [8, 0]]), (1, "lattice", [[4, 0]]),
        (1, "lattice", [[4.0, 0], [0, 4]]),
        (1, "denominator", 0), (1, "denominator", 2), (1, "grid", [4, 3]), (1, "grid", [16]),
        (1, "grid", [4, 0]), (1, "runs", "1:0 14:1"), (1, "runs", "1:0 16:1"), (1, "runs", ""),
        (1, "runs", "1:0 15:2"), (1, "runs", "1:0 0:0 15:1"), (1, "runs", "-1:0 17:1"),
    ],
)  # fmt: skip
def test_rejects_fields_that_do_not_fit(where, field, value):
    both = gap_free_files()
    both[where][field] = value
    with pytest.raises(Rejected):
        check(*both)


@pytest.mark.parametrize("field", ["lattice", "denominator", "grid", "runs"])
def test_rejects_another_witness(field):
    claim, witness = gap_free_files()
    changed = {"lattice": [[4, 0], [0, 5]], "denominator": 3, "grid": [2, 8], "runs": "16:1"}
    witness[field] = changed[field]
    with pytest.raises(Rejected, match="SHA-256"):
        check(claim, witness, mend=False)


def test_space():
    witness = {"lattice": [[4, 0, 0], [0, 4, 0], [0, 0, 4]], "denominator": 1, "grid": [4, 4, 4],
               "runs": "1:0 63:1"}  # fmt: skip
    claim = {
        "dim": 3, "colors": 1, "free": True,
        "rules": [{"colors": [0], "squared": [["3", "9"]]}],
        "semantics": "half-open", "free_density": "63/64", "coloring_sha256": "",
    }  # fmt: skip
    assert "R^3" in check(claim, witness)[0]
    claim["rules"][0]["squared"] = [[str(3 - F(1, 10**12)), "9"]]
    with pytest.raises(Rejected, match="both have colour 0"):
        check(claim, witness)
    claim["rules"][0]["squared"] = [["1", "1"]]
    with pytest.raises(Rejected, match="at squared distance 1"):
        check(claim, witness)


@pytest.mark.parametrize(
    ("trials", "space"),  # every so manieth is of space, which takes the checker much longer
    [(24, 6), pytest.param(40, 2, marks=pytest.mark.slow)],
)
def test_agrees_with_the_compiled_screen_on_random_tori(trials, space):
    np = pytest.importorskip("numpy")
    pytest.importorskip("numba")
    from extremal import coloring

    rng = np.random.default_rng(3)
    accepted = 0
    for trial in range(trials):
        dim = 3 if trial % space == space - 1 else 2
        grid = rng.integers(2, 6, dim)
        lattice = 2 * np.eye(dim, dtype=int) * 7 + rng.integers(-3, 4, (dim, dim))
        rows = tuple(tuple(F(int(x), 7) for x in row) for row in lattice)
        cells = np.minimum(rng.integers(0, 30, grid), 2)
        found = coloring.Colouring(rows, cells, 2, free=True)
        low = F(int(rng.integers(4, 12)), 8)
        problem = coloring.Problem.type((low, low + F(1, 8)), low, dim=dim, free_color=True)
        verdict = coloring.certify(found, problem).status == "valid"
        part = coloring._certify.parts_of(found, problem)[0]
        try:
            checker.check(dict(part.claim), dict(part.witness), Path())
            answer = True
        except Rejected:
            answer = False
        assert answer == verdict
        accepted += answer
    assert 0 < accepted < trials


def seven_hexagons():
    """Isbell's, one hexagon of side 1 a colour, by hand: x in units of sqrt(3)."""
    witness = {"lattice": [[14, 0], [-5, 3]], "denominator": 2, "grid": [7, 1],
               "runs": "1:0 1:1 1:2 1:3 1:4 1:5 1:6", "cell": "hexagon",
               "axes": ["3", "1"]}  # fmt: skip
    claim = {
        "dim": 2, "colors": 7, "free": False,
        "rules": [{"colors": [*range(7)], "squared": [["4", "7"]]}],
        "semantics": "half-open", "free_density": "0",
        "coloring_sha256": shared.digest(witness),
    }  # fmt: skip
    return claim, witness


def coulson():
    """Truncated octahedra of volume 4; equal colours and diameters at exactly sqrt(5)."""
    witness = {"lattice": [[6, 8, -6], [12, 10, -10], [15, 15, -15]], "denominator": 1,
               "grid": [1, 1, 15], "runs": " ".join(f"1:{c}" for c in range(15)),
               "cell": "hexagon"}  # fmt: skip
    claim = {
        "dim": 3, "colors": 15, "free": False,
        "rules": [{"colors": [*range(15)], "squared": [["5", "5"]]}],
        "semantics": "half-open", "free_density": "0",
        "coloring_sha256": shared.digest(witness),
    }  # fmt: skip
    return claim, witness


def test_seven_hexagons_avoid_a_closed_interval_without_any_slack():
    assert "colour 0, 1, 2, 3, 4, 5, 6 are at distance in [2, sqrt(7)]" in check(
        *seven_hexagons()
    )[0]  # fmt: skip
    for low, high in ((4 - F(1, 10**9), 7), (4, 7 + F(1, 10**9))):
        claim, witness = seven_hexagons()
        claim["rules"][0]["squared"] = [[str(F(low)), str(F(high))]]
        with pytest.raises(Rejected, match="both have colour"):
            check(claim, witness)
    claim, witness = seven_hexagons()
    claim["semantics"] = "closed"
    with pytest.raises(Rejected):
        check(claim, witness)
    claim["rules"][0]["squared"] = [[str(4 + F(1, 10**9)), str(7 - F(1, 10**9))]]
    check(claim, witness)


def test_fifteen_half_open_octahedra_colour_space():
    assert "R^3" in check(*coulson())[0]
    for square in (5 - F(1, 10**9), 5 + F(1, 10**9)):
        claim, witness = coulson()
        claim["rules"][0]["squared"] = [[str(square), str(square)]]
        with pytest.raises(Rejected, match="both have colour"):
            check(claim, witness)
    claim, witness = coulson()
    claim["semantics"] = "closed"
    with pytest.raises(Rejected):
        check(claim, witness)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cell", "parallelogram"), ("cell", "rhombus"), ("cell", None), ("axes", ["1", "1"]),
        ("axes", ["1", "3"]), ("axes", ["3"]), ("axes", ["3", "0"]), ("axes", ["3", "-1"]),
        ("axes", [3, 1]), ("axes", [3.0, 1.0]), ("axes", ["nan", "1"]), ("axes", "31"),
        ("axes", ["3", str(1 + F(1, 10**9))]), ("axes", [str(3 + F(1, 10**9)), "1"]),
        ("lattice", [[14, 0], [-5, 2]]), ("lattice", [[10**9, 1], [10**15 + 1, 3]]),
        ("runs", "1:0 1:1 1:2 1:3 1:4 1:6 1:5"), ("runs", "1:0 1:2 1:4 1:6 1:1 1:3 1:3"),
    ],
)  # fmt: skip
def test_rejects_hexagons_that_do_not_fit(field, value):
    claim, witness = seven_hexagons()
    witness[field] = value
    if field == "runs" and value.count("6") and value.endswith("5"):
        check(claim, witness)  # other names for the same colours
        return
    with pytest.raises(Rejected):
        check(claim, witness)


@pytest.mark.parametrize("field", ["cell", "axes"])
def test_the_kind_of_cells_and_the_axes_are_tied_to_the_claim(field):
    claim, witness = seven_hexagons()
    del witness[field]
    with pytest.raises(Rejected, match="SHA-256"):
        check(claim, witness, mend=False)


@pytest.mark.parametrize("square", ["3", "4", "16/25", "8"])
def test_a_rejected_hexagon_gives_two_points(square):
    """Hexagons of an oblique lattice; the points lie in their cells and at the distance."""
    witness = {"lattice": [[16, 4], [-8, 20]], "denominator": 4, "grid": [4, 4],
               "runs": "1:0 5:1 1:0 9:1", "cell": "hexagon"}  # fmt: skip
    claim = {
        "dim": 2, "colors": 1, "free": True, "semantics": "half-open", "free_density": "7/8",
        "rules": [{"colors": [0], "squared": [[square, square]]}], "coloring_sha256": "",
    }  # fmt: skip
    with pytest.raises(Rejected) as caught:
        check(claim, witness)
    points = re.findall(r"\(([-\d/]+), ([-\d/]+)\)", str(caught.value))[-2:]
    (a, b), (c, d) = ((F(x), F(y)) for x, y in points)
    found = (a - c) ** 2 + (b - d) ** 2
    assert found == F(square) or "reached too" in str(caught.value)
    fine = [(F(i) - F(1, 2) * j, F(i, 4) + F(5, 4) * j) for i in range(-9, 10)
            for j in range(-9, 10)]  # fmt: skip
    for x, y in ((a, b), (c, d)):
        near = min(fine, key=lambda p: (p[0] - x) ** 2 + (p[1] - y) ** 2)
        j = F(near[1] - F(near[0], 4)) / F(11, 8)
        i = near[0] + j / 2
        assert (int(i) % 4, int(j) % 4) in {(0, 0), (1, 2)}
