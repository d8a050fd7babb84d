"""Regions as `frankwolfe/optimum` knows them: how far a point is outside, and linear minima.

Written from the definitions, for one float64 array at a time; shares no code with the solver.
Each function takes (x, g, region's options) and returns (violation of x, min of <g, v>). Regions
that need a stored witness are in `_frankwolfe_witnessed.py`.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from extremal.verify._rejected import Rejected

Region = dict[str, Any]
Pair = tuple[float, float]
Rule = Callable[[np.ndarray, np.ndarray, Region], Pair]


def measure(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    """Return how far x is outside, relative to the region's size, and the least <g, v>."""
    name = region.get("region")
    if not isinstance(name, str) or name not in RULES:
        raise Rejected(f"the region {name!r} is none that this checker knows.")
    rule, allowed = RULES[name]
    unknown = sorted(set(region) - {"region", *allowed})
    if unknown:
        raise Rejected(f"the region {name} has the unknown options {', '.join(unknown)}.")
    violation, least = rule(x, g, region)
    if not (math.isfinite(violation) and math.isfinite(least)):
        raise Rejected("the region's numbers are not finite.")
    return violation, least


def _positive(region: Region, name: str = "radius") -> float:
    value = region.get(name)
    if type(value) not in (int, float) or not 0 < float(value) < math.inf:  # type: ignore[arg-type]
        raise Rejected(f"the region's {name} is {value!r}, not a finite number > 0.")
    return float(value)  # type: ignore[arg-type]


def _count(region: Region, n: int) -> int:
    value = region.get("k")
    if type(value) is not int or not 1 <= value <= n:
        raise Rejected(f"the region's k is {value!r}, not in 1..{n}.")
    return value


def _numbers(region: Region, name: str) -> np.ndarray:
    value = np.array(region.get(name), dtype=np.float64)
    if value.size == 0 or not np.isfinite(value).all():
        raise Rejected(f"the region's {name} are not finite numbers.")
    return value


