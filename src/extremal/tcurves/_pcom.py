"""The .pcom files of combinatorial patchworking: JSON that polymake, OSCAR and its web viewer open.

DUAL_SUBDIVISION holds POINTS (each with a leading 1, as homogeneous rows), WEIGHTS (heights) and
MAXIMAL_CELLS (triangles); PATCHWORK lists SIGNS (truth values), TYPE (the scheme) and OCCURRENCES.
Numbers stand as text or integers, and some files lack points or weights: read leniently.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from extremal.lab import atomic_write, rational

from ._census import Census
from ._errors import TCurveError
from ._lattice import lattice_points, point_index
from ._notation import Scheme, parse
from ._scheme import read_signs, word
from ._triangulation import Triangulation, from_triangles

_MAX_BYTES = 64 << 20


@dataclass(frozen=True)
class Patchwork:
    """One curve of a file.

    Attributes:
        signs: As a word of n digits.
        scheme: What the file says it is, or None.
        count: How many normalised sign vectors the file says have it, or None.
    """

    signs: str
    scheme: Scheme | None
    count: int | None


@dataclass(frozen=True)
class PcomFile:
    """What a .pcom file holds."""

    triangulation: Triangulation
    patchworks: tuple[Patchwork, ...]


def read_pcom(path: "str | Path") -> PcomFile:
    """Read a .pcom file.

    Raises:
        TCurveError: It is damaged, or holds no unimodular triangulation.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise TCurveError(f"{path} is larger than {_MAX_BYTES:,} bytes; split it.")
        value = json.loads(path.read_text())
    except ValueError as error:
        raise TCurveError(f"{path} is not JSON ({error}); restore it.") from error
    try:
        return _read(value)
    except (ValueError, KeyError, TypeError, IndexError) as error:
        raise TCurveError(
            f"{path} holds no patchwork of a unimodular triangulation ({error}); it needs "
            "DUAL_SUBDIVISION with MAXIMAL_CELLS."
        ) from error


def _read(value: dict[str, Any]) -> PcomFile:
    subdivision = cast("dict[str, Any]", value["DUAL_SUBDIVISION"])
    cells = [[int(k) for k in cell] for cell in _rows(subdivision["MAXIMAL_CELLS"])]
    rows = subdivision.get("POINTS")
    weights = subdivision.get("WEIGHTS")
    count = len(_rows(rows)) if rows else 1 + max(k for cell in cells for k in cell)
    degree = next((d for d in range(1, 65) if (d + 1) * (d + 2) // 2 == count), 0)
    if not degree:
        raise ValueError(f"{count} points are not those of any degree")
    order = list(range(count))
    if rows:
        index = point_index(degree)
        given = [tuple(int(rational(x)) for x in row) for row in _rows(rows)]
        # (1, i, j), or homogeneous (d-i-j, i, j)
        order = [index[row[-2], row[-1]] for row in given]
    triangles = [[order[k] for k in cell] for cell in cells]
    heights = None
    if weights is not None:
        heights = [rational(0)] * count
        for k, w in zip(order, weights, strict=True):
            heights[k] = rational(w)
    t = from_triangles(degree, triangles, heights)
    found: list[Patchwork] = []
    listed = value.get("PATCHWORK", [])
    for item in listed if isinstance(listed, list) else [listed]:
        given_signs = [int(s in (True, 1, "1", "true")) for s in item["SIGNS"]]
        signs = [0] * count
        for k, s in zip(order, given_signs, strict=True):
            signs[k] = s
        kind, times = item.get("TYPE"), item.get("OCCURRENCES")
        found.append(
            Patchwork(
                word(read_signs(t, signs)),
                parse(str(kind)) if kind else None,
                int(times) if times is not None else None,
            )
        )
    return PcomFile(t, tuple(found))


def _rows(value: Any) -> list[Any]:
    """Rows of a matrix; a sparse one ends with an object that gives its number of columns."""
    return [row for row in value if not isinstance(row, dict)]


def write_pcom(
    path: "str | Path", source: "Census | Triangulation", patchworks: Sequence[Patchwork] = ()
) -> Path:
    """Write a census, or a triangulation with curves, as a .pcom file.

    Args:
        path: Where to; written atomically.
        source: A census (all its schemes are written) or a triangulation.
        patchworks: Curves on the triangulation.

    Returns:
        The path.
    """
    if isinstance(source, Census):
        t = source.triangulation
        patchworks = [Patchwork(e.witness, e.scheme, e.count) for e in source.entries]
    else:
        t = source
    subdivision: dict[str, Any] = {
        "POINTS": [["1", str(i), str(j)] for i, j in lattice_points(t.degree)],
        "MAXIMAL_CELLS": [list(x) for x in t.triangles],
    }
    if t.heights is not None:
        subdivision["WEIGHTS"] = [str(h) for h in t.heights]
    body = {
        "_ns": {"polymake": ["https://polymake.org", "4.15"]},
        "_type": "tropical::Hypersurface<Min>",
        "DUAL_SUBDIVISION": subdivision,
        "PATCHWORK": [
            {
                "SIGNS": [c == "1" for c in p.signs],
                **({"TYPE": p.scheme.text("authors")} if p.scheme else {}),
                **({"OCCURRENCES": str(p.count)} if p.count is not None else {}),
            }
            for p in patchworks
        ],
    }
    return atomic_write(path, json.dumps(body, indent=1) + "\n")
