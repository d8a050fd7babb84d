"""The verb `train`: Arthur, Merlin and Morgana in turn.

Each batch: Merlin shows, Morgana shows, both binarised; Arthur takes one Adam step on
L_M + gamma L_Morgana. Provers that solve (Frank-Wolfe, Adam) do so against the current Arthur;
provers that learn take their own steps on the relaxed mask first. Arthur is in evaluation mode
throughout the game.

The default Morgana is, for each row, the worst of Merlin's masks of the batch, of random ones, and
of a few Frank-Wolfe steps that go on from epoch to epoch. A learned Morgana is weaker than she
looks: Arthur and Merlin then agree on codes that she does not find, and the audit finds them at
once. Merlin's and random masks alone (`pool`) come near all masks on 8 x 8 digits, but on MNIST
gradients still find what misleads Arthur on nearly every row.

Source: arXiv:2206.00759; this Morgana and the rise of gamma are ours.
"""

import math
import time
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from extremal.lab import (
    Run,
    command,
    derive_seed,
    imported,
    progress,
    resolve,
    seed_everything,
    to_plain,
)
from extremal.training import chosen_device

from ._arthur import decided
from ._certify import own_function
from ._data import DataConfig, load_task
from ._explainers import Explainer, shown_by
from ._losses import merlin_loss, morgana_loss, one_sided_losses
from ._mask_networks import mask_network
from ._network import ArthurNet
from ._search import SEARCHES
from ._shows import attacker_of, merlin_shows, morgana_shows
from ._table import Table, batches, random_sets, restore, step, store, stream
from ._task import Task, check_size
from ._trained import LEARNED, PROVERS, Trained, check_train_sets, finished

MORGANAS = ("worst", "pool", "frank-wolfe", "adam", *SEARCHES, "learned", "none")
_STEPS, _EPOCHS = 300, 8
VARIANTS = ("continuous", "top-k", "soft-top-k", "gumbel")


@dataclass(frozen=True)
class TrainConfig(DataConfig):
    """The game and how it is played."""

    data: str = "digits"
    """monks, breast-cancer, digits (embedded), adult, mnist, table (a CSV file), from --path."""
    k: int = 6
    """Units that a prover shows."""
    arthur: str = "mlp"
    """His network: mlp, cnn, resnet20, …, as in `training fit`."""
    prover: str = "mlp"
    """Merlin: mlp, u-net (learned); frank-wolfe, adam (solved for each row); greedy, swaps,
    brute-force (searched for each row); `module:function` of an explainer that stays as it is
    (post-hoc)."""
    morgana: str = "worst"
    """worst (of pool and of Frank-Wolfe steps that go on from epoch to epoch), pool (worst of
    Merlin's and random masks), frank-wolfe, adam, greedy, swaps, brute-force, learned (as Merlin),
    none."""
    gamma: float = 2.0
    """Weight of Morgana's loss; 0 removes her."""
    warmup: float = 0.5
    """Part of the game over which gamma rises from 0 to its value."""
    epochs: int | None = None
    """Of the game; by default as many as make 300 steps, at least 8."""
    pretrain: int = 10
    """Epochs of Arthur alone on randomly masked rows before the game; 0 for none."""
    batch_size: int = 64
    """Rows a step."""
    lr: float = 1e-3
    """Arthur's rate, of Adam."""
    prover_lr: float = 1e-3
    """Rate of provers that learn."""
    steps_morgana: int = 1
    """Steps of a learned Morgana for each of Merlin's."""
    iterations: int = 50
    """Of provers that solve; the most exchanges of swaps."""
    step: float = 0.1
    """Step length of Frank-Wolfe, or rate of Adam, of provers that solve; 0 takes 2/(t+2)."""
    pool: int = 96
    """Random masks of the Morgana `pool` and `worst`."""
    refine: int = 4
    """Frank-Wolfe steps of the Morgana `worst` for each row and epoch."""
    unmasked: float = 0.0
    """Weight of Arthur's loss on whole rows, which keeps his ordinary accuracy."""
    one_sided: str | None = None
    """Argue for this class alone; the others are rejected."""
    labels: str | None = None
    """`module:function` of a black box on codes of whole rows; its answers become the classes."""
    avoid: tuple[str, ...] = ()
    """Units that Merlin is penalised for showing (hidden Merlin)."""
    avoid_weight: float = 10.0
    """Weight of that penalty; it is per unit of mask."""
    variant: str = "top-k"
    """What Arthur sees of a learned mask while it learns: continuous, top-k, soft-top-k, gumbel
    (L2X)."""
    frozen: bool = False
    """Leave Arthur as he is after pretraining, on random masks alone (REAL-X)."""
    condition: str = "planes"
    """How a learned prover is told the class: planes, gate (of the bottleneck), none."""
    shared: bool = False
    """One network for both learned provers."""
    width: float = 0.25
    """Channels of the U-Net, as a part of the full one."""
    l1: float = 0.0
    """Weight of the mean of a relaxed mask."""
    l2: float = 0.0
    """Weight of its mean square."""
    tv: float = 0.0
    """Weight of its total variation, on images."""
    attacker_epochs: int = 2
    """Epochs of a fresh learned Morgana against the finished Arthur, for audits; 0 for none."""
    device: str = "cpu"
    """Where it is computed."""
    threads: int = 1
    """Of the processor; small networks are slower with more, and results depend on it."""


