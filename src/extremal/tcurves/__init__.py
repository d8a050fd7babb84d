"""T-curves: schemes of patchworked real curves, the exact census, search, pictures, catalogue."""

from ._baselines import brute_force, climb, random_signs
from ._batch import Batch, schemes
from ._catalogue import Catalogue, CatalogueConfig, Database, Witness, catalogue
from ._census import (
    Census,
    CensusConfig,
    Entry,
    Maximum,
    census,
    count_ovals,
    most_even_ovals,
    read_census,
)
from ._classification import known_schemes, restrictions
from ._draw import DrawConfig, Drawing, draw
from ._errors import MemoryLimitError, NotRegular, TCurveError
from ._flips import flip, flippable, random_triangulation
from ._notation import Scheme, from_code, parse
from ._pcom import Patchwork, PcomFile, read_pcom, write_pcom
from ._polynomial import Polynomial, polynomial
from ._regular import Regularity, regular
from ._search import SearchConfig, SearchResult, search
from ._shipped import named, read
from ._triangulation import (
    Triangulation,
    canonical,
    from_heights,
    from_triangles,
    honeycomb,
    image,
    strip_fan,
)
from ._verbs import Sample, SampleConfig, SchemeConfig, sample, scheme

__all__ = [
    "Batch",
    "Catalogue",
    "CatalogueConfig",
    "Census",
    "CensusConfig",
    "Database",
    "DrawConfig",
    "Drawing",
    "Entry",
    "Maximum",
    "MemoryLimitError",
    "NotRegular",
    "Patchwork",
    "PcomFile",
    "Polynomial",
    "Regularity",
    "Sample",
    "SampleConfig",
    "Scheme",
    "SchemeConfig",
    "SearchConfig",
    "SearchResult",
    "TCurveError",
    "Triangulation",
    "Witness",
    "brute_force",
    "canonical",
    "catalogue",
    "census",
    "climb",
    "count_ovals",
    "draw",
    "flip",
    "flippable",
    "from_code",
    "from_heights",
    "from_triangles",
    "honeycomb",
    "image",
    "known_schemes",
    "most_even_ovals",
    "named",
    "parse",
    "polynomial",
    "random_signs",
    "random_triangulation",
    "read",
    "read_census",
    "read_pcom",
    "regular",
    "restrictions",
    "sample",
    "scheme",
    "schemes",
    "search",
    "strip_fan",
    "write_pcom",
]
