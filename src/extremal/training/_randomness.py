"""The state of every global random generator, as tensors, and back.

The loop's own choices (order, augmentation) come from hashes and need no state. What a network
draws (dropout) or a user's training step, comes from Python, NumPy or torch and is kept here.
"""

import random
from collections.abc import Generator, Mapping
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor


def generators(device: torch.device) -> dict[str, Tensor]:
    """Return the states of the generators of Python, NumPy, torch and the device."""
    _, words, gauss = random.getstate()
    name, keys, position, has_gauss, cached = np.random.get_state()  # noqa: NPY002 - its state
    assert name == "MT19937"
    states = {
        "python": torch.tensor(words),
        "python gauss": torch.tensor([] if gauss is None else [gauss], dtype=torch.float64),
        "numpy": torch.from_numpy(np.asarray(keys).astype(np.int64)),
        "numpy position": torch.tensor([int(position), int(has_gauss)]),
        "numpy gauss": torch.tensor([float(cached)], dtype=torch.float64),
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(device)
    return states


def set_generators(states: Mapping[str, Tensor], device: torch.device) -> None:
    """Put the generators into the states that `generators` returned."""
    gauss: list[float] = states["python gauss"].tolist()
    random.setstate((3, tuple(states["python"].tolist()), gauss[0] if gauss else None))
    position, has_gauss = states["numpy position"].tolist()
    keys = states["numpy"].numpy().astype(np.uint32)
    np.random.set_state(  # noqa: NPY002 - the global state is what foreign code draws from
        ("MT19937", keys, position, has_gauss, float(states["numpy gauss"]))
    )
    torch.set_rng_state(states["torch"])
    if device.type == "cuda" and "cuda" in states:
        torch.cuda.set_rng_state(states["cuda"], device)


@contextmanager
def generators_kept(device: torch.device) -> Generator[None]:
    """Give every generator back its state at the end."""
    states = generators(device)
    try:
        yield
    finally:
        set_generators(states, device)
