"""Retraining few parameters of a pruned network (PERP), for any network and any training loop.

    recalibrate   the statistics of batch normalisation alone, without a gradient
    bias          every bias
    norm          weight and bias of every normalisation layer
    head          the last linear layer, inside its mask
    an adapter    of `_adapters.ADAPTERS`, on every pruned weight; merged at the end
    full          everything, inside the masks

Source: Zimmer et al. (PERP), arXiv:2312.15230; its first versions treat vision networks by
statistics, biases, norms, last layer. Everything that is not named is frozen. An adapter is a
parametrization, so that a convolution's weight, flattened behind its outputs, is adapted as a
linear layer's is.
"""

from collections.abc import Generator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from extremal.lab import derive_seed

from ._adapters import ADAPTERS, adapter_start, effective, group_parameters
from ._errors import PruningError
from ._masks import Masks

RETRAINED = ("full", "recalibrate", "bias", "norm", "head", *ADAPTERS)


def retrained_groups(text: str) -> tuple[str, ...]:
    """Return the groups that `retrain` names.

    Raises:
        ValueError: One is unknown, or they exclude each other.

    Example:
        >>> retrained_groups("norm bias")
        ('norm', 'bias')
    """
    groups = tuple(text.split())
    unknown = [g for g in groups if g not in RETRAINED]
    if unknown or not groups:
        what = repr(unknown[0]) if unknown else "nothing"
        raise ValueError(f"retrain: cannot train {what}; there are {', '.join(RETRAINED)}.")
    adapters = [g for g in groups if g in ADAPTERS]
    if len(adapters) > 1:
        raise ValueError(f"retrain: train one adapter, not {' and '.join(adapters)}.")
    if "lora" in groups:
        raise ValueError(
            "retrain: a plain lora loses the zeros when it is merged; use mask_lora, or lora_prune."
        )
    if "full" in groups and len(groups) > 1:
        raise ValueError("retrain: full trains everything already; give it alone.")
    return groups


class _Adapter(nn.Module):
    """The parametrization of one weight."""

    def __init__(
        self, kind: str, weight: Tensor, mask: Tensor, rank: int, scaling: float,
        generator: torch.Generator,
    ) -> None:  # fmt: skip
        super().__init__()
        o = weight.shape[0]
        self.kind, self.scaling = kind, scaling
        a, b = adapter_start(kind, o, weight.numel() // o, rank, generator)
        self.A, self.B = nn.Parameter(a.to(weight.device)), nn.Parameter(b.to(weight.device))
        self.register_buffer("kept", mask.to(weight.device), persistent=False)

    def forward(self, weight: Tensor) -> Tensor:
        kept: Tensor = self.get_buffer("kept")
        W, M = weight.flatten(1), kept.flatten(1)
        new = effective(self.kind, W, M, self.A, self.B, self.scaling)
        return new.to(weight.dtype).view_as(weight)


@contextmanager
def few_trainable(
    model: nn.Module,
    groups: Sequence[str],
    masks: Masks,
    *,
    rank: int = 16,
    alpha: float | int = 32,
    seed: int = 0,
) -> Generator[int]:
    """Let only the named groups train, in place; at the end merge adapters and thaw everything.

    Args:
        model: The pruned network.
        groups: Of `RETRAINED`, without "full".
        masks: Of its pruned weights.
        rank: Of an adapter.
        alpha: Of an adapter: its scaling is alpha / rank.
        seed: Of an adapter's start.

    Yields:
        How many parameters train.

    Raises:
        PruningError: The network has no parameters of a group.
    """
    before = {id(p): p.requires_grad for p in model.parameters()}
    adapter = next((g for g in groups if g in ADAPTERS), None)
    trained = _trained(model, [g for g in groups if g not in ADAPTERS])
    adapted: list[tuple[nn.Module, str, list[str]]] = []
    try:
        for p in model.parameters():
            p.requires_grad_(False)
        for name, mask in masks.items() if adapter is not None else ():
            if name in trained:  # the head trains whole
                continue
            assert adapter is not None
            parent, _, leaf = name.rpartition(".")
            module = model.get_submodule(parent)
            random = torch.Generator().manual_seed(derive_seed(seed, "adapter", name))
            order = list(module._parameters)
            weight = getattr(module, leaf).detach()
            made = _Adapter(adapter, weight, mask, rank, alpha / rank, random)
            parametrize.register_parametrization(module, leaf, made)
            adapted.append((module, leaf, order))
        for p in trained.values():
            p.requires_grad_(True)
        yield sum(p.numel() for p in model.parameters() if p.requires_grad)
    finally:
        for module, leaf, order in adapted:
            parametrize.remove_parametrizations(module, leaf, leave_parametrized=True)
            for name in order:  # torch puts the weight last; files and optimizers go by order
                module._parameters[name] = module._parameters.pop(name)
        for p in model.parameters():
            p.requires_grad_(before.get(id(p), True))
        if adapted:
            masks.write_zeros(model)


def _trained(model: nn.Module, groups: Sequence[str]) -> dict[str, nn.Parameter]:
    found: dict[str, nn.Parameter] = {}
    for group in groups:
        if group == "recalibrate":
            continue
        if group == "head":
            last = [n for n, m in model.named_modules() if isinstance(m, nn.Linear)][-1:]
            own = dict(model.named_parameters())
            part = {n: p for n, p in own.items() if last and n.rpartition(".")[0] == last[0]}
        else:
            part = group_parameters(model, group)
        if not part:
            raise PruningError(
                f"{type(model).__name__} has no parameters of the group {group}, so retraining "
                "them trains nothing; name other groups."
            )
        found |= part
    return found
