"""Pictures: what squares may use, and the Gram matrix that they do."""

from typing import Any

import numpy as np

from extremal.lab import PALETTE, Picture, figure_bytes, new_figure

from ._bases import Bases
from ._result import Result, Verdict

_MAX_ROWS = 400


def picture(result: Result) -> Picture | None:
    """Return the Newton polytope (two variables) or the Gram matrix, or None if there is neither.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    p = result.polynomial
    if len(p.variables) == 2 and 0 < p.degree <= 40:
        return _polygon(result)
    if result.verdict is Verdict.CERTIFIED_SOS and result.blocks:
        return _gram(result)
    return None


def _polygon(result: Result) -> Picture:
    from scipy.spatial import ConvexHull, QhullError

    p = result.polynomial
    bases = Bases(p)
    half, kept = bases.half.points, bases.consistent
    s = p.support
    figure, axes = new_figure(5.0, 4.6)
    try:
        hull = s[ConvexHull(s).vertices]
        axes.fill(hull[:, 0], hull[:, 1], facecolor="#eef4f9", edgecolor=PALETTE[0], zorder=1)
    except (QhullError, ValueError):  # points on a line
        axes.plot(s[:, 0], s[:, 1], color=PALETTE[0], zorder=1)
    axes.scatter(
        *s.T, facecolor="none", edgecolor=PALETTE[0], linewidth=1.8, s=170, zorder=3,
        label="terms of p",
    )  # fmt: skip
    if len(half):
        axes.scatter(
            *half.T, facecolor="white", edgecolor=PALETTE[1], s=70, marker="s", zorder=2,
            label="half the polytope",
        )  # fmt: skip
    if len(kept):
        axes.scatter(
            *kept.T, color=PALETTE[1], s=16, marker="s", zorder=4, label="after consistency"
        )
    used = [tuple(m) for b in result.blocks for m in b.rows.tolist()]
    if used:
        axes.scatter(
            *np.array(used).T, color=PALETTE[2], s=46, marker="x", zorder=5, linewidth=1.8,
            label="used by the squares",
        )  # fmt: skip
    axes.set_xlabel(f"exponent of {p.variables[0]}")
    axes.set_ylabel(f"exponent of {p.variables[1]}")
    for axis in (axes.xaxis, axes.yaxis):
        locator: Any = axis.get_major_locator()
        locator.set_params(integer=True)
    axes.margins(0.08)
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.2), ncols=2)
    return Picture(
        figure_bytes(figure),
        "The exponents of p and their convex hull. Squares can use the monomials in half of it "
        "that consistency leaves.",
    )


def _gram(result: Result) -> Picture | None:
    sizes = [len(b.rows) for b in result.blocks]
    n = sum(sizes)
    if n > _MAX_ROWS:
        return None
    m = np.zeros((n, n))
    at = 0
    for b in result.blocks:
        k = len(b.rows)
        m[at : at + k, at : at + k] = [[float(b.value(i, j)) for j in range(k)] for i in range(k)]
        at += k
    figure, axes = new_figure(5.0, 4.4)
    scale = np.sqrt(np.abs(np.diag(m)))
    scale[scale == 0] = 1.0
    image = axes.imshow(m / np.outer(scale, scale), cmap="PuOr", vmin=-1, vmax=1)
    figure.colorbar(image, ax=axes, label="entry over the root of its diagonal ones")
    axes.grid(visible=False)
    axes.set_xlabel("monomial")
    axes.set_ylabel("monomial")
    return Picture(
        figure_bytes(figure, "png"),
        f"The exact Gram matrix: {n} monomials in {len(sizes)} blocks.",
    )
