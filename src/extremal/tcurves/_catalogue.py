"""Witnesses of schemes: the shipped catalogue, the database of a search, and the verb `catalogue`.

The shipped file holds, for every scheme of degree at most 7 that T-curves reach, one triangulation
with heights and signs. `built` makes it again from the censuses of a few triangulations.
"""

import json
import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from extremal.lab import (
    Picture,
    Run,
    Section,
    Table,
    Text,
    command,
    full_disk_said,
    resolve,
    write_certificate,
    write_report,
)

from ._census import census
from ._certify import scheme_part
from ._classification import known_schemes
from ._errors import TCurveError
from ._notation import Scheme, parse
from ._polynomial import polynomial
from ._scheme import read_signs, scheme_of
from ._shipped import as_plain, from_plain, named
from ._triangulation import Triangulation, from_triangles

SOURCES = {
    **{d: (f"honeycomb-{d}",) for d in range(1, 6)},
    6: ("bat", "moth"),
    7: ("cen", "spl", "fra", "honeycomb-7"),
}
_FILE = "catalogue.json"


@dataclass(frozen=True)
class Witness:
    """One curve.

    Attributes:
        scheme: Its scheme.
        triangulation: Its triangulation.
        signs: As a word of n digits.
        count: How many sign vectors of the triangulation have the scheme, or None.
    """

    scheme: Scheme
    triangulation: Triangulation
    signs: str
    count: int | None = None


def built(degree: int) -> list[Witness]:
    """Return a witness of every scheme of a degree, from the censuses of `SOURCES`."""
    found: dict[Scheme, Witness] = {}
    for name in SOURCES[degree]:
        t = named(name)
        for entry in census(t).entries:
            found.setdefault(entry.scheme, Witness(entry.scheme, t, entry.witness, entry.count))
    return [found[s] for s in sorted(found)]


def as_file() -> str:
    """Return the text of the shipped file."""
    names = [name for row in SOURCES.values() for name in row]
    rows = [
        [w.triangulation.name, str(w.scheme), w.signs, w.count]
        for degree in SOURCES
        for w in built(degree)
    ]
    head = {name: as_plain(named(name)) for name in names}
    lines = ",\n".join(json.dumps(row) for row in rows)
    shapes = ",\n".join(f"{json.dumps(name)}: {json.dumps(value)}" for name, value in head.items())
    return f'{{"triangulations": {{\n{shapes}\n}},\n"witnesses": [\n{lines}\n]}}\n'


@cache
def shipped(degree: int) -> tuple[Witness, ...]:
    """Return the shipped witnesses of a degree, ascending by scheme.

    Raises:
        ValueError: The catalogue holds degrees 1 to 7.
    """
    if degree not in SOURCES:
        raise ValueError(
            f"the shipped catalogue holds degrees 1 to 7, got {degree}; search for more."
        )
    text = resources.files("extremal.tcurves").joinpath("_data", _FILE).read_text()
    value = json.loads(text)
    shapes = {
        name: from_plain(plain)
        for name, plain in value["triangulations"].items()
        if plain["degree"] == degree
    }
    return tuple(
        Witness(parse(scheme), shapes[name], signs, count)
        for name, scheme, signs, count in value["witnesses"]
        if name in shapes
    )


class Database:
    """The catalogue of a search: a file that survives any interruption.

    Every change is one transaction of SQLite, so the file is whole whatever happens.
    """

    def __init__(self, path: "Path | str", degree: int) -> None:
        self.path, self.degree = Path(path), degree
        try:
            self.connection = sqlite3.connect(self.path)
            self.connection.executescript(
                "CREATE TABLE IF NOT EXISTS triangulations (id INTEGER PRIMARY KEY, "
                "triangles TEXT UNIQUE NOT NULL, heights TEXT);"
                "CREATE TABLE IF NOT EXISTS witnesses (scheme TEXT PRIMARY KEY, "
                "triangulation INTEGER NOT NULL REFERENCES triangulations, signs TEXT NOT NULL, "
                "count TEXT NOT NULL, second REAL NOT NULL);"
                "CREATE TABLE IF NOT EXISTS states (name TEXT PRIMARY KEY, value TEXT NOT NULL);"
            )
        except sqlite3.DatabaseError as error:
            with full_disk_said(self.path):
                raise TCurveError(
                    f"{self.path} is no database of a search ({error}); restore it, or start with "
                    "--force."
                ) from error

    def close(self) -> None:
        """Close the file."""
        self.connection.close()

    def add(self, found: Iterable[tuple[Witness, float]], **states: Any) -> int:
        """Add witnesses of new schemes and set states, all or nothing; return how many were new."""
        new = 0
        with full_disk_said(self.path), self.connection as c:
            for witness, second in found:
                t = witness.triangulation
                triangles = json.dumps([list(x) for x in t.triangles])
                heights = None if t.heights is None else " ".join(str(h) for h in t.heights)
                c.execute(
                    "INSERT OR IGNORE INTO triangulations VALUES (NULL, ?, ?)",
                    (triangles, heights),
                )
                (number,) = c.execute(
                    "SELECT id FROM triangulations WHERE triangles = ?", (triangles,)
                ).fetchone()
                added = c.execute(
                    "INSERT OR IGNORE INTO witnesses VALUES (?, ?, ?, ?, ?)",
                    (str(witness.scheme), number, witness.signs, str(witness.count), second),
                )
                new += added.rowcount
            for name, value in states.items():
                c.execute("INSERT OR REPLACE INTO states VALUES (?, ?)", (name, json.dumps(value)))
        return new

    def state(self, name: str) -> Any:
        """Return a state, or None."""
        row = self.connection.execute("SELECT value FROM states WHERE name = ?", (name,)).fetchone()
        return json.loads(row[0]) if row else None

    def schemes(self) -> dict[str, float]:
        """Return the schemes found and after how many seconds."""
        return dict(self.connection.execute("SELECT scheme, second FROM witnesses").fetchall())

    def witnesses(self) -> list[Witness]:
        """Return all witnesses, ascending by scheme; every triangulation is checked again."""
        shapes: dict[int, Triangulation] = {}
        for number, triangles, heights in self.connection.execute("SELECT * FROM triangulations"):
            shapes[number] = from_triangles(
                self.degree, json.loads(triangles), heights.split() if heights else None
            )
        rows = self.connection.execute("SELECT scheme, triangulation, signs, count FROM witnesses")
        found = [Witness(parse(s), shapes[number], signs, int(n)) for s, number, signs, n in rows]
        return sorted(found, key=lambda w: w.scheme)


