"""Work that splits: one interface, the same results from each executor.

    executor("serial")                      one job after another, in this process
    executor("processes", workers=2)        spawned processes of this machine
    executor("ray", address="auto")         a running Ray cluster, or a local one

A job is a picklable value; the function is a module-level function of it. Results come back in
the order of the jobs, whatever order they were done in.

In a `with` block the workers stay from one list of jobs to the next; otherwise they end with it:

    with executor("processes") as runner:
        for wave in waves:
            runner.map(work, wave)
"""

import multiprocessing
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any, Generic, Literal, Protocol, TypeVar, runtime_checkable

from ._errors import WorkerError, require

J = TypeVar("J")
R = TypeVar("R")

Name = Literal["serial", "processes", "ray"]


@dataclass(frozen=True, slots=True)
class Outcome(Generic[R]):
    """How one job ended.

    Attributes:
        index: The job's place in the list.
        value: What it returned; None where it failed.
        error: What it raised, or None. A worker that vanished gives a `WorkerError`.
        attempts: How often it was started.
    """

    index: int
    value: R | None
    error: BaseException | None
    attempts: int


@runtime_checkable
class Executor(Protocol):
    """What `executor` returns."""

    @property
    def workers(self) -> int:
        """How many jobs run at a time."""
        ...

    def outcomes(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Outcome[R]]:
        """Yield each job's outcome as it ends."""
        ...

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        """Return all results in the order of the jobs."""
        ...

    def __enter__(self) -> "Executor":
        """Keep the workers for several lists of jobs."""
        ...

    def __exit__(self, *_: object) -> None:
        """Let the workers go."""
        ...