@command(options=TrainConfig)
def train(
    data: Task | str | None = None,
    *,
    config: TrainConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    merlin: Explainer | None = None,
    **options: Any,
) -> Trained:
    """Train a Merlin-Arthur classifier.

    Args:
        data: A task of your own, or the name of one (the `data` option).
        config: All options at once; or give any of its fields as keywords.
        out: Run folder; an interrupted run goes on after its last epoch with `resume`.
        resume: Continue the run in `out`, to the same result.
        force: Replace the run in `out`.
        merlin: An explainer of your own as Merlin, such as `attribution` or `top_k` of any map; he
            does not learn, Arthur learns to read him. By name it is the option `prover`.
        **options: Fields of `TrainConfig`; they replace those of `config`.

    Returns:
        Arthur, Merlin and the history; `certify` says what they are worth.

    Raises:
        ValueError: An option is out of range, or a run is to be saved whose Merlin has no name.
        InterpretError: Merlin shows another number of units, or what is hidden.

    Cost: an epoch is a forward and backward pass of Arthur a row, one prover step, and for the pool
    a forward pass a row and mask, of whose first layer only the k shown pixels are computed.
    """
    if isinstance(data, str):
        options["data"], data = data, None
    settings = resolve(TrainConfig, config, options)
    _check(settings)
    task = data if data is not None else load_task(
        DataConfig(**{f.name: getattr(settings, f.name) for f in fields(DataConfig)})
    )  # fmt: skip
    if settings.labels is not None:
        task = task.relabelled(imported(settings.labels, "black box"))
    check_size(settings.k, task)
    for how in (settings.prover, settings.morgana):
        check_train_sets(how, task, settings.k)
    if merlin is not None and out is not None:
        raise ValueError(
            "a run could not be read again with a Merlin that is known to this process alone; give "
            "him as prover=module:function, or leave out=."
        )
    if merlin is None and ":" in settings.prover:
        merlin = own_function(settings.prover, "prover", task, settings.k)
    if out is None:
        return _play(settings, task, None, merlin)
    identity = {**to_plain(settings), "task": task.fingerprint}
    with Run.create(
        out, kind="interpret/train", config=identity, resume=resume, force=force
    ) as run:
        return _play(settings, task, run, merlin)


