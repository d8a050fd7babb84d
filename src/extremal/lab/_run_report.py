"""`extremal report RUN`: one page for any run, with its own report inside and checked anew."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extremal import verify

from ._commands import command
from ._errors import RunError
from ._files import sha256_file
from ._plain import resolve
from ._report import Html, Section, Text, write_report
from ._runs import Run
from ._tables import Table

_BODY = re.compile(r"<body>\s*<h1>(?P<title>.*?)</h1>(?P<body>.*?)<footer>", re.DOTALL)
_NAME = "full-report.html"
_MOST_FILES = 200


@dataclass(frozen=True, slots=True)
class ReportOptions:
    """What the page shows."""

    files: bool = True
    """List every file with its size and SHA-256."""


@dataclass(frozen=True, slots=True)
class Reported:
    """A page that was written.

    Attributes:
        path: The page.
        run: The run folder.
        kind: The verb that made the run.
        verdict: What the checkers say now, or None where the run has no certificate.
    """

    path: Path
    run: Path
    kind: str
    verdict: verify.Verdict | None

    @property
    def exit_code(self) -> int:
        """That of the verdict; 0 without a certificate."""
        return 0 if self.verdict is None else self.verdict.exit_code

    def table(self) -> Table:
        """Return a row for the run."""
        verified = "no certificate" if self.verdict is None else self.verdict.status
        return Table(
            ["run", "kind", "verified", "page"],
            [[str(self.run), self.kind, verified, str(self.path)]],
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "run": str(self.run),
            "kind": self.kind,
            "page": str(self.path),
            "verdict": None if self.verdict is None else self.verdict.as_json(),
        }


@command(options=ReportOptions, inputs=("run",), flags=("out", "force"))
def report(
    run: Path | str,
    *,
    config: ReportOptions | None = None,
    out: Path | str | None = None,
    force: bool = False,
    **options: Any,
) -> Reported:
    """Write one self-contained page about a run, and check its certificate anew.

    Args:
        run: The run folder of any area.
        config: The options whole.
        out: The page; by default `full-report.html` in the run folder.
        force: Replace the page that is there.
        **options: Fields of `ReportOptions`.

    Returns:
        Where the page lies and what the checkers say; the page holds the run's own report, its
        configuration, the verdicts and the files.

    Raises:
        RunError: It is no run folder, or the page exists and `force` was not given.

    Cost: that of the checkers, and one pass over the files.
    """
    settings = resolve(ReportOptions, config, options)
    folder = Path(run)
    made = _open(folder)
    page = Path(out) if out is not None else folder / _NAME
    if page.is_dir():
        raise RunError(f"{page} is a folder, but a report is one file; name one, such as r.html.")
    if page.exists() and not force:
        raise RunError(f"{page} exists already; replace it with --force, or choose another --out.")
    certificate = folder / "certificate.json"
    verdict = verify.file(certificate) if certificate.is_file() else None
    title, sections = _own_page(folder / "report.html")
    sections += [Text("What the checkers say", heading=True), Text(_checked(verdict))]
    sections += [
        Text("How it was made", heading=True),
        Table(["option", "value"], _options(made.config), title=f"extremal {made.kind}"),
    ]
    if settings.files:
        sections += [Text("Files", heading=True), _files(folder, page)]
    write_report(
        page,
        title or f"A run of {made.kind}",
        sections,
        footer=f"Check it again with: extremal verify {certificate}" if verdict else "",
    )
    return Reported(page, folder, made.kind, verdict)


def _open(folder: Path) -> Run:
    """A run; a folder of model files keeps what belongs to the run in `run/`."""
    if (folder / "run" / "config.json").is_file() and (folder / "certificate.json").is_file():
        return Run.open(folder / "run")
    return Run.open(folder)


def _own_page(page: Path) -> tuple[str, list[Section]]:
    """What the area itself reported; empty where the run has not got that far."""
    if not page.is_file():
        return "", [Text("The run has no report of its own: it has not been finished.")]
    found = _BODY.search(page.read_text(encoding="utf-8"))
    if found is None:
        raise RunError(
            f"{page} is no report that extremal wrote, so it cannot be taken over; "
            "restore it, or finish the run with --resume."
        )
    title = re.sub(r"&#(\d+);", lambda m: chr(int(m[1])), found["title"])
    for name, sign in (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&")):
        title = title.replace(name, sign)
    return title, [Html(found["body"])]


def _checked(verdict: verify.Verdict | None) -> str:
    return "The run has no certificate." if verdict is None else verdict.as_text()


def _options(config: dict[str, Any], prefix: str = "") -> list[list[str]]:
    rows: list[list[str]] = []
    for key, value in config.items():
        if isinstance(value, dict):
            rows += _options(value, f"{prefix}{key}.")
        else:
            rows.append([prefix + key, "-" if value is None else _short(str(value))])
    return rows


def _short(text: str) -> str:
    return text if len(text) <= 200 else text[:197] + "..."


def _files(folder: Path, page: Path) -> Table:
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != ".lock" and p != page)
    rows = [
        [str(p.relative_to(folder)), p.stat().st_size, sha256_file(p)[:16]]
        for p in files[:_MOST_FILES]
    ]
    more = len(files) - len(rows)
    title = f"the first {_MOST_FILES} of {len(files)} files" if more else ""
    return Table(["file", "bytes", "SHA-256, first 16 digits"], rows, title=title)
