"""Answers known from the literature, from exact integrals, or from counting by hand."""

import math
from fractions import Fraction as F

import numpy as np
import pytest

from extremal import coloring, verify
from extremal.coloring import Colouring, Problem, Rule
from extremal.coloring._baselines import CROFT_WIDTH, stripe_bounds
from extremal.coloring._colouring import Shape
from extremal.coloring._hexagons import nearest_cells
from extremal.coloring._offsets import forbidden
from extremal.coloring._polygon_colouring import distances
from extremal.coloring._rates import weights
from extremal.coloring._screen import free_of
from extremal.coloring._spectral import Soft, Spectral, softmax
from extremal.coloring._sweep import broken_patterns

ONE = ((F(1), F(1)),)


def square(n, dim=2):
    return tuple(tuple(F(int(i == j), n) for j in range(dim)) for i in range(dim))


@pytest.mark.parametrize(
    ("n", "half_open", "closed"),
    [(1, 9, 21), (2, 24, 36), (4, 56, 68), (5, 64, 92), (10, 144, 172), (20, 304, 332),
     (100, 1576, 1620)],
)  # fmt: skip
def test_offsets_of_square_cells(n, half_open, closed):
    assert len(forbidden(square(n), ONE)) == half_open
    assert len(forbidden(square(n), ONE, closed=True)) == closed


@pytest.mark.parametrize(("n", "count"), [(1, 27), (2, 124), (4, 556), (8, 2332), (16, 9532)])
def test_offsets_of_cubes(n, count):
    assert len(forbidden(square(n, 3), ONE)) == count


def test_a_cell_whose_diagonal_is_exactly_1():
    steps = ((F(3, 5), F(0)), (F(0), F(4, 5)))
    assert [0, 0] not in forbidden(steps, ONE).tolist()
    assert [0, 0] in forbidden(steps, ONE, closed=True).tolist()


@pytest.mark.parametrize("dim", [2, 3])
def test_weights_of_offsets_live_on_the_forbidden_ones_and_sum_to_1(dim):
    steps = square(3, dim)
    offsets, mass = weights(Shape(steps), 1.0)
    assert mass.sum() == pytest.approx(1, abs=1e-12)
    positive = {tuple(d) for d in offsets[mass > 1e-12].tolist()}
    assert positive <= {tuple(d) for d in forbidden(steps, ONE).tolist()}
    if dim == 2:
        assert positive == {tuple(d) for d in forbidden(steps, ONE).tolist()}


@pytest.mark.parametrize(
    ("lattice", "cells", "colors", "rate"),
    [
        (((2, 0), (0, 1)), [[0], [1]], 2, 1 - 2 / math.pi),
        ((("3/2", 0), (0, 1)), [[0], [1], [2]], 3, 1 / 3 - 4 / math.pi * (1 - math.sqrt(3) / 2)),
        (((2, 0), (0, 2)), [[0, 1], [2, 3]], 4, 1 - 3 / math.pi),
        (((2, 0), (0, 2)), [[0, 1], [1, 0]], 2, 1 - 2 / math.pi),
    ],
    ids=["two-stripes", "three-stripes", "four-squares", "checkerboard"],
)
def test_pair_rates_known_in_closed_form(lattice, cells, colors, rate):
    found = Colouring(lattice, np.array(cells), colors)
    # 1e-7: the trapezoid sum over 20,000 angles
    assert coloring.pair_rate(found, Problem.plane(colors)) == pytest.approx(rate, abs=1e-7)


@pytest.mark.parametrize(("n", "bad"), [(7, 35), (10, 25), (12, 19), (14, 14), (16, 4),
                                        *((n, 0) for n in range(18, 25)), (64, 0)])  # fmt: skip
def test_isbell_on_cells(n, bad):
    found, problem = coloring.isbell(n), Problem.plane(7)
    assert int((free_of(found, problem) > 0).sum()) == bad
    assert (coloring.screen(found, problem) is None) == (bad == 0)


