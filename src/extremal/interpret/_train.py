"""The verb `train`: Arthur, Merlin and Morgana in turn.

Each batch: Merlin shows, Morgana shows, both binarised; Arthur takes one Adam step on
L_M + gamma L_Morgana. Provers that solve (Frank-Wolfe, Adam) do so against the current Arthur;
provers that learn take their own steps on the relaxed mask first. Arthur is in evaluation mode
throughout the game.

The default Morgana is the worst of Merlin's masks of the batch and random ones. A learned Morgana
is weaker than she looks: Arthur and Merlin then agree on codes that she does not find, and the
audit finds them at once. Source: arXiv:2206.00759; the pool is ours.
"""

import itertools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import (
    Run,
    command,
    derive_seed,
    generator,
    imported,
    progress,
    resolve,
    seed_everything,
    to_plain,
)
from extremal.training import chosen_device, load_file, save_tensors

from ._arthur import decided
from ._baselines import gumbel_top_k
from ._data import DataConfig, load_task
from ._errors import InterpretError
from ._losses import aimed_loss, merlin_loss, morgana_loss, one_sided_losses
from ._mask_networks import hard_mask, mask_network, shaped, soft_mask, soft_top_k
from ._network import ArthurNet
from ._network_search import searched_masks
from ._relaxed import Relaxation, adam_masks, binarised, frank_wolfe_masks
from ._search import SEARCHES
from ._task import Task, check_size
from ._trained import LEARNED, PROVERS, Trained, check_train_sets, finished

