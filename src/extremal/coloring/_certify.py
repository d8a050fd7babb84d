"""The verb `certify`: write the exact claim of a colouring; the checkers share no code with it."""

import json
from dataclasses import dataclass, replace
from fractions import Fraction
from hashlib import sha256
from pathlib import Path
from typing import Any, Literal

from extremal.lab import Part, Table, command, resolve, write_certificate

from ._colouring import Colouring
from ._errors import ColoringError
from ._polygon_colouring import PolygonColouring
from ._problem import Problem
from ._screen import Conflict, conflict_pairs, fits, screen
from ._sweep import broken_patterns

_WITNESS = ("lattice", "denominator", "grid", "runs")


@dataclass(frozen=True)
class CertifyConfig:
    """What a certificate claims."""

    semantics: Literal["half-open", "closed"] = "half-open"
    """Whether cells count as half-open, or as closed sets (colours of boundaries are then free)."""


@dataclass(frozen=True)
class Certified:
    """Whether a colouring keeps its rules, with the file that proves it.

    Attributes:
        status: `"valid"` or `"invalid"`.
        problem: What was asked.
        conflict: A broken pair rule, if there is one.
        residue: Conflicting ordered pairs of cells; 0 if valid.
        free_density: The exact density of the free colour, or 0.
        certificate: The file; None if nothing was written.
    """

    status: Literal["valid", "invalid"]
    problem: Problem
    conflict: Conflict | None
    residue: int
    free_density: Fraction
    certificate: Path | None = None

    @property
    def exit_code(self) -> int:
        """0 valid, 1 refuted by two points."""
        return 0 if self.status == "valid" else 1

    def table(self) -> Table:
        """Return the verdict in one row."""
        what = (
            "-"
            if self.conflict is None
            else (
                f"colour {self.conflict.color}, cell {self.conflict.cell} + {self.conflict.offset}"
            )
        )
        return Table(
            ["status", "conflicting pairs", "first", "free"],
            [[self.status, self.residue, what, f"{float(self.free_density):.6%}"]],
            title="" if self.certificate is None else f"written to {self.certificate}",
        )

    def as_json(self) -> dict[str, Any]:
        """Return the same as plain values."""
        return {
            "status": self.status,
            "residue": self.residue,
            "free_density": str(self.free_density),
            "certificate": None if self.certificate is None else str(self.certificate),
        }


@command(options=CertifyConfig, inputs=("source", "problem?"), flags=("out", "force"))
def certify(
    source: "Colouring | PolygonColouring | str | Path",
    problem: "Problem | str | Path | None" = None,
    *,
    config: CertifyConfig | None = None,
    out: str | Path | None = None,
    force: bool = False,
    **options: Any,
) -> Certified:
    """Decide exactly whether a colouring keeps every rule everywhere, and write the proof.

    Args:
        source: A colouring, its JSON file, or a run folder.
        problem: What is claimed, its JSON file, or None: the problem of the run.
        config: All options at once; or give any of its fields as keywords.
        out: The certificate file. Nothing is written for an invalid colouring.
        force: Replace `out`.
        **options: Fields of `CertifyConfig`; they replace those of `config`.

    Returns:
        The verdict.

    Raises:
        ColoringError: The colouring does not fit the problem, or `out` exists.

    Example:
        >>> from extremal import coloring
        >>> certify(coloring.isbell(18), Problem.plane(7)).status
        'valid'

    Cost: that of `screen`, and of the sweep for configurations.
    """
    settings = resolve(CertifyConfig, config, options)
    found, asked = read(source), read_problem(problem, source)
    answer = decide(found, asked, settings.semantics == "closed")
    if out is None or answer.status == "invalid":
        return answer
    path = Path(out)
    if path.exists() and not force:
        raise ColoringError(f"{path} exists already; replace it with --force.")
    written = write_certificate(path, parts_of(found, asked, settings.semantics))
    return replace(answer, certificate=written)


