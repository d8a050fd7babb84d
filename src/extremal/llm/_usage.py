"""Time and memory of a run: what it took, and what is said or done when memory is short."""

import ctypes
import os
import resource
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import torch

from ._errors import LLMError


@dataclass
class Clock:
    """Seconds by phase, of a device that may work asynchronously."""

    device: torch.device
    seconds: dict[str, float] = field(default_factory=dict[str, float])
    last: float = field(default_factory=time.perf_counter)

    def mark(self, phase: str) -> None:
        """Count the time since the last mark as a phase's."""
        if self.device.type == "cuda":  # its work is asynchronous
            torch.cuda.synchronize(self.device)
        now = time.perf_counter()
        self.seconds[phase] = self.seconds.get(phase, 0.0) + now - self.last
        self.last = now


@contextmanager
def memory_named(place: str) -> Generator[None]:
    """Say where memory ran out; nothing is tried in another way."""
    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        short = isinstance(error, (MemoryError, torch.OutOfMemoryError))
        if not short and "allocate memory" not in str(error):
            raise
        raise LLMError(
            f"memory ran out at {place}; nothing of its block was kept, the blocks before it are "
            "on the disk. Go on with --resume where there is more memory, or start again with a "
            "smaller --micro-batch, or a criterion and update without Gram matrices."
        ) from error


def keep_tensors_apart() -> None:
    """Have glibc map every tensor above 1 MB on its own, so that freeing it gives it back.

    Left alone, it takes tensors below 32 MB from its heap, whose gaps differ from run to run: 24
    blocks of 13 MB peaked 40 to 70 MB higher, by chance by two blocks more than 6 did. It holds for
    the whole process and costs no measurable time. MALLOC_MMAP_THRESHOLD_ in the environment wins.
    """
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD


def give_back() -> None:
    """Let the C library return what smaller freed memory left in its heap, where it can."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None) if sys.platform == "linux" else None
    if trim is not None:
        trim(0)


def peak_bytes() -> int:
    """Return the largest resident memory of this process so far, GPU memory excluded."""
    status = Path("/proc/self/status")
    if status.exists():  # unlike getrusage, it does not begin with the parent's peak
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
