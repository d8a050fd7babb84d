"""The options of `minimize`, and how the shell names regions and losses."""

import math
from dataclasses import dataclass

from ._estimators import STOCHASTIC
from ._region import Region
from ._regions import (
    Birkhoff,
    GroupKSupport,
    GroupL1,
    Hypersimplex,
    KNorm,
    KSparse,
    KSupport,
    L1Ball,
    L2Ball,
    LinfBall,
    LpBall,
    NuclearBall,
    Permutahedron,
    Simplex,
    SpectralBall,
    SpectralKSupport,
    UnitHypersimplex,
    UnitSimplex,
)
from ._steps import STEPS

METHODS = ("auto", "frank-wolfe", "away", "pairwise", "lazy", *STOCHASTIC)
LOSSES = ("logistic", "squared", "squared-hinge")
BALLS: dict[str, type] = {
    "l1": L1Ball,
    "l2": L2Ball,
    "linf": LinfBall,
    "simplex": Simplex,
    "unit-simplex": UnitSimplex,
    "nuclear": NuclearBall,
    "spectral": SpectralBall,
    "group-l1": GroupL1,
}
COUNTED: dict[str, type] = {
    "k-sparse": KSparse,
    "k-norm": KNorm,
    "k-support": KSupport,
    "hypersimplex": Hypersimplex,
    "unit-hypersimplex": UnitHypersimplex,
}
PLAIN: dict[str, type] = {"permutahedron": Permutahedron, "birkhoff": Birkhoff}
REGIONS = (*BALLS, "lp", *COUNTED, *PLAIN)
POLYTOPES = (
    "L1Ball", "LinfBall", "KSparse", "KNorm", "Simplex", "UnitSimplex", "Hypersimplex",
    "UnitHypersimplex", "Box",
    "Permutahedron", "Birkhoff", "OWLBall", "Diamond", "Hull", "FlowPolytope", "Sign",
)  # fmt: skip


@dataclass(frozen=True)
class Config:
    """What `minimize` minimises, over what, and how."""

    loss: str = "logistic"
    """logistic, squared or squared-hinge, for data given as a file or by name."""
    ridge: float = 0.0
    """Weight of half the squared Euclidean norm, for such data."""
    standardize: bool = False
    """Give every column of such data mean 0 and deviation 1 (makes sparse data dense)."""
    region: str = "l1"
    """l1, l2, linf, lp, k-sparse, k-norm, k-support, simplex, unit-simplex, hypersimplex,
    unit-hypersimplex or permutahedron; in Python any region."""
    radius: float = 1.0
    """Size of the region."""
    k: int | None = None
    """The k of k-sparse, k-norm, k-support, hypersimplex and unit-hypersimplex."""
    p: float = 2.0
    """The exponent of lp."""
    method: str = "auto"
    """frank-wolfe, away, pairwise, lazy, or for finite sums sfw, msfw, svrf, spider, 1-sfw, orgfw,
    csfw, saga. auto is pairwise over polytopes and frank-wolfe elsewhere."""
    step: str = "auto"
    """agnostic, short, backtracking, line-search, sqrt or fixed; auto is line-search, and for the
    stochastic methods agnostic."""
    gap: float = 1e-6
    """Stop when the duality gap is at most this."""
    iterations: int = 10_000
    """Stop after so many steps."""
    passes: float = 0.0
    """Stochastic methods stop after so many passes over the examples; 0 is no limit."""
    agnostic: int = 2
    """The l of agnostic steps l / (t + l)."""
    fixed: float = 0.01
    """The step of step=fixed."""
    lipschitz: float = 0.0
    """Lipschitz constant of the gradient; 0 computes it from the data where it is needed."""
    batch_size: int = 0
    """Examples a step of a stochastic method; 0 is one percent of them."""
    adaptive: bool = False
    """Use the adaptive metric with inner_steps Frank-Wolfe steps (AdaSFW, AdaSVRF, AdaCSFW …)."""
    adam: bool = False
    """With adaptive: the exponential averages of AdamSFW."""
    inner_steps: int = 5
    """Inner steps of the adaptive metric."""
    eta: float = 1.0
    """Step length of its inner problem."""
    seed: int = 0
    """Decides the order of the examples."""

    def __post_init__(self) -> None:
        """Check every option."""
        for value, fine, name, rule in (
            (self.loss, self.loss in LOSSES, "loss", ", ".join(LOSSES)),
            (self.region, self.region in REGIONS, "region", ", ".join(REGIONS)),
            (self.method, self.method in METHODS, "method", ", ".join(METHODS)),
            (self.step, self.step in STEPS, "step", ", ".join(STEPS)),
            (self.gap, 0 < self.gap < math.inf, "gap", "a finite number > 0"),
            (self.iterations, self.iterations >= 0, "iterations", "0 or more"),
            (self.passes, 0 <= self.passes < math.inf, "passes", "0 (no limit) or more"),
            (self.agnostic, self.agnostic >= 1, "agnostic", "1 or more"),
            (self.fixed, 0 < self.fixed <= 1, "fixed", "0 < step <= 1"),
            (self.lipschitz, 0 <= self.lipschitz < math.inf, "lipschitz", "0 or more"),
            (self.batch_size, self.batch_size >= 0, "batch_size", "0 or more"),
            (self.inner_steps, self.inner_steps >= 1, "inner_steps", "1 or more"),
            (self.eta, 0 < self.eta < math.inf, "eta", "a finite number > 0"),
            (self.ridge, 0 <= self.ridge < math.inf, "ridge", "0 or more"),
        ):
            if not fine:
                raise ValueError(f"{name}={value!r} is out of range; choose {rule}.")
        if self.adam and not self.adaptive:
            raise ValueError("adam=True changes the adaptive metric; set adaptive=True too.")

    def made_region(self) -> Region:
        """Return the region that the options name."""
        if self.region in BALLS:
            return BALLS[self.region](self.radius)
        if self.region == "lp":
            return LpBall(self.radius, p=self.p)
        if self.region in PLAIN:
            return PLAIN[self.region]()
        return COUNTED[self.region](self.radius, k=self.k)


WIDE = (
    "l1", "l2", "linf", "nuclear", "spectral", "group-l1", "k-sparse", "k-norm", "k-support",
    "group-k-support", "spectral-k-support",
)  # fmt: skip


def region_named(name: str, *, width: float, fraction: float = 0.1) -> Region:
    """Return a region for the weights of a network, sized by its width.

    Args:
        name: As in `WIDE`.
        width: See `Ball`.
        fraction: Of entries, filters or singular values, for the regions that count them.

    Raises:
        ValueError: There is no such region for weights.
    """
    if name not in WIDE:
        raise ValueError(f"there is no region {name!r} for weights; there are {', '.join(WIDE)}.")
    if name in BALLS:
        return BALLS[name](width=width)
    counted = {
        **COUNTED,
        "group-k-support": GroupKSupport,
        "spectral-k-support": SpectralKSupport,
    }
    return counted[name](width=width, fraction=fraction)
