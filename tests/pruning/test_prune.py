"""The verb `prune`: results, resuming after a kill, certificates, refusals."""

import dataclasses
import json
import os
import select
import signal
import subprocess
import sys
import time
import warnings

import pytest
import torch
from torch import nn

from extremal import pruning, training, verify
from extremal.lab import RunError

SLOW = pytest.mark.slow
FAST = {"threads": 1, "batch_size": 64}


@pytest.fixture(scope="module")
def data():
    return training.load_data("digits", train_size=256)


@pytest.fixture(scope="module")
def dense(data):
    return training.fit(model="mlp", epochs=4, data=data, **FAST)


@pytest.fixture(scope="module")
def dense_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "dense"
    training.fit(model="mlp", epochs=4, out=folder, **FAST)
    return folder


def network(seed=0):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))


def same_weights(one, two):
    pairs = zip(one.state_dict().items(), two.state_dict().items(), strict=True)
    return all(a == b and x.equal(y) for (a, x), (b, y) in pairs)


def test_the_three_lines_of_the_issue(dense_run, tmp_path):
    result = pruning.prune(
        str(dense_run), sparsity=0.95, phases=3, schedule="allr", epochs=4, out=tmp_path / "p95"
    )
    assert result.masks.pruned == pruning.pruned_count(0.95, 50432)
    assert [phase.epochs for phase in result.phases] == [1, 1, 2]
    assert sum(layer.pruned for layer in result.per_layer) == result.masks.pruned
    assert result.accuracy > 0.5
    assert 0 <= result.parameter_sparsity < result.sparsity
    assert verify.file(result.certificate).status == "accepted"
    assert (tmp_path / "p95" / "report.html").read_text().count("<img") == 3
    assert json.dumps(result.as_json())
    assert "95" in result.table().as_text()


def test_the_given_network_is_left_as_it_was(data):
    model = network()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    pruning.prune(model, data, sparsity=0.5, lr=0.05, dense_epochs=2, epochs=1, **FAST)
    assert all(before[k].equal(v) for k, v in model.state_dict().items())


def test_phases_nest_and_every_count_is_exact(dense):
    fractions = []
    for sparsity, phases in ((0.5, 1), (0.9, 3)):
        result = pruning.prune(dense, sparsity=sparsity, phases=phases, epochs=phases)
        counts = pruning.phase_counts(sparsity, phases, result.masks.size)
        assert [phase.pruned for phase in result.phases] == list(counts)
        fractions += [phase.d1 for phase in result.phases]
        weights = dict(result.model.named_parameters())
        for name, mask in result.masks.items():
            assert (weights[name][~mask] == 0).all()
            assert not weights[name][~mask].signbit().any()  # +0.0, not -0.0
    assert all(0 <= d1 <= 1 for d1 in fractions)


@pytest.mark.parametrize(
    "options",
    [
        {"selector": "uniform"},
        {"selector": "uniform+", "sparsity": 0.7},
        {"selector": "erk"},
        {"selector": "lamp", "min_keep_per_layer": 3},
        {"selector": "random"},
        {"selector": "2:4", "sparsity": None},
        {"schedule": "ft", "lr_min": 0.01},
        {"schedule": "lrw"},
        {"schedule": "slr"},
        {"schedule": "clr", "recalibrate": 0.2},
        {"schedule": "cosine", "lr": 0.05},
        {"schedule": "allr-accuracy", "norm_scope": "prunable"},
        {"schedule": "llr-but-last", "phases": 2, "epochs": 2, "keep_optimizer": True},
        {"optimizer": "adamw", "lr": 0.001, "clip_norm": 1.0},
        {"exclude": ("5*",)},
    ],
    ids=str,
)
def test_every_option_leads_to_an_accepted_certificate(dense, tmp_path, options):
    settings = {"sparsity": 0.8, "epochs": 1, **options}
    result = pruning.prune(dense, out=tmp_path / "run", **settings)
    assert verify.file(tmp_path / "run").status == "accepted"
    again = pruning.load_pruned(tmp_path / "run")
    assert same_weights(again.model, result.model)
    assert again.phases == result.phases
    assert again.accuracy == result.accuracy
    assert again.per_class_change == result.per_class_change