def decide(
    found: "Colouring | PolygonColouring", asked: Problem, closed: bool = False
) -> Certified:
    """Return the exact verdict; nothing is written."""
    if isinstance(found, PolygonColouring):
        problems = found.problems(asked)
        status = "invalid" if problems else "valid"
        return Certified(status, asked, None, len(problems), found.free_density)
    fits(found, asked)
    if any(r.norm != 2.0 for r in asked.rules):
        raise ColoringError(
            "certificates are built for the Euclidean norm; a rule has another one, so it can be "
            "trained and drawn, but not certified."
        )
    if asked.parameters:
        raise ColoringError(
            f"the distance {asked.parameters[0]!r} is still open; set it with problem.at(...)."
        )
    conflict = screen(found, asked, closed)
    broken = 0 if closed and not asked.configurations else broken_patterns(found, asked)
    residue = conflict_pairs(found, asked) if conflict is not None else broken
    status = "invalid" if conflict is not None or broken else "valid"
    return Certified(status, asked, conflict, residue, found.free_density)


def parts_of(
    found: "Colouring | PolygonColouring", asked: Problem, semantics: str = "half-open"
) -> list[Part]:
    """Return the claims that a valid colouring makes, one part a kind."""
    if isinstance(found, PolygonColouring):
        return [found.part(asked)]
    plain = found.as_json()
    witness = {name: plain[name] for name in _WITNESS}
    digest = sha256("|".join(str(witness[name]) for name in _WITNESS).encode()).hexdigest()
    common = {
        "dim": found.dim,
        "colors": found.colors,
        "free": found.free,
        "free_density": str(found.free_density),
        "coloring_sha256": digest,
    }
    parts: list[Part] = []
    pairs = rules_of(asked)
    if pairs:
        claim = {**common, "rules": pairs, "semantics": semantics}
        parts.append(Part("coloring/cells", 1, claim, witness))
    if asked.configurations:
        rules = [
            {
                "points": [[str(x) for x in q] for q in rule.points],
                "patterns": [list(p) for p in rule.patterns(asked.colors)],
                "motions": rule.motions,
            }
            for rule in asked.configurations
        ]
        parts.append(Part("coloring/configuration", 1, {**common, "rules": rules}, witness))
    return parts


def rules_of(asked: Problem) -> list[dict[str, Any]]:
    """Return the pair rules in the form of a claim."""
    return [
        {"colors": list(colors), "squared": [[str(a), str(b)] for a, b in spans]}
        for spans, colors in asked.classes()
    ]


def read(source: "Colouring | PolygonColouring | str | Path") -> "Colouring | PolygonColouring":
    """Return a colouring from itself, its file, its certificate or a run folder.

    Raises:
        ColoringError: There is none.
    """
    if not isinstance(source, (str, Path)):
        return source
    path = Path(source)
    if path.is_dir():
        path = path / "colouring.json"
    plain = _json(path)
    if isinstance(plain, dict) and "parts" in plain:
        plain = _of_certificate(plain, path)
    if isinstance(plain, dict) and "tiles" in plain:
        return PolygonColouring.from_json(plain)
    return Colouring.from_json(plain)


def read_problem(problem: "Problem | str | Path | None", source: Any = None) -> Problem:
    """Return a problem from itself, its file, or the run that `source` is.

    Raises:
        ColoringError: None was given and none is known.
    """
    if isinstance(problem, Problem):
        return problem
    if problem is not None:
        return _problem(Path(problem))
    if isinstance(source, (str, Path)):
        path = Path(source)
        beside = (path if path.is_dir() else path.parent) / "problem.json"
        if beside.is_file():
            return _problem(beside)
    raise ColoringError(
        "which rules shall be checked is not known; give a problem, or a run that has one."
    )


def _problem(path: Path) -> Problem:
    try:
        return Problem.from_json(_json(path))
    except (TypeError, KeyError) as error:
        raise ColoringError(f"{path} is no problem ({error}).") from error


def _of_certificate(plain: dict[str, Any], path: Path) -> dict[str, Any]:
    """The colouring that a certificate holds; its claim is not checked here."""
    for part in plain["parts"]:
        if isinstance(part, dict) and part.get("kind") in ("coloring/cells", "coloring/polygons"):
            known = ("colors", "free", "rest")
            return {**{k: v for k, v in part["claim"].items() if k in known}, **part["witness"]}
    raise ColoringError(f"{path} is a certificate of something else than a colouring.")


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise ColoringError(f"{path} cannot be read ({error.strerror}).") from error
    except ValueError as error:
        raise ColoringError(f"{path} is not JSON ({error}).") from error
