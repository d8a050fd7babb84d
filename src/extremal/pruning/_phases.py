"""The work itself: dense training (bimp), phases of pruning and retraining, pruning in training.

Every finished step is kept in the store and not done again; inside a training the loop's own
checkpoint takes over. All of it is a function of the starting weights, the data and the options.
"""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn

from extremal import training
from extremal.lab import derive_seed, from_plain, to_plain
from extremal.training import Data, Evaluation, History

from ._budget import Cost, phase_sparsities, split_epochs, training_flops
from ._config import Config
from ._in_training import CS, DNW, DPF, DST, GMP, GSM, LC, STR, InTraining
from ._masks import Masks
from ._metrics import macs_on_nonzero, norm_drop, weight_norm
from ._perp import few_trainable
from ._prunable import prunable_weights
from ._result import Phase
from ._retrain import KeepMasks
from ._runs import Store, answers, evaluation, masks_of, measures, pack, unpack
from ._schedules import DenseRates, adaptive_factor, learning_rates
from ._selectors import OnCollapse, look_for_collapse, select
from ._start import Start, first_lr

ACCURACY_FLOOR = 0.01  # of the ablation allr-floor: eta/100 in place of d2


@dataclass(frozen=True)
class Given:
    """What the caller may bring along for the loop."""

    loss: Callable[..., Tensor] | None = None
    training_step: Callable[..., Tensor] | None = None


@dataclass(frozen=True)
class Outcome:
    """What the phases leave."""

    masks: Masks
    phases: tuple[Phase, ...]
    rates: tuple[float, ...]
    evaluation: Evaluation | None
    dense_evaluation: Evaluation | None
    dense: Cost
    retrain: Cost


def steps_of(start: Start, loop_batch: int) -> int:
    """Iterations of one epoch."""
    return training.steps_per_epoch(start.train, loop_batch)


def check_rates(start: Start, config: Config) -> None:
    """Refuse a schedule that cannot be made, before anything is trained."""
    if config.method != "imp":
        return
    for epochs in split_epochs(config.epochs, config.phases):
        if config.rates == "allr":
            adaptive_factor(0.0, epochs, start.dense_epochs)
        rates_of(config, start.rates, epochs * steps_of(start, start.loop.batch_size), 1.0, False)


