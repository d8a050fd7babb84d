"""One source of randomness: every stream is named, so that adding one never moves another."""

import hashlib
import random
import sys

import numpy as np


def derive_seed(seed: int, *names: str | int) -> int:
    """Return the seed of a named stream.

    Args:
        seed: The run's seed, any integer.
        names: What the stream is for, such as `"order", epoch`.

    Returns:
        An integer in [0, 2**63), the same on every machine and in every version.

    Example:
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 3)
        True
        >>> derive_seed(0, "order", 3) == derive_seed(0, "order", 4)
        False
    """
    text = "\x1f".join([str(int(seed)), *(f"{type(n).__name__}:{n}" for n in names)])
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> np.random.Generator:
    """Return the NumPy generator of a named stream (PCG64 seeded with `derive_seed`)."""
    return np.random.Generator(np.random.PCG64(derive_seed(seed, *names)))


def seed_everything(seed: int) -> None:
    """Seed Python's `random`, NumPy's legacy state and, where it is loaded, torch on all devices.

    Library code draws from named streams instead; this is for code that cannot be told which
    stream to use, such as a network's initialisation.
    """
    random.seed(seed)
    np.random.seed(seed % 2**32)  # noqa: NPY002 - the legacy state is what foreign code reads
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.manual_seed(seed % 2**63)
