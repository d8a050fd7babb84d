"""The verbs `scheme` and `sample`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from extremal.lab import Picture, Run, Table, Text, command, resolve, write_report
from extremal.lab import write_certificate as write

from ._census import Census, census, read_census
from ._certify import scheme_part
from ._draw import draw
from ._notation import Scheme
from ._polynomial import polynomial
from ._scheme import Signs, read_signs, scheme_of, word
from ._shipped import as_plain, read
from ._triangulation import Triangulation


@dataclass(frozen=True)
class SchemeConfig:
    """How one curve is looked at; there is nothing to choose."""


@command(options=SchemeConfig, inputs=("triangulation", "signs"))
def scheme(
    triangulation: "Triangulation | str | Path",
    signs: Signs,
    *,
    config: SchemeConfig | None = None,
    out: str | Path | None = None,
    resume: bool = False,
    force: bool = False,
    **options: Any,
) -> Scheme:
    """Return the real scheme of the curve that signs patch together on a triangulation.

    Args:
        triangulation: One, or its name, file or run.
        signs: A word of n digits 0 and 1 in the order of the points, or n numbers.
        config: Unused; every verb takes one.
        out: Folder for the certificate, the picture and a report.
        resume: Return the scheme although `out` exists already, if it is the same curve.
        force: Replace the run in `out`.
        **options: None.

    Returns:
        The scheme.

    Raises:
        ValueError: The triangulation or the signs do not fit.

    Example:
        >>> scheme("honeycomb-4", "000000000000000")
        <1<1>>

    Cost: under 1 ms; without heights a linear program is solved for the certificate.
    """
    resolve(SchemeConfig, config, options)
    t = read(triangulation)
    given = read_signs(t, signs)
    found = scheme_of(t, given)
    if out is None:
        return found
    identity = {"triangulation": as_plain(t), "signs": word(given)}
    with Run.create(out, kind="tcurves/scheme", config=identity, resume=resume, force=force) as run:
        certificate = write(run.path / "certificate.json", [scheme_part(t, given, found)])
        run.write_json("triangulation.json", as_plain(t))
        picture = run.write("figures/curve.svg", draw(t, signs=word(given)).svg)
        formula = (
            "No heights are known, so no algebraic curve is guaranteed."
            if t.heights is None
            else f"For small t > 0 it is the curve of {polynomial(t, given)}"
        )
        write_report(
            run.path / "report.html",
            f"The T-curve {found}",
            [
                Text(f"Degree {t.degree}, signs {word(given)}. {formula}"),
                Picture(
                    picture.read_bytes(),
                    "Opposite points of the square's boundary are the same point.",
                ),
                found.table(),
            ],
            f"Check it: extremal verify {certificate}",
        )
        run.write_json("result.json", found.as_json())
    return found


@dataclass(frozen=True)
class SampleConfig:
    """How many sign vectors are drawn."""

    count: int = 1
    """How many."""
    seed: int = 0
    """Of the draws."""


@dataclass(frozen=True)
class Sample:
    """Sign vectors that give a scheme, drawn independently and uniformly.

    Attributes:
        scheme: What they give.
        signs: The words.
        population: How many there are.
    """

    scheme: Scheme
    signs: tuple[str, ...]
    population: int

    def table(self) -> Table:
        """Return a row a sign vector."""
        return Table(
            ["signs"],
            [[s] for s in self.signs],
            title=f"{len(self.signs)} of the {self.population:,} sign vectors that give "
            f"{self.scheme}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "scheme": str(self.scheme),
            "signs": list(self.signs),
            "population": self.population,
        }


@command(options=SampleConfig, inputs=("source", "scheme"), flags=())
def sample(
    source: "Triangulation | Census | str | Path",
    scheme: Scheme | str,
    k: int | None = None,
    *,
    config: SampleConfig | None = None,
    **options: Any,
) -> Sample:
    """Draw sign vectors that give a scheme, uniformly among all of them.

    Args:
        source: A triangulation, its name or file, a census or its run folder.
        scheme: One that is reached.
        k: How many; the same as `count`.
        config: All options at once; or give any of its fields as keywords.
        **options: Fields of `SampleConfig`; they replace those of `config`.

    Returns:
        The sign vectors.

    Raises:
        KeyError: No signs give the scheme on this triangulation.

    Example:
        >>> drawn = sample("honeycomb-4", "<4>", 2)
        >>> drawn.population, len(drawn.signs)
        (64, 2)

    Cost: two censuses of the triangulation.
    """
    if k is not None:
        options["count"] = k
    settings = resolve(SampleConfig, config, options)
    if settings.count < 1:
        raise ValueError(f"count is at least 1, got {settings.count}.")
    if isinstance(source, Census):
        found = source
    elif isinstance(source, (str, Path)) and (Path(source) / "census.json").is_file():
        found = read_census(source)
    else:
        found = census(source)
    if scheme not in found:
        raise ValueError(
            f"no signs give {scheme} on this triangulation, which the census proves; it lists what "
            "is reached."
        )
    entry = found[scheme]
    drawn = found.sample(entry.scheme, settings.count, settings.seed)
    return Sample(entry.scheme, tuple(drawn), entry.count)