@pytest.mark.parametrize(("n", "bad"), [(5, 8), (6, 16), (7, 0), (8, 8), (9, 4), (10, 0), (11, 2),
                                        *((n, 0) for n in range(12, 26))])  # fmt: skip
def test_isbell_on_hexagonal_cells_needs_fewer(n, bad):
    """49 hexagons suffice, where 225 parallelograms are needed (N = 15, then from 17 on)."""
    found, problem = coloring.isbell(n, "hexagon"), Problem.plane(7)
    assert int((free_of(found, problem) > 0).sum()) == bad
    assert (coloring.screen(found, problem) is None) == (bad == 0)


@pytest.mark.parametrize(
    ("steps", "cell", "thickness"),
    [
        (((1, 0), (0, 1)), "parallelogram", 2.546),
        (((1, 0), ("1/2", "sqrt(3)/2")), "parallelogram", 2.736),
        (((1, 0), ("1/2", "sqrt(3)/2")), "hexagon", 2.370),
    ],
    ids=["squares", "rhombi", "hexagons"],
)
def test_mean_thickness_of_the_annulus_of_offsets(steps, cell, thickness):
    """Of unit-area cells: offsets at distance R from cells of side h are 2 pi R thickness / h."""
    axes = (F(1), F(3)) if "sqrt(3)/2" in steps[1] else ()
    rows = tuple(tuple(F(1, 2) if x == "sqrt(3)/2" else F(x) for x in row) for row in steps)
    shape = Shape(rows, cell, axes)
    side = abs(np.linalg.det(shape.floats)) ** 0.5
    # Many distances: the count of one of them is a lattice point problem of its own. The areas that
    # count differ from 2 pi R times the thickness by at most that of 2 V: 4 / (2 pi R).
    counts = [
        len(forbidden(shape, ((r + F(37, 101),) * 2,))) / (2 * math.pi * r**0.5 / side)
        for r in range(900, 3600, 45)
    ]
    assert np.mean(counts) == pytest.approx(thickness, abs=0.04)


def test_isbells_hexagons_at_their_extreme_distances():
    problem = Problem.plane(7)
    for square in ("1/4", "1/5", "1/7"):
        found = coloring.isbell_exact(square)
        assert coloring.screen(found, problem) is None
        closed = coloring.screen(found, problem, closed=True)
        assert (closed is None) == (square == "1/5")
    assert coloring.spectrum(found, 3).squared[0] == (F(4, 7), F(1))
    for square in ("2499/10000", "1/4"):
        wide = Problem.type(*[("sqrt(249999/250000)", 1)] * 7)
        assert (coloring.screen(coloring.isbell_exact(square), wide) is None) == (square != "1/4")


def test_coulson_certified_with_one_cell_a_colour():
    found, problem = coloring.coulson_exact(), Problem.plane(15, dim=3)
    assert coloring.screen(found, problem) is None
    assert coloring.screen(found, problem, closed=True) is not None


def test_a_sublattice_of_any_normal_form_colours_its_lattice():
    """(0, 2) has index 4 and is not cyclic: four squares of side 1, two cells apart."""
    found = coloring.LatticeColouring(((2, 0), (0, 2)), 1.0).colouring(((1, 0), (0, 1)))
    assert sorted(np.bincount(found.cells.ravel())) == [4, 4, 4, 4]
    same = coloring.Colouring(((2, 0), (0, 2)), np.array([[0, 1], [2, 3]]), 4)
    for low in ("1", "7/5", "3/2", "2"):
        problem = Problem.type(*[low] * 4)
        assert (coloring.screen(found, problem) is None) == (coloring.screen(same, problem) is None)


def test_isbell_hexagons():
    assert coloring.hexagon_gap(1, 3) == pytest.approx(math.sqrt(7), abs=1e-9)
    assert coloring.hexagon_gap(1, 5) == pytest.approx(math.sqrt(7), abs=1e-9)
    assert coloring.hexagon_gap(1, 1) == 0
    for j in (2, 4, 6):
        assert coloring.hexagon_gap(1, j) == pytest.approx(1, abs=1e-9)