MORGANAS = ("pool", "frank-wolfe", "adam", *SEARCHES, "learned", "none")
_STEPS = 300
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
    brute-force (searched for each row)."""
    morgana: str = "pool"
    """pool (worst of Merlin's and random masks), frank-wolfe, adam, greedy, swaps, brute-force,
    learned (as Merlin), none."""
    gamma: float = 2.0
    """Weight of Morgana's loss; 0 removes her."""
    epochs: int | None = None
    """Of the game; by default as many as make 300 steps, at least 3."""
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
    """Random masks of the Morgana `pool`."""
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
    **options: Any,
) -> Trained:
    """Train a Merlin-Arthur classifier.

    Args:
        data: A task of your own, or the name of one (the `data` option).
        config: All options at once; or give any of its fields as keywords.
        out: Run folder; an interrupted run goes on after its last epoch with `resume`.
        resume: Continue the run in `out`, to the same result.
        force: Replace the run in `out`.
        **options: Fields of `TrainConfig`; they replace those of `config`.

    Returns:
        Arthur, Merlin and the history; `certify` says what they are worth.

    Raises:
        ValueError: An option is out of range.

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
    if out is None:
        return _play(settings, task, None)
    identity = {**to_plain(settings), "task": task.fingerprint}
    with Run.create(
        out, kind="interpret/train", config=identity, resume=resume, force=force
    ) as run:
        return _play(settings, task, run)


def _check(c: TrainConfig) -> None:
    for name, value, known in (
        ("prover", c.prover, PROVERS), ("morgana", c.morgana, MORGANAS),
        ("variant", c.variant, VARIANTS),
    ):  # fmt: skip
        if value not in known:
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
    ):
        raise ValueError(
            "epochs, batch_size, iterations and threads are at least 1, pretrain and pool 0."
        )
    if c.morgana == "learned" and c.prover not in LEARNED:
        raise ValueError(
            f"morgana=learned has the form of Merlin's network, but the prover {c.prover} has "
            f"none; choose a prover of {', '.join(LEARNED)}, or another morgana."
        )
    if c.shared and c.morgana != "learned":
        raise ValueError("shared=True needs two learned provers; choose morgana=learned too.")


@dataclass
class _Table:
    """Everybody at the table, with what they learn with."""

    c: TrainConfig
    task: Task
    arthur: ArthurNet
    merlin: Any
    morgana: Any
    optimizers: dict[str, torch.optim.Optimizer]
    allowed: Bool[Tensor, " d"]
    values: Float[Tensor, "n w"]
    labels: Int[Tensor, " n"]
    target: int | None
    avoided: Float[Tensor, " d"]


def _play(c: TrainConfig, task: Task, run: Run | None) -> Trained:
    before = torch.get_num_threads()
    torch.set_num_threads(c.threads)
    try:
        return _game(c, task, run)
    finally:
        torch.set_num_threads(before)


def _game(c: TrainConfig, task: Task, run: Run | None) -> Trained:
    begun = time.perf_counter()
    seed_everything(derive_seed(c.seed, "networks"))
    device = chosen_device(c.device)
    arthur = ArthurNet(task, c.arthur).to(device)
    learned = c.prover in LEARNED
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
    table = _Table(
        c, task, arthur, merlin, morgana, optimizers, allowed.to(device),
        arthur.encoder.values(task.train.codes), torch.from_numpy(task.train.labels).to(device),
        None if c.one_sided is None else task.class_names.index(c.one_sided), avoided.to(device),
    )  # fmt: skip
    history: list[dict[str, Any]] = []
    start = 0
    if run is not None:
        start, history = _restore(run, table)
    if start == 0:
        _pretrain(table)
    arthur.eval()
    total = epochs_of(c, len(task.train))
    with progress(total, "game") as bar:
        bar.count = start
        for epoch in range(start, total):
            entry: dict[str, Any] = {"epoch": epoch, **_epoch(table, epoch)}
            history.append(entry)
            if run is not None:
                _store(run, table, epoch + 1, history)
            said = ", ".join(f"{v:.2f}" for v in entry["completeness"])
            bar.advance(text=f"completeness {said}")
    attacker = _attacker(table) if c.attacker_epochs else None
    for net in (arthur, merlin, morgana, attacker):
        if net is not None:
            net.eval().cpu()
    seconds = time.perf_counter() - begun
    return finished(c, task, arthur, merlin, attacker, history, seconds, run)


def epochs_of(c: TrainConfig, rows: int) -> int:
    """Return how many epochs are played."""
    if c.epochs is not None:
        return c.epochs
    return max(3, math.ceil(_STEPS * c.batch_size / rows))


def _pretrain(t: _Table) -> None:
    """Arthur alone: rows masked at random, half of them whole."""
    c = t.c
    t.arthur.train()
    for epoch in range(c.pretrain):
        draw = _stream(c.seed, "pretrain", epoch)
        for rows in _batches(t, "pretrain", epoch):
            x, y = t.values[rows], t.labels[rows]
            mask = _random(len(rows), t, draw)
            mask[: len(rows) // 2] = t.allowed
            loss = merlin_loss(t.arthur(x, mask.float()), y).mean()
            _step(t.optimizers["arthur"], loss)


def _epoch(t: _Table, epoch: int) -> dict[str, Any]:
    """One pass over the rows; returns what Merlin and Morgana achieved on the way, by class."""
    c, many = t.c, t.task.classes
    draw = _stream(c.seed, "game", epoch)
    said = torch.zeros(many, 6, dtype=torch.float64)
    for rows in _batches(t, "game", epoch):
        x, y = t.values[rows], t.labels[rows]
        shown, soft = _merlin_shows(t, x, y, draw)
        hers = _morgana_shows(t, x, y, shown, draw)
        z = t.arthur(x, shown.float())
        if t.target is None:
            loss = merlin_loss(z, y).mean()
        else:
            loss = one_sided_losses(z, y, t.target)[0].mean()
        w = None
        if hers is not None:
            w = t.arthur(x, hers.float())
            if t.target is None:
                loss = loss + c.gamma * morgana_loss(w, y).mean()
            else:
                loss = loss - c.gamma * one_sided_losses(w, y, t.target)[1].mean()
        if c.unmasked:
            whole = t.allowed.float().expand(len(rows), -1)
            loss = loss + c.unmasked * merlin_loss(t.arthur(x, whole), y).mean()
        if not c.frozen:
            _step(t.optimizers["arthur"], loss)
        said += _tally(t, y, z, w, None if soft is None else t.arthur(x, soft))
    n = said[:, 0].clamp_min(1)
    rates = (said[:, 1:] / n[:, None]).tolist()
    names = ("completeness", "dont_know_merlin", "fooled", "dont_know_morgana", "relaxed")
    return {name: [round(row[i], 6) for row in rates] for i, name in enumerate(names)}


def _tally(t: _Table, y: Tensor, z: Tensor, w: Tensor | None, r: Tensor | None) -> Tensor:
    """For each class: rows, convinced, unsure under Merlin, misled, unsure, convinced relaxed."""

    def answers(scores: Tensor) -> Int[np.ndarray, " n"]:
        return decided(scores.detach().double().cpu().numpy())

    labels = y.cpu().numpy()
    a = answers(z)
    b = answers(w) if w is not None else np.full(len(labels), -1)
    s = answers(r) if r is not None else a
    columns = [
        np.ones(len(labels)), a == labels, a < 0, (b >= 0) & (b != labels), b < 0, s == labels,
    ]  # fmt: skip
    sums = [np.bincount(labels, weights=v, minlength=t.task.classes) for v in columns]
    return torch.from_numpy(np.stack(sums, axis=1))


def _merlin_shows(
    t: _Table, x: Tensor, y: Tensor, draw: torch.Generator
) -> tuple[Tensor, Tensor | None]:
    """Merlin's binary masks, and the relaxed ones they come from."""
    c = t.c
    if t.merlin is None:
        soft = _solved(t, x, y, draw, c.prover, sign=1.0)
        return binarised(soft, c.k, t.allowed, draw), soft
    t.merlin.train()
    logits = t.merlin(x, y)
    soft, seen = _relaxed(t, logits, draw)
    z = t.arthur(x, seen)
    loss = merlin_loss(z, y) if t.target is None else one_sided_losses(z, y, t.target)[0]
    loss = loss + shaped(soft, c.l1, c.l2, c.tv, t.task.image) + soft @ t.avoided
    _step(t.optimizers["merlin"], loss.mean())
    return binarised(soft, c.k, t.allowed, draw), soft.detach()


