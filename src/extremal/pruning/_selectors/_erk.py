"""ERK (Erdos-Renyi kernel): survivors of a layer in proportion to the sum of its dimensions.

Source: Evci, Gale, Menick, Castro, Elsen, arXiv:1911.11134.
Differs from the usual code: survivors are rounded by largest remainder, so that exactly K weights
go (rounding each layer alone can miss by one); one layer at a time becomes dense, the one that
would most overflow.
"""

from collections.abc import Mapping

from torch import Tensor

from extremal.pruning._masks import Masks

from ._common import dead_counts, prune_counts, refuse_revival, share_exactly


def select_erk(weights: Mapping[str, Tensor], count: int, masks: Masks | None = None) -> Masks:
    """Prune `count` weights, by magnitude inside each layer."""
    sizes = [weight.numel() for weight in weights.values()]
    sums = [sum(weight.shape) for weight in weights.values()]
    survivors = sum(sizes) - count
    dense: set[int] = set()
    while True:
        sparse = [i for i in range(len(sizes)) if i not in dense]
        left = survivors - sum(sizes[i] for i in dense)
        share = left / sum(sums[i] for i in sparse) if sparse else 0.0
        overfull = [i for i in sparse if share * sums[i] > sizes[i]]
        if not overfull:
            break
        dense.add(max(overfull, key=lambda i: (sums[i] / sizes[i], -i)))
    kept = [float(n) if i in dense else share * sums[i] for i, n in enumerate(sizes)]
    dead = dead_counts(weights, masks)
    refuse_revival(weights, [n - k for n, k in zip(sizes, kept, strict=True)], dead, "erk")
    highest = [n - zeros for n, zeros in zip(sizes, dead, strict=True)]
    survivors_of = share_exactly(kept, survivors, [0] * len(sizes), highest)
    return prune_counts(weights, [n - k for n, k in zip(sizes, survivors_of, strict=True)], masks)