def test_croft():
    assert coloring.croft_density() == pytest.approx(0.229364731629758, abs=1e-14)
    assert coloring.croft_density(1.0) == pytest.approx(0.2267249205, abs=1e-10)
    for step in (-1e-4, 1e-4):
        assert coloring.croft_density(CROFT_WIDTH + step) < coloring.croft_density()
    for k, percent in ((1, 77.0635), (2, 54.1271), (3, 31.1906), (4, 8.2541)):
        found = coloring.croft(k, arc=40)
        # arcs are cut to 40 chords each: that loses less than 0.01 points a colour
        assert float(found.free_density) * 100 == pytest.approx(percent, abs=0.01 * k)
        assert found.problems(Problem.plane(k, free_color=True)) == []


def test_soifer_and_hoffman_soifer():
    found, slack = coloring.soifer()
    assert abs(slack) < 1e-12
    gap = 1 / math.sqrt(5)  # the one distance that the sixth colour avoids
    ranges = distances(found.floats(), found.basis, 5, 2.0)
    assert not any(low < gap - 1e-9 and high > gap + 1e-9 for low, high in ranges)
    assert any(abs(high - gap) < 1e-9 for _, high in ranges)
    assert any(abs(low - gap) < 1e-9 for low, _ in ranges)
    assert coloring.hoffman_soifer(0.43, 0.11669, 0.854151)[1] == pytest.approx(0, abs=1e-5)
    best = max(
        coloring.hoffman_soifer(0.4125, psi, side)[1]
        for psi in np.linspace(0, 0.4, 41)
        for side in np.linspace(0.80, 0.90, 41)
    )
    assert best < -6e-4  # below sqrt(2) - 1 the family has no member


@pytest.mark.parametrize(("index", "ratio", "count"), [(13, 0.5477226, 1), (14, 0.7745967, 1),
                                                       (15, 1.0, 6)])  # fmt: skip
def test_coulson_is_the_first_lattice_colouring_of_space(index, ratio, count):
    basis = np.array([[-1.0, 1, 1], [1, -1, 1], [1, 1, -1]])
    best = coloring.lattice_colourings(basis, index, keep=20)
    assert best[0].ratio == pytest.approx(ratio, abs=1e-6)
    if count > 1:
        assert sum(abs(c.ratio - ratio) < 1e-9 for c in best) == count
        assert ((1, 0, 7), (0, 1, 11), (0, 0, 15)) in [c.sublattice for c in best]


@pytest.mark.parametrize(
    ("a", "b", "k"),
    [("1", "1", 2), (".7071", ".7071", 3), (".9", ".8", 3), (".6", ".5", 4), (".95", ".3", 5),
     (".7", ".35", 6)],
)  # fmt: skip
def test_stripes_against_triangles(a, b, k):
    if (a, b) == ("1", "1"):
        assert coloring.stripe_count(a, b) == 2
        return
    assert coloring.stripe_count(a, b) == k
    h, y = stripe_bounds(float(a), float(b))
    width = F(y / (k - 1)).limit_denominator(10**6) + F(1, 10**6)
    assert width < h
    good = coloring.stripes(k, width)
    assert broken_patterns(good, Problem.triangle(k, a, b)) == 0
    wide = coloring.stripes(k, F(h).limit_denominator(10**6) + F(1, 100))
    assert broken_patterns(wide, Problem.triangle(k, a, b)) > 0


@pytest.mark.parametrize(("width", "clean"), [(".45", True), (".6", True), (".85", True),
                                              (".4", False), (".9", False)])  # fmt: skip
def test_three_stripes_against_the_equilateral_triangle(width, clean):
    found = coloring.stripes(3, width)
    assert (broken_patterns(found, Problem.triangle(3, 1, 1)) == 0) == clean


@pytest.mark.parametrize(("width", "clean"), [(".4", True), (".5", True), (".35", False),
                                              (".55", False)])  # fmt: skip
