"""Three ways to count which rows contain a feature agree."""

import numpy as np
import pytest

from extremal.interpret import Index, ball_counts, load_task, matches_by_products
from extremal.interpret._counting import distinct, popcount, unpack


def plain(masks, codes, rows, labels, classes):
    return np.array(
        [
            np.bincount(labels[(rows[:, m] == c[m]).all(1)], minlength=classes)
            for m, c in zip(masks, codes, strict=True)
        ]
    )


@pytest.mark.parametrize("levels", [2, 5])
@pytest.mark.parametrize("n", [1, 63, 64, 200])
def test_bit_sets_and_products_agree_with_comparing(levels, n):
    rng = np.random.default_rng(n)
    rows = rng.integers(0, levels, (n, 9))
    labels = rng.integers(0, 3, n)
    codes = rng.integers(0, levels, (40, 9))
    masks = rng.random((40, 9)) < 0.3
    wanted = plain(masks, codes, rows, labels, 3)
    np.testing.assert_array_equal(Index(rows, labels, 3).counts(masks, codes), wanted)
    if levels == 2:
        found = matches_by_products(masks, codes, rows, labels, 3)
        np.testing.assert_array_equal(found, wanted)
    else:
        with pytest.raises(ValueError, match="not binary"):
            matches_by_products(masks, codes, rows, labels, 3)
    if levels == 5:
        near = ball_counts(masks, codes + 0.25, rows.astype(float), labels, 3, 0.3)
        np.testing.assert_array_equal(near, wanted)


def test_showing_everything_counts_the_duplicates():
    """With k = d the precision is the purity of equal rows."""
    rows = np.array([[0, 1], [0, 1], [1, 1], [0, 1]])
    labels = np.array([0, 1, 1, 0])
    every = np.ones((1, 2), bool)
    np.testing.assert_array_equal(Index(rows, labels, 2).counts(every, rows[:1]), [[2, 1]])


def test_a_code_that_no_row_has_matches_nothing():
    index = Index(np.array([[0], [1]]), np.array([0, 1]), 2)
    np.testing.assert_array_equal(index.counts(np.ones((1, 1), bool), np.array([[7]])), [[0, 0]])


def test_sets_of_rows():
    index = Index(np.array([[0], [1], [1]]), np.array([0, 1, 1]), 2)
    found = index.rows(np.ones((1, 1), bool), np.array([[1]]))
    assert unpack(found, 3).tolist() == [[False, True, True]]
    assert popcount(found).sum() == 2


def test_distinct_features_differ_in_shown_values_only():
    masks = np.array([[1, 0], [1, 0], [1, 0], [0, 1]], bool)
    codes = np.array([[3, 1], [3, 2], [4, 1], [3, 1]])
    first, which = distinct(masks, codes)
    assert len(first) == 3
    assert which[0] == which[1]


def test_tolerance_is_needed_for_quantities():
    one = np.ones((1, 1))
    with pytest.raises(ValueError, match="without a positive tolerance"):
        ball_counts(one > 0, one, one, np.array([0]), 1, 0.0)


def test_the_audit_counts_as_the_laboratory_does():
    """The whole MONK-1 population as audit: precision, errors, correlation and alpha agree."""
    from fractions import Fraction

    from extremal.interpret import Game, Lookup, Rules, certify

    task = load_task(data="monks").sampled(60)
    lookup, rules = Lookup(task, 0.8, 5), Rules(task, 2, 5)
    found = certify(lookup, rules, task, k=2, confidence=0.5)
    rows = task.audit
    masks = np.unpackbits(found.arrays["merlin_mask"], axis=-1)[:, : task.d].astype(bool)
    features, merlin, arthur = {}, [], {}
    for i in range(len(rows)):
        units = np.flatnonzero(masks[i])
        name = (tuple(units), tuple(rows.codes[i, units]))
        inside = (rows.codes[:, units] == rows.codes[i, units]).all(1)
        features[name] = frozenset(np.flatnonzero(inside).tolist())
        arthur[name] = int(found.arrays["merlin_answer"][i]) if name not in arthur else arthur[name]
        merlin.append(name)
    game = Game((Fraction(1),) * len(rows), tuple(rows.labels.tolist()), features, tuple(merlin),
                arthur)  # fmt: skip
    world = found.numbers["population"]
    assert world["precision"] == pytest.approx(float(game.average_precision))
    for c in range(2):
        assert world["completeness_error"][c] == pytest.approx(float(game.completeness_error(c)))
        assert world["strategy_kappa"][c] == pytest.approx(float(game.strategy_kappa(c)))
    assert world["per_class"] == pytest.approx(float(game.per_class_bound))
