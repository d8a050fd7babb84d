"""Hidden use of a column: the same audit with the column allowed, avoided by Merlin, and forbidden.

If precision and bound hardly fall when nobody may show the column, the decision does not rest on
it. If they fall when Merlin alone avoids it, his explanations hide what matters.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from extremal.lab import Cell, Table, resolve

from ._arthur import Arthur
from ._certify import CertifyConfig, certify
from ._result import Audit
from ._task import Task


@dataclass(frozen=True)
class ColumnUse:
    """Three audits of one column.

    Attributes:
        column: Its name.
        audits: `allowed`, `avoided` (Merlin alone does not show it), `forbidden` (nobody does).
    """

    column: str
    audits: Mapping[str, Audit]

    def table(self) -> Table:
        """Return a row for each of the three."""
        rows: list[list[Cell]] = [
            [
                name, min(a.completeness), min(a.soundness), a.precision, a.bound, a.verdict,
                _share(a, self.column),
            ]
            for name, a in self.audits.items()
        ]  # fmt: skip
        return Table(
            ["column is", "completeness", "soundness", "precision", "bound", "verdict", "shown in"],
            rows,
            title=f"What rests on the column {self.column}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the three audits as plain values."""
        return {"column": self.column, **{n: a.as_json() for n, a in self.audits.items()}}


def column_use(
    column: str,
    data: Task,
    arthur: Arthur | None = None,
    *,
    config: CertifyConfig | None = None,
    **options: Any,
) -> ColumnUse:
    """Audit a classifier with a column allowed, avoided by Merlin, and forbidden.

    Args:
        column: Its name.
        data: The task; `relabelled` makes it about a black box.
        arthur: Any Arthur; by default `lookup`. Merlin shows rules on the other columns.
        config: Options of `certify` at once; or give any of its fields as keywords.
        **options: Fields of `CertifyConfig`.

    Returns:
        The three audits.

    Example:
        >>> from extremal.interpret import load_task
        >>> use = column_use("jacket", load_task(data="monks"), k=3)
        >>> [use.audits[n].verdict for n in ("allowed", "forbidden")]
        ['certified', 'vacuous']
    """
    settings = resolve(CertifyConfig, config, options)
    data.unit(column)  # refused here, with the names that there are
    plain = replace(settings, explainer="rules")
    return ColumnUse(
        column,
        {
            "allowed": certify(arthur, None, data, config=plain),
            "avoided": certify(
                arthur, None, data, config=replace(plain, avoid=(*plain.avoid, column))
            ),
            "forbidden": certify(arthur, None, data.hide(column), config=plain),
        },
    )


def _share(audit: Audit, column: str) -> float:
    """In which share of the rows Merlin shows the column."""
    import numpy as np

    masks = np.unpackbits(audit.arrays["merlin_mask"], axis=-1)
    return float(masks[:, audit.task.unit(column)].mean())