def test_three_stripes_against_the_right_isosceles_triangle(width, clean):
    """Sides 1 and twice sqrt(1/2); with 0.7071 instead, a width of 0.5 is a hair too much."""
    problem = Problem(2, 3, (Rule(points=((1, 0), ("1/2", "1/2"))),))
    assert (broken_patterns(coloring.stripes(3, width), problem) == 0) == clean
    if width == ".5":
        shorter = Problem.triangle(3, ".7071", ".7071")
        assert broken_patterns(coloring.stripes(3, width), shorter) > 0


@pytest.mark.parametrize(
    ("lattice", "n", "size"), [(((2, 0), (0, 2)), 8, 7), (((2, 0), (1, "7/4")), 8, 8)]
)
def test_largest_independent_sets_of_a_torus(lattice, n, size):
    pytest.importorskip("ortools")
    found, proved = coloring.independent_set(lattice, n)
    assert proved
    assert int((found.cells == 0).sum()) == size
    assert coloring.screen(found, Problem.plane(1, free_color=True)) is None


@pytest.mark.slow
@pytest.mark.parametrize(("lattice", "size"), [(((2, 0), (0, 2)), 21), (((2, 0), (1, "7/4")), 22)])
def test_largest_independent_sets_of_a_finer_torus(lattice, size):
    pytest.importorskip("ortools")
    found, proved = coloring.independent_set(lattice, 12, seconds=280.0)
    assert proved
    assert int((found.cells == 0).sum()) == size


def test_offset_counts_of_those_tori():
    found = [
        len(forbidden(Colouring(lattice, np.zeros((n, n), int), 1).exact_steps, ONE))
        for lattice in (((2, 0), (0, 2)), ((2, 0), (1, F(7, 4))))
        for n in (8, 12)
    ]
    assert found == [56, 88, 70, 102]


def test_the_period_of_a_turned_isbell_colouring():
    side, turn = 0.43, 0.3
    basis = np.array([[math.sqrt(3) * side, 0.0], [math.sqrt(3) / 2 * side, 1.5 * side]])
    axis = (np.arange(200) + 0.5) / 200 * 6 - 3
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    c, s = math.cos(turn), math.sin(turn)
    nearest = nearest_cells(points @ np.array([[c, -s], [s, c]]), basis)
    color = (nearest[:, 0] + 3 * nearest[:, 1]) % 7
    grid = np.eye(7)[color].reshape(200, 200, 7)
    found = coloring.lattices(coloring.periods(grid, 6 / 200))[0]
    shortest = np.linalg.norm(found, axis=1).min()
    assert shortest == pytest.approx(math.sqrt(21) * side, abs=0.03)
    assert abs(np.linalg.det(found)) == pytest.approx(7 * 1.5 * math.sqrt(3) * side**2, abs=0.05)


def test_the_spectral_loss_of_simple_colourings():
    problem = Problem.plane(4)
    basis = np.array([[1.9, 0.2], [0.4, 2.1]])
    loss = Spectral(problem, (8, 8))
    uniform = np.full((4, 8, 8), 0.25)
    assert loss(uniform, basis)[0] == pytest.approx(1 / 4, abs=1e-14)
    constant = np.zeros((4, 8, 8))
    constant[2] = 1.0
    assert loss(constant, basis)[0] == pytest.approx(1, abs=1e-14)


@pytest.mark.parametrize("grid", [(12, 10), (7, 9), (5, 6, 4)])
def test_gradients_of_the_spectral_loss(grid):
    rng = np.random.default_rng(0)
    n = len(grid)
    problem = Problem.type(1, 1, 0.7, dim=n)
    loss = Spectral(problem, grid, 0.05)
    p = softmax(rng.normal(size=(3, *grid)))
    basis = 2 * np.eye(n) + 0.3 * rng.normal(size=(n, n))
    value, grad, grad_basis = loss(p, basis)
    for i in range(n):
        moved = basis.copy()
        moved[i, 0] += 1e-6
        # central differences of a smooth function: error 1e-12 / 1e-6
        lower = basis.copy()
        lower[i, 0] -= 1e-6
        slope = (loss(p, moved)[0] - loss(p, lower)[0]) / 2e-6
        assert grad_basis[i, 0] == pytest.approx(slope, abs=1e-7)
    where = (1, *(1,) * n)
    raised = p.copy()
    raised[where] += 1e-6
    assert grad[where] == pytest.approx((loss(raised, basis)[0] - value) / 1e-6, abs=1e-6)


