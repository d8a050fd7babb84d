"""GSM, global sparse momentum: only the weights that matter most get a gradient.

Source: Ding et al., arXiv:1909.12778.
Differs from the published code: the top n_keep are taken among the prunable weights, which is
where n_keep is counted, not among all parameters.
"""

import torch

from extremal.pruning._ranking import Ranked, smallest
from extremal.pruning._selectors import pruned_count

from ._base import InTraining


class GSM(InTraining):
    """Keep the gradient on the n_keep largest |w g|; the others feel weight decay and momentum."""

    @torch.no_grad()
    def after_backward(self, step: int) -> None:
        """Zero the gradients of the weights that matter least."""
        pairs = [(w, w.grad) for w in self.weights.values() if w.grad is not None]
        size = sum(w.numel() for w in self.weights.values())
        absent = size - sum(w.numel() for w, _ in pairs)
        count = max(pruned_count(self.sparsity, size) - absent, 0)
        kept = smallest([Ranked(w * g) for w, g in pairs], count)
        for (_, gradient), mask in zip(pairs, kept, strict=True):
            gradient.mul_(mask)
