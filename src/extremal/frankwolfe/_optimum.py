"""What `minimize` returns, and how it becomes files that can be checked."""

import importlib.util
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save

from extremal.lab import (
    PALETTE,
    Part,
    Picture,
    Section,
    Table,
    Text,
    atomic_write,
    figure_bytes,
    new_figure,
    sha256_file,
    write_certificate,
    write_report,
)

from ._arrays import on_cpu
from ._errors import FrankWolfeError
from ._objectives import LinearModel
from ._region import Region
from ._regions import Birkhoff, FlowPolytope, Hull, Product, assignment_potentials

_UNCHECKED = ("Oracle",)
_FEASIBILITY = 1e-9


@dataclass(frozen=True)
class Row:
    """One iteration."""

    iteration: int
    value: float
    gap: float
    step: float
    lmo_calls: int
    gradients: float
    """Full gradients so far; a batch counts as its share."""
    seconds: float


@dataclass(frozen=True)
class Optimum:
    """A point of a region, with a bound on how far its value is above the least one."""

    status: str
    """`"optimal"` if the gap is as small as wanted, else `"limit"`: a limit was reached first."""
    x: np.ndarray
    value: float
    gap: float
    """value - gap is at most the least value over the region, if the objective is convex."""
    method: str
    region: Region
    trace: tuple[Row, ...]
    atoms: np.ndarray | None = None
    """Extreme points whose combination x is, stacked; None for methods that keep none."""
    weights: np.ndarray | None = None
    path: Path | None = None
    certificate: Path | None = None
    objective: Any = field(default=None, repr=False)

    @property
    def exit_code(self) -> int:
        """0 if optimal, 3 if a limit was reached."""
        return 0 if self.status == "optimal" else 3

    @property
    def lmo_calls(self) -> int:
        """How often the linear minimisation oracle was called."""
        return self.trace[-1].lmo_calls

    @property
    def gradients(self) -> float:
        """How many full gradients were computed; a batch counts as its share."""
        return self.trace[-1].gradients

    @property
    def nonzeros(self) -> int:
        """How many entries of x are not zero."""
        return int(np.count_nonzero(self.x))

    def table(self) -> Table:
        """The result in a line."""
        row: dict[str, Any] = {
            "status": self.status,
            "value": f"{self.value:.10g}",
            "gap": float(self.gap),
            "region": str(self.region),
            "method": self.method,
            "nonzero": f"{self.nonzeros} of {self.x.size}",
            "atoms": None if self.weights is None else len(self.weights),
            "iterations": self.trace[-1].iteration,
            "LMO calls": self.lmo_calls,
            "gradients": float(self.gradients),
            "seconds": round(self.trace[-1].seconds, 3),
        }
        return Table(list(row), [list(row.values())])

    def iterations(self, rows: int = 20) -> Table:
        """The course of the search, at iterations spread evenly on a logarithmic scale."""
        last = len(self.trace) - 1
        picked = sorted({0, last, *(round((last + 1) ** (i / rows)) - 1 for i in range(rows))})
        columns = ["iteration", "value", "gap", "step", "LMO calls", "gradients", "seconds"]
        cells = [
            [
                f"{r.iteration:7d}",
                f"{r.value:16.9e}",
                f"{r.gap:10.3e}",
                f"{r.step:9.3e}",
                f"{r.lmo_calls:8d}",
                f"{r.gradients:10.2f}",
                f"{r.seconds:9.3f}",
            ]
            for r in (self.trace[i] for i in picked)
        ]
        return Table(columns, cells)

    def as_json(self) -> dict[str, Any]:
        """The result as plain values."""
        return {
            "status": self.status,
            "value": self.value,
            "gap": self.gap,
            "method": self.method,
            "region": _plain_region(self.region),
            "x": self.x.tolist() if self.x.size <= 10_000 else None,
            "nonzero": self.nonzeros,
            "atoms": None if self.weights is None else len(self.weights),
            "iterations": self.trace[-1].iteration,
            "lmo_calls": self.lmo_calls,
            "gradients": self.gradients,
            "seconds": self.trace[-1].seconds,
            "path": None if self.path is None else str(self.path),
            "certificate": None if self.certificate is None else str(self.certificate),
        }

    def save(self, folder: str | Path) -> Path:
        """Write problem, solution and certificate into a folder; return the certificate.

        Raises:
            FrankWolfeError: The objective or region is a function, or of a kind that the checker
                does not know, so that nobody could check the claim.
        """
        folder = Path(folder)
        part = optimum_part(self, folder)
        return write_certificate(folder / "certificate.json", [part])


