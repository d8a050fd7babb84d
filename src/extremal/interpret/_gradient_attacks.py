"""Morgana with gradients: Frank-Wolfe and Adam with restarts, and a learned Morgana."""

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import derive_seed

from ._attacks import Siege
from ._losses import aimed_loss
from ._relaxed import Relaxation, adam_masks, binarised, frank_wolfe_masks

if TYPE_CHECKING:
    from ._network import NetArthur

_ITERATIONS = 40
_BATCH = 2048


def gradient_attacks(
    arthur: "NetArthur", restarts: int, seed: int
) -> dict[str, Callable[[Siege], str]]:
    """Return the attacks by name, as `besiege` takes them."""
    solvers = {"frank-wolfe": (frank_wolfe_masks, 0.1), "adam": (adam_masks, 0.05)}
    found: dict[str, Callable[[Siege], str]] = {
        name: _solving(arthur, name, solver, step, restarts, seed)
        for name, (solver, step) in solvers.items()
    }
    if arthur.attacker is not None:
        found["learned"] = _learned(arthur, seed)
    return found


def _solving(
    arthur: "NetArthur",
    name: str,
    solver: Callable[..., Tensor],
    step: float,
    restarts: int,
    seed: int,
) -> Callable[[Siege], str]:
    def attack(siege: Siege) -> str:
        allowed = allowed_units(siege, arthur)
        how = Relaxation(k=siege.k, iterations=_ITERATIONS, step=step)
        for restart in range(restarts):
            draw = torch.Generator().manual_seed(derive_seed(seed, name, restart) % 2**63)
            for target in siege.targets():
                rows = siege.left(target)
                for start in range(0, len(rows), _BATCH):
                    part = rows[start : start + _BATCH]
                    values = arthur.net.encoder.values(siege.codes[part])

                    def loss(
                        at: Int[Tensor, " b"], mask: Float[Tensor, "b d"],
                        values: Tensor = values, target: int = target,
                    ) -> Float[Tensor, " b"]:  # fmt: skip
                        aim = torch.full_like(at, target)
                        return -aimed_loss(arthur.net(values[at], mask), aim)

                    soft = solver(loss, len(part), allowed, how, draw)
                    siege.ask(part, binarised(soft, siege.k, allowed, draw).cpu().numpy())
        return f"{_ITERATIONS} iterations, step {step}, {restarts} starts, towards each class"

    return attack


def _learned(arthur: "NetArthur", seed: int) -> Callable[[Siege], str]:
    def attack(siege: Siege) -> str:
        allowed = allowed_units(siege, arthur)
        draw = torch.Generator().manual_seed(derive_seed(seed, "learned") % 2**63)
        for target in siege.targets():
            rows = siege.left(target)
            told = np.full(len(rows), target)
            masks = learned_masks(arthur.attacker, siege.codes[rows], told, siege.k, allowed, draw)
            siege.ask(rows, masks)
        return "the network that was trained against this Arthur, towards each class"

    return attack


def allowed_units(siege: Siege, arthur: "NetArthur") -> Bool[Tensor, " d"]:
    """Return which units may be shown, on Arthur's device."""
    allowed = torch.zeros(siege.task.d, dtype=torch.bool)
    allowed[torch.from_numpy(siege.task.shown)] = True
    return allowed.to(arthur.device)


def learned_masks(
    net: torch.nn.Module,
    codes: Int[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"],
    k: int,
    allowed: Bool[Tensor, " d"],
    draw: torch.Generator,
) -> Bool[np.ndarray, "n d"]:
    """Return the binary masks of a prover's network."""
    parts: list[np.ndarray] = []
    with torch.inference_mode():
        for start in range(0, len(codes), _BATCH):
            part = slice(start, start + _BATCH)
            values = net.encoder.values(codes[part])  # pyright: ignore[reportCallIssue]
            told = torch.from_numpy(np.ascontiguousarray(labels[part])).to(values.device)
            soft = torch.sigmoid(net(values, told))
            parts.append(binarised(soft, k, allowed, draw).cpu().numpy())
    return np.concatenate(parts) if parts else np.zeros((0, len(allowed)), bool)
