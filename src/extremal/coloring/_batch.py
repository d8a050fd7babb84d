"""Many soft colourings at once with torch: what `find` does on a GPU, and can do on a CPU.

Notation: S soft colourings in a batch, K colours, W distances of a window, m an integer frequency.
The formulas are those of `_spectral`, one colouring there, S here, and start number i is the same
random start as there; so a batch in float64 on the CPU repeats `refine_lattice` and `relax`. A GPU
works in float32, where a result is the same up to rounding, which a long run may amplify.

A random start is small (24 x 24 cells): 8,192 of them fill a GPU. Each level has twice the cells
along an axis and the best quarter (in space the best eighth) of what is left, so that all levels
cost the same; distances are widened less and less, so that late levels rank by what very fine cells
would leave, which early ones cannot (a pattern with much boundary looks bad on coarse cells). Then
come the annealing on the certificate's own relaxation and a count of what the rounded cells would
leave free or in conflict. Only the few best are finished by local search, which a GPU is not made
for.
"""

import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from ._colouring import Colouring, Matrix, rational_lattice
from ._device import torch_on
from ._offsets import forbidden, reduced
from ._problem import Problem
from ._search import blur_of, coarse, random_start
from ._spectral import Soft, window

if TYPE_CHECKING:
    from torch import Tensor

_FLOATS = 32_000_000  # logits of a chunk: with gradient, moments and images about 1.5 GB
_DRAWERS = 4  # threads that draw random starts; NumPy lets go of the lock while it draws
_STEPS = (150, 75)  # of the first level, and of each later one, which starts near its end


@dataclass(frozen=True, eq=False)
class SoftBatch:
    """S periodic soft colourings on one grid.

    Attributes:
        logits: Tensor (S, K, N_1, …, N_n).
        basis: Tensor (S, n, n), a lattice each.
    """

    logits: "Tensor"
    basis: "Tensor"

    @classmethod
    def of(cls, softs: Sequence[Soft], device: str = "cpu", dtype: str = "float32") -> "SoftBatch":
        """Put soft colourings of one grid on a device."""
        torch = torch_on(device)
        kind = getattr(torch, dtype)
        logits = torch.from_numpy(np.stack([s.logits for s in softs]))
        basis = torch.from_numpy(np.stack([s.basis for s in softs]))
        return cls(logits.to(device, kind), basis.to(device, kind))

    def softs(self) -> list[Soft]:
        """Bring the soft colourings back, in float64."""
        logits, basis = (x.double().cpu().numpy() for x in (self.logits, self.basis))
        return [Soft(a, b) for a, b in zip(logits, basis, strict=True)]

    def best(self, losses: "Tensor", count: int) -> tuple["SoftBatch", "Tensor"]:
        """Return those with the least losses, in that order; NaN counts as the greatest."""
        order = losses.nan_to_num(nan=float("inf")).argsort()[:count]
        return SoftBatch(self.logits[order], self.basis[order]), losses[order]

    @property
    def grid(self) -> tuple[int, ...]:
        """Cells along each axis."""
        return tuple(self.logits.shape[2:])


def resample_many(batch: SoftBatch, grid: int) -> SoftBatch:
    """Put the colourings on another grid, periodic and linear between cell centres."""
    torch = torch_on()
    logits = batch.logits
    for axis, size in enumerate(batch.grid, 2):
        where = (torch.arange(grid, device=logits.device, dtype=logits.dtype) + 0.5) / grid
        where = where * size - 0.5
        low = where.floor()
        part = (where - low).reshape(-1, *[1] * (logits.dim() - axis - 1))
        low = low.long()
        first = logits.index_select(axis, low % size)
        logits = first + part * (logits.index_select(axis, (low + 1) % size) - first)
    return SoftBatch(logits, batch.basis)


def _part(colors: Sequence[int], device: Any) -> Any:
    """Colours as an index of the second axis; neighbours as a slice, which copies nothing."""
    if list(colors) == list(range(colors[0], colors[0] + len(colors))):
        return slice(colors[0], colors[0] + len(colors))
    return torch_on().tensor(list(colors), device=device)


class _Windows:
    """The widened distances of each colouring and group of colours, padded to W with weight 0."""

    def __init__(self, problem: Problem, blurs: Sequence[float], like: "Tensor") -> None:
        torch = torch_on()
        groups: dict[tuple[tuple[float, float], ...], list[int]] = {}
        for c in range(problem.colors):
            key = tuple(window(problem, c, blurs[0]))
            if key:
                groups.setdefault(key, []).append(c)
        self.groups: list[tuple[Any, Any, Any]] = []  # colours, distances and weights (S, W)
        for colors in groups.values():
            lists = [window(problem, colors[0], blur) for blur in blurs]
            table = np.zeros((2, len(lists), max(map(len, lists))))
            table[0] = 1.0
            for s, pairs in enumerate(lists):
                table[:, s, : len(pairs)] = np.array(pairs).T
            distances, weights = torch.from_numpy(table).to(like.device, like.dtype)
            self.groups.append((_part(colors, like.device), distances, weights))


