"""What each kind of node computes.

All of it runs with one number of threads (1 by default), so that every executor gives the same
bytes.
"""

import copy
import dataclasses
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import torch
from torch import Tensor, nn

from extremal import training
from extremal.lab import RunError, derive_seed, to_plain
from extremal.pruning._masks import Masks
from extremal.pruning._metrics import norm_drop, weight_norm
from extremal.pruning._phases import (
    choose,
    factor_of,
    make_method,
    rates_of,
    recalibrated,
    steps_of,
    write_pruned,
)
from extremal.pruning._prunable import prunable_weights
from extremal.pruning._retrain import KeepMasks
from extremal.pruning._runs import Store, answers, masks_of, measures, pack, unpack
from extremal.pruning._schedules import DenseRates, learning_rates
from extremal.pruning._start import first_lr
from extremal.training import Data, Evaluation, Hooks

from ._geometry import basin, geometry
from ._merge import Average, InFile, check_same_masks, greedy
from ._node import Context, Node
from ._robust import corrupted_accuracies


@contextmanager
def threads_of(context: Context) -> Generator[None]:
    """One number of threads for everything; then the former one."""
    before = torch.get_num_threads()
    torch.set_num_threads(context.config.threads or 1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def loaded(context: Context, node: Node) -> tuple[nn.Module, Masks | None]:
    """A fresh copy of the network with a node's weights, and its masks."""
    tensors = context.tensors(node)
    model = copy.deepcopy(context.start.model)
    model.load_state_dict(unpack(tensors, "model."))
    masks = masks_of(tensors, model)
    return model, masks if len(masks) else None


def finished(
    context: Context, model: nn.Module, masks: Mapping[str, Tensor], **facts: Any
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Recalibrate, measure on test and validation data, and pack."""
    if context.config.recalibrate:
        recalibrated(context.start, model, context.config.recalibrate)
    found = context.start.evaluate(model)
    checked = validated(context, model)
    plain = {
        **facts,
        "evaluation": measures(found),
        "validation": None if checked is None else checked.top1,
    }
    return plain, pack(model, masks, found)


def validated(context: Context, model: nn.Module) -> Evaluation | None:
    """Measure on the validation split, where there is one."""
    data = context.start.train
    if not isinstance(data, Data) or data.validation is None:
        return None
    return training.evaluate(model, data.validation, data=data)


def member_rates(context: Context, node: Node) -> tuple[list[float], float]:
    """Learning rates of a retraining, and the factor of the adaptive schedules."""
    s, config, start = node.settings, context.config, context.start
    per_epoch = steps_of(start, start.loop.batch_size)
    if "from_epoch" in s:  # what is left of a training that pruned meanwhile
        rates = whole_rates(context, s["whole_epochs"])[s["from_epoch"] * per_epoch :]
        if len(rates) != s["epochs"] * per_epoch:  # another length: the same shape over it
            rates = [rates[i * len(rates) // (s["epochs"] * per_epoch)]
                     for i in range(s["epochs"] * per_epoch)]  # fmt: skip
        return [s["lr_factor"] * x for x in rates], 1.0
    (parent,) = context.parents(node)
    facts = context.facts(parent)
    rates, dense_epochs = dense_rates(context), start.dense_epochs
    if config.method == "bimp":
        dense_epochs = config.first_epochs
    factor = factor_of(config, facts["d1"], s["epochs"], dense_epochs, facts["pruned"])
    lr = rates_of(config, rates, s["epochs"] * per_epoch, factor, s["last"])
    return [s["lr_factor"] * x for x in lr], factor


def dense_rates(context: Context) -> DenseRates | None:
    """What the dense training tells; bimp's is known before it runs."""
    if context.config.method != "bimp":
        return context.start.rates
    return DenseRates.from_list(bimp_rates(context))


def bimp_rates(context: Context) -> list[float]:
    """Linear decay to 0."""
    steps = context.config.first_epochs * steps_of(context.start, context.start.loop.batch_size)
    return training.schedule("linear", steps, first_lr(context.start, context.config))


def whole_rates(context: Context, epochs: int) -> list[float]:
    """Of a training that prunes meanwhile."""
    config, start = context.config, context.start
    return learning_rates(
        config.rates,
        epochs * steps_of(start, start.loop.batch_size),
        lr=first_lr(start, config),
        warmup=0.0 if config.warmup is None else config.warmup,
        dense=start.rates,
    )


def member_loop(context: Context, node: Node) -> training.LoopConfig:
    """How a member makes its steps."""
    loop = context.start.loop
    return dataclasses.replace(
        loop,
        seed=node.settings["seed"],
        weight_decay=loop.weight_decay * node.settings["wd_factor"],
    )


def train_here(
    context: Context,
    node: Node,
    model: nn.Module,
    epochs: int,
    lr: Sequence[float],
    loop: training.LoopConfig,
    hooks: Sequence[Hooks],
    data: Any = None,
) -> training.History:
    """Train with a checkpoint that belongs to this node; a damaged one is begun anew."""
    file = context.folder / "checkpoints" / f"{node.file}-training.safetensors"
    if file.exists():
        try:
            training.load_tensors(file)
        except training.TrainingError:
            file.unlink()  # the node is a pure function: from its start it gives the same
    return training.train(
        model,
        context.start.train if data is None else data,
        epochs=epochs,
        lr=lr,
        loop=loop,
        hooks=hooks,
        loss=context.given.loss,
        training_step=context.given.training_step,
        checkpoint=file,
        label=node.label,
        alone=True,
    )


def drop_checkpoint(context: Context, node: Node) -> None:
    """Remove the training's checkpoint of a finished node."""
    (context.folder / "checkpoints" / f"{node.file}-training.safetensors").unlink(missing_ok=True)


def _start(context: Context, node: Node) -> None:
    """The network as it was given."""
    model = copy.deepcopy(context.start.model)
    found = context.start.evaluate(model)
    masks = context.start.masks or {}
    context.keep(node, {"evaluation": measures(found)}, pack(model, masks, found))


def _dense(context: Context, node: Node) -> None:
    """The first part of bimp."""
    model, _ = loaded(context, context.parents(node)[0])
    loop = dataclasses.replace(context.start.loop, seed=node.settings["seed"])
    epochs = context.config.first_epochs
    history = train_here(context, node, model, epochs, bimp_rates(context), loop, [])
    found = context.start.evaluate(model)
    facts = {"evaluation": measures(found), "history": to_plain(history)}
    context.keep(node, facts, pack(model, {}, found))
    drop_checkpoint(context, node)


def _prune(context: Context, node: Node) -> None:
    """Choose masks and write the zeros; with `recalibrate`, the result is final."""
    config, (parent,) = context.config, context.parents(node)
    model, before = loaded(context, parent)
    weights = prunable_weights(model, config.include, config.exclude)
    on_collapse: Any = config.on_layer_collapse
    masks = choose(weights, node.settings["target"], before, config, on_collapse)
    drop = norm_drop(model, before, masks, config.norm_scope)
    pruned = write_pruned(context.start, Store(None), "", model, masks, config)
    facts: dict[str, Any] = {
        "rho": drop.rho,
        "d1": drop.d1,
        "pruned": pruned,
        "removed": masks.pruned,
        "sparsity": masks.sparsity,
    }
    if node.settings.get("final"):
        more, tensors = finished(context, model, masks, **facts)
        context.keep(node, more, tensors)
    else:
        context.keep(node, facts | {"evaluation": pruned["evaluation"]}, pack(model, masks, None))


class _Late(Hooks):
    """Gives up when the quorum does without this member."""

    values_only = True

    def __init__(self, context: Context, node: Node) -> None:
        self._context, self._node = context, node
        self._until = context.begun + context.config.patience

    def after_step(self, step: int) -> None:
        """Look for the others now and then."""
        if step % 20 or time.time() < self._until:
            return
        family = self._node.label.rpartition("-")[0]
        siblings = [
            node
            for node in self._context.nodes.values()
            if node.label.rpartition("-")[0] == family and node.key != self._node.key
        ]
        there = sum(self._context.done(node) for node in siblings)
        if there >= self._context.config.needed:
            raise RunError(
                f"{self._node.label} gave up after {self._context.config.patience:g} s: "
                f"{there} other members are a quorum."
            )


def _retrain(context: Context, node: Node) -> None:
    """Train one member inside its masks."""
    model, masks = loaded(context, context.parents(node)[0])
    assert masks is not None
    lr, factor = member_rates(context, node)
    hooks: list[Hooks] = [KeepMasks(masks)]
    if context.config.patience and context.config.needed < context.config.members:
        hooks.append(_Late(context, node))
    history = train_here(
        context, node, model, node.settings["epochs"], lr, member_loop(context, node), hooks
    )
    keep_member(context, node, model, masks, history, lr, factor)


def keep_member(
    context: Context,
    node: Node,
    model: nn.Module,
    masks: Masks,
    history: training.History,
    lr: Sequence[float],
    factor: float,
) -> None:
    """Write a trained member."""
    masks.write_zeros(model)
    facts, tensors = finished(
        context,
        model,
        masks,
        seconds=history.seconds,
        iterations=history.steps,
        epochs=history.epochs,
        factor=factor,
        lr=list(lr),
        loss=list(history.loss),
        sparsity=masks.sparsity,
        removed=masks.pruned,
    )
    context.keep(node, facts, tensors)
    drop_checkpoint(context, node)


def _gradual(context: Context, node: Node) -> None:
    """GMP or DPF up to the last update of the masks."""
    config, start = context.config, context.start
    model, _ = loaded(context, context.parents(node)[0])
    names = list(prunable_weights(model, config.include, config.exclude))
    whole, until = node.settings["whole_epochs"], node.settings["until_epoch"]
    per_epoch = steps_of(start, start.loop.batch_size)
    changed = dataclasses.replace(config, epochs=whole)
    method = make_method(changed, names, whole * per_epoch)
    loop = dataclasses.replace(start.loop, seed=node.settings["seed"])
    lr = whole_rates(context, whole)[: until * per_epoch]
    history = train_here(context, node, model, until, lr, loop, [method])
    masks = method.finish()
    found = start.evaluate(model)
    facts = {
        "evaluation": measures(found),
        "pruned": {"evaluation": measures(found), "norm": weight_norm(model)},
        "rho": 0.0,
        "d1": 0.0,
        "removed": masks.pruned,
        "sparsity": masks.sparsity,
        "seconds": history.seconds,
        "iterations": history.steps,
        "epochs": until,
        "lr": lr,
    }
    context.keep(node, facts, pack(model, masks, found))
    drop_checkpoint(context, node)


def _merge(context: Context, node: Node) -> None:
    """Average the members, reimpose their mask, measure the statistics anew."""
    present = [p for p in context.parents(node) if node.least is None or context.done(p)]
    if node.least is not None and len(present) < node.least:
        raise RunError(f"{node.label}: {len(present)} members are there, {node.least} are needed.")
    files = [InFile(context.path(p), "model.", context.facts(p)["sha256"]) for p in present]
    all_masks = [unpack(context.tensors(p), "mask.") for p in present]
    how = node.settings["how"]
    if how == "union":
        kept = {n: torch.stack([m[n] for m in all_masks]).any(0) for n in all_masks[0]}
        masks = Masks(kept)
    else:
        for parent, other in zip(present, all_masks, strict=True):
            check_same_masks(all_masks[0], other, parent.label)
        masks = Masks(all_masks[0])
    model = copy.deepcopy(context.start.model)
    masks = masks_of({f"mask.{n}": mask for n, mask in masks.items()}, model)
    equal = Fraction(1, len(present))
    shares = [equal] * len(present)
    facts: dict[str, Any] = {}
    if how == "weights":
        shares = [Fraction(text) for text in node.settings["shares"]]
    elif how == "greedy":
        found = [context.facts(p)["validation"] for p in present]

        def accuracy_of(chosen: tuple[int, ...]) -> float:
            fill(context, model, [files[i] for i in chosen], None, masks)
            checked = validated(context, model)
            assert checked is not None
            return checked.top1

        kept_members, best = greedy(found, accuracy_of, context.config.tie)
        shares = [
            Fraction(1, len(kept_members)) if i in kept_members else Fraction(0)
            for i in range(len(present))
        ]
        facts = {"greedy": {"accuracies": found, "kept": list(kept_members), "best": best}}
    Average(files, shares).write_into(model, masks)
    facts |= {
        "shares": [str(share) for share in shares],
        "members": [p.label for p in present],
        "missing": [p.label for p in context.parents(node) if p not in present],
        "sparsity": Masks.of_zeros(
            prunable_weights(model, context.config.include, context.config.exclude)
        ).sparsity,
    }
    more, tensors = finished(context, model, masks, **facts)
    context.keep(node, more, tensors, present)


def fill(
    context: Context,
    model: nn.Module,
    members: Sequence[InFile],
    shares: Sequence[Fraction] | None,
    masks: Mapping[str, Tensor],
) -> None:
    """The average of members in a network, recalibrated."""
    equal = [Fraction(1, len(members))] * len(members)
    Average(members, equal if shares is None else shares).write_into(model, masks)
    if context.config.recalibrate:
        recalibrated(context.start, model, context.config.recalibrate)


def _ensemble(context: Context, node: Node) -> None:
    """Mean probabilities of all members: their number times the cost of one inference."""
    start = context.start
    assert start.test is not None
    total: Tensor | None = None
    labels = torch.empty(0, dtype=torch.int64)
    for parent in context.parents(node):
        model, _ = loaded(context, parent)
        logits, labels = training.scores(model, start.test)
        share = logits.double().softmax(1)
        total = share if total is None else total + share
    assert total is not None
    # measured() takes scores; the logarithm of probabilities gives the probabilities back.
    mean = (total / len(node.parents)).clamp_min(1e-300).log()
    found = training.measured(mean, labels)
    context.keep(node, {"evaluation": measures(found)}, answers(found, "evaluation."))


def _corrupted(context: Context, node: Node) -> None:
    """Accuracy on corrupted test images; of several parents together, as an ensemble."""
    models = [loaded(context, parent)[0] for parent in context.parents(node)]
    facts = corrupted_accuracies(
        models,
        context.start.train,
        node.settings["images"],
        derive_seed(context.config.seed, "corruption"),
        context.config.corrupt_path,
    )
    context.keep(node, {"corrupted": facts})


def _geometry(context: Context, node: Node) -> None:
    """Distances and angles of the members, and to the pruned network that they came from."""
    origin, *members = [context.tensors(p) for p in context.parents(node)]
    masks = unpack(members[0], "mask.")
    states = [unpack(member, "model.") for member in members]
    context.keep(node, {"geometry": geometry(states, masks, unpack(origin, "model."))})


def _basin(context: Context, node: Node) -> None:
    """Error along the line between two members, recalibrated at every point."""
    files = [InFile(context.path(p), "model.") for p in context.parents(node)]
    model, masks = loaded(context, context.parents(node)[0])

    def error(alpha: Fraction) -> float:
        fill(context, model, files, [alpha, 1 - alpha], masks or {})
        found = context.start.evaluate(model)
        assert found is not None
        return 1 - found.top1

    context.keep(node, {"basin": basin(error)})


WORK = {
    "start": _start,
    "dense": _dense,
    "prune": _prune,
    "retrain": _retrain,
    "gradual": _gradual,
    "merge": _merge,
    "ensemble": _ensemble,
    "corrupted": _corrupted,
    "geometry": _geometry,
    "basin": _basin,
}
