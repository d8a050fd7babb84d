"""A run is a folder: config.json, records.jsonl, checkpoints/, certificate.json, report.html.

Every file is written to a temporary name, synced and renamed. One process at a time holds a
run (an advisory lock that the system drops when the process dies, however it dies).
"""

import datetime as dt
import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from ._errors import RunError
from ._files import atomic_write
from ._records import append_line, read_lines, versions

_FORMAT = "extremal/run"
_VERSION = 1


class Run:
    """An open run folder.

    Attributes:
        path: The folder.
        kind: Which verb made it, such as `"training/fit"`.
        config: The verb's options as plain JSON values.
    """

    def __init__(self, path: Path, kind: str, config: dict[str, Any]) -> None:
        """Use `Run.create` or `Run.open`."""
        self.path = path
        self.kind = kind
        self.config = config
        self._lock: int | None = None

    @classmethod
    def create(
        cls,
        path: Path | str,
        *,
        kind: str,
        config: Mapping[str, Any],
        resume: bool = False,
        force: bool = False,
    ) -> "Run":
        """Start a run, or take up one that was interrupted, and hold its lock.

        Args:
            path: The folder; missing parents are created.
            kind: Which verb makes it.
            config: Its options as plain JSON values.
            resume: Continue what is there; the kind and every option must be the same.
            force: Replace what is there, if it is a run.

        Returns:
            The open run.

        Raises:
            RunError: The folder exists and neither `resume` nor `force` was given; it holds
                another configuration (the differing options are named); it is not a run; or
                another process is working in it.
        """
        path = Path(path)
        plain = json.loads(json.dumps(dict(config)))
        if path.exists() and not path.is_dir():
            raise RunError(f"{path} is a file, but a run is a folder; choose another --out.")
        occupied = path.is_dir() and any(p.name != ".lock" for p in path.iterdir())
        if occupied and not (path / "config.json").exists():
            raise RunError(
                f"{path} has files in it but no config.json, so it is not a run and nothing "
                "in it is touched; choose another --out."
            )
        if occupied and not resume and not force:
            raise RunError(
                f"{path} exists already; continue it with --resume, replace it with --force, "
                "or choose another --out."
            )
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, kind, plain)
        run._hold()
        if occupied and resume:
            run._same(cls.open(path))
            return run
        if occupied:
            cls.open(path)  # only a readable run may be replaced
            for entry in path.iterdir():
                if entry.name != ".lock":
                    shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        run.write_json(
            "config.json",
            {
                "format": _FORMAT,
                "version": _VERSION,
                "kind": kind,
                "config": plain,
                "created": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
                "extremal": versions()["extremal"],
            },
        )
        return run

    @classmethod
    def open(cls, path: Path | str, kind: str | None = None) -> "Run":
        """Open an existing run for reading.

        Args:
            path: The folder.
            kind: If given, the only kind that is accepted.

        Returns:
            The run, not locked.

        Raises:
            RunError: There is no such run, its config.json is damaged, or it is of another kind.
        """
        path = Path(path)
        if not (path / "config.json").is_file():
            raise RunError(f"{path} is not a run folder (it has no config.json); give one.")
        try:
            head = json.loads((path / "config.json").read_text())
            found, config = head["kind"], head["config"]
            form = (head["format"], head["version"])
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(
                f"{path / 'config.json'} is damaged ({error}); restore it, or start the run "
                "again with --force in another folder."
            ) from error
        if form != (_FORMAT, _VERSION):
            raise RunError(
                f"{path / 'config.json'} is of form {form}, but this version reads "
                f"{(_FORMAT, _VERSION)}; use the version of extremal that wrote it."
            )
        if kind is not None and found != kind:
            raise RunError(f"{path} is a run of {found}, but a run of {kind} is needed.")
        return cls(path, found, config)

    def write(self, name: str, data: bytes | str) -> Path:
        """Write a file of the run atomically and return its path."""
        return atomic_write(self.path / name, data)

    def write_json(self, name: str, value: Any) -> Path:
        """Write plain values as JSON, atomically; NaN and infinity are refused."""
        return self.write(name, json.dumps(value, indent=1, allow_nan=False) + "\n")

    def read_json(self, name: str) -> Any:
        """Read a JSON file of the run.

        Raises:
            RunError: It is missing or damaged.
        """
        file = self.path / name
        try:
            return json.loads(file.read_text())
        except FileNotFoundError as error:
            raise RunError(f"{file} is missing; finish the run with --resume.") from error
        except ValueError as error:
            raise RunError(f"{file} is damaged ({error}); run again with --force.") from error

    def log(self, **fields: Any) -> None:
        """Append one line to records.jsonl."""
        append_line(self.path / "records.jsonl", fields)

    def records(self) -> list[dict[str, Any]]:
        """Return the lines of records.jsonl; a last line cut off by a crash is left out."""
        file = self.path / "records.jsonl"
        return read_lines(file) if file.exists() else []

    def release(self) -> None:
        """Let another process work in the run; leaving a `with` block does it too."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def __del__(self) -> None:
        with suppress(OSError, AttributeError):
            self.release()

    def _hold(self) -> None:
        try:
            import fcntl
        except ModuleNotFoundError:  # no advisory locks on this system
            return
        handle = os.open(self.path / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(handle)
            raise RunError(
                f"another process is working in {self.path}; wait for it to end, or choose "
                "another --out."
            ) from error
        self._lock = handle

    def _same(self, found: "Run") -> None:
        if found.kind != self.kind:
            raise RunError(
                f"{self.path} is a run of {found.kind}, not of {self.kind}; choose another --out."
            )
        keys = sorted(found.config.keys() | self.config.keys())
        missing = object()
        changed = [
            f"{k}: {found.config.get(k)!r} there, {self.config.get(k)!r} now"
            for k in keys
            if found.config.get(k, missing) != self.config.get(k, missing)
        ]
        if changed:
            raise RunError(
                f"{self.path} was started with another configuration ({'; '.join(changed)}), so "
                "it cannot be resumed with this one; repeat the options, or choose another --out."
            )
