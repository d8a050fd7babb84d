"""The verb `soup`: one network, m retrainings of it in each phase, one sparse network out."""

import copy
import dataclasses
import hashlib
import math
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from extremal import training
from extremal.lab import Executor, Run, RunError, append_record, command, resolve
from extremal.pruning._budget import Budget, Cost
from extremal.pruning._certificate import write_files
from extremal.pruning._metrics import parameter_sparsity, theoretical_speedup
from extremal.pruning._phases import Given, check_rates, flops_of, named_measures
from extremal.pruning._prune import weights_digest
from extremal.pruning._result import Phase, Pruned
from extremal.pruning._runs import answers, evaluation, masks_of, write_result
from extremal.pruning._start import Start, find_start, told
from extremal.training import Data, Evaluation

from ._certificate import write_soup_certificate
from ._config import SoupConfig
from ._graph import Progress, run_graph, run_node, runner_of
from ._node import KIND, Context, Node, shared_by_all
from ._plan import Plan, make_plan
from ._ranks import Ranks
from ._report import write_soup_report
from ._result import Candidate, Ran, Row, Soup, extras, worst
from ._work import loaded

_JOINING = 10.0  # seconds that jobs of an array wait for the one that makes their folder


@command(options=SoupConfig, inputs=("model_or_run?",))
def soup(
    model_or_run: Any = None,
    data: Any = None,
    *,
    config: SoupConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    loss: Callable[..., Tensor] | None = None,
    training_step: Callable[..., Tensor] | None = None,
    **options: Any,
) -> Soup | Ran:
    """Prune a network, retrain it several times from there, and average: a sparse model soup.

    Args:
        model_or_run: As for `prune`: a run folder, a `training.Fit`, or any module.
        data: As for `prune`.
        config: All options at once; or give any field of `SoupConfig` as a keyword.
        out: Folder for the run. Without one, the work is done in a temporary folder.
        resume: Go on with the run in `out`; whatever is finished and whole is not done again.
        force: Replace the run in `out`.
        loss: Of (outputs, labels); by default cross-entropy.
        training_step: Of (model, batch), returns the loss.
        **options: Fields of `SoupConfig`.

    Returns:
        The soup with its candidates, comparisons, geometry and certificate. With the option
        `node`: what that one node is.

    Raises:
        ValueError: An option or input makes no sense.
        PruningError: Members failed, or cannot be merged.
        TrainingError: Data or weights cannot be read, or a training diverged.
        RunError: `out` holds another run.

    Example:
        >>> from extremal import training
        >>> dense = training.fit(model="mlp", epochs=2)
        >>> result = soup(dense, sparsity=0.9, epochs=1, members=2)
        >>> result.masks.pruned, len(result.candidates)
        (45389, 2)
    """
    if isinstance(data, str):
        options["data"], data = data, None
    settings = resolve(SoupConfig, config, options)
    start = find_start(model_or_run, data, settings)
    check_rates(start, settings)
    _check(start, settings)
    if settings.node is not None and out is None:
        raise ValueError("node= runs one node of a run folder; give the folder with out=.")
    digest = weights_digest(start.model)
    plain = {**settings.identity(), "start_sha256": digest, "data_sha256": start.data_key}
    given = Given(loss, training_step)
    with ExitStack() as stack:
        if settings.node is not None:
            return _one_node(start, settings, given, digest, plain, Path(out or ""))
        runner = runner_of(settings)
        if isinstance(runner, Ranks) and not runner.leads:
            stack.enter_context(runner)
            return _other_rank(runner, start, settings, given, digest, kept=out is not None)
        # The folder outlives the runner: other ranks may still read from it.
        folder = out or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "soup"
        stack.enter_context(runner)
        run = stack.enter_context(
            Run.create(folder, kind=KIND, config=plain, resume=resume, force=force)
        )
        return _soup(run, start, settings, given, digest, runner, kept=out is not None)


def _soup(
    run: Run,
    start: Start,
    config: SoupConfig,
    given: Given,
    digest: str,
    runner: Executor,
    kept: bool,
) -> Soup:
    if isinstance(runner, Ranks):
        runner.begin(run.path)
    context = _context(run.path, start, config, given)
    plan = make_plan(context, digest)
    progress = Progress()
    hours = _announce(context, plan)
    run_graph(context, plan.targets, progress, runner)
    measured = _measures(context, plan)
    run_graph(context, list(measured.values()), progress, runner)
    result = _collected(context, plan, measured, progress, hours)
    if kept:
        result = _written(run, context, plan, measured, result)
    if isinstance(runner, Ranks):
        runner.end(hours=hours, **vars(progress))
    return result


