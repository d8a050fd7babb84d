"""Files that are whole or absent: written to a temporary name, synced, renamed."""

import contextlib
import errno
import hashlib
import os
import tempfile
from collections.abc import Generator
from pathlib import Path

_CHUNK = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT}
_NO_SPACE = os.strerror(errno.ENOSPC)


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
    with full_disk_said(path):
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
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_said(path: Path | str | None) -> Generator[None]:
    """Turn the error of a full disk, also in a library's own words, into one that helps.

    Args:
        path: The file that is written inside, which a failure leaves as it was. None: not known.

    Raises:
        OSError: The disk is full; the text names the file and says what to do.
    """
    try:
        yield
    except Exception as error:
        said = str(error)
        no_space = isinstance(error, OSError) and error.errno in _FULL
        # safetensors and SQLite raise errors of their own
        no_space = no_space or _NO_SPACE in said or "disk is full" in said
        if not no_space or "could not be written" in said:
            raise
        raise OSError(
            errno.ENOSPC,
            f"the disk is full, so {path or getattr(error, 'filename', None) or 'a file'} could "
            "not be written (what was there before is unchanged); free some space and start "
            "again: a run goes on with --resume",
        ) from error


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
