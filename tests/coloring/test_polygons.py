"""Polygons: triangles keep tiles simple, halves fit together, smooth cells keep the rules."""

import math
from dataclasses import replace
from fractions import Fraction as F

import numpy as np
import pytest

from extremal import coloring, verify
from extremal.coloring import Colouring, Problem, Tiles
from extremal.coloring._certify import parts_of
from extremal.coloring._polygon_nlp import _Goal, _step
from extremal.coloring._simplify import simplified
from extremal.coloring._triangles import (
    areas,
    ears,
    halved,
    longest_side,
    loosened,
    shortest_sides,
    triangles,
)
from extremal.lab import write_certificate

L_SHAPE = np.array([[0, 0], [2, 0], [2, 1], [1, 1], [1, 2], [0, 2]], float)
STAR = np.array([[0, 3], [-1, 1], [-3, 0], [-1, -1], [0, -3], [1, -1], [3, 0], [1, 1]], float)
BOW_TIE = np.array([[0, 0], [1, 1], [1, 0], [0, 1]], float)


def shoelace(p):
    q = np.roll(p, -1, 0)
    return float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum())


@pytest.mark.parametrize("polygon", [L_SHAPE, STAR, L_SHAPE[:4]], ids=["L", "star", "square"])
def test_ears_cover_a_simple_polygon(polygon):
    cut = ears(polygon)
    assert len(cut) == len(polygon) - 2
    parts = [shoelace(polygon[list(t)]) for t in cut]
    assert min(parts) > 0
    assert sum(parts) == pytest.approx(shoelace(polygon))


@pytest.mark.parametrize("polygon", [BOW_TIE, L_SHAPE[::-1]], ids=["bow-tie", "clockwise"])
def test_ears_find_out_what_is_not_simple(polygon):
    assert len(ears(polygon)) < len(polygon) - 2


@pytest.fixture(scope="module")
def five():
    """Five colours and a free one on 48 x 48 cells."""
    problem = Problem.plane(5, free_color=True)
    _, soft = coloring.spectral_starts(problem, 0, 0, 8, math.inf)[0]
    return problem, coloring.finish(soft, problem, 48, iterations=10_000).colouring


def test_smooth_cells_keep_the_rules_and_have_shorter_boundaries(five):
    problem, rough = five

    def boundary(c):
        return sum(int((c.cells != np.roll(c.cells, 1, axis)).sum()) for axis in (0, 1))

    even = coloring.smooth(rough, problem)
    assert coloring.conflict_pairs(even, problem) == 0
    assert even.free_density <= rough.free_density
    assert boundary(even) < boundary(rough)
    assert even.lattice == rough.lattice


def test_smoothing_leaves_a_colouring_without_choice_alone():
    start = coloring.isbell(18)  # 7 colours; N = 18 has next to no room
    problem = Problem.plane(7)
    assert coloring.conflict_pairs(coloring.smooth(start, problem), problem) == 0


def test_halves_are_the_same_for_both_tiles(five):
    problem, cells = five
    tiles = coloring.trace(coloring.smooth(cells, problem), 1.2, 0.002)
    side = longest_side(tiles)
    finer = halved(tiles, 0.6 * side)
    assert longest_side(finer) < side
    before = [shoelace(tiles.place(c)) for c in tiles.corners]
    after = [shoelace(finer.place(c)) for c in finer.corners]
    np.testing.assert_allclose(after, before, atol=1e-12)
    # every directed side is met once the other way round, modulo the lattice
    sides = set()
    for own in finer.corners:
        for (k, i, j), (m, a, b) in zip(own, (*own[1:], own[0]), strict=True):
            sides.add((k, m, a - i, b - j))
    assert {(m, k, -a, -b) for k, m, a, b in sides} == sides


def test_tiles_stay_simple_and_are_certified(five, tmp_path):
    problem, cells = five
    done = coloring.refine(cells, problem, rounds=40, longest=0.4, smallest=0.002, tolerance=1.2)
    assert done.verdict.status == "valid"
    tiles = coloring.tiles_of(done.colouring)
    cut, simple = triangles(tiles)
    assert simple
    assert (areas(tiles, cut) > 0).all()
    assert done.colouring.free_density < cells.free_density
    path = write_certificate(tmp_path / "c.json", parts_of(done.colouring, problem))
    assert verify.file(path).accepted


@pytest.fixture(scope="module")
def six():
    """The second six-colouring as tiles."""
    return coloring.tiles_of(coloring.second_six_colouring())


def test_short_sides_are_taken_out_and_tiles_still_fit(six):
    finer = halved(six, 0.2)
    assert simplified(finer, 0.0) is finer
    least = shortest_sides(finer).min()
    fewer = simplified(finer, 1.5 * least)
    assert len(fewer.vertices) < len(finer.vertices)
    assert shortest_sides(fewer).min() > least
    assert triangles(fewer)[1]
    area = sum(shoelace(fewer.place(c)) for c in fewer.corners) / 2
    assert area == pytest.approx(abs(np.linalg.det(fewer.lattice)))


