"""The laboratory against known answers, and the theorems on random games."""

import itertools
from fractions import Fraction as F

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from extremal import interpret
from extremal.interpret import Game, cube, fish_and_fruit, with_replay

XOR = {"d": 4, "label": lambda x: x[0] ^ x[1]}


def majority(x):
    return int(sum(x) > 1)


def both(x):
    return x[0] & x[1]


@pytest.mark.parametrize("m", [2, 3, 4, 6])
def test_fish_and_fruit_has_correlation_m(m):
    assert fish_and_fruit(m).kappa == m


def test_fish_and_fruit():
    game = fish_and_fruit(6)
    assert (game.e_c, game.e_s, game.alpha, game.imbalance) == (F(1, 7), F(1, 7), 1, 1)
    assert game.average_precision == F(1, 2)
    assert (game.bound(), game.per_class_bound) == (F(5, 14), F(3, 7))
    assert game.information == pytest.approx(0, abs=1e-12)
    least, arthur = game.best_arthur()
    assert least == F(1, 7)
    assert set(arthur) == set(game.features)


def test_a_code_about_the_parity():
    game = cube(
        4, 1, XOR["label"], lambda x: [2] if x[0] ^ x[1] else [3],
        lambda s, v: {2: 1, 3: 0}.get(s[0], -1),
    )  # fmt: skip
    assert (game.e_c, game.e_s, game.average_precision) == (0, 1, F(1, 2))
    assert (game.kappa, game.alpha) == (2, 1)
    assert (game.bound(), game.per_class_bound) == (F(1, 3), F(1, 2))


def test_the_parity_shown_honestly():
    game = cube(
        4, 2, XOR["label"], lambda x: [0, 1], lambda s, v: v[0] ^ v[1] if s == (0, 1) else -1
    )
    assert (game.e_c, game.e_s, game.average_precision, game.alpha) == (0, 0, 1, None)
    assert game.information == pytest.approx(1)


def test_majority_of_three():
    one = cube(3, 1, majority, lambda x: [x.index(majority(x))], lambda s, v: v[0])
    assert (one.e_c, one.e_s, one.average_precision) == (0, F(3, 4), F(3, 4))
    assert (one.kappa, one.bound(), one.per_class_bound) == (F(7, 3), F(4, 11), F(3, 4))
    assert one.information == pytest.approx(0.188722, abs=5e-7)
    two = cube(
        3, 2, majority, lambda x: [i for i in range(3) if x[i] == majority(x)][:2],
        lambda s, v: v[0] if v[0] == v[1] else -1,
    )  # fmt: skip
    assert (two.e_c, two.e_s, two.average_precision, two.kappa) == (0, 0, 1, 2)


def test_and_of_two():
    game = cube(2, 1, both, lambda x: [x.index(both(x))], lambda s, v: v[0])
    assert (game.e_s, game.average_precision, game.imbalance) == (F(2, 3), F(7, 8), 3)
    assert (game.kappa, game.bound(), game.per_class_bound) == (2, F(1, 13), F(7, 8))
    assert game.information == pytest.approx(0.561278, abs=5e-7)
    assert game.information_bound == pytest.approx(0.267714, abs=5e-7)
    shy = cube(2, 1, both, lambda x: [x.index(both(x))], lambda s, v: -1 if v[0] else 0)
    assert (shy.e_c, shy.bound()) == (1, 0)


@st.composite
def games(draw, classes=2):
    """Small games with arbitrary weights, features and answers."""
    n = draw(st.integers(classes, 6))
    labels = [*range(classes), *draw(st.lists(st.integers(0, classes - 1), min_size=n - classes,
                                              max_size=n - classes))]  # fmt: skip
    weights = draw(st.lists(st.integers(1, 9), min_size=n, max_size=n))
    points = st.frozensets(st.integers(0, n - 1), min_size=1)
    features = dict(enumerate(draw(st.lists(points, min_size=1, max_size=6))))
    features["rest"] = frozenset(range(n))  # every point has something to show
    merlin = [draw(st.sampled_from([f for f in features if x in features[f]])) for x in range(n)]
    arthur = {f: draw(st.integers(-1, classes - 1)) for f in features}
    # The game is made in the test: what checks its types draws random elements, which Hypothesis
    # does not allow inside a strategy.
    return tuple(map(F, weights)), tuple(labels), features, tuple(merlin), arthur


