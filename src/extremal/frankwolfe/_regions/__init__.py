"""The regions, one file each."""

from ._birkhoff import Birkhoff, assignment_potentials
from ._box import Box
from ._colnorm import ColNorm
from ._diamond import Diamond
from ._ellipsoid import Ellipsoid
from ._fantope import Fantope
from ._flow import FlowPolytope
from ._group_ksupport import GroupKSupport
from ._group_l1 import GroupL1
from ._hull import Hull
from ._hypersimplex import Hypersimplex
from ._knorm import KNorm
from ._ksparse import KSparse
from ._ksupport import KSupport
from ._kyfan import KyFanKSparse
from ._l1ball import L1Ball
from ._l2ball import L2Ball
from ._linfball import LinfBall
from ._lpball import LpBall
from ._nuclear import NuclearBall
from ._oracle import Oracle
from ._owl import OWLBall
from ._permutahedron import Permutahedron
from ._product import Product
from ._rownorm import RowNorm
from ._sign import Sign
from ._simplex import Simplex
from ._spectrahedron import UnitSpectrahedron
from ._spectral import SpectralBall
from ._spectral_conv import SpectralConv
from ._spectral_ksupport import SpectralKSupport
from ._spectraplex import Spectraplex
from ._unit_hypersimplex import UnitHypersimplex
from ._unit_simplex import UnitSimplex

__all__ = [
    "Birkhoff",
    "Box",
    "ColNorm",
    "Diamond",
    "Ellipsoid",
    "Fantope",
    "FlowPolytope",
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
    "LpBall",
    "NuclearBall",
    "OWLBall",
    "Oracle",
    "Permutahedron",
    "Product",
    "RowNorm",
    "Sign",
    "Simplex",
    "SpectralBall",
    "SpectralConv",
    "SpectralKSupport",
    "Spectraplex",
    "UnitHypersimplex",
    "UnitSimplex",
    "UnitSpectrahedron",
    "assignment_potentials",
]
