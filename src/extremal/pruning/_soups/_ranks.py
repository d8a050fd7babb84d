"""One member a rank: soups under `torchrun`.

Rank 0 walks through the graph and hands the nodes of each wave out; every rank trains its own
members alone, without DDP, and writes them into the run folder, which all ranks share. What they
tell each other goes through the store of their rendezvous (torch's own), as JSON:

    begin      the run folder
    wave/3     the nodes that each rank computes now; or that the run is over
    done/3/1   what became of job 1 of that wave: the seal of its result, or why it failed
    beat/2     a count that rank 2 raises twice a second while it lives

A result counts if the file that rank 0 reads carries the seal that the other rank told. A rank
whose count stands still has vanished and is named, with what it was to do.
"""

import dataclasses
import itertools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch.distributed.distributed_c10d import PrefixStore
from torch.distributed.rendezvous import rendezvous

from extremal.lab import MissingExtra, Outcome, RunError, WorkerError, executor
from extremal.pruning._errors import PruningError
from extremal.training import TrainingError

from ._node import Context, Node

Job = tuple[Context, tuple[Node, ...]]

BEAT = 0.5  # seconds between beats
SILENT = 60.0  # seconds without a beat after which a rank has vanished
_UNSEEN = 90.0  # a network file system may show a new file as late as that

_session = itertools.count()  # ranks make the same soups in the same order
_KNOWN = (ValueError, PruningError, TrainingError, RunError, MissingExtra)


class _Ended(BaseException):
    """From outside; no retry of a job may catch it."""


