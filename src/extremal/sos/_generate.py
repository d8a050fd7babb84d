"""Sums of squares with a known basis: reverse sampling, in exact numbers.

Notation: N monomials of basis degree at most d in n variables; Q = F F' with F of decimals, so that
p = z' Q z is a sum of squares exactly and not only up to rounding.

Source: Pelleriti et al., arXiv:2510.13444. Differs from it: Q is drawn anew for every example, F is
rational (rounding a singular Q to five decimals gives polynomials that are no sums of squares), and
small spaces of monomials do not loop for ever.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

import numpy as np
from jaxtyping import Int

from extremal.lab import generator

from ._polynomial import Polynomial
from ._sumset import Rows, pairs, unique_rows

Structure = Literal["dense", "sparse", "low-rank", "block"]
STRUCTURES: tuple[Structure, ...] = ("dense", "sparse", "low-rank", "block")
_DECIMALS = 100  # F has entries k / 100


@dataclass(frozen=True)
class Planted:
    """A sum of squares and the basis it was made from.

    Attributes:
        p: The polynomial.
        basis: Monomials that suffice; not always the smallest such set.
    """

    p: Polynomial
    basis: Rows


def space_size(n: int, d: int) -> int:
    """Return how many monomials have degree 1 to d."""
    return math.comb(n + d, d) - 1


def random_basis(n: int, d: int, target: int, rng: np.random.Generator) -> Rows:
    """Draw distinct monomials of degree 1 to d, about `target` of them.

    Raises:
        ValueError: Fewer than one variable, degree or monomial is asked for.
    """
    if min(n, d, target) < 1:
        raise ValueError(
            f"a basis needs variables, degree and size of at least 1, got {n}, {d}, {target}."
        )
    spread = 2 * math.sqrt(target)
    size = int(rng.integers(max(1, math.ceil(target - spread)), math.floor(target + spread) + 1))
    size = min(size, space_size(n, d))
    weights = np.array([math.comb(n + e - 1, e) for e in range(1, d + 1)], dtype=float)
    found: dict[tuple[int, ...], None] = {}
    for _ in range(1000):
        degrees = rng.choice(d, size=2 * size + 8, p=weights / weights.sum()) + 1
        for row in rng.multinomial(degrees, np.full(n, 1 / n)):
            found.setdefault(tuple(row.tolist()))
            if len(found) == size:
                return unique_rows(np.array(list(found), dtype=np.int64))
    return unique_rows(np.array(list(found), dtype=np.int64))  # a small space, nearly all of it


def clique_basis(n: int, rng: np.random.Generator) -> Rows:
    """Draw monomials in 5 to 8 small groups of variables, each of degree at most 8."""
    found: set[tuple[int, ...]] = set()
    for _ in range(int(rng.integers(5, 9))):
        clique = rng.choice(n, size=min(n, int(rng.integers(1, 4))), replace=False)
        for _ in range(5):
            m = [0] * n
            degree = int(rng.integers(1, 9))
            for i, e in zip(
                clique, rng.multinomial(degree, np.full(len(clique), 1 / len(clique))), strict=True
            ):
                m[int(i)] = int(e)
            found.add(tuple(m))
    if rng.random() < 0.8:
        found.add((0,) * n)
    return unique_rows(np.array(sorted(found), dtype=np.int64))


def factor(
    size: int, structure: Structure, rng: np.random.Generator
) -> Int[np.ndarray, "size rank"]:
    """Draw F in hundredths for a structure."""
    if structure == "dense":
        f = rng.normal(0, 0.5, (size, size))
    elif structure == "sparse":
        f = rng.normal(0, 0.5, (size, size))
        f *= rng.random((size, size)) < rng.uniform(0.05, 0.10)
    elif structure == "low-rank":
        rank = min(size, int(rng.integers(1, 6)))
        q, _ = np.linalg.qr(rng.standard_normal((size, rank)))
        f = q * np.sqrt(rng.uniform(0, 1, rank))
    elif structure == "block":
        f = np.zeros((size, size))
        at = 0
        while at < size:
            k = int(rng.integers(1, min(10, size - at) + 1))
            f[at : at + k, at : at + k] = rng.normal(0, 0.5, (k, k))
            at += k
    else:
        raise ValueError(f"{structure!r} is no structure; there are {', '.join(STRUCTURES)}.")
    return np.rint(f * _DECIMALS).astype(np.int64)


def expand(rows: Rows, f: Int[np.ndarray, "size rank"]) -> Planted:
    """Return z' F F' z with F in hundredths; monomials that F leaves out are dropped."""
    used = f.any(axis=1)
    rows, f = rows[used], f[used]
    q = f @ f.T
    index = pairs(rows, [len(rows)])
    weight = np.where(index.a == index.b, 1, 2)
    c = np.zeros(len(index.sums), dtype=np.int64)
    np.add.at(c, index.s, weight * q[index.a, index.b])
    denominator = _DECIMALS**2
    n = rows.shape[1]
    terms = {
        tuple(m): Fraction(v, denominator)
        for m, v in zip(index.sums.tolist(), c.tolist(), strict=True)
        if v
    }
    return Planted(Polynomial(tuple(f"x{i + 1}" for i in range(n)), terms), rows)


def planted(
    structure: Structure,
    variables: int,
    degree: int,
    basis: int,
    seed: int,
    number: int = 0,
    cliques: bool = False,
) -> Planted:
    """Return one example.

    Args:
        structure: `"dense"`, `"sparse"`, `"low-rank"` or `"block"`, of Q.
        variables: n.
        degree: Of the polynomial, even; the monomials have at most half of it.
        basis: About how many monomials.
        seed: Of the stream.
        number: Which example of it.
        cliques: Draw monomials of degree at most 8 in small groups of variables instead; `degree`
            and `basis` then say nothing but which stream.

    Raises:
        ValueError: The degree is odd or a number is not positive.

    Example:
        >>> planted("sparse", 4, 6, 8, seed=0).p.degree <= 6
        True
    """
    if degree < 2 or degree % 2:
        raise ValueError(f"the degree of a sum of squares is even and at least 2, got {degree}.")
    rng = generator(seed, "sos", structure, variables, degree, basis, number)
    while True:
        rows = (
            clique_basis(variables, rng)
            if cliques
            else random_basis(variables, degree // 2, basis, rng)
        )
        example = expand(rows, factor(len(rows), structure, rng))
        if len(example.basis):
            return example
