"""Selectors: which weights go. One rule a file; all share exact counts and the order of ties."""

from ._common import pruned_count
from ._select import SELECTORS, select

__all__ = ["SELECTORS", "pruned_count", "select"]
