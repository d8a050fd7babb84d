"""Losses, provers and games; the behaviours of section 7 of the specification as slow tests."""

import numpy as np
import pytest

pytest.importorskip("torch")
import torch

from extremal import interpret, verify
from extremal.interpret import Relaxation, adam_masks, frank_wolfe_masks, morgana_loss, train
from extremal.interpret._losses import aimed_loss, merlin_loss, one_sided_losses
from extremal.interpret._mask_networks import mask_network, soft_mask, soft_top_k
from extremal.interpret._network import ArthurNet
from extremal.interpret._relaxed import binarised, frank_wolfe_steps, total_variation

Z = torch.tensor([[2.0, -1.0, 0.5], [0.0, 0.0, 0.0], [-3.0, 4.0, 1.0]], dtype=torch.float64)
Y = torch.tensor([0, 1, 0])
DIGITS = {"classes": ("3", "8")}


def test_losses():
    hers = morgana_loss(Z, Y)
    known = torch.tensor([0.0398980, 0.4054651, 3.0313057], dtype=torch.float64)
    torch.testing.assert_close(hers, known, atol=5e-8, rtol=0)
    assert hers.mean().item() == pytest.approx(1.1588896, abs=5e-8)
    his = torch.tensor([0.2413113, 1.0986123, 7.0494556], dtype=torch.float64)
    torch.testing.assert_close(merlin_loss(Z, Y), his, atol=5e-8, rtol=0)
    far = torch.tensor([[1e4, -1e4, -1e4], [-1e4, 1e4, -1e4]], requires_grad=True)
    loss = morgana_loss(far, torch.tensor([0, 0])) + merlin_loss(far, torch.tensor([0, 0]))
    assert torch.isfinite(loss).all()
    loss.sum().backward()
    assert torch.isfinite(far.grad).all()


def test_the_loss_of_a_morgana_who_aims_is_the_old_one_for_two_classes():
    torch.testing.assert_close(aimed_loss(Z, 1 - Y), morgana_loss(Z, Y))
    z = torch.tensor([[1.0, 2.0, 0.5, -1.0]])
    p = torch.softmax(z, 1)[0]
    for target in range(3):
        known = -torch.log(1 - p[target])
        torch.testing.assert_close(aimed_loss(z, torch.tensor([target]))[0], known)
    assert torch.isfinite(aimed_loss(torch.tensor([[1e4, -1e4, 0.0]]), torch.tensor([0]))).all()


def test_one_sided_losses():
    merlin, morgana = one_sided_losses(torch.tensor([[0.0, 0.0, 0.0]] * 2), torch.tensor([1, 0]), 1)
    assert merlin.tolist() == [0.5, 0.0]
    assert morgana.tolist() == [0.0, 0.5]


def test_three_steps_of_frank_wolfe():
    """Constant gradient, step 0.1, from (0, 1, 0, 0, 1): the specification's numbers."""
    from extremal.frankwolfe import UnitHypersimplex

    region = UnitHypersimplex(1.0, k=2)
    g = torch.tensor([-3.0, 0.5, -1.0, -2.0, 0.0])
    s = torch.tensor([0.0, 1.0, 0.0, 0.0, 1.0])
    for _ in range(3):
        s = 0.9 * s + 0.1 * region.lmo(g)
    torch.testing.assert_close(s, torch.tensor([0.271, 0.729, 0.0, 0.271, 0.729]))
    for n, k, squared in ((5, 2, 4), (4, 3, 4), (5, 4, 5)):
        assert UnitHypersimplex(1.0, k=k).diameter((n,)) ** 2 == pytest.approx(squared)


@pytest.mark.parametrize("solver", [frank_wolfe_masks, adam_masks])
def test_solvers_find_the_best_units_and_stay_in_the_region(solver):
    weight = torch.tensor([[3.0, -1.0, 2.0, 0.0, -2.0], [-1.0, 3.0, 0.0, 2.0, 1.0]])
    allowed = torch.tensor([True] * 5)

    def loss(at, mask):
        return -(mask * weight[at]).sum(1)

    how = Relaxation(k=2, iterations=200, step=0.1, patience=50)
    soft = solver(loss, 2, allowed, how, torch.Generator().manual_seed(0))
    assert (soft >= 0).all()
    assert (soft <= 1 + 1e-6).all()
    assert (soft.sum(1) <= 2 + 1e-4).all()
    mask = binarised(soft, 2, allowed, torch.Generator().manual_seed(0))
    assert (weight[mask] > 0).all()
    if solver is frank_wolfe_masks:  # Adam scales gradients, so it only knows their signs here
        assert mask.nonzero()[:, 1].reshape(2, 2).tolist() == [[0, 2], [1, 3]]


