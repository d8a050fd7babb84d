"""What the selectors share: the pruned count, present zeros, and pruning by count per layer.

Notation: N prunable weights in all, n_i in layer i, s the sparsity, K = round(s N) pruned.
"""

import math
from collections.abc import Mapping, Sequence
from fractions import Fraction

from torch import Tensor

from extremal.pruning._errors import PruningError
from extremal.pruning._masks import Masks
from extremal.pruning._ranking import Ranked, smallest


def pruned_count(sparsity: float, size: int) -> int:
    """K = round(s N), half to even, with s read as its shortest decimal.

    >>> pruned_count(0.95, 12345), pruned_count(0.35, 10), pruned_count(0.25, 10)
    (11728, 4, 2)
    """
    return round(Fraction(str(sparsity)) * size)


def dead_counts(weights: Mapping[str, Tensor], masks: Masks | None) -> list[int]:
    """How many weights of each layer are pruned already."""
    if masks is None:
        return [0] * len(weights)
    return [masks[name].numel() - int(masks[name].sum()) for name in weights]


def prune_counts(
    weights: Mapping[str, Tensor], counts: Sequence[int], masks: Masks | None
) -> Masks:
    """Prune the `counts[i]` smallest magnitudes inside each layer."""
    kept: dict[str, Tensor] = {}
    for (name, weight), count in zip(weights.items(), counts, strict=True):
        alive = None if masks is None else masks[name]
        try:
            (kept[name],) = smallest([Ranked(weight, alive)], count)
        except PruningError as error:
            raise PruningError(f"Layer {name}: {error}") from error
    return Masks(kept)


def share_exactly(
    ideal: Sequence[float], total: int, lowest: Sequence[int], highest: Sequence[int]
) -> list[int]:
    """Round `ideal` to integers of sum `total` by largest remainder, inside the bounds.

    Ties in the remainder go to the lower index. The bounds may move a count by one where the
    rounding of two phases differs; a present zero can never come back.
    """
    counts = [
        min(max(math.floor(x), low), high)
        for x, low, high in zip(ideal, lowest, highest, strict=True)
    ]
    missing = total - sum(counts)
    while missing:
        step = 1 if missing > 0 else -1
        room = [
            i
            for i, count in enumerate(counts)
            if (count < highest[i] if step > 0 else count > lowest[i])
        ]
        if not room:
            raise PruningError(
                f"{total} weights cannot be shared out: the layers take between {sum(lowest)} and "
                f"{sum(highest)}. Choose another sparsity or selector."
            )
        best = max(room, key=lambda i: (step * (ideal[i] - counts[i]), -i))
        counts[best] += step
        missing -= step
    return counts


def refuse_revival(
    weights: Mapping[str, Tensor], counts: Sequence[float], dead: Sequence[int], selector: str
) -> None:
    """Refuse a share under what is pruned already, beyond a rounding of one."""
    for name, count, zeros in zip(weights, counts, dead, strict=True):
        if zeros > count + 1:
            raise PruningError(
                f"Layer {name} has {zeros} pruned weights already, more than the {count:.0f} that "
                f"{selector!r} gives it at this sparsity. Pruned weights never come back: choose "
                "a higher sparsity, or selector 'global'."
            )