def run_phases(start: Start, config: Config, store: Store, given: Given) -> Outcome:
    """Prune and retrain `start.model` in place."""
    model = start.model
    dense_cost, rates, dense_epochs = start.cost, start.rates, start.dense_epochs
    if config.method == "bimp":
        history = _train_densely(start, config, store, given)
        rates, dense_epochs = DenseRates.from_list(history.lr), history.epochs
        dense_cost = Cost(history.epochs, history.steps, history.seconds, 0.0, 0.0)
    dense_flops = flops_of(start, model, {}, dense_cost.epochs)[0]
    dense_cost = dataclasses.replace(dense_cost, flops_dense=dense_flops, flops_masked=dense_flops)
    found = _measured(start, store, "before", model)

    on_collapse: Any = config.on_layer_collapse
    weights = prunable_weights(model, config.include, config.exclude)
    masks = start.masks
    present = 0.0 if masks is None else masks.sparsity
    targets = phase_sparsities(config.goal, config.phases, present)
    epochs_of = split_epochs(config.retrain_epochs, config.phases)
    phases: list[Phase] = []
    used: list[float] = []
    total = Cost(0, 0, 0.0, 0.0, 0.0)
    hook: KeepMasks | None = None
    latest = found
    for number, (target, epochs) in enumerate(zip(targets, epochs_of, strict=True), start=1):
        last = number == config.phases
        name = f"phase-{number}"
        facts = store.facts(name)
        if facts is not None and not config.keep_optimizer:
            tensors = store.tensors(name, facts)
            model.load_state_dict(unpack(tensors, "model."))
            masks = masks_of(tensors, model)
            latest = evaluation(tensors, facts["evaluation"], "evaluation.")
        else:
            # With keep_optimizer a finished phase is opened again through the loop's checkpoint,
            # which holds the optimizer's state that the next phase inherits.
            before, masks = masks, choose(weights, target, masks, config, on_collapse)
            drop = norm_drop(model, before, masks, config.norm_scope)
            pruned = write_pruned(start, store, name, model, masks, config)
            factor = factor_of(config, drop.d1, epochs, dense_epochs, pruned)
            steps = epochs * steps_of(start, start.loop.batch_size)
            lr = rates_of(config, rates, steps, factor, last)
            hook = KeepMasks(masks, hook if config.keep_optimizer else None)
            if config.groups == ("full",):
                history = _train(start, config, given, epochs, lr, hook, store, name, number)
            else:
                history, lr = _train_few(start, config, given, epochs, lr, masks, store, number)
            masks.write_zeros(model)
            if last and config.share_recalibrated:
                recalibrated(start, model, config.share_recalibrated)
            if facts is None:
                latest = start.evaluate(model)
                phase = Phase(
                    number=number,
                    target=target,
                    pruned=masks.pruned,
                    sparsity=masks.sparsity,
                    rho=drop.rho,
                    d1=drop.d1,
                    norm=pruned["norm"],
                    factor=factor,
                    epochs=epochs,
                    iterations=history.steps,
                    seconds=history.seconds,
                    top_lr=max(lr, default=0.0),
                    **named_measures("_pruned", pruned["evaluation"]),
                    **named_measures("", measures(latest)),
                )
                facts = _facts(phase, latest, lr, history)
                store.keep(name, facts, pack(model, masks, latest))
            else:
                tensors = store.tensors(name, facts)
                latest = evaluation(tensors, facts["evaluation"], "evaluation.")
            if not config.keep_optimizer:
                store.drop(f"{name}-training")
        phase = from_plain(Phase, facts["phase"])
        phases.append(phase)
        used += facts["lr"]
        dense_flops, masked_flops = flops_of(start, model, masks, epochs)
        total += Cost(epochs, phase.iterations, phase.seconds, dense_flops, masked_flops)
    assert masks is not None
    return Outcome(masks, tuple(phases), tuple(used), latest, found, dense_cost, total)


def run_in_training(start: Start, config: Config, store: Store, given: Given) -> Outcome:
    """Train `start.model` in place with a method that prunes meanwhile."""
    model = start.model
    found = _measured(start, store, "before", model)
    names = list(prunable_weights(model, config.include, config.exclude))
    steps = config.epochs * steps_of(start, start.loop.batch_size)
    warmup = 0.0 if config.warmup is None else config.warmup
    lr = learning_rates(
        config.rates, steps, lr=first_lr(start, config), warmup=warmup, dense=start.rates
    )
    name = "phase-1"
    facts = store.facts(name)
    if facts is None:
        method = make_method(config, names, steps)
        history = _train(start, config, given, config.epochs, lr, method, store, name, 1)
        trained = start.evaluate(model)
        masks = method.finish()
        on_collapse: Any = config.on_layer_collapse
        look_for_collapse(masks, config.method, on_collapse)
        if config.recalibrate:
            recalibrated(start, model, config.recalibrate)
        latest = start.evaluate(model)
        phase = Phase(
            number=1,
            target=masks.sparsity if method.outcome else config.goal,
            pruned=masks.pruned,
            sparsity=masks.sparsity,
            rho=0.0,
            d1=0.0,
            norm=weight_norm(model),
            factor=1.0,
            epochs=config.epochs,
            iterations=history.steps,
            seconds=history.seconds,
            top_lr=max(lr),
            **named_measures("_pruned", measures(trained)),
            **named_measures("", measures(latest)),
        )
        facts = _facts(phase, latest, lr, history)
        store.keep(name, facts, pack(model, masks, latest))
    else:
        tensors = store.tensors(name, facts)
        model.load_state_dict(unpack(tensors, "model."))
        masks = masks_of(tensors, model)
        latest = evaluation(tensors, facts["evaluation"], "evaluation.")
    store.drop(f"{name}-training")
    phase = from_plain(Phase, facts["phase"])
    # These methods keep all weights or gradients until the end: counted as dense.
    flops, _ = flops_of(start, model, {}, config.epochs)
    cost = Cost(config.epochs, phase.iterations, phase.seconds, flops, flops)
    return Outcome(
        masks, (phase,), tuple(facts["lr"]), latest, found, Cost(0, 0, 0.0, 0.0, 0.0), cost
    )


