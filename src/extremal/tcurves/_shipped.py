"""Triangulations with a name, and reading one from whatever a person has.

    honeycomb-7, strip-fan-10       the two families
    bat, moth, cen, spl, fra        published ones of degree 6 and 7, as heights
    random-8-3                      where a flip walk of degree 8 with seed 3 ends
    runs/x, x.pcom, x.json          from a run of this area, or a file

Source of the published heights: "121 Patchworked Curves of Degree Seven", arXiv:2602.06888.
"""

import json
import re
from pathlib import Path
from typing import Any

from ._errors import TCurveError
from ._flips import random_triangulation
from ._regular import regular
from ._triangulation import Triangulation, from_heights, from_triangles, honeycomb, strip_fan

PUBLISHED = {
    "bat": (6, "4 0 8 18 29 42 57 4 1 1 10 22 36 16 5 0 4 17 30 18 8 0 45 34 25 62 52 81"),
    "moth": (6, "22 11 14 19 25 32 40 10 0 2 6 15 25 12 1 0 1 12 16 4 0 2 21 12 10 27 21 34"),
    "cen": (
        7,
        "4 4 12 30 55 81 114 154 0 1 5 18 40 69 106 4 1 0 8 26 59 18 10 4 0 13 39 28 18 9 61 53 "
        "47 90 86 126",
    ),
    "spl": (
        7,
        "21 11 15 27 46 66 93 127 10 1 6 14 30 53 84 13 5 0 3 15 42 24 12 2 0 1 42 27 13 0 61 49 "
        "39 87 79 120",
    ),
    "fra": (
        7,
        "10 6 7 15 30 46 69 99 7 4 3 7 19 38 65 9 4 0 1 9 32 18 9 2 0 0 34 22 11 1 51 42 35 75 70 "
        "106",
    ),
}
_FAMILY = re.compile(r"(honeycomb|strip-fan|random)-(\d+)(?:-(\d+))?")


def named(name: str) -> Triangulation:
    """Return a shipped triangulation.

    Raises:
        ValueError: There is none of that name.

    Example:
        >>> named("honeycomb-7").degree
        7
    """
    if name in PUBLISHED:
        degree, heights = PUBLISHED[name]
        return from_heights(degree, heights, name)
    found = _FAMILY.fullmatch(name)
    if found:
        family, degree, seed = found[1], int(found[2]), found[3]
        if family == "random":
            made = random_triangulation(degree, int(seed or 0))
            return Triangulation(degree, made.triangles, regular(made).heights, name=name)
        if seed is None:
            return honeycomb(degree) if family == "honeycomb" else strip_fan(degree)
    raise ValueError(
        f"there is no triangulation {name!r}; there are {', '.join(PUBLISHED)}, honeycomb-D, "
        "strip-fan-D and random-D-SEED, or give a .pcom or .json file, or a run's folder."
    )


def as_plain(t: Triangulation) -> dict[str, Any]:
    """Return a triangulation as plain JSON values."""
    return {
        "degree": t.degree,
        "name": t.name,
        "triangles": [list(x) for x in t.triangles],
        "heights": None if t.heights is None else [str(h) for h in t.heights],
    }


def from_plain(value: Any) -> Triangulation:
    """Read what `as_plain` wrote; everything is checked again.

    Raises:
        ValueError: A field is missing or does not fit.
    """
    if not isinstance(value, dict) or not {"degree", "triangles"} <= value.keys():
        raise ValueError("a triangulation has the fields degree, triangles and, if known, heights.")
    if not isinstance(value["triangles"], list) or isinstance(value["degree"], float):
        raise ValueError("a triangulation's degree is an integer and its triangles are a list.")
    made = from_triangles(int(value["degree"]), value["triangles"], value.get("heights"))
    return Triangulation(made.degree, made.triangles, made.heights, name=str(value.get("name", "")))


def read(source: "Triangulation | str | Path") -> Triangulation:
    """Return a triangulation from an object, a shipped name, a run's folder or a file.

    Raises:
        ValueError: The name is unknown or the file's contents do not fit.
        TCurveError: The file is damaged.
    """
    if isinstance(source, Triangulation):
        return source
    path = Path(source)
    if path.is_dir():
        path = path / "triangulation.json"
    if not path.is_file():
        if isinstance(source, str) and path.name == source and not path.suffix:
            return named(source)
        raise TCurveError(
            f"there is no file {path}; give a .pcom or .json file, or a run's folder."
        )
    if path.suffix == ".pcom":
        from ._pcom import read_pcom

        return read_pcom(path).triangulation
    try:
        value = json.loads(path.read_text())
    except ValueError as error:
        raise TCurveError(f"{path} is not JSON ({error}); restore it.") from error
    return from_plain(value)