def executor(
    name: Name = "serial",
    *,
    workers: int | None = None,
    retries: int = 1,
    threads: int | None = None,
    address: str | None = None,
) -> Executor:
    """Return the executor of that name.

    Args:
        name: `"serial"`, `"processes"` or `"ray"`.
        workers: Jobs at a time; default: one a core (one, for `"serial"`).
        retries: How often a failed job, or one whose worker vanished, is started again.
        threads: Numerical threads a worker may use; default: the cores divided by the workers.
            Results are repeated bit for bit only with the same number.
        address: Of a Ray cluster; None starts a local one that ends with this process.

    Raises:
        ValueError: The name is unknown or a number is out of range.
        MissingExtra: Ray is asked for and not installed.
    """
    cores = os.cpu_count() or 1
    if workers is not None and workers < 1:
        raise ValueError(f"an executor needs at least one worker, got workers={workers}.")
    if retries < 0:
        raise ValueError(f"retries is a count of 0 or more, got {retries}.")
    if name == "serial":
        return _Serial(retries=retries)
    count = workers or cores
    share = threads or max(1, cores // count)
    if name == "processes":
        return _Processes(workers=count, retries=retries, threads=share)
    if name == "ray":
        require("ray", "ray")
        return _Ray(workers=count, retries=retries, threads=share, address=address)
    raise ValueError(f"{name!r} is no executor; there are 'serial', 'processes' and 'ray'.")


class _Mapped:
    workers: int

    def __enter__(self) -> "Executor":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def outcomes(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Outcome[R]]:
        raise AssertionError("every executor has its own")

    def map(self, function: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
        done: dict[int, Any] = {}
        for outcome in self.outcomes(function, jobs):
            if outcome.error is not None:
                raise WorkerError(
                    f"job {outcome.index} of {len(jobs)} failed after {outcome.attempts} "
                    f"attempt(s): {type(outcome.error).__name__}: {outcome.error}. "
                    "Finished work is kept where it was written; mend the cause and resume."
                ) from outcome.error
            done[outcome.index] = outcome.value
        return [done[i] for i in range(len(jobs))]


@dataclass(frozen=True, slots=True)
class _Serial(_Mapped):
    retries: int
    workers: int = 1

    def outcomes(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Outcome[R]]:
        for index, job in enumerate(jobs):
            attempt = 1
            while True:
                try:
                    yield Outcome(index, function(job), None, attempt)
                    break
                except Exception as error:  # noqa: BLE001 - a job may fail in any way
                    if attempt > self.retries:
                        yield Outcome(index, None, error, attempt)
                        break
                    attempt += 1


def _start_worker(threads: int, path: list[str], parent: int) -> None:
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(threads)
    os.environ["NUMBA_NUM_THREADS"] = str(threads)
    sys.path[:] = path
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _end_with(parent: int) -> None:
    """End this worker when the process that started it is gone, however it died.

    An orphan would go on with its job and hold the run's lock against a resume.
    """
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _Processes(_Mapped):
    def __init__(self, workers: int, retries: int, threads: int) -> None:
        self.workers, self.retries, self.threads = workers, retries, threads
        self._kept = False  # inside a `with` block
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> "Executor":
        self._kept = True
        return self

    def __exit__(self, *_: object) -> None:
        self._kept = False
        self._end()

    def _workers(self) -> ProcessPoolExecutor:
        """The pool; it starts a process when there is a job and none is idle."""
        if self._pool is None:
            self._pool = ProcessPoolExecutor(
                self.workers,
                mp_context=multiprocessing.get_context("spawn"),
                initializer=_start_worker,
                initargs=(self.threads, list(sys.path), os.getpid()),
            )
        return self._pool

    def _end(self, wait: bool = True) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=wait, cancel_futures=True)

    def outcomes(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Outcome[R]]:
        attempts = [0] * len(jobs)
        waiting = list(range(len(jobs)))
        running: dict[Future[R], int] = {}
        try:
            while waiting or running:
                # At most one job a worker is handed over, so that a vanished worker costs the
                # jobs that were running, not the attempts of the whole queue.
                while waiting and len(running) < self.workers:
                    index = waiting.pop(0)
                    attempts[index] += 1
                    running[self._workers().submit(function, jobs[index])] = index
                broken = False
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    index = running.pop(future)
                    error = future.exception()
                    if error is None:
                        yield Outcome(index, future.result(), None, attempts[index])
                        continue
                    if isinstance(error, BrokenProcessPool):
                        broken = True
                        error = WorkerError(
                            f"a worker process vanished while job {index} ran (killed, or out "
                            "of memory)"
                        )
                    if attempts[index] > self.retries:
                        yield Outcome(index, None, error, attempts[index])
                    else:
                        waiting.append(index)
                if broken:
                    for future, index in running.items():
                        if future.done() and future.exception() is None:
                            yield Outcome(index, future.result(), None, attempts[index])
                        elif attempts[index] > self.retries:
                            lost = WorkerError(f"the worker pool broke while job {index} ran")
                            yield Outcome(index, None, lost, attempts[index])
                        else:
                            waiting.append(index)
                    running.clear()
                    self._end(wait=False)
        finally:
            # Left in the middle, jobs may still run: their workers are no use to the next list.
            if running or not self._kept:
                self._end()


def _apply(function: Callable[[J], R], job: J) -> R:
    return function(job)  # Ray takes plain functions only, so a partial one is its argument


class _Ray(_Mapped):
    def __init__(self, workers: int, retries: int, threads: int, address: str | None) -> None:
        self.workers, self.retries, self.threads = workers, retries, threads
        self.address = address
        self._kept = False  # inside a `with` block
        self._ours = False  # whether this object joined the cluster

    def __enter__(self) -> "Executor":
        self._kept = True
        return self

    def __exit__(self, *_: object) -> None:
        self._kept = False
        self._leave()

    def _join(self) -> Any:
        ray = require("ray", "ray")
        if ray.is_initialized():
            return ray
        variables = {
            "OMP_NUM_THREADS": str(self.threads),
            "NUMBA_NUM_THREADS": str(self.threads),
            "PYTHONPATH": os.pathsep.join(p for p in sys.path if p),
        }
        options: dict[str, Any] = {
            "runtime_env": {"env_vars": variables},
            "log_to_driver": False,
            "configure_logging": False,
        }
        if self.address is None:
            options |= {"num_cpus": self.workers, "include_dashboard": False}
        ray.init(address=self.address or "local", **options)
        self._ours = True
        return ray

    def _leave(self) -> None:
        if self._ours:
            self._ours = False
            require("ray", "ray").shutdown()

    def outcomes(self, function: Callable[[J], R], jobs: Sequence[J]) -> Iterator[Outcome[R]]:
        ray = self._join()
        running: dict[Any, int] = {}
        try:
            remote = ray.remote(num_cpus=1, max_retries=0)(_apply)
            attempts = [0] * len(jobs)
            waiting = list(range(len(jobs)))
            while waiting or running:
                while waiting and len(running) < self.workers:
                    index = waiting.pop(0)
                    attempts[index] += 1
                    running[remote.remote(function, jobs[index])] = index
                for reference in ray.wait(list(running), num_returns=1)[0]:
                    index = running.pop(reference)
                    try:
                        value: Any = ray.get(reference)
                    except Exception as error:  # noqa: BLE001 - a job may fail in any way
                        cause = getattr(error, "cause", None) or error
                        if attempts[index] > self.retries:
                            yield Outcome(index, None, cause, attempts[index])
                        else:
                            waiting.append(index)
                    else:
                        yield Outcome(index, value, None, attempts[index])
        finally:
            for reference in running:  # left in the middle
                ray.cancel(reference, force=True)
            if not self._kept:
                self._leave()