def _kernels(torch: Any, n: int, t: "Tensor") -> tuple["Tensor", "Tensor"]:
    """Mean of exp(i <t u, .>) over the unit sphere of R^n, and its derivative in t."""
    if n == 2:
        return torch.special.bessel_j0(t), -torch.special.bessel_j1(t)
    safe = torch.where(t > 1e-4, t, 1.0)
    sine, cosine = torch.sin(safe) / safe, torch.cos(safe)
    return (
        torch.where(t > 1e-4, sine, 1.0),
        torch.where(t > 1e-4, (cosine - sine) / safe, -t / 3),
    )


def _through(p: "Tensor", grad: "Tensor") -> "Tensor":
    """The gradient in the logits from that in the probabilities, in one pass instead of four."""
    return torch_on().ops.aten._softmax_backward_data(grad, p, 1, p.dtype)


def refine_many(
    batch: SoftBatch, problem: Problem, steps: int, blurs: Sequence[float], *,
    rate: float = 0.05, lattice_rate: float = 0.003, free_price: float = 0.0,
) -> tuple[SoftBatch, "Tensor"]:  # fmt: skip
    """Optimise colours and lattices together on the spectral loss, as `refine_lattice` does.

    Args:
        batch: The starts; they are not changed.
        problem: Its pair rules.
        steps: Of Adam.
        blurs: For each colouring by how much its distances are widened.
        rate: Of the logits.
        lattice_rate: Of the lattice rows.
        free_price: What a free point costs.

    Returns:
        The results and their last losses.

    Cost: about 20 passes over the logits a step.
    """
    torch = torch_on()
    logits, basis = batch.logits.clone(), batch.basis.clone()
    grid, n = batch.grid, len(batch.grid)
    axes, cells = tuple(range(2, n + 2)), float(np.prod(grid))
    like: dict[str, Any] = {"device": logits.device, "dtype": logits.dtype}
    ends = [torch.fft.fftfreq(k, 1 / k, **like) for k in grid[:-1]]
    ends.append(torch.fft.rfftfreq(grid[-1], 1 / grid[-1], **like))
    m = torch.stack(torch.meshgrid(*ends, indexing="ij"), -1)
    shape = m.shape[:-1]
    twice = torch.full(shape, 2.0, **like)  # rfft keeps one of m and -m
    twice[..., 0] = 1.0
    if grid[-1] % 2 == 0:
        twice[..., -1] = 1.0
    m, twice = m.reshape(-1, n), twice.reshape(-1)
    groups = _Windows(problem, blurs, logits).groups
    many, real = len(logits), problem.colors
    adam = torch.optim.Adam(
        [{"params": [logits], "lr": rate}, {"params": [basis], "lr": lattice_rate}],
        eps=1e-12, fused=True,
    )  # fmt: skip
    losses = torch.full((many,), torch.inf, **like)
    for _ in range(steps):
        inverse = torch.linalg.inv_ex(basis)[0]  # no check, which would wait for the device
        kappa = m @ inverse.mT  # (S, M, n)
        length = kappa.norm(dim=-1)
        p = torch.softmax(logits, 1)
        image = torch.fft.rfftn(p[:, :real], dim=axes).reshape(many, real, -1) / cells
        grad = torch.zeros_like(p)
        losses = torch.zeros(many, **like)
        pull = torch.zeros_like(length)  # of the lattice: sum of power * slope / length
        for index, distances, weights in groups:
            turns = 2 * torch.pi * distances
            value, slope = _kernels(torch, n, turns[..., None] * length[:, None])
            kernel = (weights[..., None] * value).sum(1)
            change = ((weights * turns)[..., None] * slope).sum(1)
            own = image[:, index]
            power = (own.real.square() + own.imag.square()).sum(1) * twice
            losses += (power * kernel).sum(-1)
            # one factor of `cells` of the mean is in `image`, and the other in the transform
            spread = (own * (2.0 * cells * kernel[:, None])).reshape(many, -1, *shape)
            grad[:, index] = torch.fft.irfftn(spread, s=grid, dim=axes)
            pull += power * change
        pull = torch.where(length > 0, pull / length.clamp_min(1e-30), pull)
        if problem.free_color:
            grad[:, -1] += free_price
            losses += free_price * p[:, -1].flatten(1).mean(1)
        logits.grad = _through(p, grad)
        # d|kappa| = -kappa^T B^-1 dB kappa / |kappa|
        basis.grad = -(pull[..., None] * (kappa @ inverse)).mT @ kappa
        adam.step()
    return SoftBatch(logits, basis), losses