def test_the_spectral_loss_agrees_with_the_cell_kernel_and_with_samples():
    rng = np.random.default_rng(1)
    basis = np.array([[2.0, 0.1], [0.3, 1.8]])
    cells = rng.integers(0, 3, (6, 6))
    found = Colouring(tuple(tuple(F(x).limit_denominator(100) for x in r) for r in basis), cells, 3)
    problem = Problem.plane(3)
    exact = coloring.pair_rate(found, problem)
    fine = found.refined(32)
    hot = np.eye(3)[fine.cells].transpose(2, 0, 1)
    value = Spectral(problem, fine.grid)(hot, basis)[0]
    # A grid of points against cells: the difference falls as the cells' side, 0.01 here.
    assert value == pytest.approx(exact, abs=0.01)
    samples = 200_000
    share = coloring.sampled_conflicts(found, problem, samples) / samples
    assert share == pytest.approx(exact, abs=3 * math.sqrt(0.25 / samples))


def test_a_soft_colouring_keeps_ties_for_the_lowest_colour():
    soft = Soft(np.zeros((3, 4, 4)), np.eye(2) * 2)
    assert (soft.rounded(Problem.plane(3)).cells == 0).all()


@pytest.mark.parametrize(
    ("width", "low", "high", "clean"),
    [(".6", ".75", "1.25", True), (".6", ".68", "1.25", False), (".6", ".75", "1.4", False),
     (".6", "1", "1", True), (".45", ".6", "1", True)],
)  # fmt: skip
def test_stripes_against_scaled_equilateral_triangles(width, low, high, clean):
    """Clean if sqrt(3)/4 * high <= width <= sqrt(3)/2 * low."""
    rule = Rule(points=((1, 0), ("1/2", "sqrt(3/4)")), scales=(low, high))
    problem = Problem(2, 3, (rule,))
    verdict = coloring.certify(coloring.stripes(3, width), problem)
    assert (verdict.status == "valid") == clean
    assert Problem.from_json(problem.as_json()) == problem


TETRAHEDRON = ((1, 0, 0), ("1/2", "sqrt(3/4)", 0), ("1/2", "sqrt(1/12)", "sqrt(2/3)"))


@pytest.mark.parametrize(
    ("width", "clean"),
    [pytest.param("3/5", True, marks=pytest.mark.slow), ("18/25", False), ("7/20", False)],
)
def test_three_slabs_against_the_regular_tetrahedron(width, clean, tmp_path):
    """Clean if 1/2 <= width <= sqrt(1/2), the distance of opposite edges."""
    w = F(width)
    found = Colouring(((3 * w, 0, 0), (0, 1, 0), (0, 0, 1)), np.arange(3)[:, None, None], 3)
    problem = Problem(3, 3, (Rule(points=TETRAHEDRON, motions="direct"),))
    verdict = coloring.certify(found, problem, out=tmp_path / "c.json")
    assert (verdict.status == "valid") == clean
    if clean:
        assert verify.file(tmp_path / "c.json").accepted


def test_what_rules_about_scales_refuse():
    for scales in ((1,), (2, 1), (0, 1), (-1, 1)):
        with pytest.raises(ValueError, match="scales is"):
            Rule(points=((1, 0),), scales=scales)
    with pytest.raises(ValueError, match="give an interval"):
        Rule(distance=1, scales=(1, 2))
    with pytest.raises(coloring.ColoringError, match="parallelograms"):
        coloring.certify(coloring.isbell(7, "hexagon"), Problem.triangle(7, 1, 1))
