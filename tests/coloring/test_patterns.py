"""Configurations: edges on a torus, their relaxation, local search, `find` beyond stripes."""

import itertools

import numpy as np
import pytest

from extremal import cli, coloring, verify
from extremal.coloring import ColoringError, Colouring, Problem, Rule
from extremal.coloring._pattern_search import Sampled, positions
from extremal.coloring._patterns import (
    broken_edges,
    edges_of,
    relaxed_edges,
    search_patterns,
)
from extremal.coloring._sweep import broken_patterns

TRIANGLE = Problem.triangle(3, ".9", ".8")
BASIS = np.array([[1.6, 0.1], [0.3, 1.5]])


def coloured(grid, palette, seed):
    """Random cells."""
    cells = np.random.default_rng(seed).integers(0, palette, (grid, grid))
    return Colouring(((2, 0), ("1/2", "7/4")), cells, palette)


def by_hand(cells, edges):
    """The broken edges, and through every cell and colour the edges that would be."""
    n0, n1 = cells.shape
    total = 0
    counts = np.zeros((cells.max() + 1, n0, n1), int)
    for a, b in itertools.product(range(n0), range(n1)):
        for offsets, colors, size in zip(edges.offsets, edges.colors, edges.sizes, strict=True):
            places = [((a + i) % n0, (b + j) % n1) for i, j in offsets[:size]]
            met = [cells[p] == c for p, c in zip(places, colors[:size], strict=True)]
            total += all(met)
            for k, p in enumerate(places):
                counts[colors[k]][p] += all(m for q, m in enumerate(met) if q != k)
    return total, counts


@pytest.mark.parametrize(
    "problem",
    [
        TRIANGLE,
        Problem(2, 3, (Rule(points=((1, 0), (2, 0)), pattern=((0, 1, 0), (2, 2, 1))),)),
        Problem(2, 3, (Rule(distance=1, colors=(0,)), Rule(points=(("1", 0), ("1/2", "sqrt(3/4)")),
                                                           colors=(1, 2)))),
    ],
    ids=["triangle", "patterns", "mixed"],
)  # fmt: skip
def test_counts_follow_every_move(problem):
    """Counting from nothing, recounting by hand, and moves agree."""
    from extremal.coloring import _patterns

    start = coloured(5, 3, 1)
    edges = edges_of(start.exact_steps, start.grid, problem)
    total, counts = by_hand(start.cells, edges)
    assert total == broken_edges(start.cells, edges, 3) > 0
    where = (5, 5, edges.offsets, edges.colors, edges.sizes)
    color = start.cells.ravel().astype(np.int64)
    found, broken = _patterns._count(color, *where, 3)
    assert broken == total
    np.testing.assert_array_equal(found.reshape(3, 5, 5), counts)
    rng = np.random.default_rng(5)
    for _ in range(12):
        y, new = int(rng.integers(25)), int(rng.integers(3))
        if new != color[y]:
            _patterns._change(y, color[y], new, color, found, *where)
    np.testing.assert_array_equal(found.reshape(3, 5, 5), by_hand(color.reshape(5, 5), edges)[1])


def test_edges_are_broken_where_patterns_are():
    for seed in range(4):
        found = coloured(8, 3, seed)
        edges = edges_of(found.exact_steps, found.grid, TRIANGLE)
        assert (broken_edges(found.cells, edges, 3) == 0) == (broken_patterns(found, TRIANGLE) == 0)
    stripes = coloring.stripes(3, "0.5")
    assert broken_patterns(stripes, Problem.triangle(3, 1, 1)) == 0
    wide = stripes.refined(4)
    edges = edges_of(wide.exact_steps, wide.grid, Problem.triangle(3, 1, 1))
    assert broken_edges(wide.cells, edges, 3) == 0


def test_the_relaxation_is_the_expected_number_and_its_gradient_is_right():
    found = coloured(5, 3, 2)
    edges = edges_of(found.exact_steps, found.grid, TRIANGLE)
    hot = np.eye(3)[found.cells].transpose(2, 0, 1)
    assert relaxed_edges(hot, edges)[0] == pytest.approx(broken_edges(found.cells, edges, 3))
    p = np.random.default_rng(0).dirichlet(np.ones(3), (5, 5)).transpose(2, 0, 1)
    value, grad = relaxed_edges(p, edges)
    for where in ((0, 1, 2), (2, 4, 4)):
        moved = p.copy()
        moved[where] += 1e-6
        assert (relaxed_edges(moved, edges)[0] - value) / 1e-6 == pytest.approx(
            grad[where], rel=1e-4
        )


