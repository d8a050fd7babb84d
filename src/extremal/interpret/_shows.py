"""What Merlin and Morgana show in a game: they learn, solve or search against Arthur."""

from collections.abc import Generator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import derive_seed, seed_everything

from ._baselines import gumbel_top_k
from ._losses import aimed_loss, merlin_loss, morgana_loss, one_sided_losses
from ._mask_networks import hard_mask, mask_network, shaped, soft_mask, soft_top_k
from ._network import ArthurNet
from ._network_search import searched_masks
from ._relaxed import Relaxation, adam_masks, binarised, frank_wolfe_masks, frank_wolfe_steps
from ._search import SEARCHES
from ._table import Table, batches, random_sets, step, stream
from ._trained import LEARNED


def merlin_shows(
    t: Table, rows: Int[Tensor, " b"], x: Tensor, y: Tensor, draw: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Merlin's binary masks, and the relaxed ones they come from."""
    c = t.c
    if t.posthoc is not None:
        return t.posthoc[rows], t.posthoc[rows].float()
    if t.merlin is None:
        soft = _solved(t, x, y, draw, c.prover, sign=1.0)
        return binarised(soft, c.k, t.allowed, draw), soft
    t.merlin.train()
    logits = t.merlin(x, y)
    soft, seen = _relaxed(t, logits, draw)
    z = t.arthur(x, seen)
    loss = merlin_loss(z, y) if t.target is None else one_sided_losses(z, y, t.target)[0]
    loss = loss + shaped(soft, c.l1, c.l2, c.tv, t.task.image) + soft @ t.avoided
    step(t.optimizers["merlin"], loss.mean())
    return binarised(soft, c.k, t.allowed, draw), soft.detach()


def morgana_shows(
    t: Table, rows: Int[Tensor, " b"], x: Tensor, y: Tensor, shown: Tensor, draw: torch.Generator
) -> Tensor | None:
    """Morgana's binary masks; None where there is no Morgana."""
    c = t.c
    if c.morgana == "none" or c.gamma == 0:
        return None
    if c.morgana == "pool":
        return _pooled(t, x, y, shown, draw)[0]
    if c.morgana == "worst":
        pooled, much = _pooled(t, x, y, shown, draw)
        found, more = _refined(t, rows, x, y, draw)
        return torch.where((more > much)[:, None], found, pooled)
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
        step(t.optimizers["morgana"], loss.mean())
    with torch.no_grad():
        soft, _ = _relaxed(t, t.morgana(x, y, prover), draw)
    return binarised(soft, c.k, t.allowed, draw)


def _relaxed(t: Table, logits: Tensor, draw: torch.Generator) -> tuple[Tensor, Tensor]:
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


def _solved(t: Table, x: Tensor, y: Tensor, draw: torch.Generator, how: str, sign: float) -> Tensor:
    """Masks solved or searched for against the current Arthur; sign 1 is Merlin, -1 Morgana."""
    c = t.c
    avoided = t.avoided if sign > 0 else torch.zeros_like(t.avoided)

    def of_scores(z: Float[Tensor, "b c"], labels: Int[Tensor, " b"]) -> Float[Tensor, " b"]:
        return _lost(t, z, labels, sign)

    if how in SEARCHES:
        found = searched_masks(
            how, t.arthur, x, y, of_scores, c.k, t.allowed, avoided, c.iterations, draw
        )
        return found.float()

    def loss(at: Int[Tensor, " b"], mask: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        return of_scores(t.arthur(x[at], mask), y[at]) + mask @ avoided

    solver = frank_wolfe_masks if how == "frank-wolfe" else adam_masks
    relaxation = Relaxation(k=c.k, iterations=c.iterations, step=c.step, l1=c.l1, tv=c.tv)
    with _frozen(t.arthur):
        return solver(loss, len(x), t.allowed, relaxation, draw, t.task.image)


def _lost(
    t: Table, z: Float[Tensor, "b c"], y: Int[Tensor, " b"], sign: float
) -> Float[Tensor, " b"]:
    """What a prover minimises; sign 1 is Merlin, -1 Morgana."""
    if t.target is not None:
        return one_sided_losses(z, y, t.target)[0 if sign > 0 else 1]
    return merlin_loss(z, y) if sign > 0 else -morgana_loss(z, y)


def _pooled(
    t: Table, x: Tensor, y: Tensor, shown: Tensor, draw: torch.Generator
) -> tuple[Bool[Tensor, "b d"], Float[Tensor, " b"]]:
    """Of Merlin's masks of the batch and random ones, the worst for each row, and how bad it is."""
    # Merlin often shows the same units of several rows; each set is asked about once.
    masks = torch.cat([torch.unique(shown, dim=0), random_sets(t.c.pool, t, draw)])
    with torch.no_grad():
        z = t.arthur.cross(x, masks)
        b, j, n = z.shape
        value = -_lost(t, z.reshape(-1, n), y.repeat_interleave(j), -1.0).reshape(b, j)
        much, which = value.max(1)
        return masks[which], much


def _refined(
    t: Table, rows: Int[Tensor, " b"], x: Tensor, y: Tensor, draw: torch.Generator
) -> tuple[Bool[Tensor, "b d"], Float[Tensor, " b"]]:
    """A few Frank-Wolfe steps on from where Morgana stopped with these rows last time.

    Steps that start anew each time are too few to be an attack: Arthur learns to hide from so many
    and no more, and falls to the longer ones of an audit. Over the epochs these add up. They go on
    from relaxed masks, for from binary ones a few short steps would never exchange a unit.
    """
    assert t.kept is not None

    def loss(at: Int[Tensor, " b"], mask: Float[Tensor, "b d"]) -> Float[Tensor, " b"]:
        return _lost(t, t.arthur(x[at], mask), y[at], -1.0)

    with _frozen(t.arthur):
        soft = frank_wolfe_steps(loss, t.kept[rows].float(), t.allowed, t.c.k, t.c.refine)
    found = binarised(soft, t.c.k, t.allowed, draw)
    t.kept[rows] = soft.half()
    with torch.no_grad():
        return found, -_lost(t, t.arthur(x, found.float()), y, -1.0)


@contextmanager
def _frozen(arthur: ArthurNet) -> Generator[None]:
    """Only masks need gradients inside."""
    for p in arthur.parameters():
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in arthur.parameters():
            p.requires_grad_()


def attacker_of(t: Table) -> Any:
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
        draw = stream(c.seed, "attacker", epoch)
        for rows in batches(t, "attacker", epoch):
            x, y = t.values[rows], t.labels[rows]
            aim = (y + torch.randint(1, many, (len(y),), generator=draw).to(y.device)) % many
            soft, seen = _relaxed(t, net(x, aim), draw)
            loss = -aimed_loss(t.arthur(x, seen), aim)
            loss = loss + shaped(soft, c.l1, c.l2, c.tv, t.task.image)
            step(optimizer, loss.mean())
    return net
