"""Which nodes there are: the soup's phases, and the chains that it is compared with.

    start -> [dense] -> (prune -> m members -> merge) x k               the soup
                        (prune -> member j) x k         for each j      m independent IMP runs
                        (prune -> m times as long) x k                  IMP with m-fold length
    m IMP runs -> average (union of supports) -> prune                  IMP-AVG, IMP-RePrune
    start -> gradual pruning -> m members -> merge                      GMP- and DPF-soups

Equal steps are one node: the first member of phase 1 is also the first phase of IMP.
"""

from dataclasses import dataclass
from typing import Any

from extremal.lab import derive_seed
from extremal.pruning._budget import gradual_sparsities, phase_sparsities, split_epochs

from ._node import Context, Node


@dataclass(frozen=True)
class Round:
    """One phase of the soup."""

    prune: Node
    members: tuple[Node, ...]
    merge: Node


@dataclass(frozen=True)
class Plan:
    """Everything that is computed before members are measured together."""

    start: Node
    dense: Node  # the network that the first pruning takes: `start`, or after bimp's first part
    rounds: tuple[Round, ...]
    others: dict[str, Node]  # name of a comparison to its final network
    budgets: dict[str, int]  # name to member-epochs of retraining

    @property
    def soup(self) -> Node:
        """The final merge."""
        return self.rounds[-1].merge

    @property
    def targets(self) -> list[Node]:
        """What has to be computed."""
        return [self.start, self.soup, *self.others.values()]


def make_plan(context: Context, digest: str) -> Plan:
    """Lay out all nodes; nothing is computed."""
    config = context.config
    start = context.node("start", "start", start=digest)
    if config.method in ("imp", "bimp"):
        return _phased(context, start)
    return _gradual(context, start)


def _phased(context: Context, start: Node) -> Plan:
    config = context.config
    dense = start
    if config.method == "bimp":
        seed = derive_seed(config.seed, "dense")
        dense = context.node("dense", "dense", (start,), seed=seed, epochs=config.first_epochs)
    masks = context.start.masks
    present = 0.0 if masks is None else masks.sparsity
    targets = phase_sparsities(config.goal, config.phases, present)
    epochs_of = split_epochs(config.retrain_epochs, config.phases)
    m, count = config.members, config.phases

    def prune(name: str, phase: int, parent: Node) -> Node:
        return context.node(
            f"{name}-{phase}-prune", "prune", (parent,),
            target=targets[phase - 1], seed=derive_seed(config.seed, "selector"),
        )  # fmt: skip

    def member(name: str, phase: int, parent: Node, j: int, times: int = 1) -> Node:
        return context.node(
            f"{name}-{phase}-member-{j + 1}", "retrain", (parent,),
            last=phase == count,
            **_varied(context, phase, j, epochs_of[phase - 1], times),
        )  # fmt: skip

    rounds: list[Round] = []
    current = dense
    for phase in range(1, count + 1):
        pruned = prune("soup", phase, current)
        members = tuple(member("soup", phase, pruned, j) for j in range(m))
        current = _merged(context, f"soup-{phase}-merge", members)
        rounds.append(Round(pruned, members, current))
    each = [
        sum(_varied(context, i, j, e, 1)["epochs"] for i, e in enumerate(epochs_of, 1))
        for j in range(m)
    ]
    others: dict[str, Node] = {}
    budgets = {"soup": sum(each)}
    if config.compare and m > 1:
        ends: list[Node] = []
        for j in range(m):
            chain = dense
            for phase in range(1, count + 1):
                chain = member(f"imp{j + 1}", phase, prune(f"imp{j + 1}", phase, chain), j)
            ends.append(chain)
        chain = dense
        for phase in range(1, count + 1):
            chain = member("long", phase, prune("long", phase, chain), 0, m)
        average = context.node("imp-avg", "merge", tuple(ends), how="union")
        again = context.node(
            "imp-reprune", "prune", (average,),
            target=config.goal, seed=derive_seed(config.seed, "selector"), final=True,
        )  # fmt: skip
        others = {"IMP": ends[0], f"IMP {m}x": chain, "IMP-AVG": average, "IMP-RePrune": again}
        whole = sum(each)
        budgets |= {"IMP": each[0], f"IMP {m}x": m * each[0]}
        budgets |= {"IMP-AVG": whole, "IMP-RePrune": whole}
    return Plan(start, dense, tuple(rounds), others, budgets)


def _gradual(context: Context, start: Node) -> Plan:
    config = context.config
    m, whole = config.members, config.epochs

    def masked(name: str, epochs: int) -> tuple[Node, int]:
        until = max(gradual_sparsities(config.goal, epochs, config.interval))
        node = context.node(
            name, "gradual", (start,), whole_epochs=epochs, until_epoch=until,
            target=config.goal, seed=derive_seed(config.seed, "gradual"),
        )  # fmt: skip
        return node, until

    def member(name: str, parent: Node, j: int, epochs: int, until: int) -> Node:
        return context.node(
            f"{name}-member-{j + 1}", "retrain", (parent,), last=True,
            from_epoch=until, whole_epochs=epochs, **_varied(context, 1, j, epochs - until, 1),
        )  # fmt: skip

    moving, until = masked("soup-1-masks", whole)
    members = tuple(member("soup-1", moving, j, whole, until) for j in range(m))
    rounds = (Round(moving, members, _merged(context, "soup-1-merge", members)),)
    each = [_varied(context, 1, j, whole - until, 1)["epochs"] for j in range(m)]
    others: dict[str, Node] = {}
    budgets = {"soup": until + sum(each)}
    if config.compare and m > 1:
        name = config.method.upper()
        total = until + sum(each)
        longer, last = masked("long-1-masks", total)
        others = {name: members[0], f"{name} as long": member("long-1", longer, 0, total, last)}
        budgets |= {name: whole, f"{name} as long": total}
    return Plan(start, start, rounds, others, budgets)


def _merged(context: Context, label: str, members: tuple[Node, ...]) -> Node:
    config = context.config
    shares = config.shares
    least = config.quorum if config.needed < config.members else None
    return context.node(
        label, "merge", members, least=least, how=config.merge, tie=config.tie,
        shares=None if shares is None else [str(share) for share in shares], quorum=least,
    )  # fmt: skip


def _varied(context: Context, phase: int, j: int, epochs: int, times: int) -> dict[str, Any]:
    """The settings of the j-th member, counted from 0: one factor differs, nothing else."""
    config = context.config
    factor = config.factors[j]
    which = j if config.vary == "seed" else 0
    length = factor if config.vary == "length" else 1.0
    return {
        "epochs": max(1, round(epochs * length)) * times,
        "seed": derive_seed(config.seed, "member", phase, which + 1),
        "wd_factor": factor if config.vary == "weight-decay" else 1.0,
        "lr_factor": factor if config.vary == "lr" else 1.0,
    }
