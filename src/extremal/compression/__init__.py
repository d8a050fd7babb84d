"""Compression: one training, any ratio; then a network that is really smaller and faster."""

from ._sweep import Point, Sweep, sweep

__all__ = ["Point", "Sweep", "sweep"]
