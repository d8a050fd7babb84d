"""Soups under `torchrun`: one member a rank, the bytes of `serial`, dead ranks by name."""

import functools
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.distributed import HashStore

from extremal import pruning, training
from extremal.lab import WorkerError
from extremal.pruning._soups import _ranks
from extremal.pruning._soups._node import Node

HERE = Path(__file__).parent

PROGRAM = """
import os, signal, sys
from pathlib import Path
import torch
sys.path.insert(0, {tests!r})
from test_soup_ranks import make
if __name__ == "__main__":
    torch.distributed.init_process_group("gloo")
    make(out={out!r}, executor="torchrun", **{options!r})
"""


@functools.cache
def data():
    """Made images: a process need not import scikit-learn for them."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (140, 1, 8, 8), generator=generator, dtype=torch.uint8)
    whole = training.Split(images, torch.arange(140) % 4)
    train, test = whole.take(torch.arange(100)), whole.take(torch.arange(100, 140))
    return training.Data("made", train, test, None, 4, tuple("abcd"), (0.5,), (0.3,))


def make(out, dies=None, **options):
    """A small soup; with `dies`, rank 1 kills itself once, in the middle of its member."""
    torch.manual_seed(0)
    model = training.network("mlp", in_channels=1, classes=4, image_size=8)
    loss = None if dies is None else _Dies(dies)
    return pruning.soup(
        model, data(), sparsity=0.8, lr=0.1, dense_epochs=3, batch_size=32, loss=loss, out=out,
        **{"members": 2, "epochs": 1, **options},
    )  # fmt: skip


class _Dies:
    """Cross-entropy; the first process of rank 1 does not survive its fourth call."""

    def __init__(self, flag):
        self.flag, self.calls = Path(flag), 0

    def __call__(self, outputs, labels):
        self.calls += 1
        if os.environ.get("RANK") == "1" and self.calls > 3 and not self.flag.exists():
            self.flag.touch()
            os.kill(os.getpid(), 9)
        return torch.nn.functional.cross_entropy(outputs, labels)


def files(folder):
    found = {p.name: p.read_bytes() for p in sorted((folder / "checkpoints").glob("*.safetensors"))}
    found["model"] = (folder / "model.safetensors").read_bytes()
    found["certificate"] = (folder / "certificate.json").read_bytes()
    return found


def program(tmp_path, out, **options):
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(tests=str(HERE), out=str(out), options=options))
    return script


def environment(**more):
    path = os.pathsep.join(p for p in sys.path if p)
    return {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1", **more}


def test_two_ranks_give_the_bytes_of_serial(tmp_path, monkeypatch):
    """Inside an initialised group: this process is rank 0; each trains its member without DDP."""
    make(tmp_path / "serial", threads=1)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    names = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    out = tmp_path / "ranks"
    script = program(tmp_path, out)
    other = subprocess.Popen([sys.executable, script], env=environment(RANK="1", **names))
    for name, value in {"RANK": "0", **names}.items():
        monkeypatch.setenv(name, value)
    torch.distributed.init_process_group("gloo")
    try:
        found = make(out, executor="torchrun")
        assert other.wait(120) == 0
    finally:
        torch.distributed.destroy_process_group()
    assert set(found.computed) == {"start", "soup-1-prune", "soup-1-member-1", "soup-1-member-2",
                                   "soup-1-merge"}  # fmt: skip
    assert files(out) == files(tmp_path / "serial")


def torchrun(script, *more):
    return subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2",
         *more, script],
        env=environment(), stderr=subprocess.PIPE, text=True, check=False,
    )  # fmt: skip


@pytest.mark.slow
def test_torchrun_with_comparisons_gives_the_bytes_of_serial(tmp_path):
    options = {"phases": 2, "epochs": 2, "members": 3, "compare": True, "corrupt": 20}
    script = program(tmp_path, tmp_path / "ranks", **options)
    done = torchrun(script)
    assert done.returncode == 0, done.stderr
    make(tmp_path / "serial", threads=1, **options)
    assert files(tmp_path / "ranks") == files(tmp_path / "serial")


@pytest.mark.slow
def test_a_dead_rank_is_named_and_the_run_goes_on_from_its_files(tmp_path):
    out, flag = tmp_path / "ranks", tmp_path / "died"
    script = program(tmp_path, out, dies=str(flag), epochs=40)
    said = torchrun(script)
    assert said.returncode != 0
    assert flag.exists()
    assert "rank 1 vanished while it had soup-1-member-2" in said.stderr
    assert not (out / "result.json").exists()
    again = torchrun(program(tmp_path, out, dies=str(flag), epochs=40, resume=True))
    assert again.returncode == 0, again.stderr
    make(tmp_path / "serial", threads=1, dies=str(flag), epochs=40)
    assert files(out) == files(tmp_path / "serial")


def test_without_torchrun_the_executor_is_refused_with_the_command(tmp_path, monkeypatch):
    monkeypatch.delenv("RANK", raising=False)
    with pytest.raises(ValueError, match="torchrun --nproc-per-node=3"):
        make(tmp_path / "run", executor="torchrun")
    assert not (tmp_path / "run").exists()


class _Context:
    begun = 0.0


def ranks_of(monkeypatch, store, rank, retries=0):
    """Ranks that meet in this process, over a store in memory."""
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.setenv(name, "0")
    monkeypatch.setattr(_ranks, "rendezvous", lambda _: iter([(store, rank, 2)]))
    monkeypatch.setattr(_ranks, "_session", iter([0]))
    monkeypatch.setattr(_ranks, "SILENT", 0.3)
    return _ranks.Ranks(retries)


def jobs(*labels):
    return [(_Context(), (Node(label, "retrain", (), {}, label),)) for label in labels]


@pytest.mark.parametrize("retries", [0, 1])
def test_a_rank_that_does_not_beat_is_named_and_replaced(monkeypatch, capsys, retries):
    first = ranks_of(monkeypatch, HashStore(), 0, retries)
    done = []
    found = list(first.outcomes(lambda job: done.append(job[1][0].label), jobs("one", "two")))
    if retries:
        assert [o.error for o in found] == [None, None]
        assert done == ["one", "two"]
        assert "rank 1 vanished while it had two" in capsys.readouterr().err
        # It gets nothing more to do.
        assert [o.index for o in first.outcomes(done.append, jobs("three", "four"))] == [0, 1]
    else:
        (error,) = [o.error for o in found if o.error]
        assert isinstance(error, WorkerError)
        assert "rank 1 vanished while it had two" in str(error)
        assert done == ["one"]


def test_a_rank_that_ended_is_not_waited_for(monkeypatch):
    store = HashStore()
    first = ranks_of(monkeypatch, store, 0)
    monkeypatch.setattr(_ranks, "SILENT", 1e9)
    monkeypatch.setattr(_ranks, "rendezvous", lambda _: iter([(store, 1, 2)]))
    monkeypatch.setattr(_ranks, "_session", iter([0]))
    second = _ranks.Ranks(0)
    with pytest.raises(ArithmeticError), second:
        raise ArithmeticError
    found = list(first.outcomes(lambda job: None, jobs("one", "two")))
    assert [type(o.error) for o in found] == [type(None), WorkerError]


def test_other_ranks_name_a_leader_that_vanished(monkeypatch):
    second = ranks_of(monkeypatch, HashStore(), 1)
    with pytest.raises(WorkerError, match="rank 0, which leads this soup, vanished"):
        second.folder()


def test_why_rank_0_could_not_begin_reaches_the_others(monkeypatch):
    store = HashStore()
    first = ranks_of(monkeypatch, store, 0)
    with pytest.raises(OSError, match="disk is full"), first:
        raise OSError("disk is full")
    monkeypatch.setattr(_ranks, "_session", iter([0]))
    second = ranks_of(monkeypatch, store, 1)
    with pytest.raises(WorkerError, match="disk is full"):
        second.folder()
