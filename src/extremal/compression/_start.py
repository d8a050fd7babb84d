"""What the verbs start from: a network, one input's shape, and maybe data."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from extremal import pruning, training
from extremal.lab import Run
from extremal.training import Data, TrainingError

from ._architecture import ARCHITECTURE, PARENT, load_network
from ._config import SourceConfig

COMPRESS, EXPORT, SWEEP = "compression/compress", "compression/export", "compression/sweep"


@dataclass(frozen=True)
class Start:
    """A network to compress; it is a copy, in eval mode.

    Attributes:
        model: As a graph where it can be traced, else as it is.
        reason: Why it could not be traced, or "".
        shape: Sides of one input.
        macs: Of each layer, for one input.
        data: What it is measured on, if anything.
        parent: The network before `compress`, where one is given.
    """

    model: nn.Module
    reason: str
    shape: tuple[int, ...]
    macs: Mapping[str, int]
    data: Data | None
    name: str
    parent: nn.Module | None = None

    @property
    def note(self) -> str:
        """What belongs beside every accuracy."""
        return "" if self.data is None else self.data.note

    @property
    def data_key(self) -> str | None:
        """What identifies the data."""
        return None if self.data is None else self.data.fingerprint

    def origin(self) -> dict[str, Any] | None:
        """How to load the data again."""
        if self.data is None or self.data.origin is None:
            return None
        plain = self.data.origin._asdict()
        if plain["path"] is not None:
            plain["path"] = str(Path(plain["path"]).resolve())
        return plain

    def inputs(self, count: int, seed: int) -> torch.Tensor:
        """The first test images, normalised; or standard normal inputs where there are no data."""
        if self.data is None:
            generator = torch.Generator().manual_seed(seed)
            return torch.randn(count, *self.shape, generator=generator)
        return training.Normaliser(self.data, torch.device("cpu"))(self.data.test.images[:count])


def find_start(source: Any, data: Data | None, config: SourceConfig) -> Start:
    """Read what a verb was given.

    Raises:
        ValueError: It is nothing that can be compressed, or the shape of an input is unknown.
    """
    if data is None and config.data is not None:
        data = training.load_data(config.data, path=config.path, train_size=config.train_size)
    shape, parent = config.shape, None
    name = type(source).__name__
    if isinstance(source, str | Path):
        if has_network(Path(source)):
            parent = load_network(source, PARENT)[0]
        source, data, shape = _opened(Path(source), data, shape)
        name = "the run"
    if isinstance(source, training.Fit):
        data = source.data if data is None else data
        name, source = source.config.model, source.model
    elif isinstance(source, pruning.Pruned):
        source = source.model
    elif hasattr(source, "architecture") and isinstance(source.model, nn.Module):
        data = source.start.data if data is None else data
        shape, parent = source.start.shape, source.start.model
        source = source.model
    if not isinstance(source, nn.Module):
        raise ValueError(
            f"this takes a run folder, a result of fit, prune or compress, or a torch module; got "
            f"{type(source).__name__}."
        )
    if data is not None:
        shape = data.shape
    if not shape:
        raise ValueError(
            "the shape of one input is unknown; give data, or shape such as (3, 32, 32) (in the "
            "shell --shape 3 32 32)."
        )
    reason = ""
    try:
        model: nn.Module = training.traced(source, shape).cpu()
    except TrainingError as error:
        model, reason = copy.deepcopy(source).eval().cpu(), str(error)
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    macs = {n: layer.macs for n, layer in training.count_macs(model, shape).items()}
    if not macs:
        raise ValueError(f"{name} has no linear or convolutional layer, so nothing can be cut.")
    return Start(model, reason, shape, macs, data, name, parent)


def _opened(
    path: Path, data: Data | None, shape: tuple[int, ...]
) -> tuple[Any, Data | None, tuple[int, ...]]:
    run = Run.open(path)
    if run.kind in (COMPRESS, EXPORT):
        told = run.read_json("start.json")
        if data is None and told["data"] is not None:
            data = training.load_data(**told["data"])
        model, shape = load_network(path)
        return model, data, shape
    if run.kind == SWEEP:
        raise ValueError(
            f"{path} is a sweep, which keeps no network; give the run it was made from."
        )
    if run.kind.startswith("pruning/"):
        told = run.read_json("start.json")
        if data is None and told["data"] is not None:
            data = training.load_data(**told["data"])
        return pruning.load_pruned(path), data, shape
    return training.load_run(path, data=data), data, shape


def has_network(path: Path) -> bool:
    """Whether a folder holds a stored network."""
    return (path / ARCHITECTURE).is_file()
