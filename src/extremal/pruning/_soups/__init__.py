"""Sparse model soups: members that share one mask, merged into one network."""

from ._config import SoupConfig
from ._corruptions import CORRUPTIONS, corrupt
from ._geometry import basin, geometry
from ._merge import greedy, merge
from ._result import Candidate, Ran, Row, Soup
from ._robust import corrupted_accuracies, read_cifar_c
from ._soup import soup
from ._stacked import train_stacked

__all__ = [
    "CORRUPTIONS",
    "Candidate",
    "Ran",
    "Row",
    "Soup",
    "SoupConfig",
    "basin",
    "corrupt",
    "corrupted_accuracies",
    "geometry",
    "greedy",
    "merge",
    "read_cifar_c",
    "soup",
    "train_stacked",
]
