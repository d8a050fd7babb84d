"""From nothing to cells for rules about configurations: the pure work behind `find` for them.

Notation: W_i is the turned point q_i in cells of the torus; p_c(x + W_i) is read between its four
neighbours.

A start is a random soft colouring on a random torus. Colours and lattice are optimised together on
sampled positions of the configurations, each moved by up to a cell of the grid that is meant in the
end, because that is how far the cells of a certificate reach. The best starts are annealed on a
fixed lattice by the relaxation of the certificate itself, every edge of the torus counted, and
repaired by local search. Pair rules go along, by the spectral loss first and as edges then.
"""

# Types of compiled functions are those of their first call; numba infers them.
# pyright: reportMissingParameterType=false, reportUnknownParameterType=false

import math
import time
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from extremal.lab import generator

from ._colouring import Colouring, Matrix, rational_lattice
from ._errors import ColoringError
from ._jit import jit
from ._patterns import Edges, edges_of, relaxed_edges, search_patterns
from ._problem import Problem, Rule
from ._search import Candidate, resample
from ._spectral import Adam, Soft, Spectral, softmax
from ._stripes import linear_start

ANGLES = 32  # positions of a rule a step
_COARSE = 20


@jit
def _sampled(p, w, patterns, grad, slope):
    """The mean product of probabilities over positions and cells, and its gradients.

    `w` holds the moved points in cells, (positions, m, 2); `slope` gets the gradient in them.
    """
    n0, n1 = p.shape[1], p.shape[2]
    k = p.shape[0]
    m = w.shape[1]
    scale = 1.0 / (w.shape[0] * n0 * n1)
    s = np.empty((m + 1, k))
    sa = np.empty((m + 1, k))  # slopes of s along both axes
    sb = np.empty((m + 1, k))
    g = np.empty((m + 1, k))
    before = np.empty(m + 2)
    ia = np.empty((m, 2), np.int64)
    ib = np.empty((m, 2), np.int64)
    loss = 0.0
    for t in range(w.shape[0]):
        for x in range(n0):
            for y in range(n1):
                for c in range(k):
                    s[0, c] = p[c, x, y]
                    g[0, c] = 0.0
                for i in range(m):
                    u, v = x + w[t, i, 0], y + w[t, i, 1]
                    fu, fv = math.floor(u), math.floor(v)
                    fa, fb = u - fu, v - fv
                    ia[i, 0] = int(fu) % n0
                    ia[i, 1] = (int(fu) + 1) % n0
                    ib[i, 0] = int(fv) % n1
                    ib[i, 1] = (int(fv) + 1) % n1
                    for c in range(k):
                        p00, p01 = p[c, ia[i, 0], ib[i, 0]], p[c, ia[i, 0], ib[i, 1]]
                        p10, p11 = p[c, ia[i, 1], ib[i, 0]], p[c, ia[i, 1], ib[i, 1]]
                        low, high = p00 + fb * (p01 - p00), p10 + fb * (p11 - p10)
                        s[i + 1, c] = low + fa * (high - low)
                        sa[i + 1, c] = high - low
                        sb[i + 1, c] = (1 - fa) * (p01 - p00) + fa * (p11 - p10)
                        g[i + 1, c] = 0.0
                for q in range(patterns.shape[0]):
                    before[0] = 1.0
                    for i in range(m + 1):
                        before[i + 1] = before[i] * s[i, patterns[q, i]]
                    loss += before[m + 1] * scale
                    after = 1.0
                    for r in range(m + 1):
                        i = m - r
                        g[i, patterns[q, i]] += before[i] * after
                        after *= s[i, patterns[q, i]]
                for c in range(k):
                    grad[c, x, y] += g[0, c] * scale
                for i in range(m):
                    u, v = x + w[t, i, 0], y + w[t, i, 1]
                    fa, fb = u - math.floor(u), v - math.floor(v)
                    for c in range(k):
                        e = g[i + 1, c] * scale
                        if e != 0.0:
                            grad[c, ia[i, 0], ib[i, 0]] += e * (1 - fa) * (1 - fb)
                            grad[c, ia[i, 0], ib[i, 1]] += e * (1 - fa) * fb
                            grad[c, ia[i, 1], ib[i, 0]] += e * fa * (1 - fb)
                            grad[c, ia[i, 1], ib[i, 1]] += e * fa * fb
                            slope[t, i, 0] += e * sa[i + 1, c]
                            slope[t, i, 1] += e * sb[i + 1, c]
    return loss


