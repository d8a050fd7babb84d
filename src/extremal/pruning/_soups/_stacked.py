"""Members stacked and trained as one program: one kernel launch does the work of m.

Every member has its own parameters, batches, normalisation statistics, learning rates and weight
decay; only the masks are common. Agrees with separate trainings up to rounding (1e-9 after 20 steps
in float64); long float32 trajectories then part, as those of two machines do.
"""

import copy
import dataclasses
import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.functional import cross_entropy

from extremal import training
from extremal.lab import derive_seed, progress, seed_everything
from extremal.training import Data, DataBatches, History, LoopConfig, TrainingError

from ._node import Context, Node
from ._recorded import Branches, Recorded
from ._work import keep_member, loaded, member_loop, member_rates


def retrain_stacked(context: Context, nodes: Sequence[Node]) -> None:
    """Train the members of a phase together and write each."""
    data = context.start.train
    if not isinstance(data, Data) or context.given.training_step is not None:
        raise ValueError(
            "executor='vmap' stacks batches of a training.Data and needs no training_step; with "
            "your own batches or step choose serial, processes or ray."
        )
    starts = [loaded(context, context.parents(node)[0]) for node in nodes]
    models, masks = [model for model, _ in starts], starts[0][1]
    assert masks is not None
    rates = [member_rates(context, node) for node in nodes]
    file = context.folder / "checkpoints" / f"{nodes[0].file}-stack-training.safetensors"
    histories = train_stacked(
        models,
        data,
        epochs=nodes[0].settings["epochs"],
        lr=[lr for lr, _ in rates],
        loops=[member_loop(context, node) for node in nodes],
        masks=masks,
        loss=context.given.loss,
        checkpoint=file,
        label=f"{nodes[0].label} and {len(nodes) - 1} more",
    )
    for node, model, history, (lr, factor) in zip(nodes, models, histories, rates, strict=True):
        keep_member(context, node, model, masks, history, lr, factor)
    file.unlink(missing_ok=True)


