"""Compression: one training, any ratio; then a network that is really smaller and faster."""

from ._architecture import build, describe
from ._compress import Compressed, compress
from ._config import CompressConfig, ExportConfig, SweepConfig
from ._errors import CompressionError, MaskedInsteadWarning
from ._export import Exported, export
from ._load import load
from ._n_to_m import Projection, project
from ._packed import pack_tensors, unpack_tensors
from ._sparse_linear import Kernel, SparseLinear, with_sparse_kernels
from ._sweep import Point, Sweep, sweep
from ._target import Target

__all__ = [
    "CompressConfig",
    "Compressed",
    "CompressionError",
    "ExportConfig",
    "Exported",
    "Kernel",
    "MaskedInsteadWarning",
    "Point",
    "Projection",
    "SparseLinear",
    "Sweep",
    "SweepConfig",
    "Target",
    "build",
    "compress",
    "describe",
    "export",
    "load",
    "pack_tensors",
    "project",
    "sweep",
    "unpack_tensors",
    "with_sparse_kernels",
]
