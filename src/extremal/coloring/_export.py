"""Colourings for other programs: CSV, SVG and data for Lean 4."""

from pathlib import Path
from typing import Any

from extremal.lab import atomic_write

from ._certify import rules_of
from ._colouring import Colouring
from ._errors import ColoringError
from ._plot import PlotConfig, draw
from ._polygon_colouring import PolygonColouring
from ._problem import Problem


def export(
    colouring: Colouring | PolygonColouring, path: Path | str, problem: Problem | None = None
) -> Path:
    """Write a colouring as .json, .csv, .svg or .lean, by the ending of the name.

    Args:
        colouring: Cells or polygons.
        path: The file.
        problem: Its rules go into .lean and .svg.

    Raises:
        ColoringError: The ending is another one, or .csv and .lean are asked of polygons.
    """
    path = Path(path)
    kind = path.suffix.lower()
    if kind == ".json":
        return colouring.save(path)
    if kind == ".svg":
        return atomic_write(path, draw(colouring, problem, PlotConfig(), "svg")[0])
    if isinstance(colouring, PolygonColouring):
        if kind == ".csv":
            rows = [f"# axes {','.join(map(str, colouring.axes))}"] if colouring.axes else []
            rows += ["tile,color,x,y"]
            rows += [f"{t},{c},{x},{y}" for t, (c, v) in enumerate(colouring.tiles) for x, y in v]
            return atomic_write(path, "\n".join(rows) + "\n")
        raise ColoringError(
            f"polygons are written as .json, .csv or .svg, not as {kind or 'that'}."
        )
    if kind == ".csv":
        head = "# lattice " + "; ".join(",".join(map(str, row)) for row in colouring.lattice)
        head += "".join(f"; {name} {value}" for name, value in colouring.form().items())
        flat = colouring.cells.reshape(-1, colouring.grid[-1])
        return atomic_write(path, "\n".join([head, *(",".join(map(str, r)) for r in flat)]) + "\n")
    if kind == ".lean":
        return atomic_write(path, lean_data(colouring, problem))
    raise ColoringError(f"{path} ends in {kind or 'nothing'}; write .json, .csv, .svg or .lean.")


def lean_data(colouring: Colouring, problem: Problem | None = None) -> str:
    """Return the colouring as Lean 4 definitions: integers, arrays and run lengths, no proofs."""
    lattice, denominator = colouring.integer_lattice()
    plain: dict[str, Any] = colouring.as_json()
    if colouring.cell == "hexagon":
        what = (
            "/-- A periodic colouring: cell (i, j) of the grid is what is nearest to the point\n"
            "    sum x_k v_k / N_k with v_k = lattice[k] / denominator. -/"
        )
    else:
        what = (
            "/-- A periodic colouring: cell (i, j) of the grid is the half-open parallelogram\n"
            "    sum (x_k + [0, 1)) v_k / N_k with v_k = lattice[k] / denominator. -/"
        )
    axes = [f"({a} : Rat)" for a in colouring.axes]
    runs = ", ".join(
        f"({length}, {color})" for length, color in (r.split(":") for r in plain["runs"].split(" "))
    )
    lines = [
        what,
        "namespace Colouring",
        f"def lattice : Array (Array Int) := #[{', '.join(_array(r) for r in lattice)}]",
        f"def denominator : Nat := {denominator}",
        *(
            [
                "/-- Squared units of the coordinates. -/",
                f"def axes : Array Rat := #[{', '.join(axes)}]",
            ]
            if axes
            else []
        ),
        f"def grid : Array Nat := {_array(list(colouring.grid))}",
        f"def colors : Nat := {colouring.colors}",
        f"def hasFree : Bool := {str(colouring.free).lower()}",
        "/-- (length, colour), last axis fastest. -/",
        f"def runs : Array (Nat \u00d7 Nat) := #[{runs}]",
    ]
    if problem is not None:
        rules = ", ".join(
            f"({_array(r['colors'])}, "
            f"#[{', '.join(f'({_rat(a)}, {_rat(b)})' for a, b in r['squared'])}])"
            for r in rules_of(problem)
        )
        lines += [
            "/-- (colours, intervals of squared distances that they avoid). -/",
            f"def rules : Array (Array Nat \u00d7 Array (Rat \u00d7 Rat)) := #[{rules}]",
        ]
    return "\n".join([*lines, "end Colouring"]) + "\n"


def _array(values: list[int]) -> str:
    return "#[" + ", ".join(map(str, values)) + "]"


def _rat(text: str) -> str:
    return f"({text} : Rat)"