class Ranks:
    """The ranks of one soup; on rank 0 it is an executor."""

    def __init__(self, retries: int) -> None:
        """Meet the other ranks.

        Raises:
            ValueError: This process was not started by `torchrun`.
        """
        names = ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
        if any(name not in os.environ for name in names):
            raise ValueError(
                "executor='torchrun' trains one member a rank, and this process has no ranks "
                "beside it. Start it as torchrun --nproc-per-node=3 --no-python extremal pruning "
                "soup ..., or choose executor processes."
            )
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        store, self.rank, self.workers = next(rendezvous("env://"))
        self._store = PrefixStore(f"extremal/soup/{next(_session)}", store)
        self.retries = retries
        self._wave = 0
        self._busy: dict[int, list[str]] = {}  # rank to the labels that it has not told of
        self._gone: set[int] = set()
        self._beats: dict[int, tuple[int, float]] = {}
        self._over = threading.Event()
        self._before: Any = None

    @property
    def leads(self) -> bool:
        """Whether this rank walks through the graph."""
        return self.rank == 0

    def __enter__(self) -> "Ranks":
        """Begin to beat, and to listen to `torchrun`, which ends all ranks when one dies."""
        threading.Thread(target=self._beat, daemon=True).start()
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGTERM, self._ended)
        return self

    def __exit__(self, *raised: object) -> None:
        """Tell the others that it is over, and how; rank 0 is the last to leave."""
        error = raised[1] if isinstance(raised[1], BaseException) else None
        if isinstance(error, _Ended):
            self._over.set()
            raise WorkerError(str(error)) from None
        if self.leads and error is not None:
            self._send_end({"error": _plain(error)})
        self._set(f"left/{self.rank}", {})
        if self.leads and error is None:
            waited = set(range(1, self.workers)) - self._gone
            while waited:
                waited = {r for r in waited if self._get(f"left/{r}") is None}
                waited -= self._silent(waited)
                time.sleep(0.02)
        self._over.set()
        if self._before is not None:
            signal.signal(signal.SIGTERM, self._before)

    def begin(self, folder: Path) -> None:
        """Rank 0: say where the run is."""
        self._set("begin", {"folder": str(folder.resolve())})

    def folder(self) -> Path:
        """Other ranks: where the run is.

        Raises:
            RunError: Rank 0 could not begin it.
        """
        while True:
            message = self._get("begin")
            if message is not None:
                return Path(message["folder"])
            end = self._get("wave/1")
            if end is not None:
                _raise_failure(end["end"])
            self._watch_leader()
            time.sleep(0.05)

    def end(self, **facts: Any) -> None:
        """Rank 0: all is done."""
        self._send_end(facts)

    def outcomes(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Any]:
        """Rank 0: hand the jobs out, do the own ones, yield how each ended."""
        if not jobs:
            return
        self._wave += 1
        alive = [rank for rank in range(self.workers) if rank not in self._gone]
        whose = {index: alive[index % len(alive)] for index in range(len(jobs))}
        shares: dict[str, list[Any]] = {}
        for index, rank in whose.items():
            (node,) = jobs[index][1]
            shares.setdefault(str(rank), []).append([index, dataclasses.asdict(node)])
            self._busy.setdefault(rank, []).append(node.label)
        self._set(f"wave/{self._wave}", {"begun": jobs[0][0].begun, "shares": shares})
        for index in [i for i, rank in whose.items() if rank == 0]:
            yield self._done_here(function, jobs, index)
        pending = {index: rank for index, rank in whose.items() if rank != 0}
        while pending:
            for index, rank in list(pending.items()):
                told = self._get(f"done/{self._wave}/{index}")
                if told is not None:
                    del pending[index]
                    yield self._heard(jobs[index], index, rank, told)
            for rank in self._silent(set(pending.values())) | self._left(pending.values()):
                self._gone.add(rank)
                lost = sorted(index for index, other in pending.items() if other == rank)
                labels = ", ".join(jobs[index][1][0].label for index in lost)
                text = f"rank {rank} vanished while it had {labels} to train"
                if self.retries:
                    sys.stderr.write(f"soup: {text}; rank 0 takes over\n")
                for index in lost:
                    del pending[index]
                    if self.retries:
                        self._busy[0] = [jobs[index][1][0].label]
                        yield self._done_here(function, jobs, index)
                    else:
                        yield Outcome(index, None, WorkerError(text), 1)
            time.sleep(0.05)
        self._busy.clear()

    def serve(self, context: Context, function: Callable[[Job], None]) -> dict[str, Any]:
        """Other ranks: do what is handed out until the run is over; return rank 0's last words.

        Raises:
            WorkerError: Rank 0 vanished.
        """
        runner = executor("serial", retries=self.retries)
        wave = 0
        while True:
            wave += 1
            while (message := self._get(f"wave/{wave}")) is None:
                self._watch_leader()
                time.sleep(0.05)
            if "end" in message:
                _raise_failure(message["end"])
                return message["end"]
            here = dataclasses.replace(context, begun=message["begun"])
            for index, plain in message["shares"].get(str(self.rank), []):
                node = _node(plain)
                node = context.nodes.setdefault(node.key, node)
                (outcome,) = runner.outcomes(function, [(here, (node,))])
                told: dict[str, Any] = (
                    {"seal": context.facts(node)["seal"]}
                    if outcome.error is None
                    else {"failed": _plain(outcome.error), "attempts": outcome.attempts}
                )
                self._set(f"done/{wave}/{index}", told)

    def map(self, function: Callable[[Any], Any], jobs: Sequence[Any]) -> list[Any]:
        """All outcomes' values; part of what an executor is."""
        raise AssertionError("a graph takes outcomes")

    def _done_here(self, function: Callable[[Any], Any], jobs: Sequence[Any], index: int) -> Any:
        (found,) = executor("serial", retries=self.retries).outcomes(function, [jobs[index]])
        return dataclasses.replace(found, index=index)

    def _heard(self, job: Job, index: int, rank: int, told: dict[str, Any]) -> Outcome[None]:
        context, (node,) = job
        self._busy[rank].remove(node.label)
        if "failed" in told:
            return Outcome(index, None, _error(told["failed"]), told["attempts"])
        until = time.monotonic() + _UNSEEN
        while time.monotonic() < until:
            try:
                if context.facts(node)["seal"] == told["seal"]:
                    return Outcome(index, None, None, 1)
            except RunError:
                pass  # not seen yet
            time.sleep(0.1)
        error = RunError(
            f"Rank {rank} has finished {node.label}, and rank 0 does not see the same result in "
            f"{context.folder}: all ranks must share the run folder. Put --out on a common disk."
        )
        return Outcome(index, None, error, 1)

    def _set(self, key: str, value: dict[str, Any]) -> None:
        self._store.set(key, json.dumps(value))

    def _get(self, key: str) -> Any:
        """What was said under that key, or None; never waits."""
        return json.loads(self._store.get(key)) if self._store.check([key]) else None

    def _send_end(self, facts: dict[str, Any]) -> None:
        self._set(f"wave/{self._wave + 1}", {"end": facts})

    def _beat(self) -> None:
        while not self._over.wait(BEAT):
            try:
                self._store.add(f"beat/{self.rank}", 1)
            except RuntimeError:  # the store has gone with the rank that held it
                return

    def _count(self, rank: int) -> int:
        return int(self._store.add(f"beat/{rank}", 0))

    def _silent(self, ranks: set[int]) -> set[int]:
        """Those among the ranks that have not beaten for long."""
        now = time.monotonic()
        found: set[int] = set()
        for rank in ranks:
            count = self._count(rank)
            before, since = self._beats.get(rank, (-1, now))
            if count != before:
                self._beats[rank] = (count, now)
            elif now - since > SILENT:
                found.add(rank)
        return found

    def _left(self, ranks: Iterable[int]) -> set[int]:
        """Those that ended with an error of their own, which they have shown themselves."""
        return {rank for rank in ranks if self._get(f"left/{rank}") is not None}

    def _watch_leader(self) -> None:
        if self._silent({0}):
            raise WorkerError(
                f"rank 0, which leads this soup, vanished; rank {self.rank} ends. What is "
                "finished is kept: start the same command again with --resume."
            )

    def _ended(self, *_: object) -> None:
        """`torchrun` ends this rank: find out which rank died, by the beats of the others."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        before = {rank: self._count(rank) for rank in range(self.workers)}
        time.sleep(6 * BEAT)  # the others go on beating meanwhile: they are in this line too
        if not self.leads:
            raise SystemExit(128 + signal.SIGTERM)
        dead = [r for r in range(self.workers) if r and self._count(r) == before[r]]
        told = "; ".join(
            f"rank {rank} vanished"
            + (f" while it had {', '.join(self._busy[rank])}" if self._busy.get(rank) else "")
            for rank in dead
        )
        raise _Ended(
            f"{told or 'This soup was ended from outside'}, and torchrun ended the other ranks. "
            "What is finished is kept: start the same command again with --resume."
        )


def _node(plain: dict[str, Any]) -> Node:
    return Node(
        plain["label"], plain["kind"], tuple(plain["parents"]), plain["settings"], plain["key"],
        plain["least"],
    )  # fmt: skip


def _plain(error: BaseException) -> dict[str, str]:
    return {"type": type(error).__name__, "text": str(error)}


def _error(plain: dict[str, str]) -> Exception:
    for kind in _KNOWN:
        if kind.__name__ == plain["type"]:
            return kind(plain["text"])
    return WorkerError(f"{plain['type']}: {plain['text']}")


def _raise_failure(end: dict[str, Any]) -> None:
    if "error" in end:
        raise _error(end["error"])
