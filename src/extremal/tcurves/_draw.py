"""Pictures of T-curves: the four quadrants as one square, opposite boundary points being equal.

Regions are tinted by how many ovals enclose them, ovals are coloured by depth, the pseudo-line is
dashed. Drawn by hand as SVG: a curve is a few hundred segments, which need no plotting package.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from extremal.lab import PALETTE, Table, atomic_write, command, resolve

from ._census import Census, census, read_census
from ._errors import TCurveError
from ._glued import glued
from ._notation import Scheme, parse
from ._scheme import Signs, read_signs, regions_of, scheme_of
from ._shipped import read
from ._triangulation import Triangulation

_TINTS = ("#ffffff", "#dcebf5", "#fbe3d3", "#d6efe6", "#f6e3ee", "#fdf0d5")
_J = "#444444"


@dataclass(frozen=True)
class DrawConfig:
    """What is drawn."""

    scheme: str = ""
    """Of a census: the scheme whose witness is drawn; unset, all of them on one sheet."""
    signs: str = ""
    """Of a triangulation: the signs as a word of digits."""
    size: int = 640
    """Width of one curve in pixels; on a sheet a quarter of it."""
    edges: bool = True
    """Whether the triangulation is drawn."""
    points: bool = True
    """Whether the signs of the points are drawn: 1 filled, 0 open."""


@dataclass(frozen=True)
class Drawing:
    """A picture.

    Attributes:
        svg: The file's text.
        schemes: What is on it.
        path: Where it was written, or None.
    """

    svg: str
    schemes: tuple[Scheme, ...]
    path: Path | None

    def table(self) -> Table:
        """Return the file and what is on it."""
        shown = ", ".join(map(str, self.schemes[:3])) + (", ..." if len(self.schemes) > 3 else "")
        return Table(
            ["picture", "curves", "schemes"], [[str(self.path or "-"), len(self.schemes), shown]]
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "path": None if self.path is None else str(self.path),
            "schemes": [str(s) for s in self.schemes],
        }


@command(options=DrawConfig, inputs=("source",), flags=("out", "force"))
def draw(
    source: "Triangulation | Census | str | Path",
    *,
    config: DrawConfig | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Drawing:
    """Draw one curve, or a sheet of all curves of a census or of the catalogue.

    Args:
        source: A triangulation (give `signs`, or `scheme` and its census is taken), a census or its
            run folder, or "catalogue-7" for all schemes of a degree.
        config: All options at once; or give any of its fields as keywords.
        out: An .svg file; it is not replaced without `force`.
        force: Replace `out`.
        **options: Fields of `DrawConfig`; they replace those of `config`.

    Returns:
        The picture.

    Raises:
        ValueError: Neither signs nor scheme fit the source.
        TCurveError: The scheme is not reached.
    """
    settings = resolve(DrawConfig, config, options)
    if settings.size < 40:
        raise ValueError(f"size is a width of at least 40 pixels, got {settings.size}.")
    curves = list(_curves(source, settings))
    if len(curves) == 1:
        t, signs, scheme = curves[0]
        svg = _page([_curve(t, signs, settings, settings.size)], [str(scheme)], settings.size, 1)
    else:
        svg = curve_sheet(curves, settings.size // 4)
    path = None
    if out is not None:
        path = Path(out)
        if path.suffix.lower() != ".svg":
            raise ValueError(f"pictures are written as .svg, got {path.name!r}; name it so.")
        if path.exists() and not force:
            raise FileExistsError(f"{path} exists already; replace it with --force.")
        atomic_write(path, svg)
    return Drawing(svg, tuple(s for *_, s in curves), path)


def _curves(
    source: "Triangulation | Census | str | Path", settings: DrawConfig
) -> Iterable[tuple[Triangulation, Sequence[int], Scheme]]:
    if isinstance(source, str) and source.startswith("catalogue"):
        from ._catalogue import shipped

        tail = source.partition("-")[2]
        if not tail.isdigit():
            raise ValueError(f"{source!r} names no catalogue; write catalogue-7 for degree 7.")
        wanted = parse(settings.scheme) if settings.scheme else None
        found = [w for w in shipped(int(tail)) if wanted is None or w.scheme == wanted]
        if not found:
            raise TCurveError(f"the catalogue of degree {tail} has no {wanted}.")
        yield from (
            (w.triangulation, read_signs(w.triangulation, w.signs), w.scheme) for w in found
        )
        return
    found_census: Census | None = None
    if isinstance(source, Census):
        found_census = source
    elif isinstance(source, (str, Path)) and (Path(source) / "census.json").is_file():
        found_census = read_census(source)
    if found_census is None:
        t = read(source)  # type: ignore[arg-type]
        if settings.signs:
            signs = read_signs(t, settings.signs)
            yield t, signs, scheme_of(t, signs)
            return
        if not settings.scheme:
            raise ValueError("a triangulation needs signs=, or scheme= to look for.")
        found_census = census(t)
    t = found_census.triangulation
    if settings.scheme:
        wanted = parse(settings.scheme)
        if wanted not in found_census:
            raise TCurveError(
                f"no signs give {wanted} on this triangulation; its census lists what is reached."
            )
        entries = [found_census[wanted]]
    else:
        entries = list(found_census.entries)
    for entry in entries:
        yield t, read_signs(t, entry.witness), entry.scheme


def curve_sheet(curves: Sequence[tuple[Triangulation, Signs, Scheme]], size: int = 160) -> str:
    """Return one picture of many curves, eleven a row."""
    small = max(40, size)
    bare = DrawConfig(size=small, edges=False, points=False)
    return _page(
        [_curve(t, read_signs(t, signs), bare, small) for t, signs, _ in curves],
        [s.text("unicode") for *_, s in curves],
        small,
        min(11, max(1, len(curves))),
    )


def _page(bodies: list[str], titles: list[str], size: int, columns: int) -> str:
    text = max(9, size // 16) if columns > 1 else max(14, size // 28)
    head = round(1.9 * text)
    rows = -(-len(bodies) // columns)
    gap = 0 if columns == 1 else max(4, size // 20)
    width, height = columns * (size + gap) + gap, rows * (size + head + gap) + gap
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="DejaVu Sans, sans-serif">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for k, (body, title) in enumerate(zip(bodies, titles, strict=True)):
        x = gap + (k % columns) * (size + gap)
        y = gap + (k // columns) * (size + head + gap)
        # A long scheme is squeezed into its column.
        fit = f' textLength="{size - 4}" lengthAdjust="spacingAndGlyphs"' if (
            0.62 * text * len(title) > size
        ) else ""  # fmt: skip
        parts.append(
            f'<g transform="translate({x} {y})"><text x="{size / 2:g}" y="{1.2 * text:g}" '
            f'font-size="{text}" text-anchor="middle"{fit}>{escape(title)}</text>'
            f'<g transform="translate(0 {head})">{body}</g></g>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def _curve(t: Triangulation, signs: Sequence[int], settings: DrawConfig, size: int) -> str:
    d = t.degree
    complex_ = glued(t)
    regions, root, beside = regions_of(complex_, signs)
    depth = {root: 0}
    queue = [root]
    for region in queue:
        for other in beside[region]:
            if other not in depth:
                depth[other] = depth[region] + 1
                queue.append(other)
    number: dict[tuple[int, int], int] = {}
    for k, (x, y) in enumerate(complex_.place.tolist()):
        number[x, y] = k
        if abs(x) + abs(y) == d:
            number[-x, -y] = k
    scale = (size / 2 - 8) / d

    def at(x: float | int, y: float | int) -> tuple[float, float]:
        return size / 2 + scale * x, size / 2 - scale * y

    tints: dict[int, list[str]] = defaultdict(list)
    lines: dict[int, list[str]] = defaultdict(list)  # by depth; 0 is the pseudo-line
    mesh: list[str] = []
    for triangle in t.triangles:
        for ex in (1, -1):
            for ey in (1, -1):
                corners = [(ex * t.points[k][0], ey * t.points[k][1]) for k in triangle]
                copies = [number[c] for c in corners]
                marks = [
                    (signs[k] + (c[0] < 0) * c[0] + (c[1] < 0) * c[1]) % 2
                    for k, c in zip(triangle, corners, strict=True)
                ]
                mesh.append(_path([at(*c) for c in corners]))
                odd_one = next((k for k in range(3) if marks.count(marks[k]) == 1), None)
                if odd_one is None:
                    inside = depth[regions[copies[0]]]
                    if inside:
                        tints[inside].append(_path([at(*c) for c in corners]))
                    continue
                a, b, c = odd_one, (odd_one + 1) % 3, (odd_one + 2) % 3
                middle = [_half(corners[a], corners[b]), _half(corners[a], corners[c])]
                one, two = depth[regions[copies[a]]], depth[regions[copies[b]]]
                if one:
                    tints[one].append(_path([at(*corners[a]), *(at(*m) for m in middle)]))
                if two:
                    tints[two].append(
                        _path([at(*corners[b]), *(at(*m) for m in middle), at(*corners[c])])
                    )
                (x, y), (u, v) = (at(*m) for m in middle)
                lines[max(one, two)].append(f"M{x:.1f} {y:.1f}L{u:.1f} {v:.1f}")
    parts = [
        f'<path fill="{_TINTS[level % len(_TINTS)]}" d="{"".join(tints[level])}"/>'
        for level in sorted(tints)
    ]
    if settings.edges:
        parts.append(
            f'<path fill="none" stroke="#c9c9c9" stroke-width="{size / 1000:.2f}" '
            f'd="{"".join(mesh)}"/>'
        )
    (left, middle_y), (middle_x, top) = at(-d, 0), at(0, d)
    right, bottom = at(d, 0)[0], at(0, -d)[1]
    parts.append(
        f'<path fill="none" stroke="#8c8c8c" stroke-width="{max(0.6, size / 640):.2f}" '
        f'd="M{left:.1f} {middle_y:.1f}L{middle_x:.1f} {top:.1f}L{right:.1f} {middle_y:.1f}'
        f'L{middle_x:.1f} {bottom:.1f}Z"/>'
    )
    parts.append(
        f'<path fill="none" stroke="#b5b5b5" stroke-width="{max(0.4, size / 1000):.2f}" '
        f'd="M{left:.1f} {middle_y:.1f}H{right:.1f}M{middle_x:.1f} {top:.1f}V{bottom:.1f}"/>'
    )
    width = max(1.1, size / 260)
    for level in sorted(lines):
        colour = PALETTE[(level - 1) % 6] if level else _J
        dash = f' stroke-dasharray="{3 * width:.1f} {2 * width:.1f}"' if not level else ""
        parts.append(
            f'<path fill="none" stroke="{colour}" stroke-width="{width:.2f}" '
            f'stroke-linecap="round" stroke-linejoin="round"{dash} '
            f'd="{_chains(lines[level])}"/>'
        )
    if settings.points:
        radius = max(1.2, scale / 11)
        for (x, y), k in number.items():
            px, py = at(x, y)
            i = complex_.point[k]
            mark = (signs[i] + (x < 0) * x + (y < 0) * y) % 2
            fill = "#333333" if mark else "#ffffff"
            parts.append(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{radius:.1f}" fill="{fill}" '
                f'stroke="#333333" stroke-width="{radius / 4:.2f}"/>'
            )
    return "".join(parts)


def _half(a: tuple[int, int], b: tuple[int, int]) -> tuple[float, float]:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _path(points: list[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points) + "Z"


def _chains(segments: list[str]) -> str:
    """Join segments that share an end, so that dashes run on and joints are round."""
    ends: dict[str, list[int]] = defaultdict(list)
    pairs = [tuple(s[1:].split("L")) for s in segments]
    for k, pair in enumerate(pairs):
        for end in pair:
            ends[end].append(k)
    used = [False] * len(pairs)
    found: list[str] = []
    # Begin at loose ends (the boundary of the square), then take the closed curves.
    begin = [p[e] for p in pairs for e in (0, 1) if len(ends[p[e]]) == 1]
    for start in [*begin, *(p[0] for p in pairs)]:
        chain = [start]
        while True:
            k = next((k for k in ends[chain[-1]] if not used[k]), None)
            if k is None:
                break
            used[k] = True
            chain.append(pairs[k][1] if pairs[k][0] == chain[-1] else pairs[k][0])
        if len(chain) > 1:
            closed = chain[0] == chain[-1]
            found.append("M" + "L".join(chain[:-1] if closed else chain) + ("Z" if closed else ""))
    return "".join(found)
