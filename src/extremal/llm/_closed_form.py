"""Reconstruction of single matrices, in closed form: least squares on what the dense ones give.

Notation: X the inputs of a matrix on the chain that is repaired, Z those of the targets, W the
dense matrix, M the mask; minimised over weights V inside M: |X V^T - Z W^T|^2.

    targets           X                                          Z
    sparse            the pruned model up to this very matrix    the same
    dense             the dense model                            the same
    sparse_to_dense   the pruned model up to this very matrix    the dense model

With pruned inputs the matrices are repaired one after the other in the order in which they run, so
that each sees what those before it now give; matrices that share an input are solved together.
"""

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from ._chain import Activations, Arguments, batches, run_block
from ._config import PruneConfig
from ._least_squares import least_squares
from ._reconstruct import Repaired
from ._skeleton import Layer, Skeleton


class _Sums:
    """Products of X and Z over all tokens, in the layer's own order of inputs."""

    def __init__(self, inputs: int, device: torch.device) -> None:
        self.xx = torch.zeros(inputs, inputs, device=device)
        self.xz = torch.zeros(inputs, inputs, device=device)
        self.zz = torch.zeros(inputs, inputs, device=device)
        self.tokens = 0

    def add(self, x: Tensor, z: Tensor) -> None:
        one, two = (t.reshape(-1, t.shape[-1]).float() for t in (x, z))
        self.tokens += len(one)
        self.xx.addmm_(one.T, one)
        if z is not x:
            self.xz.addmm_(one.T, two)
            self.zz.addmm_(two.T, two)

    def error(self, V: Tensor, W: Tensor, same: bool) -> float:
        """Mean squared error of the outputs, in double precision."""
        v, w = V.double(), W.double()
        xx = self.xx.double()
        if same:
            total = (((v - w) @ xx) * (v - w)).sum()
        else:
            cross = ((v @ self.xz.double()) * w).sum()
            total = ((v @ xx) * v).sum() - 2 * cross + ((w @ self.zz.double()) * w).sum()
        return float(total) / (self.tokens * len(w))


def closed_form(
    skeleton: Skeleton,
    b: int,
    layers: list[Layer],
    masks: Mapping[str, Tensor],
    sparse: Activations,
    dense: Activations | None,
    arguments: Mapping[int, list[Arguments]],
    config: PruneConfig,
) -> list[Repaired]:
    """Repair every matrix of a block, in place; a matrix is kept as it was if that is better.

    Args:
        skeleton: The model, with the block loaded and pruned.
        b: Its number.
        layers: Its pruned layers.
        masks: Layer name to mask as (outputs, inputs).
        sparse: Inputs of the block in the pruned model.
        dense: The same in the dense model, where the targets need it.
        arguments: Of every block, by batch size.
        config: The options.

    Cost: one pass over the block for each distinct input, and a second where X and Z differ.
    """
    block = skeleton.blocks[b]
    pruned = {x.name: x.stored for x in layers}
    original = {
        x.name: nn.Parameter(skeleton.folder.read(x.tensor).to(skeleton.device), False)
        for x in layers
    }
    chain = dense if config.targets == "dense" else sparse
    assert chain is not None
    same = config.targets != "sparse_to_dense"
    done: list[Repaired] = []

    def use(weights: Mapping[str, nn.Parameter]) -> None:
        for layer in layers:
            layer.module._parameters["weight"] = weights[layer.name]

    def input_of(layer: Layer, source: Activations, part: slice) -> Tensor | None:
        hidden = source.values[part].to(skeleton.device)
        return _input(block, layer, hidden, arguments[hidden.shape[0]][b])

    with torch.no_grad():
        for group in _groups(block, layers, chain, arguments, b, config.micro_batch):
            sums = _Sums(group[0].weight.shape[1], skeleton.device)
            for part in batches(len(chain), config.micro_batch):
                use(original if config.targets == "dense" else pruned)
                x = input_of(group[0], chain, part)
                z = x
                if not same:
                    assert dense is not None
                    use(original)
                    z = input_of(group[0], dense, part)
                if x is not None and z is not None and x.shape == z.shape:
                    sums.add(x, z)
            use(pruned)
            for layer in group:
                if sums.tokens == 0:
                    continue
                W = original[layer.name].T if layer.transposed else original[layer.name]
                before = sums.error(layer.weight, W, same)
                new, _ = least_squares(
                    W.float(), sums.xx, masks[layer.name], damping=config.damping,
                    cross=None if same else sums.xz, name=layer.name,
                )  # fmt: skip
                new = new.to(W.dtype)
                after = sums.error(new, W, same)
                if after <= before:
                    layer.stored.copy_(new.T if layer.transposed else new)
                done.append(Repaired(layer.name, before, min(before, after), after <= before, 0))
    return done


class _Reached(Exception):
    """The layer was reached; nothing behind it is needed."""


def _input(block: nn.Module, layer: Layer, hidden: Tensor, arguments: Arguments) -> Tensor | None:
    """The layer's input, or None where no token reaches it (an expert)."""
    found: list[Tensor] = []

    def stop(_: nn.Module, args: tuple[Any, ...]) -> None:
        found.append(args[0])
        raise _Reached

    handle = layer.module.register_forward_pre_hook(stop)
    try:
        with suppress(_Reached):
            run_block(block, hidden, arguments)
    finally:
        handle.remove()
    return found[0] if found else None


def _groups(
    block: nn.Module,
    layers: list[Layer],
    chain: Activations,
    arguments: Mapping[int, list[Arguments]],
    b: int,
    batch: int,
) -> list[list[Layer]]:
    """The layers by shared input, in the order in which they run."""
    order: list[list[Layer]] = []
    inputs: list[Tensor] = []

    def note(layer: Layer) -> Any:
        def hook(_: nn.Module, args: tuple[Any, ...]) -> None:
            if any(layer in group for group in order):
                return
            for x, group in zip(inputs, order, strict=True):
                if x is args[0]:
                    group.append(layer)
                    return
            inputs.append(args[0])
            order.append([layer])

        return hook

    handles = [x.module.register_forward_pre_hook(note(x)) for x in layers]
    try:
        for part in batches(len(chain), batch):
            hidden = chain.values[part].to(block_device(block))
            run_block(block, hidden, arguments[hidden.shape[0]][b])
            if sum(map(len, order)) == len(layers):
                break
            inputs[:] = [torch.empty(0) for _ in inputs]  # of this batch only
    finally:
        for handle in handles:
            handle.remove()
    return order


def block_device(block: nn.Module) -> torch.device:
    """Where a loaded block lies."""
    return next(block.parameters()).device
