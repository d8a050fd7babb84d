"""Kernels are compiled once, before any test is timed; random networks for all tests."""

import random

import pytest

from extremal import flows


@pytest.fixture(scope="session", autouse=True)
def _warm():
    flows.nash("braess", arithmetic="float")
    flows.simulate("braess", step="1/4", until=5)


def random_dag(seed, *, nodes=(4, 9), spread=6):
    """A small acyclic network in which every node lies on a route from 0 to the last node."""
    draw = random.Random(seed)
    n = draw.randint(*nodes)
    rows = [(draw.randrange(max(0, w - 4), w), w) for w in range(1, n)]
    for v in range(n - 1):
        if v not in {a for a, _ in rows}:
            rows.append((v, draw.randrange(v + 1, n)))
    for _ in range(n):
        v = draw.randrange(n - 1)
        rows.append((v, draw.randrange(v + 1, n)))
    return flows.Network.from_arcs(
        [(v, w, draw.randint(0, spread), f"{draw.randint(1, 8)}/{draw.randint(1, 3)}")
         for v, w in rows]
    )  # fmt: skip


def ends(network):
    """Source and sink of a random network."""
    names = sorted(network.nodes, key=int)
    return {"source": names[0], "sink": names[-1]}


@pytest.fixture
def dag():
    return random_dag