def _other_rank(
    runner: Ranks, start: Start, config: SoupConfig, given: Given, digest: str, kept: bool
) -> Soup:
    """What a rank does that does not lead: its members, then the same result from the files."""
    folder = runner.folder()
    context = _context(folder, start, config, given)
    plan = make_plan(context, digest)
    said = runner.serve(context, run_node)
    hours = said.pop("hours")
    result = _collected(context, plan, _measures(context, plan), Progress(**said), hours)
    if not kept:
        return result
    pruned = replace(result.pruned, path=folder, certificate=folder / "certificate.json")
    return replace(result, path=folder, certificate=pruned.certificate, pruned=pruned)


def _context(folder: Path, start: Start, config: SoupConfig, given: Given) -> Context:
    return Context(folder, start, config, given, shared_by_all(start, config), {})


def _check(start: Start, config: SoupConfig) -> None:
    """Refuse before anything is trained what can be seen now."""
    data = start.train
    if config.merge == "greedy":
        if not isinstance(data, Data) or data.validation is None:
            raise ValueError(
                "merge='greedy' chooses members by their accuracy on validation data, and there "
                "are none. Set some aside with validation=0.1, or merge uniformly."
            )
        if _inside(data.validation.images, data.test.images):
            raise ValueError(
                "merge='greedy': every validation image is a test image too, so the choice would "
                "be made on the test data. Set training images aside with validation=0.1."
            )
    if config.corrupted and not isinstance(data, Data):
        raise ValueError("corrupt needs a training.Data, whose images it changes; give corrupt=0.")
    if (config.compare or config.lines) and start.test is None:
        raise ValueError("A comparison measures accuracy and needs test data; give a pair.")


def _inside(images: Tensor, others: Tensor) -> bool:
    """Whether every image is among the others, whatever the order."""

    def hashes(tensor: Tensor) -> set[bytes]:
        rows = tensor.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy()
        return {hashlib.sha256(row.data).digest() for row in rows}

    return hashes(images) <= hashes(others)


def _one_node(
    start: Start,
    config: SoupConfig,
    given: Given,
    digest: str,
    plain: dict[str, Any],
    folder: Path,
) -> Ran:
    """Run exactly one node: for job arrays, where many such calls share a folder."""
    context = _context(folder, start, config, given)
    plan = make_plan(context, digest)
    _measures(context, plan)
    wanted = config.node or ""
    found = [n for n in context.nodes.values() if n.label == wanted or n.key.startswith(wanted)]
    if len(found) != 1 or len(wanted) < 4:
        labels = ", ".join(f"{n.label} ({n.key[:12]})" for n in context.nodes.values())
        raise ValueError(f"node={wanted!r} names {len(found)} nodes; there are {labels}.")
    (node,) = found
    _join_array(folder, plain)
    present = [p for p in context.parents(node) if context.done(p)]
    if len(present) < (node.least or len(node.parents)):
        lost = [p.label for p in context.parents(node) if p not in present]
        raise RunError(
            f"Node {node.label} needs {', '.join(lost)}, not finished or changed since; run "
            "these nodes first."
        )
    done = context.done(node)
    if not done:
        run_node((replace(context, begun=time.time()), (node,)))
    return Ran(node.label, node.key, node.kind, context.facts(node)["sha256"], not done)


def _join_array(folder: Path, plain: dict[str, Any]) -> None:
    """Make the run folder, or find that another job of the array has made the same one."""
    until = time.monotonic() + _JOINING
    while not (folder / "config.json").exists():
        try:
            with Run.create(folder, kind=KIND, config=plain):
                return
        except RunError:  # another job is at it, or was a moment before
            if time.monotonic() > until:
                raise
            time.sleep(0.05)
    if Run.open(folder, KIND).config != plain:
        raise RunError(
            f"{folder} was started with another configuration; repeat its options, or choose "
            "another --out."
        )


