"""The report of a soup: methods side by side, the line between members, where members lie."""

from pathlib import Path

import numpy as np

from extremal.lab import (
    PALETTE,
    Picture,
    Section,
    Table,
    Text,
    figure_bytes,
    new_figure,
    write_figures,
    write_report,
)

from ._result import Soup

_LEAST_SPAN = 4.0  # points of error that the picture of a line shows


def write_soup_report(folder: Path, soup: Soup, data_name: str) -> None:
    """Write `report.html` and its figures."""
    pictures = write_figures(
        folder,
        {
            "methods": _methods(soup),
            "basin": _basin(soup),
            "corruptions": _corruptions(soup),
            "phases": _phases(soup),
        },
    )
    config = soup.config
    sections: list[Section] = [
        Text(
            f"{config.members} members a phase, varied by {config.vary}, merged "
            f"({config.merge}); method {config.method}, selector {config.selector}, schedule "
            f"{config.rates}, {len(soup.pruned.phases)} phase(s), on {data_name}. "
            f"{soup.masks.pruned:,} of {soup.masks.size:,} prunable weights are exactly zero."
        ),
        Text(_verdict(soup)),
        soup.table(),
        *pictures,
        Text("Members of the last phase", heading=True),
        Table(
            ["member", "weight", "test accuracy", "validation accuracy", "epochs"],
            [
                [c.name, c.weight, _points(c.accuracy), _points(c.validation), c.epochs]
                for c in soup.candidates
            ],
        ),
    ]
    if soup.missing:
        sections.append(Text(f"A quorum went on without: {', '.join(soup.missing)}."))
    if soup.geometry is not None and soup.geometry["distance"] is not None:
        sections += [Text("Geometry", heading=True), _geometry(soup)]
    sections += [Text("Phases", heading=True), soup.pruned.table()]
    write_report(
        folder / "report.html",
        f"Soup of {len(soup.candidates)} at {soup.sparsity:.2%} sparsity",
        sections,
        "Check this run: extremal verify certificate.json",
    )


def _verdict(soup: Soup) -> str:
    """Whether the soup won, in words."""
    known = {row.method: row.accuracy for row in soup.rows if row.accuracy is not None}
    mine = known.get("soup")
    rivals = {
        method: value
        for method, value in known.items()
        if method not in ("soup", "dense", "ensemble", "best candidate")
    }
    if mine is None or not rivals:
        return "There is nothing to compare with in this run."
    best = max(rivals, key=lambda method: rivals[method])
    gap = 100 * (mine - rivals[best])
    if gap > 0:
        return f"The soup is {gap:.2f} points above the best of its rivals, {best}."
    if gap == 0:
        return f"The soup is as accurate as the best of its rivals, {best}."
    return (
        f"The soup did not win: {best} is {-gap:.2f} points more accurate at a comparable budget. "
        "The geometry below says how far its members lie apart."
    )


def _points(value: float | None) -> float | None:
    return None if value is None else round(100 * value, 2)


