"""What share of a training step does keeping the masks take?

Run:      python benchmarks/pruning/mask_cost.py
Expect:   under 5 % of a step (ResNet-18; on CPU also ResNet-20 at batch 32).
Fairness: the same network, batch, optimizer and masks for all three; steps of plain training, of
          ours and of torch.nn.utils.prune alternate in one process, each warmed up; all samples
          are kept. The hook's own time is taken inside our step as well, since the difference of
          two noisy steps is worth less than the part measured directly.
"""

import copy
import statistics
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import tyro
from torch import nn
from torch.nn.utils import prune as torch_prune

from extremal import pruning, training
from extremal.lab import Table, append_record

HERE = Path(__file__).resolve().parent


@dataclass(frozen=True)
class Options:
    """How to measure."""

    out: Path = HERE / "results" / "mask_cost.jsonl"
    model: str = "resnet20"
    batch_size: int = 32
    image_size: int = 32
    sparsity: float = 0.9
    repeats: int = 15
    threads: int = 1
    device: str = "cpu"


class Trainer:
    """A network with an optimizer; `step` makes one training step."""

    def __init__(self, model: nn.Module, batch: tuple[torch.Tensor, torch.Tensor]) -> None:
        """Take a network and the batch of every step."""
        self.model = model
        self.batch = batch
        self.optimizer = torch.optim.SGD(
            model.parameters(), lr=0.01, momentum=0.9, weight_decay=5e-4, nesterov=True
        )
        self.enforcer: pruning.MaskEnforcer | None = None
        self.mask_seconds = 0.0

    def step(self) -> float:
        """Return the seconds of one step."""
        wait(self.batch[0].device)
        start = time.perf_counter()
        self.optimizer.zero_grad(set_to_none=True)
        nn.functional.cross_entropy(self.model(self.batch[0]), self.batch[1]).backward()
        self.mask_seconds = 0.0
        self._masked(self.enforcer.mask_gradients if self.enforcer else None)
        self.optimizer.step()
        self._masked(self.enforcer.mask_weights if self.enforcer else None)
        wait(self.batch[0].device)
        return time.perf_counter() - start

    def _masked(self, action) -> None:
        if action is not None:
            wait(self.batch[0].device)
            start = time.perf_counter()
            action()
            wait(self.batch[0].device)
            self.mask_seconds += time.perf_counter() - start


def wait(device: torch.device) -> None:
    """Let a GPU finish, so that the clock is right."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def table(records: list[dict[str, Any]]) -> Table:
    """The last record of each network and batch."""
    latest: dict[tuple[str, int, str], dict[str, Any]] = {}
    for record in records:
        about = record["configuration"]
        latest[about["model"], about["batch_size"], about["device"]] = record
    rows: list[list[str | float | int | None]] = []
    for (model, batch, device), record in sorted(latest.items()):
        samples = record["samples"]
        middle = {name: 1e3 * statistics.median(values) for name, values in samples.items()}
        rows.append(
            [
                f"{model}, batch {batch}, {device}",
                len(samples["plain_seconds"]),
                round(middle["plain_seconds"], 1),
                round(middle["ours_seconds"], 1),
                round(middle["torch_seconds"], 1),
                round(middle["masking_seconds"], 2),
                round(100 * middle["masking_seconds"] / middle["plain_seconds"], 2),
            ]
        )
    return Table(
        ["network", "n", "plain step (ms)", "ours (ms)", "torch.nn.utils.prune (ms)",
         "masking alone (ms)", "share of a plain step (%)"],
        rows,
        title="Medians, one thread",
    )  # fmt: skip


def main(options: Options) -> None:
    """Measure and append a record."""
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = torch.device(options.device)
    model = training.network(
        options.model, in_channels=3, classes=10, image_size=options.image_size
    ).to(device)
    size = options.image_size
    batch = (
        torch.randn(options.batch_size, 3, size, size, device=device),
        torch.randint(10, (options.batch_size,), device=device),
    )
    plain, ours = Trainer(copy.deepcopy(model), batch), Trainer(copy.deepcopy(model), batch)
    masks = pruning.select(pruning.prunable_weights(model), options.sparsity, "lamp")
    masks.write_zeros(ours.model)
    ours.enforcer = pruning.MaskEnforcer(ours.model, masks, ours.optimizer)
    peer_model = copy.deepcopy(model)
    for name, mask in masks.items():
        torch_prune.custom_from_mask(
            peer_model.get_submodule(name.rpartition(".")[0]), "weight", mask
        )
    peer = Trainer(peer_model, batch)
    samples: dict[str, list[float]] = {"plain": [], "ours": [], "torch": [], "masking": []}
    begun = time.perf_counter()
    for repeat in range(options.repeats + 3):
        seconds = {"plain": plain.step(), "ours": ours.step(), "torch": peer.step()}
        seconds["masking"] = ours.mask_seconds
        if repeat >= 3:
            for name, value in seconds.items():
                samples[name].append(value)
    middle = {name: statistics.median(values) for name, values in samples.items()}
    share = middle["masking"] / middle["plain"]
    print(
        f"{options.model}, batch {options.batch_size}, {options.device}: plain step "
        f"{1e3 * middle['plain']:.2f} ms, ours {1e3 * middle['ours']:.2f} ms, torch.nn.utils.prune "
        f"{1e3 * middle['torch']:.2f} ms; masking alone {1e3 * middle['masking']:.3f} ms, "
        f"{share:.2%} of a step"
    )
    append_record(
        options.out,
        question="What share of a training step does keeping the masks take?",
        configuration={k: v for k, v in vars(options).items() if k not in ("out", "only")},
        seed=0,
        samples={f"{name}_seconds": values for name, values in samples.items()},
        status="done" if share < 0.05 else "negative",
        wall_seconds=time.perf_counter() - begun,
    )


if __name__ == "__main__":
    main(tyro.cli(Options))
