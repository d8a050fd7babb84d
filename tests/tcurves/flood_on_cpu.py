"""The kernels of the GPU compiled by g++ and run as one thread of one block."""

import ctypes
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from extremal.tcurves._gpu import source

COMPILER = shutil.which("g++")


class OnCpu:
    """A device whose memory is NumPy's."""

    def __init__(self, folder: Path) -> None:
        """Build libraries in a folder."""
        self.folder = folder
        self.built: dict[Any, ctypes.CDLL] = {}

    def put(self, array: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(array).copy()

    def empty(self, count: int, dtype: Any) -> np.ndarray:
        return np.full(count, 0x55, dtype)

    def get(self, array: np.ndarray) -> np.ndarray:
        return array.copy()

    def threads(self, tables: int, own: int) -> int:
        return 1

    def compiled(self, constants: tuple[tuple[str, int], ...]) -> ctypes.CDLL:
        if constants not in self.built:
            text = self.folder / f"flood{len(self.built)}.cpp"
            text.write_text(source(constants), encoding="utf-8")
            library = self.folder / f"flood{len(self.built)}.so"
            assert COMPILER is not None
            subprocess.run(
                [COMPILER, "-std=c++17", "-O1", "-shared", "-fPIC", "-w", str(text), "-o",
                 str(library)],
                check=True, timeout=120,
            )  # fmt: skip
            self.built[constants] = ctypes.CDLL(str(library))
        return self.built[constants]

    def launch(
        self,
        kernels: ctypes.CDLL,
        name: str,
        items: int,
        threads: int,
        shared: int,
        arguments: Sequence[Any],
    ) -> None:
        kinds = {
            np.uint64: ctypes.c_uint64, np.uint32: ctypes.c_uint32, np.int32: ctypes.c_int32
        }  # fmt: skip
        kernels[name](*(
            ctypes.c_void_p(a.ctypes.data) if isinstance(a, np.ndarray) else kinds[type(a)](a)
            for a in arguments
        ))  # fmt: skip
