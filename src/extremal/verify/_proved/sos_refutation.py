"""Checker of `sos/refutation`: p - bound is not a sum of squares of real polynomials.

Proves it in three steps. A square's monomials m satisfy 2 w.m <= max w.a over the support of p for
every vector w, since leading forms of squares do not cancel; the stated half-spaces leave finitely
many lattice points. Among these, m with 2m neither in the support nor the sum of two other points
has Gram entry 0 and goes. On what is left the stated functional y has a positive semidefinite
moment matrix [y(a + b)] but y(p - bound) < 0; a sum of squares would have y >= 0.
Does not say: whether p - bound is negative anywhere.
"""

import math
from collections import defaultdict
from fractions import Fraction
from pathlib import Path
from typing import Any

from extremal.verify import _fields as fields
from extremal.verify._rejected import Rejected

from ._polynomials import (
    MAX_ROWS,
    Monomial,
    Polynomial,
    Row,
    described,
    opened,
    polynomial,
    rank_if_semidefinite,
    rational,
    short,
)

STRENGTH = "proved"
CLAIM = ("variables", "polynomial", "bound", "monomials", "sha256")
WITNESS = ("halfspaces", "functional")
_MAX_STEPS = 2_000_000  # of the enumeration


def check(claim: dict[str, Any], witness: dict[str, Any], folder: Path) -> list[str]:
    """Return what was established; raise `Rejected` naming the first failed condition."""
    del folder
    variables, p = opened(claim)
    n = len(variables)
    bound = rational(claim["bound"], "bound")
    origin = (0,) * n
    p[origin] = p.get(origin, Fraction(0)) - bound
    p = {m: c for m, c in p.items() if c}
    if not p:
        raise Rejected("p - bound is zero, which is a sum of squares.")
    basis = _consistent(_lattice_points(p, _halfspaces(witness, n), n), p)
    if fields.natural(claim, "monomials") != len(basis):
        raise Rejected(f"{len(basis)} monomials are left, not {claim['monomials']}.")
    y = polynomial(variables, fields.mapping(witness, "functional"), "functional")

    scale = math.lcm(*(v.denominator for v in y.values()))
    rows: list[Row] = [{} for _ in basis]
    for i, a in enumerate(basis):
        for j in range(i, len(basis)):
            v = y.get(tuple(s + t for s, t in zip(a, basis[j], strict=True)))
            if v is not None:
                rows[i][j] = rows[j][i] = int(v * scale)
    rank_if_semidefinite(rows, "the moment matrix of the functional")
    value = sum((c * y[m] for m, c in p.items() if m in y), Fraction(0))
    if value >= 0:
        raise Rejected(f"the functional is {short(value)} on p - bound, not negative.")
    less = "" if bound == 0 else f" - ({short(bound)})"
    return [
        described(variables, p) if bound == 0 else "p of the claim",
        f"squares in p{less} could use only {len(basis)} monomials",
        f"a functional that is nonnegative on their squares is {short(value)} on p{less}",
        f"so p{less} is not a sum of squares of real polynomials",
    ]


def _halfspaces(witness: dict[str, Any], n: int) -> list[list[int]]:
    found: list[list[int]] = []
    for line in fields.items(witness, "halfspaces"):
        words = line.split(" ") if isinstance(line, str) else []
        if len(words) != n:
            raise Rejected(f"the half-space {line!r} is not {n} integers.")
        w = [rational(x, "a half-space") for x in words]
        if any(x.denominator != 1 for x in w):
            raise Rejected(f"the half-space {line!r} is not of integers.")
        found.append([x.numerator for x in w])
    return found


def _lattice_points(p: Polynomial, halfspaces: list[list[int]], n: int) -> list[Monomial]:
    """All m >= 0 with 2 w.m <= max w.a over the support, for coordinates and half-spaces."""
    high = [max(a[i] for a in p) // 2 for i in range(n)]
    low = [-(-min(a[i] for a in p) // 2) for i in range(n)]
    limits = [
        (w, max(sum(x * e for x, e in zip(w, a, strict=True)) for a in p)) for w in halfspaces
    ]
    # least[k][i]: the least that coordinates from i on can still add to 2 w.m
    least: list[list[int]] = []
    for w, _ in limits:
        tail = [0] * (n + 1)
        for i in range(n - 1, -1, -1):
            tail[i] = tail[i + 1] + 2 * min(w[i] * low[i], w[i] * high[i])
        least.append(tail)
    found: list[Monomial] = []
    steps = 0
    stack: list[tuple[Monomial, list[int]]] = [((), [0] * len(limits))]
    while stack:
        prefix, sums = stack.pop()
        steps += 1
        if steps > _MAX_STEPS:
            raise Rejected(f"the half-spaces leave over {_MAX_STEPS:,} steps of enumeration.")
        i = len(prefix)
        if i == n:
            found.append(prefix)
            if len(found) > MAX_ROWS * 20:
                raise Rejected(f"the half-spaces leave over {MAX_ROWS * 20:,} lattice points.")
            continue
        for e in range(low[i], high[i] + 1):
            new = [s + 2 * w[i] * e for s, (w, _) in zip(sums, limits, strict=True)]
            if all(
                s + least[k][i + 1] <= limit
                for k, (s, (_, limit)) in enumerate(zip(new, limits, strict=True))
            ):
                stack.append(((*prefix, e), new))
    return sorted(found)


def _consistent(points: list[Monomial], p: Polynomial) -> list[Monomial]:
    """Delete m while 2m is neither in the support nor the sum of two other points left."""
    alive = set(points)
    ways: dict[Monomial, int] = dict.fromkeys(points, 0)
    by_parity: defaultdict[tuple[int, ...], list[Monomial]] = defaultdict(list)
    for m in points:
        by_parity[tuple(e % 2 for e in m)].append(m)
    middles: defaultdict[Monomial, list[tuple[Monomial, Monomial]]] = defaultdict(list)
    for group in by_parity.values():  # only points of one parity have a lattice point between
        for i, a in enumerate(group):
            for b in group[i + 1 :]:
                middle = tuple((s + t) // 2 for s, t in zip(a, b, strict=True))
                if middle in alive:
                    ways[middle] += 1
                    middles[a].append((b, middle))
                    middles[b].append((a, middle))
    queue = [m for m in points if not ways[m] and tuple(2 * e for e in m) not in p]
    while queue:
        m = queue.pop()
        if m not in alive:
            continue
        alive.discard(m)
        for other, middle in middles[m]:
            if other in alive:
                ways[middle] -= 1
                unused = not ways[middle] and tuple(2 * e for e in middle) not in p
                if unused and middle in alive:
                    queue.append(middle)
    return [m for m in points if m in alive]
