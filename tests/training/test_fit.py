"""The verb: the run it leaves, and what it refuses."""

import dataclasses
import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from extremal import training
from extremal.lab import RunError
from extremal.training import Config, TrainingError, fit, load_run

SMALL = Config(model="mlp", epochs=2, threads=1, validation=0.1, seed=3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    return fit(SMALL, out=tmp_path_factory.mktemp("runs") / "small")


def test_a_run_holds_everything(finished):
    files = {p.name for p in finished.path.iterdir() if p.is_file()} - {".lock"}
    assert files == {
        "config.json", "history.json", "model.safetensors", "evaluation.safetensors",
        "validation.safetensors", "certificate.json", "report.html", "records.jsonl", "result.json",
    }  # fmt: skip
    assert finished.certificate == finished.path / "certificate.json"
    assert len(finished.history.lr) == finished.history.steps == 22
    assert 0.5 < finished.accuracy == finished.evaluation.top1 <= 1


def test_the_certificate_is_accepted(finished):
    command = [sys.executable, "-m", "extremal.cli", "verify", finished.certificate]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_certificate_holds_every_answer(finished):
    parts = json.loads(finished.certificate.read_text())["parts"]
    assert [part["claim"]["quantity"] for part in parts] == ["accuracy", "seconds"]
    assert parts[0]["claim"]["value"] == finished.accuracy
    assert parts[0]["witness"]["seeds"] == [3]
    assert len(parts[1]["witness"]["samples"]) == 7


def test_a_run_opens_again_as_it_was(finished):
    opened = load_run(finished.path)
    assert opened.config == finished.config
    assert opened.history == finished.history
    assert opened.data.fingerprint == finished.data.fingerprint
    assert opened.evaluation.correct.tolist() == finished.evaluation.correct.tolist()
    assert opened.validation.top1 == finished.validation.top1
    again = training.evaluate(opened.model, opened.data)
    assert again.loss == pytest.approx(finished.evaluation.loss, rel=1e-6)


def test_the_same_options_give_the_same_bytes(finished, tmp_path):
    fit(SMALL, out=tmp_path / "again")
    mine = (tmp_path / "again" / "model.safetensors").read_bytes()
    assert mine == (finished.path / "model.safetensors").read_bytes()


def test_a_finished_run_returns_at_once(finished):
    before = {p.name: p.stat().st_mtime_ns for p in finished.path.iterdir()}
    again = fit(SMALL, out=finished.path, resume=True)
    assert {p.name: p.stat().st_mtime_ns for p in finished.path.iterdir()} == before
    assert again.accuracy == finished.accuracy


def test_nothing_is_overwritten_unasked(finished):
    with pytest.raises(RunError, match="exists already"):
        fit(SMALL, out=finished.path)
    with pytest.raises(RunError, match=r"another configuration \(epochs: 2 there, 3 now\)"):
        fit(dataclasses.replace(SMALL, epochs=3), out=finished.path, resume=True)


def test_changed_weights_are_refused_by_name(finished, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(finished.path, copy)
    raw = bytearray((copy / "model.safetensors").read_bytes())
    raw[-1] ^= 1
    (copy / "model.safetensors").write_bytes(raw)
    with pytest.raises(TrainingError, match=r"model\.safetensors is cut short or changed"):
        load_run(copy)


def test_an_unfinished_run_is_refused(tmp_path):
    with pytest.raises(RunError, match="is not a run folder"):
        load_run(tmp_path)


def test_data_given_as_an_object_are_written_into_the_options(tmp_path):
    data = training.load_data("digits", train_size=300)
    result = fit(Config(model="mlp", epochs=1), data=data, out=tmp_path / "run")
    assert result.config.train_size == 300
    assert load_run(tmp_path / "run").data.fingerprint == data.fingerprint


def test_data_of_unknown_origin_must_be_given_again(tmp_path):
    data = dataclasses.replace(training.load_data("digits"), mean=(0.0,), origin=None)
    fit(model="mlp", epochs=1, data=data, out=tmp_path / "run")
    with pytest.raises(TrainingError, match="was trained on other data than digits is now"):
        load_run(tmp_path / "run")
    assert load_run(tmp_path / "run", data=data).data is data


def test_options_one_by_one_or_together_are_the_same():
    torch.manual_seed(0)
    one = fit(model="mlp", data="digits", epochs=1, lr=0.05, threads=1)
    two = fit(Config(model="mlp", epochs=1, lr=0.05, threads=1))
    for a, b in zip(one.model.parameters(), two.model.parameters(), strict=True):
        assert torch.equal(a, b)


def test_the_table_shows_the_accuracy(finished):
    text = finished.table().as_text()
    assert f"{finished.accuracy:.2%}" in text
    assert finished.as_json()["accuracy"] == finished.accuracy
    json.dumps(finished.as_json())


def test_the_users_network_and_weights(tmp_path, monkeypatch):
    (tmp_path / "my_network.py").write_text(
        "from torch import nn\n"
        "def make():\n"
        "    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"
    )
    monkeypatch.chdir(tmp_path)
    weights = {"1.weight": torch.zeros(10, 64), "1.bias": torch.arange(10.0)}
    training.save_tensors("w.safetensors", weights)
    result = fit(model="my_network:make", weights="w.safetensors", epochs=1, lr=1e-9)
    assert torch.allclose(result.model[1].bias, weights["1.bias"], atol=1e-4)


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("nn.Flatten()", r"gives \(1, 64\) for one image of digits; it must give .* \(1, 10\)"),
        ("nn.Linear(7, 10)", r"does not take images of shape \(1, 8, 8\)"),
    ],
)
def test_a_network_that_does_not_fit_is_refused(tmp_path, monkeypatch, body, text):
    module = f"misfit_{len(body)}"
    (tmp_path / f"{module}.py").write_text(
        f"from torch import nn\ndef make():\n    return {body}\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match=text):
        fit(model=f"{module}:make", out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"epochs": 0}, "epochs=0 trains nothing; give 1 or more"),
        ({"schedule": "poly"}, "there is no schedule 'poly'; there are linear"),
        ({"lr": -1.0}, "lr=-1.0 moves no weight sensibly"),
        ({"warmup": 1.0}, "warmup=1.0 is no share"),
        ({"model": "resnet99"}, "there is no network 'resnet99'"),
        ({"model": "vgg16-bn"}, "vgg16-bn needs images of 32x32"),
        ({"data": "cifar10"}, "cifar10 is not embedded; give path="),
    ],
)
def test_senseless_options_are_refused_before_anything_is_written(tmp_path, options, text):
    with pytest.raises(ValueError, match=text):
        fit(**options, out=tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_unknown_options_are_refused():
    with pytest.raises(TypeError, match=r"'learning_rate': no such option; there are .*lr"):
        fit(learning_rate=0.1)


def test_kill_9_then_resume_gives_the_same_bytes(finished, tmp_path):
    out = tmp_path / "run"
    script = tmp_path / "job.py"
    script.write_text(
        "import sys, time\n"
        "from extremal import training\n"
        "from extremal.training import _loop\n"
        "write = _loop.write_checkpoint\n"
        "def slowly(*arguments):\n"
        "    write(*arguments)\n"
        "    time.sleep(60)\n"
        "_loop.write_checkpoint = slowly\n"
        "training.fit(training.Config(model='mlp', epochs=2, threads=1, validation=0.1, seed=3),"
        " out=sys.argv[1])\n"
    )
    process = subprocess.Popen(
        [sys.executable, script, out], env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    while not (out / "checkpoints" / "fit.safetensors").exists():
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    result = fit(SMALL, out=out, resume=True)
    mine = (out / "model.safetensors").read_bytes()
    assert mine == (finished.path / "model.safetensors").read_bytes()
    assert result.history.loss == finished.history.loss
    assert len((out / "records.jsonl").read_text().splitlines()) == 1
    assert list((out / "checkpoints").iterdir()) == []


DISTRIBUTED = """
import sys
import torch
from extremal import training
torch.manual_seed(0)
model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(64, 20), torch.nn.Tanh(),
                            torch.nn.Linear(20, 10))
data = training.load_data("digits", train_size=131, augment="crop-flip")
loop = training.LoopConfig(batch_size=32, threads=1, checkpoint_every=3)
history = training.train(model, data, epochs=2, lr=[0.1] * 10, loop=loop,
                         checkpoint=sys.argv[2] if len(sys.argv) > 2 else None)
if history.steps and int(__import__("os").environ.get("RANK", 0)) == 0:
    training.save_tensors(sys.argv[1], {**model.state_dict(), "loss": torch.tensor(history.loss)})
"""


@pytest.mark.slow
def test_two_processes_agree_with_one(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(DISTRIBUTED)
    subprocess.run([sys.executable, script, tmp_path / "one"], check=True)
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         script, tmp_path / "two", tmp_path / "checkpoint"],
        check=True,
    )  # fmt: skip
    one = training.load_tensors(tmp_path / "one")
    two = training.load_tensors(tmp_path / "two")
    for name in one:
        # float32 sums in another order, ten steps
        assert torch.allclose(one[name], two[name], atol=1e-5), name


@pytest.mark.slow
def test_fit_under_torchrun_writes_one_run(tmp_path):
    script = tmp_path / "job.py"
    script.write_text(
        "import sys\nfrom extremal import training\n"
        "training.fit(model='mlp', epochs=1, threads=1, out=sys.argv[1])\n"
    )
    out = tmp_path / "run"
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         script, out],
        check=True,
    )  # fmt: skip
    assert load_run(out).accuracy > 0.5
