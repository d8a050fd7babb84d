"""Where a pruning starts: network, present masks, data, and what the dense training was like."""

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from extremal import training
from extremal.lab import Run, derive_seed, from_plain, seed_everything, to_plain
from extremal.training import Data, Evaluation, Fit, LayerMacs, LoopConfig

from ._budget import Cost
from ._config import USUAL_LR, Config
from ._errors import PruningError
from ._masks import Masks
from ._prunable import prunable_weights
from ._result import Pruned
from ._runs import KIND, SOUP_KIND, load_pruned, make_network
from ._schedules import DenseRates
from ._selectors import pruned_count

PRESENT_AT = 0.01  # a network with this share of exact zeros counts as pruned already


@dataclass(frozen=True)
class Start:
    """Everything that the phases need and do not change (the model is a copy of the caller's)."""

    model: nn.Module
    masks: Masks | None
    train: Any  # a Data, or batches
    test: Any  # a Data, batches, or None
    loop: LoopConfig
    rates: DenseRates | None
    dense_epochs: int | None
    cost: Cost  # of the dense training
    macs: dict[str, LayerMacs]
    network: dict[str, Any] | None  # how to make the network again, where it has a name
    data: dict[str, Any] | None  # how to load the data again, likewise
    note: str
    data_name: str

    @property
    def data_key(self) -> str:
        """What identifies the data in the run's configuration."""
        return self.train.fingerprint if isinstance(self.train, Data) else "the caller's batches"

    def evaluate(self, model: nn.Module) -> Evaluation | None:
        """Measure on the test split."""
        return None if self.test is None else training.evaluate(model, self.test)


def find_start(source: Any, data: Any, config: Config) -> Start:
    """Read the two inputs of `prune`: what to prune and with which data.

    Raises:
        ValueError: The inputs do not go together.
        PruningError: The network is sparser than asked for already.
    """
    told: dict[str, Any] = {}
    if isinstance(source, (str, Path)):
        source, told = _opened(source, data)
    rates: DenseRates | None = None
    dense_epochs: int | None = None
    dense_loop: LoopConfig | None = None
    masks: Masks | None = None
    network = told.get("network")
    cost = Cost(0, 0, 0.0, 0.0, 0.0)
    if data is None and config.data is not None:
        data = training.load_data(
            config.data,
            path=config.path,
            train_size=config.train_size,
            validation=config.validation,
            augment=config.augment,
        )
    if isinstance(source, Fit):
        data = source.data if data is None else data
        rates = DenseRates.from_list(source.history.lr)
        dense_epochs, dense_loop = source.history.epochs, source.config
        cost = Cost(dense_epochs, source.history.steps, source.history.seconds, 0.0, 0.0)
        model = copy.deepcopy(source.model)
        network = _description(source.config.model, source.data)
    elif isinstance(source, Pruned):
        masks = source.masks
        model = copy.deepcopy(source.model)
        if told:
            rates = DenseRates(tuple(told["rates"]), told["eta"], told["eta_min"])
            dense_epochs, dense_loop = told["dense_epochs"], from_plain(LoopConfig, told["loop"])
        if data is None and told.get("data") is not None:
            data = training.load_data(**told["data"])
    elif isinstance(source, nn.Module):
        model = copy.deepcopy(source)
    elif source is None:
        data = training.load_data("digits") if data is None else data
        model = _named(config, data)
        network = _description(config.model or "", data)
    else:
        raise ValueError(
            f"prune takes a run folder, a result of training.fit, or a torch module; got "
            f"{type(source).__name__}."
        )
    if data is None:
        raise ValueError(
            "prune has no data to retrain on: a network alone does not bring any. Give data=, a "
            "Data, a pair (training batches, test batches), or in the shell --data."
        )
    train, test = _halves(data)
    loop = config.loop(dense_loop)
    model.to(_device(loop.device))
    if loop.channels_last:  # measuring in another layout than training took 1.6 times as long
        cast("Any", model).to(memory_format=torch.channels_last)  # torch has no stub for it
    rates = _bounded(rates, config)
    dense_epochs = dense_epochs if config.dense_epochs is None else config.dense_epochs
    weights = prunable_weights(model, config.include, config.exclude)
    if config.method == "imp":
        masks = _present(weights, masks, config.goal)
    return Start(
        model=model,
        masks=masks,
        train=train,
        test=test,
        loop=loop,
        rates=rates,
        dense_epochs=dense_epochs,
        cost=cost,
        macs=_macs(model, train),
        network=network,
        data=_origin(train),
        note=train.note if isinstance(train, Data) else "",
        data_name=train.name if isinstance(train, Data) else "the caller's data",
    )