def test_a_step_keeps_triangles_upright_and_turns_sides_little(six):
    problem = Problem.type(1, 1, 1, 1, 1, ("0.418", "0.657"))
    tiles, cut = loosened(halved(six, 0.2))  # middles of sides lie on a line
    goal = _Goal(problem, 1e-7, "feasible", None)
    for trust in (0.1, 0.01, 0.001):
        after = _step(tiles, goal, trust, cut)
        assert (areas(after, cut) > 0).all()
        assert np.abs(after.vertices - tiles.vertices).max() <= trust * 1.001
        for own in tiles.corners:
            before, now = tiles.place(own), after.place(own)
            change = np.abs((np.roll(now, -1, 0) - now) - (np.roll(before, -1, 0) - before))
            length = np.hypot(*(np.roll(before, -1, 0) - before).T)
            assert (change.max(1) <= 3.01 * trust * length + 1e-9).all()


def test_a_start_that_crosses_itself_is_refused():
    corners = (((0, 0, 0), (2, 0, 0), (1, 0, 0), (3, 0, 0)),)
    places = np.array([[0, 0], [0.5, 0], [0.5, 0.5], [0, 0.5]])
    tiles = Tiles(np.eye(2), places, corners, (0,))
    with pytest.raises(coloring.ColoringError, match="crosses itself"):
        coloring.optimise(tiles, Problem.plane(1))


def test_patches_join_across_the_border_of_the_period():
    cells = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]])
    from extremal.coloring._trace import _patches

    label, homes = _patches(cells)
    assert homes == [(0, 0), (0, 1)]
    assert label.tolist() == [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    whole = Colouring([["3", "0"], ["0", "3"]], cells, 2)
    assert whole.grid == (3, 3)


def test_boundaries_are_assigned_where_there_is_no_slack(tmp_path):
    pytest.importorskip("ortools")
    wide = Problem.type(*[(1, "sqrt(7/4)")] * 7)
    tiles = coloring.isbell_tiles("1/4")
    assert coloring.certify(tiles, wide).status == "invalid"  # closed tiles reach both ends
    path = tmp_path / "isbell.json"
    assert coloring.certify(tiles, wide, semantics="assigned", out=path).status == "valid"
    assert verify.file(path).accepted
    again = coloring.certify(path, wide)  # the owners are read back
    assert again.status == "valid"
    six = Problem.type(1, 1, 1, 1, 1, "sqrt(1/5)")
    path = tmp_path / "soifer.json"
    soifer = coloring.soifer_exact()
    assert coloring.certify(soifer, six).status == "invalid"
    assert coloring.certify(soifer, six, semantics="assigned", out=path).status == "valid"
    assert verify.file(path).accepted


def test_boundaries_that_cannot_be_assigned_are_refused():
    pytest.importorskip("ortools")
    with pytest.raises(coloring.ColoringError, match="by their interiors"):
        coloring.assign_boundary(coloring.isbell_tiles("26/100"), Problem.plane(7))
    half = F(1, 2)
    cube = ((F(0), F(0)), (half, F(0)), (half, half), (F(0), half))
    squares = tuple(
        (2 * i + j, tuple((x + i * half, y + j * half) for x, y in cube))
        for i in range(2) for j in range(2)
    )  # fmt: skip
    period = ((F(1), F(0)), (F(0), F(1)))
    four = coloring.PolygonColouring(period, squares, 4)
    # Squares with the diagonal sqrt(1/2) and the gap 1/2, so 3/5 is met inside of them.
    with pytest.raises(coloring.ColoringError, match="interiors"):
        coloring.assign_boundary(four, Problem.type(*["3/5"] * 4))
    with pytest.raises(coloring.ColoringError, match="half-open as it is"):
        coloring.certify(coloring.isbell(18), Problem.plane(7), semantics="assigned")


def test_an_assignment_with_two_owners_or_a_wrong_one_is_a_problem():
    pytest.importorskip("ortools")
    wide = Problem.type(*[(1, "sqrt(7/4)")] * 7)
    good = coloring.assign_boundary(coloring.isbell_tiles("1/4"), wide)
    assert good.problems(wide) == []
    sides, corners = good.owners[0]
    turned = "".join("10"[int(x)] for x in corners)
    wrong = replace(good, owners=((sides, turned), *good.owners[1:]))
    assert any("owners, not one" in text for text in wrong.problems(wide))
    everything = replace(good, owners=(("1" * 6, "1" * 6),) * 7)
    assert any("hold points at a forbidden" in text for text in everything.problems(wide))
    plain = coloring.PolygonColouring.from_json(good.as_json())
    assert (plain.owners, plain.axes) == (good.owners, good.axes)
