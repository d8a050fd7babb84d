"""Exact conflict of periodic soft colourings, differentiable in the colours and in the lattice.

Notation: p_c is the probability of colour c on a grid of the torus R^n / L; f_c its Fourier
coefficients; m an integer frequency; kappa = B^-1 m its vector, B the rows of the lattice.
For p read as a trigonometric polynomial the pair rate at distance d is
sum_c sum_m |f_c(m)|^2 J0(2 pi d |kappa|) (sin t / t in R^3). No sampling, one FFT a colour.
It may be slightly negative, because the polynomial may be; `relax` uses the cells themselves:
sum_c <p_c, 1_F * p_c> with F the forbidden offsets, the exact relaxation of the certificate.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from jaxtyping import Float

from ._colouring import Cell, Colouring, Matrix, Shape, rational_lattice
from ._exchange import Exchange
from ._fft import irfftn, rfftn
from ._offsets import forbidden, reduced
from ._problem import Problem


@dataclass(frozen=True, eq=False)
class Soft:
    """A periodic soft colouring: logits on a grid, colours first, and a lattice in floats.

    With an exchange the logits are those of the whole period and repeat in its small cells, which
    `refine_lattice` and `relax` keep.
    """

    logits: Float[np.ndarray, "k ..."]
    basis: Float[np.ndarray, "n n"]
    exchange: Exchange | None = None

    def probabilities(self, sharpness: float = 1.0) -> Float[np.ndarray, "k ..."]:
        """Return the distribution over colours of each grid point."""
        return softmax(self.logits * sharpness)

    def rounded(self, problem: Problem, digits: int = 4, cell: Cell = "parallelogram") -> Colouring:
        """Return the likeliest colour of every cell; ties go to the lowest colour."""
        cells = self.logits.argmax(0).astype(np.uint8)
        lattice = rational_lattice(self.basis, digits)
        return Colouring(lattice, cells, problem.colors, problem.free_color, cell)


def softmax(x: Float[np.ndarray, "k ..."]) -> Float[np.ndarray, "k ..."]:
    """Return exp(x) / sum over the first axis."""
    y = np.exp(x - x.max(0))
    return y / y.sum(0)


def _minus_j1(t: Float[np.ndarray, "..."]) -> Any:
    import scipy.special

    return -scipy.special.j1(t)


def bessel(n: int) -> tuple[Callable[..., object], Callable[..., object]]:
    """Return the mean of exp(i <t u, .>) over the unit sphere of R^n as a function of t, and its
    derivative.
    """  # noqa: D205 - one sentence
    import scipy.special

    if n == 2:
        return scipy.special.j0, _minus_j1

    def sinc(t: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        return np.sinc(t / np.pi)

    def slope(t: Float[np.ndarray, "..."]) -> Float[np.ndarray, "..."]:
        safe = np.where(t > 1e-4, t, 1.0)
        return np.where(t > 1e-4, (np.cos(safe) - np.sin(safe) / safe) / safe, -t / 3)

    return sinc, slope


def window(
    problem: Problem, color: int, blur: float, samples: int = 5
) -> list[tuple[float, float]]:
    """Return distances with weights for one colour: each span widened by `blur` on both sides."""
    found: list[tuple[float, float]] = []
    for low, high in problem.spans(color):
        a, b = float(low) ** 0.5 - blur, float(high) ** 0.5 + blur
        count = (
            samples
            if b - a <= 2.5 * blur + 1e-12 or blur == 0
            else max(samples, int((b - a) / 0.03))
        )
        if b - a < 1e-12:
            count = 1
        found += [(float(d), 1.0 / count) for d in np.linspace(a, b, count)]
    return found


class Spectral:
    """The loss and its gradients for one problem and grid."""

    def __init__(self, problem: Problem, grid: Sequence[int], blur: float = 0.0) -> None:
        """Prepare frequencies; `blur` widens every distance to an interval."""
        self.problem, self.grid = problem, tuple(grid)
        self.n = len(self.grid)
        axes = [np.fft.fftfreq(k, 1 / k) for k in self.grid[:-1]]
        axes.append(np.fft.rfftfreq(self.grid[-1], 1 / self.grid[-1]))
        self.m = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
        # rfft keeps one of m and -m: count the others twice
        twice = np.full(self.m.shape[:-1], 2.0)
        twice[..., 0] = 1.0
        if self.grid[-1] % 2 == 0:
            twice[..., -1] = 1.0
        self.twice = twice
        groups: dict[tuple[tuple[float, float], ...], list[int]] = {}
        for c in range(problem.colors):
            key = tuple(window(problem, c, blur))
            if key:
                groups.setdefault(key, []).append(c)
        self.groups = list(groups.items())

    def __call__(
        self, p: Float[np.ndarray, "k ..."], basis: Float[np.ndarray, "n n"], lattice: bool = True
    ) -> tuple[float, Float[np.ndarray, "k ..."], Float[np.ndarray, "n n"]]:
        """Return the loss, its gradient in p, and in the lattice rows."""
        cells = float(np.prod(self.grid))
        inverse = np.linalg.inv(basis)
        kappa = self.m @ inverse.T
        length = np.sqrt((kappa**2).sum(-1))
        value, slope = bessel(self.n)
        axes = tuple(range(1, self.n + 1))
        image = rfftn(p[: self.problem.colors], axes=axes) / cells
        grad = np.zeros_like(p)
        grad_basis = np.zeros((self.n, self.n))
        loss = 0.0
        safe = np.where(length > 0, length, 1.0)
        for distances, colors in self.groups:
            kernel = np.zeros(length.shape)
            change = np.zeros(length.shape)
            for d, weight in distances:
                t = 2 * np.pi * d * length
                kernel += weight * np.asarray(value(t))
                if lattice:
                    change += weight * np.asarray(slope(t)) * 2 * np.pi * d
            power = (np.abs(image[colors]) ** 2).sum(0) * self.twice
            loss += float((power * kernel).sum())
            grad[colors] = irfftn(image[colors] * kernel, s=self.grid, axes=axes) * 2.0
            if lattice:
                # d|kappa| = -kappa^T B^-1 dB kappa / |kappa|
                w = (power * change / safe).reshape(-1, 1)
                flat = kappa.reshape(-1, self.n)
                grad_basis -= (w * (flat @ inverse)).T @ flat
        return loss, grad, grad_basis


class Adam:
    """Adam for a list of arrays, in place."""

    def __init__(self, values: Sequence[Float[np.ndarray, "..."]], rates: Sequence[float]) -> None:
        """Start with zero moments."""
        self.values, self.rates = list(values), list(rates)
        self.first = [np.zeros_like(v) for v in values]
        self.second = [np.zeros_like(v) for v in values]
        self.count = 0

    def step(self, grads: Sequence[Float[np.ndarray, "..."]]) -> None:
        """Move every array against its gradient."""
        self.count += 1
        for v, g, m, s, rate in zip(
            self.values, grads, self.first, self.second, self.rates, strict=True
        ):
            m += 0.1 * (g - m)
            s += 0.001 * (g * g - s)
            top = m / (1 - 0.9**self.count)
            v -= rate * top / (np.sqrt(s / (1 - 0.999**self.count)) + 1e-12)


def refine_lattice(
    soft: Soft,
    problem: Problem,
    steps: int = 300,
    blur: float = 0.04,
    rate: float = 0.05,
    lattice_rate: float = 0.003,
    free_price: float = 0.0,
) -> tuple[Soft, float]:
    """Optimise colours and lattice together on the spectral loss.

    Args:
        soft: The start.
        problem: Its pair rules; each distance is widened by `blur`.
        steps: Of Adam.
        blur: About half the mean thickness of the forbidden annulus, in distance.
        rate: Of the logits.
        lattice_rate: Of the lattice rows, in distance a step.
        free_price: What a free point costs.

    Returns:
        The result and its last loss.

    Cost: one FFT a colour and step; 0.5 to 1 ms at 48 x 48.
    """
    grid = soft.logits.shape[1:]
    loss_of = Spectral(problem, grid, blur)
    logits, basis = _variables(soft), soft.basis.copy()
    adam = Adam([logits, basis], [rate, lattice_rate])
    cells = float(np.prod(grid))
    loss = np.inf
    for _ in range(steps):
        p = softmax(_on_period(logits, soft.exchange))
        loss, grad, grad_basis = loss_of(p, basis)
        grad *= cells  # back from a mean to a sum
        if problem.free_color:
            grad[-1] += free_price
            loss += free_price * float(p[-1].mean())
        adam.step([_on_variables(_through(p, grad), soft.exchange), grad_basis])
    return Soft(_on_period(logits, soft.exchange), basis, soft.exchange), float(loss)


def relax(
    soft: Soft,
    problem: Problem,
    lattice: Matrix,
    steps: int = 300,
    sharpness: tuple[float, float] = (0.5, 3.0),
    rate: float = 0.1,
    free_price: float = 0.0,
    cell: Cell = "parallelogram",
    units: tuple[Fraction, ...] = (),
) -> tuple[Soft, float]:
    """Anneal colours on a fixed exact lattice by the relaxation of the certificate itself.

    Args:
        soft: The start.
        problem: Its pair rules.
        lattice: Exact; decides the forbidden offsets.
        steps: Of Adam.
        sharpness: Of the softmax, from and to, growing geometrically.
        rate: Of the logits.
        free_price: What a free cell costs, where one conflicting partner costs 1.
        cell: Kind of the cells.
        units: Squared units of the lattice's coordinates; empty: 1.

    Returns:
        The result (logits multiplied by the last sharpness) and its last loss a cell.

    Cost: two FFTs a colour and step.
    """
    grid = soft.logits.shape[1:]
    axes = tuple(range(1, len(grid) + 1))
    steps_exact = tuple(tuple(x / n for x in v) for v, n in zip(lattice, grid, strict=True))
    kernels: list[tuple[list[int], Float[np.ndarray, ...]]] = []
    for spans, colors in problem.classes():
        kernel = np.zeros(grid, np.float32)
        kernel[tuple(reduced(forbidden(Shape(steps_exact, cell, units), spans), grid).T)] = 1.0
        # F = -F, so the transform is real
        kernels.append((list(colors), np.ascontiguousarray(rfftn(kernel).real)))
    logits = _variables(soft).astype(np.float32)
    adam = Adam([logits], [rate])
    loss = np.inf
    for step in range(steps):
        ratio = step / max(1, steps - 1)
        beta = sharpness[0] * (sharpness[1] / sharpness[0]) ** ratio
        p = softmax(_on_period(logits, soft.exchange) * np.float32(beta))
        grad = np.zeros_like(p)
        loss = 0.0
        for colors, kernel in kernels:
            image = rfftn(p[colors], axes=axes)
            spread = irfftn(image * kernel, s=grid, axes=axes)
            loss += float((spread * p[colors]).sum())
            grad[colors] = 2 * spread
        if problem.free_color:
            grad[-1] += np.float32(free_price)
            loss += free_price * float(p[-1].sum())
        adam.step([np.float32(beta) * _on_variables(_through(p, grad), soft.exchange)])
    sharp = _on_period(logits, soft.exchange) * np.float32(sharpness[1])
    return Soft(sharp, soft.basis, soft.exchange), loss / float(np.prod(grid))


def _variables(soft: Soft) -> Float[np.ndarray, "k ..."]:
    """The logits that are free: all, or those of the first small cell."""
    return soft.logits.copy() if soft.exchange is None else soft.exchange.small(soft.logits)


def _on_period(
    logits: Float[np.ndarray, "k ..."], exchange: Exchange | None
) -> Float[np.ndarray, "k ..."]:
    return logits if exchange is None else exchange.whole(logits)


def _on_variables(
    grad: Float[np.ndarray, "k ..."], exchange: Exchange | None
) -> Float[np.ndarray, "k ..."]:
    return grad if exchange is None else exchange.summed(grad)


def _through(
    p: Float[np.ndarray, "k ..."], grad: Float[np.ndarray, "k ..."]
) -> Float[np.ndarray, "k ..."]:
    """The gradient in the logits from that in the probabilities."""
    return p * (grad - (p * grad).sum(0))
