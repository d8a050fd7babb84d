"""Sums of squares: exact proofs, exact refutations, and learned bases as a plug-in."""

from ._bases import LOSSLESS, Bases
from ._certify import Batch, CertifyConfig, certify, certify_all
from ._consistency import consistent, repair, uncovered
from ._errors import MemoryLimitError, NotCertified, SosError
from ._exact import ExactBlock
from ._hints import from_gram, from_squares
from ._interior import Margin
from ._newton import HalfNewton, half_newton
from ._parse import parse, read, read_file
from ._polynomial import Polynomial, from_arrays, from_sympy, from_terms
from ._result import Certificate, Result, Square, Stage, Verdict
from ._search import Limits, expansion_schedule
from ._sparsity import sign_blocks, term_blocks

__all__ = [
    "LOSSLESS",
    "Bases",
    "Batch",
    "Certificate",
    "CertifyConfig",
    "ExactBlock",
    "HalfNewton",
    "Limits",
    "Margin",
    "MemoryLimitError",
    "NotCertified",
    "Polynomial",
    "Result",
    "SosError",
    "Square",
    "Stage",
    "Verdict",
    "certify",
    "certify_all",
    "consistent",
    "expansion_schedule",
    "from_arrays",
    "from_gram",
    "from_squares",
    "from_sympy",
    "from_terms",
    "half_newton",
    "parse",
    "read",
    "read_file",
    "repair",
    "sign_blocks",
    "term_blocks",
    "uncovered",
]