def _methods(soup: Soup) -> Picture | None:
    rows = [row for row in soup.rows if row.accuracy is not None]
    if len(rows) < 3:
        return None
    figure, axes = new_figure(6.0, 1.0 + 0.32 * len(rows))
    clean = [100 * (row.accuracy or 0.0) for row in rows]
    colours = [PALETTE[1] if row.method == "soup" else PALETTE[0] for row in rows]
    places = np.arange(len(rows))
    axes.scatter(clean, places, c=colours, s=38, zorder=3, label="clean")
    if any(row.corrupted is not None for row in rows):
        pairs = [(100 * r.corrupted, i) for i, r in enumerate(rows) if r.corrupted is not None]
        axes.scatter(
            [x for x, _ in pairs], [y for _, y in pairs],
            facecolors="none", edgecolors=[colours[y] for _, y in pairs], s=38, zorder=3,
            label="corrupted",
        )  # fmt: skip
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=2)
    for x, y in zip(clean, places, strict=True):
        axes.annotate(f"{x:.2f}", (x, y), (6, -3), textcoords="offset points", fontsize=8)
    axes.set_yticks(places, [row.method for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.set_xlabel("test accuracy (%)")
    return Picture(
        figure_bytes(figure),
        "Test accuracy of the soup (orange) and of everything it is compared with; hollow: mean "
        "over all corruptions and severities.",
    )


def _basin(soup: Soup) -> Picture | None:
    if not soup.basins:
        return None
    figure, axes = new_figure()
    for number, line in enumerate(soup.basins):
        colour = PALETTE[number % len(PALETTE)]
        error = [100 * e for e in line["error"]]
        label = f"barrier {100 * line['barrier']:.2f} points"
        axes.plot(line["alpha"], error, "o-", color=colour, label=label)
        axes.plot([0, 1], [error[0], error[-1]], ":", color=colour)
    low, high = axes.get_ylim()
    if high - low < _LEAST_SPAN:  # a few test images more or less are no hills
        middle = (low + high) / 2
        axes.set_ylim(max(0.0, middle - _LEAST_SPAN / 2), middle + _LEAST_SPAN / 2)
    axes.set_xlabel("share of the first member")
    axes.set_ylabel("test error (%)")
    axes.legend()
    return Picture(
        figure_bytes(figure),
        "Error along the line between two members, statistics measured anew at every point; "
        "dotted: the straight line between the ends.",
    )


def _corruptions(soup: Soup) -> Picture | None:
    names = [n for n in ("dense", "soup", "IMP", "candidate 1") if n in soup.corrupted][:3]
    if "soup" not in names:
        return None
    kinds = list(soup.corrupted["soup"]["kinds"])
    figure, axes = new_figure(6.4, 3.4)
    width = 0.8 / len(names)
    for number, name in enumerate(names):
        means = [100 * sum(soup.corrupted[name]["kinds"][k]) / 5 for k in kinds]
        colour = {"soup": PALETTE[1], "dense": "#888888"}.get(name, PALETTE[0])
        places = np.arange(len(kinds)) + (number - (len(names) - 1) / 2) * width
        axes.bar(places, means, width * 0.92, color=colour, label=name)
    axes.set_xticks(
        np.arange(len(kinds)), [k.replace("_", " ") for k in kinds], rotation=30, ha="right",
        fontsize=8,
    )  # fmt: skip
    axes.set_ylabel("accuracy (%)")
    axes.legend(loc="upper center", bbox_to_anchor=(0.5, 1.14), ncols=len(names))
    return Picture(
        figure_bytes(figure), "Accuracy on each kind of corruption, mean of 5 severities."
    )


def _phases(soup: Soup) -> Picture | None:
    pruned = soup.pruned
    if pruned.accuracy is None or pruned.dense_accuracy is None or len(pruned.phases) < 2:
        return None
    figure, axes = new_figure()
    where = [100 * phase.sparsity for phase in pruned.phases]
    axes.axhline(100 * pruned.dense_accuracy, color="#888888", linestyle="--", label="dense")
    before = [100 * (phase.accuracy_pruned or 0.0) for phase in pruned.phases]
    after = [100 * (phase.accuracy or 0.0) for phase in pruned.phases]
    axes.plot(where, before, "o:", color=PALETTE[0], label="pruned")
    axes.plot(where, after, "o-", color=PALETTE[1], label="soup")
    axes.set_xlabel("sparsity (% of prunable weights)")
    axes.set_ylabel("test accuracy (%)")
    axes.legend()
    return Picture(figure_bytes(figure), "Test accuracy after pruning and after merging.")


def _geometry(soup: Soup) -> Table:
    found = soup.geometry or {}
    lines: list[list[str | float | None]] = [
        [name, spread["min"], spread["mean"], spread["max"]]
        for name, spread in (
            ("distance between members", found["distance"]),
            ("angle between members (degrees)", found["angle"]),
            ("distance to the barycentre", found["to_barycentre"]),
        )
    ]
    lines += [
        ["norm of a member", None, found["norm"], None],
        ["moved by retraining", None, found["moved"], None],
        ["distance over norm", None, found["distance_over_norm"], None],
        ["distance over moved", None, found["distance_over_moved"], None],
    ]
    return Table(["kept prunable weights only", "least", "mean", "greatest"], lines)
