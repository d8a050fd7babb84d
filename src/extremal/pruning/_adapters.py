"""What an adapter makes of a pruned weight, and which parameters are norms and biases.

Notation: W (outputs o, inputs d) the pruned weight, M its mask, A (r, d), B (o, r), s a scaling.

    name        weight in training
    lora        W + s BA
    lora_prune  W + s BA
    mask_lora   W + s M*(BA)
    scale_lora  W * (BA)
    spp         W * (1 + s diag(c) P)
    hira        W * (1 + s BA)

P repeats each of A's r rows o/r times; B holds c as one column there.
Sources: Zimmer et al. (PERP), arXiv:2312.15230; Lu et al. (SPP), arXiv:2405.16057; HiRA as in PEFT.
"""

import math

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

ADAPTERS = ("lora", "lora_prune", "mask_lora", "scale_lora", "spp", "hira")


def effective(
    kind: str,
    W: Float[Tensor, "o d"],
    M: Bool[Tensor, "o d"],
    A: Float[Tensor, "r d"],
    B: Float[Tensor, "o k"],
    s: float,
    first_row: int = 0,
    rows: int | None = None,
) -> Float[Tensor, "o d"]:
    """Return the weight that an adapter stands for.

    Args:
        kind: One of `ADAPTERS`.
        W: The frozen weight, or a tile of its rows.
        M: Its mask.
        A: The wide factor.
        B: The tall factor, or its rows of the tile; of "spp" the column c.
        s: The scaling.
        first_row: Of the tile, for "spp".
        rows: Of the whole weight, for "spp".

    Example:
        >>> W = torch.tensor([[1.0, 0, 2], [0, 3, 0]])
        >>> A, B = torch.tensor([[1.0, 2, 3]]), torch.tensor([[1.0], [2]])
        >>> effective("mask_lora", W, W != 0, A, B, 2.0).tolist()
        [[3.0, 0.0, 8.0], [0.0, 11.0, 0.0]]
    """
    base = W.float()
    if kind == "mask_lora":
        return base + s * (M * (B @ A))
    if kind in ("lora", "lora_prune"):
        return base + s * (B @ A)
    if kind == "scale_lora":
        return base * (B @ A)
    if kind == "hira":
        return base * (1 + s * (B @ A))
    total = base.shape[0] if rows is None else rows
    repeats = -(-total // A.shape[0])
    index = torch.arange(first_row, first_row + base.shape[0], device=A.device) // repeats
    return base * (1 + s * (B * A[index]))


def adapter_start(
    kind: str, o: int, d: int, rank: int, generator: torch.Generator | None = None
) -> tuple[Float[Tensor, "r d"], Float[Tensor, "o k"]]:
    """Return the factors with which training starts: the adapted weight is the weight itself."""
    if kind == "scale_lora":
        return torch.full((rank, d), rank**-0.5), torch.full((o, rank), rank**-0.5)
    a = torch.empty(rank, d)
    nn.init.kaiming_uniform_(a, a=math.sqrt(5), generator=generator)
    return a, torch.zeros(o, 1 if kind == "spp" else rank)


def is_norm(module: nn.Module) -> bool:
    """Whether a module is a normalisation layer, by its class's name."""
    return "norm" in type(module).__name__.lower()


def group_parameters(model: nn.Module, group: str) -> dict[str, nn.Parameter]:
    """Return the parameters of "bias" or "norm" by name, each once.

    Example:
        >>> list(group_parameters(nn.Sequential(nn.Linear(2, 2), nn.LayerNorm(2)), "norm"))
        ['1.weight', '1.bias']
    """
    if group == "bias":
        return {n: p for n, p in model.named_parameters() if n == "bias" or n.endswith(".bias")}
    found: dict[str, nn.Parameter] = {}
    for name, module in model.named_modules():
        if is_norm(module):
            for leaf, parameter in module.named_parameters(recurse=False):
                found[f"{name}.{leaf}" if name else leaf] = parameter
    return found