def train_stacked(
    models: Sequence[nn.Module],
    data: Data,
    *,
    epochs: int,
    lr: Sequence[Sequence[float]],
    loops: Sequence[LoopConfig],
    masks: Mapping[str, Tensor] | None = None,
    loss: Callable[..., Tensor] | None = None,
    checkpoint: Path | None = None,
    label: str = "",
    graph: Literal["", "vmap", "streams"] | None = None,
) -> list[History]:
    """Train several networks of one architecture in place, as one program.

    Args:
        models: Networks with the same modules.
        data: Batches of each member come from the seed of its loop.
        epochs: Passes over the data.
        lr: For each member, the learning rate of each iteration.
        loops: For each member; they may differ in seed and weight decay.
        masks: What is pruned in all of them.
        loss: Of (outputs, labels); by default cross-entropy.
        checkpoint: A file that is written after every epoch and taken up again.
        label: What the progress display calls it.
        graph: On a GPU, record a step as a CUDA graph and replay it, with the members stacked
            ("vmap") or side by side on streams of their own ("streams"); "" records nothing. By
            default "streams" where the optimizer is SGD.

    Raises:
        ValueError: The loops differ otherwise, or the options cannot be stacked.
        TrainingError: A loss is not finite.
    """
    loop = loops[0]
    _check(loops)
    device = next(models[0].parameters()).device
    if graph is None:
        graph = "streams" if loop.optimizer == "sgd" else ""
    for model in models:
        model.train()
    params, buffers = stack_module_state(list(models))
    params = {n: p.detach().clone().requires_grad_(p.requires_grad) for n, p in params.items()}
    base = copy.deepcopy(models[0])
    base.train()
    dtype = next(iter(params.values())).dtype
    sources = [DataBatches(data, loop.batch_size, each.seed, device) for each in loops]
    steps = sources[0].steps
    total = steps * epochs
    if any(len(rates) != total for rates in lr):
        raise ValueError(f"Each member needs {total} learning rates; give one an iteration.")
    kept = {n: mask.to(device).unsqueeze(0) for n, mask in (masks or {}).items()}
    criterion = loss or _cross_entropy(loop.label_smoothing)
    update = _Sgd(params, loops) if loop.optimizer == "sgd" else _Adamw(params, loops)

    def objective(p: dict[str, Tensor], b: dict[str, Tensor], x: Tensor, y: Tensor) -> Tensor:
        return criterion(functional_call(base, (p, b), (x,)), y)

    stacked = vmap(objective, randomness="different")
    precision = {"float32": None, "bfloat16": torch.bfloat16}[loop.precision]
    trained = {n: p for n, p in params.items() if p.requires_grad}

    precise = (
        torch.autocast(device.type, precision, cache_enabled=False) if precision else nullcontext()
    )

    def differentiate(x: Tensor, y: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        with precise:
            values: Tensor = stacked(params, buffers, x, y)
        found: Any = torch.autograd.grad(values.sum(), list(trained.values()), allow_unused=True)
        return values, {n: g for n, g in zip(trained, found, strict=True) if g is not None}

    branches = None
    if graph == "streams" and device.type == "cuda":
        branches = Branches(objective, params, buffers, precise)

    def step(x: Tensor, y: Tensor, now: Tensor | Sequence[float]) -> Tensor:
        values, gradients = (branches or differentiate)(x, y)
        _mask(gradients, kept)
        if loop.clip_norm:
            _clip(gradients, loop.clip_norm)
        update.step(gradients, now)
        for tensors in (params, *update.states()):
            _mask(tensors, kept)
        return values.detach()

    recorded = Recorded(step) if graph and device.type == "cuda" else None
    means: list[list[float]] = []
    first, seconds = 0, 0.0
    seed_everything(derive_seed(loop.seed, "stack"))
    if checkpoint is not None and checkpoint.exists():
        try:
            first, seconds, means = _taken_up(checkpoint, params, buffers, update)
        except TrainingError:
            checkpoint.unlink()  # damaged: from the start it gives the same
    began = time.perf_counter() - seconds
    _mask(params, kept)
    with progress(total - first * steps, label or "members") as bar:
        for epoch in range(first, epochs):
            losses: list[Tensor] = []
            sizes: list[int] = []
            for number, batches in enumerate(
                zip(*(source.epoch(epoch, 0, {}) for source in sources), strict=True)
            ):
                x = torch.stack([batch.content[0] for batch in batches]).to(dtype)
                y = torch.stack([batch.content[1] for batch in batches])
                now = [rates[epoch * steps + number] for rates in lr]
                if recorded is None:
                    values = step(x, y, now)
                else:
                    values = recorded(x, y, torch.tensor(now, dtype=dtype, device=device))
                losses.append(values)
                sizes.append(batches[0].size)
                bar.advance()
            table = torch.stack(losses).double().cpu()
            if not bool(table.isfinite().all()):
                member = int((~table.isfinite()).any(0).nonzero()[0])
                raise TrainingError(
                    f"The loss of member {member + 1} became infinite in epoch {epoch + 1}: the "
                    "training diverged. Use a smaller lr, a longer warmup, or clip_norm=1."
                )
            weight = torch.tensor(sizes, dtype=torch.float64)
            means.append(((table * weight[:, None]).sum(0) / weight.sum()).tolist())
            if checkpoint is not None:
                seconds = time.perf_counter() - began
                _save(checkpoint, params, buffers, update, epoch + 1, seconds, means)
    with torch.no_grad():
        for j, model in enumerate(models):
            for name, tensor in model.state_dict().items():
                tensor.copy_((params[name] if name in params else buffers[name])[j])
    spent = time.perf_counter() - began
    return [
        History(tuple(rates), tuple(row[j] for row in means), total, epochs, spent / len(models))
        for j, rates in enumerate(lr)
    ]


class _Sgd:
    """torch's SGD, with a rate and a decay for each member."""

    def __init__(self, params: dict[str, Tensor], loops: Sequence[LoopConfig]) -> None:
        loop = loops[0]
        self.params, self.momentum = params, loop.momentum
        self.decays = [each.weight_decay for each in loops]
        nesterov = loop.nesterov
        self.nesterov = any(self.decays) and loop.momentum > 0 if nesterov is None else nesterov
        self.buffers = {n: torch.zeros_like(p) for n, p in params.items() if p.requires_grad}

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], rates: Tensor | Sequence[float]) -> None:
        """One step of every member."""
        for name, gradient in gradients.items():
            parameter, buffer = self.params[name], self.buffers[name]
            gradient = gradient + _each(self.decays, parameter) * parameter
            if self.momentum:
                buffer.mul_(self.momentum).add_(gradient)
                gradient = gradient.add(buffer, alpha=self.momentum) if self.nesterov else buffer
            parameter.sub_(_each(rates, parameter) * gradient)

    def states(self) -> list[dict[str, Tensor]]:
        """What is masked and kept."""
        return [self.buffers]


