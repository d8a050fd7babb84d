"""Records of experiments: one JSON object a line, appended whole, never rewritten."""

import contextlib
import datetime as dt
import errno
import json
import os
import platform
import subprocess
from collections.abc import Generator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._files import full_disk_said

_PACKAGES = ("extremal", "numpy", "scipy", "torch", "numba", "scikit-learn", "ray", "transformers")


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python, this package and the packages that decide results."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


@cache
def machine() -> dict[str, Any]:
    """Return what of this machine decides speed: processor, cores, memory, system."""
    memory = None
    if hasattr(os, "sysconf"):
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_bytes": memory,
        "system": platform.system(),
        "architecture": platform.machine(),
    }


def _processor() -> str:
    file = Path("/proc/cpuinfo")
    if file.exists():
        for line in file.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


@cache
def commit() -> str:
    """Return the commit of the checkout this package runs from, `+` if it has changes, or ""."""
    folder = Path(__file__).resolve().parent
    try:
        head = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "HEAD"],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
        status = subprocess.run(
            ["git", "-C", str(folder), "status", "--porcelain", "-uno", "--", "."],
            capture_output=True, text=True, check=True, timeout=10,
        ).stdout.strip()  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if status else "")


def append_record(
    path: Path | str,
    *,
    question: str,
    configuration: Mapping[str, Any],
    seed: int | Sequence[int] | None,
    samples: Mapping[str, Any],
    status: str = "done",
    wall_seconds: float | None = None,
    notes: str = "",
) -> dict[str, Any]:
    """Append one experiment to a record file.

    Args:
        path: A `.jsonl` file; created where it is missing.
        question: What the experiment asks, one sentence.
        configuration: Every option, as plain values.
        seed: The seed or seeds, or None where nothing is random.
        samples: Raw measurements, every one of them, by name.
        status: `"done"`, `"failed"` or `"negative"`; failed and negative runs are kept too.
        wall_seconds: How long it took.
        notes: Whatever a reader must know.

    Returns:
        The record as written, with commit, versions, machine and date added.

    Raises:
        OSError: The file cannot be written; it stays as it was.
    """
    record = {
        "question": question,
        "configuration": dict(configuration),
        "seed": list(seed) if isinstance(seed, Sequence) else seed,
        "samples": dict(samples),
        "status": status,
        "wall_seconds": wall_seconds,
        "notes": notes,
        "commit": commit(),
        "versions": versions(),
        "machine": machine(),
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
    }
    append_line(Path(path), record)
    return record


def read_records(path: Path | str) -> list[dict[str, Any]]:
    """Return the records of a file in the order of writing; a cut-off last line is left out."""
    return read_lines(Path(path))


def append_line(path: Path, value: Mapping[str, Any]) -> None:
    """Append one JSON line with a single write and a sync; first drop a cut-off last line."""
    line = json.dumps(dict(value), allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        with full_disk_said(path), _locked(handle):
            _drop_torn_tail(handle)
            written = os.write(handle, line)
            if written != len(line):  # only a part of the record fitted
                os.ftruncate(handle, os.fstat(handle).st_size - written)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def _locked(handle: int) -> Generator[None]:
    try:
        import fcntl
    except ModuleNotFoundError:  # no advisory locks on this system
        yield
        return
    fcntl.flock(handle, fcntl.LOCK_EX)  # dropped when the handle closes
    yield


def _drop_torn_tail(handle: int) -> None:
    size = os.fstat(handle).st_size
    keep = size
    while keep > 0:  # read backwards to the last newline
        start = max(0, keep - 65536)
        piece = os.pread(handle, keep - start, start)
        found = piece.rfind(b"\n")
        if found >= 0:
            keep = start + found + 1
            break
        keep = start
    if keep != size:
        os.ftruncate(handle, keep)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read a file of JSON lines.

    Raises:
        RunError: A line other than a cut-off last one is damaged; it is named.
    """
    raw = path.read_bytes()
    whole = raw[: raw.rfind(b"\n") + 1]
    lines: list[dict[str, Any]] = []
    for number, line in enumerate(whole.splitlines(), start=1):
        try:
            lines.append(json.loads(line))
        except ValueError as error:
            raise RunError(
                f"line {number} of {path} is damaged ({error}); restore the file from a copy."
            ) from error
    return lines