def _facts(
    phase: Phase, found: Evaluation | None, lr: list[float], history: History
) -> dict[str, Any]:
    return {
        "phase": to_plain(phase),
        "evaluation": measures(found),
        "lr": lr,
        "loss": list(history.loss),
    }


def make_method(config: Config, names: list[str], iterations: int) -> InTraining:
    """The in-training method that the options name."""

    def chosen(weights: Mapping[str, Tensor], sparsity: float, masks: Masks | None) -> Masks:
        return choose(weights, sparsity, masks, config, "allow")  # only the final masks matter

    s, initial, penalty = config.goal, config.initial, config.penalty
    if config.method == "gmp":
        return GMP(names, s, chosen, config.epochs, config.interval, config.allow_recovering)
    if config.method == "gsm":
        return GSM(names, s, chosen)
    if config.method == "lc":
        return LC(names, s, chosen, iterations, config.growth)
    if config.method == "dpf":
        return DPF(names, s, chosen, config.epochs, config.interval)
    if config.method == "dnw":
        return DNW(names, s, chosen)
    if config.method == "str":
        return STR(names, s, chosen, -5.0 if initial is None else initial)
    if config.method == "cs":
        return CS(
            names,
            s,
            chosen,
            iterations,
            0.0 if initial is None else initial,
            1e-8 if penalty is None else penalty,
            config.final_beta,
        )
    return DST(names, s, chosen, 1e-5 if penalty is None else penalty)


def choose(
    weights: Mapping[str, Tensor],
    sparsity: float,
    masks: Masks | None,
    config: Config,
    on_collapse: OnCollapse,
) -> Masks:
    """Choose masks with the selector that the options name."""
    return select(
        weights,
        sparsity,
        config.selector,
        masks=masks,
        seed=derive_seed(config.seed, "selector"),
        min_keep_per_layer=config.min_keep_per_layer,
        on_layer_collapse=on_collapse,
        skip=config.skip,
    )


def write_pruned(
    start: Start, store: Store, name: str, model: nn.Module, masks: Masks, config: Config
) -> dict[str, Any]:
    """Write the zeros and measure the network before it is retrained."""
    facts = store.facts(f"{name}-pruned")
    by_accuracy = config.rates == "allr-accuracy" and isinstance(start.train, Data)
    before = 0.0
    if facts is None and by_accuracy:
        before = training.evaluate(model, start.train.train, data=start.train).top1
    masks.write_zeros(model)
    if facts is None:
        lost = 0.0
        if by_accuracy:
            after = training.evaluate(model, start.train.train, data=start.train).top1
            lost = max(0.0, before - after)
        facts = {
            "evaluation": measures(start.evaluate(model)),
            "norm": weight_norm(model),
            "training accuracy lost": lost,
        }
        store.keep(f"{name}-pruned", facts)
    return facts


def factor_of(
    config: Config, d1: float, epochs: int, dense_epochs: int | None, pruned: dict[str, Any]
) -> float:
    """The factor of the adaptive schedules."""
    if config.rates == "allr":
        return adaptive_factor(d1, epochs, dense_epochs)
    if config.rates == "allr-accuracy":
        return adaptive_factor(pruned["training accuracy lost"], epochs, dense_epochs)
    if config.rates == "allr-floor":
        return max(d1, ACCURACY_FLOOR)
    return 1.0


def rates_of(
    config: Config, dense: DenseRates | None, steps: int, factor: float, last: bool
) -> list[float]:
    """The learning rates of one phase."""
    return learning_rates(
        config.rates,
        steps,
        dense=dense,
        factor=factor,
        lr=config.lr,
        warmup=config.warmup,
        last_phase=last,
    )