def _opened(path: str | Path, data: Any) -> tuple[Any, dict[str, Any]]:
    """The run of a dense training, or of an earlier pruning with what it told about the dense."""
    run = Run.open(path)
    if run.kind in (KIND, SOUP_KIND):
        return load_pruned(path), run.read_json("start.json")
    return training.load_run(path, data=data if isinstance(data, Data) else None), {}


def _description(name: str, data: Data) -> dict[str, Any]:
    channels, height, width = data.shape
    return {
        "name": name,
        "in_channels": channels,
        "classes": data.classes,
        "image_size": [height, width],
    }


def _origin(train: Any) -> dict[str, Any] | None:
    if not isinstance(train, Data) or train.origin is None:
        return None
    plain = train.origin._asdict()
    if plain["path"] is not None:
        plain["path"] = str(Path(plain["path"]).resolve())
    return plain


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={name!r} is no device of torch; use cpu, cuda or cuda:NUMBER."
        ) from error
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}: torch finds no CUDA device here; use device='cpu'.")
    return device


def _named(config: Config, data: Any) -> nn.Module:
    if config.model is None:
        raise ValueError(
            "prune has no network: give a run folder of training.fit, a module, or model= with "
            "the name of a network (in the shell --model, and --weights for trained ones)."
        )
    if config.weights is None and config.method == "imp":
        raise ValueError(
            f"Method 'imp' prunes a trained network, and {config.model} comes without weights. "
            "Give weights= (in the shell --weights), or choose method 'bimp', which trains first."
        )
    if not isinstance(data, Data):
        raise ValueError("A network by name needs a Data, which tells the size of its images.")
    seed_everything(derive_seed(config.seed, "network"))
    model = make_network(_description(config.model, data))
    if config.weights is not None:
        training.load_weights(model, config.weights)
    return model


def _halves(data: Any) -> tuple[Any, Any]:
    """Training and test part of what the caller gave."""
    if isinstance(data, Data):
        return data, data
    if isinstance(data, tuple):
        if len(data) != 2:
            raise ValueError(
                f"data is a tuple of {len(data)}; give (training batches, test batches)."
            )
        return data
    if isinstance(data, Iterable):
        return data, None
    raise ValueError(
        f"data is a {type(data).__name__}; give a Data, batches, or (training, test) batches."
    )


def _bounded(rates: DenseRates | None, config: Config) -> DenseRates | None:
    """Replace eta and eta_min of the dense training where the options give them."""
    if rates is None and config.lr is None:
        return None
    eta = config.lr if config.lr is not None else (rates.eta if rates else 0.0)
    low = config.lr_min if config.lr_min is not None else min(rates.eta_min if rates else 0.0, eta)
    if not 0 <= low <= eta:
        raise ValueError(f"lr_min={low} and lr={eta}: need 0 <= lr_min <= lr.")
    return DenseRates(rates.rates if rates else (), eta, low)


def first_lr(start: Start, config: Config) -> float:
    """The largest learning rate of a training that `prune` does itself."""
    return start.rates.eta if start.rates is not None else USUAL_LR[start.loop.optimizer]


def _present(weights: dict[str, Any], masks: Masks | None, goal: float) -> Masks | None:
    zeros = Masks.of_zeros(weights)
    if masks is not None:
        masks = Masks(
            {name: masks.get(name, zeros[name]).to(w.device) for name, w in weights.items()}
        )
    elif zeros.sparsity >= PRESENT_AT:
        masks = zeros
    pruned = zeros.pruned if masks is None else masks.pruned
    if pruned > pruned_count(goal, zeros.size):
        raise PruningError(
            f"The network is {pruned / zeros.size:.4%} sparse already, above the sparsity {goal} "
            "asked for. Pruned weights never come back: ask for more, or start from the dense "
            "network."
        )
    return masks


def _macs(model: nn.Module, train: Any) -> dict[str, LayerMacs]:
    return training.count_macs(model, train.shape) if isinstance(train, Data) else {}


def told(start: Start) -> dict[str, Any]:
    """What a later pruning of the result wants to know about the start, as plain values."""
    rates = start.rates or DenseRates((), 0.0, 0.0)
    return {
        "network": start.network,
        "data": start.data,
        "note": start.note,
        "rates": list(rates.rates),
        "eta": rates.eta,
        "eta_min": rates.eta_min,
        "dense_epochs": start.dense_epochs,
        "loop": to_plain(start.loop),
    }


def identity(start: Start, config: Config, digest: str) -> dict[str, Any]:
    """The configuration of the run folder: what must be the same for a resume."""
    return {
        **to_plain(config.without_places()),
        "start_sha256": digest,
        "data_sha256": start.data_key,
    }
