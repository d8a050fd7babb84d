"""One look for every table: text for people, Markdown for the docs, plain values for machines."""

from collections.abc import Sequence
from dataclasses import dataclass

Cell = str | int | float | None


@dataclass(frozen=True, slots=True)
class Table:
    """Columns and rows; numbers are right-aligned and None is shown as a dash."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    title: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(
                    f"a row of {len(row)} cells does not fit the {len(self.columns)} columns "
                    f"{list(self.columns)}: {list(row)!r}."
                )

    def as_text(self) -> str:
        """Return the table for a terminal, without colours and without trailing spaces."""
        cells = self.cells()
        widths = [max(len(row[j]) for row in cells) for j in range(len(self.columns))]
        lines = ["  ".join(self._pad(row, widths)).rstrip() for row in cells]
        lines.insert(1, "  ".join("-" * w for w in widths))
        return "\n".join([self.title, *lines] if self.title else lines)

    def as_markdown(self) -> str:
        """Return the table in Markdown."""
        cells = [[c.replace("|", "\\|") for c in row] for row in self.cells()]
        rule = ["---:" if numeric else ":---" for numeric in self.numeric()]
        lines = ["| " + " | ".join(row) + " |" for row in [cells[0], rule, *cells[1:]]]
        return "\n".join([f"**{self.title}**", "", *lines] if self.title else lines)

    def cells(self) -> list[list[str]]:
        """Return the head and the rows as they are shown."""
        return [list(self.columns), *([_text(cell) for cell in row] for row in self.rows)]

    def numeric(self) -> list[bool]:
        """Return for each column whether it holds a number anywhere."""
        return [
            any(isinstance(row[j], (int, float)) for row in self.rows)
            for j in range(len(self.columns))
        ]

    def _pad(self, row: list[str], widths: list[int]) -> list[str]:
        return [
            cell.rjust(w) if numeric else cell.ljust(w)
            for cell, w, numeric in zip(row, widths, self.numeric(), strict=True)
        ]


def _text(cell: Cell) -> str:
    if cell is None:
        return "-"
    if isinstance(cell, float):
        return f"{cell:.4g}" if cell == 0.0 or abs(cell) >= 1e-3 else f"{cell:.2e}"
    return f"{cell:,}" if isinstance(cell, int) and not isinstance(cell, bool) else str(cell)