def test_steps_that_go_on_reach_what_steps_that_start_anew_do_not():
    """Of 30 units the last two matter; a visit makes two steps, from where the last one stopped."""
    weight = torch.zeros(1, 30)
    weight[0, 28:] = torch.tensor([1.0, 2.0])
    allowed = torch.tensor([False] + [True] * 29)

    def loss(at, mask):
        return -(mask * weight[at]).sum(1)

    start = torch.zeros(1, 30)
    start[0, 1:3] = 1.0
    draw = torch.Generator().manual_seed(0)
    once = frank_wolfe_steps(loss, start, allowed, 2, steps=2)
    assert binarised(once, 2, allowed, draw)[0, 1:3].all()
    soft = start
    for _ in range(10):
        soft = frank_wolfe_steps(loss, soft, allowed, 2, steps=2)
        assert (soft >= 0).all()
        assert (soft.sum(1) <= 2 + 1e-5).all()
        assert soft[0, 0] == 0
    assert binarised(soft, 2, allowed, draw)[0, 28:].all()


def test_masks_have_exactly_k_ones_among_the_allowed_and_ties_are_random():
    allowed = torch.tensor([True] * 30 + [False] * 2)
    draw = torch.Generator().manual_seed(0)
    mask = binarised(torch.zeros(200, 32), 5, allowed, draw)
    assert (mask.sum(1) == 5).all()
    assert not mask[:, 30:].any()
    assert mask[:, :30].float().mean(0).min() > 0.05
    logits = torch.randn(7, 32, generator=draw)
    assert (soft_mask(logits, 5, allowed).sum(1) <= 5 + 1e-4).all()
    torch.testing.assert_close(
        soft_top_k(logits, 5, allowed, draw, 500).sum(1), torch.full((7,), 5.0)
    )


def test_total_variation_of_a_step():
    s = torch.tensor([[0.0, 1.0, 0.0, 1.0]])
    assert total_variation(s, (2, 2)).item() == 1.0


@pytest.mark.parametrize("kind", ["mlp", "u-net"])
@pytest.mark.parametrize("condition", ["planes", "gate", "none"])
def test_mask_networks_give_a_number_a_pixel(kind, condition):
    task = interpret.load_task(data="digits", **DIGITS)
    net = mask_network(kind, task, condition, 2, 0.1)
    x = net.encoder.values(task.audit.codes[:3])
    out = net(x, torch.tensor([0, 1, 0]), 1)
    assert out.shape == (3, 64)
    if condition == "none":
        torch.testing.assert_close(out, net(x, torch.tensor([1, 0, 1]), 1))


def test_the_first_layer_on_shown_pixels_alone_is_the_same_network():
    task = interpret.load_task(data="digits", **DIGITS)
    net = ArthurNet(task, "mlp")
    x = net.encoder.values(task.audit.codes[:4])
    masks = torch.zeros(3, 64, dtype=torch.bool)
    masks[0, :5] = masks[1, 20:25] = masks[2, 59:] = True
    dense = torch.stack([net(x, m.float().expand(4, -1)) for m in masks], 1)
    torch.testing.assert_close(net.cross(x, masks), dense, atol=1e-5, rtol=1e-4)


def test_hidden_differs_from_every_value_and_columns_hide_whole():
    task = interpret.load_task(data="monks")
    encoder = ArthurNet(task, "mlp").encoder
    assert encoder.width == 17
    values = encoder.values(task.audit.codes[:2])
    assert (values.sum(1) == 6).all()
    mask = torch.zeros(2, 6)
    mask[:, 4] = 1  # the jacket: its four entries, and one of the mask
    seen = encoder(values, mask)[:, 0, 0]
    assert (seen.sum(1) == 2).all()


@pytest.mark.parametrize(
    ("how", "text"),
    [
        ({"gamma": -1.0}, "gamma=-1.0"), ({"k": 0}, "k=0"), ({"k": 65}, "k=65"),
        ({"prover": "oracle"}, "prover='oracle'"), ({"morgana": "lazy"}, "morgana='lazy'"),
        ({"variant": "x"}, "variant='x'"), ({"shared": True}, "shared=True"),
        ({"one_sided": "5"}, "one_sided='5'"), ({"condition": "x"}, "condition='x'"),
        ({"prover": "frank-wolfe", "morgana": "learned"}, "has the form of Merlin's network"),
        ({"warmup": 1.5}, "warmup=1.5"), ({"refine": 0}, "refine and threads are at least 1"),
    ],
)  # fmt: skip
def test_refused(how, text):
    with pytest.raises(ValueError, match=text):
        train(config=interpret.TrainConfig(**{**DIGITS, **how}))


SHORT = {"epochs": 2, "pretrain": 1, "iterations": 3, "attacker_epochs": 1, "pool": 8}