def _check(c: TrainConfig) -> None:
    for name, value, known in (
        ("prover", c.prover, PROVERS), ("morgana", c.morgana, MORGANAS),
        ("variant", c.variant, VARIANTS),
    ):  # fmt: skip
        if value not in known and not (name == "prover" and ":" in value):
            raise ValueError(f"{name}={value!r} is unknown; choose {', '.join(known)}.")
    if c.gamma < 0:
        raise ValueError(f"gamma={c.gamma} would reward Arthur for being misled; choose >= 0.")
    if c.k < 1:
        raise ValueError(f"k={c.k} units cannot be shown; choose at least 1.")
    if (
        (c.epochs or 1) < 1
        or c.pretrain < 0
        or c.batch_size < 1
        or c.iterations < 1
        or c.pool < 0
        or c.threads < 1
        or c.refine < 1
    ):
        raise ValueError(
            "epochs, batch_size, iterations, refine and threads are at least 1, pretrain and pool "
            "0."
        )
    if not 0 <= c.warmup <= 1:
        raise ValueError(f"warmup={c.warmup} is no part of the game; choose 0 <= warmup <= 1.")
    if c.morgana == "learned" and c.prover not in LEARNED:
        raise ValueError(
            f"morgana=learned has the form of Merlin's network, but the prover {c.prover} has "
            f"none; choose a prover of {', '.join(LEARNED)}, or another morgana."
        )
    if c.shared and c.morgana != "learned":
        raise ValueError("shared=True needs two learned provers; choose morgana=learned too.")


def _play(c: TrainConfig, task: Task, run: Run | None, posthoc: Explainer | None) -> Trained:
    before = torch.get_num_threads()
    torch.set_num_threads(c.threads)
    try:
        return _game(c, task, run, posthoc)
    finally:
        torch.set_num_threads(before)


def _game(c: TrainConfig, task: Task, run: Run | None, posthoc: Explainer | None) -> Trained:
    begun = time.perf_counter()
    seed_everything(derive_seed(c.seed, "networks"))
    device = chosen_device(c.device)
    arthur = ArthurNet(task, c.arthur).to(device)
    learned = c.prover in LEARNED and posthoc is None
    merlin = morgana = None
    if learned:
        many = 2 if c.shared else 1
        merlin = mask_network(c.prover, task, c.condition, many, c.width).to(device)
    if c.morgana == "learned":
        morgana = merlin if c.shared else mask_network(
            c.prover, task, c.condition, 1, c.width
        ).to(device)  # fmt: skip
    optimizers: dict[str, torch.optim.Optimizer] = {
        "arthur": torch.optim.Adam(arthur.parameters(), lr=c.lr)
    }
    if merlin is not None:
        optimizers["merlin"] = torch.optim.Adam(merlin.parameters(), lr=c.prover_lr)
    if morgana is not None:
        optimizers["morgana"] = torch.optim.Adam(morgana.parameters(), lr=c.prover_lr)
    allowed = torch.zeros(task.d, dtype=torch.bool)
    allowed[torch.from_numpy(task.shown)] = True
    avoided = torch.zeros(task.d)
    for name in c.avoid:
        avoided[task.unit(name)] = c.avoid_weight
    if c.one_sided is not None and c.one_sided not in task.class_names:
        raise ValueError(
            f"one_sided={c.one_sided!r} is no class; there are {', '.join(task.class_names)}."
        )
    table = Table(
        c, task, arthur, merlin, morgana, optimizers, allowed.to(device),
        arthur.encoder.values(task.train.codes), torch.from_numpy(task.train.labels).to(device),
        None if c.one_sided is None else task.class_names.index(c.one_sided), avoided.to(device),
    )  # fmt: skip
    if posthoc is not None:
        given = shown_by(posthoc, task.train.codes, task.train.labels, task, c.k, c.k)
        table.posthoc = torch.from_numpy(given).to(device)
    if c.morgana == "worst":
        first = torch.Generator().manual_seed(derive_seed(c.seed, "kept") % 2**63)
        table.kept = random_sets(len(task.train), table, first).half()
    history: list[dict[str, Any]] = []
    start = 0
    if run is not None:
        start, history = restore(run, table)
    if start == 0:
        _pretrain(table)
    arthur.eval()
    total = epochs_of(c, len(task.train))
    with progress(total, "game") as bar:
        bar.count = start
        for epoch in range(start, total):
            entry: dict[str, Any] = {"epoch": epoch, **_epoch(table, epoch, total)}
            history.append(entry)
            if run is not None:
                store(run, table, epoch + 1, history)
            said = ", ".join(f"{v:.2f}" for v in entry["completeness"])
            bar.advance(text=f"completeness {said}")
    attacker = attacker_of(table) if c.attacker_epochs else None
    for net in (arthur, merlin, morgana, attacker):
        if net is not None:
            net.eval().cpu()
    seconds = time.perf_counter() - begun
    return finished(c, task, arthur, merlin, attacker, history, seconds, run, posthoc)


