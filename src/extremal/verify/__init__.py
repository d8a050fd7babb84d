"""Independent checkers of certificates: `extremal.verify.file(path)` accepts or rejects."""

from ._file import Checked, Verdict, file
from ._reader import KINDS
from ._rejected import Rejected, Unusable

__all__ = ["KINDS", "Checked", "Rejected", "Unusable", "Verdict", "file"]
