"""The report: one HTML file that needs nothing else, made of typed sections."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ._errors import require
from ._files import atomic_write
from ._tables import Table


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or a heading with `heading=True`."""

    text: str
    heading: bool = False


@dataclass(frozen=True, slots=True)
class Picture:
    """An SVG or PNG file with a caption that says what is seen."""

    data: bytes
    caption: str

    @property
    def kind(self) -> str:
        """The ending of its file: svg or png."""
        return "png" if self.data.startswith(b"\x89PNG") else "svg"

    @property
    def source(self) -> str:
        """The picture as a data address."""
        kind = "png" if self.kind == "png" else "svg+xml"
        return f"data:image/{kind};base64,{base64.b64encode(self.data).decode()}"


@dataclass(frozen=True, slots=True)
class Html:
    """A part of a page that `write_report` wrote; it is taken over as it is."""

    body: str


Section = Text | Picture | Table | Html

_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
 body { font: 16px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1a1a1a; background: #fff;
        max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
 h1 { font-size: 1.6rem; } h2 { font-size: 1.2rem; margin-top: 2rem; }
 .scroll { overflow-x: auto; }
 table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
 caption { text-align: left; font-weight: 600; padding: .4rem 0; }
 th, td { padding: .25rem .7rem; border-bottom: 1px solid #e3e3e3; text-align: left; }
 th { border-bottom: 2px solid #888; } td.number, th.number { text-align: right; }
 p { white-space: pre-line; }
 figure { margin: 1.2rem 0; } figure img { max-width: 100%; height: auto; }
 figcaption { color: #555; font-size: .9rem; }
 footer { margin-top: 3rem; color: #777; font-size: .85rem; }
</style></head><body>
<h1>{{ title }}</h1>
{% for s in sections %}
{% if s.kind == "heading" %}<h2>{{ s.text }}</h2>
{% elif s.kind == "text" %}<p>{{ s.text }}</p>
{% elif s.kind == "html" %}{{ s.body }}
{% elif s.kind == "picture" %}<figure><img src="{{ s.source }}" alt="{{ s.caption }}">
<figcaption>{{ s.caption }}</figcaption></figure>
{% else %}<div class="scroll"><table>{% if s.title %}<caption>{{ s.title }}</caption>{% endif %}
<thead><tr>{% for c, n in s.head %}<th{% if n %} class="number"{% endif %}>{{ c }}</th>
{%- endfor %}</tr></thead>
<tbody>{% for row in s.rows %}<tr>{% for c, n in row %}<td{% if n %} class="number"{% endif %}>
{{- c }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% endif %}{% endfor %}
<footer>{{ footer }}</footer>
</body></html>
"""


def write_report(
    path: Path | str, title: str, sections: Sequence[Section], footer: str = ""
) -> Path:
    """Write a self-contained HTML page.

    Args:
        path: The file; written atomically.
        title: Its heading.
        sections: What it shows, in order.
        footer: A last line, such as how to verify the run.

    Returns:
        The path.

    Raises:
        MissingExtra: jinja2 is not installed.
    """
    jinja2 = require("jinja2", "report")
    page = jinja2.Environment(autoescape=True).from_string(_PAGE)
    html: str = page.render(title=title, sections=[_plain(s) for s in sections], footer=footer)
    return atomic_write(path, html)


def write_figures(folder: Path | str, pictures: Mapping[str, Picture | None]) -> list[Picture]:
    """Write the pictures of a run as files, each whole or not at all.

    Args:
        folder: Of the run; the files are `figures/NAME.svg` (or `.png`) in it.
        pictures: By name; None where there is nothing to show.

    Returns:
        Those that there are, in their order, for the report.
    """
    for name, picture in pictures.items():
        if picture is not None:
            atomic_write(Path(folder) / "figures" / f"{name}.{picture.kind}", picture.data)
    return [picture for picture in pictures.values() if picture is not None]


def _plain(section: Section) -> dict[str, object]:
    if isinstance(section, Text):
        return {"kind": "heading" if section.heading else "text", "text": section.text}
    if isinstance(section, Html):
        markup = require("markupsafe", "report").Markup  # jinja2's own: nothing is escaped twice
        return {"kind": "html", "body": markup(section.body)}
    if isinstance(section, Picture):
        return {"kind": "picture", "source": section.source, "caption": section.caption}
    numeric = section.numeric()
    cells = section.cells()
    return {
        "kind": "table",
        "title": section.title,
        "head": list(zip(cells[0], numeric, strict=True)),
        "rows": [list(zip(row, numeric, strict=True)) for row in cells[1:]],
    }