def _morgana_shows(
    t: _Table, x: Tensor, y: Tensor, shown: Tensor, draw: torch.Generator
) -> Tensor | None:
    c = t.c
    if c.morgana == "none" or c.gamma == 0:
        return None
    if c.morgana == "pool":
        return _worst(t, x, y, shown, draw)
    if c.morgana != "learned":
        soft = _solved(t, x, y, draw, c.morgana, sign=-1.0)
        return binarised(soft, c.k, t.allowed, draw)
    prover = 1 if c.shared else 0
    t.morgana.train()
    for _ in range(c.steps_morgana):
        soft, seen = _relaxed(t, t.morgana(x, y, prover), draw)
        z = t.arthur(x, seen)
        loss = -morgana_loss(z, y)
        if t.target is not None:
            loss = one_sided_losses(z, y, t.target)[1]
        # Her penalties pull the same way as Merlin's: she minimises the negated game loss.
        loss = loss + shaped(soft, c.l1, c.l2, c.tv, t.task.image)
        _step(t.optimizers["morgana"], loss.mean())
    with torch.no_grad():
        soft, _ = _relaxed(t, t.morgana(x, y, prover), draw)
    return binarised(soft, c.k, t.allowed, draw)


def _relaxed(t: _Table, logits: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """The relaxed mask, and what Arthur sees of it."""
    c = t.c
    if c.variant == "gumbel":
        soft = gumbel_top_k(logits.masked_fill(~t.allowed, -30.0), c.k, draw)
        return soft, soft
    if c.variant == "soft-top-k":
        soft = soft_top_k(logits.masked_fill(~t.allowed, -30.0), c.k, t.allowed, draw)
        return soft, soft
    soft = soft_mask(logits, c.k, t.allowed)
    if c.variant == "continuous":
        return soft, soft
    return soft, hard_mask(soft, binarised(soft, c.k, t.allowed, draw))


def _solved(
    t: _Table, x: Tensor, y: Tensor, draw: torch.Generator, how: str, sign: float
) -> Tensor:
    """Masks solved or searched for against the current Arthur; sign 1 is Merlin, -1 Morgana."""
    c = t.c
    avoided = t.avoided if sign > 0 else torch.zeros_like(t.avoided)

    def of_scores(z: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        if t.target is not None:
            return one_sided_losses(z, labels, t.target)[0 if sign > 0 else 1]
        return merlin_loss(z, labels) if sign > 0 else -morgana_loss(z, labels)

    if how in SEARCHES:
        found = searched_masks(
            how, t.arthur, x, y, of_scores, c.k, t.allowed, avoided, c.iterations, draw
        )
        return found.float()

    def loss(at: Int[Tensor, " b"], mask: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        return of_scores(t.arthur(x[at], mask), y[at]) + mask @ avoided

    solver = frank_wolfe_masks if how == "frank-wolfe" else adam_masks
    relaxation = Relaxation(k=c.k, iterations=c.iterations, step=c.step, l1=c.l1, tv=c.tv)
    for p in t.arthur.parameters():
        p.requires_grad_(False)  # only masks need gradients here
    soft = solver(loss, len(x), t.allowed, relaxation, draw, t.task.image)
    for p in t.arthur.parameters():
        p.requires_grad_()
    return soft


def _worst(t: _Table, x: Tensor, y: Tensor, shown: Tensor, draw: torch.Generator) -> Tensor:
    """Of Merlin's masks of the batch and random ones, the worst for each row."""
    masks = torch.cat([shown, _random(t.c.pool, t, draw)])
    with torch.no_grad():
        z = t.arthur.cross(x, masks)
        b, j, n = z.shape
        flat = y.repeat_interleave(j)
        if t.target is None:
            value = morgana_loss(z.reshape(-1, n), flat)
        else:
            value = -one_sided_losses(z.reshape(-1, n), flat, t.target)[1]
        return masks[value.reshape(b, j).argmax(1)]


def _attacker(t: _Table) -> Any:
    """Train a fresh Morgana against the finished Arthur, for the audit.

    She is told the class that she is to have named, a wrong one drawn at random.
    """
    c, many = t.c, t.task.classes
    kind = (
        c.prover if c.prover in LEARNED else "u-net" if t.task.image and t.task.d > 256 else "mlp"
    )
    seed_everything(derive_seed(c.seed, "attacker"))
    net = mask_network(kind, t.task, "planes", 1, c.width).to(t.allowed.device)
    optimizer = torch.optim.Adam(net.parameters(), lr=c.prover_lr)
    net.train()
    for epoch in range(c.attacker_epochs):
        draw = _stream(c.seed, "attacker", epoch)
        for rows in _batches(t, "attacker", epoch):
            x, y = t.values[rows], t.labels[rows]
            aim = (y + torch.randint(1, many, (len(y),), generator=draw).to(y.device)) % many
            soft, seen = _relaxed(t, net(x, aim), draw)
            loss = -aimed_loss(t.arthur(x, seen), aim)
            loss = loss + shaped(soft, c.l1, c.l2, c.tv, t.task.image)
            _step(optimizer, loss.mean())
    return net


def _random(n: int, t: _Table, draw: torch.Generator) -> Tensor:
    noise = torch.rand(n, t.task.d, generator=draw).to(t.allowed.device)
    chosen = torch.where(t.allowed, noise, -torch.inf).topk(t.c.k, dim=1).indices
    out = torch.zeros(n, t.task.d, dtype=torch.bool, device=t.allowed.device)
    return out.scatter_(1, chosen, True)


def _batches(t: _Table, name: str, epoch: int) -> Iterator[Tensor]:
    order = generator(t.c.seed, name, epoch).permutation(len(t.labels))
    for start in range(0, len(order), t.c.batch_size):
        rows = order[start : start + t.c.batch_size]
        if len(rows) > 1 or len(order) == 1:  # batch norm of a prover needs two rows
            yield torch.from_numpy(rows).to(t.labels.device)


def _stream(seed: int, name: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, name, epoch) % 2**63)


def _step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    # A prover's loss passes through Arthur; his own step starts from clean gradients, see above.


# Checkpoints: after every epoch, all networks and the state of their optimizers.


def _state(t: _Table) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, net in (("arthur", t.arthur), ("merlin", t.merlin), ("morgana", t.morgana)):
        if net is not None and not (name == "morgana" and net is t.merlin):
            out |= {
                f"{name}.{k}": v.detach().cpu().contiguous() for k, v in net.state_dict().items()
            }
    for name, optimizer in t.optimizers.items():
        for i, state in optimizer.state_dict()["state"].items():
            out |= {
                f"optimizer.{name}.{i}.{k}": torch.as_tensor(v).detach().cpu().contiguous()
                for k, v in state.items()
            }
    return out


def _store(run: Run, t: _Table, done: int, history: list[dict[str, Any]]) -> None:
    save_tensors(run.path / "checkpoints" / f"{done:05d}.safetensors", _state(t))
    run.write_json("progress.json", {"epochs": done, "history": history})
    for old in sorted((run.path / "checkpoints").glob("*.safetensors"))[:-1]:
        old.unlink()


def _restore(run: Run, t: _Table) -> tuple[int, list[dict[str, Any]]]:
    if not (run.path / "progress.json").exists():
        return 0, []
    found = run.read_json("progress.json")
    done = int(found["epochs"])
    file = run.path / "checkpoints" / f"{done:05d}.safetensors"
    if not file.is_file():
        raise InterpretError(f"{file} is missing, so the run cannot go on; use --force.")
    tensors, _ = load_file(file)
    for name, net in (("arthur", t.arthur), ("merlin", t.merlin), ("morgana", t.morgana)):
        if net is not None and not (name == "morgana" and net is t.merlin):
            prefix = f"{name}."
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
    for name, optimizer in t.optimizers.items():
        state = optimizer.state_dict()
        prefix = f"optimizer.{name}."
        kept: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                number, field = key.removeprefix(prefix).split(".", 1)
                kept.setdefault(int(number), {})[field] = value
        optimizer.load_state_dict({**state, "state": kept})
    return done, list(itertools.islice(found["history"], done))