def _announce(context: Context, plan: Plan) -> float | None:
    """Say on stderr what the run will take: member-epochs, and hours from a few timed steps."""
    nodes = list(context.nodes.values())
    train = [n for n in nodes if n.kind in ("dense", "retrain", "gradual") and not context.done(n)]
    if not train:
        return None
    epochs = sum(int(n.settings.get("until_epoch", n.settings.get("epochs", 0))) for n in train)
    seconds = _seconds_per_step(context)
    text = f"{epochs} member-epochs in {len(train)} trainings"
    hours = None
    if seconds is not None:
        steps = training.steps_per_epoch(context.start.train, context.start.loop.batch_size)
        hours = epochs * steps * seconds / 3600
        text += f", about {hours:.3g} member-hours at {seconds:.3g} s a step"
    sys.stderr.write(f"soup: {text}\n")
    sys.stderr.flush()
    return hours


def _seconds_per_step(context: Context) -> float | None:
    """Time the last of a few steps of a copy; None where the batches are the caller's."""
    start = context.start
    if not isinstance(start.train, Data):
        return None
    steps = 40 if start.loop.graph else 3  # the first steps of recorded ones are slow
    size = min(len(start.train.train), steps * start.loop.batch_size)
    few = start.train.subset(size)
    model = copy.deepcopy(start.model)
    count = training.steps_per_epoch(few, start.loop.batch_size)
    before = torch.get_num_threads()
    torch.set_num_threads(context.config.threads or 1)
    times: list[float] = []
    try:
        for _ in range(2):  # the first warms up
            history = training.train(
                model, few, epochs=1, lr=[0.0] * count, loop=start.loop,
                loss=context.given.loss, training_step=context.given.training_step, alone=True,
            )  # fmt: skip
            times.append(history.seconds / count)
    finally:
        torch.set_num_threads(before)
    return min(times)


def _measures(context: Context, plan: Plan) -> dict[str, Node]:
    """Nodes that look at several finished networks; they know which members were merged."""
    config = context.config
    last = plan.rounds[-1]
    members = list(last.members)
    if context.done(last.merge):
        members = context.used(last.merge)
    found: dict[str, Node] = {}
    whole = config.compare or config.corrupted or config.lines
    if not whole:
        return found
    found["geometry"] = context.node("geometry", "geometry", (last.prune, *members))
    if len(members) > 1 and context.start.test is not None and config.compare:
        found["ensemble"] = context.node("ensemble", "ensemble", tuple(members))
    pairs = [(a, b) for i, a in enumerate(members) for b in members[i + 1 :]]
    for number, pair in enumerate(pairs[: config.lines], start=1):
        found[f"basin {number}"] = context.node(f"basin-{number}", "basin", pair)
    if config.corrupted:
        singles = {"dense": plan.dense, "soup": plan.soup, **plan.others}
        singles |= {f"candidate {i}": node for i, node in enumerate(members, start=1)}
        for name, node in singles.items():
            label = f"corrupted-{name.lower().replace(' ', '-')}"
            found[f"corrupted {name}"] = _corrupted(context, label, (node,))
        if "ensemble" in found:
            label = "corrupted-ensemble"
            found["corrupted ensemble"] = _corrupted(context, label, tuple(members))
    return found


def _corrupted(context: Context, label: str, nodes: tuple[Node, ...]) -> Node:
    config = context.config
    return context.node(
        label, "corrupted", nodes, images=config.corrupted, folder=config.corrupt_path,
        seed=config.seed,
    )  # fmt: skip