def relax_many(
    batch: SoftBatch, problem: Problem, lattices: Sequence[Matrix], steps: int = 300, *,
    sharpness: tuple[float, float] = (0.5, 3.0), rate: float = 0.1, free_price: float = 0.0,
) -> tuple[SoftBatch, "Tensor", "Tensor"]:  # fmt: skip
    """Anneal colours by the certificate's relaxation, as `relax` does, each on its exact lattice.

    Args:
        batch: The starts; they are not changed.
        problem: Its pair rules.
        lattices: Exact, one for each colouring.
        steps: Of Adam.
        sharpness: Of the softmax, from and to.
        rate: Of the logits.
        free_price: What a free cell costs, in parts of its forbidden offsets.

    Returns:
        The results, their last losses a cell, and what `wishes` finds of them.

    Cost: two transforms a colour and step.
    """
    torch = torch_on()
    grid, n = batch.grid, len(batch.grid)
    axes, cells = tuple(range(2, n + 2)), float(np.prod(grid))
    like: dict[str, Any] = {"device": batch.logits.device, "dtype": batch.logits.dtype}
    prices = np.zeros(len(lattices))
    kernels: list[tuple[Any, Any]] = []
    for spans, colors in problem.classes():
        rows = np.zeros((len(lattices), *grid), np.float32)
        for s, lattice in enumerate(lattices):
            offsets = forbidden(_cut(lattice, grid), spans)
            prices[s] = max(prices[s], free_price * len(offsets))
            rows[(s, *reduced(offsets, grid).T)] = 1.0
        # F = -F, so the transform is real
        image = torch.fft.rfftn(torch.from_numpy(rows).to(**like), dim=tuple(range(1, n + 1))).real
        kernels.append((_part(colors, like["device"]), image[:, None]))
    price = torch.from_numpy(prices).to(**like)
    column = price.reshape(-1, *[1] * n)
    logits = batch.logits.clone()
    adam = torch.optim.Adam([logits], lr=rate, eps=1e-12, fused=True)
    losses = torch.full((len(logits),), torch.inf, **like)

    def spread(p: "Tensor", index: Any, kernel: "Tensor") -> "Tensor":
        image = torch.fft.rfftn(p[:, index], dim=axes)
        return torch.fft.irfftn(image * kernel, s=grid, dim=axes)

    for step in range(steps):
        beta = sharpness[0] * (sharpness[1] / sharpness[0]) ** (step / max(1, steps - 1))
        p = torch.softmax(logits * beta, 1)
        grad = torch.zeros_like(p)
        losses = torch.zeros(len(logits), **like)
        for index, kernel in kernels:
            found = spread(p, index, kernel)
            losses += (found * p[:, index]).flatten(1).sum(1)
            grad[:, index] = 2 * found
        if problem.free_color:
            grad[:, -1] += column
            losses += price * p[:, -1].flatten(1).sum(1)
        logits.grad = beta * _through(p, grad)
        adam.step()
    # What rounding leaves: conflicting cells, half of which must be freed or recoloured, and free.
    hot = torch.nn.functional.one_hot(logits.argmax(1), problem.palette).movedim(-1, 1)
    hot = hot.to(logits.dtype)
    broken = torch.zeros(len(logits), **like)
    for index, kernel in kernels:
        met = spread(hot, index, kernel) * hot[:, index]
        broken += (met > 0.5).flatten(1).sum(1) / cells
    wishes = broken / 2
    if problem.free_color:
        wishes = wishes + hot[:, -1].flatten(1).mean(1)
    basis = torch.tensor([[[float(x) for x in v] for v in b] for b in lattices], **like)
    return SoftBatch(logits * sharpness[1], basis), losses / cells, wishes


def _cut(lattice: Matrix, grid: Sequence[int]) -> Matrix:
    return tuple(tuple(x / k for x in v) for v, k in zip(lattice, grid, strict=True))


def relax_on(
    soft: Soft, problem: Problem, lattice: Matrix, steps: int,
    sharpness: tuple[float, float] = (0.5, 3.0), *, rate: float = 0.1, free_price: float = 0.0,
    device: str = "cuda",
) -> tuple[Soft, float]:  # fmt: skip
    """Anneal one soft colouring on a device; arguments as of `relax`, the price as of `finish`."""
    torch = torch_on(device)
    with torch.no_grad():
        batch, losses, _ = relax_many(
            SoftBatch.of([soft], device), problem, [lattice], steps, sharpness=sharpness,
            rate=rate, free_price=free_price,
        )  # fmt: skip
    return batch.softs()[0], float(losses[0])


