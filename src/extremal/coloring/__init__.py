"""Colourings of R^n: from a rule to a picture to a proof for the whole space."""

from ._baselines import (
    LatticeColouring,
    coulson,
    coulson_exact,
    croft,
    croft_density,
    hexagon_gap,
    hoffman_soifer,
    independent_set,
    isbell,
    isbell_exact,
    isbell_tiles,
    lattice_colourings,
    second_six_colouring,
    soifer,
    soifer_exact,
    stripe_count,
    stripes,
)
from ._batch import SoftBatch, batched_starts, refine_many, relax_many
from ._certify import Certified, CertifyConfig, certify
from ._colouring import Colouring
from ._errors import ColoringError
from ._exact_repair import Recoloured, recolour
from ._exchange import (
    Exchange,
    exchanged_periods,
    fold_exchanged,
    random_exchange,
    small_cells,
)
from ._export import export, lean_data
from ._find import FindConfig, Found, find
from ._network import Network, TrainConfig, train
from ._offsets import forbidden
from ._open_tiles import assign_boundary
from ._periods import Period, lattices, periods
from ._plot import PlotConfig, Plotted, plot
from ._polygon_colouring import PolygonColouring
from ._polygon_nlp import optimise, optimise_finely
from ._problem import Problem, Rule
from ._rates import Spectrum, pair_rate, point_rate, sampled_conflicts, spectrum
from ._screen import Conflict, conflict_pairs, pair_counts, screen
from ._search import Candidate, finish, fold, go_finer, random_start, soften, spectral_starts
from ._settle import Settled, random_tiles, settle
from ._smooth import smooth
from ._spectral import Soft, Spectral, refine_lattice, relax
from ._straighten import straightened
from ._tabu import fill, tabu
from ._tiles import Tiles, tiles_of
from ._trace import trace
from ._verbs import (
    FormaliseConfig,
    RefineConfig,
    RepairConfig,
    Result,
    formalise,
    free_table,
    refine,
    repair,
)

__all__ = [
    "Candidate",
    "Certified",
    "CertifyConfig",
    "ColoringError",
    "Colouring",
    "Conflict",
    "Exchange",
    "FindConfig",
    "FormaliseConfig",
    "Found",
    "LatticeColouring",
    "Network",
    "Period",
    "PlotConfig",
    "Plotted",
    "PolygonColouring",
    "Problem",
    "Recoloured",
    "RefineConfig",
    "RepairConfig",
    "Result",
    "Rule",
    "Settled",
    "Soft",
    "SoftBatch",
    "Spectral",
    "Spectrum",
    "Tiles",
    "TrainConfig",
    "assign_boundary",
    "batched_starts",
    "certify",
    "conflict_pairs",
    "coulson",
    "coulson_exact",
    "croft",
    "croft_density",
    "exchanged_periods",
    "export",
    "fill",
    "find",
    "finish",
    "fold",
    "fold_exchanged",
    "forbidden",
    "formalise",
    "free_table",
    "go_finer",
    "hexagon_gap",
    "hoffman_soifer",
    "independent_set",
    "isbell",
    "isbell_exact",
    "isbell_tiles",
    "lattice_colourings",
    "lattices",
    "lean_data",
    "optimise",
    "optimise_finely",
    "pair_counts",
    "pair_rate",
    "periods",
    "plot",
    "point_rate",
    "random_exchange",
    "random_start",
    "random_tiles",
    "recolour",
    "refine",
    "refine_lattice",
    "refine_many",
    "relax",
    "relax_many",
    "repair",
    "sampled_conflicts",
    "screen",
    "second_six_colouring",
    "settle",
    "small_cells",
    "smooth",
    "soften",
    "soifer",
    "soifer_exact",
    "spectral_starts",
    "spectrum",
    "straightened",
    "stripe_count",
    "stripes",
    "tabu",
    "tiles_of",
    "trace",
    "train",
]