def _collected(
    context: Context,
    plan: Plan,
    measured: dict[str, Node],
    progress: Progress,
    hours: float | None,
) -> Soup:
    config, start = context.config, context.start
    model, masks = loaded(context, plan.soup)
    assert masks is not None
    facts = context.facts(plan.soup)
    tensors = context.tensors(plan.soup)
    final = evaluation(tensors, facts["evaluation"], "evaluation.")
    dense_facts = context.facts(plan.dense)
    dense = evaluation(context.tensors(plan.dense), dense_facts["evaluation"], "evaluation.")
    phases, retrain, rates = _phases(context, plan, model)
    dense_cost = start.cost
    if config.method == "bimp":
        history = dense_facts["history"]
        dense_cost = Cost(history["epochs"], history["steps"], history["seconds"], 0.0, 0.0)
    flops = flops_of(start, model, {}, dense_cost.epochs)[0]
    dense_cost = dataclasses.replace(dense_cost, flops_dense=flops, flops_masked=flops)
    pruned = Pruned(
        model=model,
        masks=masks,
        config=config.as_prune(),
        phases=phases,
        sparsity=masks.sparsity,
        parameter_sparsity=parameter_sparsity(model),
        budget=Budget(dense_cost, retrain, config.members),
        speedup=theoretical_speedup(model, start.macs, masks) if start.macs else None,
        evaluation=final,
        dense_evaluation=dense,
        learning_rates=rates,
        note=start.note,
    )
    shares = facts["shares"]
    candidates = tuple(
        Candidate(
            name=f"candidate {i}",
            weight=share,
            accuracy=_top1(context.facts(node)),
            validation=context.facts(node)["validation"],
            epochs=context.facts(node)["epochs"],
            sha256=context.facts(node)["sha256"],
            file=f"checkpoints/{node.file}.safetensors",
        )
        for i, (node, share) in enumerate(zip(context.used(plan.soup), shares, strict=True), 1)
    )
    trained = [n for n in context.nodes.values() if n.kind in ("retrain", "gradual")]
    seconds = math.fsum(context.facts(n)["seconds"] for n in trained if context.done(n))
    return Soup(
        pruned=pruned,
        config=config,
        candidates=candidates,
        missing=tuple(x for r in plan.rounds for x in context.facts(r.merge)["missing"]),
        rows=_rows(context, plan, measured),
        geometry=_of(context, measured, "geometry"),
        basins=tuple(
            context.facts(node)["basin"] | {"pair": [p.label for p in context.parents(node)]}
            for name, node in measured.items()
            if name.startswith("basin")
        ),
        corrupted={
            name.removeprefix("corrupted "): context.facts(node)["corrupted"]
            for name, node in measured.items()
            if name.startswith("corrupted")
        },
        greedy=facts.get("greedy"),
        seconds=seconds,
        estimated_hours=hours,
        computed=tuple(progress.computed),
        reused=tuple(progress.reused),
        failed=dict(progress.failed),
    )


def _phases(
    context: Context, plan: Plan, model: torch.nn.Module
) -> tuple[tuple[Phase, ...], Cost, tuple[float, ...]]:
    """The phases, what one member cost on average, and the first member's learning rates."""
    phases: list[Phase] = []
    rates: list[float] = []
    total = Cost(0, 0, 0.0, 0.0, 0.0)
    for number, turn in enumerate(plan.rounds, start=1):
        before, after = context.facts(turn.prune), context.facts(turn.merge)
        members = [context.facts(node) for node in context.used(turn.merge)]
        count = len(members)
        epochs = sum(f["epochs"] for f in members) // count
        iterations = sum(f["iterations"] for f in members) // count
        seconds = math.fsum(f["seconds"] for f in members) / count
        masks = masks_of(context.tensors(turn.merge), model)
        if context.config.method in ("gmp", "dpf"):
            epochs, iterations = epochs + before["epochs"], iterations + before["iterations"]
            seconds += before["seconds"]
            rates += before["lr"]
        rates += members[0]["lr"]
        flops = flops_of(context.start, model, masks, epochs)
        total += Cost(epochs, iterations, seconds, *flops)
        phases.append(
            Phase(
                number=number,
                target=turn.prune.settings["target"],
                pruned=masks.pruned,
                sparsity=masks.sparsity,
                rho=before["rho"],
                d1=before["d1"],
                norm=before["pruned"]["norm"],
                factor=members[0]["factor"],
                epochs=epochs,
                iterations=iterations,
                seconds=seconds,
                top_lr=max(members[0]["lr"]),
                **named_measures("_pruned", before["pruned"]["evaluation"]),
                **named_measures("", after["evaluation"]),
            )
        )
    return tuple(phases), total, tuple(rates)


def _rows(context: Context, plan: Plan, measured: dict[str, Node]) -> tuple[Row, ...]:
    config = context.config
    last = plan.rounds[-1]
    members = context.used(last.merge)
    dense = context.facts(plan.dense)
    soup_sparsity = context.facts(plan.soup)["sparsity"]
    soup_budget = plan.budgets["soup"]
    rows = [
        _row(context, measured, "dense", dense, dense, 0.0, 0),
        _row(
            context, measured, "soup", context.facts(plan.soup), dense, soup_sparsity, soup_budget
        ),
    ]
    if len(members) > 1:
        facts = [context.facts(node) for node in members]
        each = [
            _row(context, measured, f"candidate {i}", f, dense, soup_sparsity, soup_budget)
            for i, f in enumerate(facts, start=1)
        ]
        rows.append(_mean_of(each))
        known = [row for row in each if row.accuracy is not None]
        if known:
            best = max(known, key=lambda row: row.accuracy or 0.0)
            rows.append(replace(best, method="best candidate"))
    for name, node in plan.others.items():
        facts_of = context.facts(node)
        rows.append(
            _row(context, measured, name, facts_of, dense, facts_of["sparsity"], plan.budgets[name])
        )
    if "ensemble" in measured:
        found = context.facts(measured["ensemble"])
        row = _row(context, measured, "ensemble", found, dense, soup_sparsity, soup_budget)
        rows.append(replace(row, inference=config.members))
    return tuple(rows)


