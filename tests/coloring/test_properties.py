"""What must not change a verdict, and what must."""

from fractions import Fraction as F

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import coloring
from extremal.coloring import Colouring, Problem
from extremal.coloring._offsets import exact_norms, forbidden, norms
from extremal.coloring._screen import pair_counts

small = st.integers(-3, 3)


@st.composite
def colourings(draw):
    n0, n1 = draw(st.integers(3, 9)), draw(st.integers(3, 9))
    lattice = ((F(draw(st.integers(15, 25)), 10), F(draw(small), 10)),
               (F(draw(small), 10), F(draw(st.integers(15, 25)), 10)))  # fmt: skip
    seed = draw(st.integers(0, 10**6))
    colors = draw(st.integers(2, 7))
    cells = np.random.default_rng(seed).integers(0, colors, (n0, n1))
    if draw(st.booleans()):  # patches, so that some are valid
        cells = np.sort(cells, axis=draw(st.integers(0, 1)))
    return lattice, cells, colors  # built in the test: its type checks draw random numbers


def valid(found, problem):
    return coloring.screen(found, problem) is None


PROBLEMS = {k: Problem.plane(k) for k in range(1, 8)}


@settings(max_examples=40)
@given(colourings(), small, small, st.randoms())
def test_moves_that_keep_the_verdict(plain, a, b, rnd):
    found = Colouring(*plain)
    problem = PROBLEMS[found.colors]
    answer = valid(found, problem)
    moved = Colouring(found.lattice, np.roll(found.cells, (a, b), (0, 1)), found.colors)
    assert valid(moved, problem) == answer
    order = list(range(found.colors))
    rnd.shuffle(order)
    renamed = Colouring(found.lattice, np.array(order)[found.cells], found.colors)
    assert valid(renamed, problem) == answer
    reflected = Colouring(found.lattice, found.cells[::-1, ::-1], found.colors)
    assert valid(reflected, problem) == answer
    swapped = Colouring(found.lattice[::-1], found.cells.T, found.colors)
    assert valid(swapped, problem) == answer


@settings(max_examples=25)
@given(colourings())
def test_other_bases_of_the_lattice_keep_the_verdict(plain):
    found = Colouring(*plain)
    (v1, v2), answer = found.lattice, valid(found, PROBLEMS[found.colors])
    turned = Colouring((tuple(-x for x in v1), v2), found.cells[::-1], found.colors)
    assert valid(turned, PROBLEMS[found.colors]) == answer
    doubled = Colouring(
        (tuple(2 * x for x in v1), v2), np.concatenate([found.cells, found.cells]), found.colors
    )
    assert valid(doubled, PROBLEMS[found.colors]) == answer


@settings(max_examples=25)
@given(colourings(), st.integers(2, 3))
def test_refined_colourings_stay_valid(plain, factor):
    found = Colouring(*plain)
    problem = PROBLEMS[found.colors]
    if valid(found, problem):
        assert valid(found.refined(factor), problem)


@settings(max_examples=25)
@given(colourings(), st.integers(1, 4), st.integers(0, 4))
def test_a_larger_set_never_becomes_valid(plain, width, shift):
    found = Colouring(*plain)
    low = F(8 + shift, 10)
    narrow = Problem.type(*[(low, low + F(width, 20))] * found.colors)
    wide = Problem.type(*[(low - F(1, 20), low + F(width, 20) + F(1, 20))] * found.colors)
    assert valid(found, narrow) or not valid(found, wide)


@settings(max_examples=20)
@given(colourings())
def test_three_ways_to_count_agree(plain):
    found = Colouring(*plain)
    problem = PROBLEMS[found.colors]
    pairs = coloring.conflict_pairs(found, problem)
    assert (pairs == 0) == valid(found, problem)
    rate = coloring.pair_rate(found, problem)
    # a pair of cells that barely meet has a tiny positive rate, lost among 20,000 angles
    assert rate < 1e-6 or pairs > 0
    total = sum(pair_counts(found.cells, c).sum() for c in range(found.colors))
    assert total == sum(int((found.cells == c).sum()) ** 2 for c in range(found.colors))
    if pairs == 0:
        assert coloring.sampled_conflicts(found, problem, 100_000) == 0


def test_samples_never_contradict_valid():
    found, problem = coloring.isbell(18), Problem.plane(7)
    assert coloring.sampled_conflicts(found, problem, 1_000_000) == 0
    assert coloring.point_rate(found, problem, 2000, 100) == 0


def test_the_point_rate_is_at_least_the_pair_rate():
    found, problem = coloring.isbell(10), Problem.plane(7)
    pair = coloring.pair_rate(found, problem)
    assert 0 < pair < coloring.point_rate(found, problem, 5000, 200)


