"""The training loop: one function, read from top to bottom.

What decides the result is the model's weights at the start, the data, the learning rates and the
`LoopConfig`. Batch order is a function of (seed, epoch) and augmentation of (seed, epoch, image),
so a training that is killed and taken up from its checkpoint gives the same bits on a CPU with
one thread, and the same up to rounding elsewhere.
"""

import dataclasses
import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from torch.optim import SGD, AdamW, Optimizer

from extremal.lab import derive_seed, progress, seed_everything

from ._batches import DataBatches, LoaderBatches
from ._captured import CapturedStep
from ._checkpoint import load_optimizer, read_checkpoint, weights_digest, write_checkpoint
from ._data import Data
from ._ddp import Group, chosen_device, group
from ._errors import TrainingError
from ._hooks import Hooks
from ._modes import modes_kept, threads_used
from ._randomness import generators, generators_kept, set_generators

PRECISIONS = {"float32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
CONSTRAIN = ("weights", "all")
OPTIMIZERS = ("sgd", "adamw", "sfw", "muon", "scion")
_LOOK_EVERY = 50  # steps between looks at the loss on a GPU, where each look waits for it
_MACHINE = ("device", "threads", "checkpoint_every", "graph")  # how a job is run, not what it is

Loss = Callable[[Any, Any], Tensor]
TrainingStep = Callable[[nn.Module, Any], Tensor]


@dataclass(frozen=True)
class LoopConfig:
    """How a training makes its steps."""

    batch_size: int = 128
    """Images per step, over all processes together."""
    optimizer: str = "sgd"
    """sgd, adamw, or over regions: sfw, muon, scion (see the Frank-Wolfe page)."""
    region: str = "l2"
    """Region of all weights with sfw: l1, l2, linf, k-sparse, k-support, k-norm, group-l1,
    group-k-support, nuclear, spectral or spectral-k-support."""
    width: float = 20.0
    """Its width: the radius of the l2 ball of the same diameter over the initial norm."""
    fraction: float = 0.1
    """Share of entries, filters or singular values, for the regions that count them."""
    constrain: str = "weights"
    """What lies in regions with sfw: weights (biases and norms are free), or all, as in the
    compression-aware papers: every tensor; regions of filters and spectra take the convolutions
    and leave an l2 ball of the same width to the rest."""
    rescale: str = "gradient"
    """Step lengths of sfw: none, diameter, gradient or fast_gradient."""
    dampening: float | None = None
    """Share of each gradient that sfw leaves out; by default momentum, which makes an average."""
    momentum_seed: str = "zero"
    """How sfw's momentum starts: zero, or gradient (with dampening 0 the compression-aware way)."""
    spectral: str = "accurate"
    """How sfw and scion solve spectral regions: fast, accurate, feasible or exact."""
    momentum: float = 0.9
    """Momentum; an undamped sum with sgd, an average with the others."""
    nesterov: bool | None = None
    """Nesterov's momentum; by default where there is weight decay."""
    weight_decay: float = 5e-4
    """Weight decay, on all parameters; sfw and scion have none, a region takes its place."""
    label_smoothing: float = 0.0
    """Share of the target that is spread evenly over the classes."""
    clip_norm: float = 0.0
    """Largest Euclidean norm of the whole gradient; 0 does not clip."""
    precision: str = "float32"
    """float32, bfloat16 or float16 (CUDA only); weights and optimizer stay float32."""
    channels_last: bool = False
    """Keep images and convolutions with channels innermost; often faster on GPUs and CPUs."""
    seed: int = 0
    """Decides batch order, augmentation and dropout."""
    device: str = "cpu"
    """cpu, cuda or cuda:NUMBER."""
    graph: bool = False
    """CUDA only: record the forward and backward pass once and replay it. Several times faster for
    small networks, whose steps are bound by the launches of their kernels."""
    threads: int = 0
    """CPU threads of torch; 0 leaves torch's own number, 1 makes resuming bit-identical."""
    checkpoint_every: int = 0
    """Steps between checkpoints; 0 writes one after each epoch."""

    def __post_init__(self) -> None:
        for value, fine, name, rule in (
            (self.batch_size, self.batch_size >= 1, "batch_size", "1 or more"),
            (self.momentum, 0 <= self.momentum < 1, "momentum", "0 <= momentum < 1"),
            (self.weight_decay, 0 <= self.weight_decay < math.inf, "weight_decay", "0 or more"),
            (self.label_smoothing, 0 <= self.label_smoothing < 1, "label_smoothing", "0 <= s < 1"),
            (self.clip_norm, 0 <= self.clip_norm < math.inf, "clip_norm", "0 (off) or more"),
            (self.threads, self.threads >= 0, "threads", "0 (torch's number) or more"),
            (self.checkpoint_every, self.checkpoint_every >= 0, "checkpoint_every", "0 or more"),
            (self.optimizer, self.optimizer in OPTIMIZERS, "optimizer", " or ".join(OPTIMIZERS)),
            (self.precision, self.precision in PRECISIONS, "precision", ", ".join(PRECISIONS)),
            (self.constrain, self.constrain in CONSTRAIN, "constrain", " or ".join(CONSTRAIN)),
        ):
            if not fine:
                raise ValueError(f"{name}={value!r} is out of range; choose {rule}.")
        if self.precision == "float16" and not self.device.startswith("cuda"):
            raise ValueError(
                f"precision='float16' needs a CUDA device and device={self.device!r}: float16 "
                "gradients underflow without its scaled kernels; use precision='bfloat16'."
            )
        if self.graph and (self.precision == "float16" or not self.device.startswith("cuda")):
            raise ValueError(
                f"graph=True with device={self.device!r} and precision={self.precision!r}: a CUDA "
                "graph needs a CUDA device, and cannot skip the steps that float16 must skip when "
                "it overflows. Leave it out, or use precision='bfloat16'."
            )
        if self.nesterov and not self.momentum:
            raise ValueError(
                "nesterov=True with momentum=0 has no momentum to look ahead along; "
                "set momentum, or leave nesterov out."
            )


@dataclass(frozen=True)
class History:
    """What happened in a training."""

    lr: tuple[float, ...]
    """The learning rate of every iteration."""
    loss: tuple[float, ...]
    """Mean training loss of each epoch, without penalties."""
    steps: int
    epochs: int
    seconds: float
    """Time in the loop, over all its interruptions."""


def train(
    model: nn.Module,
    data: Data | Iterable[Any],
    *,
    epochs: int,
    lr: Sequence[float] | Callable[[int], float],
    loop: LoopConfig | None = None,
    hooks: Sequence[Hooks] = (),
    optimizer: Optimizer | Callable[..., Optimizer] | None = None,
    loss: Loss | None = None,
    training_step: TrainingStep | None = None,
    checkpoint: str | Path | None = None,
    label: str = "",
    alone: bool = False,
) -> History:
    """Train a model in place.

    Args:
        model: Any module; it is moved to the device of `loop` and stays there. Its modules are
            in train mode meanwhile and afterwards as before.
        data: A `Data`, or an iterable of batches with a length, such as a DataLoader. Batches
            are (inputs, labels), or whatever `training_step` takes.
        epochs: Passes over the training data, 1 or more.
        lr: The learning rate of each iteration: a list with one entry per iteration, or a
            function of the iteration. Set in every parameter group before the step.
        loop: How steps are made.
        hooks: Called at fixed places of each step, in their order.
        optimizer: An optimizer over the model's parameters, or a function that makes one from
            them; by default the one `loop` names.
        loss: Of (outputs, labels), the mean over the batch; by default cross-entropy.
        training_step: Of (model, batch), returns the mean loss; replaces the forward pass and
            `loss`.
        checkpoint: A file for checkpoints. Where it exists and belongs to this training, the
            training goes on from it; it then also says when there is nothing left to do.
        label: What the progress display calls it.
        alone: Train in this process only, also where `torchrun` started several: each may then
            train a network of its own.

    Returns:
        The history, over all interruptions.

    Raises:
        ValueError: An argument makes no sense.
        TrainingError: The loss is not finite (nothing of that step is kept in the checkpoint),
            or the checkpoint is damaged or of another training.

    Example:
        >>> from extremal.training import load_data, network, schedule, steps_per_epoch
        >>> data = load_data("digits")
        >>> model = network("mlp", in_channels=1, classes=10, image_size=8)
        >>> rates = schedule("linear", 2 * steps_per_epoch(data, 128), 0.1)
        >>> train(model, data, epochs=2, lr=rates).steps
        24
    """
    loop = loop or LoopConfig()
    if epochs < 1:
        raise ValueError(f"epochs={epochs} trains nothing; give 1 or more.")
    device = chosen_device(loop.device)
    processes = Group() if alone else group(device)
    if isinstance(data, Data):
        batches = DataBatches(data, loop.batch_size, loop.seed, device, processes)
    else:
        batches = LoaderBatches(data, device)
    total = batches.steps * epochs
    rates = _rates(lr, total)
    file = None if checkpoint is None else Path(checkpoint)
    training_step = training_step or _usual_step(loss or _cross_entropy(loop), loop)
    if loop.graph:
        _check_graph(hooks, processes)

    with (
        threads_used(loop.threads),
        generators_kept(device),
        modes_kept(model),
        _own_stream(device) if loop.graph else nullcontext(),
    ):
        seed_everything(derive_seed(loop.seed, "loop"))
        model.to(device)
        if loop.channels_last:
            _channels_last(model)
        model.train()
        update = _optimizer(model, loop, optimizer)
        job = _job(model, data, loop, rates, hooks, update, batches.steps) if file else {}
        for hook in hooks:
            hook.start(model, update)
        runner = processes.wrapped(model, device)
        precision = PRECISIONS[loop.precision]
        captured = CapturedStep(model, training_step, precision) if loop.graph else None
        scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)
        place = _Place(generators(device))
        if file is not None and file.exists():
            place = _taken_up(file, job, model, update, scaler, hooks, device)
        started = time.perf_counter() - place.seconds

        def save() -> None:
            if file is not None and processes.writes:
                place.seconds = time.perf_counter() - started
                _save(file, job, place, model, update, scaler, hooks, device)

        bar = progress(total - place.step, label or "training") if processes.writes else None
        with bar or nullcontext():
            for epoch in range(place.step // batches.steps, epochs):
                first = place.step % batches.steps
                if first == 0:
                    place.began, place.losses, place.images = generators(device), [], []
                due = False
                recent: list[Tensor] = []  # losses that the CPU has not looked at
                for number, batch in enumerate(batches.epoch(epoch, first, place.began), first):
                    step = place.step
                    for settings in update.param_groups:
                        settings["lr"] = rates[step]
                    for hook in hooks:
                        hook.before_step(step)
                    update.zero_grad(set_to_none=True)
                    replayed = None if captured is None else captured.replayed(batch.content)
                    if replayed is None:
                        with torch.autocast(device.type, precision, enabled=precision is not None):
                            value = training_step(runner, batch.content)
                        recent.append(value.detach())
                        objective = value if batch.weight == 1.0 else value * batch.weight
                    else:
                        recent.append(replayed)
                        objective = None  # its gradient is there already
                    for hook in hooks:
                        extra = hook.penalty()
                        if extra is not None:
                            objective = extra if objective is None else objective + extra
                    if objective is not None:
                        scaler.scale(objective).backward()
                    scaler.unscale_(update)  # hooks and clipping want true gradients
                    for hook in hooks:
                        hook.after_backward(step)
                    if loop.clip_norm:
                        nn.utils.clip_grad_norm_(model.parameters(), loop.clip_norm)
                    scaler.step(update)
                    scaler.update()
                    for hook in hooks:
                        hook.after_step(step)

                    place.step += 1
                    place.images.append(batch.size)
                    ended = number + 1 == batches.steps
                    due = place.step % (loop.checkpoint_every or batches.steps) == 0
                    if device.type == "cpu" or ended or due or len(recent) >= _LOOK_EVERY:
                        place.losses += _finite(recent, place.step, rates)
                        recent = []
                    if due and not ended:
                        save()
                    if bar is not None:
                        bar.advance()
                place.means.append(_epoch_mean(place, processes, device))
                for hook in hooks:
                    hook.epoch_loss(epoch, place.means[-1])
                    hook.after_epoch(epoch)
                if bar is not None:
                    bar.advance(0, f"loss {place.means[-1]:.4g}")
                if due or place.step == total:
                    save()
        seconds = time.perf_counter() - started if place.step else 0.0
    return History(tuple(rates), tuple(place.means), total, epochs, seconds)


@dataclass
class _Place:
    """Where a training stands."""

    began: Mapping[str, Tensor]
    """The random generators when this epoch began."""
    step: int = 0
    seconds: float = 0.0
    means: list[float] = field(default_factory=list[float])
    """Mean loss of each finished epoch."""
    losses: list[float] = field(default_factory=list[float])
    """Loss of each step of this epoch."""
    images: list[int] = field(default_factory=list[int])
    """Images of each step of this epoch."""


def _save(
    file: Path,
    job: Mapping[str, Any],
    place: _Place,
    model: nn.Module,
    update: Optimizer,
    scaler: torch.amp.GradScaler,
    hooks: Sequence[Hooks],
    device: torch.device,
) -> None:
    write_checkpoint(
        file,
        job,
        model.state_dict(),
        {
            "place": vars(place),
            "optimizer": update.state_dict(),
            "scaler": scaler.state_dict(),
            "hooks": [hook.state() for hook in hooks],
            "generators": generators(device),
        },
    )


def _taken_up(
    file: Path,
    job: Mapping[str, Any],
    model: nn.Module,
    update: Optimizer,
    scaler: torch.amp.GradScaler,
    hooks: Sequence[Hooks],
    device: torch.device,
) -> _Place:
    """Put everything into the state of the checkpoint, in place."""
    weights, parts = read_checkpoint(file, job)
    model.load_state_dict(weights)
    load_optimizer(update, parts["optimizer"])
    scaler.load_state_dict(parts["scaler"])
    for hook, kept in zip(hooks, parts["hooks"], strict=True):
        hook.load_state(kept)
    set_generators(parts["generators"], device)
    return _Place(**parts["place"])


def _job(
    model: nn.Module,
    data: Data | Iterable[Any],
    loop: LoopConfig,
    rates: Sequence[float],
    hooks: Sequence[Hooks],
    update: Optimizer,
    per_epoch: int,
) -> dict[str, Any]:
    """What must be equal for a checkpoint to be taken up."""
    settings = {
        f.name: getattr(loop, f.name)
        for f in dataclasses.fields(LoopConfig)
        if f.name not in _MACHINE
    }
    return {
        **settings,
        "data": data.fingerprint if isinstance(data, Data) else "the caller's batches",
        "steps per epoch": per_epoch,
        "learning rates": hashlib.sha256(repr(list(rates)).encode()).hexdigest(),
        "rule": type(update).__name__,
        "hooks": [type(hook).__name__ for hook in hooks],
        "weights at the start": weights_digest(model),
    }


def _rates(lr: Sequence[float] | Callable[[int], float], total: int) -> list[float]:
    rates = [float(lr(i)) for i in range(total)] if callable(lr) else [float(x) for x in lr]
    if len(rates) != total:
        raise ValueError(
            f"lr has {len(rates)} entries and the training {total} iterations; give one learning "
            "rate per iteration (steps_per_epoch counts them)."
        )
    for step, rate in enumerate(rates):
        if not 0 <= rate < math.inf:
            raise ValueError(
                f"lr is {rate} at iteration {step}; a learning rate must be finite and 0 or more."
            )
    return rates


def _cross_entropy(loop: LoopConfig) -> Loss:
    def loss(outputs: Tensor, labels: Tensor) -> Tensor:
        return cross_entropy(outputs, labels, label_smoothing=loop.label_smoothing)

    return loss


def _usual_step(loss: Loss, loop: LoopConfig) -> TrainingStep:
    def step(model: nn.Module, batch: Any) -> Tensor:
        inputs, labels = batch
        if loop.channels_last and inputs.ndim == 4:
            inputs = inputs.contiguous(memory_format=torch.channels_last)
        return loss(model(inputs), labels)

    return step


def _channels_last(model: nn.Module) -> None:
    for tensor in (*model.parameters(), *model.buffers()):
        if tensor.ndim == 4:
            tensor.data = tensor.data.contiguous(memory_format=torch.channels_last)


def _check_graph(hooks: Sequence[Hooks], processes: Group) -> None:
    if processes.world > 1:
        raise ValueError("graph=True and several processes do not go together; leave one of them.")
    for hook in hooks:
        if not hook.values_only:
            raise ValueError(
                f"graph=True with {type(hook).__name__}: a recorded step reads the values of "
                "parameters anew and nothing else, and this hook does not say (values_only) that "
                "it changes no more than that. Train with graph=False."
            )


@contextmanager
def _own_stream(device: torch.device) -> Generator[None]:
    """Compute on another stream than torch's own, after what is on that one and before what comes.

    Graphs cannot be recorded on torch's own stream.
    """
    before, stream = torch.cuda.current_stream(device), torch.cuda.Stream(device)
    stream.wait_stream(before)
    try:
        with torch.cuda.stream(stream):
            yield
    finally:
        before.wait_stream(stream)


def _optimizer(
    model: nn.Module, loop: LoopConfig, given: Optimizer | Callable[..., Optimizer] | None
) -> Optimizer:
    if isinstance(given, Optimizer):
        return given
    parameters = [p for p in model.parameters() if p.requires_grad]
    if not parameters:
        raise ValueError(
            "The model has no parameter that requires a gradient, so there is nothing to train."
        )
    if given is not None:
        return given(parameters)
    # lr=0 until the loop sets the rate of the first step.
    if loop.optimizer == "adamw":
        return AdamW(parameters, lr=0.0, weight_decay=loop.weight_decay)
    if loop.optimizer in ("sfw", "muon", "scion"):
        return _over_regions(model, loop)
    nesterov = loop.nesterov
    if nesterov is None:
        nesterov = loop.weight_decay > 0 and loop.momentum > 0
    return SGD(
        parameters,
        lr=0.0,
        momentum=loop.momentum,
        weight_decay=loop.weight_decay,
        nesterov=nesterov,
    )


def _over_regions(model: nn.Module, loop: LoopConfig) -> Optimizer:
    """The Frank-Wolfe family; the loop sets the rate of every group."""
    from extremal import frankwolfe as fw

    if loop.optimizer == "muon":
        return fw.Muon(model, lr=0.0, weight_decay=loop.weight_decay, momentum=loop.momentum)
    if loop.optimizer == "scion":
        return fw.Scion(model, lr=0.0, momentum=loop.momentum, spectral=loop.spectral)
    return fw.SFW(
        region_groups(model, loop),
        lr=0.0,
        momentum=loop.momentum,
        dampening=loop.dampening,
        momentum_seed=loop.momentum_seed,
        rescale=loop.rescale,
        spectral=loop.spectral,
        start="shrink",
    )


def region_groups(model: nn.Module, loop: LoopConfig) -> list[dict[str, Any]]:
    """Parameter groups with the region of each, as `loop` names them."""
    from extremal import frankwolfe as fw

    region = fw.region_named(loop.region, width=loop.width, fraction=loop.fraction)
    if loop.constrain == "weights":
        return fw.regions_for(model, weights=region)
    ball = fw.L2Ball(width=loop.width)
    convolutions = (nn.Conv1d, nn.Conv2d, nn.Conv3d)
    kinds = convolutions if any(isinstance(m, convolutions) for m in model.modules()) else nn.Linear

    def rule(name: str, module: nn.Module, p: Tensor) -> fw.Region:
        del name
        if not region.matrix:
            return region
        return region if isinstance(module, kinds) and p.ndim > 1 else ball

    return fw.regions_for(model, rule)


def _finite(recent: Sequence[Tensor], done: int, rates: Sequence[float]) -> list[float]:
    """Return the losses of the last steps, of which `done` was the last."""
    values = [float(v) for v in torch.stack(list(recent)).tolist()]
    for step, value in enumerate(values, done - len(values)):
        if not math.isfinite(value):
            raise TrainingError(
                f"The loss became {value} at iteration {step}, where the learning rate is "
                f"{rates[step]:.6g}: the training diverged and was stopped. Use a smaller lr, a "
                "longer warmup, or clip_norm=1."
            )
    return values


def _epoch_mean(place: _Place, processes: Group, device: torch.device) -> float:
    weighted = math.fsum(v * n for v, n in zip(place.losses, place.images, strict=True))
    sums = torch.tensor([weighted, sum(place.images)], dtype=torch.float64, device=device)
    total, images = processes.summed(sums).tolist()
    return total / images
