"""Generate docs/benchmarks from the records; every number in those pages comes from here.

Run:  python benchmarks/tables.py
Each benchmark script has a function `table(records) -> Table | list[Table]` beside its `main`.
"""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from extremal.lab import Table, atomic_write, read_records

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs" / "benchmarks"


def load(script: Path) -> ModuleType:
    """Import a benchmark script by its path."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{script.stem}", script)
    if spec is None or spec.loader is None:
        raise ImportError(f"{script} cannot be imported; it must be a Python file.")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(area: str, scripts: Sequence[Path]) -> str:
    """Return the page of one area: for each script its question and its tables."""
    lines = [
        f"# Benchmarks: {area}",
        "",
        "Generated from records by `python benchmarks/tables.py`.",
    ]
    for script in scripts:
        module = load(script)
        records = read_records(HERE / area / "results" / f"{script.stem}.jsonl")
        tables = module.table(records)
        lines += ["", f"## {(module.__doc__ or '').splitlines()[0]}", ""]
        body = (module.__doc__ or "").split("\n", 2)[-1].strip()
        lines += ["```text", body, "```"]
        for one in [tables] if isinstance(tables, Table) else tables:
            lines += ["", one.as_markdown()]
        machine = records[-1]["machine"]
        versions = records[-1]["versions"]
        lines += [
            "",
            f"Last record: {records[-1]['date']}, {machine['cores']} cores of "
            f"{machine['processor']}, torch {versions.get('torch', 'absent')}, "
            f"numpy {versions['numpy']}, Python {versions['python']}.",
        ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Write a page for each area that has records, and the list of pages."""
    index = [
        "# Benchmarks",
        "",
        "Each script states its question and what makes it fair, runs a peer beside ours where one",
        "can be installed, and appends a record with every sample. The tables are generated.",
        "",
    ]
    for folder in sorted(p for p in HERE.iterdir() if p.is_dir()):
        scripts = [
            s
            for s in sorted(folder.glob("[a-z]*.py"))
            if (folder / "results" / f"{s.stem}.jsonl").exists()
        ]
        if scripts:
            atomic_write(DOCS / f"{folder.name}.md", page(folder.name, scripts))
            index.append(f"- [{folder.name}]({folder.name}.md)")
    atomic_write(DOCS / "index.md", "\n".join(index) + "\n")


if __name__ == "__main__":
    main()