def _norm_ball(norm: Callable[[np.ndarray], float], dual: Callable[[np.ndarray], float]) -> Rule:
    def rule(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
        r = _positive(region)
        return norm(x) / r - 1, -r * dual(g)

    return rule


def _absolute(x: np.ndarray) -> np.ndarray:
    return np.sort(np.abs(x), axis=None)[::-1]


def _matrix(x: np.ndarray) -> np.ndarray:
    if x.ndim < 2:
        raise Rejected("the region holds matrices and x is a vector.")
    return x.reshape(x.shape[0], -1)


def _singular(x: np.ndarray) -> np.ndarray:
    return np.linalg.svd(_matrix(x), compute_uv=False)


def _groups(x: np.ndarray) -> np.ndarray:
    return np.sort(np.linalg.norm(_matrix(x), axis=1))[::-1]


def _eigen(x: np.ndarray) -> np.ndarray:
    if x.ndim != 2 or x.shape[0] != x.shape[1]:
        raise Rejected("the region holds square matrices and x is none.")
    return np.linalg.eigvalsh((x + x.T) / 2)


def _asymmetry(x: np.ndarray) -> float:
    return float(np.abs(x - x.T).max())


def _support_norm(a: np.ndarray, k: int) -> float:
    """The k-support norm of descending a >= 0: min over x = sum of k-sparse parts of their norms.

    By its definition as the dual of the norm of the k largest entries: the square is
    the maximum over cuts of (sum of squares of the first j) + (rest sum)^2 / (k - j), at the cut
    where the averaged rest lies between its neighbours.
    """
    for j in range(k):
        rest = float(a[j:].sum())
        mean = rest / (k - j)
        if (j == 0 or a[j - 1] > mean) and mean >= a[j]:
            return math.sqrt(float((a[:j] ** 2).sum()) + rest * mean)
    # Rounding between two ties: the last cut is the limit of both.
    return math.sqrt(float((a[: k - 1] ** 2).sum()) + float(a[k - 1 :].sum()) ** 2)


def _top(a: np.ndarray, k: int) -> float:
    return math.sqrt(float((a[:k] ** 2).sum()))


def _lp(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r = _positive(region)
    p = math.inf if region.get("p") == "inf" else _positive(region, "p")
    if p < 1:
        raise Rejected(f"the exponent {p} is below 1.")
    q = math.inf if p == 1 else 1.0 if p == math.inf else p / (p - 1)
    return _pnorm(x, p) / r - 1, -r * _pnorm(g, q)


def _pnorm(x: np.ndarray, p: float) -> float:
    a = np.abs(x)
    top = float(a.max())
    if p == math.inf or top == 0:
        return top
    return top * float(((a / top) ** p).sum()) ** (1 / p)


def _counted(
    values: Callable[[np.ndarray], np.ndarray],
    gauge: Callable[[np.ndarray, int], float],
    dual: Callable[[np.ndarray, int], float],
) -> Rule:
    def rule(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
        r, a, b = _positive(region), values(x), values(g)
        k = _count(region, len(a))
        return gauge(a, k) / r - 1, -r * dual(b, k)

    return rule


def _k_sparse(a: np.ndarray, k: int) -> float:
    return max(float(a[0]), float(a.sum()) / k)


def _k_largest(a: np.ndarray, k: int) -> float:
    return float(a[:k].sum())


def _simplex(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r = _positive(region)
    return max(abs(float(x.sum()) / r - 1), -float(x.min()) / r), r * float(g.min())


def _unit_simplex(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r = _positive(region)
    return max(float(x.sum()) / r - 1, -float(x.min()) / r), r * min(0.0, float(g.min()))


def _hypersimplex(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r, k = _positive(region), _count(region, x.size)
    outside = max(float(x.max()) / r - 1, -float(x.min()) / r)
    return max(outside, abs(float(x.sum()) / (k * r) - 1)), r * float(
        np.sort(g, axis=None)[:k].sum()
    )


def _unit_hypersimplex(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r, k = _positive(region), _count(region, x.size)
    outside = max(float(x.max()) / r - 1, -float(x.min()) / r, float(x.sum()) / (k * r) - 1)
    return outside, r * float(np.minimum(np.sort(g, axis=None)[:k], 0.0).sum())


def _permutahedron(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    default = np.arange(1.0, x.size + 1)
    w = np.sort(_numbers(region, "weights")) if "weights" in region else default
    if w.size != x.size:
        raise Rejected(f"{w.size} weights for {x.size} entries.")
    over = np.cumsum(np.sort(x, axis=None)[::-1]) - np.cumsum(w[::-1])
    size = max(float(np.abs(w).sum()), 1e-300)
    return (
        max(float(over.max()), abs(float(over[-1]))) / size,
        float(np.sort(g, axis=None)[::-1] @ w),
    )


def _spectraplex(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r, w = _positive(region), _eigen(x)
    outside = max(abs(float(w.sum()) / r - 1), -float(w[0]) / r)
    return max(outside, _asymmetry(x) / r), r * float(_eigen(g)[0])


def _unit_spectrahedron(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r, w = _positive(region), _eigen(x)
    outside = max(float(w.sum()) / r - 1, -float(w[0]) / r)
    return max(outside, _asymmetry(x) / r), r * min(0.0, float(_eigen(g)[0]))


def _fantope(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    w, k = _eigen(x), _count(region, len(x))
    outside = max(float(w[-1]) - 1, -float(w[0]), abs(float(w.sum()) / k - 1), _asymmetry(x))
    return outside, float(_eigen(g)[:k].sum())


def _owl(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r, w = _positive(region), _numbers(region, "weights")
    if w.shape != (x.size,) or w[0] <= 0 or w[-1] < 0 or (np.diff(w) > 0).any():
        raise Rejected("the weights do not descend from a positive one, one for each entry.")
    dual = float((np.cumsum(_absolute(g)) / np.cumsum(w)).max())
    return float(w @ _absolute(x)) / r - 1, -r * dual


def _sign(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    r = _positive(region)
    if region.get("scaled", True) is True:
        r /= max(1, x.size // x.shape[0])
    return float(np.abs(x).max()) / r - 1, -r * float(np.abs(g).sum())


def _columns(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    x, g = _matrix(x), _matrix(g)
    r = _positive(region) * math.sqrt(x.shape[0])
    if region.get("normalized", False) is True:
        r /= x.shape[1]
    norms = np.linalg.norm(x, axis=0)
    return float(norms.max()) / r - 1, -r * float(np.linalg.norm(g, axis=0).sum())


def _rows(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    x, g = _matrix(x), _matrix(g)
    r = _positive(region) / math.sqrt(x.shape[1])
    norms = np.linalg.norm(x, axis=1)
    return float(norms.max()) / r - 1, -r * float(np.linalg.norm(g, axis=1).sum())


def _spectral(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    outputs, inputs = _matrix(x).shape
    scaling = "conv" if region["region"] == "SpectralConv" else region.get("scaling", "none")
    factors = {
        "none": 1.0,
        "ratio": math.sqrt(outputs / inputs),
        "max": max(1.0, math.sqrt(outputs / inputs)),
        "rms": 0.2 * math.sqrt(max(outputs, inputs)),
        "outputs": math.sqrt(outputs),
        "conv": math.sqrt(outputs / x.shape[1]) / math.prod(x.shape[2:]),
    }
    if scaling not in factors:
        raise Rejected(f"there is no scaling {scaling!r}.")
    r = _positive(region) * factors[scaling]
    return float(_singular(x)[0]) / r - 1, -r * float(_singular(g).sum())


def _bounds(region: Region, n: int) -> tuple[np.ndarray, np.ndarray]:
    low = np.broadcast_to(_numbers(region, "lower"), n)
    high = np.broadcast_to(_numbers(region, "upper"), n)
    if (low > high).any():
        raise Rejected("a lower bound is above its upper bound.")
    return low, high


def _box(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    low, high = _bounds(region, x.size)
    size = max(1.0, float(np.abs(low).max()), float(np.abs(high).max()))
    outside = float(np.maximum(low - x.ravel(), x.ravel() - high).max()) / size
    return outside, float(np.minimum(g.ravel() * low, g.ravel() * high).sum())


def _diamond(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    low, high = _bounds(region, x.size)
    if (low >= 0).any() or (high <= 0).any():
        raise Rejected("the diamond's bounds do not enclose 0.")
    inside = np.maximum(x.ravel() / high, x.ravel() / low)
    return float(inside.sum()) - 1, float(np.minimum(g.ravel() * low, g.ravel() * high).min())


def _ellipsoid(x: np.ndarray, g: np.ndarray, region: Region) -> Pair:
    a, r = _numbers(region, "a"), _positive(region)
    center = _numbers(region, "center") if "center" in region else np.zeros(x.size)
    if a.shape != (x.size, x.size) or (a != a.T).any() or np.linalg.eigvalsh(a)[0] <= 0:
        raise Rejected(
            "the ellipsoid's matrix is not symmetric positive definite of the right size."
        )
    away = x.ravel() - center
    flat = g.ravel()
    reach = math.sqrt(r * max(0.0, float(flat @ np.linalg.solve(a, flat))))
    return float(away @ a @ away) / r - 1, float(flat @ center) - reach


RULES: dict[str, tuple[Rule, tuple[str, ...]]] = {
    "L1Ball": (_norm_ball(lambda x: _pnorm(x, 1.0), lambda g: _pnorm(g, math.inf)), ("radius",)),
    "L2Ball": (_norm_ball(lambda x: _pnorm(x, 2.0), lambda g: _pnorm(g, 2.0)), ("radius",)),
    "LinfBall": (_norm_ball(lambda x: _pnorm(x, math.inf), lambda g: _pnorm(g, 1.0)), ("radius",)),
    "LpBall": (_lp, ("radius", "p")),
    "KSparse": (_counted(_absolute, _k_sparse, _k_largest), ("radius", "k")),
    "KNorm": (_counted(_absolute, _k_largest, _k_sparse), ("radius", "k")),
    "KSupport": (_counted(_absolute, _support_norm, _top), ("radius", "k")),
    "GroupKSupport": (_counted(_groups, _support_norm, _top), ("radius", "k")),
    "SpectralKSupport": (_counted(_singular, _support_norm, _top), ("radius", "k")),
    "KyFanKSparse": (_counted(_singular, _k_sparse, _k_largest), ("radius", "k")),
    "GroupL1": (
        _norm_ball(lambda x: float(_groups(x).sum()), lambda g: float(_groups(g)[0])),
        ("radius",),
    ),
    "NuclearBall": (
        _norm_ball(lambda x: float(_singular(x).sum()), lambda g: float(_singular(g)[0])),
        ("radius",),
    ),
    "SpectralBall": (_spectral, ("radius", "scaling")),
    "SpectralConv": (_spectral, ("radius",)),
    "Simplex": (_simplex, ("radius",)),
    "UnitSimplex": (_unit_simplex, ("radius",)),
    "Hypersimplex": (_hypersimplex, ("radius", "k")),
    "UnitHypersimplex": (_unit_hypersimplex, ("radius", "k")),
    "Permutahedron": (_permutahedron, ("weights",)),
    "Spectraplex": (_spectraplex, ("radius",)),
    "UnitSpectrahedron": (_unit_spectrahedron, ("radius",)),
    "Fantope": (_fantope, ("k",)),
    "OWLBall": (_owl, ("radius", "weights")),
    "Sign": (_sign, ("radius", "scaled")),
    "ColNorm": (_columns, ("radius", "normalized")),
    "RowNorm": (_rows, ("radius",)),
    "Box": (_box, ("lower", "upper")),
    "Diamond": (_diamond, ("lower", "upper")),
    "Ellipsoid": (_ellipsoid, ("a", "center", "radius")),
}
