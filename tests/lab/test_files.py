"""Atomic files: whole or absent, also on a full disk."""

import errno
import hashlib
import tempfile
from pathlib import Path

import pytest

from extremal.lab import atomic_path, atomic_write, full_disk_said, sha256_file


def test_text_and_bytes_arrive_whole(tmp_path):
    assert atomic_write(tmp_path / "new" / "a.txt", "é").read_bytes() == "é".encode()
    assert sha256_file(tmp_path / "new" / "a.txt") == hashlib.sha256("é".encode()).hexdigest()


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    atomic_write(tmp_path / "a", b"old")

    def fail() -> None:
        with atomic_path(tmp_path / "a") as temporary:
            temporary.write_bytes(b"half")
            raise KeyError("stopped half-way")

    with pytest.raises(KeyError):
        fail()
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_full_disk_is_said_in_one_line(tmp_path, monkeypatch):
    atomic_write(tmp_path / "a", b"old")

    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match=r"the disk is full, so .* could not be written"):
        atomic_write(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_a_disk_too_full_for_a_new_name_is_said_too(tmp_path, monkeypatch):
    def full(**_: object) -> tuple[int, str]:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(tempfile, "mkstemp", full)
    with pytest.raises(OSError, match=r"the disk is full, so .*a could not be written"):
        atomic_write(tmp_path / "a", b"new")
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_in_the_words_of_a_library(tmp_path):
    class SafetensorError(Exception):
        """As the library raises it: no OSError."""

    def fill() -> None:
        with atomic_path(tmp_path / "a"):
            raise SafetensorError("I/O error: No space left on device (os error 28)")

    with pytest.raises(OSError, match=r"the disk is full, so .*a could not be written") as caught:
        fill()
    assert caught.value.errno == errno.ENOSPC
    with pytest.raises(PermissionError), full_disk_said("a"):
        raise PermissionError(errno.EACCES, "Permission denied")
