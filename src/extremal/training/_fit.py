"""The verb `fit`: train a network on a data set and leave a run that can be opened and checked."""

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extremal.lab import (
    Run,
    RunError,
    Table,
    accuracy_part,
    append_record,
    command,
    derive_seed,
    from_plain,
    resolve,
    seed_everything,
    timing_part,
    to_plain,
    write_certificate,
)

from ._batches import DataBatches, steps_per_epoch
from ._coupled import coupled_sfw
from ._data import Data, Normaliser
from ._ddp import chosen_device, group
from ._errors import TrainingError
from ._evaluate import Evaluation, evaluate
from ._fit_report import write_fit_report
from ._load import load_data
from ._loop import History, LoopConfig, train
from ._modes import device_of, modes_kept, threads_used
from ._networks import network
from ._randomness import generators, generators_kept
from ._regularizers import REGULARIZERS, regularizer
from ._schedules import SCHEDULES, schedule
from ._sfw_pruning import AdaptiveRate, sfw_init_
from ._tensors import load_file, load_tensors, save_tensors
from ._weights import load_weights

KIND = "training/fit"
_USUAL_LR = {"sgd": 0.1, "adamw": 0.001, "muon": 0.02, "scion": 2**-8}
_TIMED_IMAGES, _REPEATS = 32, 7


