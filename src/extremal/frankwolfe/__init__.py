"""Frank-Wolfe: convex regions with cheap linear minimisation, and optimizers over them.

Regions and `minimize` need NumPy and SciPy alone. The names in `_TORCH` come from files that import
torch, so they are fetched on first use; importing this area never loads torch.
"""

import importlib
from typing import TYPE_CHECKING, Any

from ._config import Config, region_named
from ._errors import FrankWolfeError, SizeWarning, StartWarning
from ._minimize import minimize, path
from ._objectives import LogisticLoss, MatrixCompletion, SquaredHinge, SquaredLoss
from ._optimum import Optimum
from ._read import read_svmlight
from ._region import Region, from_plain
from ._regions import (
    Birkhoff,
    Box,
    ColNorm,
    Diamond,
    Ellipsoid,
    Fantope,
    FlowPolytope,
    GroupKSupport,
    GroupL1,
    Hull,
    Hypersimplex,
    KNorm,
    KSparse,
    KSupport,
    KyFanKSparse,
    L1Ball,
    L2Ball,
    LinfBall,
    LpBall,
    NuclearBall,
    Oracle,
    OWLBall,
    Permutahedron,
    Product,
    RowNorm,
    Sign,
    Simplex,
    SpectralBall,
    SpectralConv,
    SpectralKSupport,
    Spectraplex,
    UnitHypersimplex,
    UnitSimplex,
    UnitSpectrahedron,
)
from ._retraction import LossRetraction

if TYPE_CHECKING:
    from ._adaptive import AdamSFW, AdaSFW
    from ._estimating import MSFW, ORGFW, SPIDERFW, SVRF, AdaSVRF, OneSFW
    from ._newton_schulz import polar
    from ._optimizer import RegionOptimizer
    from ._presets import Muon, Scion, ScionLight, scion_init_, scion_regions
    from ._projected import ProjectedAdam, ProjectedSGD
    from ._regions_for import regions_for
    from ._sfw import SFW

_TORCH = {
    "MSFW": "_estimating",
    "ORGFW": "_estimating",
    "SFW": "_sfw",
    "SPIDERFW": "_estimating",
    "SVRF": "_estimating",
    "AdaSFW": "_adaptive",
    "AdaSVRF": "_estimating",
    "AdamSFW": "_adaptive",
    "Muon": "_presets",
    "OneSFW": "_estimating",
    "ProjectedAdam": "_projected",
    "ProjectedSGD": "_projected",
    "RegionOptimizer": "_optimizer",
    "Scion": "_presets",
    "ScionLight": "_presets",
    "polar": "_newton_schulz",
    "regions_for": "_regions_for",
    "scion_init_": "_presets",
    "scion_regions": "_presets",
}

__all__ = [
    "MSFW",
    "ORGFW",
    "SFW",
    "SPIDERFW",
    "SVRF",
    "AdaSFW",
    "AdaSVRF",
    "AdamSFW",
    "Birkhoff",
    "Box",
    "ColNorm",
    "Config",
    "Diamond",
    "Ellipsoid",
    "Fantope",
    "FlowPolytope",
    "FrankWolfeError",
    "GroupKSupport",
    "GroupL1",
    "Hull",
    "Hypersimplex",
    "KNorm",
    "KSparse",
    "KSupport",
    "KyFanKSparse",
    "L1Ball",
    "L2Ball",
    "LinfBall",
    "LogisticLoss",
    "LossRetraction",
    "LpBall",
    "MatrixCompletion",
    "Muon",
    "NuclearBall",
    "OWLBall",
    "OneSFW",
    "Optimum",
    "Oracle",
    "Permutahedron",
    "Product",
    "ProjectedAdam",
    "ProjectedSGD",
    "Region",
    "RegionOptimizer",
    "RowNorm",
    "Scion",
    "ScionLight",
    "Sign",
    "Simplex",
    "SizeWarning",
    "SpectralBall",
    "SpectralConv",
    "SpectralKSupport",
    "Spectraplex",
    "SquaredHinge",
    "SquaredLoss",
    "StartWarning",
    "UnitHypersimplex",
    "UnitSimplex",
    "UnitSpectrahedron",
    "from_plain",
    "minimize",
    "path",
    "polar",
    "read_svmlight",
    "region_named",
    "regions_for",
    "scion_init_",
    "scion_regions",
]


def __getattr__(name: str) -> Any:
    if name in _TORCH:
        return getattr(importlib.import_module(f".{_TORCH[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
