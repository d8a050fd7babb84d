"""The floor under every area: errors, runs, records, seeds, executors, progress, reports."""

from ._certificates import Part, write_certificate
from ._commands import Answer, Command, command, command_of
from ._durations import seconds_of
from ._errors import (
    ExtremalError,
    MissingExtra,
    RunError,
    WorkerError,
    explain_missing,
    require,
)
from ._executor import Executor, Outcome, executor
from ._files import atomic_path, atomic_write, full_disk_said, sha256_file
from ._imported import imported
from ._measured import accuracy_part, describe, seeds_part, timing_part, wilson
from ._plain import from_plain, resolve, to_plain
from ._plots import PALETTE, figure_bytes, new_figure
from ._progress import Progress, progress
from ._rationals import rational
from ._records import append_record, commit, machine, read_records, versions
from ._report import Html, Picture, Section, Text, write_figures, write_report
from ._run_report import Reported, ReportOptions, report
from ._runs import Run
from ._seeds import derive_seed, generator, seed_everything
from ._tables import Cell, Table

__all__ = [
    "PALETTE",
    "Answer",
    "Cell",
    "Command",
    "Executor",
    "ExtremalError",
    "Html",
    "MissingExtra",
    "Outcome",
    "Part",
    "Picture",
    "Progress",
    "ReportOptions",
    "Reported",
    "Run",
    "RunError",
    "Section",
    "Table",
    "Text",
    "WorkerError",
    "accuracy_part",
    "append_record",
    "atomic_path",
    "atomic_write",
    "command",
    "command_of",
    "commit",
    "derive_seed",
    "describe",
    "executor",
    "explain_missing",
    "figure_bytes",
    "from_plain",
    "full_disk_said",
    "generator",
    "imported",
    "machine",
    "new_figure",
    "progress",
    "rational",
    "read_records",
    "report",
    "require",
    "resolve",
    "seconds_of",
    "seed_everything",
    "seeds_part",
    "sha256_file",
    "timing_part",
    "to_plain",
    "versions",
    "wilson",
    "write_certificate",
    "write_figures",
    "write_report",
]