def test_the_sampled_loss_is_right_for_a_uniform_colouring_and_in_its_gradients():
    uniform = np.full((3, 6, 6), 1 / 3)
    loss, _, slope = Sampled(TRIANGLE, (6, 6), 0.0, 0)(uniform, BASIS)
    assert loss == pytest.approx(1 / 9)
    np.testing.assert_allclose(slope, 0, atol=1e-12)
    p = np.random.default_rng(3).dirichlet(np.ones(3), (6, 6)).transpose(2, 0, 1).copy()

    def at(values, basis):
        return Sampled(TRIANGLE, (6, 6), 0.2, 9)(values, basis)  # the same positions every time

    loss, grad, slope = at(p, BASIS)
    moved = p.copy()
    moved[1, 2, 3] += 1e-6
    assert (at(moved, BASIS)[0] - loss) / 1e-6 == pytest.approx(grad[1, 2, 3], rel=1e-4)
    for i, j in itertools.product(range(2), range(2)):
        basis = BASIS.copy()
        basis[i, j] += 1e-7
        assert (at(p, basis)[0] - loss) / 1e-7 == pytest.approx(slope[i, j], rel=1e-2, abs=1e-5)


def test_positions_are_motions_of_the_points():
    rule = TRIANGLE.configurations[0]
    found = positions(rule, 8, 0.3)
    assert found.shape == (16, 2, 2)  # mirrored ones too
    np.testing.assert_allclose(np.linalg.norm(found, axis=2), [[1, 0.9]] * 16)
    np.testing.assert_allclose(np.linalg.norm(found[:, 0] - found[:, 1], axis=1), 0.8)
    direct = Rule(points=((1, 0), (0, 2)), motions="translations")
    np.testing.assert_allclose(positions(direct, 8, 0.3), [[[1, 0], [0, 2]]])


def test_three_colours_avoid_a_triangle_that_stripes_need_three_for(tmp_path):
    """Found from random starts alone: linear colourings are not tried by a second round."""
    from extremal.coloring._pattern_search import pattern_round

    found = pattern_round(TRIANGLE, 1, 20, float("inf"), starts=2, tries=2, iterations=2000)
    assert found.residue == 0
    path = tmp_path / "c.json"
    assert coloring.certify(found.colouring, TRIANGLE, out=path).status == "valid"
    assert verify.file(path).accepted


def test_find_and_repair_for_configurations(tmp_path):
    out = tmp_path / "run"
    found = coloring.find(TRIANGLE, budget="60s", grid=24, seed=0, out=out)
    assert found.status == "valid"
    assert verify.file(out).accepted
    broken = coloured(12, 3, 0)
    before = broken_patterns(broken, TRIANGLE)
    after = coloring.repair(broken, TRIANGLE, iterations=20_000)
    assert broken_patterns(after.colouring, TRIANGLE) < before


def test_a_free_colour_ends_without_broken_patterns():
    problem = Problem(
        2, 2, (Rule(points=((1, 0), ("1/2", "sqrt(3/4)"))), Rule(distance="1/2", colors=(0,))),
        free_color=True, objective="min_free",
    )  # fmt: skip
    start = Colouring(((2, 0), (0, 2)), coloured(10, 2, 4).cells, 2, free=True)
    after, broken = search_patterns(start, problem, 300, 0)
    assert broken == 0
    assert 0 < after.free_density < 1
    assert coloring.certify(after, problem).status == "valid"


def test_what_cannot_be_searched_is_refused():
    space = Problem(3, 2, (Rule(points=((1, 0, 0), (0, 1, 0))),))
    with pytest.raises(ColoringError, match="plane"):
        coloring.find(space, budget="5s")
    tiny = Colouring((("1/4", 0), (0, "1/4")), np.zeros((2, 2), int), 3)
    with pytest.raises(ColoringError, match="finer grid"):
        coloring.repair(tiny, Problem.triangle(3, 1, 1))
    assert cli.main(["coloring", "find", "--colors", "3", "--triangle", ".3", ".6"]) == 2