def certifiable(objective: Any, region: Region) -> bool:
    """Whether the checker knows objective and region."""
    if isinstance(region, Product):
        return all(certifiable(objective, factor) for factor in region._regions)
    return isinstance(objective, LinearModel) and type(region).__name__ not in _UNCHECKED


def optimum_part(found: Optimum, folder: Path) -> Part:
    """Write the two tensor files and return the claim about them."""
    objective, region = found.objective, found.region
    if not certifiable(objective, region):
        raise FrankWolfeError(
            f"an optimum of {type(objective).__name__} over {region} has no certificate: the "
            "checker knows LogisticLoss, SquaredLoss, SquaredHinge and MatrixCompletion over the "
            f"regions other than {', '.join(_UNCHECKED)}."
        )
    assert isinstance(objective, LinearModel)
    x = np.ascontiguousarray(found.x)
    value, gradient = objective(x)
    tensors, violation, least = _witnessed(region, x, gradient, found)
    tensors["x"] = x
    gap = float(np.vdot(gradient, x)) - least
    if violation > _FEASIBILITY:
        raise FrankWolfeError(
            f"x is outside {region} by {violation:.3g} of its size, so it cannot be certified; "
            "run again with the default method, which keeps x a convex combination."
        )
    atomic_write(folder / "problem.safetensors", save(_ready(objective.tensors())))
    atomic_write(folder / "solution.safetensors", save(_ready(tensors)))
    claim: dict[str, Any] = {
        "problem_sha256": sha256_file(folder / "problem.safetensors"),
        "solution_sha256": sha256_file(folder / "solution.safetensors"),
        "objective": {"kind": objective.kind, "ridge": objective.ridge},
        "region": region.as_plain(),
        "shape": list(x.shape),
        "value": value,
        "gap": gap,
        "violation": violation,
        "tolerance": 1e-12 * (1 + abs(value)) * max(1.0, _size_of(region, x, gradient)),
        "feasibility": _FEASIBILITY,
    }
    claim["tolerance"] = min(claim["tolerance"], 1e-9 * (1 + abs(value)))
    witness = {"problem": "problem.safetensors", "solution": "solution.safetensors"}
    return Part("frankwolfe/optimum", 1, claim, witness)


