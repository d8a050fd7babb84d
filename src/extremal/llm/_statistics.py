"""What calibration tells about a layer's inputs, accumulated in float32 batch by batch.

Notation: x are inputs (tokens, d), n the number of sequences, H = (2/n) sum of x^T x.

On a GPU inputs in half precision are not widened first: tensor cores multiply them (a product of
two bfloat16 or float16 numbers is exact in float32) and add up in float32; plain float32 products
would take about ten times as long and give the same up to the order of additions. TF32 is not used.
"""

from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from ._least_squares import slices
from ._sparsegpt import factor_of

_HALF = (torch.bfloat16, torch.float16)


@dataclass
class InputStatistics:
    """Sums over the tokens seen so far.

    Attributes:
        tokens: Number of tokens.
        total: Sum of each input.
        squares: Sum of squares of each input.
        products: Sum of x^T x, or None where it is not needed; below the diagonal blocks it may
            not be filled in: see `gram`.
    """

    tokens: int
    total: Tensor
    squares: Tensor
    products: Tensor | None
    _factor: tuple[float, Tensor, float] | None = field(default=None, repr=False)

    @classmethod
    def empty(cls, inputs: int, *, gram: bool, device: torch.device) -> "InputStatistics":
        """Return sums of nothing."""
        zeros = torch.zeros(inputs, device=device)
        products = torch.zeros(inputs, inputs, device=device) if gram else None
        return cls(0, zeros, zeros.clone(), products)

    def add(self, x: Float[Tensor, "*batch d"]) -> None:
        """Add a batch of inputs."""
        flat = x.detach().reshape(-1, x.shape[-1])
        self.tokens += flat.shape[0]
        if flat.is_cuda and flat.dtype in _HALF:
            self.total += flat.sum(0, dtype=torch.float32)
            self.squares += torch.linalg.vector_norm(flat, dim=0, dtype=torch.float32).square()
            if self.products is not None:
                self.products += torch.mm(flat.T, flat, out_dtype=torch.float32)
            return
        flat = flat.float()
        self.total += flat.sum(0)
        self.squares += flat.square().sum(0)
        if self.products is not None:
            for start, end in slices(flat.shape[1]):  # on and above the diagonal, by blocks
                self.products[:end, start:end].addmm_(flat[:, :end].T, flat[:, start:end])

    def norms(self, sequences: int) -> Float[Tensor, " d"]:
        """Return the mean over sequences of the squared norm of each input."""
        return self.squares / sequences

    def gram(self, sequences: int) -> Float[Tensor, "d d"]:
        """Return H = (2/n) X^T X."""
        assert self.products is not None
        found = self.products * (2.0 / sequences)
        for start, end in slices(len(found)):
            found[end:, start:end] = found[start:end, end:].T
        return found

    def factor(
        self, sequences: int, damping: float, name: str
    ) -> tuple[Float[Tensor, "d d"], float]:
        """Return what `factor_of` gives for the Gram matrix; layers that share inputs share it."""
        if self._factor is None or self._factor[0] != damping:
            self._factor = (damping, *factor_of(self.gram(sequences), damping, name))
        return self._factor[1:]

    def mean(self) -> Float[Tensor, " d"]:
        """Return the mean of each input."""
        return self.total / max(self.tokens, 1)

    def variance(self) -> Float[Tensor, " d"]:
        """Return the variance of each input."""
        mean = self.mean()
        return (self.squares / max(self.tokens, 1) - mean.square()).clamp_min(0)