@dataclass(frozen=True)
class Config(LoopConfig):
    """What `fit` trains, on what, and how."""

    model: str = "resnet20"
    """mlp, cnn, resnet20, resnet56, resnet18, vgg16-bn, wrn-DEPTH-WIDTH or module:function."""
    data: str = "digits"
    """digits, cifar10, mnist or module:function."""
    path: str | None = None
    """Where cifar10 or mnist lies: a tar, a folder or an .npz file."""
    epochs: int = 20
    """Passes over the training images."""
    train_size: int | None = None
    """Train on this many images, each class in proportion; all by default."""
    validation: float = 0.0
    """Share of the training images to set aside."""
    augment: str | None = None
    """none, crop or crop-flip; by default what suits the data."""
    lr: float | None = None
    """Largest learning rate; by default 0.1 with sgd, 0.1 / (1 - dampening) with sfw (its averaged
    momentum is a tenth of the sum of sgd), 0.001 with adamw, 0.02 with muon, 2^-8 with scion."""
    schedule: str = "linear"
    """linear, cosine, step, thirds or constant."""
    warmup: float = 0.0
    """Share of the iterations in which the learning rate rises from 0."""
    weights: str | None = None
    """Start from the weights in this safetensors file."""
    regularizer: str = "none"
    """none, or with sgd: ssl, glt, abfp (filters), nuc (proximal), nuc-loss, lc (ranks)."""
    strength: float | None = None
    """Its weight; by default a usual one of each."""
    ratio: float = 0.5
    """abfp: the share of filters that will go."""
    coupled: bool = False
    """group-k-support: a group runs through all layers that can only lose it together."""
    adapt_rate: bool = False
    """From epoch 21 on let the learning rate follow the loss, as SFW-pruning does."""
    sfw_init: int = 0
    """Steps of SFW-Init before the training; 390 is usual."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.epochs < 1:
            raise ValueError(f"epochs={self.epochs} trains nothing; give 1 or more.")
        if self.schedule not in SCHEDULES:
            raise ValueError(
                f"there is no schedule {self.schedule!r}; there are {', '.join(SCHEDULES)}."
            )
        if self.regularizer not in REGULARIZERS:
            raise ValueError(
                f"there is no regularizer {self.regularizer!r}; there are "
                f"{', '.join(REGULARIZERS)}."
            )
        if self.regularizer != "none" and self.optimizer == "sfw":
            raise ValueError(
                f"regularizer={self.regularizer!r} with optimizer='sfw': a region takes the place "
                "of a regularizer; choose one of the two."
            )
        if self.strength is not None and not 0 < self.strength < math.inf:
            raise ValueError(f"strength={self.strength} is out of range; give a number above 0.")
        if self.coupled and (self.optimizer, self.region) != ("sfw", "group-k-support"):
            raise ValueError(
                "coupled=True couples filters, so it needs optimizer='sfw' and "
                "region='group-k-support'."
            )
        if self.sfw_init and self.optimizer != "sfw":
            raise ValueError("sfw_init prepares Frank-Wolfe steps; it needs optimizer='sfw'.")
        if self.sfw_init < 0:
            raise ValueError(f"sfw_init={self.sfw_init}; give 0 (none) or more steps.")
        schedule("constant", 1, self.peak_lr, warmup=self.warmup)  # refuses a senseless lr, warmup

    @property
    def peak_lr(self) -> float:
        """The largest learning rate."""
        if self.lr is not None:
            return self.lr
        if self.optimizer == "sfw":
            dampening = self.momentum if self.dampening is None else self.dampening
            # 15 digits: 0.1 / (1 - 0.9) is 1, also where floats say 1.0000000000000002
            return float(f"{0.1 / (1 - dampening):.15g}")
        return _USUAL_LR[self.optimizer]


@dataclass(frozen=True)
class Fit:
    """A trained network with everything that is known about it."""

    model: nn.Module
    config: Config
    data: Data
    evaluation: Evaluation
    """On the test split."""
    history: History
    validation: Evaluation | None = None
    """On the validation split, where one was set aside."""
    path: Path | None = None
    """The run folder, if one was written."""
    certificate: Path | None = None
    exit_code: int = field(default=0, repr=False)

    @property
    def accuracy(self) -> float:
        """Share of correct answers on the test split, 0..1."""
        return self.evaluation.top1

    def table(self) -> Table:
        """The result in a line."""
        row: dict[str, Any] = {
            "model": self.config.model,
            "data": self.data.name,
            "trained on": len(self.data.train),
            "epochs": self.history.epochs,
            "accuracy": f"{self.accuracy:.2%}",
            "of": self.evaluation.n,
            "loss": round(self.evaluation.loss, 4),
            "ECE": round(self.evaluation.ece, 4),
            "seconds": round(self.history.seconds, 1),
        }
        if self.validation is not None:
            row["validation"] = f"{self.validation.top1:.2%}"
        return Table(list(row), [list(row.values())], self.data.note)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "accuracy": self.accuracy,
            "validation_accuracy": None if self.validation is None else self.validation.top1,
            "loss": self.evaluation.loss,
            "ece": self.evaluation.ece,
            "mce": self.evaluation.mce,
            "n": self.evaluation.n,
            "epochs": self.history.epochs,
            "steps": self.history.steps,
            "seconds": self.history.seconds,
            "note": self.data.note,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
            "config": to_plain(self.config),
        }


@command(options=Config)
def fit(
    config: Config | None = None,
    *,
    data: Data | str | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Fit:
    """Train a network.

    Args:
        config: All options at once; or give any of its fields as keywords.
        data: A `Data` in place of the one that the options name.
        out: Folder for the run: configuration, weights, history, certificate, report.
        resume: Go on with the run in `out`; one that is finished is returned at once.
        force: Replace the run in `out`.
        **options: Fields of `Config`; they replace those of `config`.

    Returns:
        The network and its test accuracy.

    Raises:
        ValueError: An option makes no sense.
        TrainingError: Data or weights cannot be read, or the training diverged.
        RunError: `out` holds another run.

    Example:
        >>> result = fit(model="mlp", epochs=3)
        >>> result.accuracy > 0.8
        True
    """
    if isinstance(data, str):
        options["data"], data = data, None
    settings = resolve(Config, config, options)
    settings, loaded = _with_data(settings, data)
    with threads_used(settings.threads):
        return _fit(settings, loaded, None if out is None else Path(out), resume, force)


def load_run(path: str | Path, *, data: Data | None = None) -> Fit:
    """Open a finished run of `fit` again.

    Args:
        path: The run folder.
        data: The data it was trained on, where the run cannot load them itself.

    Raises:
        RunError: The folder is no finished run, or one of its files is damaged.
        TrainingError: The weights are damaged, or the data are not those of the run.
    """
    run = Run.open(path, kind=KIND)
    plain = dict(run.config)
    fingerprint = plain.pop("data_sha256")
    config = from_plain(Config, plain)
    if not (run.path / "result.json").exists():
        raise RunError(f"{run.path} is not finished; continue it with --resume.")
    result = run.read_json("result.json")
    if data is None:
        data = _with_data(config, None)[1]
    if data.fingerprint != fingerprint:
        raise TrainingError(
            f"{run.path} was trained on other data than {data.name} is now (SHA-256 "
            f"{fingerprint[:12]}… there, {data.fingerprint[:12]}… now); pass data= with the same."
        )
    model = _network(config, data)
    model.load_state_dict(
        load_tensors(run.path / "model.safetensors", sha256=result["model_sha256"])
    )
    if not config.device.startswith("cuda") or torch.cuda.is_available():
        model.to(chosen_device(config.device))  # else a CPU opens what a GPU trained
    history = from_plain(History, run.read_json("history.json"))
    return Fit(
        model=model,
        config=config,
        data=data,
        evaluation=_read_evaluation(run.path / "evaluation.safetensors"),
        history=history,
        validation=None
        if data.validation is None
        else _read_evaluation(run.path / "validation.safetensors"),
        path=run.path,
        certificate=run.path / "certificate.json",
    )


def _with_data(config: Config, data: Data | None) -> tuple[Config, Data]:
    """Load the data that the options name; or write into the options what was given."""
    if data is None:
        if config.path is not None:
            config = replace(config, path=str(Path(config.path).resolve()))
        return config, load_data(
            config.data,
            path=config.path,
            train_size=config.train_size,
            validation=config.validation,
            augment=config.augment,
        )
    origin = data.origin
    if origin is None or origin.seed != 0:
        return replace(config, data=data.name, path=None, train_size=None, augment=None), data
    path = None if origin.path is None else str(Path(origin.path).resolve())
    return (
        replace(
            config,
            data=origin.name,
            path=path,
            train_size=origin.train_size,
            validation=origin.validation,
            augment=origin.augment,
        ),
        data,
    )


def _network(config: Config, data: Data) -> nn.Module:
    channels, height, width = data.shape
    with generators_kept(torch.device("cpu")):
        seed_everything(derive_seed(config.seed, "network"))
        return network(
            config.model,
            in_channels=channels,
            classes=data.classes,
            image_size=height if height == width else (height, width),
        )


def _fit(config: Config, data: Data, out: Path | None, resume: bool, force: bool) -> Fit:
    device = chosen_device(config.device)
    model = _network(config, data)
    if config.weights is not None:
        load_weights(model, config.weights)
    model.to(device)  # before anything is made for its parameters
    _refuse_misfit(model, config, data)
    processes = group(device)
    run = None
    if out is not None and processes.writes:
        plain = {**to_plain(config), "data_sha256": data.fingerprint}
        run = Run.create(out, kind=KIND, config=plain, resume=resume, force=force)
    processes.wait()
    try:
        if out is not None and resume and (out / "result.json").exists():
            return load_run(out, data=data)
        checkpoint = None if out is None else out / "checkpoints" / "fit.safetensors"
        each = steps_per_epoch(data, config.batch_size)
        if config.sfw_init:
            _sfw_init(model, config, data)
        adaptive = AdaptiveRate() if config.adapt_rate else None
        history = train(
            model,
            data,
            epochs=config.epochs,
            lr=schedule(
                config.schedule, config.epochs * each, config.peak_lr, warmup=config.warmup
            ),
            loop=config,
            hooks=[
                *regularizer(
                    config.regularizer, config.strength, ratio=config.ratio, epochs=config.epochs
                ),
                *([] if adaptive is None else [adaptive]),
            ],
            optimizer=coupled_sfw(model, config, data.shape) if config.coupled else None,
            checkpoint=checkpoint,
            label=f"{config.model} on {data.name}",
        )
        if adaptive is not None:
            rates = tuple(r * adaptive.factors[i // each] for i, r in enumerate(history.lr))
            history = replace(history, lr=rates)
        result = Fit(
            model=model,
            config=config,
            data=data,
            evaluation=evaluate(model, data),
            history=history,
            validation=None
            if data.validation is None
            else evaluate(model, data.validation, data=data),
        )
        if run is not None:
            _write(run, result)
        processes.wait()
    finally:
        if run is not None:
            run.release()
    if out is None:
        return result
    return replace(result, path=out, certificate=out / "certificate.json")


def _sfw_init(model: nn.Module, config: Config, data: Data) -> None:
    """Run SFW-Init on batches of the training data, in an order of their own."""
    from extremal import frankwolfe as fw

    device = device_of(model)
    batches = DataBatches(data, config.batch_size, derive_seed(config.seed, "sfw-init"), device)
    region = fw.region_named(config.region, width=config.width, fraction=config.fraction)

    def forever() -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        for epoch in count():
            for batch in batches.epoch(epoch, 0, generators(device)):
                yield batch.content

    with generators_kept(device), modes_kept(model):
        sfw_init_(model, forever(), region, iterations=config.sfw_init, rate=config.peak_lr)


def _refuse_misfit(model: nn.Module, config: Config, data: Data) -> None:
    """Find out with one image, not in the middle of a training, that a network does not fit."""
    image = Normaliser(data, device_of(model))(data.test.images[:1].to(device_of(model)))
    with modes_kept(model), torch.no_grad():
        model.eval()
        try:
            scores = model(image)
        except (RuntimeError, ValueError, IndexError) as error:
            reason = str(error).partition("\n")[0]
            raise ValueError(
                f"{config.model} does not take images of shape {data.shape} ({reason}); give a "
                "network made for this data."
            ) from error
    if not isinstance(scores, torch.Tensor) or scores.shape != (1, data.classes):
        shape = tuple(scores.shape) if isinstance(scores, torch.Tensor) else type(scores).__name__
        raise ValueError(
            f"{config.model} gives {shape} for one image of {data.name}; it must give one score "
            f"for each of the {data.classes} classes, (1, {data.classes})."
        )


def _write(run: Run, result: Fit) -> None:
    """Write what was learned; `result.json` comes last and says that the run is whole."""
    config, data, path = result.config, result.data, run.path
    weights = save_tensors(path / "model.safetensors", result.model.state_dict())
    run.write_json("history.json", to_plain(result.history))
    _write_evaluation(path / "evaluation.safetensors", result.evaluation)
    parts = [
        accuracy_part(
            f"{config.model}, dense, {config.epochs} epochs",
            result.evaluation.correct,
            result.evaluation.labels,
            data=f"{data.name}, test split",
            seed=config.seed,
            note=data.note,
        )
    ]
    if result.validation is not None:
        _write_evaluation(path / "validation.safetensors", result.validation)
    images = min(_TIMED_IMAGES, len(data.test))
    seconds = _timed(result.model, data, images)
    parts.append(
        timing_part(
            f"forward pass of {images} images on {config.device}, "
            f"{torch.get_num_threads()} threads",
            seconds,
            data=f"{data.name}, test split",
        )
    )
    write_certificate(path / "certificate.json", parts)
    write_fit_report(
        path,
        config.model,
        data,
        result.history,
        result.evaluation,
        result.table(),
        _optimizer(config),
    )
    if not run.records():
        append_record(
            path / "records.jsonl",
            question=f"How accurate is {config.model} on {data.name}?",
            configuration=run.config,
            seed=config.seed,
            samples={"accuracy": [result.accuracy], "forward_seconds": seconds},
            wall_seconds=result.history.seconds,
            notes=data.note,
        )
    channels, height, width = data.shape
    run.write_json(
        "result.json",
        {
            "model_sha256": weights,
            "input": [channels, height, width],
            "classes": list(data.class_names),
            "accuracy": result.accuracy,
            "loss": result.evaluation.loss,
            "note": data.note,
        },
    )
    # The final checkpoint repeats the weights and the optimizer's buffers; the run is whole now.
    (path / "checkpoints" / "fit.safetensors").unlink(missing_ok=True)


def _timed(model: nn.Module, data: Data, images: int) -> list[float]:
    device = device_of(model)
    batch = Normaliser(data, device)(data.test.images[:images].to(device))
    seconds: list[float] = []
    with modes_kept(model), torch.no_grad():
        model.eval()
        for _ in range(_REPEATS + 1):
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            start = time.perf_counter()
            model(batch)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            seconds.append(time.perf_counter() - start)
    return seconds[1:]  # the first one warms up


def _optimizer(config: Config) -> str:
    """The optimizer in words."""
    rate = f"{config.optimizer}, largest learning rate {config.peak_lr:g}, {config.schedule}"
    if config.optimizer != "sfw":
        return f"{rate}, weight decay {config.weight_decay:g}"
    dampening = config.momentum if config.dampening is None else config.dampening
    return (
        f"{rate}, over {config.region} regions of width {config.width:g}; rescaling by "
        f"{config.rescale}, momentum {config.momentum:g}, dampening {dampening:g}, seeded with "
        f"{config.momentum_seed}"
    )


def _write_evaluation(path: Path, evaluation: Evaluation) -> None:
    arrays = {name: getattr(evaluation, name) for name in ("correct", "labels", "predicted")}
    rest = {name: getattr(evaluation, name) for name in ("loss", "top1", "ece", "mce", "n")}
    rest["per_class"] = [None if x != x else x for x in evaluation.per_class]
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    save_tensors(path, tensors, state=rest)


def _read_evaluation(path: Path) -> Evaluation:
    tensors, rest = load_file(path)
    per_class = tuple(float("nan") if x is None else x for x in rest.pop("per_class"))
    arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
    return Evaluation(**arrays, **rest, per_class=per_class)