@given(game=games())
@settings(max_examples=120)
def test_main_bound_below_per_class_bound_below_precision(game):
    game = Game(*game)
    assert game.bound() <= game.per_class_bound <= game.average_precision
    assert 1 <= game.kappa <= game.most_features


@given(game=games(classes=3))
@settings(max_examples=60)
def test_the_per_class_form_holds_for_three_classes(game):
    game = Game(*game)
    assert game.per_class_bound <= game.average_precision


@given(game=games())
@settings(max_examples=60)
def test_replay_makes_alpha_at_least_one(game):
    game = Game(*game)
    replayed = with_replay(game)
    assert replayed.alpha is None or replayed.alpha >= 1
    assert replayed.bound() <= replayed.average_precision
    assert all(x <= y for x, y in ((replayed.e_s, game.e_s), (0, replayed.e_s)))


@given(game=games())
@settings(max_examples=60)
def test_information_is_at_least_what_precision_says(game):
    game = Game(*game)
    assert game.information >= game.information_bound - 1e-12


@given(game=games(), seed=st.randoms())
@settings(max_examples=40)
def test_names_of_classes_and_features_do_not_matter(game, seed):
    game = Game(*game)
    names = list(game.features)
    seed.shuffle(names)
    flip = {-1: -1, 0: 1, 1: 0}
    turned = Game(
        game.weights, tuple(1 - c for c in game.labels), {f: game.features[f] for f in names},
        game.merlin, {f: flip[a] for f, a in game.arthur.items()},
    )  # fmt: skip
    for name in ("kappa", "alpha", "average_precision", "per_class_bound"):
        assert getattr(turned, name) == getattr(game, name)
    assert turned.bound() == game.bound()


@given(game=games())
@settings(max_examples=40)
def test_outside_the_mistakes_of_the_best_arthur_precision_is_one(game):
    game = Game(*game)
    least, arthur = game.best_arthur()
    best = Game(game.weights, game.labels, game.features, game.merlin, arthur)
    mistaken = best.mistaken()
    total = sum(game.weights)
    assert sum(game.weights[x] for x in mistaken) / total == least
    rest = set(range(len(game.labels))) - mistaken
    if len({game.labels[x] for x in rest}) == 2:
        assert best.restricted(rest).average_precision == 1


@given(game=games())
@settings(max_examples=25)
def test_best_arthur_against_every_arthur(game):
    game = Game(*game)
    if len(game.features) > 5:
        return
    worst = sum(game.weights)
    for answers in itertools.product((-1, 0, 1), repeat=len(game.features)):
        arthur = dict(zip(game.features, answers, strict=True))
        tried = Game(game.weights, game.labels, game.features, game.merlin, arthur)
        worst = min(worst, sum(game.weights[x] for x in tried.mistaken()))
    assert game.best_arthur()[0] == worst / sum(game.weights)


def test_what_is_shown_can_leave_more_doubt_than_there_was():
    """So the bound of the information must not be raised to 0."""
    game = Game(
        (F(1),) * 4, (0, 1, 0, 0), {0: frozenset({0, 1}), "rest": frozenset(range(4))},
        (0, 0, "rest", "rest"), {0: 0, "rest": 0},
    )  # fmt: skip
    assert game.information_bound <= game.information < 0


def test_refusals():
    game = fish_and_fruit(2)
    with pytest.raises(ValueError, match="cannot invent values"):
        Game(game.weights, game.labels, game.features, game.merlin[::-1], game.arthur)
    with pytest.raises(ValueError, match="k=4 indices cannot be shown of 3"):
        cube(3, 4, majority, lambda x: [0], lambda s, v: 0)
    big = fish_and_fruit(12)
    with pytest.raises(interpret.OverBudget, match=r"all sets of 24 features, 2\^24"):
        _ = big.kappa
    three = Game((F(1),) * 3, (0, 1, 2), {0: frozenset({0, 1, 2})}, (0, 0, 0), {0: 0})
    with pytest.raises(interpret.InterpretError, match="two classes and this game has 3"):
        three.bound()
