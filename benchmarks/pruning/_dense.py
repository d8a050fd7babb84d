"""The dense network that the CIFAR-10 benchmarks of this folder start from, trained once."""

from pathlib import Path
from typing import Protocol


class DenseOptions(Protocol):
    """What both scripts say about it."""

    @property
    def data(self) -> Path: ...
    @property
    def model(self) -> str: ...
    @property
    def train_size(self) -> int | None: ...
    @property
    def dense_epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def lr(self) -> float: ...
    @property
    def weight_decay(self) -> float: ...


def dense_run(options: DenseOptions, out: Path, device: str = "cpu") -> Path:
    """Train the dense network, or take it up where it stopped; return its run folder."""
    from extremal import training

    if (out / "certificate.json").exists():
        return out
    training.fit(
        training.Config(
            model=options.model,
            data="cifar10",
            path=str(options.data),
            train_size=options.train_size,
            epochs=options.dense_epochs,
            batch_size=options.batch_size,
            lr=options.lr,
            schedule="step",
            weight_decay=options.weight_decay,
            channels_last=True,
            checkpoint_every=0 if device.startswith("cuda") else 20,
            device=device,
            graph=device.startswith("cuda"),
            seed=0,
        ),
        out=out,
        resume=out.exists(),
    )
    return out
