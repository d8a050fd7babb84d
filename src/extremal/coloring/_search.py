"""From nothing to cells: starts, lattice, relaxation, repair. The pure work behind `find`.

Two ways to a first pattern:

  spectral  random soft colourings on random small tori, colours and lattice optimised together on
            the exact spectral loss; many starts, each a fraction of a second. The default.
  network   sine networks trained on a box (arXiv 2501.18527); their period is read off the
            autocorrelation, and the network is folded onto one cell.

Both go on in the same way: the lattice is refined with every distance widened by about half the
thickness of the annulus of forbidden offsets, rounded to decimals, and the colours are annealed on
the certificate's own relaxation; then tabu search removes the last conflicts, or, with a free
colour, conflicting cells are freed and the gaps filled again.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from extremal.lab import generator

from ._colouring import Cell, Colouring, Shape, rational_lattice
from ._errors import ColoringError
from ._exchange import (
    Exchange,
    exchanged_periods,
    fold_exchanged,
    random_exchange,
    small_cells,
)
from ._network import Network, TrainConfig, train
from ._offsets import forbidden
from ._periods import lattices, periods
from ._problem import Problem
from ._screen import conflict_pairs
from ._spectral import Soft, refine_lattice, relax
from ._sweep import broken_patterns
from ._tabu import fill, tabu

_COARSE = {2: 24, 3: 12}
_LARGEST = {2: 0.8, 3: 0.45}  # volume of a period that is drawn by itself, in d^n times the colours


@dataclass(frozen=True, eq=False)
class Candidate:
    """A colouring with what it leaves to be wished.

    Attributes:
        colouring: Cells.
        residue: Conflicting ordered pairs of cells; 0 means that every rule holds.
        loss: Of the soft colouring it came from.
    """

    colouring: Colouring
    residue: int
    loss: float

    def key(self) -> tuple[float, ...]:
        """Smaller is better: no conflicts first, then less free space."""
        return (float(self.residue), float(self.colouring.free_density), self.loss)


def blur_of(
    basis: Float[np.ndarray, "n n"], grid: Sequence[int], cell: Cell = "parallelogram"
) -> float:
    """Return half the mean thickness of the annulus of offsets, for good cells.

    In the plane 1.27 roots of the area for squares, 1.185 for regular hexagons.
    """
    side = abs(float(np.linalg.det(basis))) / math.prod(grid)
    width = {"parallelogram": 1.27, "hexagon": 1.185}[cell] if len(grid) == 2 else 1.5
    return width * side ** (1 / len(grid))


def coarse(problem: Problem, period: tuple[float, float] = (0.0, 0.0)) -> int:
    """Return the cells along an axis of a start: larger periods are cut into as large cells."""
    n = problem.dim
    return round(_COARSE[n] * max(1.0, period[1] / _LARGEST[n]) ** (1 / n))


def random_start(
    problem: Problem, seed: int, number: int, grid: int, period: tuple[float, float] = (0.0, 0.0),
    permuted: bool = False,
) -> Soft:  # fmt: skip
    """Return a random soft colouring on a random torus.

    Its volume is drawn around that of the colour classes: a patch of diameter d has at most the
    volume of a ball of diameter d, and a period holds one to a few patches of every colour.
    `period` gives other bounds of the volume, in d^n times the colours. With `permuted` that is
    the volume of as many small cells as a random exchange has permutations.
    """
    rng = generator(seed, "start", number)
    n = problem.dim
    exchange = random_exchange(problem, rng) if permuted else None
    share = 1 if exchange is None else exchange.size()
    largest = max(
        (float(hi) ** 0.5 for c in range(problem.colors) for _, hi in problem.spans(c)), default=1.0
    )
    if n == 2:
        volume = (
            rng.uniform(*(period if period[1] else (0.3, _LARGEST[2])))
            * problem.colors
            * largest**2
        )
        volume /= share
        angle, ratio = rng.uniform(math.pi / 3, math.pi / 2), rng.uniform(1.0, 1.6)
        short = math.sqrt(volume / math.sin(angle) / ratio)
        basis = np.array(
            [[short, 0.0], [ratio * short * math.cos(angle), ratio * short * math.sin(angle)]]
        )
    else:
        volume = rng.uniform(*(period if period[1] else (0.15, _LARGEST[3]))) * problem.colors
        volume *= largest**3 / share
        basis = np.eye(3) + rng.uniform(-0.35, 0.35, (3, 3))
        basis *= (volume / abs(np.linalg.det(basis))) ** (1 / 3)
    if exchange is not None:
        small = 0.5 * rng.normal(size=(problem.palette, *[small_grid(grid, exchange)] * n))
        return Soft(exchange.whole(small), np.array(exchange.orders)[:, None] * basis, exchange)
    logits = 0.5 * rng.normal(size=(problem.palette, *[grid] * n))
    return Soft(logits, basis)


def small_grid(grid: int, exchange: Exchange) -> int:
    """Return how many cells a small cell has along an axis: as large as those of a plain search."""
    return max(4, round(grid / exchange.size() ** (1 / len(exchange.orders))))


def spectral_starts(
    problem: Problem, seed: int, first: int, count: int, deadline: float, steps: int = 150,
    period: tuple[float, float] = (0.0, 0.0), permuted: bool = False,
) -> list[tuple[float, Soft]]:  # fmt: skip
    """Return optimised random starts, best loss first.

    A free colour is expensive at first (price 0.25), so that it is used only where the others
    cannot be.
    """
    found: list[tuple[float, Soft]] = []
    grid = coarse(problem, period)
    for number in range(first, first + count):
        soft = random_start(problem, seed, number, grid, period, permuted)
        soft, loss = refine_lattice(
            soft, problem, steps=steps, blur=0.06, rate=0.1, lattice_rate=0.01, free_price=0.25
        )
        found.append((loss, soft))
        if time.monotonic() > deadline:
            break
    return sorted(found, key=lambda pair: pair[0])


def network_starts(
    problem: Problem, config: TrainConfig, seed: int, deadline: float, grid: int, most: int = 8,
    permuted: bool = False,
) -> list[tuple[float, Soft]]:  # fmt: skip
    """Return the patterns of trained networks, folded onto their periods; about `most` of them.

    Raises:
        ColoringError: No network has a period in its box.
    """

    def go_on(step: int, loss: float) -> bool:
        return time.monotonic() < deadline

    found: list[tuple[float, Soft]] = []
    trouble: ColoringError | None = None
    for network in train(problem, config, seed, go_on):
        if len(found) >= most:
            break
        try:
            found += [(network.loss, s) for s in fold(network, problem, grid, permuted)]
        except ColoringError as error:
            trouble = error
    if not found and trouble is not None:
        raise trouble
    return found


def sample_box(
    network: Network, problem: Problem, points: int
) -> tuple[Float[np.ndarray, "..."], float]:
    """Return the network's distributions on a square grid of its box, and the grid's spacing.

    The grid leaves out one end of every side, so that no point of a period counts twice.
    """
    spacing = 2 * network.box / points
    axis = (np.arange(points) + 0.5) * spacing - network.box
    mesh = np.stack(np.meshgrid(*[axis] * problem.dim, indexing="ij"), -1)
    values = network(mesh.reshape(-1, problem.dim))
    return values.reshape(*mesh.shape[:-1], -1), spacing


def fold(network: Network, problem: Problem, grid: int, permuted: bool = False) -> list[Soft]:
    """Average a network over all translates of its period's cells inside its box.

    Args:
        network: A trained one.
        problem: Its rules.
        grid: Cells along each axis of a period.
        permuted: Take translations that repeat the pattern with exchanged colours, too.

    Raises:
        ColoringError: The pattern has no n independent periods in the box.
    """
    values, spacing = sample_box(network, problem, 200 if problem.dim == 2 else 40)
    if permuted:
        found: list[Soft] = []
        for rows, exchange in small_cells(exchanged_periods(values, spacing, problem)):
            cells = (small_grid(grid, exchange),) * problem.dim
            mean = fold_exchanged(network, rows, exchange, cells, network.box)
            basis = np.array(exchange.orders)[:, None] * rows
            found.append(Soft(np.log(np.maximum(mean, 1e-4)), basis, exchange))
        return found
    bases = lattices(periods(values, spacing))
    return [Soft(fold_on(network, problem, basis, grid), basis) for basis in bases]


def fold_on(
    network: Callable[..., Float[np.ndarray, "m k"]],
    problem: Problem,
    basis: Float[np.ndarray, "n n"],
    grid: int,
) -> Float[np.ndarray, "k ..."]:
    """Return the logits of the mean distribution of each cell over the translates in the box."""
    n = problem.dim
    index = np.stack(np.meshgrid(*[np.arange(grid)] * n, indexing="ij"), -1).reshape(-1, n)
    centres = ((index + 0.5) / grid) @ basis
    box = float(getattr(network, "box", 3.0))
    reach = int(np.ceil(box * n**0.5 * np.linalg.norm(np.linalg.inv(basis), axis=0).max())) + 1
    total = np.zeros((len(centres), problem.palette))
    count = np.zeros(len(centres))
    steps = np.stack(np.meshgrid(*[np.arange(-reach, reach + 1)] * n, indexing="ij"), -1)
    for step in steps.reshape(-1, n):
        moved = centres + step @ basis
        inside = (np.abs(moved) <= box).all(1)  # outside the network was trained as partner only
        if inside.any():
            total[inside] += network(moved[inside])
            count[inside] += 1
    if (count == 0).any():
        raise ColoringError("the period is larger than the box of the network; train a larger box.")
    mean = np.log(np.maximum(total / count[:, None], 1e-4))
    return np.moveaxis(mean.reshape(*[grid] * n, -1), -1, 0)


def resample(
    logits: Float[np.ndarray, "k ..."], grid: int | Sequence[int]
) -> Float[np.ndarray, "k ..."]:
    """Return logits on another grid, periodic and linear between."""
    import scipy.ndimage

    shape = logits.shape[1:]
    wanted = (grid,) * len(shape) if isinstance(grid, int) else grid
    axes = [(np.arange(g) + 0.5) / g * s - 0.5 for g, s in zip(wanted, shape, strict=True)]
    where = np.meshgrid(*axes, indexing="ij")
    return np.stack(
        [scipy.ndimage.map_coordinates(c, where, order=1, mode="grid-wrap") for c in logits]
    )


def finish(
    soft: Soft,
    problem: Problem,
    grid: int,
    *,
    seed: int = 0,
    iterations: int = 100_000,
    free_price: float = 0.05,
    refine_steps: int = 300,
    relax_steps: int = 300,
    cell: Cell = "parallelogram",
) -> Candidate:
    """Turn a soft colouring into cells that break as little as can be.

    Args:
        soft: With a lattice in floats.
        problem: Pair rules guide the way; configurations are counted at the end.
        grid: Cells along each axis; with an exchange, so fine as to cut as large cells.
        seed: Of the repair.
        iterations: Of the tabu search.
        free_price: What a free point costs, against the rate of conflicting pairs.
        refine_steps: Of the lattice refinement; 0 keeps the lattice.
        relax_steps: Of the annealing.
        cell: Kind of the cells.

    Raises:
        ColoringError: The cells are too large for a rule.
    """
    basis, exchange = soft.basis, soft.exchange
    wanted = (grid,) * problem.dim
    if exchange is not None:
        wanted = tuple(n * small_grid(grid, exchange) for n in exchange.orders)
    if refine_steps:
        soft, _ = refine_lattice(
            soft, problem, refine_steps, blur=blur_of(basis, wanted, cell), free_price=free_price
        )
    lattice = rational_lattice(soft.basis)
    steps = tuple(tuple(x / n for x in v) for v, n in zip(lattice, wanted, strict=True))
    shape = Shape(steps, cell)
    count = max((len(forbidden(shape, spans)) for spans, _ in problem.classes()), default=1)
    logits = resample(soft.logits, wanted)
    if exchange is not None:  # equal in every small cell to the last digit
        logits = exchange.whole(exchange.small(logits))
    start = Soft(logits, np.array([[float(x) for x in v] for v in lattice]), exchange)
    relaxed, loss = relax(
        start, problem, lattice, relax_steps, free_price=free_price * count, cell=cell
    )
    colouring = relaxed.rounded(problem, cell=cell)
    return settle(colouring, problem, seed, iterations, loss)


def settle(
    colouring: Colouring, problem: Problem, seed: int, iterations: int, loss: float = math.inf
) -> Candidate:
    """Repair a colouring: fill with a free colour, tabu search without."""
    if problem.free_color:
        colouring = fill(colouring, problem, iterations=20 * iterations, seed=seed)
        residue = 0
    else:
        colouring, residue = tabu(colouring, problem, iterations, seed)
    residue = residue or (broken_patterns(colouring, problem) if problem.configurations else 0)
    return Candidate(colouring, residue, loss)


def soften(colouring: Colouring, strength: float = 3.0, blur: float = 1.0) -> Soft:
    """Return logits of a cell colouring, its boundaries smoothed over `blur` cells."""
    import scipy.ndimage

    hot = np.stack([(colouring.cells == c).astype(np.float64) for c in range(colouring.palette)])
    if blur > 0:
        hot = np.stack([scipy.ndimage.gaussian_filter(h, blur, mode="wrap") for h in hot])
    return Soft(strength * (hot - 1.0 / colouring.palette), colouring.basis)


def go_finer(
    colouring: Colouring, problem: Problem, factor: int = 2, *, seed: int = 0,
    free_price: float = 0.05, iterations: int = 100_000, relax_steps: int = 60,
    move_lattice: bool = False, device: str = "cpu",
) -> Candidate:  # fmt: skip
    """Cut each cell into factor^n and let the boundaries move; never worse than before.

    Hexagons cannot be cut: finer ones are a new colouring, and the old one is kept if it is better.

    Args:
        colouring: A start, valid or not.
        problem: Its rules.
        factor: New cells along each axis of an old one.
        seed: Of the repair.
        free_price: As in `finish`.
        iterations: Of the repair.
        relax_steps: Of the annealing.
        move_lattice: Refine the lattice first; the result may then be worse and is compared.
        device: Where the annealing runs; a GPU does it in float32, too.

    Cost: two FFTs a colour and annealing step on the finer grid.
    """
    plain = colouring.refined(factor) if factor > 1 else colouring
    soft = soften(plain, 6.0, 0.7 * factor)
    grid = plain.grid[0]
    lattice, axes = colouring.lattice, colouring.axes
    if move_lattice:
        coarse = Soft(resample(soft.logits, min(grid, 64)), soft.basis)
        coarse, _ = refine_lattice(
            coarse,
            problem,
            100,
            blur=blur_of(soft.basis, plain.grid, plain.cell),
            free_price=free_price,
        )
        lattice, axes = rational_lattice(coarse.basis, 5), ()
    steps = tuple(tuple(x / n for x in v) for v, n in zip(lattice, plain.grid, strict=True))
    shape = Shape(steps, plain.cell, axes)
    count = max((len(forbidden(shape, spans)) for spans, _ in problem.classes()), default=1)
    if device != "cpu" and (plain.cell, axes) != ("parallelogram", ()):
        raise ColoringError(
            "on a GPU cells are parallelograms with plain coordinates; go finer on the CPU."
        )
    if device == "cpu":
        relaxed, loss = relax(
            soft, problem, lattice, relax_steps, (0.7, 3.0), rate=0.1,
            free_price=free_price * count, cell=plain.cell, units=axes,
        )  # fmt: skip
    else:
        from ._batch import relax_on

        relaxed, loss = relax_on(
            soft, problem, lattice, relax_steps, (0.7, 3.0), free_price=free_price, device=device
        )
    cells = relaxed.logits.argmax(0).astype(np.uint8)
    moved = Colouring(lattice, cells, problem.colors, problem.free_color, plain.cell, axes)
    after = settle(moved, problem, seed, iterations, loss)
    kept = plain if plain.cell == "parallelogram" else colouring
    before = Candidate(kept, conflict_pairs(kept, problem), math.inf)
    if problem.free_color and before.residue == 0:
        before = settle(kept, problem, seed, iterations)
    return min((before, after), key=Candidate.key)
