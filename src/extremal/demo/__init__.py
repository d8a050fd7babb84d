"""The tour: the main job on embedded data, then one checkable answer from every other area."""

from ._tour import Demo, Options, Stop, demo

__all__ = ["Demo", "Options", "Stop", "demo"]
