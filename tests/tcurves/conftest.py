"""Kernels are compiled once, so that compiling marks no test slow."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _warm():
    pytest.importorskip("numba")
    from extremal import tcurves

    tcurves.census("honeycomb-2", threads=1)
    tcurves.schemes(tcurves.honeycomb(2), ["000000"])
    tcurves.schemes(tcurves.honeycomb(8), ["0" * 45])