def test_filters_of_a_convolutional_network(data, tmp_path):
    result = pruning.prune(
        None, data, model="cnn", method="bimp", epochs=2, selector="filter", sparsity=0.5,
        out=tmp_path / "run", **FAST,
    )  # fmt: skip
    assert [layer.sparsity for layer in result.per_layer] == [0.5, 0.5, 0.5, 0.0]
    said = verify.file(tmp_path / "run").as_text()
    assert "the pattern filter holds in 3 layers" in said
    assert result.speedup > 1.5


def test_channels_last_changes_nothing_about_the_masks(data, tmp_path):
    dense = training.fit(model="cnn", epochs=1, data=data, **FAST)
    for selector in ("global", "lamp"):
        options = {"sparsity": 0.8, "phases": 2, "epochs": 2, "selector": selector}
        pruning.prune(dense, channels_last=True, out=tmp_path / selector, **options)
        assert verify.file(tmp_path / selector).status == "accepted"
    weight = torch.randn(8, 4, 3, 3, generator=torch.Generator().manual_seed(0))
    last = weight.to(memory_format=torch.channels_last)
    one, two = pruning.select({"w": weight}, 0.7), pruning.select({"w": last}, 0.7)
    assert one["w"].equal(two["w"])


def test_bimp_accounts_for_all_epochs(data, tmp_path):
    result = pruning.prune(
        None, data, model="mlp", method="bimp", epochs=7, phases=3, sparsity=0.9,
        out=tmp_path / "run", **FAST,
    )  # fmt: skip
    budget = result.budget
    assert (budget.dense.epochs, budget.retrain.epochs, budget.total.epochs) == (3, 4, 7)
    assert (budget.dense.iterations, budget.total.iterations) == (12, 28)
    assert budget.member_epochs == 7
    assert 0 < budget.retrain.flops_masked < budget.retrain.flops_dense
    assert budget.dense.flops_dense == 6 * 50432 * 256 * 3
    assert result.phases[0].factor >= 1 / 3  # d2 = 1 of 3 dense epochs


@pytest.mark.parametrize("method", ["gmp", "gsm", "lc", "dpf", "dnw", "str", "cs", "dst"])
def test_in_training_methods_leave_a_certificate(data, tmp_path, method):
    options = {"str": {"initial": -3.0}, "dst": {"penalty": 1e-3}, "cs": {"initial": -0.1}}
    result = pruning.prune(
        network(), data, method=method, sparsity=0.8, epochs=2, out=tmp_path / "run",
        on_layer_collapse="allow", **options.get(method, {}), **FAST,
    )  # fmt: skip
    assert verify.file(tmp_path / "run").status == "accepted"
    if method not in ("str", "cs", "dst"):
        assert result.masks.pruned == pruning.pruned_count(0.8, result.masks.size)


def test_methods_are_compared_at_equal_achieved_sparsity(data):
    found = pruning.compare(
        network(), data, methods=("gmp", "str"), epochs=2, sparsity=0.7, initial=-3.0,
        on_layer_collapse="allow", **FAST,
    )  # fmt: skip
    gmp, soft = found.rows
    assert gmp.pruned == pruning.pruned_count(0.7, 1776)
    assert 0 < soft.sparsity < 1
    assert soft.sparsity != gmp.sparsity
    assert "bimp at that sparsity" in found.table().as_text()
    assert all(row.baseline_accuracy is not None for row in found.rows)


def test_loaders_and_a_training_step_of_ones_own(data):
    x = data.train.images.float() / 16
    batches = [(x[i : i + 64], data.train.labels[i : i + 64]) for i in range(0, 256, 64)]
    options = {"sparsity": 0.6, "epochs": 1, "lr": 0.05, "dense_epochs": 2}
    result = pruning.prune(network(), (batches, batches), **options)
    assert result.accuracy is not None
    seen = []

    def training_step(model, batch):
        seen.append(len(batch[0]))
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    silent = pruning.prune(network(), batches, training_step=training_step, **options)
    assert seen == [64] * 4
    assert silent.accuracy is None
    assert same_weights(silent.model, result.model)