def positions(rule: Rule, count: int, turn: float) -> Float[np.ndarray, "t m 2"]:
    """Return the points of a rule in equally spaced positions, the first turned by `turn`.

    Translations have one position only; a rigid rule has as many mirrored ones.
    """
    q = np.array([[float(x) for x in point] for point in rule.points])
    if rule.motions == "translations":
        return q[None]
    theta = turn + 2 * np.pi * np.arange(count) / count
    cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
    found = [
        np.stack([cos * a[:, 0] - sin * a[:, 1], sin * a[:, 0] + cos * a[:, 1]], -1)
        for a in ([q, q * [1.0, -1.0]] if rule.motions == "rigid" else [q])
    ]
    return np.concatenate(found)


class Sampled:
    """The expected number of broken rules at random positions, with gradients."""

    def __init__(self, problem: Problem, grid: tuple[int, int], blur: float, seed: int) -> None:
        """Prepare rules; `blur` is how far points are moved along each axis, in cells."""
        self.problem, self.grid, self.blur = problem, grid, blur
        self.rng = generator(seed, "positions")
        self.rules: list[tuple[Rule, Int[np.ndarray, "p m"]]] = [
            (rule, np.array(rule.patterns(problem.colors), np.int64))
            for rule in problem.configurations
        ]
        # Distances are widened by about what moving both ends by half of `blur` does.
        self.pairs = Spectral(problem, grid, 0.06) if problem.classes() else None

    def __call__(
        self, p: Float[np.ndarray, "k n m"], basis: Float[np.ndarray, "2 2"]
    ) -> tuple[float, Float[np.ndarray, "k n m"], Float[np.ndarray, "2 2"]]:
        """Return a sample of the loss, its gradient in p, and in the lattice rows."""
        grad, grad_basis, loss = np.zeros_like(p), np.zeros((2, 2)), 0.0
        inverse = np.linalg.inv(basis)
        sides = np.array(self.grid, float)
        for rule, patterns in self.rules:
            q = positions(rule, ANGLES, float(self.rng.uniform(0, 2 * np.pi)))
            if rule.scales:
                q = q * self.rng.uniform(*rule.scale_range, (len(q), 1, 1))
            v = q @ inverse
            w = v * sides + self.rng.uniform(-self.blur, self.blur, v.shape)
            slope = np.zeros_like(w)
            loss += float(_sampled(p, w, patterns, grad, slope))
            # w = N q B^-1, so d w = - N q B^-1 dB B^-1
            turned = (slope * sides) @ inverse.T
            grad_basis -= np.einsum("tia,tib->ab", v, turned)
        if self.pairs is not None:
            more, grad_more, basis_more = self.pairs(p, basis)
            loss += more
            grad += grad_more / float(np.prod(self.grid))
            grad_basis += basis_more
        return loss, grad, grad_basis


def random_pattern_start(problem: Problem, seed: int, number: int) -> Soft:
    """Return a random soft colouring on a random torus of the plane.

    The largest distance of a rule is the unit; a period is between 0.5 and 2.2 of it on each side.
    """
    rng = generator(seed, "pattern start", number)
    unit = max(
        scale * max(math.dist(a, b) for a in points for b in points)
        for points, scale in (
            ([(0.0, 0.0), *([float(x) for x in q] for q in r.points)], r.scale_range[1])
            for r in problem.configurations
        )
    )  # fmt: skip
    short, angle = rng.uniform(0.5, 1.6), rng.uniform(math.pi / 3, math.pi / 2)
    long = short * rng.uniform(1.0, 1.8)
    basis = unit * np.array([[short, 0.0], [long * math.cos(angle), long * math.sin(angle)]])
    return Soft(0.5 * rng.normal(size=(problem.palette, _COARSE, _COARSE)), basis)


def refine_sampled(
    soft: Soft, problem: Problem, steps: int, grid: int, seed: int = 0,
    rate: float = 0.1, lattice_rate: float = 0.01, free_price: float = 0.05,
) -> tuple[Soft, float]:  # fmt: skip
    """Optimise colours and lattice together on sampled positions.

    Args:
        soft: The start.
        problem: Of the plane.
        steps: Of Adam.
        grid: Cells along an axis that are meant in the end; positions are blurred by as much.
        seed: Of the positions.
        rate: Of the logits.
        lattice_rate: Of the lattice rows.
        free_price: What a free point costs.

    Returns:
        The result, and the mean loss of its last quarter.

    Cost: positions * cells * colours a step; 10 ms for three colours.
    """
    n0, n1 = soft.logits.shape[1:]
    loss_of = Sampled(problem, (n0, n1), n0 / grid, seed)
    logits, basis = soft.logits.copy(), soft.basis.copy()
    adam = Adam([logits, basis], [rate, lattice_rate])
    tail: list[float] = []
    for step in range(steps):
        p = softmax(logits)
        loss, grad, grad_basis = loss_of(p, basis)
        grad *= n0 * n1
        if problem.free_color:
            grad[-1] += free_price
            loss += free_price * float(p[-1].mean())
        adam.step([p * (grad - (p * grad).sum(0)), grad_basis])
        if step >= 3 * steps // 4:
            tail.append(loss)
    return Soft(logits, basis), float(np.mean(tail))


