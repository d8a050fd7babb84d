"""Running the graph: what is done and whole is not done again, and a failure stays where it is.

Nodes whose parents are done run at the same time, on the executor. Pruning and merging are quick
and run in this process. Killed at any moment, the same call goes on from the files.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from extremal.lab import Executor, WorkerError, executor
from extremal.pruning._errors import PruningError

from ._config import SoupConfig
from ._node import Context, Node
from ._ranks import Ranks
from ._stacked import retrain_stacked
from ._work import WORK, threads_of

_QUICK = ("start", "prune", "merge", "geometry")

Job = tuple[Context, tuple[Node, ...]]


@dataclass
class Progress:
    """What a run of the graph did."""

    computed: list[str] = field(default_factory=list[str])
    reused: list[str] = field(default_factory=list[str])
    failed: dict[str, str] = field(default_factory=dict[str, str])  # label to reason


def run_node(job: Job) -> None:
    """Compute one node, or several members that are trained as one program."""
    context, nodes = job
    with threads_of(context):
        if context.config.executor == "vmap" and nodes[0].kind == "retrain":
            retrain_stacked(context, nodes)
        else:
            (node,) = nodes
            WORK[node.kind](context, node)


def run_graph(
    context: Context, targets: Sequence[Node], progress: Progress, runner: Executor
) -> None:
    """Compute the targets and all that they need.

    Args:
        context: With the nodes.
        targets: What is wanted.
        progress: Told what happens.
        runner: Does what takes long.

    Raises:
        PruningError: A target cannot be had; the nodes that failed are named.
    """
    needed = _closure(context, targets)
    done: set[str] = set()
    for node in needed:  # parents come first
        whole = node.least is not None or all(key in done for key in node.parents)
        if whole and context.done(node):
            done.add(node.key)
            if node.label not in (*progress.reused, *progress.computed):
                progress.reused.append(node.label)
    # A merge that went on without a member stays as it is: that member is not tried again.
    idle = {
        key
        for node in needed
        if node.least is not None and node.key in done
        for key in set(node.parents) - {parent.key for parent in context.used(node)}
    }
    needed = [node for node in needed if node.key not in idle]
    failed: dict[str, BaseException | None] = {}
    while True:
        ready: list[Node] = []
        for node in needed:
            if node.key in done or node.key in failed:
                continue
            there = sum(key in done for key in node.parents)
            lost = [key for key in node.parents if key in failed]
            if len(node.parents) - len(lost) < (node.least or len(node.parents)):
                failed[node.key] = None  # because of a parent
            elif there + len(lost) == len(node.parents):
                ready.append(node)
        if not ready:
            break
        for nodes, error in _wave(context, ready, runner):
            for node in nodes:
                if error is None:
                    done.add(node.key)
                    progress.computed.append(node.label)
                else:
                    failed[node.key] = error
                    progress.failed[node.label] = f"{type(error).__name__}: {error}"
    missing = [node for node in targets if node.key not in done]
    if missing:
        causes = {context.nodes[k].label: e for k, e in failed.items() if e is not None}
        label, error = next(iter(causes.items()))
        if isinstance(error, (ValueError, PruningError)) or type(error).__name__ in _TOLD:
            raise error
        raise PruningError(
            f"{missing[0].label} cannot be made: {', '.join(causes)} failed after "
            f"{context.config.retries + 1} attempt(s) ({label}: {type(error).__name__}: {error}). "
            "What is finished is kept; mend the cause and resume."
        ) from error


_TOLD = ("TrainingError", "RunError", "MissingExtra")  # their texts say what to do


def _wave(
    context: Context, ready: Sequence[Node], runner: Executor
) -> Iterator[tuple[tuple[Node, ...], BaseException | None]]:
    """Run nodes that do not need each other; yield each as it ends."""
    context = replace(context, begun=time.time())
    quick = [(context, (node,)) for node in ready if node.kind in _QUICK]
    rest = _stacks(context, [node for node in ready if node.kind not in _QUICK])
    here = executor("serial", retries=context.config.retries)
    alone = context.config.executor == "processes" and len(rest) == 1  # needs no process of its own
    for jobs, chosen in (
        (quick, executor("serial", retries=0)),
        (rest, here if alone else runner),
    ):
        for outcome in chosen.outcomes(run_node, jobs):
            nodes = jobs[outcome.index][1]
            error = outcome.error
            # Whatever a worker says, the files decide.
            if error is None and not all(context.done(node) for node in nodes):
                error = WorkerError(f"{nodes[0].label} ended without a whole result")
            yield nodes, error


def runner_of(config: SoupConfig) -> Executor:
    """The executor of a whole run, whose workers stay from wave to wave."""
    name: Literal["serial", "processes", "ray"] = "serial"
    if config.executor == "torchrun":
        return Ranks(config.retries)
    if config.executor in ("processes", "ray"):
        name = "ray" if config.executor == "ray" else "processes"
    return executor(
        name,
        workers=config.workers,
        retries=config.retries,
        threads=config.threads or 1,
        address=config.address,
    )


def _stacks(context: Context, ready: Sequence[Node]) -> list[Job]:
    """One job a node; with vmap one for all members of a phase, those that are done included.

    A stack of another size rounds otherwise, so that a resumed one must be whole.
    """
    if context.config.executor != "vmap":
        return [(context, (node,)) for node in ready]
    jobs: list[Job] = []
    seen: set[str] = set()
    for node in ready:
        if node.key in seen:
            continue
        stack = (node,) if node.kind != "retrain" else _stack(context, node)
        seen |= {other.key for other in stack}
        jobs.append((context, stack))
    return jobs


def _stack(context: Context, node: Node) -> tuple[Node, ...]:
    family = node.label.rpartition("-")[0]
    return tuple(
        other
        for other in context.nodes.values()
        if other.kind == "retrain"
        and other.parents == node.parents
        and other.label.rpartition("-")[0] == family
        and other.settings["epochs"] == node.settings["epochs"]
    )


def _closure(context: Context, targets: Sequence[Node]) -> list[Node]:
    """The targets and their ancestors, parents first."""
    found: dict[str, Node] = {}

    def visit(node: Node) -> None:
        if node.key not in found:
            for parent in context.parents(node):
                visit(parent)
            found[node.key] = node

    for target in targets:
        visit(target)
    return list(found.values())
