"""Everybody at the table of a game, with what they learn with, and its checkpoints."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from extremal.lab import Run, derive_seed, generator
from extremal.training import load_file, save_tensors

from ._errors import InterpretError
from ._network import ArthurNet
from ._task import Task

if TYPE_CHECKING:
    from ._train import TrainConfig


@dataclass
class Table:
    """Everybody at the table, with what they learn with."""

    c: "TrainConfig"
    task: Task
    arthur: ArthurNet
    merlin: Any
    morgana: Any
    optimizers: dict[str, torch.optim.Optimizer]
    allowed: Bool[Tensor, " d"]
    values: Float[Tensor, "n w"]
    labels: Int[Tensor, " n"]
    target: int | None
    avoided: Float[Tensor, " d"]
    posthoc: Bool[Tensor, "n d"] | None = None
    """What a Merlin who does not learn shows of each row."""
    kept: Float[Tensor, "n d"] | None = None
    """Relaxed masks that the Morgana `worst` goes on from, in half precision."""


def random_sets(n: int, t: Table, draw: torch.Generator) -> Tensor:
    noise = torch.rand(n, t.task.d, generator=draw).to(t.allowed.device)
    chosen = torch.where(t.allowed, noise, -torch.inf).topk(t.c.k, dim=1).indices
    out = torch.zeros(n, t.task.d, dtype=torch.bool, device=t.allowed.device)
    return out.scatter_(1, chosen, True)


def batches(t: Table, name: str, epoch: int) -> Iterator[Tensor]:
    order = generator(t.c.seed, name, epoch).permutation(len(t.labels))
    for start in range(0, len(order), t.c.batch_size):
        rows = order[start : start + t.c.batch_size]
        if len(rows) > 1 or len(order) == 1:  # batch norm of a prover needs two rows
            yield torch.from_numpy(rows).to(t.labels.device)


def stream(seed: int, name: str, epoch: int) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, name, epoch) % 2**63)


def step(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
    # A prover's loss passes through Arthur; his own step starts from clean gradients, see above.


# Checkpoints: after every epoch, all networks and the state of their optimizers.


def _state(t: Table) -> dict[str, Tensor]:
    out: dict[str, Tensor] = {}
    for name, net in (("arthur", t.arthur), ("merlin", t.merlin), ("morgana", t.morgana)):
        if net is not None and not (name == "morgana" and net is t.merlin):
            out |= {
                f"{name}.{k}": v.detach().cpu().contiguous() for k, v in net.state_dict().items()
            }
    if t.kept is not None:
        out["kept"] = t.kept.cpu()
    for name, optimizer in t.optimizers.items():
        for i, state in optimizer.state_dict()["state"].items():
            out |= {
                f"optimizer.{name}.{i}.{k}": torch.as_tensor(v).detach().cpu().contiguous()
                for k, v in state.items()
            }
    return out


def store(run: Run, t: Table, done: int, history: list[dict[str, Any]]) -> None:
    save_tensors(run.path / "checkpoints" / f"{done:05d}.safetensors", _state(t))
    run.write_json("progress.json", {"epochs": done, "history": history})
    for old in sorted((run.path / "checkpoints").glob("*.safetensors"))[:-1]:
        old.unlink()


def restore(run: Run, t: Table) -> tuple[int, list[dict[str, Any]]]:
    if not (run.path / "progress.json").exists():
        return 0, []
    found = run.read_json("progress.json")
    done = int(found["epochs"])
    file = run.path / "checkpoints" / f"{done:05d}.safetensors"
    if not file.is_file():
        raise InterpretError(f"{file} is missing, so the run cannot go on; use --force.")
    tensors, _ = load_file(file)
    for name, net in (("arthur", t.arthur), ("merlin", t.merlin), ("morgana", t.morgana)):
        if net is not None and not (name == "morgana" and net is t.merlin):
            prefix = f"{name}."
            net.load_state_dict(
                {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
            )
    if t.kept is not None:
        t.kept = tensors["kept"].to(t.kept.device)
    for name, optimizer in t.optimizers.items():
        state = optimizer.state_dict()
        prefix = f"optimizer.{name}."
        kept: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith(prefix):
                number, field = key.removeprefix(prefix).split(".", 1)
                kept.setdefault(int(number), {})[field] = value
        optimizer.load_state_dict({**state, "state": kept})
    return done, list(itertools.islice(found["history"], done))
