"""One plot style: colours that colour-blind readers tell apart, thin axes, no chart junk."""

import io
from typing import TYPE_CHECKING, Any

from ._errors import require

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# The eight colours of Okabe and Ito, black last; every pair differs for all common dichromats.
PALETTE = (
    "#0072B2",
    "#D55E00",
    "#009E73",
    "#CC79A7",
    "#E69F00",
    "#56B4E9",
    "#8A7B00",
    "#000000",
)

_STYLE: Any = {
    "font.family": "DejaVu Sans",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e3e3",
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "axes.titlesize": 11,
    "axes.titlelocation": "left",
    "legend.frameon": False,
    "legend.fontsize": 9,
    "lines.linewidth": 1.6,
    "lines.markersize": 4.5,
    "figure.dpi": 110,
    "svg.fonttype": "path",
    "svg.hashsalt": "extremal",  # equal figures are equal files
}


def new_figure(width: float = 6.0, height: float = 3.6) -> "tuple[Figure, Axes]":
    """Return an empty figure of that size in inches and its axes, in the house style.

    Raises:
        MissingExtra: matplotlib is not installed.
    """
    require("matplotlib", "plot")
    from cycler import cycler
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with rc_context({**_STYLE, "axes.prop_cycle": cycler(color=PALETTE)}):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    return figure, axes


def figure_bytes(figure: "Figure", kind: str = "svg") -> bytes:
    """Return a figure as an SVG or PNG file; the same figure gives the same bytes."""
    from matplotlib import rc_context

    buffer = io.BytesIO()
    metadata = {"Date": None} if kind == "svg" else {"Software": None}
    with rc_context(_STYLE):
        figure.savefig(buffer, format=kind, metadata=metadata)
    return buffer.getvalue()
