"""Methods that prune while they train, one a file; all are hooks of `training.train`."""

from ._base import InTraining
from ._cs import CS, rising_beta
from ._dnw import DNW
from ._dpf import DPF
from ._dst import DST, surrogate_slope
from ._gmp import GMP
from ._gsm import GSM
from ._lc import LC
from ._str import STR

__all__ = [
    "CS",
    "DNW",
    "DPF",
    "DST",
    "GMP",
    "GSM",
    "LC",
    "STR",
    "InTraining",
    "rising_beta",
    "surrogate_slope",
]