def test_a_network_of_ones_own_from_the_shell(data, tmp_path, monkeypatch):
    from extremal import cli

    (tmp_path / "mynet.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 24), nn.ReLU(), nn.Linear(24, 10))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    training.save_tensors(tmp_path / "w.safetensors", network().state_dict())
    words = (
        f"pruning prune --model mynet:make --weights {tmp_path / 'w.safetensors'} --data digits "
        f"--train-size 256 --sparsity 0.9 --lr 0.05 --dense-epochs 5 --epochs 1 --threads 1 "
        f"--out {tmp_path / 'run'}"
    )
    assert cli.main(words.split()) == 0
    assert verify.file(tmp_path / "run").status == "accepted"
    assert cli.main(words.split()) == 2  # never overwritten
    assert cli.main([*words.split(), "--resume"]) == 0


def test_a_changed_byte_is_rejected(dense, tmp_path):
    result = pruning.prune(dense, sparsity=0.5, epochs=1, out=tmp_path / "run")
    file = tmp_path / "run" / "model.safetensors"
    raw = bytearray(file.read_bytes())
    raw[-1] ^= 1
    file.write_bytes(raw)
    verdict = verify.file(result.certificate)
    assert verdict.status == "rejected"
    assert "has changed" in verdict.reason


# One process imports torch and then forks a worker for each job, before any computation: importing
# anew for every kill would take most of the test's time.
SERVER = """
import json, os, sys
from extremal import pruning, training
for line in sys.stdin:
    folder, resume, options = json.loads(line)
    pid = os.fork()
    if pid == 0:
        data = training.load_data("digits", train_size=256)
        pruning.prune(None, data, out=folder, resume=resume, model="mlp", epochs=6, sparsity=0.9,
            threads=1, batch_size=64, checkpoint_every=5, on_layer_collapse="allow", **options)
        os._exit(0)
    print(pid, flush=True)
    _, status = os.waitpid(pid, 0)
    print(status, flush=True)
"""


class Server:
    """Runs one job after the other; each can be killed."""

    def __init__(self):
        """Start the process."""
        self.process = subprocess.Popen(
            [sys.executable, "-c", SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, folder, resume, options, kill_after=None):
        print(json.dumps([str(folder), resume, options]), file=self.process.stdin, flush=True)
        pid = int(self.process.stdout.readline())
        begun = time.perf_counter()
        if kill_after is not None:
            ended, _, _ = select.select([self.process.stdout], [], [], kill_after)
            if not ended:  # it may be quicker this time
                os.kill(pid, signal.SIGKILL)
        status = int(self.process.stdout.readline())
        assert kill_after is not None or status == 0
        return time.perf_counter() - begun


@pytest.fixture(scope="module")
def server():
    running = Server()
    yield running
    running.process.stdin.close()
    running.process.wait()
    running.process.stdout.close()


@pytest.mark.parametrize(
    "options",
    [
        {"method": "bimp", "phases": 3},
        pytest.param({"method": "bimp", "phases": 3, "keep_optimizer": True}, marks=SLOW),
        pytest.param({"method": "gmp"}, marks=SLOW),
        pytest.param({"method": "str", "initial": -4.0}, marks=SLOW),
    ],
    ids=str,
)
def test_kill_at_any_moment_then_resume_to_identical_bytes(tmp_path, server, options):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    length = server.run(whole, False, options)
    for share in (0.3, 0.6):  # two kills on the way, wherever they fall
        started = (killed / "config.json").exists()
        server.run(killed, started, options, kill_after=share * length)
    server.run(killed, (killed / "config.json").exists(), options)
    for name in ("model", "masks", "parent", "evaluation"):
        file = f"{name}.safetensors"
        assert (whole / file).read_bytes() == (killed / file).read_bytes(), name
    assert verify.file(killed).status == "accepted"


class Stop(Exception):
    """Raised in place of a kill."""


@pytest.fixture(scope="module")
def whole(dense, tmp_path_factory):
    return pruning.prune(dense, out=tmp_path_factory.mktemp("whole") / "run", **PHASED)


PHASED = {"sparsity": 0.9, "phases": 3, "epochs": 3, "min_keep_per_layer": 1}


@pytest.mark.parametrize(
    ("moment", "call"),
    [("save_tensors", n) for n in range(1, 9)]
    + [("evaluate", n) for n in (1, 3, 4)]
    + [("train", n) for n in (1, 3)],
)
def test_interrupted_between_any_two_steps_nothing_is_repeated(
    dense, whole, tmp_path, monkeypatch, moment, call
):
    options = PHASED
    genuine = getattr(training, moment)
    calls = 0

    def stopping(*arguments, **keywords):
        nonlocal calls
        calls += 1
        if calls == call:
            raise Stop
        return genuine(*arguments, **keywords)

    monkeypatch.setattr(training, moment, stopping)
    interrupted = False
    try:
        pruning.prune(dense, out=tmp_path / "run", **options)
    except Stop:
        interrupted = True
    monkeypatch.setattr(training, moment, genuine)
    done = {p.name for p in (tmp_path / "run" / "checkpoints").glob("phase-?.json")}
    trained = []
    monkeypatch.setattr(training, "train", lambda *a, **k: trained.append(1) or TRAIN(*a, **k))
    again = pruning.prune(dense, out=tmp_path / "run", resume=True, **options)
    assert len(trained) == (3 - len(done) if interrupted else 0)
    assert same_weights(again.model, whole.model)
    one, two = whole.path / "model.safetensors", tmp_path / "run" / "model.safetensors"
    assert one.read_bytes() == two.read_bytes()


TRAIN = training.train


def test_a_damaged_checkpoint_is_refused_by_name(dense, tmp_path):
    pruning.prune(dense, sparsity=0.9, phases=2, epochs=2, out=tmp_path / "run")
    (tmp_path / "run" / "result.json").unlink()
    file = tmp_path / "run" / "checkpoints" / "phase-1.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(training.TrainingError, match=r"phase-1\.safetensors is cut short"):
        pruning.prune(dense, sparsity=0.9, phases=2, epochs=2, out=tmp_path / "run", resume=True)


def test_a_changed_configuration_is_refused_by_name(dense, tmp_path):
    pruning.prune(dense, sparsity=0.9, epochs=1, out=tmp_path / "run")
    with pytest.raises(RunError, match=r"sparsity: 0\.9 there, 0\.8 now"):
        pruning.prune(dense, sparsity=0.8, epochs=1, out=tmp_path / "run", resume=True)
    with pytest.raises(RunError, match="exists already"):
        pruning.prune(dense, sparsity=0.9, epochs=1, out=tmp_path / "run")
    other = dataclasses.replace(dense, model=network())
    with pytest.raises(RunError, match="start_sha256"):
        pruning.prune(other, sparsity=0.9, epochs=1, out=tmp_path / "run", resume=True)


def test_a_pruned_run_can_be_pruned_further(dense, tmp_path):
    pruning.prune(dense, sparsity=0.8, epochs=1, out=tmp_path / "one")
    two = pruning.prune(tmp_path / "one", sparsity=0.9, epochs=1, out=tmp_path / "two")
    one = pruning.load_pruned(tmp_path / "one")
    assert two.masks.within(one.masks)
    assert two.phases[0].factor > 0
    with pytest.raises(pruning.PruningError, match=r"sparse already, above the sparsity 0\.7"):
        pruning.prune(tmp_path / "one", sparsity=0.7, epochs=1)
    with pytest.raises(pruning.PruningError, match=r"sparse already, above the sparsity 0\.7"):
        pruning.prune(one.model, dense.data, sparsity=0.7, epochs=1, lr=0.1, dense_epochs=1)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"sparsity": 1.0}, "at least 0 and below 1"),
        ({"sparsity": -0.1}, "at least 0 and below 1"),
        ({"phases": 0}, "at least 1"),
        ({"phases": 3, "epochs": 2}, "do not give each of 3 phases one"),
        ({"epochs": 0}, "do not give each of 1 phases one"),
        ({"method": "magic"}, "Unknown method 'magic'"),
        ({"selector": "best"}, "Unknown selector 'best'"),
        ({"selector": "2:4", "sparsity": 0.9}, "prunes 0.5 of a layer"),
        ({"selector": "2:4", "phases": 2}, "cannot rise over phases"),
        ({"schedule": "lrw", "epochs": 9}, "for fewer epochs"),
        ({"schedule": "linear"}, "starts from lr="),
        ({"method": "gmp", "schedule": "allr"}, "Unknown schedule 'allr' for method 'gmp'"),
        ({"method": "gmp", "epochs": 1}, "needs at least 2 epochs"),
        ({"method": "bimp", "epochs": 1}, "both parts need at least one"),
        ({"include": ("nothing.*",)}, "matches no weight"),
        ({"exclude": ("*",)}, "no prunable weight"),
        ({"device": "abacus"}, "no device of torch"),
        ({"norm_scope": "most"}, "norm_scope is 'most'"),
        ({"on_layer_collapse": "panic"}, "choose warn, raise or allow"),
        ({"recalibrate": 2.0}, "a share, 0 to 1"),
        ({"recalibrate": 1e-9, "model": None}, None),
        ({"lr": 0.01, "lr_min": 0.1}, "0 <= lr_min <= lr"),
        ({"min_keep_per_layer": 99999}, "reserves"),
    ],
    ids=str,
)
def test_refusals(dense, options, text):
    if text is None:  # no batch normalisation: nothing to measure, not an error
        pruning.prune(dense, **{"sparsity": 0.5, "epochs": 1, **options})
        return
    with pytest.raises((ValueError, pruning.PruningError), match=text):
        pruning.prune(dense, **{"epochs": 1, **options})


