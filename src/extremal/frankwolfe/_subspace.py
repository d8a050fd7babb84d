"""The leading singular subspace of a slowly changing matrix, kept warm from step to step.

One step is two rounds (more at first) of block power iteration, U <- orth(G (G' U)), with a few
columns to spare, and a rotation to the principal directions inside U. Any U gives feasible
vertices, whose value can be below the best. Source: arXiv:2205.11921, with the warm start instead
of ten cold rounds.
"""

import torch
from torch import Tensor

SPARE = 8
_COLD_ROUNDS = 6
_WARM_ROUNDS = 2
_YOUNG_ROUNDS, _YOUNG = 5, 5  # a momentum of few gradients changes much: two leave 0.14 % out


class Subspace:
    """Functions on a basis (m, k + spare) of a matrix (m, n) with m <= n."""

    @staticmethod
    def pays(shape: tuple[int, int], k: int) -> bool:
        """Whether iterating is cheaper than an SVD."""
        return min(shape) >= 4 * (k + SPARE)

    @staticmethod
    def cold(g: Tensor, k: int, seed: int = 0) -> Tensor:
        """Return a first basis, from a seeded random start."""
        generator = torch.Generator(device="cpu").manual_seed(seed)
        u = torch.randn(g.shape[0], k + SPARE, generator=generator, dtype=torch.float32)
        u = u.to(device=g.device, dtype=g.dtype)
        for _ in range(_COLD_ROUNDS):
            u = Subspace.round(g, u)
        return u

    @staticmethod
    def round(g: Tensor, u: Tensor) -> Tensor:
        """Return the basis after one product with G G'."""
        return torch.linalg.qr(g @ (g.mT @ u)).Q

    @staticmethod
    def follow(g: Tensor, u: Tensor, step: int = _YOUNG) -> Tensor:
        """Return the basis for a matrix that has changed since the last step; steps from 0."""
        for _ in range(_YOUNG_ROUNDS if step < _YOUNG else _WARM_ROUNDS):
            u = Subspace.round(g, u)
        return u

    @staticmethod
    def top(g: Tensor, u: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Return the k best directions U_k inside the basis, and U_k' G."""
        inner = u.mT @ g
        _, q = torch.linalg.eigh(inner @ inner.mT)
        best = q[:, -k:]
        return u @ best, best.mT @ inner
