"""Patterns that repeat with exchanged colours: small cells, extraction, search, certificate."""

import math

import numpy as np
import pytest

from extremal import cli, coloring, verify
from extremal.coloring import ColoringError, Exchange, Problem, Rule

CYCLE = (1, 2, 3, 4, 5, 6, 0)


def seven(i, j):
    """The exchange of the hexagons: colour i + 3 j."""
    plain = Exchange((CYCLE,))
    return Exchange((plain.moved((i,)), plain.moved((j,))))


def test_the_whole_period_is_made_of_moved_small_cells():
    exchange = seven(1, 3)
    assert exchange.orders == (7, 7)
    assert exchange.size() == 7
    x = np.random.default_rng(0).normal(size=(7, 3, 2))
    full = exchange.whole(x)
    assert full.shape == (7, 21, 14)
    assert np.array_equal(exchange.small(full), x)
    # One step along the second axis moves every colour by three.
    np.testing.assert_array_equal(full[:, :3, 2:4][[3, 4, 5, 6, 0, 1, 2]], x)
    colouring = coloring.Colouring(((7, 0), (0, 7)), full.argmax(0), 7)
    assert exchange.kept_by(colouring)
    cells = colouring.cells.copy()
    cells[4, 4] = (cells[4, 4] + 1) % 7
    assert not exchange.kept_by(coloring.Colouring(((7, 0), (0, 7)), cells, 7))


def test_the_sum_over_small_cells_is_the_transpose():
    exchange = seven(2, 5)
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(7, 2, 3)), rng.normal(size=(7, 14, 21))
    np.testing.assert_allclose((exchange.whole(x) * y).sum(), (x * exchange.summed(y)).sum())


def test_optimising_keeps_the_repetition():
    problem = Problem.plane(7)
    soft = coloring.random_start(problem, 3, 0, 12, permuted=True)
    assert soft.exchange is not None
    after, loss = coloring.refine_lattice(soft, problem, 20, blur=0.06, rate=0.1)
    assert loss < 0.15  # 1/7 without any pattern
    np.testing.assert_array_equal(
        after.logits, soft.exchange.whole(soft.exchange.small(after.logits))
    )
    assert not np.allclose(after.basis, soft.basis)


def test_the_small_cell_of_a_turned_isbell_colouring():
    """One hexagon instead of seven: the spacing of the hexagons is sqrt(3) s."""
    side, turn = 0.43, 0.3
    rotate = np.array([[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]])
    axis = (np.arange(200) + 0.5) * 6 / 200 - 3
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    small = coloring.isbell(72)
    scale = 0.43 / (2 / (2 + math.sqrt(7)))  # of the baseline's hexagons
    colours = small.at(points @ rotate.T / scale)
    grid = np.eye(7)[colours].reshape(200, 200, 7)
    found = coloring.exchanged_periods(grid, 6 / 200, Problem.plane(7))
    rows, exchange = coloring.small_cells(found)[0]
    assert exchange.size() == 7
    lengths = np.linalg.norm(rows, axis=1)
    np.testing.assert_allclose(lengths, math.sqrt(3) * side, atol=0.03)
    area = abs(np.linalg.det(rows))
    assert area == pytest.approx(1.5 * math.sqrt(3) * side**2, rel=0.05)
    # Colours are moved as the hexagons say: a step and its reverse undo each other.
    assert all(sorted(s) == list(range(7)) for s in exchange.permutations)
    true = coloring.lattices(coloring.periods(grid, 6 / 200))[0]
    assert abs(np.linalg.det(true)) == pytest.approx(7 * area, rel=0.05)


def test_folding_on_a_small_cell_gives_the_pattern_back():
    exchange = seven(1, 3)
    rows = np.array([[0.7, 0.0], [0.35, 0.6]])
    small = np.random.default_rng(2).normal(size=(7, 4, 4))
    full = exchange.whole(small)
    period = np.array(exchange.orders)[:, None] * rows

    def pattern(points):
        inner = points @ np.linalg.inv(period) * 28
        index = np.floor(inner).astype(int) % 28
        return full[:, index[:, 0], index[:, 1]].T

    np.testing.assert_allclose(coloring.fold_exchanged(pattern, rows, exchange, (4, 4), 3.0), full)


@pytest.mark.slow
def test_a_search_with_exchanged_colours_is_certified(tmp_path):
    found = coloring.find(
        Problem.plane(7), budget="120s", grid=24, seed=0, permuted=True, out=tmp_path / "run"
    )
    assert found.status == "valid"
    assert verify.file(tmp_path / "run").accepted
    assert not cli.main(["verify", str(tmp_path / "run" / "certificate.json")])


def test_only_colours_of_equal_rules_are_exchanged():
    problem = Problem.type(1, 1, 1, 1, 1, 0.5)
    for number in range(30):
        soft = coloring.random_start(problem, 0, number, 12, permuted=True)
        assert soft.exchange is not None
        assert all(s[5] == 5 for s in soft.exchange.permutations)
        assert not soft.exchange.identity


@pytest.mark.parametrize(
    ("permutations", "message"),
    [
        (((0, 0, 1),), "no permutation"),
        (((1, 0, 2), (0, 2, 1)), "commute"),
    ],
)
def test_exchanges_without_sense_are_refused(permutations, message):
    with pytest.raises(ValueError, match=message):
        Exchange(permutations)


def test_a_problem_without_equal_colours_is_refused(capsys):
    with pytest.raises(ColoringError, match="without --permuted"):
        coloring.find(Problem.type(1, 0.5), budget="5s", permuted=True)
    assert cli.main(["coloring", "find", "--type", "1", "0.5", "--budget", "5s", "--permuted"]) == 2
    assert "without --permuted" in capsys.readouterr().err


def test_permuted_is_refused_where_it_does_nothing():
    with pytest.raises(ValueError, match="CPU"):
        coloring.find(Problem.plane(7), budget="5s", permuted=True, device="cuda")
    triangle = Problem(2, 3, (Rule(points=((1, 0), ("1/2", "sqrt(3/4)"))),))
    with pytest.raises(ColoringError, match="--permuted"):
        coloring.find(triangle, budget="5s", permuted=True)
