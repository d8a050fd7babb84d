"""Searching provers against brute force written out, for any Arthur and for networks."""

import itertools

import numpy as np
import pytest

from extremal.interpret import Lookup, Searching, certify, load_task
from extremal.interpret._arthur import Asked
from extremal.interpret._errors import OverBudget
from extremal.interpret._search import AskedProspects, best_of_all, exchanged, grown, lead, searched
from extremal.lab import generator


class Weights:
    """An Arthur whose score for a class is the sum of its weights of the shown units."""

    def __init__(self, d, classes, seed):
        """Draw the weights."""
        self.weight = np.random.default_rng(seed).normal(size=(classes, d))

    def __call__(self, codes, mask):
        """Return the sums, and 0 for don't know."""
        signed = np.where(mask, 2 * codes - 1, 0)
        return np.column_stack([signed @ self.weight.T, np.zeros(len(codes))])


def prospects_of(rows=7, d=8, classes=2, seed=0):
    rng = np.random.default_rng(seed + 100)
    codes = rng.integers(0, 2, (rows, d))
    aim = rng.integers(0, classes, rows)
    return AskedProspects(Asked(Weights(d, classes, seed), classes), codes, aim, np.arange(d))


def value(prospects, masks):
    return lead(prospects.asked.scores(prospects.codes, masks), prospects.aim)


@pytest.mark.parametrize("seed", range(4))
def test_brute_force_is_the_best_of_all_sets_and_swaps_end_where_no_exchange_helps(seed):
    p, everyone = prospects_of(seed=seed), np.ones(8, bool)
    k = 3
    every = []
    for units in itertools.combinations(range(8), k):
        mask = np.zeros((7, 8), bool)
        mask[:, units] = True
        every.append(value(p, mask))
    least = np.min(every, axis=0)
    best = best_of_all(p, 7, k, everyone, generator(0, "x"))
    assert (best.sum(1) == k).all()
    np.testing.assert_allclose(value(p, best), least)
    greedy = searched("greedy", p, 7, k, everyone, generator(0, "x"))
    swapped = exchanged(p, greedy, everyone, generator(0, "x"))
    now = value(p, swapped)
    assert (swapped.sum(1) == k).all()
    assert (now <= value(p, greedy) + 1e-12).all()
    for row, mask in enumerate(swapped):
        for out, into in itertools.product(np.flatnonzero(mask), np.flatnonzero(~mask)):
            other = swapped.copy()
            other[row, out], other[row, into] = False, True
            assert value(p, other)[row] >= now[row] - 1e-12


def test_greedy_adds_the_best_unit_each_time():
    p, k = prospects_of(seed=5), 4
    before = np.zeros((7, 8), bool)
    for mask in grown(p, 7, k, np.ones(8, bool), generator(0, "x")):
        tried = []
        for u in range(8):
            more = before.copy()
            more[:, u] = True
            tried.append(np.where(before[:, u], np.inf, value(p, more)))
        np.testing.assert_allclose(value(p, mask), np.min(tried, axis=0))
        assert (mask & before == before).all()
        before = mask
    assert (before.sum(1) == k).all()


def test_units_that_may_not_be_shown_are_not_and_ties_are_random():
    p = prospects_of(rows=400)
    p.asked = Asked(lambda codes, mask: np.zeros((len(codes), 3)), 2)
    allowed = np.array([True] * 6 + [False] * 2)
    for how in ("greedy", "swaps", "brute-force"):
        mask = searched(how, p, 400, 2, allowed, generator(0, "x"))
        assert (mask.sum(1) == 2).all()
        assert not mask[:, 6:].any()
        if how != "brute-force":  # a set is drawn once for all rows there
            assert mask[:, :6].mean(0).min() > 0.2


def test_as_explainers_of_any_classifier():
    task = load_task(data="monks")
    found = {
        how: certify(data=task, k=3, explainer=how, confidence=0.9)
        for how in ("greedy", "swaps", "brute-force")
    }
    complete = {how: sum(f.completeness) for how, f in found.items()}
    # Three columns say everything (head, body, jacket); a lookup answers all or nothing, so steps
    # towards them look flat to greedy, and the searches differ.
    assert complete["brute-force"] == 2
    assert complete["brute-force"] > complete["greedy"]
    assert found["brute-force"].verdict == "certified"
    judge = Lookup(task)
    masks = Searching(judge, task, 2, "brute-force")(task.audit.codes, task.audit.labels)
    won = judge(np.where(masks, task.audit.codes, -1), masks) == task.audit.labels
    any_won = np.zeros(len(won), bool)
    for units in itertools.combinations(range(6), 2):
        mask = np.zeros_like(masks)
        mask[:, units] = True
        any_won |= judge(np.where(mask, task.audit.codes, -1), mask) == task.audit.labels
    np.testing.assert_array_equal(won, any_won)


