"""Triangulations: known ones, their counts, regularity, flips, symmetry, refusals."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from extremal import tcurves
from extremal.tcurves._regular import convex, refutes
from extremal.tcurves._triangulation import from_triangles

# Section 7-C: unimodular, not regular.
NOT_REGULAR = (
    "0 1 6; 0 5 10; 0 6 10; 1 2 6; 2 3 6; 3 4 6; 4 6 7; 4 7 8; 5 9 10; 6 7 10; 7 8 11; 7 10 14; "
    "7 11 13; 7 13 14; 9 10 12; 10 12 14"
)


def triangles(text):
    return [tuple(int(x) for x in row.split()) for row in text.split(";")]


@pytest.mark.parametrize("name", ["bat", "moth", "cen", "spl", "fra"])
def test_published_heights_give_unimodular_triangulations(name):
    t = tcurves.named(name)
    assert len(t.triangles) == t.degree**2
    assert len(t.edges) == 3 * t.degree * (t.degree + 1) // 2
    assert tcurves.from_triangles(t.degree, t.triangles, t.heights) == t


def test_triangles_that_tell_the_published_ones():
    assert (1, 9, 21) in tcurves.named("bat").triangles
    assert (1, 10, 24) in tcurves.named("cen").triangles


@pytest.mark.parametrize("d", range(1, 11))
def test_families_are_regular_by_their_heights(d):
    for t in (tcurves.honeycomb(d), tcurves.strip_fan(d)):
        assert t.heights is not None
        assert convex(t, t.heights)
        assert tcurves.from_heights(d, t.heights) == t


def test_the_triangulation_that_is_not_regular():
    t = tcurves.from_triangles(4, triangles(NOT_REGULAR))
    answer = tcurves.regular(t)
    assert not answer.regular
    assert answer.heights is None
    assert refutes(t, answer.refutation)  # exact multipliers, checked exactly
    with pytest.raises(tcurves.NotRegular, match="not strictly convex across the edge"):
        t.with_heights([0] * 15)


def test_a_refutation_with_one_changed_multiplier_refutes_nothing():
    t = tcurves.from_triangles(4, triangles(NOT_REGULAR))
    found = list(tcurves.regular(t).refutation)
    at = next(k for k, y in enumerate(found) if y)
    found[at] += Fraction(1, 10**12)
    assert not refutes(t, tuple(found))


@given(st.integers(2, 8), st.integers(0, 10**6))
def test_a_flip_walk_stays_unimodular_and_its_heights_lift_it(d, seed):
    t = tcurves.random_triangulation(d, seed, steps=60)
    assert from_triangles(d, t.triangles) == t
    answer = tcurves.regular(t)
    if answer.regular:
        assert convex(t, answer.heights)
        assert tcurves.from_heights(d, answer.heights) == t
    else:
        assert refutes(t, answer.refutation)


@given(st.integers(2, 7), st.integers(0, 10**6))
def test_flipping_back_gives_the_same(d, seed):
    t = tcurves.random_triangulation(d, seed, steps=40)
    for edge in tcurves.flippable(t)[:3]:
        there = tcurves.flip(t, edge)
        (new,) = set(there.edges) - set(t.edges)
        assert tcurves.flip(there, new) == t


def test_all_triangulations_of_small_degree_are_reached_by_flips():
    # Section 2.8: all / orbits under S3 for d = 1, 2, 3.
    for d, (every, orbits) in {1: (1, 1), 2: (4, 2), 3: (79, 18)}.items():
        seen = {tcurves.honeycomb(d)}
        queue = list(seen)
        while queue:
            t = queue.pop()
            for edge in tcurves.flippable(t):
                other = tcurves.flip(t, edge)
                if other not in seen:
                    seen.add(other)
                    queue.append(other)
        assert (len(seen), len({tcurves.canonical(t) for t in seen})) == (every, orbits)


@given(st.integers(2, 7), st.integers(0, 10**6), st.integers(0, 5))
def test_symmetric_images_share_their_canonical_form(d, seed, k):
    t = tcurves.random_triangulation(d, seed, steps=50)
    other = tcurves.image(t, k)
    assert from_triangles(d, other.triangles) == other
    assert tcurves.canonical(other) == tcurves.canonical(t)


def test_order_of_points_and_triangles_is_irrelevant():
    t = tcurves.named("bat")
    mixed = [tuple(reversed(x)) for x in reversed(t.triangles)]
    assert tcurves.from_triangles(6, mixed) == t
    assert hash(tcurves.from_triangles(6, mixed)) == hash(t)


BASE = [(0, 1, 3), (1, 2, 4), (1, 3, 4), (3, 4, 5)]  # degree 2


@pytest.mark.parametrize(
    ("degree", "rows", "text"),
    [
        (2, BASE[:3], "has 4 triangles, got 3"),
        (2, [*BASE[:3], (0, 2, 5)], "4 times the unit area"),
        (2, [*BASE[:3], (3, 4, 6)], "leaves the 6 points"),
        (2, [*BASE[:3], BASE[0]], "listed twice"),
        (2, [*BASE[:3], (3, 4, 4)], "three different points"),
        (2, [(0, 1, 3), (1, 2, 4), (1, 3, 4), (1, 2, 3)], "is in [0-9] triangles|overlap"),
        (0, [], "from 1 to 64"),
        (-1, [], "from 1 to 64"),
    ],
)
def test_what_is_no_unimodular_triangulation_is_refused(degree, rows, text):
    with pytest.raises(ValueError, match=text):
        tcurves.from_triangles(degree, rows)


@pytest.mark.parametrize(
    ("heights", "text"),
    [
        ("0 0 0 0 0 0", "coarser subdivision|more than a unit triangle"),
        ("0 0 0 0 0", "6 points, got 5"),
        ("1 0 1 0 0 x", "not an exact number"),
        ("1 0 1 1 0 1", "on or above the segment"),
        ("0 1 4 1 2 4", r"a cell with the points \[\(0, 0\), \(0, 1\), \(1, 0\), \(1, 1\)\]"),
    ],
)
def test_heights_that_give_something_coarser_are_refused(heights, text):
    with pytest.raises(ValueError, match=text):
        tcurves.from_heights(2, heights)


def test_an_edge_that_is_no_diagonal_is_not_flipped():
    with pytest.raises(ValueError, match="cannot be flipped"):
        tcurves.flip(tcurves.honeycomb(3), (0, 1))


def test_names_that_are_not_shipped():
    with pytest.raises(ValueError, match="there is no triangulation 'bar'"):
        tcurves.read("bar")
    with pytest.raises(tcurves.TCurveError, match="there is no file"):
        tcurves.read("no/such.pcom")
