"""Progress on stderr: a bar with rate and time left on a terminal, else one line a minute."""

import sys
import time
from types import TracebackType
from typing import Any

_QUIET_SECONDS = 60.0


class Progress:
    """A count that goes from 0 to `total`; use it in a `with` block."""

    def __init__(self, total: int, label: str) -> None:
        """Start at 0 of `total`; `label` says what is counted."""
        self.total = total
        self.label = label
        self.count = 0
        self._start = self._last = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> "Progress":
        if sys.stderr.isatty():
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                MofNCompleteColumn,
                TextColumn,
                TimeRemainingColumn,
            )
            from rich.progress import Progress as Bar

            self._bar = Bar(
                TextColumn("{task.description}"),
                BarColumn(),
                MofNCompleteColumn(),
                TextColumn("{task.fields[rate]}"),
                TimeRemainingColumn(),
                TextColumn("{task.fields[text]}"),
                console=Console(stderr=True),
                transient=True,
            )
            self._bar.start()
            self._task = self._bar.add_task(self.label, total=self.total, text="", rate="")
        return self

    def advance(self, n: int = 1, text: str = "") -> None:
        """Count `n` more; `text` is shown beside the bar."""
        self.count += n
        now = time.monotonic()
        rate = self.count / max(now - self._start, 1e-9)
        if self._bar is not None:
            fields = {"text": text} if text else {}
            self._bar.update(self._task, advance=n, rate=f"{rate:.3g}/s", **fields)
        elif now - self._last >= _QUIET_SECONDS:
            self._last = now
            left = (self.total - self.count) / rate if rate else float("inf")
            sys.stderr.write(
                f"{self.label}: {self.count}/{self.total}, {rate:.3g}/s, {left:.0f} s left"
                f"{', ' + text if text else ''}\n"
            )
            sys.stderr.flush()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def progress(total: int, label: str) -> Progress:
    """Return a progress display for `total` steps of what `label` says.

    Example:
        >>> with progress(3, "phases") as bar:
        ...     for _ in range(3):
        ...         bar.advance()
    """
    return Progress(total, label)
