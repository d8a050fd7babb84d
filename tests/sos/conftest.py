"""Without the solver's packages there is nothing to test here."""

import pytest

pytest.importorskip("gmpy2")
pytest.importorskip("flint")