def anneal_patterns(
    soft: Soft, problem: Problem, lattice: Matrix, edges: Edges, steps: int = 60,
    sharpness: tuple[float, float] = (1.0, 4.0), free_price: float = 0.05,
    deadline: float = math.inf,
) -> Soft:  # fmt: skip
    """Anneal colours on an exact lattice by the expected number of broken edges.

    Cost: `relaxed_edges` a step.
    """
    logits = soft.logits.copy()
    cells = float(logits[0].size)
    adam = Adam([logits], [0.1])
    # Prices are for one of all edges through a cell, as a rate, not a count.
    price = free_price * len(edges.sizes) / max(1, problem.colors)
    for step in range(steps):
        beta = sharpness[0] * (sharpness[1] / sharpness[0]) ** (step / max(1, steps - 1))
        p = softmax(logits * beta)
        _, grad = relaxed_edges(p, edges)
        if problem.free_color:
            grad[-1] += price
        adam.step([beta * p * (grad - (p * grad).sum(0)) / cells])
        if time.monotonic() > deadline:
            break
    basis = np.array([[float(x) for x in row] for row in lattice])
    return Soft(logits * sharpness[1], basis)


def finish_patterns(
    soft: Soft, problem: Problem, grid: int, seed: int = 0, iterations: int = 4000,
    free_price: float = 0.05, deadline: float = math.inf,
) -> Candidate:  # fmt: skip
    """Turn a soft colouring into cells that break as little as can be.

    Raises:
        ColoringError: The cells are too large for a rule.
    """
    lattice = rational_lattice(soft.basis)
    steps = tuple(tuple(x / grid for x in row) for row in lattice)
    edges = edges_of(steps, (grid, grid), problem)
    start = Soft(resample(soft.logits, grid), soft.basis)
    soft = anneal_patterns(start, problem, lattice, edges, free_price=free_price, deadline=deadline)
    cells = soft.logits.argmax(0).astype(np.uint8)
    colouring = Colouring(lattice, cells, problem.colors, problem.free_color)
    found, broken = search_patterns(colouring, problem, iterations, seed, edges)
    return Candidate(found, broken, 0.0)


def pattern_round(
    problem: Problem, seed: int, grid: int, deadline: float, *, starts: int = 12, tries: int = 2,
    iterations: int = 4000, free_price: float = 0.05, first: bool = False,
) -> Candidate:  # fmt: skip
    """Return the best colouring of one round of starts.

    Args:
        problem: Of the plane, with at least one configuration.
        seed: Of everything.
        grid: Cells along each axis.
        deadline: When to end, by the monotonic clock; one start is always finished.
        starts: Random soft colourings.
        tries: How many of the best are finished.
        iterations: Of the local search.
        free_price: What free space costs.
        first: Try linear colourings of large cells before.

    Raises:
        ColoringError: The problem is not of the plane, or no start has cells that fit.
    """
    if problem.dim != 2:
        raise ColoringError("configurations are searched in the plane only.")
    best: Candidate | None = None
    if first and not problem.free_color:
        best = linear_start(problem, seed, min(deadline, time.monotonic() + 2.0))
        if best is not None and best.residue == 0:
            return best
    found: list[tuple[float, Soft]] = []
    half = (time.monotonic() + deadline) / 2  # finishing a start takes as long as many starts
    for number in range(starts):
        soft, loss = refine_sampled(
            random_pattern_start(problem, seed, number), problem, 150, grid, seed,
            free_price=free_price,
        )  # fmt: skip
        found.append((loss, soft))
        if time.monotonic() > half:
            break
    trouble: ColoringError | None = None
    for loss, soft in sorted(found, key=_loss)[:tries]:
        try:
            candidate = finish_patterns(soft, problem, grid, seed, iterations, free_price, deadline)
        except ColoringError as error:
            trouble = error
            continue
        candidate = Candidate(candidate.colouring, candidate.residue, loss)
        if best is None or candidate.key() < best.key():
            best = candidate
        if (best.residue == 0 and not problem.free_color) or time.monotonic() > deadline:
            break
    if best is None:
        assert trouble is not None  # every start ended in one
        raise trouble
    return best


def _loss(pair: tuple[float, Any]) -> float:
    return pair[0]
