"""One round of a search: starts from its own seed, the best of them finished on the grid."""

import time
from dataclasses import dataclass, replace
from typing import Any, Literal

from extremal.lab import derive_seed

from ._certify import read
from ._colouring import Colouring
from ._errors import ColoringError
from ._network import TrainConfig
from ._problem import Problem
from ._search import Candidate, finish, network_starts, settle, soften, spectral_starts


@dataclass(frozen=True)
class FindConfig:
    """What is asked, and how it is searched."""

    type: tuple[str, ...] = ()
    """One distance a colour that it avoids, such as 1 1 1 1 1 0.5 or "sqrt(1/5)"; "0.4..0.5" is
    the whole interval. Instead of a problem file."""
    colors: int = 0
    """So many colours that all avoid distance 1. Instead of a problem file."""
    triangle: tuple[str, ...] = ()
    """Sides a and b of triangles 1, a, b, for --colors. Instead of a problem file."""
    objective: Literal["", "max_interval"] = ""
    """"max_interval": one "lo..hi" of --type is a range, in which its colours avoid an interval
    that becomes as wide as it can."""
    free: bool = False
    """Allow a free colour and make its density small."""
    dim: int = 2
    """Of space, for --type and --colors."""
    budget: str = "10m"
    """Time for everything, such as 90s, 10m or 2h."""
    seed: int = 0
    """Of every start."""
    grid: int = 0
    """Cells along each axis; 0 means 48 in the plane and 16 in space."""
    finest: int = 0
    """With a free colour: the finest grid to go to; 0 means 4 times the grid."""
    method: Literal["spectral", "network"] = "spectral"
    """How first patterns are found."""
    start: str = ""
    """A colouring file or run to continue from, for a neighbouring problem."""
    starts: int = 0
    """Random starts of a round (spectral); 0 means 24, or 8192 on a GPU, in batches."""
    period: tuple[float, float] = (0.0, 0.0)
    """Least and largest volume of the period of a start, for each colour, where the largest
    distance is 1; 0 0 means 0.3 to 0.8 in the plane and 0.15 to 0.45 in space."""
    permuted: bool = False
    """Let patterns repeat with colours of equal rules exchanged: a smaller cell to search in."""
    cell: Literal["parallelogram", "hexagon"] = "parallelogram"
    """Kind of the cells: hexagons are the points nearest to those of the fine lattice."""
    tries: int = 3
    """How many of the best starts of a round are finished."""
    preset: Literal["", "reference"] = ""
    """"reference": the published training settings (network)."""
    steps: int = 0
    """Training steps; 0 means those of the preset (network)."""
    networks: int = 1
    """Trained at once, with halving (network)."""
    factor: float = 0.0
    """Scale of the first layer; 0 means that of the preset (network)."""
    rate: float = 0.0
    """Learning rate; 0 means that of the preset (network)."""
    device: str = "cpu"
    """Where networks are trained, random starts optimised and cells annealed: cpu or cuda."""
    keep: int = 0
    """So many of the best colourings of single rounds are kept in candidates/, besides the best."""
    free_price: float = 0.05
    """What free space costs, against the rate of conflicting pairs."""
    iterations: int = 60_000
    """Of the repair of one colouring."""
    executor: Literal["serial", "processes", "ray"] = "serial"
    """Where rounds run."""
    workers: int = 0
    """Rounds at a time; 0 means one a core."""


@dataclass(frozen=True, eq=False)
class Job:
    """One round, as plain values."""

    problem: dict[str, Any]
    settings: FindConfig
    number: int
    seconds: float


def grid_of(settings: FindConfig, problem: Problem) -> int:
    return settings.grid or (48 if problem.dim == 2 else 16)


def plain_of(candidate: Candidate) -> dict[str, Any]:
    return {
        "colouring": candidate.colouring.as_json(),
        "residue": candidate.residue,
        "free": float(candidate.colouring.free_density),
        "grid": candidate.colouring.grid[0],
        "loss": min(candidate.loss, 1e300),
    }


def round_of(job: Job) -> dict[str, Any]:
    """One round; a module-level function, because it runs in other processes too."""
    problem = Problem.from_json(job.problem)
    settings, deadline = job.settings, time.monotonic() + job.seconds
    grid = grid_of(settings, problem)
    seed = derive_seed(settings.seed, "round", job.number)
    if settings.start and job.number == 0:
        before = read(settings.start)
        if not isinstance(before, Colouring) or before.palette != problem.palette:
            raise ColoringError(f"{settings.start} has not the cells or colours of the problem.")
        if problem.configurations:
            from ._pattern_search import finish_patterns

            soft = soften(before, 3.0, 1.5)
            return plain_of(finish_patterns(soft, problem, grid, seed, settings.iterations // 15))
        starts = [(0.0, soften(before, 3.0, 2.0))]
    elif problem.configurations:
        from ._pattern_search import pattern_round

        found = pattern_round(
            problem, seed, grid, deadline, starts=settings.starts or 12, tries=settings.tries,
            iterations=settings.iterations // 15, free_price=settings.free_price,
            first=job.number == 0,
        )  # fmt: skip
        return plain_of(found)
    elif settings.method == "network":
        try:
            starts = network_starts(
                problem, training(settings), seed, deadline, grid, settings.tries,
                settings.permuted,
            )  # fmt: skip
        except ColoringError as error:
            return {"note": str(error)}
    elif settings.device != "cpu":
        return _batched_round(problem, settings, seed, deadline)
    else:
        starts = spectral_starts(
            problem, seed, 0, settings.starts or 24, deadline, period=settings.period,
            permuted=settings.permuted,
        )  # fmt: skip
    best: Candidate | None = None
    note = ""
    for _, soft in starts[: settings.tries]:
        try:
            candidate = finish(
                soft, problem, grid, seed=seed, iterations=settings.iterations,
                free_price=settings.free_price, cell=settings.cell,
            )  # fmt: skip
        except ColoringError as error:
            note = str(error)
            continue
        if best is None or candidate.key() < best.key():
            best = candidate
        if (best.residue == 0 and not problem.free_color) or time.monotonic() > deadline:
            break
    return {"note": note} if best is None else plain_of(best)


def _batched_round(
    problem: Problem, settings: FindConfig, seed: int, deadline: float
) -> dict[str, Any]:
    """Thousands of starts in batches on a device; the best few are finished on the CPU."""
    from ._batch import batched_starts

    best: Candidate | None = None
    for wish, colouring in batched_starts(
        problem, seed, 0, settings.starts or 8192, deadline, grid=grid_of(settings, problem),
        keep=settings.tries, free_price=settings.free_price, device=settings.device,
        period=settings.period,
    ):  # fmt: skip
        candidate = settle(colouring, problem, seed, settings.iterations, wish)
        if best is None or candidate.key() < best.key():
            best = candidate
        if (best.residue == 0 and not problem.free_color) or time.monotonic() > deadline:
            break
    return {"note": "no start has a usable lattice"} if best is None else plain_of(best)


def training(settings: FindConfig) -> TrainConfig:
    """Return how networks are trained under the options of `find`."""
    base = TrainConfig.reference() if settings.preset == "reference" else TrainConfig()
    given = {
        "steps": settings.steps or base.steps,
        "factor": settings.factor or base.factor,
        "rate": settings.rate or base.rate,
        "networks": settings.networks,
        "device": settings.device,
    }
    return replace(base, **given)