class _Adamw:
    """torch's AdamW; the members have one rate and one decay."""

    def __init__(self, params: dict[str, Tensor], loops: Sequence[LoopConfig]) -> None:
        if len({each.weight_decay for each in loops}) > 1:
            raise ValueError(
                "executor='vmap' with adamw cannot vary the weight decay; use sgd, or processes."
            )
        self.params, self.decay, self.count = params, loops[0].weight_decay, torch.zeros(())
        self.first = {n: torch.zeros_like(p) for n, p in params.items() if p.requires_grad}
        self.second = {n: torch.zeros_like(p) for n, p in params.items() if p.requires_grad}

    @torch.no_grad()
    def step(self, gradients: dict[str, Tensor], rates: Tensor | Sequence[float]) -> None:
        """One step of every member."""
        self.count += 1
        t = int(self.count)
        for name, gradient in gradients.items():
            parameter, rate = self.params[name], _each(rates, self.params[name])
            parameter.mul_(1 - rate * self.decay)
            first = self.first[name].lerp_(gradient, 0.1)
            second = self.second[name].mul_(0.999).addcmul_(gradient, gradient, value=0.001)
            scale = second.sqrt() / math.sqrt(1 - 0.999**t) + 1e-8
            parameter.sub_(rate / (1 - 0.9**t) * first / scale)

    def states(self) -> list[dict[str, Tensor]]:
        """What is masked and kept."""
        return [self.first, self.second, {"count": self.count}]


def _each(values: Tensor | Sequence[float], like: Tensor) -> Tensor | float:
    """One number a member, to be multiplied with a stacked tensor; a plain number if all agree."""
    if isinstance(values, Tensor):
        return values.reshape(-1, *[1] * (like.dim() - 1))
    if len(set(values)) == 1:
        return values[0]
    shape = (-1, *[1] * (like.dim() - 1))
    return torch.tensor(values, dtype=like.dtype, device=like.device).reshape(shape)


@torch.no_grad()
def _mask(tensors: Mapping[str, Tensor], kept: Mapping[str, Tensor]) -> None:
    for name, mask in kept.items():
        if name in tensors:
            tensors[name].mul_(mask)


def _clip(gradients: dict[str, Tensor], largest: float) -> None:
    """Bound each member's own norm."""
    squares = [g.flatten(1).square().sum(1) for g in gradients.values()]
    norm = torch.stack(squares).sum(0).sqrt()
    factor = (largest / (norm + 1e-6)).clamp_max(1.0)
    for gradient in gradients.values():
        gradient.mul_(factor.reshape(-1, *[1] * (gradient.dim() - 1)))


def _cross_entropy(smoothing: float) -> Callable[..., Tensor]:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(outputs, labels, label_smoothing=smoothing)

    return loss


def _check(loops: Sequence[LoopConfig]) -> None:
    common = {dataclasses.replace(each, seed=0, weight_decay=0.0) for each in loops}
    if len(common) != 1:
        raise ValueError("Stacked members may differ in seed and weight decay only.")
    if loops[0].precision == "float16":
        raise ValueError(
            "executor='vmap' has no loss scaling for float16; use bfloat16 or float32."
        )


def _save(
    file: Path,
    params: Mapping[str, Tensor],
    buffers: Mapping[str, Tensor],
    update: _Sgd | _Adamw,
    epochs: int,
    seconds: float,
    means: list[list[float]],
) -> None:
    tensors = {f"param.{n}": t for n, t in params.items()}
    tensors |= {f"buffer.{n}": t for n, t in buffers.items()}
    for number, state in enumerate(update.states()):
        tensors |= {f"state.{number}.{n}": t for n, t in state.items()}
    tensors["generator"] = torch.get_rng_state()
    file.parent.mkdir(exist_ok=True)
    state = {"epochs": epochs, "seconds": seconds, "means": means}
    training.save_tensors(file, tensors, state=state)


@torch.no_grad()
def _taken_up(
    file: Path, params: Mapping[str, Tensor], buffers: Mapping[str, Tensor], update: _Sgd | _Adamw
) -> tuple[int, float, list[list[float]]]:
    tensors, state = training.load_file(file)
    groups = [("param", params), ("buffer", buffers)]
    groups += [(f"state.{i}", values) for i, values in enumerate(update.states())]
    for prefix, values in groups:
        for name, value in values.items():
            value.copy_(tensors[f"{prefix}.{name}"])
    torch.set_rng_state(tensors["generator"])
    return int(state["epochs"]), float(state["seconds"]), state["means"]