def grids(problem: Problem, grid: int, period: tuple[float, float] = (0.0, 0.0)) -> list[int]:
    """Return the cells along an axis of the levels, up to the grid that is asked for."""
    found = [coarse(problem, period)]
    while 2 * found[-1] <= grid:
        found.append(2 * found[-1])
    return found if found[-1] >= grid else [*found, grid]


def batched_starts(
    problem: Problem, seed: int, first: int, count: int, deadline: float, *,
    grid: int, keep: int = 8, free_price: float = 0.05, device: str = "cuda",
    dtype: str = "float32", period: tuple[float, float] = (0.0, 0.0),
) -> list[tuple[float, Colouring]]:  # fmt: skip
    """Return the best of many random starts, optimised in batches with successive halving.

    Args:
        problem: Its pair rules.
        seed: Of the starts.
        first: Number of the first start; start i of a seed is that of `spectral_starts`.
        count: How many.
        deadline: Of `time.monotonic`; no chunk begins after it.
        grid: Cells along an axis of the last level.
        keep: How many to return.
        free_price: What a free point costs, against the rate of conflicting pairs.
        device: A torch device.
        dtype: Of the batch.
        period: Bounds of the volume of a first period, as of `random_start`.

    Returns:
        Pairs of the share of cells left to be wished (free, or half of those in conflict) and the
        rounded cells, best first; conflicts are still to be removed.

    Raises:
        ColoringError: The device is not there.
    """
    torch = torch_on(device)
    levels = grids(problem, grid, period)
    size = problem.palette * levels[0] ** problem.dim
    chunk = max(16, min(count, 1 << ((_FLOATS // size).bit_length() - 1)))
    found: list[tuple[float, Colouring]] = []

    def made(numbers: Sequence[int]) -> list[Soft]:
        return [random_start(problem, seed, i, levels[0], period) for i in numbers]

    numbers = range(first, first + count)
    chunks = [numbers[i : i + chunk] for i in range(0, count, chunk)]
    # The next starts are drawn while the device works on these.
    with ThreadPoolExecutor(_DRAWERS) as ahead, torch.no_grad():

        def draw(own: Sequence[int]) -> list[Future[list[Soft]]]:
            return [ahead.submit(made, own[k::_DRAWERS]) for k in range(_DRAWERS)]

        waiting = draw(chunks[0])
        for i in range(len(chunks)):
            softs = [soft for part in waiting for soft in part.result()]
            waiting = draw(chunks[i + 1]) if i + 1 < len(chunks) else []
            found += _chunk(problem, SoftBatch.of(softs, device, dtype), levels, keep, free_price)
            found = sorted(found, key=lambda pair: pair[0])[:keep]
            if time.monotonic() > deadline:
                break
    return found


def _chunk(
    problem: Problem, batch: SoftBatch, levels: Sequence[int], keep: int, free_price: float
) -> list[tuple[float, Colouring]]:
    """Take one chunk through the levels, and round what is left."""
    n = problem.dim
    # Free space is dear at first, so that it is used only where the colours cannot be.
    batch, losses = refine_many(
        batch, problem, _STEPS[0], [0.06] * len(batch.logits), rate=0.1, lattice_rate=0.01,
        free_price=0.25,
    )  # fmt: skip
    for level in levels[1:]:
        batch, losses = batch.best(losses, max(keep, len(losses) >> n))
        batch = resample_many(batch, level)
        blurs = [blur_of(b, (level,) * n) for b in batch.basis.double().cpu().numpy()]
        batch, losses = refine_many(batch, problem, _STEPS[1], blurs, free_price=free_price)
    batch, losses = batch.best(losses, max(keep, len(losses) >> n))
    usable: list[int] = []
    lattices: list[Matrix] = []
    for s, basis in enumerate(batch.basis.double().cpu().numpy()):
        if np.isfinite(basis).all() and _fits(rational_lattice(basis), batch.grid, problem):
            usable.append(s)
            lattices.append(rational_lattice(basis))
    if not usable:
        return []
    batch = SoftBatch(batch.logits[usable], batch.basis[usable])
    batch, _, wishes = relax_many(batch, problem, lattices, 300, free_price=free_price)
    cells = batch.logits.argmax(1).to(torch_on().uint8).cpu().numpy()
    return [
        (wish, Colouring(lattice, own, problem.colors, problem.free_color))
        for wish, lattice, own in zip(wishes.tolist(), lattices, cells, strict=True)
        if np.isfinite(wish)
    ]


def _fits(lattice: Matrix, grid: Sequence[int], problem: Problem) -> bool:
    """Whether no colour conflicts with itself within a cell or its translates."""
    return all(
        bool(reduced(forbidden(_cut(lattice, grid), spans), grid).any(1).all())
        for spans, _ in problem.classes()
    )