@pytest.mark.parametrize(
    "how",
    [
        {"prover": "frank-wolfe"}, {"prover": "adam", "morgana": "adam"},
        {"prover": "u-net", "morgana": "learned", "width": 0.1, "condition": "gate"},
        {"morgana": "learned", "shared": True, "steps_morgana": 2, "l1": 0.1, "tv": 0.1},
        {"gamma": 0.0, "variant": "gumbel"}, {"gamma": 0.0, "frozen": True},
        {"variant": "soft-top-k"}, {"variant": "continuous", "unmasked": 0.5},
        {"one_sided": "8"}, {"morgana": "frank-wolfe", "classes": ("1", "3", "8")},
        {"data": "monks", "classes": (), "k": 2, "avoid": ("jacket",)},
        {"prover": "greedy", "morgana": "greedy", "k": 3},
        {"data": "monks", "classes": (), "k": 2, "prover": "brute-force", "morgana": "swaps"},
        {"data": "monks", "classes": (), "k": 2, "prover": "swaps", "morgana": "brute-force",
         "one_sided": "1"},
    ],
    ids=lambda how: "-".join(map(str, how.values())),
)  # fmt: skip
def test_every_prover_plays_and_its_game_can_be_audited(how):
    options = {**DIGITS, **SHORT, **how}
    game = train(config=interpret.TrainConfig(**options))
    assert len(game.history) == 2
    mask = game.merlin(game.task.audit.codes, game.task.audit.labels)
    assert (mask.sum(1) == game.config.k).all()
    few = game.task.sampled(40) if game.task.classes < 3 else game.task
    found = interpret.certify(game, None, few, confidence=0.5, attacks=("replay", "learned"))
    assert found.numbers["attacks"] == ["replay", "learned"]


def test_attacks_by_gradients_reach_every_class_of_three():
    """Arthur takes a lit pixel of the first row for a class; the loudest must not hide the rest."""
    task = interpret.load_task(data="digits", classes=("1", "3", "8"))
    net = ArthurNet(task, "mlp")
    with torch.no_grad():
        for p in net.parameters():
            p.zero_()
        first, second, third = (m for m in net.body if isinstance(m, torch.nn.Linear))
        for c, pixel in enumerate((0, 20, 45)):  # its mask alone speaks, louder for later classes
            first.weight[c, 64 + pixel] = 1.0
            second.weight[c, c] = third.weight[c, c] = 1.0 + c
        first.bias.fill_(0.1)  # a dead unit would have no gradient to follow
        third.bias[3] = 0.5
    game = interpret.NetArthur(net, task, 1)

    def merlin(codes, labels):
        mask = np.zeros(codes.shape, bool)
        mask[np.arange(len(codes)), np.array([0, 20, 45])[labels]] = True
        return mask

    found = interpret.certify(
        game, merlin, task, k=1, attacks=("frank-wolfe", "adam"), confidence=0.9
    )
    for name in ("frank-wolfe", "adam"):
        bit = 1 << found.numbers["attacks"].index(name)
        for c in range(3):
            others = found.task.audit.labels != c
            reached = found.arrays["fooled_by"][others, c] & bit != 0
            assert reached.mean() > 0.9, (name, c)


def top_left(task, k):
    """An explainer by name: the first k units of every row."""

    def explain(codes, labels):
        mask = np.zeros(codes.shape, bool)
        mask[:, task.shown[:k]] = True
        return mask

    return explain


def test_arthur_learns_to_read_an_explainer_that_stays_as_it_is(tmp_path):
    task = interpret.load_task(data="digits", **DIGITS)
    whole = interpret.whole_row_network(task, epochs=5)
    saliency = interpret.attribution(whole, task, "saliency", 6)
    game = train(task, merlin=saliency, config=interpret.TrainConfig(
        **DIGITS, **{**SHORT, "epochs": 20, "morgana": "none"}))  # fmt: skip
    rows = task.audit
    mask = game.merlin(rows.codes, rows.labels)
    np.testing.assert_array_equal(mask, saliency(rows.codes, rows.labels))
    found = interpret.certify(game, attacks=("replay",), confidence=0.5)
    assert "saliency, post-hoc" in found.subject
    assert min(found.completeness) > 0.7  # which the same Arthur without these masks has not
    with pytest.raises(ValueError, match="known to this process alone"):
        train(task, merlin=saliency, config=game.config, out=tmp_path / "x")
    with pytest.raises(interpret.InterpretError, match="shows 4 to 4 units"):
        train(task, merlin=interpret.attribution(whole, task, "saliency", 4), config=game.config)
    named = interpret.TrainConfig(**DIGITS, **SHORT, prover=f"{__name__}:top_left", k=5)
    saved = train(config=named, out=tmp_path / "named")
    read = interpret.load_trained(tmp_path / "named")
    first = read.merlin(rows.codes, rows.labels)
    assert first[:, :5].all()
    assert first.sum() == 5 * len(rows)
    np.testing.assert_array_equal(first, saved.merlin(rows.codes, rows.labels))


