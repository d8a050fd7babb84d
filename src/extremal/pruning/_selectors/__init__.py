"""Selectors: which weights go. One rule a file; all share exact counts and the order of ties."""

from ._common import pruned_count
from ._n_to_m import parse_pattern
from ._select import SELECTORS, OnCollapse, look_for_collapse, select

__all__ = [
    "SELECTORS",
    "OnCollapse",
    "look_for_collapse",
    "parse_pattern",
    "pruned_count",
    "select",
]