def _train(
    start: Start,
    config: Config,
    given: Given,
    epochs: int,
    lr: list[float],
    hook: training.Hooks,
    store: Store,
    name: str,
    number: int,
) -> History:
    seed = derive_seed(config.seed, "retrain", number)
    return training.train(
        start.model,
        start.train,
        epochs=epochs,
        lr=lr,
        loop=dataclasses.replace(start.loop, seed=seed),
        hooks=[hook],
        loss=given.loss,
        training_step=given.training_step,
        checkpoint=store.file(f"{name}-training"),
        label=f"{config.method}, phase {number} of {config.phases}",
    )


def _train_few(
    start: Start,
    config: Config,
    given: Given,
    epochs: int,
    lr: list[float],
    masks: Masks,
    store: Store,
    number: int,
) -> tuple[History, list[float]]:
    """Retrain what `config.retrain` names; of the statistics alone nothing is trained."""
    if config.groups == ("recalibrate",):
        return History((), (), 0, 0, 0.0), []
    seed = derive_seed(config.seed, "retrain", number)
    with few_trainable(
        start.model, config.groups, masks, rank=config.rank, alpha=config.alpha, seed=seed
    ):
        names = {n for n, p in start.model.named_parameters() if p.requires_grad}
        # Frozen weights keep their zeros; only a head that trains must be held at them.
        hook = KeepMasks(Masks({n: m for n, m in masks.items() if n in names}))
        name = f"phase-{number}"
        history = _train(start, config, given, epochs, lr, hook, store, name, number)
    return history, lr


def _train_densely(start: Start, config: Config, store: Store, given: Given) -> History:
    """The first part of bimp: linear decay to zero."""
    facts = store.facts("dense")
    if facts is not None:
        start.model.load_state_dict(store.tensors("dense", facts))
        return from_plain(History, facts["history"])
    epochs = config.first_epochs
    steps = epochs * steps_of(start, start.loop.batch_size)
    history = training.train(
        start.model,
        start.train,
        epochs=epochs,
        lr=training.schedule("linear", steps, first_lr(start, config)),
        loop=dataclasses.replace(start.loop, seed=derive_seed(config.seed, "dense")),
        loss=given.loss,
        training_step=given.training_step,
        checkpoint=store.file("dense-training"),
        label="bimp, dense training",
    )
    store.keep("dense", {"history": to_plain(history)}, start.model.state_dict())
    store.drop("dense-training")
    return history


def _measured(start: Start, store: Store, name: str, model: nn.Module) -> Evaluation | None:
    """The network before pruning, measured once."""
    facts = store.facts(name)
    if facts is not None:
        tensors = store.tensors(name, facts)
        return evaluation(tensors, facts["evaluation"], "evaluation.")
    found = start.evaluate(model)
    store.keep(name, {"evaluation": measures(found)}, answers(found, "evaluation."))
    return found


def recalibrated(start: Start, model: nn.Module, fraction: float) -> None:
    """Measure the statistics of normalisation anew, in place."""
    training.recalibrate(model, start.train, fraction=fraction, batch_size=start.loop.batch_size)


def named_measures(ending: str, found: Mapping[str, Any] | None) -> dict[str, Any]:
    """Accuracy, loss and ECE under the names of a `Phase`."""
    names = {"accuracy": "top1", "loss": "loss", "ece": "ece"}
    return {k + ending: None if found is None else found[v] for k, v in names.items()}


def flops_of(
    start: Start, model: nn.Module, masks: Mapping[str, Tensor], epochs: int
) -> tuple[float, float]:
    """Training FLOPs of so many epochs: as if dense, and on the kept weights."""
    if not isinstance(start.train, Data) or not start.macs:
        return 0.0, 0.0
    dense, kept = macs_on_nonzero(model, start.macs, masks)
    samples = epochs * len(start.train.train)
    return training_flops(dense, samples), training_flops(kept, samples)
