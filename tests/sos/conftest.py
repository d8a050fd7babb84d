"""Without the exact packages there is nothing to test here."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _needed():
    pytest.importorskip("gmpy2")
    pytest.importorskip("flint")
