"""Penalties and proximal steps that make filters or ranks small while training.

The baselines of compression-aware training. Each is one file and one `Hooks`.
"""

from collections.abc import Sequence

from extremal.training._hooks import Hooks

from ._abfp import ABFP
from ._glt import GLT
from ._lc import LowRankLC
from ._nuc import NuclearLoss, NuclearProx
from ._ssl import SSL

REGULARIZERS = ("none", "ssl", "glt", "abfp", "nuc", "nuc-loss", "lc")
USUAL_STRENGTH = {
    "ssl": 1e-3, "glt": 1e-3, "abfp": 1e-4, "nuc": 1e-2, "nuc-loss": 1e-3, "lc": 1e-9,
}  # fmt: skip


def regularizer(name: str, strength: float | None, *, ratio: float, epochs: int) -> Sequence[Hooks]:
    """Return the hooks of a regularizer by name.

    Args:
        name: One of `REGULARIZERS`.
        strength: Its weight; by default a usual one.
        ratio: abfp: the share of filters to be pruned later.
        epochs: lc: those of the training, which set how often it compresses.
    """
    if name == "none":
        return ()
    weight = USUAL_STRENGTH[name] if strength is None else strength
    if name == "ssl":
        return (SSL(weight, weight),)
    if name == "glt":
        return (GLT(weight),)
    if name == "abfp":
        return (ABFP(weight, ratio),)
    if name == "nuc":
        return (NuclearProx(weight),)
    if name == "nuc-loss":
        return (NuclearLoss(weight),)
    return (LowRankLC(weight, every=max(1, epochs // 50)),)


__all__ = [
    "ABFP",
    "GLT",
    "REGULARIZERS",
    "SSL",
    "LowRankLC",
    "NuclearLoss",
    "NuclearProx",
    "regularizer",
]
