"""Kernels are compiled once, so that compiling marks no test slow."""

import pytest


@pytest.fixture(scope="session", autouse=True)
def _warm():
    pytest.importorskip("numba")
    from extremal import coloring

    problem = coloring.Problem.plane(7)
    start = coloring.isbell(16)
    coloring.screen(start, problem)
    coloring.tabu(start, problem, 10)
    free = coloring.Colouring(start.lattice, start.cells, 7, free=True)
    coloring.fill(free, coloring.Problem.plane(7, free_color=True), 10)
