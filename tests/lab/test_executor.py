"""One interface, the same results from each executor; failures and vanished workers."""

import math
import operator
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from extremal.lab import WorkerError, executor


def fail_once(folder: str) -> int:
    """Fail on the first call of all processes, then succeed."""
    mark = Path(folder) / "called"
    if not mark.exists():
        mark.touch()
        raise RuntimeError("first time")
    return 7


def die_once(folder: str) -> int:
    """Kill the own process on the first call, then succeed."""
    mark = Path(folder) / "called"
    if not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return 7


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_results_come_in_the_order_of_the_jobs(name):
    jobs = list(range(12))
    assert executor(name, workers=2).map(math.factorial, jobs) == [math.factorial(i) for i in jobs]
    assert executor(name, workers=2).map(math.factorial, []) == []


@pytest.mark.parametrize("name", ["serial", "processes"])
def test_a_failed_job_is_named_after_its_retries(name):
    with pytest.raises(WorkerError, match=r"job 1 of 3 failed after 2 attempt.*by zero"):
        executor(name, workers=2, retries=1).map(partial(operator.floordiv, 6), [1, 0, 2])


def test_a_failure_leaves_the_other_jobs_alone():
    found = {
        o.index: (o.value, type(o.error))
        for o in executor("serial", retries=0).outcomes(partial(operator.floordiv, 6), [1, 0, 2])
    }
    assert found == {0: (6, type(None)), 1: (None, ZeroDivisionError), 2: (3, type(None))}


def test_a_retry_can_succeed(tmp_path):
    (outcome,) = executor("serial", retries=1).outcomes(fail_once, [str(tmp_path)])
    assert (outcome.value, outcome.attempts) == (7, 2)


def test_a_vanished_worker_is_replaced(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_executor  # the name that a spawned process can import

    assert executor("processes", workers=1).map(test_executor.die_once, [str(tmp_path)]) == [7]


def sleep_and_tell(folder: str) -> None:
    """Write the own process number and sleep for a minute."""
    (Path(folder) / "worker").write_text(str(os.getpid()))
    time.sleep(60)


def test_workers_end_with_the_process_that_started_them(tmp_path):
    program = (
        "import sys; sys.path.insert(0, sys.argv[1]); import test_executor; "
        "from extremal.lab import executor; "
        "executor('processes', workers=1).map(test_executor.sleep_and_tell, [sys.argv[2]])"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, str(Path(__file__).parent), str(tmp_path)]
    )
    mark = tmp_path / "worker"
    deadline = time.monotonic() + 60
    while not (mark.exists() and mark.read_text()) and time.monotonic() < deadline:
        time.sleep(0.05)
    worker = int(mark.read_text())
    parent.kill()
    parent.wait()
    while time.monotonic() < deadline:
        try:
            os.kill(worker, 0)
        except ProcessLookupError:
            return
        if Path(f"/proc/{worker}/stat").read_text().split()[2] == "Z":
            return  # ended, and only waiting to be collected
        time.sleep(0.05)
    pytest.fail("the worker outlived its parent")


@pytest.mark.slow
def test_ray_gives_the_same_results():
    pytest.importorskip("ray")
    jobs = list(range(6))
    assert executor("ray", workers=2).map(math.factorial, jobs) == [math.factorial(i) for i in jobs]
    with pytest.raises(WorkerError, match="by zero"):
        executor("ray", workers=1, retries=0).map(partial(operator.floordiv, 6), [0])


@pytest.mark.parametrize("options", [{"workers": 0}, {"retries": -1}, {"name": "slurm"}])
def test_bad_options_are_refused(options):
    # In tests the type checker already refuses an unknown name, with a TypeError of its own.
    with pytest.raises((ValueError, TypeError), match=r"at least one worker|count of 0|slurm"):
        executor(**{"name": "processes", **options})


def tell_process(_: int) -> int:
    """Return the own process number."""
    return os.getpid()


def test_workers_stay_inside_a_with_block(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    import test_executor

    with executor("processes", workers=1) as runner:
        first = runner.map(test_executor.tell_process, [0, 1])
        assert runner.map(test_executor.tell_process, [0]) == first[:1] == first[1:]
        assert runner.map(test_executor.die_once, [str(tmp_path)]) == [7]  # a new worker
        assert runner.map(test_executor.tell_process, [0]) != first[:1]
    with pytest.raises(ProcessLookupError):
        os.kill(first[0], 0)
    runner = executor("processes", workers=1)  # without a block, they end with each list
    once = runner.map(test_executor.tell_process, [0])
    assert runner.map(test_executor.tell_process, [0]) != once
