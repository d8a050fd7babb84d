"""Files that are whole or absent: written to a temporary name, synced, renamed."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

_CHUNK = 1 << 20


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Generator[Path]:
    """Give a temporary path beside `path`; on a clean exit sync it and rename it to `path`.

    Args:
        path: The final name. Its folder is created where it is missing.

    Yields:
        The temporary path, on the same file system. It exists and is empty.

    Raises:
        OSError: The disk is full or the folder cannot be written; the temporary file is
            removed and whatever stood at `path` is untouched.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        _sync(temporary)
        temporary.chmod(0o666 & ~_umask())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise OSError(
                error.errno,
                f"the disk is full, so {path} could not be written (what was there before is "
                "unchanged); free some space and run again with --resume",
            ) from error
        raise
    finally:
        temporary.unlink(missing_ok=True)


def atomic_write(path: Path | str, data: bytes | str) -> Path:
    """Write a whole file, or leave what was there.

    Args:
        path: Where to; missing folders are created.
        data: Bytes, or text that is written as UTF-8.

    Returns:
        The path.

    Raises:
        OSError: As `atomic_path`.
    """
    with atomic_path(path) as temporary:
        temporary.write_bytes(data.encode() if isinstance(data, str) else data)
    return Path(path)


def sha256_file(path: Path | str) -> str:
    """Return the SHA-256 of a file as 64 hexadecimal digits, read in pieces of 1 MiB."""
    digest = hashlib.sha256()
    with Path(path).open("rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _umask() -> int:
    # Reading the mask sets it; both calls follow each other at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