def epochs_of(c: TrainConfig, rows: int) -> int:
    """Return how many epochs are played."""
    if c.epochs is not None:
        return c.epochs
    return max(_EPOCHS, math.ceil(_STEPS * c.batch_size / rows))


def _pretrain(t: Table) -> None:
    """Arthur alone: rows masked at random, half of them whole."""
    c = t.c
    t.arthur.train()
    for epoch in range(c.pretrain):
        draw = stream(c.seed, "pretrain", epoch)
        for rows in batches(t, "pretrain", epoch):
            x, y = t.values[rows], t.labels[rows]
            mask = random_sets(len(rows), t, draw)
            mask[: len(rows) // 2] = t.allowed
            loss = merlin_loss(t.arthur(x, mask.float()), y).mean()
            step(t.optimizers["arthur"], loss)


def _epoch(t: Table, epoch: int, total: int) -> dict[str, Any]:
    """One pass over the rows; returns what Merlin and Morgana achieved on the way, by class."""
    c, many = t.c, t.task.classes
    draw = stream(c.seed, "game", epoch)
    said = torch.zeros(many, 6, dtype=torch.float64)
    steps = math.ceil(len(t.labels) / c.batch_size)
    for i, rows in enumerate(batches(t, "game", epoch)):
        # Against a Morgana at full weight from the start Arthur finds nothing to hold on to: he
        # settles on one class, or on don't know.
        played = (epoch * steps + i) / (total * steps)
        gamma = c.gamma * min(1.0, played / c.warmup) if c.warmup else c.gamma
        x, y = t.values[rows], t.labels[rows]
        shown, soft = merlin_shows(t, rows, x, y, draw)
        hers = morgana_shows(t, rows, x, y, shown, draw)
        z = t.arthur(x, shown.float())
        if t.target is None:
            loss = merlin_loss(z, y).mean()
        else:
            loss = one_sided_losses(z, y, t.target)[0].mean()
        w = None
        if hers is not None:
            w = t.arthur(x, hers.float())
            if t.target is None:
                loss = loss + gamma * morgana_loss(w, y).mean()
            else:
                loss = loss - gamma * one_sided_losses(w, y, t.target)[1].mean()
        if c.unmasked:
            whole = t.allowed.float().expand(len(rows), -1)
            loss = loss + c.unmasked * merlin_loss(t.arthur(x, whole), y).mean()
        if not c.frozen:
            step(t.optimizers["arthur"], loss)
        with torch.no_grad():
            relaxed = t.arthur(x, soft)
        said += _tally(t, y, z, w, relaxed)
    n = said[:, 0].clamp_min(1)
    rates = (said[:, 1:] / n[:, None]).tolist()
    names = ("completeness", "dont_know_merlin", "fooled", "dont_know_morgana", "relaxed")
    return {name: [round(row[i], 6) for row in rates] for i, name in enumerate(names)}


def _tally(t: Table, y: Tensor, z: Tensor, w: Tensor | None, r: Tensor) -> Tensor:
    """For each class: rows, convinced, unsure under Merlin, misled, unsure, convinced relaxed."""

    def answers(scores: Tensor) -> Int[np.ndarray, " n"]:
        return decided(scores.detach().double().cpu().numpy())

    labels = y.cpu().numpy()
    a = answers(z)
    b = answers(w) if w is not None else np.full(len(labels), -1)
    s = answers(r)
    columns = [
        np.ones(len(labels)), a == labels, a < 0, (b >= 0) & (b != labels), b < 0, s == labels,
    ]  # fmt: skip
    sums = [np.bincount(labels, weights=v, minlength=t.task.classes) for v in columns]
    return torch.from_numpy(np.stack(sums, axis=1))
