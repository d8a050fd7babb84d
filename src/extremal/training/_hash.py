"""Random bits that depend on a few integers and on nothing else.

A counter-based generator: the bits of (seed, epoch, index) are a hash of these three numbers, so
neither the position in a batch, nor the number of workers, nor the device, nor the version of a
library changes them. The hash is the finaliser of SplitMix64 (Steele, Lea, Flood, OOPSLA 2014),
folded over the parts. torch multiplies int64 modulo 2^64, which is what the hash needs; its right
shift copies the sign, so the copied bits are masked away.
"""

import torch
from jaxtyping import Int64
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB


def _shifted(x: Tensor, by: int) -> Tensor:
    return (x >> by) & ((1 << (64 - by)) - 1)


def _scramble(x: Tensor) -> Tensor:
    x = (x ^ _shifted(x, 30)) * _FIRST
    x = (x ^ _shifted(x, 27)) * _SECOND
    return x ^ _shifted(x, 31)


def random_bits(index: Int64[Tensor, " n"], *key: int) -> Int64[Tensor, " n"]:
    """Return 64 random bits for each index under a key such as (seed, epoch)."""
    state = torch.zeros(1, dtype=torch.int64, device=index.device)
    for part in key:
        state = _scramble((state ^ part) + _GOLDEN)
    return _scramble(_scramble((state ^ index) + _GOLDEN) + _GOLDEN)


def shuffled(n: int, *key: int, device: torch.device | str = "cpu") -> Int64[Tensor, " n"]:
    """Return the numbers 0..n-1 in the order that the key decides, the same on every device."""
    # Ties of 64-bit hashes are broken by the index: the sort is stable.
    return random_bits(torch.arange(n, device=device), *key).argsort(stable=True)