def test_refuses_a_network_without_what_a_schedule_needs(data):
    with pytest.raises(ValueError, match="give dense_epochs="):
        pruning.prune(network(), data, sparsity=0.5, epochs=1, lr=0.1)
    with pytest.raises(ValueError, match="none are known"):
        pruning.prune(network(), data, sparsity=0.5, epochs=1, schedule="llr")
    with pytest.raises(ValueError, match="has none on record"):
        pruning.prune(network(), data, sparsity=0.5, epochs=1, schedule="lrw", lr=0.1)
    with pytest.raises(ValueError, match="no data to retrain on"):
        pruning.prune(network(), sparsity=0.5)
    with pytest.raises(ValueError, match="prune has no network"):
        pruning.prune()
    with pytest.raises(ValueError, match="comes without weights"):
        pruning.prune(model="mlp")
    with pytest.raises(ValueError, match="got int"):
        pruning.prune(3)


def test_refuses_weights_that_are_not_finite(data):
    model = network()
    with torch.no_grad():
        model[1].weight[0, 0] = float("nan")
    with pytest.raises((pruning.PruningError, ValueError), match="NaN"):
        pruning.prune(model, data, sparsity=0.5, lr=0.1, dense_epochs=1, epochs=1)


def test_refuses_recalibration_without_a_batch(data):
    dense = training.fit(model="cnn", epochs=1, data=data, **FAST)
    with pytest.raises(ValueError, match="too few"):
        pruning.prune(dense, sparsity=0.5, epochs=1, recalibrate=0.001)


def test_warns_when_ft_would_change_nothing(dense):
    with pytest.warns(pruning.WorthlessScheduleWarning):
        pruning.prune(dense, sparsity=0.5, epochs=1, schedule="ft", lr_min=0.0)


def test_layer_collapse_warns_through_the_verb(data):
    model = network()
    with torch.no_grad():
        model[3].weight.mul_(1e-6)
    with pytest.warns(pruning.LayerCollapseWarning, match=r"3\.weight"):
        pruning.prune(model, data, sparsity=0.9, lr=0.1, dense_epochs=1, epochs=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        kept = pruning.prune(
            model, data, sparsity=0.9, lr=0.1, dense_epochs=1, epochs=1, min_keep_per_layer=4
        )
    assert kept.per_layer[1].size - kept.per_layer[1].pruned == 4
