"""Several processes that train one network, started by `torchrun`.

Each process takes its slice of every batch of the one common order, and gradients are averaged
over the processes by torch's DistributedDataParallel. A batch has the same images whatever the
number of processes, so without batch normalisation the result agrees with one process up to
rounding; with it, each process normalises over its own slice.
"""

import atexit
import os
from dataclasses import dataclass

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Group:
    """This process among all: the `rank`-th of `world`."""

    rank: int = 0
    world: int = 1

    @property
    def writes(self) -> bool:
        """Whether this process is the one that writes files and shows progress."""
        return self.rank == 0

    def wrapped(self, model: nn.Module, device: torch.device) -> nn.Module:
        """Return the module to call: it averages gradients over the processes."""
        if self.world == 1:
            return model
        ids = [device.index] if device.type == "cuda" else None
        return DistributedDataParallel(model, device_ids=ids)

    def summed(self, values: Tensor) -> Tensor:
        """Return the sum over all processes."""
        if self.world > 1:
            values = values.clone()
            distributed.all_reduce(values)
        return values

    def wait(self) -> None:
        """Go on when every process has come here."""
        if self.world > 1:
            distributed.barrier()


def group(device: torch.device) -> Group:
    """Join the other processes of `torchrun`; a process alone is a group of one."""
    if distributed.is_available() and distributed.is_initialized():
        return Group(distributed.get_rank(), distributed.get_world_size())
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1 or "RANK" not in os.environ:
        return Group()
    if device.type == "cuda":
        torch.cuda.set_device(device)
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    # One group for the life of the process: several trainings in a row share it.
    atexit.register(distributed.destroy_process_group)
    return Group(distributed.get_rank(), world)


def chosen_device(name: str) -> torch.device:
    """Return the torch device of this process: of `cuda`, the one that `torchrun` gave it.

    Args:
        name: cpu, cuda or cuda:NUMBER.

    Raises:
        ValueError: There is no such device here.
    """
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(
            f"device={name!r} is no device of torch; use cpu, cuda or cuda:NUMBER."
        ) from error
    if device.type == "cuda":
        if not torch.cuda.is_available():
            raise ValueError(
                f"device={name!r}: this machine has no CUDA device that torch can use; "
                "use device='cpu'."
            )
        if name == "cuda":
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
    return device
