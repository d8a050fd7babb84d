"""Provers that solve for a relaxed mask of each row by gradients: Frank-Wolfe and Adam.

All rows and restarts are one batch; losses are summed, so that each row has its own gradient, and a
row that stops improving is taken out of the batch.

Notation: s in C = {0 <= s <= 1, sum s <= k} (`frankwolfe.UnitHypersimplex`), m the averaged
gradient.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.frankwolfe import UnitHypersimplex

Loss = Callable[[Int[Tensor, " b"], Float[Tensor, "b d"]], Float[Tensor, " b"]]


@dataclass(frozen=True)
class Relaxation:
    """How a relaxed mask is solved for.

    Attributes:
        k: Units shown.
        iterations: At most so many.
        step: eta of s <- (1 - eta) s + eta v, or Adam's rate; 0 takes 2/(t + 2).
        momentum: Of the averaged gradient.
        tolerance: A row stops after `patience` steps that lower its loss by less.
        patience: See above.
        l1: Weight of the mean of s.
        tv: Weight of the total variation of s, on images.
    """

    k: int
    iterations: int = 50
    step: float = 0.1
    momentum: float = 0.9
    tolerance: float = 1e-5
    patience: int = 3
    l1: float = 0.0
    tv: float = 0.0


def frank_wolfe_masks(
    loss: Loss,
    rows: int,
    allowed: Bool[Tensor, " d"],
    how: Relaxation,
    generator: torch.Generator,
    image: tuple[int, int] | None = None,
) -> Float[Tensor, "rows d"]:
    """Minimise a loss of relaxed masks by Frank-Wolfe with averaged gradients.

    Args:
        loss: From row numbers and their masks to one loss a row.
        rows: How many there are.
        allowed: Units that may be shown.
        how: Steps and penalties.
        generator: Of the starts, vertices from uniform noise.
        image: Height and width, for the total variation.

    Returns:
        The relaxed masks, in the region.

    Cost: one forward and one backward pass an iteration for the rows still moving.
    """
    region = UnitHypersimplex(1.0, k=how.k)
    device = allowed.device
    noise = torch.rand(rows, len(allowed), generator=generator).to(device)
    s = region.lmo(-noise * allowed, batch=1)
    average = torch.zeros_like(s)
    best = torch.full((rows,), torch.inf, device=device)
    idle = torch.zeros(rows, dtype=torch.long, device=device)
    moving = torch.arange(rows, device=device)
    for t in range(how.iterations):
        mask = s[moving].requires_grad_()
        value = loss(moving, mask) + penalty(mask, how, image)
        (g,) = torch.autograd.grad(value.sum(), mask)
        g = torch.where(allowed, g, torch.ones_like(g))  # a forbidden unit never helps
        average[moving] = g if t == 0 else how.momentum * average[moving] + (1 - how.momentum) * g
        eta = how.step or 2 / (t + 2)
        s[moving] = (1 - eta) * s[moving] + eta * region.lmo(average[moving], batch=1)
        now = value.detach()
        idle[moving] = torch.where(now < best[moving] - how.tolerance, 0, idle[moving] + 1)
        best[moving] = torch.minimum(best[moving], now)
        moving = moving[idle[moving] <= how.patience + 10 * (t < 10)]
        if not len(moving):
            break
    return s


def frank_wolfe_steps(
    loss: Loss,
    start: Float[Tensor, "rows d"],
    allowed: Bool[Tensor, " d"],
    k: int,
    steps: int,
    step: float = 0.1,
) -> Float[Tensor, "rows d"]:
    """Take a few Frank-Wolfe steps from given masks, without averaged gradients.

    Cost: one forward and one backward pass a step.
    """
    region = UnitHypersimplex(1.0, k=k)
    everyone = torch.arange(len(start), device=start.device)
    s = start
    for _ in range(steps):
        mask = s.detach().requires_grad_()
        (g,) = torch.autograd.grad(loss(everyone, mask).sum(), mask)
        g = torch.where(allowed, g, torch.ones_like(g))
        s = (1 - step) * s + step * region.lmo(g, batch=1)
    return s.detach()


def adam_masks(
    loss: Loss,
    rows: int,
    allowed: Bool[Tensor, " d"],
    how: Relaxation,
    generator: torch.Generator,
    image: tuple[int, int] | None = None,
) -> Float[Tensor, "rows d"]:
    """Minimise a loss of relaxed masks by Adam; clip to [0, 1] and rescale to a sum of at most k.

    Adds 0.4 mean s (1 - s), which pushes to 0 and 1. Arguments as `frank_wolfe_masks`.
    """
    s = torch.rand(rows, len(allowed), generator=generator).to(allowed.device) * allowed
    s *= (how.k / s.sum(1, keepdim=True)).clamp(max=1)
    s.requires_grad_()
    optimizer = torch.optim.Adam([s], lr=how.step)
    everyone = torch.arange(rows, device=allowed.device)
    best, idle = torch.full((rows,), torch.inf, device=allowed.device), 0
    for _ in range(how.iterations):
        value = loss(everyone, s) + penalty(s, how, image) + 0.4 * (s * (1 - s)).mean(1)
        optimizer.zero_grad()
        value.sum().backward()
        optimizer.step()
        with torch.no_grad():
            s.clamp_(0, 1).mul_(allowed)
            s.mul_((how.k / s.sum(1, keepdim=True).clamp_min(1e-12)).clamp(max=1))
        better = value.detach() < best - how.tolerance
        best = torch.minimum(best, value.detach())
        idle = 0 if bool(better.any()) else idle + 1
        if idle > how.patience + 2:
            break
    return s.detach()


def penalty(
    s: Float[Tensor, "b d"], how: Relaxation, image: tuple[int, int] | None
) -> Float[Tensor, " b"]:
    """Return l1 mean s + tv TV(s), a number a row."""
    out = how.l1 * s.mean(1)
    if how.tv and image is not None:
        out = out + how.tv * total_variation(s, image)
    return out


def total_variation(s: Float[Tensor, "b d"], image: tuple[int, int]) -> Float[Tensor, " b"]:
    """Return the mean absolute difference of neighbouring pixels."""
    grid = s.unflatten(1, image)
    down = (grid[:, 1:] - grid[:, :-1]).abs().mean((1, 2))
    right = (grid[:, :, 1:] - grid[:, :, :-1]).abs().mean((1, 2))
    return down + right


def binarised(
    s: Float[Tensor, "b d"], k: int, allowed: Bool[Tensor, " d"], generator: torch.Generator
) -> Bool[Tensor, "b d"]:
    """Mark exactly k allowed units of each row, the largest; ties are broken at random."""
    # Noise below every difference of float32 masks in [0, 1] that matters: 2^-22.
    noise = torch.rand(s.shape, generator=generator).to(s.device) * 2.0**-22
    value = torch.where(allowed, s.detach() + noise, -torch.inf)
    out = torch.zeros(s.shape, dtype=torch.bool, device=s.device)
    return out.scatter_(1, value.topk(k, dim=1).indices, True)
