"""The verb `soup`: results, comparisons, hashed nodes, resuming, executors, refusals."""

import functools
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from extremal import pruning, training, verify
from extremal.lab import RunError
from extremal.pruning import PruningError

SLOW = pytest.mark.slow
QUICK = {"sparsity": 0.8, "phases": 2, "epochs": 2, "members": 3}


LOOP = {"lr": 0.1, "dense_epochs": 3, "batch_size": 32, "weight_decay": 1e-3}


@functools.cache
def digits():
    return training.load_data("digits", train_size=256, validation=0.1)


@pytest.fixture(scope="module")
def data():
    return digits()


def soup(model, data=None, **options):
    """A soup of the small network on the digits."""
    return pruning.soup(model, data or digits(), **{**LOOP, **options})


def network():
    """A small network with everything that a merge meets: convolution, statistics, counters."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Flatten(),
        nn.Linear(128, 10),
    )  # fmt: skip


def trained():
    model = network()
    rates = training.schedule("linear", 24, 0.1)
    loop = training.LoopConfig(batch_size=32, threads=1)
    training.train(model, digits(), epochs=3, lr=rates, loop=loop, alone=True)
    return model


@pytest.fixture(scope="module")
def dense():
    return trained()


@pytest.fixture(scope="module")
def compared(dense, tmp_path_factory):
    """One run with every comparison, in the default executor."""
    out = tmp_path_factory.mktemp("soups") / "compared"
    return soup(dense, **QUICK, compare=True, corrupt=0, out=out)


@pytest.fixture(scope="module")
def calm(dense, tmp_path_factory):
    """A run without comparisons that nothing disturbs."""
    return soup(dense, **QUICK, out=tmp_path_factory.mktemp("soups") / "calm")


def files(folder):
    """What must be equal, byte by byte, whatever computed it."""
    found = {p.name: p.read_bytes() for p in sorted((folder / "checkpoints").glob("*.safetensors"))}
    for name in ("model.safetensors", "masks.safetensors", "evaluation.safetensors"):
        found[name] = (folder / name).read_bytes()
    found["certificate"] = (folder / "certificate.json").read_bytes()
    return found


def test_a_soup_and_its_certificate(compared):
    assert compared.masks.pruned == pruning.pruned_count(0.8, compared.masks.size)
    assert len(compared.candidates) == 3
    assert [c.weight for c in compared.candidates] == ["1/3"] * 3
    assert len({c.sha256 for c in compared.candidates}) == 3
    assert [phase.epochs for phase in compared.pruned.phases] == [1, 1]
    verdict = verify.file(compared.certificate)
    assert verdict.status == "accepted"
    assert "pruning/soup" in [part.kind for part in verdict.parts]
    page = (compared.path / "report.html").read_text()
    assert page.count("<img") == 3


def test_every_comparison_is_there_at_the_stated_budget(compared):
    rows = {row.method: row for row in compared.rows}
    assert list(rows) == [
        "dense", "soup", "mean candidate", "best candidate", "IMP", "IMP 3x", "IMP-AVG",
        "IMP-RePrune", "ensemble",
    ]  # fmt: skip
    assert [rows[n].epochs for n in ("soup", "IMP", "IMP 3x", "IMP-AVG", "ensemble")] == [
        6, 2, 6, 6, 6,
    ]  # fmt: skip
    assert rows["ensemble"].inference == 3
    exact = compared.masks.pruned / compared.masks.size
    for name in ("soup", "IMP", "IMP 3x", "IMP-RePrune"):
        assert rows[name].sparsity == exact
    assert rows["IMP-AVG"].sparsity < exact  # a union of supports
    for row in compared.rows:
        assert None not in (row.accuracy, row.ece, row.mce, row.worst_class, row.worst_change)
    values = [c.accuracy for c in compared.candidates]
    assert rows["mean candidate"].accuracy == pytest.approx(sum(values) / 3)
    assert rows["best candidate"].accuracy == max(values)


def test_the_first_member_of_a_soup_is_the_first_phase_of_imp(compared):
    labels = {p.name.rpartition("-")[0] for p in (compared.path / "checkpoints").glob("*.json")}
    assert "imp1-1-member-1" not in labels  # the same key: computed once
    assert {"soup-1-member-1", "imp1-2-member-1", "long-1-member-1"} <= labels


def test_geometry_and_basin_are_measured(compared):
    found = compared.geometry
    assert 0 < found["distance"]["min"] <= found["distance"]["mean"] <= found["distance"]["max"]
    assert 0 < found["angle"]["max"] < 90
    assert found["to_barycentre"]["max"] < found["distance"]["max"]
    (line,) = compared.basins
    assert len(line["error"]) == 11
    assert line["error"][-1] == pytest.approx(1 - compared.candidates[0].accuracy)
    assert line["error"][0] == pytest.approx(1 - compared.candidates[1].accuracy)


def test_corrupted_accuracy_of_all_kinds_and_severities(dense, tmp_path):
    result = soup(dense, sparsity=0.8, epochs=1, members=2, corrupt=20, out=tmp_path / "run")
    assert set(result.corrupted) == {"dense", "soup", "candidate 1", "candidate 2"}
    kinds = result.corrupted["soup"]["kinds"]
    assert [len(row) for row in kinds.values()] == [5] * 9
    mean = sum(sum(row) for row in kinds.values()) / 45
    assert result.row("soup").corrupted == pytest.approx(mean)
    assert result.geometry is not None


def test_members_share_the_masks_and_merge_to_the_soup(compared):
    members = [training.load_tensors(compared.path / c.file) for c in compared.candidates]
    for name, mask in compared.masks.items():
        for tensors in members:
            assert tensors[f"mask.{name}"].equal(mask)
            assert (tensors[f"model.{name}"][~mask] == 0).all()
    mean = torch.stack([m["model.8.weight"].double() for m in members]).mean(0)
    torch.testing.assert_close(compared.model[8].weight.double(), mean, atol=1e-7, rtol=0)


def test_the_soup_is_recalibrated(compared, data):
    again = pruning.load_pruned(compared.path, network()).model
    before = {n: t.clone() for n, t in again.state_dict().items()}
    training.recalibrate(again, data, fraction=0.2, batch_size=32)
    assert all(before[n].equal(t) for n, t in again.state_dict().items())


def test_a_soup_run_can_be_pruned_further(compared, data):
    sparser = pruning.prune(
        pruning.load_pruned(compared.path, network()), data, sparsity=0.9, epochs=1, lr=0.05,
        schedule="llr", batch_size=32,
    )  # fmt: skip
    assert sparser.masks.within(compared.masks)


def test_resuming_a_finished_run_computes_nothing(calm, dense):
    before = files(calm.path)
    again = soup(dense, **QUICK, out=calm.path, resume=True)
    assert again.computed == ()
    assert files(calm.path) == before
    assert again.accuracy == calm.accuracy


@pytest.mark.parametrize("damage", ["byte", "cut", "gone", "facts"])
def test_a_damaged_member_is_computed_again_never_merged(calm, dense, damage):
    before = files(calm.path)
    file = calm.path / calm.candidates[1].file
    if damage == "byte":
        raw = bytearray(file.read_bytes())
        raw[len(raw) // 2] ^= 1
        file.write_bytes(raw)
        assert verify.file(calm.certificate).status == "rejected"
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-3])
    elif damage == "gone":
        file.unlink()
    else:
        facts = file.with_suffix(".json")
        facts.write_text(facts.read_text().replace('"epochs": 1', '"epochs": 2', 1))
    again = soup(dense, **QUICK, out=calm.path, resume=True)
    assert again.computed == ("soup-2-member-2", "soup-2-merge")
    assert files(calm.path) == before
    assert verify.file(calm.certificate).status == "accepted"


def test_a_forged_member_takes_all_below_it_with_it(dense, tmp_path):
    """Tensors and facts changed together: then the merge does not fit its parents any more."""
    from extremal.pruning._soups import _node

    out = tmp_path / "run"
    first = soup(dense, **QUICK, out=out)
    file = next((out / "checkpoints").glob("soup-1-member-2-*.safetensors"))
    tensors = training.load_tensors(file)
    tensors["model.8.bias"] += 1
    facts = json.loads(file.with_suffix(".json").read_text())
    facts["sha256"] = training.save_tensors(file, tensors)
    facts["seal"] = _node._seal(facts)
    file.with_suffix(".json").write_text(json.dumps(facts))
    again = soup(dense, **QUICK, out=out, resume=True)
    assert set(again.computed) == {
        "soup-1-merge", "soup-2-prune", "soup-2-member-1", "soup-2-member-2", "soup-2-member-3",
        "soup-2-merge",
    }  # fmt: skip
    assert again.candidates[0].sha256 != first.candidates[0].sha256


def test_another_configuration_is_not_resumed(calm, dense):
    with pytest.raises(RunError, match="members: 3 there, 2 now"):
        soup(
            dense, **{**QUICK, "members": 2}, out=calm.path,
            resume=True,
        )  # fmt: skip


def test_another_process_gives_the_same_bytes(dense, tmp_path):
    short = {"sparsity": 0.8, "epochs": 1, "members": 2}
    soup(dense, **short, out=tmp_path / "serial")
    soup(dense, **short, out=tmp_path / "process", executor="processes", workers=1)
    assert files(tmp_path / "process") == files(tmp_path / "serial")


@SLOW
def test_two_processes_give_the_same_bytes(calm, dense, tmp_path):
    out = tmp_path / "processes"
    soup(dense, **QUICK, out=out, executor="processes", workers=2)
    assert files(out) == files(calm.path)


@SLOW
@pytest.mark.timeout(1200)
def test_a_local_ray_cluster_gives_the_same_bytes(calm, dense, tmp_path, ray_cluster):
    out = tmp_path / "ray"
    soup(dense, **QUICK, out=out, executor="ray", workers=2)
    assert files(out) == files(calm.path)


def test_nodes_one_by_one_give_the_same_bytes(calm, dense, tmp_path):
    """A job array: each call runs one node, then the whole run finds all of it done."""
    single = tmp_path / "single"
    with pytest.raises(RunError, match="soup-2-member-1"):
        soup(dense, **QUICK, out=single, node="soup-2-merge")
    for label in calm.computed:
        ran = soup(dense, **QUICK, out=single, node=label)
        assert ran.computed
    assert not soup(dense, **QUICK, out=single, node=ran.key).computed
    assert soup(dense, **QUICK, out=single, resume=True).computed == ()
    assert files(single) == files(calm.path)


def test_jobs_of_an_array_may_begin_at_the_same_moment(dense, tmp_path):
    """One job makes the folder and holds it; the other waits until it can see what it is."""
    import threading

    from extremal.lab import Run

    short = {"sparsity": 0.8, "epochs": 1, "members": 2}
    soup(dense, **short, out=tmp_path / "first", node="start")
    plain = Run.open(tmp_path / "first").config
    out = tmp_path / "second"
    out.mkdir()
    holder = Run(out, "pruning/soup", {})
    holder._hold()

    def make_later():
        time.sleep(0.3)
        holder.release()
        Run.create(out, kind="pruning/soup", config=plain).release()

    thread = threading.Thread(target=make_later)
    thread.start()
    assert soup(dense, **short, out=out, node="start").computed
    thread.join()
    with pytest.raises(ValueError, match="names 0 nodes"):
        soup(dense, **short, out=tmp_path / "third", node="soup-7-merge")
    assert not (tmp_path / "third").exists()


PROGRAM = """
import sys
sys.path.insert(0, {tests!r})
from test_soup import QUICK, soup, trained
if __name__ == "__main__":
    soup(
        trained(), **QUICK, executor="processes", workers=2, checkpoint_every=2, out={out!r},
        resume=True,
    )