def test_brute_force_over_too_many_sets_says_how_many():
    with pytest.raises(interpret.OverBudget, match="74,974,368"):
        train(config=interpret.TrainConfig(**DIGITS, prover="brute-force", k=6))


def test_a_killed_run_goes_on_to_the_same_result(tmp_path):
    config = interpret.TrainConfig(**DIGITS, **{**SHORT, "epochs": 4})
    whole = train(config=config, out=tmp_path / "whole")
    half = tmp_path / "half"
    import extremal.interpret._train as module

    store = module.store

    def stop(run, table, done, history):
        store(run, table, done, history)
        if done == 2:
            raise KeyboardInterrupt

    module.store = stop
    try:
        with pytest.raises(KeyboardInterrupt):
            train(config=config, out=half)
    finally:
        module.store = store
    train(config=config, out=half, resume=True)
    one, two = ((tmp_path / n / "model.safetensors").read_bytes() for n in ("whole", "half"))
    assert one == two
    read = interpret.load_trained(half)
    codes, labels = whole.task.audit.codes, whole.task.audit.labels
    np.testing.assert_array_equal(read.merlin(codes, labels), whole.merlin(codes, labels))
    with pytest.raises(ValueError, match="a run brings its data"):
        interpret.certify(half, levels=3)
    (half / "model.safetensors").write_bytes(b"x")
    with pytest.raises(interpret.InterpretError, match="has changed"):
        interpret.load_trained(half)


def test_explain_decides_or_abstains(tmp_path):
    game = train(config=interpret.TrainConfig(data="monks", k=3, epochs=3, pretrain=3))
    said = [interpret.explain(game, row=i) for i in range(40)]
    assert any(e.decision is not None for e in said)
    for e in said:
        assert (e.decision is None) == (len(e.convinced) != 1)
        if e.decision is None:
            assert e.reason.startswith("Abstained")
        else:
            assert e.low <= e.high
            assert e.support is not None
    with pytest.raises(ValueError, match="no audit row"):
        interpret.explain(game, row=10**6)
    with pytest.raises(ValueError, match="6 codes"):
        interpret.explain(game, np.zeros(3, int))


def test_a_run_without_one_of_its_columns():
    game = train(config=interpret.TrainConfig(data="monks", k=2, epochs=2, pretrain=1))
    found = interpret.certify(game, hide=("jacket",), attacks=("replay",), confidence=0.5)
    masks = np.unpackbits(found.arrays["merlin_mask"], axis=-1)
    assert not masks[:, 4].any()


def test_attributions_fw_rde_and_eval_x():
    task = interpret.load_task(data="digits", **DIGITS)
    whole = interpret.whole_row_network(task, epochs=3)
    for how in ("saliency", "integrated-gradients", "gradient-shap"):
        mask = interpret.attribution(whole, task, how, 6)(task.audit.codes, task.audit.labels)
        assert (mask.sum(1) == 6).all()
    rde = interpret.fw_rde(whole, task, 6, iterations=5, draws=4)
    mask = rde(task.audit.codes, task.audit.labels)
    assert (mask.sum(1) == 6).all()
    reader = interpret.eval_x(task, epochs=10)
    everything = np.ones_like(mask)
    assert (reader(task.audit.codes, everything) == task.audit.labels).mean() > 0.85
    with pytest.raises(ValueError, match="no attribution"):
        interpret.attribution(whole, task, "guess", 6)


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
def test_a_learned_code_is_declared_vacuous(seed):
    """k=1 without Morgana: completeness over .9, precision under .65, and the audit says so."""
    game = train(config=interpret.TrainConfig(
        **DIGITS, k=1, gamma=0.0, morgana="none", pretrain=0, epochs=80, seed=seed))  # fmt: skip
    found = interpret.certify(game)
    assert min(found.completeness) > 0.9
    assert found.numbers["population"]["precision"] < 0.65
    assert min(found.soundness_under()["replay"]) < 0.1
    assert found.verdict == "vacuous"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("how", [{}, {"morgana": "pool", "warmup": 0.0}], ids=["worst", "pool"])
def test_a_strong_morgana_earns_a_certificate(how, seed, tmp_path):
    """k=6, gamma=2: completeness and replay soundness over .85, precision over .9, bound below."""
    game = train(
        config=interpret.TrainConfig(**DIGITS, k=6, gamma=2.0, epochs=150, seed=seed, **how)
    )
    found = interpret.certify(game, out=tmp_path / "audit")
    assert min(found.completeness) >= 0.85
    assert min(found.soundness_under()["replay"]) >= 0.85
    assert found.precision >= 0.9
    assert found.bound < found.precision
    assert found.numbers["population"]["per_class"] <= found.numbers["population"]["precision"]
    assert verify.file(found.certificate).accepted