@dataclass(frozen=True)
class CatalogueConfig:
    """What of a catalogue is shown."""

    scheme: str = ""
    """Only this one."""


@dataclass(frozen=True)
class Catalogue:
    """Witnesses of schemes.

    Attributes:
        degree: Of the curves.
        witnesses: One a scheme, ascending.
        certificate: If it was written, the certificate of all of them.
    """

    degree: int
    witnesses: tuple[Witness, ...]
    certificate: Path | None = None

    def table(self) -> Table:
        """Return a row a scheme."""
        names = {w.triangulation: w.triangulation.name for w in self.witnesses}
        for k, t in enumerate(names):
            names[t] = names[t] or f"no. {k + 1}"
        of = f" of {len(known_schemes(self.degree))}" if self.degree <= 7 else ""
        return Table(
            ["scheme", "ovals", "triangulation", "signs"],
            [[str(w.scheme), w.scheme.ovals, names[w.triangulation], w.signs]
             for w in self.witnesses],
            title=f"{len(self.witnesses)}{of} schemes of degree {self.degree}",
        )  # fmt: skip

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values, with heights and polynomials."""
        return {
            "degree": self.degree,
            "witnesses": [
                {
                    "scheme": str(w.scheme),
                    "signs": w.signs,
                    "triangulation": as_plain(w.triangulation),
                    "polynomial": None
                    if w.triangulation.heights is None
                    else str(polynomial(w.triangulation, w.signs)),
                }
                for w in self.witnesses
            ],
        }


@command(options=CatalogueConfig, inputs=("source",))
def catalogue(
    source: "int | str | Path",
    *,
    config: CatalogueConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Catalogue:
    """Show the witnesses of a degree's schemes, shipped or found by a search.

    Args:
        source: A degree from 1 to 7 for the shipped catalogue, or a search's run folder.
        config: All options at once; or give any of its fields as keywords.
        out: Folder for the certificate of all curves, their polynomials and a report.
        resume: Write again what an interrupted call left in `out`.
        force: Replace the run in `out`.
        **options: Fields of `CatalogueConfig`; they replace those of `config`.

    Returns:
        The witnesses.

    Raises:
        ValueError: The degree is not in the catalogue, or no such scheme is.
        RunError: The folder holds no search.

    Example:
        >>> len(catalogue(6).witnesses)
        55
    """
    settings = resolve(CatalogueConfig, config, options)
    if isinstance(source, int) or str(source).isdigit():
        degree = int(str(source))
        found = list(shipped(degree))
    else:
        run = Run.open(source, "tcurves/search")
        degree = int(run.config["degree"])
        database = Database(run.path / "catalogue.sqlite", degree)
        found = database.witnesses()
        database.close()
    if settings.scheme:
        wanted = parse(settings.scheme)
        found = [w for w in found if w.scheme == wanted]
        if not found:
            raise ValueError(f"the catalogue of degree {degree} has no {wanted}.")
    result = Catalogue(degree, tuple(found))
    return result if out is None else _save(result, str(source), out, resume, force)


def _save(found: Catalogue, source: str, out: "str | Path", resume: bool, force: bool) -> Catalogue:
    from ._draw import curve_sheet

    parts = []
    for w in found.witnesses:
        signs = read_signs(w.triangulation, w.signs)
        assert scheme_of(w.triangulation, signs) == w.scheme, "a witness gives its scheme"
        parts.append(scheme_part(w.triangulation, signs, w.scheme))
    identity = {"source": source, "schemes": [str(w.scheme) for w in found.witnesses]}
    with Run.create(
        out, kind="tcurves/catalogue", config=identity, resume=resume, force=force
    ) as run:
        certificate = write_certificate(run.path / "certificate.json", parts)
        run.write_json("catalogue.json", found.as_json())
        sheet = run.write(
            "figures/sheet.svg",
            curve_sheet([(w.triangulation, w.signs, w.scheme) for w in found.witnesses]),
        )
        sections: list[Section] = [
            Text("Each curve has a proved certificate; catalogue.json holds the polynomials."),
            Picture(sheet.read_bytes(), "One curve a scheme, ovals coloured by depth."),
            found.table(),
        ]
        write_report(
            run.path / "report.html",
            f"T-curves of degree {found.degree}",
            sections,
            f"Check it: extremal verify {certificate}",
        )
    return Catalogue(found.degree, found.witnesses, certificate)
