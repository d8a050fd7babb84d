"""The verb `plot`: several periods of a colouring, circles on chosen points, conflicts in black."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from extremal.lab import Table, atomic_write, command, figure_bytes, new_figure, resolve

from ._certify import read, read_problem
from ._colouring import Colouring
from ._errors import ColoringError
from ._polygon_colouring import PolygonColouring
from ._problem import Problem
from ._screen import free_of

# Light and dark alternate, so that neighbours differ in print and for colour-blind readers too.
COLORS = (
    "#4C78A8", "#F2B701", "#59A14F", "#B07AA1", "#76B7B2", "#E15759", "#9C755F", "#BAB0AC",
    "#86BCB6", "#D4A6C8", "#F1CE63", "#499894", "#D37295", "#A0CBE8", "#8CD17D",
)  # fmt: skip
_FREE = "#FFFFFF"
_PIXELS = 700
_HEXAGONS = 20_000  # in one picture; more are drawn as an image


@dataclass(frozen=True)
class PlotConfig:
    """What is drawn."""

    periods: float = 3.0
    """How many periods the picture is wide."""
    circles: tuple[str, ...] = ()
    """Points "x,y" that get a circle of the radius of each rule; default: one in the middle."""
    conflicts: bool = True
    """Draw cells in conflict in black."""
    cell: bool = True
    """Outline one period."""
    level: float = 0.0
    """Height of the plane through a colouring of space."""


@dataclass(frozen=True)
class Plotted:
    """A drawing.

    Attributes:
        data: The file.
        path: Where it was written, or None.
        conflicts: How many cells are in conflict.
    """

    data: bytes
    path: Path | None
    conflicts: int

    def table(self) -> Table:
        """Return where the picture is."""
        return Table(
            ["picture", "cells in conflict"], [[str(self.path or "not written"), self.conflicts]]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {"path": None if self.path is None else str(self.path), "conflicts": self.conflicts}


@command(options=PlotConfig, inputs=("source", "problem?"), flags=("out", "force"))
def plot(
    source: "Colouring | PolygonColouring | str | Path",
    problem: "Problem | str | Path | None" = None,
    *,
    config: PlotConfig | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Plotted:
    """Draw several periods of a colouring, with circles of the forbidden distances.

    Args:
        source: A colouring, its file, or a run folder.
        problem: Whose distances are drawn; None: those of the run, or none.
        config: All options at once; or give any of its fields as keywords.
        out: A .png or .svg file.
        force: Replace `out`.
        **options: Fields of `PlotConfig`; they replace those of `config`.

    Returns:
        The drawing.

    Raises:
        ColoringError: `out` exists, or has another ending.
        MissingExtra: matplotlib is not installed.
    """
    settings = resolve(PlotConfig, config, options)
    if not 0 < settings.periods <= 50:
        raise ValueError(f"periods is a number above 0 and at most 50, got {settings.periods}.")
    found = read(source)
    asked: Problem | None = None
    try:
        asked = read_problem(problem, source)
    except ColoringError:
        if problem is not None:
            raise
    kind = "png"
    if out is not None:
        kind = Path(out).suffix.lstrip(".").lower()
        if kind not in ("png", "svg"):
            raise ColoringError(f"{out} ends neither in .png nor in .svg.")
        if Path(out).exists() and not force:
            raise ColoringError(f"{out} exists already; replace it with --force.")
    data, count = draw(found, asked, settings, kind)
    path = None if out is None else atomic_write(out, data)
    return Plotted(data, path, count)


def picture(found: Colouring | PolygonColouring, asked: Problem | None) -> bytes:
    """Return a PNG with the default settings."""
    return draw(found, asked, PlotConfig(), "png")[0]


def draw(
    found: Colouring | PolygonColouring, asked: Problem | None, settings: PlotConfig, kind: str
) -> tuple[bytes, int]:
    """Return the picture and the number of cells in conflict."""
    basis = found.basis
    size = float(np.sqrt(abs(np.linalg.det(basis[:2, :2]))))
    reach = (
        max(
            (float(hi) ** 0.5 for c in range(found.colors) for _, hi in asked.spans(c)), default=0.0
        )
        if asked is not None
        else 0.0
    )
    half = max(settings.periods * size / 2, 1.15 * reach)
    figure, axes = new_figure(6.4, 6.4)
    axes.grid(False)
    axes.set_aspect("equal")
    conflicts: Any = None
    count = 0
    if asked is not None and isinstance(found, Colouring) and asked.classes():
        conflicts = free_of(found, asked) > 0
        count = int(conflicts.sum())
    if isinstance(found, PolygonColouring) and not found.rest:
        _polygons(axes, found, half)
    else:
        marked = conflicts if settings.conflicts else None
        if not (isinstance(found, Colouring) and _hexagons(axes, found, half, marked)):
            _image(axes, found, half, marked, settings.level)
    _circles(axes, found, asked, settings)
    if settings.cell:
        corner = -(basis[0, :2] + basis[1, :2]) / 2
        outline = np.array([corner, corner + basis[0, :2], corner + basis[0, :2] + basis[1, :2],
                            corner + basis[1, :2], corner])  # fmt: skip
        axes.plot(*outline.T, color="#222222", linewidth=0.9, linestyle=(0, (4, 3)))
    axes.set_xlim(-half, half)
    axes.set_ylim(-half, half)
    handles = _legend(found)
    axes.legend(
        handles=handles, loc="upper center", bbox_to_anchor=(0.5, -0.05),
        ncols=min(8, len(handles)), handlelength=0.9, columnspacing=0.9,
    )  # fmt: skip
    return figure_bytes(figure, kind), count


def _palette(found: Colouring | PolygonColouring) -> list[str]:
    colors = [COLORS[c % len(COLORS)] for c in range(found.colors)]
    return [*colors, _FREE]  # the free colour, and what no tile covers


def _legend(found: Colouring | PolygonColouring) -> list[Any]:
    from matplotlib.patches import Patch

    names = [str(c) for c in range(found.colors)] + (["free"] if found.free else [])
    return [
        Patch(facecolor=color, edgecolor="#555555", linewidth=0.5, label=name)
        for color, name in zip(_palette(found), names, strict=False)
    ]


def _image(axes: Any, found: Any, half: float, conflicts: Any, level: float) -> None:
    axis = (np.arange(_PIXELS) + 0.5) / _PIXELS * 2 * half - half
    x, y = np.meshgrid(axis, axis)
    points = np.stack([x.ravel(), y.ravel()], 1)
    if found.dim == 3:
        points = np.column_stack([points, np.full(len(points), level)])
    index = found.at(points).reshape(_PIXELS, _PIXELS)
    rgb = np.array([_rgb(c) for c in _palette(found)])[index]
    if conflicts is not None and conflicts.any():
        marked = replace(found, cells=conflicts.astype(np.uint8), colors=2, free=False)
        rgb[marked.at(points).reshape(_PIXELS, _PIXELS) == 1] = 0.0
    axes.imshow(rgb, extent=(-half, half, -half, half), origin="lower", interpolation="nearest")


def _hexagons(axes: Any, found: Colouring, half: float, conflicts: Any) -> bool:
    """Draw every hexagon of the plane in view; False where there are too many to tell apart."""
    from matplotlib.collections import PolyCollection

    from ._hexagons import facets

    area = abs(float(np.linalg.det(found.steps)))
    if found.dim != 2 or found.cell != "hexagon" or 4 * half * half / area > _HEXAGONS:
        return False
    body = facets(found.shape)
    outline = np.array([[float(x) for x in z] for z in body.corners]) * body.units / 2
    outline = outline[np.argsort(np.arctan2(outline[:, 1], outline[:, 0]))]
    reach = half + float(np.linalg.norm(outline, axis=1).max())
    dual = np.linalg.inv(found.steps)
    span = [int(np.ceil(1.5 * reach * np.linalg.norm(dual[:, i]))) for i in range(2)]
    index = np.stack(
        np.meshgrid(*(np.arange(-s, s + 1) for s in span), indexing="ij"), -1
    ).reshape(-1, 2)  # fmt: skip
    centres = index @ found.steps
    seen = (np.abs(centres) <= reach).all(1)
    index, centres = index[seen] % np.array(found.grid), centres[seen]
    palette = np.array(_palette(found))
    colors = palette[found.cells[tuple(index.T)]]
    if conflicts is not None:
        colors = np.where(conflicts[tuple(index.T)], "#000000", colors)
    axes.add_collection(
        PolyCollection(
            list(centres[:, None] + outline[None]),
            facecolors=list(colors),
            edgecolors="#333333",
            linewidths=0.3,
        )
    )
    return True


def _polygons(axes: Any, found: PolygonColouring, half: float) -> None:
    from matplotlib.collections import PolyCollection

    basis = found.basis
    span = int(np.ceil(1.5 * half * np.linalg.norm(np.linalg.inv(basis), axis=0).max())) + 1
    shapes: list[Float[np.ndarray, "v 2"]] = []
    colors: list[str] = []
    palette = _palette(found)
    for i in range(-span, span + 1):
        for j in range(-span, span + 1):
            move = i * basis[0] + j * basis[1]
            for color, vertices in found.floats():
                moved = vertices + move
                if (np.abs(moved).min(0) <= half).all():
                    shapes.append(moved)
                    colors.append(palette[color])
    axes.add_collection(
        PolyCollection(shapes, facecolors=colors, edgecolors="#333333", linewidths=0.4)
    )


def _circles(axes: Any, found: Any, asked: Problem | None, settings: PlotConfig) -> None:
    from matplotlib.patches import Circle

    if asked is None:
        return
    chosen = [_point(text) for text in settings.circles] or [(0.0, 0.0)]
    for x, y in chosen:
        where = np.array([[x, y, settings.level][: found.dim]])
        color = int(found.at(where)[0])
        spans = asked.spans(color) if color < asked.colors else ()
        for low, high in spans or [s for c in range(asked.colors) for s in asked.spans(c)][:1]:
            for square in {low, high}:
                radius = float(square) ** 0.5
                axes.add_patch(Circle((x, y), radius, fill=False, color="#000000", linewidth=1.2))
        axes.plot([x], [y], marker="o", markersize=4, color="#000000")


def _point(text: str) -> tuple[float, float]:
    try:
        x, y = (float(v) for v in text.split(","))
    except ValueError:
        raise ValueError(f"{text!r} is no point; write x,y such as 0.5,0.25.") from None
    if not (np.isfinite(x) and np.isfinite(y)):
        raise ValueError(f"{text!r} is not finite; write x,y such as 0.5,0.25.")
    return x, y


def _rgb(color: str) -> tuple[float, float, float]:
    r, g, b = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return r, g, b
