"""DNW, discovering neural wirings: at every forward pass the smallest weights are left out.

Source: Wortsman, Farhadi, Rastegari, arXiv:1906.00586.
Differs from it: exactly K weights are left out, ties by index, where a threshold drops all ties.
"""

from torch import Tensor

from extremal.pruning._masks import Masks

from ._base import Effective, Select


class DNW(Effective):
    """The target holds from step 0; gradients go straight through to every weight."""

    def __init__(self, names: list[str], sparsity: float, select: Select) -> None:
        super().__init__(names, sparsity, select)
        self._masks: Masks | None = None

    def prepare(self, step: int) -> None:
        """Choose the masks of this step."""
        self._masks = self.select(self.weights, self.sparsity, None)

    def effective(self, name: str, stored: Tensor) -> Tensor:
        """Masked weights."""
        assert self._masks is not None
        return stored * self._masks[name]