@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(2, 9), small, small, st.integers(2, 9))
def test_float_and_exact_norms_agree(d0, d1, a, b, c, d):
    steps = ((F(a, 5), F(b, 9)), (F(c, 9), F(d, 5)))
    if steps[0][0] * steps[1][1] == steps[0][1] * steps[1][0]:
        return
    low, high = exact_norms(steps, (d0, d1))
    floats = norms(np.array(steps, float), np.array([[d0, d1]]))
    assert floats[0][0] == pytest.approx(float(low), abs=1e-9)
    assert floats[1][0] == pytest.approx(float(high), rel=1e-9)


@settings(max_examples=30, deadline=None)
@given(st.integers(-9, 9), st.integers(-9, 9), st.integers(1, 9), small, small, st.integers(1, 9))
def test_hexagons_float_exact_and_checker_agree(d0, d1, a, b, c, d):
    from extremal.coloring._colouring import Shape
    from extremal.coloring._offsets import exact_shape_norms, shape_norms
    from extremal.verify._proved._coloring_bodies import body

    rows = ((a, b), (c, d))
    if a * d == b * c:
        return
    shape = Shape(tuple(tuple(F(x, 5) for x in row) for row in rows), "hexagon", (F(2), F(1)))
    low, high = exact_shape_norms(shape, (d0, d1))
    floats = shape_norms(shape, np.array([[d0, d1]]))
    assert floats[0][0] == pytest.approx(float(low), abs=1e-9)
    assert floats[1][0] == pytest.approx(float(high), rel=1e-9)
    there = body(rows, "hexagon", (2, 1))
    centre = (d0 * a + d1 * c, d0 * b + d1 * d)
    assert (there.near(centre) / 25, there.far(centre) / 25) == (low, high)


@pytest.mark.slow
@settings(max_examples=25, deadline=None)
@given(colourings(), small, small)
def test_verdicts_about_hexagons_do_not_depend_on_the_basis(plain, a, b):
    lattice, cells, colors = plain
    n = min(cells.shape)
    found = Colouring(lattice, cells[:n, :n], colors, cell="hexagon")
    problem = PROBLEMS[colors]
    answer = valid(found, problem)
    moved = found.with_cells(np.roll(found.cells, (a, b), (0, 1)))
    assert valid(moved, problem) == answer
    # v_2 + v_1 instead of v_2: cell (i, j) of the old basis is (i - j, j) of the new one
    i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
    (p, q), (r, s) = found.lattice
    sheared = Colouring(((p, q), (r + p, s + q)), found.cells[(i + j) % n, j], colors,
                        cell="hexagon")  # fmt: skip
    assert valid(sheared, problem) == answer
    pairs = coloring.conflict_pairs(found, problem)
    assert (pairs == 0) == answer
    rate = coloring.pair_rate(found, problem)
    assert rate < 1e-6 or pairs > 0
    if answer:
        assert coloring.sampled_conflicts(found, problem, 50_000) == 0


def test_the_pair_rate_of_hexagons_agrees_with_samples():
    found, problem = coloring.isbell(6, "hexagon"), Problem.plane(7)
    exact = coloring.pair_rate(found, problem)
    share = coloring.sampled_conflicts(found, problem, 400_000) / 400_000
    assert exact > 1e-4
    assert share == pytest.approx(exact, abs=4 * (exact / 400_000) ** 0.5)


def test_offsets_do_not_depend_on_the_basis_of_the_cells_lattice():
    steps = ((F(1, 7), F(0)), (F(1, 20), F(1, 6)))
    ones = ((F(1), F(1)),)
    there = {tuple(d) for d in forbidden(steps, ones).tolist()}
    mirrored = tuple(tuple(-x for x in v) for v in steps)
    assert {tuple(d) for d in forbidden(mirrored, ones).tolist()} == there
    exchanged = {(b, a) for a, b in forbidden(steps[::-1], ones).tolist()}
    assert exchanged == there


@pytest.mark.parametrize("color", [0, 3])
def test_the_spectrum_says_which_distances_are_free(color):
    found = coloring.isbell(24)
    gaps = coloring.spectrum(found, color).squared
    low, high = next((a, b) for a, b in gaps if a <= 1 <= b)
    only = np.where(found.cells == color, 0, 1)
    one = Colouring(found.lattice, only, 1, free=True)

    def holds(a, b):
        rule = coloring.Rule(distance=(f"sqrt({a})", f"sqrt({b})"))
        return coloring.screen(one, Problem(2, 1, (rule,), free_color=True)) is None

    assert holds(low, high)  # the ends themselves are not reached by half-open cells
    assert not holds(low - F(1, 10**6), low)
    assert not holds(high, high + F(1, 10**6))


def test_a_small_torus_counts_translates():
    """On a torus of circumference 1 every colour meets its own translate at distance 1."""
    found = Colouring(((1, 0), (0, 1)), np.arange(100).reshape(10, 10) % 7, 7)
    conflict = coloring.screen(found, Problem.plane(7))
    assert conflict is not None
    with pytest.raises(coloring.ColoringError, match="take a finer grid, or a larger period"):
        coloring.tabu(found, Problem.plane(7))
