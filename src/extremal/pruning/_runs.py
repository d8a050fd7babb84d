"""What a pruning leaves on disk: finished phases while it runs, the whole result at the end.

A phase is two files, its tensors and a JSON file with their hash that is written last; so a phase
is finished or absent whenever the process is killed. Without a folder nothing is written.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from extremal import training
from extremal.lab import Run, RunError, from_plain, sha256_file, to_plain
from extremal.training import Evaluation

from ._budget import Budget
from ._config import Config
from ._masks import Masks
from ._result import Phase, Pruned

KIND = "pruning/prune"
SOUP_KIND = "pruning/soup"  # its folder holds the same files and more
_ARRAYS = ("correct", "labels", "predicted")


class Store:
    """Named results in a run's `checkpoints`, or nowhere."""

    def __init__(self, run: Run | None) -> None:
        self.run = run

    def file(self, name: str) -> Path | None:
        """The path of a tensor file of this name, or None without a folder."""
        if self.run is None:
            return None
        folder = self.run.path / "checkpoints"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.safetensors"

    def facts(self, name: str) -> dict[str, Any] | None:
        """The plain values of a finished result; None where it is not finished."""
        if self.run is None or not (self.run.path / "checkpoints" / f"{name}.json").exists():
            return None
        return self.run.read_json(f"checkpoints/{name}.json")

    def tensors(self, name: str, facts: Mapping[str, Any]) -> dict[str, Tensor]:
        """The tensors of a finished result, checked against its hash."""
        file = self.file(name)
        assert file is not None
        if not file.exists():
            raise RunError(
                f"{file} is missing, but the run says that it was written. Restore it, or start "
                "again with --force."
            )
        return training.load_tensors(file, sha256=facts["sha256"])

    def keep(
        self, name: str, facts: Mapping[str, Any], tensors: Mapping[str, Tensor] | None = None
    ) -> None:
        """Write a finished result; the plain values come last."""
        if self.run is None:
            return
        plain = dict(facts)
        if tensors is not None:
            file = self.file(name)
            assert file is not None
            plain["sha256"] = training.save_tensors(file, tensors)
        self.run.write_json(f"checkpoints/{name}.json", plain)

    def drop(self, name: str) -> None:
        """Remove a file that a finished result has made superfluous."""
        file = self.file(name)
        if file is not None:
            file.unlink(missing_ok=True)


def pack(
    model: nn.Module, masks: Mapping[str, Tensor], found: Evaluation | None
) -> dict[str, Tensor]:
    """One name space for a network, its masks and its answers."""
    tensors = {f"model.{name}": tensor for name, tensor in model.state_dict().items()}
    tensors |= {f"mask.{name}": mask for name, mask in masks.items()}
    return tensors | answers(found, "evaluation.")


def unpack(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors under a prefix, without it."""
    return {n.removeprefix(prefix): t for n, t in tensors.items() if n.startswith(prefix)}


def masks_of(tensors: Mapping[str, Tensor], model: nn.Module) -> Masks:
    """The masks among the tensors, in parameter order (a file keeps another)."""
    found = unpack(tensors, "mask.")
    device = next(model.parameters()).device
    return Masks({n: found[n].to(device) for n, _ in model.named_parameters() if n in found})


def answers(found: Evaluation | None, prefix: str) -> dict[str, Tensor]:
    """The arrays of an evaluation as tensors."""
    if found is None:
        return {}
    return {prefix + name: torch.from_numpy(getattr(found, name)) for name in _ARRAYS}


def measures(found: Evaluation | None) -> dict[str, Any] | None:
    """The numbers of an evaluation as plain values; a class without examples is None."""
    if found is None:
        return None
    names = ("loss", "top1", "ece", "mce", "n")
    plain: dict[str, Any] = {name: getattr(found, name) for name in names}
    plain["per_class"] = [None if x != x else x for x in found.per_class]
    return plain


def evaluation(
    tensors: Mapping[str, Tensor], plain: Mapping[str, Any] | None, prefix: str
) -> Evaluation | None:
    """Put an evaluation together again."""
    if plain is None:
        return None
    rest = dict(plain)
    per_class = tuple(float("nan") if x is None else x for x in rest.pop("per_class"))
    arrays: dict[str, np.ndarray] = {n: tensors[prefix + n].numpy() for n in _ARRAYS}
    return Evaluation(**arrays, **rest, per_class=per_class)


def make_network(description: Mapping[str, Any]) -> nn.Module:
    """The network of a description, freshly initialised."""
    height, width = description["image_size"]
    return training.network(
        description["name"],
        in_channels=description["in_channels"],
        classes=description["classes"],
        image_size=height if height == width else (height, width),
    )


def write_result(run: Run, result: Pruned) -> None:
    """Write the numbers; this file says that the run is whole."""
    files = ("model", "masks", "parent", "evaluation")
    run.write_json(
        "result.json",
        {
            "sha256": {name: sha256_file(run.path / f"{name}.safetensors") for name in files},
            "phases": [to_plain(phase) for phase in result.phases],
            "parameter_sparsity": result.parameter_sparsity,
            "budget": to_plain(result.budget),
            "speedup": result.speedup,
            "evaluation": measures(result.evaluation),
            "dense_evaluation": measures(result.dense_evaluation),
            "learning_rates": list(result.learning_rates),
            "note": result.note,
        },
    )


def load_pruned(path: str | Path, model: nn.Module | None = None) -> Pruned:
    """Open a finished run of `prune` or `soup` again.

    Args:
        path: The run folder.
        model: A module of the right shapes, where the run cannot make its network itself (it was
            given as a module); it is filled with the weights.

    Raises:
        RunError: The folder is no finished run of `prune` or `soup`.
        TrainingError: A file is damaged.
        ValueError: The network is unknown and `model` is not given.
    """
    run = Run.open(path)
    if run.kind not in (KIND, SOUP_KIND):
        raise RunError(f"{path} is a run of {run.kind}, but a run of {KIND} is needed.")
    if not (run.path / "result.json").exists():
        raise RunError(f"{run.path} is not finished; continue it with --resume.")
    plain = run.read_json("result.json")
    network = run.read_json("start.json")["network"]
    if model is None:
        if network is None:
            raise ValueError(
                f"{run.path} was pruned from a module, which a folder cannot hold. Pass a module "
                "of the same shapes as model=."
            )
        model = make_network(network)

    def read(name: str) -> dict[str, Tensor]:
        file = run.path / f"{name}.safetensors"
        if not file.exists():
            raise RunError(f"{file} is missing; restore it from a copy.")
        return training.load_tensors(file, sha256=plain["sha256"][name])

    model.load_state_dict(read("model"))
    masks = masks_of({f"mask.{n}": mask for n, mask in read("masks").items()}, model)
    found = read("evaluation")
    names = {field.name for field in dataclasses.fields(Config)}
    config = from_plain(Config, {k: v for k, v in run.config.items() if k in names})
    return Pruned(
        model=model,
        masks=masks,
        config=config,
        phases=tuple(from_plain(Phase, phase) for phase in plain["phases"]),
        sparsity=masks.sparsity,
        parameter_sparsity=plain["parameter_sparsity"],
        budget=from_plain(Budget, plain["budget"]),
        speedup=plain["speedup"],
        evaluation=evaluation(found, plain["evaluation"], "pruned."),
        dense_evaluation=evaluation(found, plain["dense_evaluation"], "dense."),
        learning_rates=tuple(plain["learning_rates"]),
        note=plain["note"],
        path=run.path,
        certificate=run.path / "certificate.json",
    )
