"""Random tiles, patches that open and join, boundaries without teeth."""

import numpy as np
import pytest

from extremal import coloring, verify
from extremal.coloring import Problem, Tiles
from extremal.coloring._certify import parts_of
from extremal.coloring._open import eased, opened, parted
from extremal.coloring._polygon_nlp import _Goal, free_share
from extremal.coloring._scatter import scattered
from extremal.coloring._simplify import simplified
from extremal.coloring._triangles import halved, loosened, triangles
from extremal.lab import generator, write_certificate

FIVE = Problem.plane(5, free_color=True)


def total(tiles):
    """The area of all tiles, over that of the period: 1 where they fit together."""
    area = 0.0
    for _, p in tiles.polygons():
        q = np.roll(p, -1, 0)
        area += float((p[:, 0] * q[:, 1] - p[:, 1] * q[:, 0]).sum()) / 2
    return area / abs(float(np.linalg.det(tiles.lattice)))


def fit(tiles):
    """Whether every side has one tile on each of its two sides."""
    sides = []
    for own in tiles.corners:
        for (k, i, j), (m, a, b) in zip(own, (*own[1:], own[0]), strict=True):
            sides.append((k, m, a - i, b - j))
    return len(set(sides)) == len(sides) and {(m, k, -a, -b) for k, m, a, b in sides} == set(sides)


@pytest.mark.parametrize("copies", [1, 2])
def test_scattered_tiles_fit_together(copies):
    for seed in range(4):
        tiles = scattered(FIVE, seed=seed, copies=copies)
        assert total(tiles) == pytest.approx(1)
        assert fit(tiles)
        assert tiles.colors.count(5) == 2 * 5 * copies  # Euler: as many corners of three tiles
        assert all(tiles.colors.count(c) == copies for c in range(5))
        again = scattered(FIVE, seed=seed, copies=copies)
        assert (tiles.vertices == again.vertices).all()


def squares():
    """Two unit squares of different colours that fill a period of 2 x 1."""
    corners = (
        ((0, 0, 0), (1, 0, 0), (1, 0, 1), (0, 0, 1)),
        ((1, 0, 0), (0, 1, 0), (0, 1, 1), (1, 0, 1)),
    )
    places = np.array([[0.0, 0.0], [1.0, 0.0]])
    return Tiles(np.array([[2.0, 0.0], [0.0, 1.0]]), places, corners, (0, 1))


def test_a_corner_of_four_tiles_opens_to_a_free_one():
    problem = Problem.plane(2, free_color=True)
    tiles = opened(squares(), problem, 0.1)
    assert tiles.colors == (0, 1, 2, 2)
    assert fit(tiles)
    assert total(tiles) == pytest.approx(1)
    # Diamonds with half-diagonals of 0.1, one for each of the two corners of a period.
    assert free_share(tiles, problem) == pytest.approx(2 * 0.02 / 2)


def test_patches_that_meet_become_one():
    tiles = scattered(FIVE, seed=0, wide=0.2, longest=9.0)
    assert parted(tiles, FIVE) is tiles  # nothing has met
    met = simplified(tiles, 0.12)  # short sides between two patches become corners
    joined = parted(met, FIVE)
    assert joined.colors.count(5) < met.colors.count(5)
    assert all(joined.colors.count(c) == 1 for c in range(5))
    assert total(joined) == pytest.approx(1)
    assert fit(joined)
    assert triangles(joined)[1]


def test_easing_gives_room_to_free_patches_alone():
    tiles = halved(scattered(FIVE, seed=0), 0.03)  # with corners of one tile and a patch
    wider = eased(tiles, FIVE, 1e-3)
    assert free_share(wider, FIVE) > free_share(tiles, FIVE)
    assert total(wider) == pytest.approx(1)


def test_teeth_are_taken_out_and_nothing_else():
    tiles = loosened(halved(halved(scattered(FIVE, seed=0), 0.1), 0.05))[0]
    draw = generator(0, "teeth").normal(size=tiles.vertices.shape)
    # Only vertices between two coloured tiles get teeth.
    near = {k for own, c in zip(tiles.corners, tiles.colors, strict=True) if c == 5
            for k, _, _ in own}  # fmt: skip
    places = tiles.vertices.copy()
    for k in range(len(places)):
        if k not in near:
            places[k] += 0.005 * draw[k]
    rough = Tiles(tiles.lattice, places, tiles.corners, tiles.colors)
    assert triangles(rough)[1]
    fine = coloring.straightened(rough, FIVE, margin=-1.0)  # every gap will do
    assert len(fine.vertices) < len(rough.vertices) / 2
    assert free_share(fine, FIVE) == pytest.approx(free_share(rough, FIVE), abs=1e-12)
    assert fit(fine)
    assert total(fine) == pytest.approx(1)
    kept = coloring.straightened(rough, FIVE, margin=10.0)  # no gap will do
    assert len(kept.vertices) == len(rough.vertices)
    shallow = coloring.straightened(rough, FIVE, margin=-1.0, deepest=0.002)
    assert len(fine.vertices) < len(shallow.vertices) < len(rough.vertices)


def test_straight_boundaries_keep_what_the_start_keeps():
    goal = _Goal(FIVE, 0.0, "min_free", None)
    tiles = loosened(halved(scattered(FIVE, seed=1), 0.1))[0]
    # Let the rules be those that the start just keeps, by scaling it down.
    small = Tiles(0.9 * tiles.lattice, 0.9 * tiles.vertices, tiles.corners, tiles.colors)
    for start in (tiles, small):
        worst = goal.violation(start)
        assert goal.violation(coloring.straightened(start, FIVE)) <= max(worst, 0) + 1e-9


@pytest.mark.slow
def test_random_tiles_become_a_certificate(tmp_path):
    found = coloring.random_tiles(FIVE, seed=12, longest=0.3, rounds=(10, 10, 10), give_up=0.2)
    assert found.free < 0.12
    assert fit(found.tiles)
    after = coloring.settle(found.tiles, FIVE, longest=0.3, times=3, rounds=6)
    assert after.violation < 1e-6
    done = coloring.refine(after.tiles.exact(5, True), FIVE, rounds=10, straighten=True)
    assert done.verdict.status == "valid"
    assert float(done.colouring.free_density) <= after.free + 1e-6
    path = write_certificate(tmp_path / "c.json", parts_of(done.colouring, FIVE))
    assert verify.file(path).accepted


def test_random_tiles_need_a_free_colour():
    with pytest.raises(ValueError, match="free colour"):
        coloring.random_tiles(Problem.plane(5), seed=0)
    with pytest.raises(ValueError, match="free colour"):
        coloring.settle(squares(), Problem.plane(2), longest=0.3)