"""


@SLOW
@pytest.mark.timeout(1800)
def test_kill_the_whole_group_at_random_moments_and_resume(calm, tmp_path):
    """Kill -9 of the process group, workers included; the end has the bytes of a calm run."""
    out = tmp_path / "stormy"
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(tests=str(Path(__file__).parent), out=str(out)))
    chance = random.Random(7)
    kills = 0
    for _ in range(40):
        process = subprocess.Popen(
            [sys.executable, str(script)], start_new_session=True, stderr=subprocess.PIPE, text=True
        )
        deadline = time.time() + (chance.uniform(4, 16) if kills < 6 else 240)
        while process.poll() is None and time.time() < deadline:
            time.sleep(0.05)
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            kills += 1
            time.sleep(0.2)
            continue
        said = process.communicate()[1]
        assert process.returncode == 0, said
        break
    assert kills >= 2
    assert files(out) == files(calm.path)


@SLOW
def test_a_killed_worker_is_replaced(dense, tmp_path):
    """A hook that kills its own process once: the member is taken up again by another worker."""
    flag = tmp_path / "died"
    calm = soup(dense, **QUICK, loss=_Dies(None), out=tmp_path / "calm")
    out = tmp_path / "run"
    soup(dense, **QUICK, out=out, executor="processes", workers=2, loss=_Dies(str(flag)))
    assert flag.exists()
    assert files(out) == files(calm.path)


class _Dies:
    """Cross-entropy that kills the first worker that asks for the eleventh time."""

    def __init__(self, flag):
        self.flag, self.calls, self.home = flag, 0, os.getpid()

    def __call__(self, outputs, labels):
        self.calls += 1
        if self.flag and self.calls > 10 and os.getpid() != self.home:
            try:
                os.close(os.open(self.flag, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return nn.functional.cross_entropy(outputs, labels)


class _Fails:
    """A loss that fails for the member whose batches begin with a certain label."""

    def __init__(self, first):
        self.first, self.calls = first, 0

    def __call__(self, outputs, labels):
        if torch.is_grad_enabled() and labels[:6].tolist() == self.first:
            raise ArithmeticError("this member always fails")
        return nn.functional.cross_entropy(outputs, labels)


def first_labels(data, config_seed, phase, member):
    from extremal.lab import derive_seed

    seed = derive_seed(config_seed, "member", phase, member)
    batches = training.DataBatches(data, 32, seed, torch.device("cpu"))
    return next(iter(batches.epoch(0, 0, {}))).content[1][:6].tolist()


def test_a_quorum_goes_on_without_a_failed_member(dense, data, tmp_path):
    loss = _Fails(first_labels(data, 0, 1, 2))
    out = tmp_path / "quorum"
    result = soup(dense, **QUICK, quorum=2, retries=0, loss=loss, out=out)
    assert result.missing == ("soup-1-member-2",)
    assert "soup-1-member-2" in result.failed
    assert len(result.candidates) == 3  # phase 2 had all
    assert verify.file(result.certificate).status == "accepted"
    saved = json.loads((out / "soup.json").read_text())
    assert saved["missing"] == ["soup-1-member-2"]


def test_without_a_quorum_a_failed_member_is_named(dense, data, tmp_path):
    loss = _Fails(first_labels(data, 0, 1, 2))
    with pytest.raises(PruningError, match=r"soup-1-member-2.*this member always fails"):
        soup(dense, **QUICK, retries=0, loss=loss, out=tmp_path / "run")
    done = {p.name.rpartition("-")[0] for p in (tmp_path / "run/checkpoints").glob("*.json")}
    assert {"soup-1-member-1", "soup-1-member-3"} <= done
    assert "soup-1-merge" not in done


def test_a_late_member_gives_up_when_there_is_a_quorum(dense, tmp_path):
    result = soup(
        dense, sparsity=0.8, epochs=4, members=3, quorum=2, patience=1e-9, retries=0,
        out=tmp_path / "late",
    )  # fmt: skip
    assert result.missing == ("soup-1-member-3",)  # serial: two are there before it
    assert len(result.candidates) == 2
    assert verify.file(result.certificate).status == "accepted"


@pytest.mark.parametrize("vary", ["weight-decay", "length", "lr"])
def test_members_vary_in_one_factor(dense, tmp_path, vary):
    result = soup(
        dense, sparsity=0.8, epochs=2, members=3, vary=vary, values=(0.5, 1.0, 1.5),
        out=tmp_path / vary,
    )  # fmt: skip
    assert len({c.sha256 for c in result.candidates}) == 3
    expected = [1, 2, 3] if vary == "length" else [2, 2, 2]
    assert [c.epochs for c in result.candidates] == expected
    facts = [
        json.loads((result.path / c.file).with_suffix(".json").read_text())
        for c in result.candidates
    ]
    assert len({f["settings"]["seed"] for f in facts}) == 1  # the same batches
    if vary == "lr":
        tops = [max(f["lr"]) for f in facts]
        assert tops[0] == pytest.approx(tops[1] / 2)
    assert verify.file(result.certificate).status == "accepted"


def test_greedy_uses_validation_data_and_says_what_it_kept(dense, tmp_path):
    result = soup(dense, **QUICK, merge="greedy", out=tmp_path / "greedy")
    accuracies, kept = result.greedy["accuracies"], result.greedy["kept"]
    assert accuracies == [c.validation for c in result.candidates]
    assert kept[0] == max(range(3), key=lambda i: (accuracies[i], -i))
    assert result.greedy["best"] >= max(accuracies)
    shares = [c.weight for c in result.candidates]
    assert [s != "0" for s in shares] == [i in kept for i in range(3)]
    assert verify.file(result.certificate).status == "accepted"


def test_explicit_weights(dense, tmp_path):
    result = soup(
        dense, **QUICK, merge="weights", mix=("1/2", "0.25", "0.25"), out=tmp_path / "mix"
    )
    assert [c.weight for c in result.candidates] == ["1/2", "1/4", "1/4"]
    assert verify.file(result.certificate).status == "accepted"


def test_one_member_is_imp(dense):
    one = soup(dense, sparsity=0.8, epochs=1, members=1)
    assert [row.method for row in one.rows] == ["dense", "soup"]
    member = one.candidates[0]
    assert one.accuracy == member.accuracy


@pytest.mark.parametrize("method", ["bimp", "gmp", "dpf"])
def test_soups_of_other_methods(data, tmp_path, method):
    result = soup(
        network(), data, method=method, sparsity=0.8, epochs=4, members=2, compare=True,
        corrupt=0, dense_epochs=None, out=tmp_path / method,
    )  # fmt: skip
    assert result.masks.pruned == pruning.pruned_count(0.8, result.masks.size)
    assert verify.file(result.certificate).status == "accepted"
    names = [row.method for row in result.rows]
    if method == "bimp":
        assert {"IMP", "IMP 2x", "IMP-AVG", "IMP-RePrune"} <= set(names)
    else:
        assert {method.upper(), f"{method.upper()} as long"} <= set(names)
        budgets = {row.method: row.epochs for row in result.rows}
        assert budgets["soup"] == budgets[f"{method.upper()} as long"] == 3 + 2 * 1
    again = soup(
        network(), data, method=method, sparsity=0.8, epochs=4, members=2, compare=True,
        corrupt=0, dense_epochs=None, out=tmp_path / method, resume=True,
    )  # fmt: skip
    assert again.computed == ()


def test_channels_last_networks_are_measured_as_they_are_trained(dense, data, tmp_path):
    from extremal.pruning._start import find_start

    options = {**LOOP, **QUICK, "channels_last": True}
    start = find_start(dense, data, pruning.SoupConfig(**options))
    assert start.model[4].weight.is_contiguous(memory_format=torch.channels_last)
    result = soup(dense, sparsity=0.8, epochs=1, members=2, channels_last=True, out=tmp_path / "r")
    assert verify.file(result.certificate).status == "accepted"


def test_filter_soups(dense, tmp_path):
    result = soup(
        dense, sparsity=0.5, selector="filter", epochs=1, members=2, out=tmp_path / "filters"
    )
    for name in ("0.weight", "4.weight"):
        rows = result.masks[name].flatten(1)
        assert (rows.all(1) | ~rows.any(1)).all()
        assert int((~rows.any(1)).sum()) == 4
    assert verify.file(result.certificate).status == "accepted"


def test_masks_nest_over_phases(compared):
    found = {}
    for phase in (1, 2):
        file = next((compared.path / "checkpoints").glob(f"soup-{phase}-merge-*.safetensors"))
        tensors = training.load_tensors(file)
        found[phase] = {n: t for n, t in tensors.items() if n.startswith("mask.")}
    assert all(not (found[2][n] & ~found[1][n]).any() for n in found[1])


def test_without_a_folder_nothing_is_left(dense):
    result = soup(dense, sparsity=0.8, epochs=1, members=2)
    assert result.path is None
    assert result.certificate is None
    assert result.accuracy > 0.1


def test_the_estimate_is_said_before_the_run(dense, capsys):
    soup(dense, **QUICK)
    said = capsys.readouterr().err
    assert "soup: 6 member-epochs in 6 trainings, about" in said
    assert "member-hours" in said


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"members": 0}, "members=0"),
        ({"vary": "luck"}, "vary="),
        ({"merge": "stir"}, "merge="),
        ({"executor": "cloud"}, "executor="),
        ({"values": (1.0, 2.0)}, "values has 2"),
        ({"vary": "lr", "values": (1.0, -2.0, 1.0)}, "above 0"),
        ({"merge": "weights", "mix": ("0.5", "0.4", "0.4")}, "convex"),
        ({"mix": ("0.5", "0.25", "0.25")}, "merge is not"),
        ({"quorum": 4}, "quorum=4"),
        ({"method": "str"}, "No soup"),
        ({"keep_optimizer": True}, "keep_optimizer"),
        ({"sparsity": 1.0}, "sparsity"),
        ({"phases": 0}, "phases"),
        ({"node": "soup-1-merge"}, "folder"),
    ],
    ids=str,
)
def test_bad_options_are_refused_with_a_reason(dense, options, text):
    with pytest.raises(ValueError, match=text):
        soup(dense, **{**QUICK, **options})


def test_greedy_needs_validation_data_that_are_not_the_test_data(dense, data):
    import dataclasses

    none = dataclasses.replace(data, validation=None)
    with pytest.raises(ValueError, match=r"validation=0\.1"):
        soup(dense, none, **QUICK, merge="greedy")
    shuffled = data.test.take(torch.arange(99, -1, -1))
    same = dataclasses.replace(data, validation=shuffled)
    with pytest.raises(ValueError, match="test image"):
        soup(dense, same, **QUICK, merge="greedy")


def test_vmap_soups_resume_to_the_same_bytes(dense, tmp_path):
    out = tmp_path / "vmap"
    first = soup(dense, **QUICK, executor="vmap", out=out)
    assert verify.file(first.certificate).status == "accepted"
    before = files(out)
    with pytest.raises(RunError, match="program"):  # another executor rounds otherwise
        soup(dense, **QUICK, out=out, resume=True)
    (out / first.candidates[1].file).unlink()
    again = soup(dense, **QUICK, executor="vmap", out=out, resume=True)
    # One lost member takes its whole stack: a smaller stack would round differently.
    assert again.computed[:-1] == tuple(f"soup-2-member-{j}" for j in (1, 2, 3))
    assert files(out) == before


@SLOW
def test_vmap_agrees_with_separate_members_within_seed_spread(calm, dense, tmp_path):
    stacked = soup(dense, **QUICK, executor="vmap", out=tmp_path / "vmap")
    values = [c.accuracy for c in calm.candidates]
    theirs = [c.accuracy for c in stacked.candidates]
    # Trajectories part by rounding only; 360 test images, so a few answers may differ.
    assert np.mean(theirs) == pytest.approx(np.mean(values), abs=0.05)
