"""What calibration tells about a layer's inputs, accumulated in float32 batch by batch.

Notation: x are inputs (tokens, d), n the number of sequences, H = (2/n) sum of x^T x.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor


@dataclass
class InputStatistics:
    """Sums over the tokens seen so far.

    Attributes:
        tokens: Number of tokens.
        total: Sum of each input.
        squares: Sum of squares of each input.
        products: Sum of x^T x, or None where it is not needed.
    """

    tokens: int
    total: Tensor
    squares: Tensor
    products: Tensor | None

    @classmethod
    def empty(cls, inputs: int, *, gram: bool, device: torch.device) -> "InputStatistics":
        """Return sums of nothing."""
        zeros = torch.zeros(inputs, device=device)
        products = torch.zeros(inputs, inputs, device=device) if gram else None
        return cls(0, zeros, zeros.clone(), products)

    def add(self, x: Float[Tensor, "*batch d"]) -> None:
        """Add a batch of inputs."""
        flat = x.detach().reshape(-1, x.shape[-1]).float()
        self.tokens += flat.shape[0]
        self.total += flat.sum(0)
        self.squares += flat.square().sum(0)
        if self.products is not None:
            self.products.addmm_(flat.T, flat)

    def norms(self, sequences: int) -> Float[Tensor, " d"]:
        """Return the mean over sequences of the squared norm of each input."""
        return self.squares / sequences

    def gram(self, sequences: int) -> Float[Tensor, "d d"]:
        """Return H = (2/n) X^T X."""
        assert self.products is not None
        return self.products * (2.0 / sequences)

    def mean(self) -> Float[Tensor, " d"]:
        """Return the mean of each input."""
        return self.total / max(self.tokens, 1)

    def variance(self) -> Float[Tensor, " d"]:
        """Return the variance of each input."""
        mean = self.mean()
        return (self.squares / max(self.tokens, 1) - mean.square()).clamp_min(0)
