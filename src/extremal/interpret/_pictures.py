"""Pictures of an audit: masks, rates under each attack, and the bound against its assumptions."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from extremal.lab import PALETTE, Picture, figure_bytes, new_figure

from ._result import Audit
from ._task import in_pixels

_COLUMNS = 10


def rates_picture(found: Audit) -> Picture:
    """Draw completeness, and soundness under each attack, by class."""
    under = found.soundness_under()
    names = ["completeness", *(f"sound: {a}" for a in under), "sound: all"]
    values = np.array([found.completeness, *under.values(), found.soundness])
    figure, axes = new_figure(7.0, 0.9 + 0.34 * len(names))
    many = min(values.shape[1], len(PALETTE))
    for c in range(many):
        at = np.arange(len(names)) + 0.8 * (c - (many - 1) / 2) / many
        axes.barh(at, values[:, c], 0.8 / many, label=found.task.class_names[c])
    axes.axvline(found.bound, color="#000000", linewidth=1.2, label="bound of precision")
    axes.axvline(
        found.numbers["chance"], color="#888888", linewidth=1, linestyle="--", label="chance"
    )
    axes.set_yticks(np.arange(len(names)), names)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.02)
    axes.set_xlabel("share of the rows")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return Picture(
        figure_bytes(figure),
        "How often Merlin convinces, and how often Arthur withstands each attack, by class. The "
        "explanations are worth something where both are high.",
    )


def assumptions_picture(found: Audit) -> Picture:
    """Draw the bound over kappa for several alpha, with what was measured."""
    grid = found.numbers["grid"]
    figure, axes = new_figure(6.0, 3.2)
    for alpha in sorted({a for _, a, _ in grid}, reverse=True):
        line = sorted((k, v) for k, a, v in grid if a == alpha)
        axes.plot(*zip(*line, strict=True), marker="o", label=f"bound, alpha {alpha:g}")
    if found.precision is not None:
        axes.axhline(found.precision, color="#000000", linewidth=1.2, label="measured precision")
    axes.axhline(
        found.numbers["chance"], color="#888888", linewidth=1, linestyle="--", label="chance"
    )
    axes.set_ylim(-0.02, 1.02)
    axes.set_xlabel("assumed kappa")
    axes.set_ylabel("average precision")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return Picture(
        figure_bytes(figure), "The bound under other assumptions, beside the precision measured."
    )


def sweep_picture(points: Sequence[tuple[int, float, float, float]]) -> Picture:
    """Draw measured precision and its bound over k, a colour for each gamma.

    Args:
        points: (k, gamma, precision, bound) of audited games, in any order.

    Returns:
        The picture, as SVG.

    Raises:
        ValueError: There is no point.
    """
    if not points:
        raise ValueError("there is no point to draw; audit a game first.")
    figure, axes = new_figure(6.0, 3.4)
    for i, gamma in enumerate(sorted({p[1] for p in points})):
        line = sorted(p for p in points if p[1] == gamma)
        colour = PALETTE[i % len(PALETTE)]
        at = [p[0] for p in line]
        axes.plot(
            at, [p[2] for p in line], marker="o", color=colour, label=f"precision, gamma {gamma:g}"
        )
        axes.plot(
            at, [p[3] for p in line], marker="s", color=colour, linestyle="--",
            label=f"bound, gamma {gamma:g}",
        )  # fmt: skip
    axes.set_ylim(-0.02, 1.02)
    axes.set_xticks(sorted({p[0] for p in points}))
    axes.set_xlabel("units shown, k")
    axes.set_ylabel("average precision")
    axes.legend(loc="upper left", bbox_to_anchor=(1.01, 1))
    return Picture(
        figure_bytes(figure), "Measured precision (solid) and its certified bound (dashed) over k."
    )


def grid_picture(found: Audit) -> Picture:
    """Draw audited images with what Merlin and Morgana show of them."""
    assert found.task.image is not None
    block, grid = found.task.patch, found.task.image
    height, width = grid[0] * block, grid[1] * block
    levels = round(len(found.task.units[0].levels) ** (1 / block**2))
    a = found.arrays
    labels = a["labels"]
    fooled = (a["fooled_by"] != 0).any(1)
    share = _COLUMNS // found.task.classes or 1
    chosen: list[int] = []
    for c in range(found.task.classes):
        # Half of them rows on which Morgana succeeded, where there are such.
        rows = np.flatnonzero(labels == c)
        order = [*rows[fooled[rows]][: share // 2], *rows[~fooled[rows]], *rows[fooled[rows]]]
        chosen += list(dict.fromkeys(int(i) for i in order))[:share]
    chosen = chosen[:_COLUMNS]
    figure, first = new_figure(0.95 * len(chosen) + 0.9, 3.4)
    first.remove()
    panels = figure.subplots(3, len(chosen), squeeze=False)
    d = found.task.d
    for column, i in enumerate(chosen):
        pixels = in_pixels(a["codes"][i : i + 1], grid, block, levels)
        image = pixels.reshape(height, width)
        merlin = np.unpackbits(a["merlin_mask"][i])[:d].astype(bool)
        target = int(np.argmax(a["fooled_by"][i] != 0)) if fooled[i] else -1
        morgana = (
            np.unpackbits(a["morgana_mask"][i, target])[:d].astype(bool) if target >= 0 else None
        )
        given = int(a["merlin_answer"][i])
        titles = (
            f"is {found.task.class_names[labels[i]]}",
            f"says {found.task.class_names[given]}" if given >= 0 else "don't know",
            f"says {found.task.class_names[target]}" if target >= 0 else "not misled",
        )
        for row, (mask, title) in enumerate(zip((None, merlin, morgana), titles, strict=True)):
            axes = panels[row][column]
            faint = 1.6 if row == 0 else 6  # what is not shown stays recognisable
            axes.imshow(image, cmap="gray_r", vmin=0, vmax=max(1, int(image.max())) * faint)
            if mask is not None:
                whole = mask.reshape(grid).repeat(block, 0).repeat(block, 1)
                _cover(axes, whole, image, PALETTE[row - 1])
            elif row == 2:
                axes.imshow(np.ones((height, width)), cmap="gray", vmin=0, vmax=1)
            axes.set_title(title, fontsize=8, loc="center", pad=2)
            axes.set_xticks([])
            axes.set_yticks([])
            axes.grid(visible=False)
            for side in axes.spines.values():
                side.set_visible(True)
                side.set_color("#cccccc")
    for row, name in enumerate(("input", "Merlin", "Morgana")):
        panels[row][0].set_ylabel(name, fontsize=10)
    return Picture(
        figure_bytes(figure, "png"),
        "Audited images; the pixels that Merlin (blue) and Morgana (orange) show, dark where ink "
        "is and light where there is none, and what Arthur says to them.",
    )


def _cover(axes: Any, mask: Any, image: Any, colour: str) -> None:
    """Colour the shown pixels, dark for ink and light for blank."""
    from matplotlib.colors import to_rgb

    base = np.array(to_rgb(colour))
    top = max(1, int(image.max()))
    over = np.zeros((*mask.shape, 4))
    over[..., :3] = 1 - (1 - base) * (0.35 + 0.65 * image[..., None] / top)
    over[..., 3] = mask
    axes.imshow(over)
