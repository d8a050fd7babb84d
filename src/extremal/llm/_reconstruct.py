"""Block reconstruction: train a pruned block to give what the dense one gives.

The better of start and end is kept, so a reconstruction never ends with a larger error than it
began with. Dropout is off. The order of the windows is fixed.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from extremal.pruning import group_parameters, is_norm

from ._adapters import AdaptedLinear, attach, detach, merge
from ._chain import Activations, Arguments, batches, run_block
from ._config import PruneConfig
from ._errors import LLMError
from ._skeleton import Layer, Skeleton
from ._train import DEFAULT_LR, Trainer, check_groups

Forward = Callable[[slice], Tensor]


@dataclass(frozen=True)
class Repaired:
    """What a reconstruction did.

    Attributes:
        part: Which submodel.
        before: Mean squared error on the calibration windows, at the start.
        after: The same at the end, of what was kept.
        kept: Whether the trained weights were better and were kept.
        steps: Optimiser steps.
        seconds: Of those steps.
    """

    part: str
    before: float
    after: float
    kept: bool
    steps: int
    seconds: float = 0.0


@dataclass(frozen=True)
class Split:
    """A block's two halves.

    Attributes:
        norm: The norm that opens the second residual branch; its input is the middle.
        first: Children of the block in the first half.
        second: Those of the second.
    """

    norm: str
    first: tuple[str, ...]
    second: tuple[str, ...]


def reconstruct(
    skeleton: Skeleton,
    unit: list[int],
    layers: list[Layer],
    masks: Mapping[str, Tensor],
    inputs: Activations,
    targets: Activations,
    arguments: Mapping[int, list[Arguments]],
    config: PruneConfig,
    *,
    split: Split | None = None,
    middle: Activations | None = None,
) -> list[Repaired]:
    """Train the blocks of a unit, in place.

    Args:
        skeleton: The model, with the unit's blocks loaded and pruned.
        unit: Their numbers.
        layers: Their pruned layers.
        masks: Layer name to mask as (outputs, inputs).
        inputs: Of the first block.
        targets: For the last block's output.
        arguments: Of every block, by batch size.
        config: The options.
        split: Where the block is split, for "attn_mlp".
        middle: Targets at that place.
    """

    def forward(part: slice) -> Tensor:
        hidden = inputs.values[part].to(skeleton.device)
        for b in unit:
            hidden = run_block(skeleton.blocks[b], hidden, arguments[hidden.shape[0]][b])
        return hidden

    def target(part: slice) -> Tensor:
        return targets.values[part].to(skeleton.device)

    if config.granularity != "attn_mlp":
        name = f"block {unit[0]}" if len(unit) == 1 else f"blocks {unit[0]}-{unit[-1]}"
        modules = {f"{skeleton.blocks_name}.{b}": skeleton.blocks[b] for b in unit}
        return [_fit(name, skeleton, modules, layers, masks, forward, target, inputs, config)]

    assert split is not None
    assert middle is not None
    (b,) = unit
    block = skeleton.blocks[b]
    root = f"{skeleton.blocks_name}.{b}"
    norm = block.get_submodule(split.norm)
    stored = middle

    def middle_target(part: slice) -> Tensor:
        return stored.values[part].to(skeleton.device)

    def shaped(part: slice) -> Tensor:
        found = before_norm(norm, lambda: forward(part))
        return found.reshape(inputs.values[part].shape)

    modules = {f"{root}.{n}": block.get_submodule(n) for n in split.first}
    done = [
        _fit(
            f"block {b} attention", skeleton, modules,
            [x for x in layers if _under(x.name, modules)], masks, shaped, middle_target, inputs,
            config,
        )
    ]  # fmt: skip
    modules = {f"{root}.{n}": block.get_submodule(n) for n in split.second}
    done.append(
        _fit(
            f"block {b} mlp", skeleton, modules, [x for x in layers if _under(x.name, modules)],
            masks, forward, target, inputs, config,
        )
    )  # fmt: skip
    return done


def before_norm(norm: nn.Module, forward: Callable[[], Any]) -> Tensor:
    """Run until a norm is reached and return its input."""
    found: list[Tensor] = []

    class Reached(Exception):
        pass

    def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(args[0])
        raise Reached

    handle = norm.register_forward_pre_hook(stop)
    try:
        with suppress(Reached):
            forward()
    finally:
        handle.remove()
    return found[0]


def split_block(
    skeleton: Skeleton,
    b: int,
    layers: list[Layer],
    inputs: Activations,
    arguments: Mapping[int, list[Arguments]],
    micro_batch: int,
) -> Split:
    """Split a block where its second residual branch begins.

    Raises:
        LLMError: Attention and MLP run in parallel, or the order is another.
    """
    block = skeleton.blocks[b]
    root = f"{skeleton.blocks_name}.{b}."
    order: list[str] = []
    entering: dict[str, Tensor] = {}
    pruned = {x.name.removeprefix(root) for x in layers}
    handles: list[Any] = []

    def note(name: str) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            order.append(name)
            if args and isinstance(args[0], Tensor):
                entering[name] = args[0]

        return hook

    for name, module in block.named_modules():
        if name and (name in pruned or (is_norm(module) and "." not in name)):
            handles.append(module.register_forward_pre_hook(note(name)))
    part = slice(0, min(micro_batch, len(inputs)))
    hidden = inputs.values[part].to(skeleton.device)
    try:
        with torch.no_grad():
            run_block(block, hidden, arguments[hidden.shape[0]][b])
    finally:
        for handle in handles:
            handle.remove()
    attention = [n for n in order if n in pruned and ("attn" in n or "attention" in n)]
    rest = [n for n in order if n in pruned and n not in attention]
    refusal = LLMError(
        f"{type(block).__name__} does not run attention and then an MLP with a norm between them, "
        "so attn_mlp has no place to split it; use --granularity block."
    )
    if not attention or not rest:
        raise refusal
    first, last = order.index(rest[0]), max(order.index(n) for n in attention)
    norms = [n for n in order[last + 1 : first] if n not in pruned]
    if last > first or not norms:
        raise refusal
    norm = norms[-1]
    middle = entering[norm]
    if middle.numel() != hidden.numel() or torch.equal(middle.reshape(hidden.shape), hidden):
        raise refusal  # parallel branches: the norm sees the block's own input
    early = {n.split(".")[0] for n in order[: order.index(norm)]}
    children = [n for n, _ in block.named_children()]
    return Split(
        norm,
        tuple(n for n in children if n in early),
        tuple(n for n in children if n not in early),
    )


def _under(name: str, modules: Mapping[str, nn.Module]) -> bool:
    return any(name == m or name.startswith(f"{m}.") for m in modules)


def _fit(
    part: str,
    skeleton: Skeleton,
    modules: Mapping[str, nn.Module],
    layers: list[Layer],
    masks: Mapping[str, Tensor],
    forward: Forward,
    target: Forward,
    inputs: Activations,
    config: PruneConfig,
) -> Repaired:
    adapter = check_groups(config.groups)
    model = skeleton.model
    parameters: dict[str, Tensor] = {}
    lrs: dict[str, float] = {}
    held: dict[str, Tensor] = {}
    adapters: dict[str, AdaptedLinear] = {}

    def rate(group: str) -> float:
        return DEFAULT_LR[group] if config.lr is None else config.lr

    full = "full" in config.groups
    for root, module in modules.items():
        for group in ("bias", "norm"):
            if full or group in config.groups:
                for name, p in group_parameters(module, group).items():
                    parameters[f"{root}.{name}"] = p
                    lrs[f"{root}.{name}"] = rate("full" if full else group)
    if full:
        for layer in layers:
            name = f"{layer.name}.weight"
            parameters[name] = layer.stored
            mask = masks[layer.name]
            held[name] = mask.T if layer.transposed else mask
            lrs[name] = rate("full")
    start = {n: p.detach().clone() for n, p in parameters.items()}
    weights = {x.name: x.stored.detach().clone() for x in layers} if adapter else {}
    before = _error(forward, target, len(inputs), config.micro_batch)
    if adapter is not None:
        adapters = attach(
            model, {x.name: x.transposed for x in layers}, adapter, masks, rank=config.rank,
            alpha=config.alpha, seed=config.seed,
        )  # fmt: skip
        for name, module in adapters.items():
            for leaf in ("A", "B"):
                parameters[f"{name}.{leaf}"] = getattr(module, leaf)
                lrs[f"{name}.{leaf}"] = rate(adapter)
    if not parameters:
        return Repaired(part, before, before, False, 0)
    pieces = list(batches(len(inputs), config.batch_size))
    steps = len(pieces) * config.epochs
    trainer = Trainer(parameters, lrs, steps=steps, optimizer=config.optimizer, masks=held)
    begun = time.perf_counter()
    for _ in range(config.epochs):
        for piece in pieces:
            _loss(forward(piece), target(piece), config.loss).backward()
            trainer.step()
    if skeleton.device.type == "cuda":
        torch.cuda.synchronize(skeleton.device)
    seconds = time.perf_counter() - begun
    trainer.release()
    if adapters:
        try:
            merge(model, adapters)
        except LLMError:  # diverged: the start is kept below
            detach(model, adapters)
    after = _error(forward, target, len(inputs), config.micro_batch)
    kept = after <= before  # false for NaN too
    if not kept:
        with torch.no_grad():
            for name, value in start.items():
                parameters[name].copy_(value)
            for layer in layers:
                if layer.name in weights:
                    layer.stored.copy_(weights[layer.name])
    return Repaired(part, before, after if kept else before, kept, steps, seconds)


def _loss(found: Tensor, wanted: Tensor, kind: str) -> Tensor:
    one, two = found.float(), wanted.float()
    if kind == "cosine":
        return (1 - nn.functional.cosine_similarity(one, two, dim=-1)).mean()
    error = (one - two).square().mean()
    return error / two.square().mean() if kind == "nmse" else error


@torch.no_grad()
def _error(forward: Forward, target: Forward, windows: int, batch: int) -> float:
    total, count = 0.0, 0
    for piece in batches(windows, batch):
        wanted = target(piece).float()
        total += float((forward(piece).float() - wanted).double().square().sum())
        count += wanted.numel()
    return total / count