def test_refused():
    task = load_task(data="breast-cancer")
    judge = Lookup(task)
    with pytest.raises(ValueError, match="there is no search 'oracle'"):
        Searching(judge, task, 2, "oracle")
    with pytest.raises(OverBudget, match="593,775"):
        Searching(judge, task, 6, "brute-force", budget=100_000)(
            task.audit.codes[:1], task.audit.labels[:1]
        )


def test_greedy_and_swaps_reach_every_class_of_three():
    """Each wrong class can be had with one unit; an attack that stops at the first misses one."""
    from extremal.interpret import make_task

    rng = np.random.default_rng(0)
    codes = rng.integers(0, 2, (900, 6))
    codes[:, 0] = 1
    labels = rng.integers(0, 3, 900)
    task = make_task(codes, labels, name="three", shares=(1 / 3, 1 / 3, 1 / 3))

    def arthur(rows, mask):
        """Unit c with its value speaks for class c, unit 0 most of all."""
        scores = np.zeros((len(rows), 4))
        scores[:, :3] = mask[:, :3] * np.array([3.0, 2.0, 1.0])
        return scores

    def merlin(rows, classes):
        mask = np.zeros(rows.shape, bool)
        mask[np.arange(len(rows)), classes] = True
        return mask

    found = certify(arthur, merlin, task, k=1, attacks=("greedy", "swaps"), confidence=0.9)
    assert set(found.numbers["attacks"]) == {"replay", "greedy", "swaps"}
    by = found.arrays["fooled_by"]
    bit = 1 << found.numbers["attacks"].index("greedy")
    for c in range(3):
        others = task.audit.labels != c
        assert (by[others, c] & bit != 0).all()
    assert not (by[np.arange(len(by)), task.audit.labels]).any()


torch = pytest.importorskip("torch")


@pytest.mark.parametrize(("data", "name"), [("digits", "mlp"), ("digits", "cnn"), ("monks", "mlp")])
def test_scores_with_a_unit_added_are_those_of_the_larger_mask(data, name):
    from extremal.interpret import ArthurNet

    task = load_task(data=data, **({"classes": ("3", "8")} if data == "digits" else {}))
    net = ArthurNet(task, name).eval()
    x = net.encoder.values(task.audit.codes[:5])
    masks = torch.zeros(5, task.d)
    for row in range(5):
        masks[row, row % task.d] = masks[row, (row + 3) % task.d] = 1.0
    units = torch.tensor([0, 3, task.d - 1])
    found = net.added(x, masks, units)
    for j, u in enumerate(units):
        more = masks.clone()
        more[:, u] = 1.0
        torch.testing.assert_close(found[:, j], net(x, more), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("how", ["greedy", "swaps", "brute-force"])
def test_searches_of_a_network_find_what_searches_of_its_answers_find(how):
    """Against a network the loss decides, so its value is what is compared."""
    from extremal.interpret import ArthurNet, merlin_loss
    from extremal.interpret._network_search import NetProspects, searched_masks

    task = load_task(data="monks")
    torch.manual_seed(1)
    net = ArthurNet(task, "mlp").eval()
    x = net.encoder.values(task.audit.codes[:20])
    y = torch.from_numpy(task.audit.labels[:20])
    allowed = torch.tensor([True] * 5 + [False])
    none = torch.zeros(6)
    mask = searched_masks(how, net, x, y, merlin_loss, 2, allowed, none, 20,
                          torch.Generator().manual_seed(0))  # fmt: skip
    assert (mask.sum(1) == 2).all()
    assert not mask[:, 5].any()
    sets = [torch.zeros(6, dtype=torch.bool).scatter_(0, torch.tensor(s), True)
            for s in itertools.combinations(range(5), 2)]  # fmt: skip
    with torch.no_grad():
        every = torch.stack([merlin_loss(net(x, s.float().expand(20, -1)), y) for s in sets])
        mine = merlin_loss(net(x, mask.float()), y)
    least = every.min(0).values
    if how == "brute-force":
        torch.testing.assert_close(mine, least)
    assert (mine >= least - 1e-6).all()
    assert mine.mean() < every.mean()
    # A penalty on a unit that is worth more than any loss keeps it hidden.
    heavy = torch.tensor([0.0, 100.0, 0, 0, 0, 0])
    kept = searched_masks(how, net, x, y, merlin_loss, 2, allowed, heavy, 20,
                          torch.Generator().manual_seed(0))  # fmt: skip
    assert not kept[:, 1].any()
    p = NetProspects(net, x, y, merlin_loss, np.arange(6), np.zeros(6))
    start = np.zeros((20, 6), bool)
    start[:, 0] = True
    np.testing.assert_allclose(
        p.added(start)[:, 2], p.under(np.array([[1, 0, 1, 0, 0, 0]], bool))[:, 0], atol=1e-5
    )