def _witnessed(
    region: Region, x: np.ndarray, g: np.ndarray, found: "Optimum | None", prefix: str = ""
) -> tuple[dict[str, np.ndarray], float, float]:
    """The tensors that prove membership and the least <g, v>; the violation; that least value."""
    if isinstance(region, Product):
        tensors, violation, least, start = dict[str, np.ndarray](), 0.0, 0.0, 0
        for i, (factor, shape) in enumerate(zip(region._regions, region._shapes, strict=True)):
            stop = start + math.prod(shape)
            block = [a.reshape(-1)[start:stop].reshape(shape) for a in (x, g)]
            more, outside, lowest = _witnessed(factor, *block, None, f"{prefix}{i}.")
            tensors |= more
            violation, least, start = max(violation, outside), least + lowest, stop
        return tensors, violation, least
    if isinstance(region, Birkhoff):
        u, v = assignment_potentials(g)
        slack = max(0.0, float((u[:, None] + v[None] - g).max()))
        least = float(u.sum() + v.sum()) - len(u) * slack
        return {prefix + "u": u, prefix + "v": v}, violation_of(region, x), least
    if isinstance(region, FlowPolytope):
        p = region.potentials(g.reshape(-1))
        tail, head = region._edges.T
        slack = max(0.0, float((p[head] - p[tail] - g.reshape(-1)).max()))
        least = float(p[region._sink] - p[region._source]) - (len(p) - 1) * slack
        return {prefix + "potentials": p}, violation_of(region, x), least
    if isinstance(region, Hull):
        points = region._vertices
        atoms = None if found is None else found.atoms
        if atoms is not None and found is not None and found.weights is not None:
            weights = np.zeros(len(points))
            for atom, weight in zip(atoms, found.weights, strict=True):
                weights[int((points != atom.reshape(-1)).sum(1).argmin())] += weight
        else:
            weights = region.weights(x.reshape(-1))
        size = max(1.0, float(np.abs(points).max()))
        violation = max(
            float(np.abs(weights @ points - x.reshape(-1)).max()) / size,
            abs(float(weights.sum()) - 1),
            -float(weights.min()),
            0.0,
        )
        return {prefix + "weights": weights}, violation, float((points @ g.reshape(-1)).min())
    return {}, violation_of(region, x), float(np.vdot(g, x)) - float(region.gap(g, x))


def violation_of(region: Region, x: np.ndarray) -> float:
    """How far x is outside, relative to the region's size; 0 inside."""
    rows, sized = region._open(x, 0, "contains")
    return max(0.0, float(on_cpu(sized._violation(rows / sized._scale(x, 0, None, rows)))[0]))


def _size_of(region: Region, x: np.ndarray, gradient: np.ndarray) -> float:
    """The size of the two inner products whose difference is the gap."""
    return abs(float(np.vdot(gradient, x))) + abs(float(region.support(-gradient)))


def _ready(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name: np.ascontiguousarray(t) for name, t in tensors.items()}


def _plain_region(region: Region) -> Any:
    try:
        return region.as_plain()
    except ValueError:
        return str(region)


def write_optimum_report(folder: Path, found: Optimum) -> Path | None:
    """Write `report.html`; without matplotlib or jinja2 there is none."""
    if not (importlib.util.find_spec("matplotlib") and importlib.util.find_spec("jinja2")):
        return None
    row = found.table()
    summary = Table(["", ""], [[n, c] for n, c in zip(row.columns, row.rows[0], strict=True)])
    sections: list[Section] = [
        summary,
        Picture(_course(found), "Duality gap and value above the best bound, by iteration."),
        found.iterations(),
    ]
    if found.x.ndim == 1 and found.x.size <= 2000:
        sections.append(Picture(_entries(found.x), "The entries of x."))
    if found.certificate is None:
        sections.append(Text("There is no certificate: objective or region is a function."))
    footer = f"Check it: extremal verify {folder.name}/certificate.json"
    title = f"Minimum over {found.region}"
    return write_report(folder / "report.html", title, sections, footer)


def _course(found: Optimum) -> bytes:
    figure, axes = new_figure()
    x = np.array([r.iteration for r in found.trace], dtype=float) + 1
    gaps = np.array([r.gap for r in found.trace])
    bound = found.value - found.gap
    above = np.array([r.value - bound for r in found.trace])
    for y, label, color in (
        (gaps, "duality gap", PALETTE[0]),
        (above, "value - bound", PALETTE[1]),
    ):
        shown = np.isfinite(y) & (y > 0)
        axes.loglog(x[shown], y[shown], label=label, color=color)
    axes.set_xlabel("iteration")
    axes.legend()
    return figure_bytes(figure)


def _entries(x: np.ndarray) -> bytes:
    figure, axes = new_figure(height=2.4)
    axes.bar(np.arange(x.size), x, width=0.8, color=PALETTE[0])
    axes.set_xlabel("entry")
    axes.set_ylabel("value")
    return figure_bytes(figure)
