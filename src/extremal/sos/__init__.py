"""Sums of squares: exact proofs, exact refutations, and learned bases as a plug-in."""

from ._backends import solve_margin
from ._bases import LOSSLESS, Bases
from ._bench import Bench, BenchConfig, bench
from ._bound import Bound, BoundConfig, bound
from ._certify import Batch, CertifyConfig, certify, certify_all
from ._consistency import consistent, repair, uncovered
from ._errors import MemoryLimitError, NotCertified, SosError
from ._exact import ExactBlock
from ._generate import Planted, planted
from ._hints import from_gram, from_squares
from ._interior import Margin
from ._newton import HalfNewton, half_newton
from ._parse import parse, read, read_file
from ._polynomial import Polynomial, from_arrays, from_sympy, from_terms
from ._problem import GramProblem, gram_problem
from ._result import Certificate, Result, Square, Stage, Verdict
from ._search import Limits, expansion_schedule
from ._sparsity import sign_blocks, term_blocks
from ._train import TrainConfig, Training, train

__all__ = [
    "LOSSLESS",
    "Bases",
    "Batch",
    "Bench",
    "BenchConfig",
    "Bound",
    "BoundConfig",
    "Certificate",
    "CertifyConfig",
    "ExactBlock",
    "GramProblem",
    "HalfNewton",
    "Limits",
    "Margin",
    "MemoryLimitError",
    "NotCertified",
    "Planted",
    "Polynomial",
    "Result",
    "SosError",
    "Square",
    "Stage",
    "TrainConfig",
    "Training",
    "Verdict",
    "bench",
    "bound",
    "certify",
    "certify_all",
    "consistent",
    "expansion_schedule",
    "from_arrays",
    "from_gram",
    "from_squares",
    "from_sympy",
    "from_terms",
    "gram_problem",
    "half_newton",
    "parse",
    "planted",
    "read",
    "read_file",
    "repair",
    "sign_blocks",
    "solve_margin",
    "term_blocks",
    "train",
    "uncovered",
]