def _row(
    context: Context,
    measured: dict[str, Node],
    name: str,
    facts: dict[str, Any],
    dense: dict[str, Any],
    sparsity: float,
    epochs: int,
) -> Row:
    found = facts["evaluation"]
    corrupted = _of(context, measured, f"corrupted {name}", "corrupted")
    if found is None:
        return Row(name, sparsity, None, None, None, None, None, None, epochs, 1)
    before = dense["evaluation"]["per_class"]
    changes = [b - a for a, b in zip(before, found["per_class"], strict=True) if None not in (a, b)]
    return Row(
        method=name,
        sparsity=sparsity,
        accuracy=found["top1"],
        ece=found["ece"],
        mce=found["mce"],
        worst_class=worst(found["per_class"]),
        worst_change=min(changes) if changes else None,
        corrupted=None if corrupted is None else corrupted["mean"],
        epochs=epochs,
        inference=1,
    )


def _mean_of(rows: Sequence[Row]) -> Row:
    def mean(name: str) -> float | None:
        values = [getattr(row, name) for row in rows]
        return None if None in values else math.fsum(values) / len(values)

    names = ("accuracy", "ece", "mce", "worst_class", "worst_change", "corrupted")
    return replace(rows[0], method="mean candidate", **{name: mean(name) for name in names})


def _of(
    context: Context, measured: dict[str, Node], name: str, field: str | None = None
) -> dict[str, Any] | None:
    node = measured.get(name)
    return None if node is None else context.facts(node)[field or name]


def _top1(facts: dict[str, Any]) -> float | None:
    return None if facts["evaluation"] is None else facts["evaluation"]["top1"]


def _written(
    run: Run, context: Context, plan: Plan, measured: dict[str, Node], result: Soup
) -> Soup:
    """Write the run's files; `result.json` comes last and says that all is whole."""
    start, folder = context.start, run.path
    pruned = result.pruned
    parent, _ = loaded(context, plan.dense)
    training.save_tensors(folder / "parent.safetensors", parent.state_dict())
    run.write_json("start.json", told(start))
    write_files(folder, pruned)
    found = answers(pruned.evaluation, "pruned.") | answers(pruned.dense_evaluation, "dense.")
    training.save_tensors(folder / "evaluation.safetensors", found)
    certificate = write_soup_certificate(
        folder, result, _evaluations(context, plan, measured), start.data_name
    )
    result = replace(
        result,
        path=folder,
        certificate=certificate,
        pruned=replace(pruned, path=folder, certificate=certificate),
    )
    write_soup_report(folder, result, start.data_name)
    if not run.records():
        append_record(
            folder / "records.jsonl",
            question=f"What does a soup of {context.config.members} gain at equal budget?",
            configuration=run.config,
            seed=context.config.seed,
            samples={row.method: row.accuracy for row in result.rows},
            wall_seconds=result.seconds,
            notes=start.note,
        )
    run.write_json("soup.json", extras(result))
    write_result(run, result.pruned)
    return result


def _evaluations(context: Context, plan: Plan, measured: dict[str, Node]) -> dict[str, Evaluation]:
    """Every accuracy that is claimed, with each example's answer."""
    members = context.used(plan.soup)
    nodes = {f"candidate {i}": node for i, node in enumerate(members, start=1)}
    nodes |= plan.others
    if "ensemble" in measured:
        nodes["ensemble"] = measured["ensemble"]
    found: dict[str, Evaluation] = {}
    for name, node in nodes.items():
        plain = context.facts(node)["evaluation"]
        if plain is not None:
            whole = evaluation(context.tensors(node), plain, "evaluation.")
            assert whole is not None
            found[name] = whole
    return found
